//! Lengths of files, functions and comment lines: what a reader can hold in the head.

use super::{assert_none, sources};
use crate::support::source::{Source, functions};

const FILE_LINES: usize = 450;
const FUNCTION_LINES: usize = 60;
/// `max_width` of rustfmt.toml, which stable rustfmt does not apply to comments.
const COLUMNS: usize = 120;

#[test]
fn no_file_and_no_function_is_too_long() {
    let all = [sources("src"), sources("tests/it"), sources("bench")].concat();
    assert_none(all.iter().flat_map(too_long));
}

fn too_long(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let file = (lines > FILE_LINES).then(|| format!("{}: {lines} lines, at most {FILE_LINES}", source.path));
    let functions = functions(&source.code)
        .into_iter()
        .filter(|(_, lines)| *lines > FUNCTION_LINES)
        .map(|(name, lines)| format!("{}: fn {name}: {lines} lines, at most {FUNCTION_LINES}", source.path));
    file.into_iter().chain(functions).collect()
}

#[test]
fn a_long_file_and_a_long_function_are_found() {
    let lines = |count: usize| too_long(&Source::of("src/a.rs", &"\n".repeat(count)));
    assert!(lines(FILE_LINES).is_empty());
    assert_eq!(lines(FILE_LINES + 1), ["src/a.rs: 451 lines, at most 450"]);
    let function = |count: usize| {
        let text = format!("fn f() {{\n{}}}\n", "g();\n".repeat(count - 2));
        too_long(&Source::of("src/a.rs", &text))
    };
    assert!(function(FUNCTION_LINES).is_empty());
    assert_eq!(function(FUNCTION_LINES + 1), ["src/a.rs: fn f: 61 lines, at most 60"]);
}

#[test]
fn no_comment_passes_the_right_margin() {
    let all = [sources("src"), sources("tests"), sources("bench")].concat();
    assert_none(all.iter().flat_map(beyond_margin));
}

/// Lines of comments only. Strings may be longer: rustfmt leaves them as they are.
fn beyond_margin(source: &Source) -> Vec<String> {
    let wide = |line: &str| line.trim_start().starts_with("//") && line.chars().count() > COLUMNS;
    let lines = source.text.lines().enumerate().filter(|(_, line)| wide(line));
    lines
        .map(|(number, _)| format!("{}:{}: more than {COLUMNS} columns", source.path, number + 1))
        .collect()
}

#[test]
fn a_comment_beyond_the_margin_is_found() {
    let comment =
        |columns: usize| beyond_margin(&Source::of("src/a.rs", &format!("\n// {}\n", "x".repeat(columns - 3))));
    assert!(comment(COLUMNS).is_empty());
    assert_eq!(comment(COLUMNS + 1), ["src/a.rs:2: more than 120 columns"]);
}
