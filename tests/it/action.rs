//! Continuous integration: the script of action.yml, run by a shell as GitHub runs it, on a `urecho` that prints its
//! arguments; and the recipes of `src/check/README.md`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support;
use crate::support::seccomp::refuse_io_uring;

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
    assert_eq!(ended.arguments[7], "--html");
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
    assert_eq!(ended.arguments[9..], words);
    assert_eq!(run("", "fail", 0, "PASSED").arguments.len(), 9);
    assert_eq!(run("--base-ready 'listening", "fail", 0, "PASSED").code, Some(2));
}

#[test]
fn outputs_have_verdict_exit_code_and_path_also_if_the_check_fails() {
    let ended = run("", "fail", 1, "REGRESSED");
    assert_eq!(ended.code, Some(1));
    let [json, html] = [6, 8].map(|at| &ended.arguments[at]);
    assert_eq!(
        ended.outputs,
        format!("verdict=REGRESSED\nexit-code=1\njson={json}\nhtml={html}\n")
    );
    assert!(json.ends_with("/check.json") && html.ends_with("/check.html"), "{html}");
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

/// The block of YAML after a heading of the page about the gate.
fn recipe(heading: &str) -> String {
    let page = fs::read_to_string("src/check/README.md").unwrap();
    let (_, after) = page.split_once(heading).unwrap();
    let (_, block) = after.split_once("```yaml\n").unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

/// Runs a script as a job does, in a folder, and panics if it fails.
fn shell(script: &str, folder: &Path, variables: &[(&str, &str)]) {
    let mut command = Command::new("bash");
    command.args(["--noprofile", "--norc", "-euo", "pipefail", "-c", script]);
    let ended = support::run(command.current_dir(folder).envs(variables.iter().copied()));
    assert_eq!(ended.code(), Some(0), "{script}\n{ended}");
}

#[test]
fn the_recipe_for_github_builds_base_and_head_from_their_commits() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let write = |path: &str, text: &str| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "origin/Cargo.toml",
        "[package]\nname = \"server\"\nedition = \"2024\"\n[workspace]\n",
    );
    write("origin/src/main.rs", "fn main() { println!(\"base\") }\n");
    let commit = "git -c user.name=test -c user.email=test@localhost commit -qam";
    shell(
        &format!("git init -qb main && git add . && {commit} base"),
        &folder.join("origin"),
        &[],
    );
    shell(
        "git clone -q origin checkout && cd checkout && git switch -qc change",
        folder,
        &[],
    );
    write("checkout/src/main.rs", "fn main() { println!(\"head\") }\n");
    shell(&format!("{commit} head"), &folder.join("checkout"), &[]);

    let recipe = recipe("*GitHub.*");
    let (_, block) = recipe.split_once("- run: |").unwrap();
    let lines = block.lines().skip(1).take_while(|line| line.starts_with("          "));
    let script = lines
        .collect::<Vec<_>>()
        .join("\n")
        .replace("${{ github.base_ref }}", "main");
    assert!(script.contains("origin/main"), "{script}");
    let temporary = folder.join("temporary");
    fs::create_dir(&temporary).unwrap();
    let script = format!("export GITHUB_SHA=$(git rev-parse HEAD)\n{script}");
    let target = folder.join("checkout/target");
    let variables = [
        ("RUNNER_TEMP", temporary.to_str().unwrap()),
        ("CARGO_TARGET_DIR", target.to_str().unwrap()),
    ];
    shell(&script, &folder.join("checkout"), &variables);
    for side in ["base", "head"] {
        let ended = support::run(&mut Command::new(temporary.join(side).join("server")));
        assert_eq!(ended.stdout, format!("{side}\n"));
    }
}

