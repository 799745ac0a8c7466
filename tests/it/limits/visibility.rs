//! What cannot be seen or written: /proc, file systems.

use super::{assert_measured, assert_refused, can, is_root, sh};
use crate::support::Server;

#[test]
fn without_limits_to_read_a_load_is_measured() {
    if !can("strace -o /dev/null true", "strace, and the right to use it") {
        return;
    }
    let server = Server::start();
    let script = "exec strace -f -qq -o /dev/null -e trace=prlimit64 -e inject=prlimit64:error=EPERM \
        \"$U\" load \"$1\" -c 2 -d 200ms --warmup 0s";
    assert_measured(&sh(script, &[&server.address.to_string()]));
}

#[test]
fn without_proc_a_load_is_measured_and_a_command_that_needs_it_says_so() {
    if !is_root() || !can("unshare -m mount -t tmpfs none /proc", "mount namespaces") {
        return;
    }
    let server = Server::start();
    let address = server.address.to_string();
    let hidden = "mount -t tmpfs none /proc; exec \"$U\"";
    let place =
        |command: &str| format!("exec unshare -m sh -c '{hidden} {command} -c 2 -d 200ms --warmup 0s' sh \"$@\"");
    assert_measured(&sh(&place("load \"$1\""), &[&address]));
    let ended = sh(&place("bench"), &[]);
    match ended.code() {
        Some(4) => assert_refused(&ended, &["/proc"]),
        _ => assert_measured(&ended),
    }
}

#[test]
fn without_dev_a_load_is_measured_and_a_command_that_needs_it_says_so() {
    if !is_root() || !can("unshare -m mount -t tmpfs none /dev", "mount namespaces") {
        return;
    }
    let server = Server::start();
    let hidden = "mount -t tmpfs none /dev; exec \"$U\"";
    let place = |command: &str| format!("exec unshare -m sh -c '{hidden} {command}' sh \"$@\"");
    let load = place("load \"$1\" -c 2 -d 200ms --warmup 0s");
    assert_measured(&sh(&load, &[&server.address.to_string()]));
    let compare = place("compare -c 2 --restarts 1 \"a=$U serve --listen 127.0.0.1:{port}\"");
    for command in [place("bench -c 2 -d 200ms"), compare] {
        let ended = sh(&command, &[]);
        assert_eq!(ended.code(), Some(4), "{ended}");
        let said = ended.stdout + &ended.stderr;
        assert!(said.contains("/dev/null is missing"), "{said}");
    }
}

#[test]
fn on_a_read_only_file_system_a_run_is_measured_and_an_output_is_refused_before_it() {
    if !is_root() || !can("unshare -m mount -t tmpfs -o ro none /mnt", "mount namespaces") {
        return;
    }
    let server = Server::start();
    let address = server.address.to_string();
    let place = |command: &str| {
        format!(
            "exec unshare -m sh -c 'mount -t tmpfs -o ro none /mnt && cd /mnt && exec \"$U\" {command} -c 2 -d 200ms --warmup 0s' sh \"$@\""
        )
    };
    assert_measured(&sh(&place("load \"$1\""), &[&address]));
    let ended = sh(&place("load \"$1\" --json x.json"), &[&address]);
    assert_refused(&ended, &["x.json", "Read-only file system"]);
    assert!(ended.stdout.is_empty(), "nothing was measured: {ended}");
}
