//! Who may write to stdout and stderr: `src/output` alone. The macros of the standard library panic when a reader is
//! gone.

use super::{assert_none, sources};
use crate::support::source::Source;

/// Macros that are not used, in no file.
const MACROS: [&str; 5] = ["print", "println", "eprint", "eprintln", concat!("db", "g")];

/// Handles that only the room of outputs uses.
const HANDLES: [&str; 2] = ["stdout()", "stderr()"];

/// The room of outputs.
const ROOM: &str = "src/output/";

#[test]
fn only_the_room_of_outputs_writes_to_the_standard_streams() {
    assert_none(sources("src").iter().flat_map(direct));
}

/// Lines that write to a standard stream on their own. Tests may.
fn direct(source: &Source) -> Vec<String> {
    if source.is_test() {
        return Vec::new();
    }
    let code = source.code_without_tests();
    let lines = code.lines().filter(|line| {
        let uses_macro = MACROS.iter().any(|name| has(line, &format!("{name}!")));
        let uses_handle = HANDLES.iter().any(|handle| has(line, handle));
        uses_macro || (uses_handle && !source.path.starts_with(ROOM))
    });
    lines.map(|line| format!("{}: {}", source.path, line.trim())).collect()
}

/// True if `code` has this name, not as the end of a longer one.
fn has(code: &str, name: &str) -> bool {
    let ends = |at: usize| {
        code[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_')
    };
    code.match_indices(name).any(|(at, _)| !ends(at))
}

#[test]
fn a_planted_print_is_found() {
    let found = |path: &str, text: &str| direct(&Source::of(path, text)).len();
    for name in MACROS {
        for path in ["src/a.rs", "src/output/console.rs"] {
            assert_eq!(
                found(path, &format!("fn f() {{ std::{name}!(1) }}")),
                1,
                "{name} in {path}"
            );
        }
    }
    for text in [
        "let _ = write!(std::io::stdout(), text);",
        "use std::io; io::stderr().lock();",
    ] {
        assert_eq!(
            (found("src/cli/a.rs", text), found("src/output/console.rs", text)),
            (1, 0),
            "{text}"
        );
    }
    for text in [
        "// println!(1)",
        "let text = \"println!\";",
        "command.stdout(Stdio::null()); child.stdout.take();",
        "fn f() {}\n#[cfg(test)]\nmod tests { fn g() { println!(\"SKIPPED\"); } }",
        "my_println!(1); blueprint!(2);",
    ] {
        assert_eq!(found("src/a.rs", text), 0, "{text}");
    }
    assert_eq!(found("src/a/tests.rs", "println!(1);"), 0);
}
