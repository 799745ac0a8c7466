//! The style guide as tests. Every rule is a function over text, and has tests with planted faults that it must find.
//!
//! The rules read Rust as words and paths, as a compiler would not: enough for code that `cargo fmt` has laid out.

// No import circles between the files of a room.
mod circles;

// Floors and places: who may use what.
mod floors;

// Dead files, unfinished work, lint exceptions without a reason.
mod leftovers;

// Links of pages lead to files, and their commands are commands.
mod links;

// Use paths, resolved to files.
mod paths;

// Lengths of files and functions.
mod sizes;

// Who may write to stdout and stderr.
mod streams;

// Words and constructions that are not used here.
mod vocabulary;

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::source::Source;

/// All Rust files below a folder.
fn sources(folder: &str) -> Vec<Source> {
    files(folder)
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| Source::read(path))
        .collect()
}

/// All files below a folder, in order of their names. The folder of Cargo.toml is the current one.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(folder).to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if path.ends_with("target") {
                // What Cargo built.
            } else if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no files in {folder}");
    found.sort();
    found
}

fn assert_none(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
