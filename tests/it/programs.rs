//! A program that changes on disk while it is compared ends the comparison; ours may be replaced while it runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use urecho::sys::{offspring, usage};

use crate::support::runs::Running;
use crate::support::{Process, assert_says, until};

const SHORT: &str = "-c 2 --blocks 1 --slice 20ms --slice-warmup 5ms";

/// A script that first runs `line` and then is a server.
fn script(folder: &TempDir, line: &str) -> String {
    let path = folder.path().join("server");
    let server = env!("CARGO_BIN_EXE_urecho");
    let text = format!("{line}\nexec {server} serve --workers 1 --listen 127.0.0.1:$1\n");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn copy_of_urecho(folder: &TempDir) -> String {
    let path = folder.path().join("urecho");
    fs::copy(env!("CARGO_BIN_EXE_urecho"), &path).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Puts another program at a path, as a build does.
fn replace(path: &str) {
    let new = format!("{path}.new");
    fs::write(&new, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, path).unwrap();
}

fn await_load(pid: i32) {
    let busy = |pid: i32| usage::process_cpu(pid).is_some_and(|cpu| cpu.0 > 20_000_000);
    until("a server is under load", || {
        let started = offspring::of_groups(&[], &[pid]);
        started.into_iter().any(|other| other != pid && busy(other))
    });
}

#[test]
fn a_script_that_changes_ends_the_comparison() {
    for wrapper in ["sh", "env A=b sh -e", "sh -c 'exec sh \"$0\" \"$1\"'"] {
        let folder = TempDir::new().unwrap();
        let path = script(&folder, "echo '# more' >> \"$0\"");
        let candidates = [format!("a={wrapper} {path} {{port}}")];
        let measured = Running::compare(&candidates, &format!("{SHORT} --restarts 3")).wait();
        let failure = measured.report(3)["scenarios"][0]["servers"][0]["failure"].to_string();
        assert_says(&failure, &[&path, "has changed", "two different servers"]);
    }
}

#[test]
fn a_binary_that_is_replaced_ends_the_comparison_of_all() {
    let folder = TempDir::new().unwrap();
    let copy = copy_of_urecho(&folder);
    let ours = env!("CARGO_BIN_EXE_urecho");
    let candidates = [ours, &copy].map(|program| {
        let name = if program == ours { "a" } else { "b" };
        format!("{name}={program} serve --workers 1 --listen 127.0.0.1:{{port}}")
    });
    let running = Running::compare(&candidates, &format!("{SHORT} --restarts 100000"));
    await_load(running.pid());
    replace(&copy);
    let measured = running.wait();
    assert_says(&measured.report(3).to_string(), &["has changed"]);
}

#[test]
fn a_program_that_changed_and_then_fails_ends_the_comparison_of_all() {
    let folder = TempDir::new().unwrap();
    let fails_later = r#"if [ -e "$0.started" ]; then echo '# more' >> "$0"; exit 1; fi; touch "$0.started""#;
    let path = script(&folder, fails_later);
    let candidates = [
        format!(
            "a={} serve --workers 1 --listen 127.0.0.1:{{port}}",
            env!("CARGO_BIN_EXE_urecho")
        ),
        format!("b=sh {path} {{port}}"),
    ];
    let measured = Running::compare(&candidates, &format!("{SHORT} --restarts 100000")).wait();
    assert_says(&measured.report(3).to_string(), &[&path, "has changed"]);
}

#[test]
fn a_program_that_is_replaced_ends_a_check() {
    let folder = TempDir::new().unwrap();
    let path = script(&folder, "echo '# more' >> \"$0\"");
    let ours = format!(
        "{} serve --workers 1 --listen 127.0.0.1:{{port}}",
        env!("CARGO_BIN_EXE_urecho")
    );
    let flags = "-c 2 --blocks 1 --slice 20ms --restarts 2 --profile closed --gate throughput";
    let measured = Running::check(&ours, &format!("sh {path} {{port}}"), flags).wait();
    assert_eq!(measured.code(), Some(3), "{measured}");
    assert_says(&measured.stdout, &["has changed"]);
}

#[test]
fn a_file_that_is_touched_or_written_with_the_same_content_has_not_changed() {
    let folder = TempDir::new().unwrap();
    let path = script(&folder, "touch \"$0\"; cp \"$0\" \"$0.copy\"; mv \"$0.copy\" \"$0\"");
    let candidates = [format!("a=sh {path} {{port}} {}", folder.path().join("log").display())];
    Running::compare(&candidates, &format!("{SHORT} --restarts 2"))
        .wait()
        .report(0);
}

#[test]
fn our_own_executable_may_be_replaced_while_it_runs() {
    let folder = TempDir::new().unwrap();
    let copy = copy_of_urecho(&folder);
    let mut command = Command::new(&copy);
    command
        .args(["compare", "--restarts", "4"])
        .args(SHORT.split_whitespace());
    let process = Process::spawn(&mut command);
    await_load(process.pid());
    replace(&copy);
    let ended = process.wait();
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert!(!ended.stdout.contains("FAILED"), "{ended}");
    assert!(Path::new(&copy).exists());
}
