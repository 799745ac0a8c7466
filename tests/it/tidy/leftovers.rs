//! What is left behind: files without a `mod`, work marked as unfinished, lint exceptions without a reason.

use super::{assert_none, sources};
use crate::support::source::{Source, has_word};

/// Words that mark unfinished work.
const UNFINISHED: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!"),
    concat!("db", "g!"),
];

#[test]
fn every_file_is_a_module() {
    assert_none(orphans(&sources("src"), &["src/lib.rs", "src/main.rs"]));
    assert_none(orphans(&sources("tests/it"), &["tests/it/main.rs"]));
}

#[test]
fn nothing_is_marked_as_unfinished() {
    let all = [sources("src"), sources("tests/it")].concat();
    assert_none(all.iter().flat_map(unfinished));
}

#[test]
fn every_exception_from_a_lint_has_a_reason() {
    let all = [sources("src"), sources("tests/it")].concat();
    assert_none(all.iter().flat_map(unreasoned));
}

/// Files that no `mod` leads to.
fn orphans(sources: &[Source], roots: &[&str]) -> Vec<String> {
    let mut reached: Vec<String> = roots.iter().map(|root| root.to_string()).collect();
    let mut next = 0;
    while let Some(path) = reached.get(next).cloned() {
        next += 1;
        let found = sources.iter().find(|source| source.path == path);
        let modules = found.map(Source::modules).unwrap_or_default();
        reached.extend(
            modules
                .into_iter()
                .filter(|path| sources.iter().any(|source| source.path == *path)),
        );
    }
    let lost = sources.iter().filter(|source| !reached.contains(&source.path));
    lost.map(|source| format!("{}: no mod leads here", source.path))
        .collect()
}

fn unfinished(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    let found = lines.filter(|(_, line)| UNFINISHED.iter().any(|word| line.contains(word)));
    found
        .map(|(index, line)| format!("{}:{}: {}", source.path, index + 1, line.trim()))
        .collect()
}

/// `allow` and `expect` attributes without a comment on their line or the one above.
fn unreasoned(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let code: Vec<&str> = source.code.lines().collect();
    let exception = |index: usize| {
        let line = code[index].trim();
        line.starts_with('#') && (has_word(line, "allow") || has_word(line, "expect"))
    };
    let reason = |index: usize| {
        let above = index > 0 && lines[index - 1].trim().starts_with("//");
        above || lines[index].contains("// ") || lines[index].contains("reason = ")
    };
    let wrong = (0..code.len()).filter(|&index| exception(index) && !reason(index));
    wrong
        .map(|index| format!("{}:{}: no reason given", source.path, index + 1))
        .collect()
}

#[test]
fn a_file_that_is_not_declared_is_found() {
    let files = [
        "src/a.rs",
        "src/a/b.rs",
        "src/c/mod.rs",
        "src/c/d.rs",
        "src/lost.rs",
        "src/c/lost.rs",
    ];
    let text = |path: &str| match path {
        "src/a.rs" => "mod b;",
        "src/c/mod.rs" => "#[cfg(test)]\npub(crate) mod d;\n// mod lost;",
        _ => "",
    };
    let mut sources: Vec<Source> = files.iter().map(|path| Source::of(path, text(path))).collect();
    sources.push(Source::of("src/lib.rs", "pub mod a;\nmod c;\nmod inline { }"));
    let lost = orphans(&sources, &["src/lib.rs"]);
    assert_eq!(
        lost,
        ["src/lost.rs: no mod leads here", "src/c/lost.rs: no mod leads here"]
    );
}

#[test]
fn unfinished_work_is_found() {
    for word in UNFINISHED {
        let text = format!("fn f() {{}}\n// {word} later\n");
        assert_eq!(unfinished(&Source::of("src/a.rs", &text)).len(), 1);
    }
}

#[test]
fn an_exception_without_a_reason_is_found() {
    let complaints = |text| unreasoned(&Source::of("src/a.rs", text));
    assert_eq!(
        complaints("#[allow(dead_code)]\nfn f() {}"),
        ["src/a.rs:1: no reason given"]
    );
    assert_eq!(complaints("fn f() {}\n#![cfg_attr(test, allow(lint))]").len(), 1);
    for text in [
        "// Because.\n#[allow(lint)]",
        "#[allow(lint)] // because",
        "#[expect(lint, reason = \"because\")]",
    ] {
        assert!(complaints(text).is_empty(), "{text}");
    }
}
