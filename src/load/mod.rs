//! The load generator: a plan in, measured latencies out.
//!
//! Decisions are pure and know no kernel, clock or thread: `connection` with its `pipeline` of messages, `dialer`,
//! `timeline`, `accounting`. A `worker` is one thread: it waits for completions, passes events on and does what they
//! say. `workers` starts and joins all of them, after `capacity` and `preflight` have refused a plan that cannot
//! succeed. A plan runs in one go, watched by `monitor`, or slice by slice as a `session`.

mod accounting;
mod active;
pub mod by_target;
mod capacity;
pub mod connection;
mod dialer;
pub mod interval;
mod monitor;
mod observer;
mod outbox;
pub mod over_time;
pub mod payload;
mod phases;
pub mod pipeline;
mod preflight;
mod rate_control;
pub mod result;
mod run_result;
pub mod schedule;
mod servers;
mod session;
mod shared;
pub mod sizes;
mod sources;
mod stalls;
mod target;
mod tcp_memory;
mod timeline;
mod worker;
mod workers;
mod workload;

use crate::error::Result;
use crate::sys::signal::Stop;
use crate::sys::sock_diag;
pub use capacity::{MostConnections, check_fits, check_machine, fits_at_once, has_descriptors};
pub use observer::{Observer, Progress};
pub use preflight::no_source_port;
pub use rate_control::{RateChange, RateControl};
pub use run_result::RunResult;
pub use session::{Session, Slice};
pub use sources::sources_on_loopback;
pub use target::Target;
pub use tcp_memory::room_in_tcp_memory;
use workers::Workers;
pub use workload::{Churn, Close, Io, Plan, Traffic, Workload};

/// Runs a plan until its time is over or `stop` fires. The first wrong byte fires it, and is in the
/// [`wrong_data`](result::WorkerStats::wrong_data) of the result.
///
/// Errors: [`Error::Machine`](crate::error::Error::Machine) if it does not fit this machine,
/// [`Error::Target`](crate::error::Error::Target) if the target is not an echo server.
pub fn run(plan: Plan, stop: &Stop, observer: &mut dyn Observer) -> Result<RunResult> {
    run_with_rate_control(&RateControl::default(), plan, stop, observer)
}

/// The same, of an open loop whose rate may be changed while it runs.
pub fn run_with_rate_control(
    rate: &RateControl,
    plan: Plan,
    stop: &Stop,
    observer: &mut dyn Observer,
) -> Result<RunResult> {
    let mut workers = Workers::start(plan, stop, rate.clone(), None)?;
    let observed = monitor::watch(&workers.shared, &workers.servers, &mut workers.intervals, observer)?;
    let (totals, usage) = (observed.totals, observed.usage);
    let (plan, spin) = (workers.shared.plan.clone(), workers.shared.spin);
    let stats = workers.join()?;
    let measured = stats.measured.unwrap_or_default();
    let rate_changes = rate.changes(measured.begin, measured.end);
    let targets: Vec<_> = plan.targets.iter().map(Target::address).collect();
    Ok(RunResult {
        time_wait: sock_diag::time_wait_to(&targets).ok(),
        plan,
        began: observed.began,
        spin,
        stats,
        messages: totals.messages,
        latencies: totals.latencies,
        series: totals.series,
        connect_series: totals.connect,
        send_lag_series: totals.send_lag,
        rates: totals.rates,
        over_time: totals.over_time,
        server: usage.server,
        shares_cpu: usage.shares_cpu,
        host: usage.host,
        merged_intervals: observed.merged_intervals,
        interrupted: stop.signal(),
        rate_changes,
    })
}
