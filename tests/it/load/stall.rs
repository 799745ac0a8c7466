//! A stalled server: an open loop measures the stall, a closed loop hides it.
//!
//! The server is stopped (SIGSTOP) for S seconds in the middle of T seconds of measuring. In an open loop every message
//! planned meanwhile waits for the rest of the stall, so that p99 is about S - T/100. A closed loop sends nothing
//! meanwhile, and its percentiles do not contain the stall: coordinated omission (Gil Tene).

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
use crate::support::io::{self, on_each_io};

on_each_io! {
    an_open_loop_measures_the_stall,
    a_closed_loop_hides_the_stall_from_its_percentiles,
}

const MEASURED: Duration = Duration::from_secs(3);
const STALL: Duration = Duration::from_millis(600);

fn an_open_loop_measures_the_stall() {
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
    // A Poisson schedule varies by some messages, and on a busy machine the server catches up slowly.
    assert!(
        (p99 - expected).abs() < 0.15 * expected,
        "p99 is {p99:.3} s, expected {expected:.3} s"
    );
}

fn a_closed_loop_hides_the_stall_from_its_percentiles() {
    let (outcome, stalled) = run_with_stall(Pace::Closed { think: Nanos(0) });
    assert_eq!(
        outcome.latencies.response.count(),
        0,
        "a closed loop has no response time"
    );
    let max = outcome.latencies.service.max().unwrap().value.as_secs();
    assert!(
        max >= stalled.as_secs_f64() * 0.9,
        "one message per connection waited: {max:.3} s"
    );
    // 20 messages of thousands waited, one per connection.
    assert!(
        p99(&outcome.latencies.service) < stalled.as_secs_f64() / 2.0,
        "{outcome:?}"
    );
}

/// Runs a load with a stall in its middle. Returns the result and the measured length of the stall.
fn run_with_stall(pace: Pace) -> (RunResult, Duration) {
    let server = ServeProcess::start(&["--workers", "1"]);
    let workload = Workload {
        io: io::current(),
        connections: 20,
        pace,
        warmup: Nanos(100_000_000),
        duration: MEASURED.into(),
        drain: Nanos(5_000_000_000),
        ..Workload::default()
    };
    let plan = Plan {
        targets: vec![server.address.into()],
        workload,
    };
    let mut staller = Staller {
        server: Some(&server),
        stalled: Duration::ZERO,
    };
    let outcome = load::run(plan, &Stop::new().unwrap(), &mut staller).unwrap();
    assert_eq!(
        outcome.messages.sent, outcome.messages.completed,
        "every message is completed"
    );
    (outcome, staller.stalled)
}

/// Stops the server for [`STALL`] once the first second has been measured.
struct Staller<'a> {
    /// None once it has been stopped.
    server: Option<&'a ServeProcess>,
    /// How long it was stopped.
    stalled: Duration,
}

impl Observer for Staller<'_> {
    fn interval(&mut self, _interval: &Interval) {
        let Some(server) = self.server.take() else { return };
        let begin = Instant::now();
        server.signal(Signal::SIGSTOP);
        thread::sleep(STALL); // The stall itself.
        server.signal(Signal::SIGCONT);
        self.stalled = begin.elapsed();
    }
}

/// In seconds.
fn p99(recorder: &Recorder) -> f64 {
    recorder.quantile(0.99).expect("enough samples").value.as_secs()
}
