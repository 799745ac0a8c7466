//! `urecho doctor`: complete on every machine, and an explanation of a blocked io_uring that `serve` gives as well.

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use urecho::clock::Nanos;
use urecho::sys::usage;

use crate::support::reports::complaints;
use crate::support::seccomp::{kill_at_io_uring, refuse_io_uring};
use crate::support::{Output, Process, assert_says, run, until};

/// What it said in text, and in JSON.
struct Examined {
    output: Output,
    json: Value,
}

/// Runs `urecho doctor` behind a prefix, in a shell where `$U` is the program. Whatever happens, text and JSON are
/// complete.
fn doctor(prefix: &str, flags: &str, prepare: impl FnOnce(&mut Command)) -> Examined {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("doctor.json");
    let mut command = Command::new("sh");
    let script = format!("{prefix} \"$U\" doctor {flags} --json \"$J\"");
    command.args(["-c", &script]);
    command.env("U", env!("CARGO_BIN_EXE_urecho")).env("J", &file);
    prepare(&mut command);
    let output = run(&mut command);
    let text = fs::read_to_string(&file).unwrap_or_else(|_| panic!("no JSON: {output}"));
    let json = serde_json::from_str(&text).unwrap();
    assert_eq!(complaints(&json), [""; 0], "{json:#}");
    let examined = Examined { output, json };
    examined.assert_complete();
    examined
}

impl Examined {
    fn findings(&self) -> Vec<&Value> {
        let groups = self.json["groups"].as_array().unwrap();
        groups
            .iter()
            .flat_map(|group| group["findings"].as_array().unwrap())
            .collect()
    }

    fn finding(&self, name: &str) -> &Value {
        let found = self.findings().into_iter().find(|finding| finding["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {:#}", self.json))
    }

    /// Every finding is in the text, and each that has to change has a command there, on a line of its own.
    fn assert_complete(&self) {
        let text = &self.output.stdout;
        assert!(!self.output.stderr.contains("panicked"), "{}", self.output);
        for group in ["io_uring", "limits", "network", "cpu"] {
            assert!(
                self.json["groups"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|found| found["name"] == group)
            );
        }
        for finding in self.findings() {
            assert!(
                text.contains(finding["name"].as_str().unwrap()),
                "{finding:#} in {text}"
            );
            let remedies = finding["remedies"].as_array().unwrap();
            let has_to_change = finding["state"] == "warning" || finding["state"] == "blocked";
            // One CPU in a machine with one is no matter of commands.
            assert!(
                !has_to_change || !remedies.is_empty() || finding["name"] == "CPUs",
                "{finding:#}"
            );
            for remedy in remedies {
                let line = format!("$ {}", remedy["command"].as_str().unwrap());
                assert!(text.lines().any(|found| found.trim_start() == line), "{line} in {text}");
            }
        }
        let code = if self.json["can_serve"] == true { 0 } else { 4 };
        assert!(
            self.output.code() == Some(code) || self.json["partial"] == true,
            "{}",
            self.output
        );
    }
}

/// The message of `urecho serve` with this prefix, which must not run.
fn refusal_of_serve(prefix: &str, prepare: impl FnOnce(&mut Command)) -> String {
    let mut command = Command::new("sh");
    let script = format!("{prefix} \"$U\" serve --workers 1 --listen 127.0.0.1:0");
    command.args(["-c", &script]).env("U", env!("CARGO_BIN_EXE_urecho"));
    prepare(&mut command);
    let ended = run(&mut command);
    assert_eq!(ended.code(), Some(4), "{ended}");
    ended.stderr
}

fn can(script: &str, needs: &str) -> bool {
    let possible = run(Command::new("sh").args(["-c", script])).status.success();
    if !possible {
        println!("SKIPPED: needs {needs}");
    }
    possible
}

#[test]
fn this_machine_is_examined_completely_in_text_and_in_json() {
    let examined = doctor("exec", "--noise 400ms", |_| {});
    let noise = &examined.json["noise"];
    assert!(noise["timer"]["count"].as_u64().unwrap() > 0, "{noise}");
    assert!(noise["busy_loop"]["span_ns"].as_u64().unwrap() > 0, "{noise}");
    let descriptors = &examined.finding("descriptors")["connections"];
    assert!(
        descriptors["serve"].is_u64() && descriptors["load"].is_u64(),
        "{descriptors}"
    );
    assert_eq!(examined.json["partial"], false);
}

#[test]
fn without_noise_nothing_is_measured() {
    let examined = doctor("exec", "--noise 0s", |_| {});
    assert!(examined.json["noise"].is_null());
}

