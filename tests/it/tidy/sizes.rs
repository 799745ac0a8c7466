//! Lengths of files and functions: what a reader can hold in the head.

use super::{assert_none, sources};
use crate::support::source::{Source, functions};

const FILE_LINES: usize = 450;
const FUNCTION_LINES: usize = 60;

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
