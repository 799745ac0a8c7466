//! What is due when, without a clock: phases, seconds, planned messages, think time, and which connection is next.
//!
//! One timeline per worker. It runs once, or once per slice; between slices it keeps the set of active connections.

use std::collections::VecDeque;

use crate::clock::Nanos;
use crate::load::active::ActiveSet;
use crate::load::phases::{Phase, Phases};
use crate::load::schedule::{Pace, Schedule, ScheduleSpec};
use crate::load::workload::Workload;
use crate::random::Random;
use crate::slab::Key;

#[cfg(test)]
mod model;
mod turns;
mod unissued;

use turns::Turns;
pub(super) use unissued::Unissued;

/// Messages that a worker may have issued and not seen completed, beyond which an open loop leaves what is due in its
/// plan: 24 MB. A plan above capacity would fill any memory otherwise. At a million messages a second they are a second
/// of them.
pub(super) const QUEUE_MAX: usize = 1 << 20;

/// What one worker has to do at which time.
#[derive(Debug)]
pub(super) struct Timeline {
    worker: usize,
    pace: Pace,
    /// True for a run that consists of slices.
    sliced: bool,
    /// Chooses connections.
    random: Random,
    active: ActiveSet,
    /// Closed loop: connections that have not been given their first messages, or wait for their turn.
    turns: Turns,
    /// Closed loop: connections that pause, with the end of their pause; the earliest first.
    thinking: VecDeque<(Nanos, Key)>,
    /// None before the start and between slices.
    run: Option<Run>,
    /// The last start.
    started: Nanos,
    /// Messages that may be outstanding at once; in a closed loop more only where connections do not take turns.
    outstanding_max: usize,
    /// True while as many messages are outstanding as may be.
    full: bool,
    /// When that last ended.
    room_since: Nanos,
    /// The rate that was set by hand.
    set_per_s: Option<f64>,
}

/// One run or slice.
#[derive(Debug)]
struct Run {
    phases: Phases,
    measuring: Measuring,
    /// When the current second of measuring ends.
    second_ends: Nanos,
    /// Open loop: when messages are due.
    schedule: Option<Schedule>,
    /// While there is no connection: the first message due that was not counted yet.
    waiting: Option<Schedule>,
    /// Messages that were counted when they became due, and have not been issued since.
    counted: u64,
    /// When a part of a message last moved.
    moved: Nanos,
    /// True once no message begins any more.
    drained: bool,
    /// No message is due from here on. Later than the end of the phases while the plan of a slice goes on.
    plan_ends: Nanos,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measuring {
    NotYet,
    Now,
    Over,
}

/// Something that happens once at a certain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Milestone {
    /// Measuring begins at this time.
    Begin(Nanos),
    /// Measuring ends at this time.
    End(Nanos),
    /// A second is over, this long after the beginning of measuring.
    Second(Nanos),
}

/// A message of an open loop that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    /// When.
    pub(super) at: Nanos,
    /// The connection that sends it.
    pub(super) key: Key,
}

impl Timeline {
    /// The timeline of worker `worker`, before the start. `sliced`: it starts once per slice.
    pub(super) fn new(workload: &Workload, worker: usize, sliced: bool) -> Timeline {
        Timeline {
            worker,
            pace: workload.pace,
            sliced,
            random: Random::new(workload.seed, 2 * worker as u64),
            active: ActiveSet::default(),
            turns: Turns::new(workload.in_flight_max().is_some()),
            thinking: VecDeque::new(),
            run: None,
            started: Nanos::NEVER,
            outstanding_max: workload
                .in_flight_max()
                .map_or(QUEUE_MAX, |max| max.div_ceil(workload.threads) as usize),
            full: false,
            room_since: Nanos(0),
            set_per_s: None,
        }
    }

    /// True if the run or slice that starts at `start` is to be started now.
    pub(super) fn is_due(&self, start: Nanos, now: Nanos) -> bool {
        self.run.is_none() && start <= now && start != self.started
    }

    /// When a run or slice that starts at `start` is due; `NEVER` if it was started already.
    pub(super) fn due_at(&self, start: Nanos) -> Nanos {
        if start == self.started { Nanos::NEVER } else { start }
    }

    /// Starts the run or slice that begins at `start`; `seed` draws the arrivals of an open loop.
    ///
    /// The plan of an open loop's slice goes on after its end, until [`catch_up`](Timeline::catch_up): a slice that
    /// waited for the server without a plan would meet a stall by its number and not by its length (coordinated
    /// omission).
    pub(super) fn start(&mut self, workload: &Workload, start: Nanos, seed: u64) {
        let phases = Phases::of(workload, start);
        let schedule = match self.pace {
            Pace::Closed { .. } => {
                self.turns.begin(self.active.keys(), workload.traffic.depth);
                None
            }
            Pace::Open { rate, arrivals } => {
                let spec = ScheduleSpec {
                    rate,
                    arrivals,
                    start,
                    warmup: workload.warmup,
                    duration: workload.duration,
                    worker: self.worker,
                    workers: workload.threads as usize,
                    share: workload.share_of(self.worker) as f64 / f64::from(workload.connections),
                };
                let random = Random::new(seed, 2 * self.worker as u64 + 1);
                Some(Schedule::new(&spec, random))
            }
        };
        self.started = start;
        let plan_ends = if self.sliced && schedule.is_some() {
            phases.drained
        } else {
            phases.end
        };
        self.run = Some(Run {
            plan_ends,
            phases,
            measuring: Measuring::NotYet,
            second_ends: if self.sliced {
                Nanos::NEVER // A slice is one interval, however long it is.
            } else {
                phases.measure + Nanos::SECOND
            },
            schedule,
            waiting: None,
            counted: 0,
            moved: Nanos(0),
            drained: false,
        });
    }

