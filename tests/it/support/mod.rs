//! What the tests share. Nothing here uses the ring, and whatever is started here ends when its handle is dropped.

// The same tests for every engine.
mod engines;

// A proxy that delays, cuts and corrupts.
pub(crate) mod faulty_proxy;

// Both ways in which a generator talks to the kernel.
pub(crate) mod io;

// Network namespaces: counters and losses of one test.
pub(crate) mod network;

// Honest and dishonest TCP peers to put load on.
pub(crate) mod peers;

// Such a peer in a process of its own.
pub(crate) mod peer_process;

// Child processes: the one runner.
mod process;

// Pseudoterminals.
pub(crate) mod pty;

// Readers of interval logs that other projects wrote, and SciPy.
pub(crate) mod readers;

// The JSON reports, validated.
pub(crate) mod reports;

// `urecho load`, `bench`, `compare` and `check` as processes that write a report.
pub(crate) mod runs;

// Seccomp filters for one child.
pub(crate) mod seccomp;

// `urecho serve` as a process.
mod serve_process;

// `urecho serve` on a thread of this process.
mod server;

// Rust source as text.
pub(crate) mod source;

// Blocking TCP clients.
mod streams;

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use engines::{on_every_engine, with_direct_descriptors};
pub(crate) use process::{Output, Process, run};
pub(crate) use serve_process::ServeProcess;
pub(crate) use server::Server;
pub(crate) use streams::{
    assert_comes, assert_echo, assert_echo_to_the_end, assert_ends_with, bytes, connect, connect_many, reset, shrink,
    stuff,
};

/// Longer than any step of a test takes on a busy machine: reaching it is a failure, never a measurement.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until `condition` holds. Panics with `what` it was waiting for.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Panics unless `text` contains every one of `phrases`.
pub(crate) fn assert_says(text: &str, phrases: &[&str]) {
    for phrase in phrases {
        assert!(text.contains(phrase), "no {phrase:?} in: {text}");
    }
}

/// Panics if `value` is greater than `most`.
pub(crate) fn assert_at_most<T: PartialOrd + Debug>(what: &str, value: T, most: T) {
    assert!(value <= most, "{what}: {value:?} is more than {most:?}");
}
