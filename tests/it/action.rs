//! The script of action.yml, run by a shell as GitHub runs it, on a `urecho` that prints its arguments.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use crate::support;

/// The lines of the block below the last `run: |`.
fn script() -> String {
    let action = fs::read_to_string("action.yml").unwrap();
    let (_, block) = action.rsplit_once("run: |\n").unwrap();
    let lines = block.lines().map(|line| line.strip_prefix("        ").unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

struct Ended {
    code: Option<i32>,
    /// One argument of `urecho` a line.
    arguments: Vec<String>,
    outputs: String,
}

/// Runs the script with these inputs; `urecho` ends with this code, and writes this verdict.
fn run(arguments: &str, inconclusive: &str, code: i32, verdict: &str) -> Ended {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("urecho/bin")).unwrap();
    let document = format!("{{\n  \"judgement\": {{\n    \"verdict\": \"{verdict}\",\n    \"exit_code\": {code}\n");
    fs::write(path("document"), document).unwrap();
    let fake = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\"\ncp {} \"$7\"\nexit {code}\n",
        path("document").display()
    );
    let urecho = path("urecho/bin/urecho");
    fs::write(&urecho, fake).unwrap();
    fs::set_permissions(&urecho, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(path("script"), script()).unwrap();
    let mut command = Command::new("bash");
    // As GitHub does for `shell: bash`.
    command
        .args(["--noprofile", "--norc", "-eo", "pipefail"])
        .arg(path("script"));
    command
        .env("RUNNER_TEMP", folder.path())
        .env("GITHUB_OUTPUT", path("outputs"));
    command
        .env("BASE", "base $HOME {port}")
        .env("HEAD", "head 'a b' {port}");
    command.env("ARGUMENTS", arguments).env("INCONCLUSIVE", inconclusive);
    let ended = support::run(&mut command);
    Ended {
        code: ended.code(),
        arguments: ended.stdout.lines().map(str::to_owned).collect(),
        outputs: fs::read_to_string(path("outputs")).unwrap_or_default(),
    }
}

#[test]
fn quoted_words_stay_together_and_nothing_is_expanded() {
    let ended = run(
        "--base-ready 'listening on' --min-effect \"p50=5%\" $HOME * $(false)\n-c 5",
        "fail",
        0,
        "PASSED",
    );
    assert_eq!(ended.code, Some(0));
    let fixed = [
        "check",
        "--base",
        "base $HOME {port}",
        "--head",
        "head 'a b' {port}",
        "--json",
    ];
    assert_eq!(ended.arguments[..6], fixed);
    let words = [
        "--base-ready",
        "listening on",
        "--min-effect",
        "p50=5%",
        "$HOME",
        "*",
        "$(false)",
        "-c",
        "5",
    ];
    assert_eq!(ended.arguments[7..], words);
    assert_eq!(run("", "fail", 0, "PASSED").arguments.len(), 7);
    assert_eq!(run("--base-ready 'listening", "fail", 0, "PASSED").code, Some(2));
}

#[test]
fn outputs_have_verdict_exit_code_and_path_also_if_the_check_fails() {
    let ended = run("", "fail", 1, "REGRESSED");
    assert_eq!(ended.code, Some(1));
    let path = &ended.arguments[6];
    assert_eq!(ended.outputs, format!("verdict=REGRESSED\nexit-code=1\njson={path}\n"));
}

#[test]
fn an_inconclusive_check_fails_the_step_unless_it_may_pass() {
    for (inconclusive, code) in [("fail", 3), ("pass", 0), ("maybe", 2)] {
        let ended = run("", inconclusive, 3, "INCONCLUSIVE");
        assert_eq!(ended.code, Some(code), "{inconclusive}");
        assert_eq!(ended.outputs.contains("verdict=INCONCLUSIVE\nexit-code=3\n"), code != 2);
    }
    assert_eq!(run("", "pass", 1, "REGRESSED").code, Some(1));
}