#[test]
fn each_error_of_io_uring_has_a_diagnosis_of_its_own_which_serve_gives_too() {
    if !can("strace -o /dev/null true", "strace, and the right to use it") {
        return;
    }
    let mut causes = Vec::new();
    for errno in ["EPERM", "ENOSYS", "ENOMEM", "EINVAL", "EOPNOTSUPP", "EACCES", "EIO"] {
        let prefix =
            format!("exec strace -f -qq -o /dev/null -e trace=io_uring_setup -e inject=io_uring_setup:error={errno}");
        let examined = doctor(&prefix, "--noise 0s", |_| {});
        assert_eq!(examined.output.code(), Some(4), "{errno}: {}", examined.output);
        let finding = examined.finding("io_uring");
        assert_eq!(finding["state"], "blocked", "{errno}: {finding:#}");
        let what = finding["what"].as_str().unwrap();
        let (error, cause) = what
            .split_once(": ")
            .and_then(|(_, rest)| rest.split_once(": "))
            .unwrap();
        assert!(error.contains("os error"), "{what}");
        // EACCES is refused by the same as EPERM; numbers of bytes differ between two rings.
        let message = refusal_of_serve(&prefix, |_| {});
        assert!(
            errno == "ENOMEM" || message.contains(&cause[1..]),
            "{cause:?} in {message}"
        );
        assert_says(&message, &["`urecho doctor` explains it"]);
        if errno != "EACCES" {
            causes.push(cause.to_owned());
        }
    }
    let count = causes.len();
    causes.sort();
    causes.dedup();
    assert_eq!(causes.len(), count, "{causes:#?}");
}

/// A container of Docker, as far as a process can see: its variable, and a namespace.
const DOCKER: &str = "exec unshare --uts env container=docker";

#[test]
fn a_blocked_io_uring_in_a_container_is_explained_to_a_reader_who_has_never_heard_of_seccomp() {
    if !can("unshare --uts true", "root and namespaces") {
        return;
    }
    let examined = doctor(DOCKER, "--noise 0s", |command| refuse_io_uring(command, libc::EPERM));
    assert_eq!(examined.output.code(), Some(4), "{}", examined.output);
    let text = &examined.output.stdout;
    let words = text.split_whitespace().filter(|word| *word != "#");
    let flat = words.collect::<Vec<_>>().join(" ");
    assert_says(
        &flat,
        &[
            "a seccomp filter of a Docker container blocks io_uring",
            "A container is started with a list of the system calls that its programs may make: its seccomp profile",
            "nothing is wrong with this kernel or with urecho",
            "$ docker run --security-opt seccomp=unconfined IMAGE",
            "for images that you trust",
            "--engine epoll",
        ],
    );
    let message = refusal_of_serve(DOCKER, |command| refuse_io_uring(command, libc::EPERM));
    assert_says(
        &message,
        &[
            "Docker container",
            "`docker run --security-opt seccomp=unconfined IMAGE`",
            "urecho doctor",
        ],
    );
}

#[test]
fn a_filter_that_kills_is_survived_and_explained() {
    let examined = doctor("exec", "--noise 0s", kill_at_io_uring);
    assert_eq!(examined.output.code(), Some(4), "{}", examined.output);
    let what = examined.finding("io_uring")["what"].as_str().unwrap();
    assert_says(what, &["signal 31", "seccomp filter"]);
}

#[test]
fn what_is_hidden_is_not_known_and_takes_nothing_else_with_it() {
    if !can("unshare -m mount -t tmpfs none /proc", "root and mount namespaces") {
        return;
    }
    for hidden in [
        "mount -t tmpfs none /proc",
        "mount -t tmpfs none /sys",
        "mount -t tmpfs -o ro none /sys",
        "mount -t tmpfs none /proc && mount -t tmpfs none /sys",
    ] {
        let examined = doctor(
            &format!("exec unshare -m sh -c '{hidden}; exec \"$@\"' sh"),
            "--noise 100ms",
            |_| {},
        );
        let is_proc_hidden = hidden.contains("/proc");
        assert_eq!(
            examined.finding("TCP memory")["state"] == "unknown",
            is_proc_hidden,
            "{hidden}"
        );
    }
}

#[test]
fn a_network_without_loopback_is_blocked_with_its_command() {
    if !can("unshare -n true", "root and network namespaces") {
        return;
    }
    let examined = doctor("exec unshare -n", "--noise 0s", |_| {});
    assert_eq!(examined.output.code(), Some(4), "{}", examined.output);
    assert_eq!(
        examined.finding("loopback")["remedies"][0]["command"],
        "ip link set lo up"
    );
}

#[test]
fn limits_are_counted_in_connections() {
    let examined = doctor("ulimit -n 200; exec", "--noise 0s", |_| {});
    let finding = examined.finding("descriptors");
    assert_eq!(finding["state"], "warning", "{finding:#}");
    let of = |command: &str| finding["connections"][command].as_u64().unwrap();
    assert!((150..200).contains(&of("serve")), "{finding:#}");
    // Direct descriptors, in tables of 200.
    assert!((200..40_000).contains(&of("load")), "{finding:#}");
}

#[test]
fn an_interrupt_ends_the_measurement_of_noise_and_keeps_what_was_measured() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("doctor.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.args(["doctor", "--noise", "1h", "--json"]).arg(&file);
    let process = Process::spawn(&mut command);
    let pid = process.pid();
    // More than the rest takes: then it is measuring.
    let busy = Nanos::from(Duration::from_millis(300));
    until("noise is measured", || {
        usage::process_cpu(pid).is_some_and(|used| used > busy)
    });
    process.signal(Signal::SIGINT);
    let ended = process.wait();
    assert_eq!(ended.code(), Some(130), "{ended}");
    let json: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(complaints(&json), [""; 0], "{json:#}");
    assert_eq!(json["partial"], true);
    assert!(json["noise"]["timer"]["count"].as_u64().unwrap() > 0, "{json:#}");
    assert_says(&ended.stdout, &["PARTIAL", "sleeps of 1 ms"]);
}
