//! What became of the messages of each target, if there are several.
//!
//! One histogram per target and thread, to 1 % instead of 0.1 %: 30 KB each, so that 1,024 targets take 30 MB per
//! thread. Messages of an open loop that were never sent belong to no target: the connection is chosen when one is
//! sent.

use crate::clock::Nanos;
use crate::histogram::Recorder;

/// Targets whose latencies are recorded, at most; of those beyond, messages are only counted.
pub const LATENCIES_MAX: usize = 1024;

/// One target of several.
#[derive(Debug, Clone, Default)]
pub struct TargetStats {
    /// Connections that have echoed; with churn, replacements as well.
    pub opened: u64,
    /// Connections that the target ended.
    pub lost: u64,
    /// Messages that count and completed.
    pub completed: u64,
    /// Messages that count and failed with their connection.
    pub failed: u64,
    /// Messages that count and had no reply by the end.
    pub missing: u64,
    /// Messages completed within the time that is measured, those of the warm-up too.
    pub achieved: u64,
    /// Their main latency: response time in an open loop, service time in a closed one. None beyond [`LATENCIES_MAX`].
    pub latency: Option<Recorder>,
}

impl TargetStats {
    /// Adds another worker's counts.
    fn merge(&mut self, other: &TargetStats) {
        self.opened += other.opened;
        self.lost += other.lost;
        self.completed += other.completed;
        self.failed += other.failed;
        self.missing += other.missing;
        self.achieved += other.achieved;
        match (&mut self.latency, &other.latency) {
            (Some(ours), Some(theirs)) => ours.merge(theirs),
            (ours, theirs) => *ours = ours.take().or_else(|| theirs.clone()),
        }
    }
}

/// All targets; empty if there is only one, which has the figures of the run.
#[derive(Debug, Clone, Default)]
pub struct ByTarget(Vec<TargetStats>);

impl ByTarget {
    /// Allocates everything that is needed later.
    pub(super) fn new(targets: usize) -> ByTarget {
        let target = |number| TargetStats {
            latency: (number < LATENCIES_MAX).then(Recorder::coarse),
            ..TargetStats::default()
        };
        ByTarget(if targets > 1 {
            (0..targets).map(target).collect()
        } else {
            Vec::new()
        })
    }

    /// In the order of the plan's targets.
    pub fn targets(&self) -> &[TargetStats] {
        &self.0
    }

    pub(super) fn merge(&mut self, other: &ByTarget) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        for (ours, theirs) in self.0.iter_mut().zip(&other.0) {
            ours.merge(theirs);
        }
    }

    /// The target of a connection.
    fn of(&mut self, connection: u64) -> Option<&mut TargetStats> {
        let targets = self.0.len() as u64;
        self.0.get_mut(connection.checked_rem(targets)? as usize)
    }

    pub(super) fn opened(&mut self, connection: u64) {
        if let Some(target) = self.of(connection) {
            target.opened += 1;
        }
    }

    pub(super) fn lost(&mut self, connection: u64) {
        if let Some(target) = self.of(connection) {
            target.lost += 1;
        }
    }

    /// A message has completed within the time that is measured.
    pub(super) fn achieved(&mut self, connection: u64) {
        if let Some(target) = self.of(connection) {
            target.achieved += 1;
        }
    }

    /// A message that counts has completed, with this main latency.
    pub(super) fn completed(&mut self, connection: u64, latency: Nanos) {
        if let Some(target) = self.of(connection) {
            target.completed += 1;
            if let Some(recorder) = &mut target.latency {
                recorder.record(latency);
            }
        }
    }

    /// Messages that count have failed with their connection.
    pub(super) fn failed(&mut self, connection: u64, count: u64) {
        if let Some(target) = self.of(connection) {
            target.failed += count;
        }
    }

    /// Messages that count have had no reply by the end.
    pub(super) fn missing(&mut self, connection: u64, count: u64) {
        if let Some(target) = self.of(connection) {
            target.missing += count;
        }
    }

    /// One of those had reached this age.
    pub(super) fn censored(&mut self, connection: u64, age: Nanos) {
        if let Some(recorder) = self.of(connection).and_then(|target| target.latency.as_mut()) {
            recorder.record_censored(age);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_count_for_their_target() {
        let mut one = ByTarget::new(2);
        for connection in [0, 1, 2, 4] {
            one.opened(connection);
            one.achieved(connection);
            one.completed(connection, Nanos(1_000 * (connection + 1)));
        }
        one.failed(1, 1);
        let mut two = ByTarget::new(2);
        two.missing(3, 1);
        two.censored(3, Nanos(7_000));
        two.lost(3);
        let mut sum = ByTarget::default();
        sum.merge(&one);
        sum.merge(&two);
        let [even, odd] = sum.targets() else { panic!("{sum:?}") };
        let counts = |target: &TargetStats| (target.opened, target.lost, target.achieved);
        assert_eq!((counts(even), counts(odd)), ((3, 0, 3), (1, 1, 1)));
        let messages = |target: &TargetStats| (target.completed, target.failed, target.missing);
        assert_eq!((messages(even), messages(odd)), ((3, 0, 0), (1, 1, 1)));
        let longest = |target: &TargetStats| target.latency.as_ref().and_then(Recorder::max).unwrap();
        assert_eq!((longest(even).value, longest(odd).value), (Nanos(5_000), Nanos(7_000)));
        assert!(longest(odd).lower_bound_only);
    }

    #[test]
    fn a_single_target_costs_nothing_and_memory_is_bounded() {
        let mut single = ByTarget::new(1);
        single.completed(0, Nanos(1));
        assert!(single.targets().is_empty());
        let many = ByTarget::new(LATENCIES_MAX + 1);
        assert!(many.targets()[LATENCIES_MAX].latency.is_none());
        assert!(many.targets()[LATENCIES_MAX - 1].latency.is_some());
    }
}
