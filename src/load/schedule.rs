//! When messages are due: one absolute schedule per worker, fixed before anything is sent.
//!
//! A schedule does not depend on the server: a slow server delays replies, never the plan. That avoids coordinated
//! omission (Gil Tene's wrk2).

use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::random::Random;

/// How messages are paced.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "mode", rename_all = "lowercase", deny_unknown_fields)]
pub enum Pace {
    /// A connection sends its next message `think` after an earlier one has come back.
    Closed {
        /// The pause between a reply and the next message.
        #[serde(rename = "think_ns")]
        think: Nanos,
    },
    /// Messages are sent at planned times, regardless of replies.
    Open {
        /// How many messages a second.
        #[serde(rename = "offered_per_s")]
        rate: Rate,
        /// How they are spread.
        arrivals: Arrivals,
    },
}

impl Pace {
    /// True if messages have planned times.
    pub fn is_open(self) -> bool {
        matches!(self, Pace::Open { .. })
    }

    /// True if the rate changes while measuring.
    pub fn is_ramp(self) -> bool {
        matches!(self, Pace::Open { rate, .. } if rate.from != rate.to)
    }
}

/// Messages a second over all connections of a run: the first during warm-up, then linearly to the last.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// When measuring begins, and before.
    pub from: f64,
    /// When measuring ends.
    pub to: f64,
}

/// The arrival process: how messages are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Independent of each other, as from many independent users.
    Poisson,
    /// Evenly spaced.
    Constant,
}

/// The planned times of one worker's messages, in order.
#[derive(Debug, Clone)]
pub struct Schedule {
    start: Nanos,
    /// Seconds of warm-up, and of the ramp that follows.
    warmup: f64,
    ramp: f64,
    /// This worker's messages a second.
    rate: Rate,
    /// Its share of those of all workers.
    share: f64,
    /// Rates that were set by hand, the latest last.
    changes: Vec<Change>,
    arrivals: Arrivals,
    random: Random,
    /// How many messages are due before the next one, in expectation.
    expected: f64,
    due: Nanos,
}

/// From an instant on, another rate.
#[derive(Debug, Clone, Copy)]
struct Change {
    /// Seconds from the start.
    after: f64,
    /// How many messages were due before.
    expected: f64,
    /// This worker's messages a second.
    per_s: f64,
}

/// What a worker's schedule is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScheduleSpec {
    /// The rate over all workers.
    pub rate: Rate,
    /// The arrival process.
    pub arrivals: Arrivals,
    /// When the first gap begins.
    pub start: Nanos,
    /// How long the rate stays at `rate.from`.
    pub warmup: Nanos,
    /// How long it then takes to reach `rate.to`.
    pub duration: Nanos,
    /// Which worker, from 0.
    pub worker: usize,
    /// How many workers there are.
    pub workers: usize,
    /// This worker's share of the rate: that of the connections, so that each has the same rate.
    pub share: f64,
}

impl Schedule {
    /// One worker's share of the rate. `random` draws the gaps of a Poisson process.
    pub fn new(spec: &ScheduleSpec, random: Random) -> Schedule {
        let share = |rate: f64| rate * spec.share;
        let mut schedule = Schedule {
            start: spec.start,
            warmup: spec.warmup.as_secs(),
            ramp: spec.duration.as_secs(),
            rate: Rate {
                from: share(spec.rate.from),
                to: share(spec.rate.to),
            },
            share: spec.share,
            changes: Vec::new(),
            arrivals: spec.arrivals,
            random,
            // Workers are offset evenly: the first message of the last one is due after one whole gap.
            expected: match spec.arrivals {
                Arrivals::Constant => (spec.worker + 1) as f64 / spec.workers as f64 - 1.0,
                Arrivals::Poisson => 0.0,
            },
            due: spec.start,
        };
        schedule.advance();
        schedule
    }

    /// When the next message is due; `NEVER` when the ramp has reached zero.
    pub fn due(&self) -> Nanos {
        self.due
    }

    /// Moves on to the message after it.
    pub fn advance(&mut self) {
        self.expected += match self.arrivals {
            Arrivals::Constant => 1.0,
            Arrivals::Poisson => self.random.exponential(),
        };
        self.update_due();
    }

    /// From `now` on, this many messages a second are due over all workers. What was due before stays where it was, and
    /// the gap that has begun goes on at the new rate.
    pub fn set_rate(&mut self, per_s: f64, now: Nanos) {
        let after = (now - self.start).as_secs();
        self.changes.push(Change {
            after,
            expected: self.expected_at(after),
            per_s: per_s * self.share,
        });
        self.update_due();
    }

