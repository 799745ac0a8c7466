//! What all commands have in common in their outputs: files, stdout and stderr, terminals, text that a server printed.

// Files: checked first, written whole, never lost.
mod places;

// Closed, full, non-blocking and slow streams.
mod streams;

// The progress line.
mod terminal;

// What a server prints is data.
mod untrusted;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::support::{Output, run};

/// A check so small that it is inconclusive.
const CHECK: &str = "-c 2 --blocks 1 --slice 20ms --slice-warmup 5ms --restarts 1 --profile closed --gate throughput";

/// A comparison as small.
const COMPARE: &str = "-c 2 --blocks 1 --slice 20ms --slice-warmup 5ms --restarts 1";

/// A run as small, valid or not.
const RUN: &str = "-c 2 -d 100ms --warmup 0s --drain 20s";

fn server() -> String {
    let program = env!("CARGO_BIN_EXE_urecho");
    format!("{program} serve --workers 1 --listen 127.0.0.1:{{port}}")
}

/// `urecho` with these arguments, outside of GitHub.
fn urecho(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.args(arguments.split_whitespace());
    for name in ["GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_SHA", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

/// `urecho compare` of a server with itself.
fn compare(arguments: &str) -> Command {
    let mut command = urecho(&format!("compare {COMPARE} {arguments}"));
    command.args([format!("a={}", server()), format!("b={}", server())]);
    command
}

/// The JSON of one check, which exits with 3.
fn record() -> &'static str {
    static RECORD: OnceLock<String> = OnceLock::new();
    RECORD.get_or_init(|| {
        let mut command = urecho(&format!("check {CHECK} --json -"));
        let Output { stdout, .. } = run(command.args(["--base", &server(), "--head", &server()]));
        stdout
    })
}

/// A folder with such a JSON in it.
fn folder_with_record() -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("record.json"), record()).unwrap();
    folder
}

/// `urecho check replay` in such a folder.
fn replay(folder: &Path, arguments: &str) -> Command {
    let mut command = urecho(&format!("check replay record.json {arguments}"));
    command.current_dir(folder);
    command
}
