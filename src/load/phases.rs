//! When a run warms up, measures and drains. The same times for all workers.

use crate::clock::Nanos;
use crate::load::workload::Workload;

/// How long the replies of a run that was interrupted are waited for: it ends within a second.
const INTERRUPTED_DRAIN: Nanos = Nanos(500_000_000);

/// The times of one run or slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Phases {
    /// Messages are sent from here on.
    pub(super) start: Nanos,
    /// Messages that are due from here on count.
    pub(super) measure: Nanos,
    /// No message is due any more.
    pub(super) end: Nanos,
    /// Replies are not waited for any longer, and no message begins.
    pub(super) drained: Nanos,
    /// Not even for messages of which a part is still moving.
    pub(super) limit: Nanos,
}

/// A part of a run or slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the start: the initial connections open.
    RampUp,
    /// Messages are sent, and do not count.
    WarmUp,
    /// They count.
    Measuring,
    /// None is sent any more.
    Drain,
}

impl Phases {
    pub(super) fn of(workload: &Workload, start: Nanos) -> Phases {
        let phases = Phases::from(start, workload.warmup, workload.duration, workload.drain);
        Phases {
            limit: phases.drained + workload.transfer_time(),
            ..phases
        }
    }

    fn from(start: Nanos, warmup: Nanos, duration: Nanos, drain: Nanos) -> Phases {
        let measure = start + warmup;
        let end = measure + duration;
        Phases {
            start,
            measure,
            end,
            drained: end + drain,
            limit: end + drain,
        }
    }

    /// Ends the run now, but for its drain, if its end is still to come.
    pub(super) fn cut_short(&mut self, now: Nanos) {
        if now < self.end {
            let drain = self.drained - self.end;
            self.measure = self.measure.min(now);
            self.end = now;
            self.drained = now + drain;
        }
        self.limit = self.drained; // A stop does not wait for the rest of a large message.
    }

    /// When waiting for replies ends, if a part of a message last moved at `moved`: once nothing has moved for as long
    /// as a drain takes, and at the limit.
    pub(super) fn waiting_ends(&self, moved: Nanos) -> Nanos {
        let drain = self.drained - self.end;
        self.drained.max((moved + drain).min(self.limit))
    }

    /// Ends the run now, and its drain soon.
    pub(super) fn interrupt(&mut self, now: Nanos) {
        self.cut_short(now);
        self.drained = self.drained.min(now + INTERRUPTED_DRAIN);
        self.limit = self.drained;
    }

    /// True if a message that is due at `now` counts.
    pub(super) fn measures(&self, now: Nanos) -> bool {
        self.measure <= now && now < self.end
    }

    /// The phase at this time.
    pub(super) fn phase_of(&self, at: Nanos) -> Phase {
        if at < self.start {
            Phase::RampUp
        } else if at < self.measure {
            Phase::WarmUp
        } else if at < self.end {
            Phase::Measuring
        } else {
            Phase::Drain
        }
    }

    /// The next of these times after `now`.
    pub(super) fn next_change(&self, now: Nanos) -> Nanos {
        let instants = [self.start, self.measure, self.end, self.drained];
        instants.into_iter().find(|&at| at > now).unwrap_or(Nanos::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::sizes::Sizes;
    use crate::load::workload::Traffic;

    const RUN: fn() -> Phases = || Phases::from(Nanos(100), Nanos(10), Nanos(50), Nanos(20));

    #[test]
    fn messages_count_from_the_end_of_the_warm_up_to_the_end() {
        let counted: Vec<u64> = (0..300).filter(|&at| RUN().measures(Nanos(at))).collect();
        assert_eq!((counted[0], counted[counted.len() - 1]), (110, 159));
    }

    #[test]
    fn every_time_is_in_one_phase() {
        let phases = [99, 100, 109, 110, 159, 160, 300].map(|at| RUN().phase_of(Nanos(at)));
        let [measuring, drain] = [Phase::Measuring, Phase::Drain];
        let expected = [
            Phase::RampUp,
            Phase::WarmUp,
            Phase::WarmUp,
            measuring,
            measuring,
            drain,
            drain,
        ];
        assert_eq!(phases, expected);
    }

    #[test]
    fn a_run_that_is_cut_short_drains_as_long_as_planned() {
        let mut phases = RUN();
        phases.cut_short(Nanos(120));
        assert_eq!((phases.end, phases.drained), (Nanos(120), Nanos(140)));
        phases.cut_short(Nanos(130));
        assert_eq!(phases.end, Nanos(120), "only the first time counts");
    }

    #[test]
    fn a_run_that_is_interrupted_ends_soon_in_every_phase() {
        let long = Nanos(60_000_000_000);
        let soon = |at: u64| Nanos(at) + INTERRUPTED_DRAIN;
        let mut measuring = Phases::from(Nanos(100), long, long, long);
        measuring.interrupt(Nanos(200));
        assert_eq!((measuring.end, measuring.drained), (Nanos(200), soon(200)));
        let mut draining = Phases::from(Nanos(100), Nanos(0), Nanos(10), long);
        draining.interrupt(Nanos(300));
        draining.interrupt(Nanos(400));
        assert_eq!((draining.end, draining.drained), (Nanos(110), soon(300)), "once");
        let mut short = RUN();
        short.interrupt(Nanos(120));
        assert_eq!(short.drained, Nanos(140), "not longer than planned");
    }

    #[test]
    fn messages_that_move_are_waited_for_until_they_stand_still_or_the_limit() {
        let mut phases = Phases {
            limit: Nanos(250),
            ..RUN()
        };
        let ends = |phases: &Phases| [100, 160, 170, 225, 240].map(|moved| phases.waiting_ends(Nanos(moved)).0);
        assert_eq!(ends(&phases), [180, 180, 190, 245, 250]);
        phases.cut_short(Nanos(200));
        assert_eq!(ends(&phases), [180; 5], "a stop waits for the drain alone");
    }

    #[test]
    fn the_limit_is_the_time_that_all_messages_in_flight_take_at_1_mib_per_second() {
        let workload = Workload {
            connections: 4,
            traffic: Traffic {
                sizes: Sizes::Fixed(1 << 30),
                ..Workload::default().traffic
            },
            ..Workload::default()
        };
        let phases = Phases::of(&workload, Nanos(0));
        assert_eq!(phases.limit - phases.drained, Nanos(4096 * Nanos::SECOND.0));
        let phases = Phases::of(&Workload::default(), Nanos(0));
        assert!(phases.limit - phases.drained < Nanos(5_000_000));
    }

    #[test]
    fn the_times_follow_each_other() {
        let mut at = Nanos(0);
        let changes: Vec<u64> = std::iter::from_fn(|| {
            at = RUN().next_change(at);
            (at != Nanos::NEVER).then_some(at.0)
        })
        .collect();
        assert_eq!(changes, [100, 110, 160, 180]);
    }
}
