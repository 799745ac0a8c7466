//! The exit codes of all commands, by cause. What outweighs what is decided and tested in `urecho::error`.

use super::{can, sh};
use crate::support::assert_says;
use crate::support::peers::{Peer, Reply};

/// A server for `compare` and `check`, in a variable of the shell.
const SERVER: &str = "S=\"$U serve --workers 1 --listen 127.0.0.1:{port}\"; ";

/// Commands that open connections, with as little to do as possible.
const MEASURING: [&str; 7] = [
    "\"$U\" load 127.0.0.1:7 -d 50ms",
    "\"$U\" load 127.0.0.1:7 -d 50ms --repeat 2",
    "\"$U\" bench -d 50ms",
    "\"$U\" compare --restarts 1 --blocks 1 --slice 20ms \"a=$S\" \"b=$S\"",
    "\"$U\" check --restarts 1 --blocks 1 --slice 20ms --base \"$S\" --head \"$S\"",
    "\"$U\" check baseline save --restarts 1 --blocks 1 --slice 20ms --head \"$S\" \"$(mktemp -u)\"",
    "\"$U\" find-max 'p99<1s' 127.0.0.1:7 -d 50ms",
];

/// Each command with these flags, in this place, ends with this exit code and says this.
fn assert_all(commands: &[&str], place: &str, flags: &str, code: i32, word: &str) {
    for command in commands {
        let ended = sh(&format!("{SERVER} {place} {command} {flags}"), &[]);
        assert_eq!(ended.code(), Some(code), "{command}: {ended}");
        assert!(
            ended.stderr.contains(word) || ended.stdout.contains(word),
            "{command}: {ended}"
        );
        assert!(!ended.stderr.contains("panicked"), "{command}: {ended}");
    }
}

#[test]
fn too_few_descriptors_are_the_machines() {
    assert_all(&MEASURING, "ulimit -n 200; exec", "-c 50000", 4, "ulimit -n");
}

#[test]
fn a_blocked_io_uring_is_the_machines() {
    if !can("strace -o /dev/null true", "strace, and the right to use it") {
        return;
    }
    for errno in ["EPERM", "ENOSYS"] {
        let place =
            format!("exec strace -f -qq -o /dev/null -e trace=io_uring_setup -e inject=io_uring_setup:error={errno}");
        // A target that is not there would be found first.
        assert_all(&MEASURING[2..6], &place, "-c 2", 4, "io_uring");
        assert_all(&["\"$U\" serve --listen 127.0.0.1:0"], &place, "", 4, "io_uring");
    }
}

#[test]
fn a_network_without_loopback_is_the_machines() {
    if !can("unshare -n true", "root and network namespaces") {
        return;
    }
    assert_all(&MEASURING, "exec unshare -n", "-c 2", 4, "ip link set lo up");
}

#[test]
fn a_connect_that_this_machine_forbids_is_the_machines() {
    if !can("strace -o /dev/null true", "strace, and the right to use it") {
        return;
    }
    for errno in ["EACCES", "EPERM"] {
        let place = format!("exec strace -f -qq -o /dev/null -e trace=connect -e inject=connect:error={errno}");
        assert_all(&["\"$U\" load 127.0.0.1:7"], &place, "", 4, "security module");
    }
}

#[test]
fn a_target_that_is_not_there_is_the_targets() {
    let targets = [MEASURING[0], MEASURING[1], MEASURING[6]];
    assert_all(&targets, "exec", "-c 1", 5, "cannot connect");
    let names = targets.map(|command| command.replace("127.0.0.1:7", "no-such-host.invalid:7007"));
    assert_all(
        &names.each_ref().map(String::as_str),
        "exec",
        "-c 1",
        5,
        "no-such-host.invalid",
    );
    let servers = [MEASURING[3], MEASURING[4]].map(|command| command.replace("$S", "false {port}"));
    assert_all(
        &servers.each_ref().map(String::as_str),
        "exec",
        "-c 1",
        5,
        "exit status: 1",
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_usage_error() {
    let commands = [
        "\"$U\" check replay /nonexistent",
        "\"$U\" check history /nonexistent",
        "\"$U\" check baseline compare --head \"$S\" /nonexistent",
        "\"$U\" load -s file:/nonexistent",
    ];
    assert_all(&commands, "exec", "", 2, "/nonexistent");
}

#[test]
fn wrong_data_outweighs_everything_but_the_machine_and_bugs() {
    let peer = Peer::replying(64, |_, number, mut bytes| {
        bytes[0] ^= u8::from(number > 3);
        Reply::Bytes(bytes)
    });
    let target = format!(
        "exec \"$U\" load {} -c 2 -d 20s --warmup 0s --assert 'p99<1ns'",
        peer.address
    );
    let ended = sh(&target, &[]);
    assert_eq!(ended.code(), Some(6), "{ended}");
    assert_says(&ended.stderr, &["wrong data"]);
}

#[test]
fn an_invalid_run_decides_no_assertion_and_blames_no_server_for_what_was_never_sent() {
    // A thousand times more than any machine can send: nothing but our own rate is at fault.
    let flags = "-c 10 --rate 1000M/s -d 200ms --warmup 0s --drain 0s --assert 'p99<1ns'";
    let ended = sh(&format!("exec \"$U\" bench {flags}"), &[]);
    assert_eq!(ended.code(), Some(3), "{ended}");
    assert_says(&ended.stdout, &["INVALID"]);
}

#[test]
fn a_summary_of_github_that_cannot_be_written_changes_no_verdict() {
    let record = "D=$(mktemp -d); trap 'rm -rf $D' EXIT; \
        \"$U\" check -c 2 --blocks 1 --slice 20ms --restarts 1 --profile closed --gate throughput --base \"$S\" --head \"$S\" \
        --json $D/rec.json > /dev/null 2>&1; \"$U\" check replay $D/rec.json > /dev/null; plain=$?; ";
    let replay = "GITHUB_STEP_SUMMARY=/nonexistent/summary GITHUB_ACTIONS=false \"$U\" check replay $D/rec.json; R=$?; \
        test $R = $plain";
    let ended = sh(&format!("{SERVER} {record} {replay}"), &[]);
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert_says(&ended.stderr, &["warning", "/nonexistent/summary"]);
    assert!(
        !ended.stdout.lines().any(|line| line.starts_with("::")),
        "not on GitHub: {ended}"
    );
}
