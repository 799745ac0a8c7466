//! The figures of one server in one block: both of its slices together.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::compare::pooled::PoolAccumulator;
use crate::histogram::Recorder;
use crate::load::Slice;
use crate::sys::disturbance::Disturbance;
use crate::sys::throttling::Throttling;

/// The figures of one server in one block.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BlockFigures {
    /// Messages completed from the beginning of measuring until the last one that was due in it had come back.
    pub messages: u64,
    /// Messages completed per second of that time.
    pub completed_per_s: f64,
    /// Median latency: response time in an open loop, service time in a closed one. Null: too few samples, here and
    /// below.
    pub p50_ns: Option<u64>,
    /// 90th percentile of the latency.
    pub p90_ns: Option<u64>,
    /// 99th percentile of the latency.
    pub p99_ns: Option<u64>,
    /// 99.9th percentile of the latency.
    pub p99_9_ns: Option<u64>,
    /// The longest latency; for a message that did not come back, the age that it had reached.
    pub max_ns: Option<u64>,
    /// CPU time of the server's processes per message, warm-up included. Null if it is not visible.
    pub cpu_ns_per_message: Option<f64>,
    /// Growth of the server's resident memory per connection.
    pub resident_bytes_per_connection: Option<f64>,
    /// How far submission lagged behind the planned instant (open loop).
    pub send_lag_p99_ns: Option<u64>,
    /// CPU time that the busiest thread of the generator used without busy-polling, as a share of one CPU.
    pub generator_cpu_ratio: f64,
    /// CPU time that the server used while others had the traffic, as a share of one CPU. Null if there were no
    /// others, or if connections were opened meanwhile.
    pub background_cpu_ratio: Option<f64>,
    /// CPU time that others took from the machine in this block; the same for all servers.
    pub disturbance: Disturbance,
    /// What the CPU quota of the generator's control group cost in this block; the same for all servers. Null if there
    /// is none.
    pub throttling: Option<Throttling>,
    /// What the CPU quota of a control group cost that the server is in and the generator is not.
    pub server_throttling: Option<Throttling>,
}

/// Adds up the slices of one candidate in one block.
#[derive(Default)]
pub(super) struct BlockAccumulator {
    latency: Recorder,
    send_lag: Recorder,
    completed: u64,
    measured: Nanos,
    overrun: Nanos,
    generator_cpu: Nanos,
    /// Length of its slices, from their start to the last reply.
    busy: Nanos,
    echoed: u64,
    /// CPU time of the server, as long as every slice could see it.
    server_cpu: Option<Nanos>,
    resident: Option<u64>,
}

/// What only the restart knows of a block.
pub(super) struct BlockContext {
    /// Connections that the server has.
    pub(super) connections: u32,
    /// Resident memory of the server before they were opened.
    pub(super) resident_before: Option<u64>,
    /// CPU time of the server in the whole block; none if connections were opened in it.
    pub(super) server_cpu: Option<Nanos>,
    pub(super) disturbance: Disturbance,
    pub(super) throttling: Option<Throttling>,
    pub(super) server_throttling: Option<Throttling>,
}

impl BlockAccumulator {
    pub(super) fn new() -> BlockAccumulator {
        BlockAccumulator {
            server_cpu: Some(Nanos(0)),
            ..BlockAccumulator::default()
        }
    }

    /// Adds a slice that took `busy`, after which the server's resident memory was `resident`.
    pub(super) fn add(&mut self, slice: &Slice, busy: Nanos, resident: Option<u64>) {
        let response = slice.latencies.response.count() > 0;
        self.latency.merge(if response {
            &slice.latencies.response
        } else {
            &slice.latencies.service
        });
        self.send_lag.merge(&slice.stats.send_lag);
        self.completed += slice.stats.achieved + slice.stats.late;
        self.measured = self.measured + slice.stats.elapsed();
        self.overrun = self.overrun + slice.stats.overrun;
        self.generator_cpu = self.generator_cpu + slice.stats.cpu.busiest_without_spin;
        self.busy = self.busy + busy;
        self.echoed += slice.stats.echoed;
        self.server_cpu = self.server_cpu.zip(slice.server_cpu).map(|(sum, more)| sum + more);
        self.resident = resident;
    }

    pub(super) fn figures(&self, context: &BlockContext) -> BlockFigures {
        let percentile = |recorder: &Recorder, q| Some(recorder.quantile(q)?.value.0);
        let growth = self
            .resident
            .zip(context.resident_before)
            .map(|(now, before)| now as f64 - before as f64);
        BlockFigures {
            messages: self.completed,
            completed_per_s: self.completed as f64 / (self.measured + self.overrun).as_secs(),
            p50_ns: percentile(&self.latency, 0.5),
            p90_ns: percentile(&self.latency, 0.9),
            p99_ns: percentile(&self.latency, 0.99),
            p99_9_ns: percentile(&self.latency, 0.999),
            max_ns: self.latency.max().map(|max| max.value.0),
            cpu_ns_per_message: self
                .server_cpu
                .filter(|_| self.echoed > 0)
                .map(|cpu| cpu.0 as f64 / self.echoed as f64),
            resident_bytes_per_connection: growth.map(|bytes| bytes / f64::from(context.connections)),
            send_lag_p99_ns: percentile(&self.send_lag, 0.99),
            generator_cpu_ratio: self.generator_cpu.as_secs() / self.measured.as_secs(),
            background_cpu_ratio: self
                .background(context)
                .map(|(span, cpu)| cpu.as_secs() / span.as_secs()),
            disturbance: context.disturbance,
            throttling: context.throttling,
            server_throttling: context.server_throttling,
        }
    }

    /// Time outside of its slices, and CPU time used in it. None for a candidate without competitors: there is no such
    /// time.
    fn background(&self, context: &BlockContext) -> Option<(Nanos, Nanos)> {
        let span = context.disturbance.span;
        let outside = span - self.busy;
        let used = context.server_cpu? - self.server_cpu?;
        (outside > Nanos(span.0 / 10)).then_some((outside, used))
    }

    /// Adds this block to those of its restart.
    pub(super) fn add_to(&self, pool: &mut PoolAccumulator, context: &BlockContext) {
        pool.planned = pool.planned + self.measured;
        pool.overrun = pool.overrun + self.overrun;
        pool.resident = pool.resident.max(self.resident);
        if let Some((span, cpu)) = self.background(context) {
            pool.add_background(span, cpu);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::result::{Latencies, Messages, Span, WorkerStats};

    const SECOND: Nanos = Nanos(1_000_000_000);

    /// A slice that was to take a second, in which 900 messages came back; another 300 took 500 ms longer.
    fn stalled() -> Slice {
        let measured = Span {
            begin: SECOND,
            end: SECOND + SECOND,
        };
        Slice {
            messages: Messages::default(),
            latencies: Latencies::default(),
            stats: WorkerStats {
                achieved: 900,
                late: 300,
                measured: Some(measured),
                overrun: Nanos(500_000_000),
                ..WorkerStats::default()
            },
            server_cpu: None,
        }
    }

    #[test]
    fn the_rate_counts_the_time_until_the_last_reply() {
        let mut block = BlockAccumulator::new();
        block.add(&stalled(), SECOND, None);
        block.add(&stalled(), SECOND, None);
        let figures = block.figures(&BlockContext {
            connections: 1,
            resident_before: None,
            server_cpu: None,
            disturbance: Disturbance::default(),
            throttling: None,
            server_throttling: None,
        });
        assert_eq!((figures.messages, figures.completed_per_s), (2_400, 800.0));
    }
}