    /// From now on, this many messages a second are due, unless that is so already.
    pub(super) fn set_rate(&mut self, per_s: f64, now: Nanos) {
        if self.set_per_s == Some(per_s) {
            return;
        }
        if let Some(run) = &mut self.run {
            self.set_per_s = Some(per_s);
            for schedule in run.schedule.iter_mut().chain(&mut run.waiting) {
                schedule.set_rate(per_s, now);
            }
        }
    }

    /// Ends the phases now, but for the drain: the run was stopped.
    pub(super) fn cut_short(&mut self, now: Nanos) {
        if let Some(run) = &mut self.run {
            run.phases.cut_short(now);
            run.plan_ends = run.plan_ends.min(now);
        }
    }

    /// The same on a signal; the drain ends soon as well.
    pub(super) fn interrupt(&mut self, now: Nanos) {
        self.cut_short(now);
        if let Some(run) = &mut self.run {
            run.phases.interrupt(now);
        }
    }

    /// Every issued message that was due before the end has come back. Ends the plan of a slice if the end has been
    /// reached and no such message is still to be issued.
    pub(super) fn catch_up(&mut self, now: Nanos) {
        if let Some(run) = &mut self.run
            && now >= run.phases.end
            && run.planned() >= run.phases.end
        {
            run.plan_ends = run.plan_ends.min(now);
        }
    }

    /// Ends a slice.
    pub(super) fn end_slice(&mut self) {
        self.run = None;
        self.turns.clear();
        self.thinking.clear();
    }

    /// True from the start of a run or slice to its end.
    pub(super) fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// True while messages may be issued.
    pub(super) fn is_sending(&self, now: Nanos) -> bool {
        self.run.as_ref().is_some_and(|run| now < run.phases.end)
    }

    /// True in the time that is measured.
    pub(super) fn is_measuring(&self, now: Nanos) -> bool {
        self.run.as_ref().is_some_and(|run| run.phases.measures(now))
    }

    /// True if a message that is due at this time counts.
    pub(super) fn measures(&self, planned: Nanos) -> bool {
        self.run
            .as_ref()
            .is_some_and(|run| run.phases.measure <= planned && planned < run.plan_ends)
    }

    /// The phase at this time; before the start, and between slices, that of opening connections.
    pub(super) fn phase_of(&self, at: Nanos) -> Phase {
        self.run.as_ref().map_or(Phase::RampUp, |run| run.phases.phase_of(at))
    }

    /// When measuring begins or began; `None` before the start.
    pub(super) fn measuring_begins(&self) -> Option<Nanos> {
        Some(self.run.as_ref()?.phases.measure)
    }

    /// When measuring ends or ended; `None` before the start.
    pub(super) fn measuring_ends(&self) -> Option<Nanos> {
        Some(self.run.as_ref()?.phases.end)
    }

    /// True when the run or slice is over: everything due has been issued and come back (`idle`), or the drain is over
    /// and no part of a message moves any more.
    pub(super) fn is_over(&self, idle: bool, now: Nanos) -> bool {
        self.run.as_ref().is_some_and(|run| {
            // Without a connection nothing more can be issued.
            let all_issued = run.planned() >= run.plan_ends || self.active() == 0;
            now >= run.phases.end && (idle && all_issued || now >= run.waiting_ends())
        })
    }

    /// A part of a message has been sent or received.
    pub(super) fn moved(&mut self, now: Nanos) {
        if let Some(run) = &mut self.run {
            run.moved = now;
        }
    }

    /// True once, when the drain is over: from now on no message may begin, and only what has begun is waited for.
    pub(super) fn drain_has_ended(&mut self, now: Nanos) -> bool {
        let run = self.run.as_mut().filter(|run| now >= run.phases.drained);
        run.is_some_and(|run| !std::mem::replace(&mut run.drained, true))
    }

    /// The next mark that has been passed, in order.
    pub(super) fn next_milestone(&mut self, now: Nanos) -> Option<Milestone> {
        let run = self.run.as_mut()?;
        let Phases { measure, end, .. } = run.phases;
        match run.measuring {
            Measuring::NotYet if now >= measure => {
                run.measuring = Measuring::Now;
                Some(Milestone::Begin(measure))
            }
            Measuring::Now if now >= end => self.end_measuring(now),
            // The last second ends with measuring, and its interval with the drain.
            Measuring::Now if now >= run.second_ends => {
                let since = run.second_ends - measure;
                run.second_ends = run.second_ends + Nanos::SECOND;
                Some(Milestone::Second(since))
            }
            _ => None,
        }
    }