/// A folder with two servers, as `base/server PORT` and `head/server PORT`.
fn servers() -> TempDir {
    let folder = TempDir::new().unwrap();
    let urecho = env!("CARGO_BIN_EXE_urecho");
    let server = format!("#!/bin/sh\nexec {urecho} serve --engine epoll --workers 1 --listen 127.0.0.1:$2\n");
    for side in ["base", "head"] {
        let path = folder.path().join(side);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("server"), &server).unwrap();
        fs::set_permissions(path.join("server"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

/// Runs a script of a job in that folder, where io_uring is blocked, with a check that takes no time.
fn job(script: &str, folder: &Path, variables: &[(&str, &str)]) -> support::Output {
    let mut command = Command::new("bash");
    command.args(["-eo", "pipefail", "-c", script]).current_dir(folder);
    let short = [
        ("RESTARTS", "2"),
        ("BLOCKS", "1"),
        ("SLICE", "20ms"),
        ("CONNECTIONS", "2"),
    ];
    for (flag, value) in short {
        command.env(format!("URECHO_{flag}"), value);
    }
    command.envs(variables.iter().copied());
    refuse_io_uring(&mut command, libc::EPERM);
    support::run(&mut command)
}

/// A check of two restarts decides nothing, and its files say so.
fn assert_inconclusive(ended: &support::Output, code: i32, folder: &Path) {
    assert_eq!(ended.code(), Some(code), "{ended}");
    assert!(ended.stdout.contains("generator on epoll"), "{ended}");
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert!(text("check.html").contains("INCONCLUSIVE") && text("check.xml").contains("<testsuite"));
}

#[test]
fn the_recipe_for_gitlab_runs_where_io_uring_is_blocked() {
    let folder = servers();
    let recipe = recipe("*GitLab.*");
    let line = recipe
        .lines()
        .find_map(|line| line.trim().strip_prefix("- urecho "))
        .unwrap();
    assert!(recipe.contains("paths: [check.html]") && recipe.contains("junit: check.xml"));
    let script = format!("exec {} {line}", env!("CARGO_BIN_EXE_urecho"));
    assert_inconclusive(&job(&script, folder.path(), &[]), 3, folder.path());
}

/// The script of the job to include, and the inputs that it declares.
fn gitlab_job() -> (String, Vec<String>) {
    let text = fs::read_to_string(".gitlab/check.yml").unwrap();
    let (spec, job) = text.split_once("\n---\n").unwrap();
    let inputs = spec
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.strip_suffix(':'));
    let inputs = inputs
        .filter(|name| !name.starts_with(' '))
        .map(str::to_owned)
        .collect();
    let (_, script) = job.split_once("    - |\n").unwrap();
    let lines = script.lines().take_while(|line| line.starts_with("      "));
    (lines.collect::<Vec<_>>().join("\n"), inputs)
}

#[test]
fn the_job_to_include_in_gitlab_runs_where_io_uring_is_blocked() {
    let (script, _) = gitlab_job();
    for (inconclusive, code) in [("warn", 3), ("fail", 1)] {
        let folder = servers();
        let path = Path::new(env!("CARGO_BIN_EXE_urecho")).parent().unwrap().display();
        let variables = [
            ("PATH", format!("{path}:{}", std::env::var("PATH").unwrap())),
            ("BASE", "base/server --port {port}".into()),
            ("HEAD", "head/server --port {port}".into()),
            ("ARGUMENTS", "--base-ready 'listening on' --head-ready listening".into()),
            ("INCONCLUSIVE", inconclusive.into()),
        ];
        let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
        let ended = job(&script, folder.path(), &variables);
        assert_inconclusive(&ended, code, folder.path());
        assert!(
            fs::read_to_string(folder.path().join("check.json"))
                .unwrap()
                .contains("urecho.check/")
        );
    }
}

#[test]
fn every_input_of_the_job_to_include_in_gitlab_is_used_and_no_other() {
    let (_, inputs) = gitlab_job();
    assert_eq!(inputs.len(), 9, "{inputs:?}");
    let text = fs::read_to_string(".gitlab/check.yml").unwrap();
    let mut used: Vec<&str> = text
        .split("$[[ inputs.")
        .skip(1)
        .map(|rest| rest.split(' ').next().unwrap())
        .collect();
    used.sort_unstable();
    used.dedup();
    let mut declared: Vec<&str> = inputs.iter().map(String::as_str).collect();
    declared.sort_unstable();
    assert_eq!(used, declared);
}
