//! The result of a whole run.

use crate::clock::{Nanos, WallTime};
use crate::histogram::BatchSeries;
use crate::load::over_time::Column;
use crate::load::rate_control::RateChange;
use crate::load::result::{HostActivity, Latencies, Messages, ServerUsage, WorkerStats};
use crate::load::workload::Plan;
use crate::stats::batch_means::Batch;
use crate::stats::bounded_series::BoundedSeries;

/// The result of a run.
#[derive(Debug, Clone)]
pub struct RunResult {
    /// The plan.
    pub plan: Plan,
    /// When measuring began; `None` if the run ended before.
    pub began: Option<WallTime>,
    /// True if threads busy-polled before sleeping: the plan allows it and a CPU was spare.
    pub spin: bool,
    /// What all workers counted.
    pub stats: WorkerStats,
    /// What became of the messages.
    pub messages: Messages,
    /// Their latencies.
    pub latencies: Latencies,
    /// Their latencies by seconds, for confidence intervals.
    pub series: Latencies<BatchSeries>,
    /// Time to connect by seconds; empty without churn.
    pub connect_series: BatchSeries,
    /// Send lag by seconds; empty in a closed loop.
    pub send_lag_series: BatchSeries,
    /// Messages completed (sums) in each second of measuring (its length as weight), whenever they were due.
    pub rates: BoundedSeries<Batch>,
    /// The run second by second.
    pub over_time: BoundedSeries<Column>,
    /// What the servers used while measuring, or why that is not known.
    pub server: Result<ServerUsage, String>,
    /// Sockets to the targets in TIME-WAIT, or on the way there, after all were closed. `None` where the kernel does
    /// not list sockets.
    pub time_wait: Option<u64>,
    /// True if the server and a thread of the generator had to share a CPU.
    pub shares_cpu: bool,
    /// What else happened on this machine while measuring.
    pub host: HostActivity,
    /// Intervals that were merged with the one before, because the reader of the outputs was slow.
    pub merged_intervals: u64,
    /// How its rate was changed by hand.
    pub rate_changes: Vec<RateChange>,
    /// The signal that cut the run short, if one did.
    pub interrupted: Option<i32>,
}

impl RunResult {
    /// How often the rate was changed while it was measured: before, it was only another rate.
    pub fn rate_changes_measured(&self) -> u64 {
        self.rate_changes.iter().filter(|change| change.at > Nanos(0)).count() as u64
    }

    /// True if it ended before the planned end: by a signal, or by wrong data.
    pub fn is_partial(&self) -> bool {
        self.interrupted.is_some() || self.stats.wrong_data.is_some()
    }
}
