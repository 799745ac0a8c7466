//! io_uring_enter(2) fails: for a moment, which is outlasted, or forever, which is refused with its reason.

use urecho::ring;

use super::{assert_measured, assert_refused, can, sh};
use crate::support::Server;

fn has_strace() -> bool {
    can("strace -o /dev/null true", "strace, and the right to use it")
}

/// `bench` under strace, which makes calls of io_uring_enter fail as `how` says: in the server and in the load.
fn bench_with(how: &str) -> crate::support::Output {
    let script = "exec strace -f -qq -o /dev/null -e trace=io_uring_enter -e inject=io_uring_enter:\"$1\" \
        \"$U\" bench --workers 1 -c 4 -d 500ms --warmup 0s --drain 20s";
    sh(script, &[how])
}

#[test]
fn errors_of_a_moment_are_outlasted() {
    if !has_strace() {
        return;
    }
    for errno in ["EAGAIN", "EBUSY", "ENOMEM", "EBADR", "EINTR"] {
        assert_measured(&bench_with(&format!("error={errno}:when=60..62")));
        assert_measured(&bench_with(&format!("error={errno}:when=40+50")));
    }
}

#[test]
fn a_ring_that_may_be_made_but_not_used_is_explained() {
    if !has_strace() {
        return;
    }
    for (errno, words) in [
        ("EPERM", ["io_uring", "Operation not permitted"]),
        ("ENOSYS", ["io_uring", "seccomp"]),
    ] {
        assert_refused(&bench_with(&format!("error={errno}")), &words);
        // Blocked while it runs.
        assert_refused(&bench_with(&format!("error={errno}:when=50+")), &words);
    }
}

#[test]
fn an_error_that_lasts_is_the_machines_and_no_bug() {
    if !has_strace() {
        return;
    }
    assert_refused(
        &bench_with("error=ENOMEM:when=50+"),
        &["io_uring", "Cannot allocate memory"],
    );
}

#[test]
fn the_lines_of_a_run_that_an_error_ended_are_marked_as_partial() {
    if !has_strace() {
        return;
    }
    let server = Server::start();
    // Ten milliseconds pass between two calls at least: the error comes after the first second, and long before the
    // last.
    let script = "D=$(mktemp -d); strace -f -qq -o /dev/null -e trace=io_uring_enter -e inject=io_uring_enter:error=EPERM:when=900+ \
        \"$U\" load \"$1\" -c 1 --rate 100/s -d 60m --warmup 0s --csv $D/csv --jsonl $D/jsonl --hlog $D/hlog --json $D/json; R=$?; \
        cat $D/json; for f in csv jsonl hlog; do wc -l < $D/$f; tail -n 1 $D/$f; done; rm -r $D; exit $R";
    let ended = sh(script, &[&server.address.to_string()]);
    assert_eq!(ended.code(), Some(4), "{ended}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let [csv_lines, csv, jsonl_lines, jsonl, _, hlog] = lines[..] else {
        panic!("no report, and three files: {ended}")
    };
    assert!(
        csv_lines.parse::<u32>().unwrap() >= 3,
        "a header and two seconds: {ended}"
    );
    assert!(jsonl_lines.parse::<u32>().unwrap() >= 2, "{ended}");
    assert!(csv.ends_with(",true"), "{ended}");
    assert!(jsonl.ends_with("\"partial\":true}"), "{ended}");
    assert!(hlog.starts_with("#[PARTIAL"), "{ended}");
}

#[test]
fn a_sleep_of_a_ring_is_no_wait_for_a_disk() {
    let knows = |feature: &ring::Feature| feature.name == "no-iowait" && feature.trial == ring::Trial::Works;
    if !ring::features().iter().any(knows) {
        return println!("SKIPPED: needs Linux 6.15 (IORING_ENTER_NO_IOWAIT)");
    }
    if !has_strace() {
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = "strace -f -qq -X raw -e trace=io_uring_enter -o \"$1\" \
        \"$U\" bench --workers 1 -c 4 -d 200ms --warmup 0s >/dev/null; cat \"$1\"";
    let calls = sh(script, &[file.path().to_str().unwrap()]).stdout;
    // `PID io_uring_enter(ring, submit, wait for, flags, ...)`; where a call is resumed there are no arguments.
    let flags = calls.lines().filter_map(|line| {
        let (pid, arguments) = line.split_once(" io_uring_enter(")?;
        let flags = arguments.split(", ").nth(3)?.strip_prefix("0x")?;
        Some((pid.trim(), u32::from_str_radix(flags, 16).ok()? & NO_IOWAIT != 0))
    });
    const NO_IOWAIT: u32 = 1 << 7;
    // A new ring is tried without the flag first.
    let mut running = std::collections::BTreeSet::new();
    for (pid, has_flag) in flags {
        assert!(has_flag || !running.contains(pid), "{calls}");
        if has_flag {
            running.insert(pid);
        }
    }
    assert!(
        running.len() >= 2,
        "a worker of the server, and a thread of the load: {calls}"
    );
}