    fn update_due(&mut self) {
        let after = self.instant_of(self.expected);
        self.due = if after.is_finite() {
            self.start + Nanos::from_secs(after)
        } else {
            Nanos::NEVER
        };
    }

    /// The next messages that are due before `until`: when, and how many. One by one, or in groups where that would
    /// take minutes; a group is so short that the age of its messages at `until` differs by less than a thousandth of a
    /// percent.
    pub fn take(&mut self, until: Nanos) -> Option<(Nanos, u64)> {
        const GROUPS: f64 = (1 << 18) as f64;
        let at = self.due;
        if at >= until {
            return None;
        }
        let left = self.expected_at((until - self.start).as_secs()) - self.expected;
        let group = ((left / GROUPS) as u64).max(1); // The cast saturates, and makes NaN zero.
        self.expected += (group - 1) as f64;
        self.advance();
        Some((at, group))
    }

    /// How many messages are due in this many seconds from the start: the integral of the rate.
    fn expected_at(&self, after: f64) -> f64 {
        let change = self.changes.iter().rfind(|change| change.after <= after);
        if let Some(change) = change {
            return change.expected + (after - change.after) * change.per_s;
        }
        let Rate { from, to } = self.rate;
        if after <= self.warmup || from == to {
            return from * after;
        }
        let ramp = (after - self.warmup).min(if to < from {
            from * self.ramp / (from - to)
        } else {
            f64::INFINITY
        });
        from * self.warmup + from * ramp + (to - from) / (2.0 * self.ramp) * ramp * ramp
    }

    /// Seconds from the start until `expected` messages are due: the inverse of the integral of the rate.
    fn instant_of(&self, expected: f64) -> f64 {
        let change = self.changes.iter().rfind(|change| change.expected < expected);
        if let Some(change) = change {
            return change.after + (expected - change.expected) / change.per_s;
        }
        let Rate { from, to } = self.rate;
        let early = from * self.warmup;
        if expected <= early {
            return expected / from;
        }
        // The solution of from·t + (to - from)/(2·ramp)·t² = late, in the form that loses no digits when to = from.
        let late = expected - early;
        let root = (from * from + 2.0 * (to - from) * late / self.ramp).sqrt(); // NaN beyond the end of a ramp to 0
        let after = 2.0 * late / (from + root);
        if after.is_nan() {
            f64::INFINITY
        } else {
            self.warmup + after
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn schedule(rate: (f64, f64), arrivals: Arrivals, warmup: u64, duration: u64, share: (usize, usize)) -> Schedule {
        let rate = Rate {
            from: rate.0,
            to: rate.1,
        };
        let spec = ScheduleSpec {
            rate,
            arrivals,
            start: Nanos(0),
            warmup: Nanos(warmup * SECOND),
            duration: Nanos(duration * SECOND),
            worker: share.0,
            workers: share.1,
            share: 1.0 / share.1 as f64,
        };
        Schedule::new(&spec, Random::new(1, share.0 as u64))
    }

    fn instants(rate: (f64, f64), arrivals: Arrivals, warmup: u64, duration: u64, share: (usize, usize)) -> Vec<u64> {
        let mut schedule = schedule(rate, arrivals, warmup, duration, share);
        std::iter::from_fn(|| {
            let due = schedule.due();
            schedule.advance();
            (due.0 < (warmup + duration) * SECOND).then_some(due.0)
        })
        .collect()
    }

    #[test]
    fn a_constant_rate_is_even_to_the_nanosecond() {
        let due = instants((1000.0, 1000.0), Arrivals::Constant, 1, 1, (0, 1));
        assert_eq!(due.len(), 1999);
        assert!(
            due.iter()
                .enumerate()
                .all(|(k, &due)| due.abs_diff((k as u64 + 1) * 1_000_000) <= 1)
        );
    }

    #[test]
    fn workers_are_offset_evenly() {
        let mut all: Vec<u64> = (0..4)
            .flat_map(|index| instants((4000.0, 4000.0), Arrivals::Constant, 0, 1, (index, 4)))
            .collect();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| (pair[1] - pair[0]).abs_diff(250_000) <= 1));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_exponential_gaps() {
        let due = instants((10_000.0, 10_000.0), Arrivals::Poisson, 0, 10, (0, 1));
        // 100,000 expected; five standard deviations of a Poisson count are 1,581.
        assert!(due.len().abs_diff(100_000) < 1_581, "{}", due.len());
        let gaps: Vec<f64> = due
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f64 / 100_000.0)
            .collect();
        let longer = gaps.iter().filter(|&&gap| gap > 1.0).count() as f64 / gaps.len() as f64;
        assert!(
            (longer - (-1.0_f64).exp()).abs() < 0.01,
            "a gap is longer than the mean in 1/e of all cases: {longer}"
        );
    }

