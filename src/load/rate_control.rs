//! The rate of an open loop, changed by hand while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::{self, Nanos};

/// A handle on the rate of a run. Clones are of the same run.
#[derive(Debug, Clone, Default)]
pub struct RateControl(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The bits of the wanted rate; those of zero as long as the plan holds.
    wanted: AtomicU64,
    changes: Mutex<Vec<RateChange>>,
}

/// A change of the rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateChange {
    /// When it was wanted, since measuring began; zero before. Workers follow at their next pass.
    pub at: Nanos,
    /// Messages a second from then on, over all workers.
    pub per_s: f64,
}

impl RateControl {
    /// From now on, this many messages a second are due; at least one.
    pub fn set(&self, per_s: f64) {
        let per_s = per_s.max(1.0);
        let change = RateChange {
            at: clock::now(),
            per_s,
        };
        self.0
            .changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(change);
        self.0.wanted.store(per_s.to_bits(), Ordering::Relaxed);
    }

    /// What is wanted in place of the plan.
    pub(super) fn wanted(&self) -> Option<f64> {
        let bits = self.0.wanted.load(Ordering::Relaxed);
        (bits != 0).then(|| f64::from_bits(bits))
    }

    /// All changes up to the end of measuring, of a run that began to measure at one time and ended at the other.
    pub(super) fn changes(&self, begin: Nanos, end: Nanos) -> Vec<RateChange> {
        let changes = self.0.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |change: &RateChange| RateChange {
            at: change.at - begin,
            ..*change
        };
        changes.iter().filter(|change| change.at < end).map(since).collect()
    }
}
