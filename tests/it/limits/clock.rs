//! Clocks that differ between this process and the kernel, or that jump.

use super::{assert_measured, can, sh};
use crate::support::Server;

/// Longer than a run takes on any machine: reaching it is the failure.
const TIMEOUT: &str = "timeout -k 5 120";

const FLAGS: &str = "-c 2 --rate 50/s -d 500ms --warmup 0s";

#[test]
fn in_a_time_namespace_every_wait_ends() {
    if !can(
        "unshare -T --monotonic 1 --fork true",
        "root and time namespaces (Linux 5.6)",
    ) {
        return;
    }
    let server = Server::start();
    for offset in ["100000", "-50", "0"] {
        let place = format!("{TIMEOUT} unshare -T --monotonic {offset} --fork --kill-child --");
        let address = server.address.to_string();
        assert_measured(&sh(&format!("exec {place} \"$U\" load \"$1\" {FLAGS}"), &[&address]));
        // Its server stops although a peer is idle.
        assert_measured(&sh(
            &format!("exec {place} \"$U\" bench -c 2 -d 200ms --warmup 0s"),
            &[],
        ));
    }
}

#[test]
fn a_faked_clock_ends_no_run_early_and_none_late() {
    if !can("faketime -f +0 true", "faketime (libfaketime)") {
        return;
    }
    let server = Server::start();
    let address = server.address.to_string();
    for fake in ["'2024-01-01 00:00:00'", "'2035-01-01 00:00:00'", "-f +0", "-f -10d"] {
        let script = format!("exec {TIMEOUT} faketime {fake} \"$U\" load \"$1\" {FLAGS}");
        assert_measured(&sh(&script, &[&address]));
    }
}
