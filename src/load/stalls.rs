//! Stalls of a worker's event loop: stopped, throttled, or without a CPU. Pure.
//!
//! A worker never waits for longer than a [`HEARTBEAT`]. The time between the instant at which a wait should have ended
//! (its deadline, at most a heartbeat after the beginning of the pass) and the next pass is a stall: the generator did
//! nothing, and a closed loop sent nothing that would show it. The idea is from jHiccup (Gil Tene).

use crate::clock::Nanos;
use crate::load::result::Stalls;

/// The longest wait. A stop of the generator is noticed as far as it exceeds this. An idle worker wakes up a hundred
/// times a second for it.
pub(super) const HEARTBEAT: Nanos = Nanos(10_000_000);

/// Shorter delays are those of waking up, and belong to every latency.
const SHORTEST: Nanos = Nanos(1_000_000);

/// Detects stalls from the instants of passes and the deadlines of waits.
#[derive(Debug, Default)]
pub(super) struct StallDetector {
    stalls: Stalls,
    /// The last gap: since when something was due, and when the next pass began.
    since: Nanos,
    until: Nanos,
}

impl StallDetector {
    /// A pass that began at `began` was followed by a wait until `deadline`; the next pass begins at `now`.
    pub(super) fn passed(&mut self, began: Nanos, deadline: Nanos, now: Nanos) {
        let heartbeat = began + HEARTBEAT;
        // A deadline that had passed already did not wait: the pass was busy.
        let since = if deadline > began {
            deadline.min(heartbeat)
        } else {
            heartbeat
        };
        (self.since, self.until) = (since, now);
        self.add(since);
    }

    /// Forgets what was before `at`.
    pub(super) fn begin(&mut self, at: Nanos) {
        self.stalls = Stalls::default();
        self.add(self.since.max(at));
    }

    /// The stalls so far.
    pub(super) fn stalls(&self) -> Stalls {
        self.stalls
    }

    fn add(&mut self, since: Nanos) {
        let stall = self.until - since;
        if stall >= SHORTEST {
            self.stalls.total = self.stalls.total + stall;
            self.stalls.longest = self.stalls.longest.max(stall);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Nanos {
        Nanos(count * 1_000_000)
    }

    /// The stalls in milliseconds, after passes given as beginning, deadline and next beginning.
    fn stalls(passes: &[(u64, u64, u64)]) -> (u64, u64) {
        let mut detector = StallDetector::default();
        for &(began, deadline, now) in passes {
            detector.passed(ms(began), ms(deadline), ms(now));
        }
        let Stalls { longest, total } = detector.stalls();
        (longest.0 / 1_000_000, total.0 / 1_000_000)
    }

    #[test]
    fn a_wait_that_ends_in_time_is_no_stall() {
        assert_eq!(stalls(&[(0, 10, 10), (10, 20, 12), (12, 13, 13)]), (0, 0));
    }

    #[test]
    fn what_exceeds_the_deadline_of_a_wait_is_a_stall() {
        assert_eq!(stalls(&[(0, 4, 304), (304, 314, 344)]), (300, 330));
    }

    #[test]
    fn what_exceeds_a_heartbeat_without_a_wait_is_a_stall() {
        // The deadline had passed, or lies beyond a heartbeat: the pass itself took as long.
        assert_eq!(stalls(&[(5, 3, 115), (115, 900, 165)]), (100, 140));
        assert_eq!(stalls(&[(5, 3, 14)]), (0, 0), "a busy pass");
    }

    #[test]
    fn a_stall_counts_from_the_beginning_of_measuring() {
        let mut detector = StallDetector::default();
        detector.passed(ms(0), ms(5), ms(105));
        detector.passed(ms(105), ms(110), ms(410));
        detector.begin(ms(200));
        let expected = Stalls {
            longest: ms(210),
            total: ms(210),
        };
        assert_eq!(detector.stalls(), expected);
    }
}
