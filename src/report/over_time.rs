//! The run over time, for charts: a column per second, or per 2, 4, … seconds in a run of more than 256.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ratio;
use crate::histogram::{EncodedHistogram, Recorder};
use crate::load;
use crate::load::RunResult;
use crate::load::result::Messages;

/// What happened in a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its first instant, in nanoseconds since measuring began.
    pub from_ns: u64,
    /// Its end. The counts and latencies of the last column include the drain.
    pub to_ns: u64,
    /// Messages: those `sent` were due in it, the others ended in it.
    pub messages: Messages,
    /// Messages due per second by the plan; null in a closed loop.
    pub offered_per_s: Option<f64>,
    /// Messages completed per second, whenever they were due; without those of the drain.
    pub completed_per_s: f64,
    /// 99th percentile of the send lag, to 1 %; null in a closed loop, and with too few samples.
    pub send_lag_p99_ns: Option<u64>,
    /// CPU time of the generator's process per second: 1.0 is one CPU all the time.
    pub generator_cpu_ratio: f64,
    /// CPU time of the servers' processes per second; null if it is not known.
    pub server_cpu_ratio: Option<f64>,
    /// TCP segments retransmitted in this network namespace; null if that is not readable.
    pub retransmits: Option<u64>,
    /// Response times in an open loop, service times in a closed one, to 1 %.
    pub latency: EncodedHistogram,
}

impl Column {
    /// All columns of a run.
    pub(super) fn all(run: &RunResult) -> Vec<Column> {
        let open_loop = run.plan.workload.pace.is_open();
        let columns = run.over_time.batches().iter();
        columns.map(|column| Column::of(column, open_loop)).collect()
    }

    fn of(column: &load::over_time::Column, open_loop: bool) -> Column {
        let (seconds, used) = (column.span.length().as_secs(), column.used);
        let p99 = |recorder: &Recorder| Some(recorder.quantile(0.99)?.value.0);
        let per_second = |cpu: crate::clock::Nanos| ratio(cpu.as_secs(), used.time.as_secs());
        Column {
            from_ns: column.span.begin.0,
            to_ns: column.span.end.0,
            messages: column.messages,
            offered_per_s: open_loop.then(|| ratio(column.messages.sent as f64, seconds)),
            completed_per_s: ratio(column.achieved as f64, seconds),
            send_lag_p99_ns: p99(&column.send_lag),
            generator_cpu_ratio: per_second(used.generator_cpu),
            server_cpu_ratio: used.server_cpu.map(per_second),
            retransmits: used.retransmits,
            latency: EncodedHistogram::of(&column.latency),
        }
    }
}
