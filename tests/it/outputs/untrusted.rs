//! What a server under test prints is data: nothing of it acts on a terminal, a log, Markdown, JUnit or JSON.

use std::fs;

use tempfile::TempDir;

use super::{CHECK, COMPARE, server, urecho};
use crate::support::{assert_says, run};

/// A server that prints escape sequences, BEL, C1 and bidirectional controls, commands to build servers, and markup.
const HOSTILE: &str = r#"sh -c "printf '\033[2J\033]0;t\007boom\302\2332J\342\200\256\r::error::a\n::error::b\n  ::group::c\nx##[error]d\n<script>|**e**`f`[g](http://h)\n' >&2; exit 1" {port}"#;

#[track_caller]
fn assert_harmless(medium: &str, text: &str) {
    assert_says(text, &["boom"]);
    let bidi = |c: char| ('\u{202a}'..='\u{202e}').contains(&c);
    let raw = text.chars().find(|&c| c != '\n' && (c.is_control() || bidi(c)));
    assert_eq!(raw, None, "{medium}: {text:?}");
    for line in text.lines() {
        let is_command = line.trim_start().starts_with("::") || line.contains("##[");
        assert!(!is_command, "{medium}: {line:?} in {text}");
    }
}

#[track_caller]
fn assert_no_markup(medium: &str, text: &str) {
    for markup in ["<script", "**e**", "`f`", "[g]", "http://h"] {
        assert!(!text.contains(markup), "{medium}: {markup} in {text}");
    }
}

#[test]
fn nothing_that_a_compared_server_prints_acts_on_a_reader() {
    let folder = TempDir::new().unwrap();
    let mut command = urecho(&format!("compare {COMPARE} --json c.json --markdown c.md"));
    command.arg(format!("ok={}", server())).arg(format!("bad={HOSTILE}"));
    let output = run(command.current_dir(folder.path()));
    assert_eq!(output.code(), Some(5), "{output}");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_harmless("text", &output.stdout);
    assert_harmless("JSON", &read("c.json"));
    assert_harmless("Markdown", &read("c.md"));
    assert_no_markup("Markdown", &read("c.md"));
    let document: serde_json::Value = serde_json::from_str(&read("c.json")).unwrap();
    assert_says(&document.to_string(), &["\\u001b[2J"]); // JSON keeps what it was.
}

#[test]
fn nothing_that_a_checked_server_prints_acts_on_a_reader() {
    let folder = TempDir::new().unwrap();
    let mut command = urecho(&format!("check {CHECK} --json c.json --markdown c.md --junit c.xml"));
    command
        .args(["--base", &server(), "--head", HOSTILE])
        .current_dir(folder.path());
    command
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", folder.path().join("summary"));
    let output = run(&mut command);
    assert_eq!(output.code(), Some(5), "{output}");
    let (annotations, text): (Vec<&str>, Vec<&str>) = output.stdout.lines().partition(|line| line.starts_with("::"));
    assert_harmless("text", &text.join("\n"));
    let [annotation] = annotations.as_slice() else {
        panic!("{annotations:?}")
    };
    assert_harmless("annotation", annotation.trim_start_matches("::"));
    assert!(
        annotation.starts_with("::error title=urecho check%3A a server failed::"),
        "{annotation}"
    );
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    for name in ["c.json", "c.md", "c.xml", "summary"] {
        assert_harmless(name, &read(name));
    }
    for name in ["c.md", "summary"] {
        assert_no_markup(name, &read(name));
    }
    assert!(!read("c.xml").contains("<script"));
    let replayed = run(urecho("check replay c.json").current_dir(folder.path()));
    assert_harmless("replayed text", &replayed.stdout);
}

#[test]
fn errors_that_quote_a_server_are_harmless_too() {
    let folder = TempDir::new().unwrap();
    let mut command = urecho(&format!(
        "check baseline save b.json {}",
        CHECK.replace("--gate throughput", "")
    ));
    let output = run(command.args(["--head", HOSTILE]).current_dir(folder.path()));
    assert_eq!(output.code(), Some(5), "{output}");
    assert_harmless("stderr", &output.stderr);
}
