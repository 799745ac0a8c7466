//! The figures of one server in one restart, from all of its slices under one load together.
//!
//! Medians over blocks are robust against disturbances and so against stalls as well: what is not in half of the blocks
//! does not show in them. What accumulates over a restart shows here.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Nanos;

/// The figures of one server in one restart, of all of its slices under one load.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PooledFigures {
    /// How long the slices went on beyond their planned ends, until the last message that was due in them had come
    /// back, as a share of the planned time.
    pub overrun_ratio: f64,
    /// CPU time that the server used while others had the traffic, as a share of one CPU. Null if there were no
    /// others, if it is not visible, or if connections were opened meanwhile.
    pub background_cpu_ratio: Option<f64>,
    /// The most resident memory that the server's processes had after a slice. Null if it is not visible.
    pub resident_bytes: Option<u64>,
}

/// Adds up the slices of one server in one restart under one load.
#[derive(Default)]
pub(super) struct PoolAccumulator {
    pub(super) planned: Nanos,
    pub(super) overrun: Nanos,
    pub(super) resident: Option<u64>,
    /// Time outside of its slices within blocks, and the CPU time used then.
    pub(super) background: Option<(Nanos, Nanos)>,
}

impl PoolAccumulator {
    pub(super) fn add_background(&mut self, span: Nanos, cpu: Nanos) {
        let (spans, sum) = self.background.unwrap_or_default();
        self.background = Some((spans + span, sum + cpu));
    }

    pub(super) fn figures(&self) -> PooledFigures {
        PooledFigures {
            overrun_ratio: self.overrun.as_secs() / self.planned.as_secs(),
            background_cpu_ratio: self.background.map(|(span, cpu)| cpu.as_secs() / span.as_secs()),
            resident_bytes: self.resident,
        }
    }
}
