//! No more threads: `ulimit -u` counts all threads of a user.

use super::{as_user, assert_measured_or_refused, is_root, sh};
use crate::support::{Server, assert_says};

#[test]
fn a_thread_that_cannot_be_started_is_refused_with_the_limit_and_never_panics() {
    if !is_root() {
        return;
    }
    let server = Server::start();
    let address = server.address.to_string();
    let mut refused = 0;
    // One uid for each: its processes are counted.
    for limit in 2..12 {
        for (place, command) in [
            "load \"$1\" -t 4 -c 16 -s 1MiB",
            "load \"$1\" -t 4 -c 16",
            "bench -c 16",
        ]
        .iter()
        .enumerate()
        {
            let uid = 70_100 + 10 * limit + place as u32;
            let script = format!("exec prlimit --nproc={limit} \"$U\" {command} -d 200ms --warmup 0s");
            let ended = sh(&as_user(uid, &script), &[&address]);
            assert_measured_or_refused(&ended, &["ulimit -u", "cannot start"]);
            assert!(!ended.stderr.contains("panicked"), "{ended}");
            if ended.code() == Some(4) {
                refused += 1;
                assert_says(&ended.stderr, &["Resource temporarily unavailable"]);
            }
        }
    }
    assert!(refused > 0, "no limit was low enough");
}
