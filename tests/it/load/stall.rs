//! The stall test: a server that stops for a while, and who notices.
//!
//! A server is stopped (SIGSTOP) for a stretch S in the middle of T seconds of running. In an open loop every message
//! planned meanwhile waits for the rest of it, so the slowest hundredth of all messages waited at least S - T/100. A closed
//! loop sends nothing meanwhile, and its percentiles know nothing of it: coordinated omission (Gil Tene).

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use urecho::clock::Nanos;
use urecho::histogram::Recorder;
use urecho::load::interval::Interval;
use urecho::load::schedule::{Arrivals, Pace, Rate};
use urecho::load::{self, Observer, Plan, RunResult, Workload};
use urecho::sys::signal::Stop;

use crate::support::ServeProcess;

const MEASURED: Duration = Duration::from_secs(3);
const STALL: Duration = Duration::from_millis(600);

#[test]
fn an_open_loop_sees_what_everybody_waited_for() {
    let rate = Rate {
        from: 1000.0,
        to: 1000.0,
    };
    let (outcome, stalled) = run_with_stall(Pace::Open {
        rate,
        arrivals: Arrivals::Poisson,
    });
    let expected = stalled.as_secs_f64() - MEASURED.as_secs_f64() / 100.0;
    let p99 = p99(&outcome.latencies.response);
    // A Poisson schedule is off by some messages, and a busy machine lets the server catch up slowly.
    assert!(
        (p99 - expected).abs() < 0.15 * expected,
        "p99 {p99:.3} s, by arithmetic {expected:.3} s"
    );
}

#[test]
fn a_closed_loop_hides_the_same_stall_from_its_percentiles() {
    let (outcome, stalled) = run_with_stall(Pace::Closed { think: Nanos(0) });
    assert_eq!(outcome.latencies.response.count(), 0, "it has no plan to measure from");
    let max = outcome.latencies.service.max().unwrap().value.as_secs();
    assert!(
        max >= stalled.as_secs_f64() * 0.9,
        "one message a connection waited: {max:.3} s"
    );
    // 20 connections wait once each, among thousands of messages.
    assert!(
        p99(&outcome.latencies.service) < stalled.as_secs_f64() / 2.0,
        "{outcome:?}"
    );
}

/// Measures while the server is stopped for a while in the middle; says for how long it was, by the clock.
fn run_with_stall(pace: Pace) -> (RunResult, Duration) {
    let server = ServeProcess::start(&["--workers", "1"]);
    let workload = Workload {
        connections: 20,
        pace,
        warmup: Nanos(100_000_000),
        duration: MEASURED.into(),
        drain: Nanos(5_000_000_000),
        ..Workload::default()
    };
    let plan = Plan {
        targets: vec![server.address],
        workload,
    };
    let mut cue = Cue(Some(&server), Duration::ZERO);
    let outcome = load::run(plan, &Stop::new().unwrap(), &mut cue).unwrap();
    assert_eq!(
        outcome.messages.sent, outcome.messages.completed,
        "all of them come back in the end"
    );
    (outcome, cue.1)
}

/// Stops the server when the first second has been measured, and lets it go on.
struct Cue<'a>(Option<&'a ServeProcess>, Duration);

impl Observer for Cue<'_> {
    fn interval(&mut self, _interval: &Interval) {
        let Some(server) = self.0.take() else { return };
        let begin = Instant::now();
        server.signal(Signal::SIGSTOP);
        thread::sleep(STALL); // The length of the stall is what the test is about.
        server.signal(Signal::SIGCONT);
        self.1 = begin.elapsed();
    }
}

/// In seconds.
fn p99(recorder: &Recorder) -> f64 {
    recorder.quantile(0.99).expect("enough samples").value.as_secs()
}
