//! Messages of an open loop that are due, and cannot be issued: there is no connection, or the run has ended.

use super::{Run, Timeline};
use crate::clock::Nanos;

/// Messages of an open loop that were due, and were never issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::load) struct Unissued {
    /// When the first of them was due.
    pub(in crate::load) at: Nanos,
    /// How many.
    pub(in crate::load) count: u64,
    /// How many of them were counted before.
    pub(in crate::load) counted: u64,
}

impl Timeline {
    /// Open loop without a connection: how many messages that count have become due before `until` and were not counted
    /// before. They stay due.
    pub(in crate::load) fn count_waiting(&mut self, until: Nanos) -> u64 {
        let Some(run) = self.run.as_mut().filter(|_| self.active.keys().is_empty()) else {
            return 0;
        };
        let Some(schedule) = &run.schedule else { return 0 };
        let waiting = run.waiting.get_or_insert_with(|| schedule.clone());
        if waiting.due() < schedule.due() {
            waiting.clone_from(schedule); // There was a connection meanwhile.
        }
        let mut count = 0;
        while let Some((due, messages)) = waiting.take(until) {
            count += if run.phases.measures(due) { messages } else { 0 };
        }
        run.counted += count;
        count
    }

    /// True if a message that counts, and is issued now, was [counted](Timeline::count_waiting) before.
    pub(in crate::load) fn take_counted(&mut self) -> bool {
        self.run.as_mut().is_some_and(|run| run.take_counted(1) == 1)
    }

    /// The next messages that were due and were not issued, at the end of a run.
    pub(in crate::load) fn next_unissued(&mut self, now: Nanos) -> Option<Unissued> {
        let run = self.run.as_mut()?;
        let end = run.plan_ends.min(now);
        if let Some((at, count)) = run.schedule.as_mut()?.take(end) {
            let counted = if at < run.phases.measure {
                0
            } else {
                run.take_counted(count)
            };
            return Some(Unissued { at, count, counted });
        }
        // Groups are as large as expected, so they may add up to a few messages less than were counted.
        let (at, count) = (end - Nanos(1), std::mem::take(&mut run.counted));
        (count > 0).then_some(Unissued {
            at,
            count,
            counted: count,
        })
    }
}

impl Run {
    /// How many of these messages were counted before.
    fn take_counted(&mut self, messages: u64) -> u64 {
        let counted = self.counted.min(messages);
        self.counted -= counted;
        counted
    }
}
