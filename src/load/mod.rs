//! The load generator: a plan in, measured latencies out.
//!
//! `pinger` is one connection and pure. `worker` is one thread, with `ramp` for opening connections and `pacing` for when
//! messages are sent; `workers` starts and joins all of them. `capacity` and `preflight` refuse a plan that cannot
//! succeed. A plan runs in one go, watched by `monitor`, or slice by slice as a `session`.

mod capacity;
pub mod interval;
mod monitor;
mod pacing;
pub mod payload;
mod phases;
pub mod pinger;
mod preflight;
mod ramp;
pub mod result;
pub mod schedule;
mod session;
mod shared;
pub mod sizes;
mod worker;
mod workers;
mod workload;

use crate::clock::Nanos;
use crate::error::Result;
use crate::sys::signal::Stop;
pub use capacity::fits_at_once;
use interval::Interval;
pub use result::RunResult;
pub use session::{Session, Slice};
use workers::Workers;
pub use workload::{Churn, Close, Plan, Traffic, Workload};

/// Receives what happens while a run goes on, on the thread that called [`run`].
pub trait Observer {
    /// How far the run is, 4 times a second.
    fn progress(&mut self, _progress: Progress) {}

    /// One second is over, all workers together. The last one may be shorter, and includes the drain.
    fn interval(&mut self, _interval: &Interval) {}
}

impl Observer for () {}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Connections opened so far.
    pub opened: u64,
    /// Messages completed so far, those of the warm-up not counted.
    pub completed: u64,
    /// Time since measuring began; zero before.
    pub elapsed: Nanos,
}

/// Runs a plan until its time is over or `stop` fires.
///
/// Errors: [`Error::Machine`](crate::error::Error::Machine) if it does not fit this machine,
/// [`Error::Target`](crate::error::Error::Target) if the target is not an echo server,
/// [`Error::Data`](crate::error::Error::Data) at the first wrong byte.
pub fn run(plan: Plan, stop: &Stop, observer: &mut dyn Observer) -> Result<RunResult> {
    let mut workers = Workers::start(&plan, stop, None)?;
    let observed = monitor::watch(&workers.shared, workers.server, &mut workers.intervals, observer);
    let (totals, usage) = (observed.totals, observed.usage);
    Ok(RunResult {
        plan,
        spin: workers.shared.spin,
        stats: workers.join()?,
        messages: totals.messages,
        latencies: totals.latencies,
        series: totals.series,
        server: usage.server,
        shares_cpu: usage.shares_cpu,
        host: usage.host,
        interrupted: stop.signal(),
    })
}