    #[test]
    fn a_ramp_has_the_planned_rate_at_every_time() {
        let due = instants((1000.0, 3000.0), Arrivals::Constant, 2, 10, (0, 1));
        let within = |from: u64, to: u64| due.iter().filter(|&&due| (from..to).contains(&due)).count();
        assert!(
            within(SECOND, 2 * SECOND).abs_diff(1000) <= 1,
            "warm-up at the first rate"
        );
        // From 1,000/s to 3,000/s in 10 s: in the sixth second the rate goes from 2,000 to 2,200.
        assert!(within(7 * SECOND, 8 * SECOND).abs_diff(2100) <= 1);
        assert!(within(2 * SECOND, 12 * SECOND).abs_diff(20_000) <= 1);
    }

    #[test]
    fn a_rate_that_is_set_holds_from_then_on_and_changes_nothing_before() {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            let planned = instants((1000.0, 3000.0), arrivals, 2, 10, (0, 2));
            let mut changed = schedule((1000.0, 3000.0), arrivals, 2, 10, (0, 2));
            let mut due = Vec::new();
            let mut take = |schedule: &mut Schedule, until: u64| {
                while schedule.due().0 < until * SECOND {
                    due.push(schedule.due().0);
                    schedule.advance();
                }
            };
            take(&mut changed, 4);
            changed.set_rate(50_000.0, Nanos(4 * SECOND));
            take(&mut changed, 6);
            changed.set_rate(2_000.0, Nanos(6 * SECOND));
            take(&mut changed, 10);
            assert!(due.is_sorted());
            let within = |due: &[u64], from, to| due.iter().filter(|&&at| (from..to).contains(&(at / SECOND))).count();
            assert!(
                due.iter()
                    .zip(&planned)
                    .take(within(&planned, 0, 4))
                    .all(|(a, b)| a == b)
            );
            // Half of the rate is this worker's. Five standard deviations of a Poisson count are 1,118 and 316.
            assert!(within(&due, 4, 6).abs_diff(50_000) < 1_118, "{arrivals:?}");
            assert!(within(&due, 6, 10).abs_diff(4_000) < 316, "{arrivals:?}");
        }
    }

    #[test]
    fn what_was_due_before_a_change_and_is_still_to_be_issued_stays_where_it_was() {
        let planned = instants((1000.0, 1000.0), Arrivals::Poisson, 0, 2, (0, 1));
        let mut late = schedule((1000.0, 1000.0), Arrivals::Poisson, 0, 2, (0, 1));
        late.set_rate(10.0, Nanos(SECOND));
        for &at in planned.iter().filter(|&&at| at < SECOND) {
            assert_eq!(late.due().0, at);
            late.advance();
        }
        assert!(late.due().0 > SECOND);
    }

    #[test]
    fn few_messages_are_taken_one_by_one_as_they_are_due() {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            for rate in [(1000.0, 1000.0), (500.0, 2000.0), (1000.0, 0.0)] {
                let due = instants(rate, arrivals, 1, 9, (0, 1));
                let mut schedule = schedule(rate, arrivals, 1, 9, (0, 1));
                let taken = std::iter::from_fn(|| schedule.take(Nanos(10 * SECOND)));
                let taken: Vec<u64> = taken
                    .inspect(|&(_, count)| assert_eq!(count, 1))
                    .map(|(at, _)| at.0)
                    .collect();
                assert_eq!(taken, due, "{rate:?}");
            }
        }
    }

    #[test]
    fn billions_of_messages_are_taken_in_groups_of_the_right_age() {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            let until = Nanos(100 * SECOND);
            let mut schedule = schedule((1e9, 1e9), arrivals, 0, 100, (0, 1));
            let taken: Vec<(Nanos, u64)> = std::iter::from_fn(|| schedule.take(until)).collect();
            assert!(taken.len() < 10_000_000, "{}", taken.len());
            let count: u64 = taken.iter().map(|&(_, count)| count).sum();
            assert!((count as f64 / 1e11 - 1.0).abs() < 1e-6, "{count}");
            let younger: u64 = taken
                .iter()
                .filter(|(at, _)| until - *at < Nanos(SECOND))
                .map(|&(_, count)| count)
                .sum();
            assert!(
                (younger as f64 / 1e9 - 1.0).abs() < 1e-3,
                "one in a hundred is younger than a second: {younger}"
            );
        }
    }

    #[test]
    fn a_ramp_down_to_zero_ends_in_order() {
        let due = instants((1000.0, 0.0), Arrivals::Poisson, 0, 2, (0, 1));
        assert!(due.len().abs_diff(1000) < 160, "{}", due.len());
        assert!(due.windows(2).all(|pair| pair[0] <= pair[1]));
    }
}