    /// Ends measuring at once, if it goes on. It ends when the plan says so, however late that is noticed.
    pub(super) fn end_measuring(&mut self, now: Nanos) -> Option<Milestone> {
        let run = self.run.as_mut().filter(|run| run.measuring == Measuring::Now)?;
        run.measuring = Measuring::Over;
        Some(Milestone::End(run.phases.end.min(now)))
    }

    /// A connection takes messages from now on. True if it gets its first ones at once.
    pub(super) fn add(&mut self, key: Key, now: Nanos) -> bool {
        self.active.add(key);
        !self.pace.is_open() && self.is_sending(now)
    }

    /// A connection takes no more messages.
    pub(super) fn remove(&mut self, key: Key) {
        self.active.remove(key);
    }

    /// How many connections take messages.
    pub(super) fn active(&self) -> usize {
        self.active.keys().len()
    }

    /// A connection that takes messages, at random.
    pub(super) fn pick(&mut self) -> Option<Key> {
        self.active.pick(&mut self.random)
    }

    /// A message has completed. Returns the connection that issues the next one at once: itself, or the one that has
    /// waited longest for its turn.
    pub(super) fn completed(&mut self, key: Key, now: Nanos) -> Option<Key> {
        match self.pace {
            Pace::Closed { think: Nanos(0) } if self.is_sending(now) => self.turns.after(key),
            Pace::Closed { think: Nanos(0) } | Pace::Open { .. } => None,
            Pace::Closed { think } => {
                self.thinking.push_back((now + think, key));
                None
            }
        }
    }

    /// The next connection that [starts](Timeline::first_messages), in a closed loop with
    /// [room](Timeline::set_outstanding).
    pub(super) fn next_starting(&mut self, now: Nanos) -> Option<Key> {
        if !self.is_sending(now) {
            self.turns.clear();
        }
        if self.turns.are_taken && self.full {
            return None;
        }
        self.turns.next()
    }

    /// How many messages a connection that starts issues, if it may have `depth` in flight.
    pub(super) fn first_messages(&self, depth: usize) -> usize {
        self.turns.messages(depth)
    }

    /// The next connection whose pause is over (closed loop).
    pub(super) fn next_thinking(&mut self, now: Nanos) -> Option<Key> {
        while let Some(&(due, key)) = self.thinking.front()
            && due <= now
        {
            self.thinking.pop_front();
            if self.is_sending(now) {
                return Some(key);
            }
        }
        None
    }

    /// As many messages are outstanding. At the maximum nothing more is issued until some have completed; what is due
    /// stays due, in order, and keeps its instant.
    pub(super) fn set_outstanding(&mut self, outstanding: usize, now: Nanos) {
        let full = outstanding >= self.outstanding_max;
        if self.full && !full {
            self.room_since = now;
        }
        self.full = full;
    }

    /// When a message that is due at this time could be issued at the earliest.
    pub(super) fn issuable(&self, planned: Nanos) -> Nanos {
        planned.max(self.room_since)
    }

    /// The next message that is due (open loop), on a connection picked at random. `None` as well if there is no
    /// connection or [no room](Timeline::set_outstanding); then it stays due, and does not wake up the worker.
    pub(super) fn next_planned(&mut self, now: Nanos) -> Option<Planned> {
        let run = self.run.as_mut()?;
        let schedule = run.schedule.as_mut()?;
        let at = schedule.due();
        if self.full || at > now || at >= run.plan_ends || now >= run.phases.drained {
            return None;
        }
        let key = self.active.pick(&mut self.random)?;
        schedule.advance();
        Some(Planned { at, key })
    }

    /// When to call it again though nothing has completed. `NEVER` before the start.
    pub(super) fn wake_up(&self, now: Nanos) -> Nanos {
        let Some(run) = &self.run else {
            return Nanos::NEVER;
        };
        let is_full = self.turns.are_taken && self.full;
        if !self.turns.is_empty() && !is_full {
            return now;
        }
        let planned = run.planned();
        let has_room = self.active() > 0 && !self.full;
        let planned = if planned < run.plan_ends && now < run.phases.drained && has_room {
            planned
        } else {
            Nanos::NEVER
        };
        let second = if run.measuring == Measuring::Over {
            Nanos::NEVER
        } else {
            run.second_ends
        };
        let thinking = self.thinking.front().map_or(Nanos::NEVER, |&(due, _)| due);
        let waiting_ends = Some(run.waiting_ends()).filter(|&end| end > now);
        let change = run.phases.next_change(now).min(waiting_ends.unwrap_or(Nanos::NEVER));
        change.min(second).min(planned).min(thinking)
    }
}

impl Run {
    /// When the next planned message is due; `NEVER` in a closed loop.
    fn planned(&self) -> Nanos {
        self.schedule.as_ref().map_or(Nanos::NEVER, Schedule::due)
    }

    fn waiting_ends(&self) -> Nanos {
        self.phases.waiting_ends(self.moved)
    }
}
