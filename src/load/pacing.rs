//! When messages go: the phases of a run, the schedule of an open loop, pauses, and when to look instead of sleep.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use crate::clock::{self, Nanos};
use crate::load::Workload;
use crate::load::phases::Phases;
use crate::load::pinger::Message;
use crate::load::result::{ConnectionMessages, GeneratorCpu, Span};
use crate::load::schedule::{Pace, Schedule, ScheduleSpec};
use crate::load::worker::{Stage, Worker};
use crate::random::Random;
use crate::ring::{Spin, SpinLimits, SpinPolicy};
use crate::slab::Key;
use crate::sys::{socket, tcp_info, usage};

/// First messages, and messages due, that go out in one turn: then what has come back is looked at.
const BATCH: usize = 64;

/// How often a worker that has opened its share looks whether the others have.
const GLANCE: Nanos = Nanos(1_000_000);

/// Connections whose round-trip time is asked of the kernel every second.
const SAMPLED: usize = 4;

/// Busy-polls as long as an idle CPU of a virtual machine takes to wake. The backoff is long, because messages measured
/// without busy-polling take twice as long; it starts only when contention lasts.
const SPIN: SpinLimits = SpinLimits {
    spin: Spin::Always(Nanos(100_000)),
    check_every: Nanos(10_000_000),
    backoff: Nanos(250_000_000),
};

/// What a worker knows of time.
pub(super) struct Pacing {
    /// None until all workers have opened their connections.
    phases: Option<Phases>,
    /// Planned instants; none in a closed loop.
    schedule: Option<Schedule>,
    /// Which connection a planned message goes to.
    random: Random,
    /// Connections that take messages, in no order.
    pub(super) speakers: Vec<Key>,
    /// Connections that wait for their first messages.
    starting: VecDeque<Key>,
    /// Connections that pause between an answer and their next message, with the end of the pause.
    thinking: VecDeque<(Nanos, Key)>,
    /// Messages answered so far that count.
    pub(super) ok: u64,
    arrived: bool,
    /// CPU time and spinning up to the instant when measuring began.
    before: Option<(Nanos, Nanos)>,
    /// The start that was followed last.
    begun: Nanos,
    /// True once the end of measuring has been seen.
    ended: bool,
    /// The end of the second that the interval is for.
    second_ends: Nanos,
    spin: SpinPolicy,
}

impl Pacing {
    pub(super) fn new(plan: &Workload, spin: bool, index: usize) -> Pacing {
        Pacing {
            phases: None,
            schedule: None,
            random: Random::new(plan.seed, 2 * index as u64),
            speakers: Vec::new(),
            starting: VecDeque::new(),
            thinking: VecDeque::new(),
            ok: 0,
            arrived: false,
            before: None,
            begun: Nanos::NEVER,
            ended: false,
            second_ends: Nanos::NEVER,
            spin: SpinPolicy::of_this_thread(SpinLimits {
                spin: if spin { SPIN.spin } else { Spin::Never },
                ..SPIN
            }),
        }
    }

    /// True once messages go.
    pub(super) fn is_running(&self) -> bool {
        self.phases.is_some()
    }

    /// True while messages are asked for.
    pub(super) fn is_asking(&self, now: Nanos) -> bool {
        self.phases.is_some_and(|phases| now < phases.end)
    }

    /// True if a message planned for then counts.
    pub(super) fn measures(&self, planned: Nanos) -> bool {
        self.phases.is_some_and(|phases| phases.measures(planned))
    }
}

impl Worker<'_> {
    /// What is to be done because of the time, or of what the others do.
    pub(super) fn progress(&mut self) {
        self.shared.publish(self.index, self.found.opened, self.pacing.ok);
        self.expire();
        if !self.pacing.is_running() {
            self.ramp_up();
        }
        if self.pacing.is_running() {
            self.ring.set_spin(self.pacing.spin.check(self.now));
            self.measure();
            self.start_some();
            self.ask_thinkers();
            self.ask_due();
        }
    }

    fn ramp_up(&mut self) {
        self.widen();
        if self.ramp.is_complete() && !self.pacing.arrived {
            self.pacing.arrived = true;
            self.shared.worker_ready(self.now);
        }
        let start = self.shared.start();
        if start <= self.now && start != self.pacing.begun {
            self.start(start);
        }
    }

    /// All connections of all workers are open: speak.
    fn start(&mut self, start: Nanos) {
        let plan = &self.shared.plan.workload;
        let phases = Phases::of(plan, start);
        self.pacing.begun = start;
        self.pacing.phases = Some(phases);
        self.pacing.second_ends = match self.shared.slices {
            None => phases.measure + Nanos::SECOND,
            Some(_) => Nanos::NEVER, // A slice has one interval, however long it is.
        };
        self.refill();
        match plan.pace {
            Pace::Closed { .. } => self.pacing.starting = self.pacing.speakers.iter().copied().collect(),
            Pace::Open { rate, arrivals } => {
                let random = Random::new(plan.seed, 2 * self.index as u64 + 1);
                let spec = ScheduleSpec {
                    rate,
                    arrivals,
                    start,
                    warmup: plan.warmup,
                    duration: plan.duration,
                    worker: self.index,
                    workers: plan.threads as usize,
                };
                self.pacing.schedule = Some(Schedule::new(&spec, random));
            }
        }
    }

    /// Begins and ends measuring, and turns the interval over every second between.
    fn measure(&mut self) {
        let (now, Some(mut phases)) = (self.now, self.pacing.phases) else {
            return;
        };
        if self.stopped {
            phases.cut_short(now);
            self.pacing.phases = Some(phases);
        }
        if self.pacing.before.is_none() && now >= phases.measure {
            self.pacing.before = Some((usage::thread_cpu(), self.ring.counts().spun));
            self.found.measured = Some(Span {
                begin: phases.measure,
                end: phases.measure,
            });
            // Seconds are counted from the same instant for all workers.
            self.desk.current.span = Span {
                begin: Nanos(0),
                end: Nanos(0),
            };
        }
        if now >= phases.end {
            self.end_measuring();
        }
        while now >= self.pacing.second_ends {
            self.sample_round_trips();
            let since = self.pacing.second_ends - phases.measure;
            self.desk.rotate(since);
            self.pacing.second_ends = self.pacing.second_ends + Nanos::SECOND;
        }
    }

    fn end_measuring(&mut self) {
        if self.pacing.before.is_none() || self.pacing.ended {
            return;
        }
        self.pacing.ended = true;
        let (cpu_before, spun_before) = self.pacing.before.unwrap_or_default();
        let cpu = usage::thread_cpu() - cpu_before;
        let spun = self.ring.counts().spun - spun_before;
        // The plan ends when it ends, however late we notice.
        if let Some(measured) = &mut self.found.measured {
            measured.end = self.pacing.phases.map_or(self.now, |phases| phases.end.min(self.now));
        }
        self.found.cpu = GeneratorCpu {
            total: cpu,
            busiest: cpu,
            busiest_without_spin: cpu - spun,
        };
    }

    fn sample_round_trips(&mut self) {
        for _ in 0..SAMPLED.min(self.pacing.speakers.len()) {
            let key = self.pacing.speakers[self.pacing.random.below(self.pacing.speakers.len())];
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            if let Some(info) = tcp_info::of(connection.socket.as_fd()) {
                self.found.rtt.record(info.rtt);
            }
        }
    }

    /// Gives some of the connections their first messages: all at once would need a buffer each.
    fn start_some(&mut self) {
        for _ in 0..BATCH.min(self.pacing.starting.len()) {
            if let Some(key) = self.pacing.starting.pop_front() {
                self.first_messages(key);
            }
        }
    }

    /// In a closed loop, as many messages as a connection may have unanswered.
    pub(super) fn first_messages(&mut self, key: Key) {
        if self.shared.plan.workload.pace.is_open() {
            return;
        }
        for _ in 0..self.shared.plan.workload.traffic.depth {
            self.ask_next(key);
        }
    }

    /// In a closed loop, what an answer leads to: a pause, a message, or the end of the connection.
    pub(super) fn ask_again(&mut self, key: Key) {
        match self.shared.plan.workload.pace {
            Pace::Closed { think } if think > Nanos(0) => self.pacing.thinking.push_back((self.now + think, key)),
            _ => self.ask_next(key),
        }
    }

    fn ask_next(&mut self, key: Key) {
        if !self.pacing.is_asking(self.now) {
            return;
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.left > 0 {
            connection.left -= u64::from(connection.left != u64::MAX);
            return self.ask(key, self.now);
        }
        let spent = connection.stage == Stage::Open && connection.pinger.is_quiet();
        if let Some(churn) = self.shared.plan.workload.churn
            && spent
        {
            self.close(key, churn);
        }
    }

    fn ask_thinkers(&mut self) {
        while let Some(&(due, key)) = self.pacing.thinking.front()
            && due <= self.now
        {
            self.pacing.thinking.pop_front();
            self.ask_next(key);
        }
    }

    /// Asks for the messages that are due, each on a connection picked at random.
    fn ask_due(&mut self) {
        let end = self.pacing.phases.map_or(Nanos(0), |phases| phases.end);
        for _ in 0..BATCH {
            let Some(schedule) = &mut self.pacing.schedule else {
                return;
            };
            let due = schedule.due();
            // The instant of the turn is old by now: what is late must not look early.
            let now = clock::now();
            if due > now || due >= end || self.pacing.speakers.is_empty() {
                return;
            }
            schedule.advance();
            self.now = now;
            if self.pacing.measures(due) {
                self.found.send_lag.record(now - due);
            }
            let key = self.pacing.speakers[self.pacing.random.below(self.pacing.speakers.len())];
            self.ask(key, due);
        }
    }

    /// When to wake up though nothing completes.
    pub(super) fn wake_up(&self) -> Nanos {
        let ramping = !self.pacing.is_running() && self.ramp.has_room();
        if ramping || self.must_feed() {
            return self.now;
        }
        let Some(phases) = self.pacing.phases else {
            return self.next_glance();
        };
        if !self.pacing.starting.is_empty() {
            return self.now;
        }
        let due = self.pacing.schedule.as_ref().map_or(Nanos::NEVER, Schedule::due);
        let due = if due < phases.end { due } else { Nanos::NEVER };
        let thinker = self.pacing.thinking.front().map_or(Nanos::NEVER, |&(due, _)| due);
        let instants = [
            phases.next_change(self.now),
            self.pacing.second_ends,
            self.ramp.deadline(),
            due,
            thinker,
        ];
        instants.into_iter().min().unwrap_or(Nanos::NEVER)
    }

    /// When to look again whether messages may begin.
    fn next_glance(&self) -> Nanos {
        if self.pacing.arrived && self.shared.slices.is_some() {
            let start = self.shared.start();
            let next = if start == self.pacing.begun {
                Nanos::NEVER // The waker wakes us.
            } else {
                start
            };
            return next.min(self.ramp.deadline());
        }
        let glance = self.now + GLANCE;
        if self.pacing.arrived {
            glance
        } else {
            self.ramp.deadline().min(glance)
        }
    }

    pub(super) fn is_done(&self) -> bool {
        let Some(phases) = self.pacing.phases else {
            return self.stopped;
        };
        let planned = self.pacing.schedule.as_ref().map_or(Nanos::NEVER, Schedule::due);
        let quiet = self.busy == 0 && planned >= phases.end;
        let over = self.now >= phases.end && (quiet || self.now >= phases.drained);
        over || (self.connections.is_empty() && self.shared.plan.workload.churn.is_none())
    }

    /// Between slices: hands in what this one has found and forgets it. False if this was no slice, or if it did not end
    /// quiet.
    pub(super) fn rest(&mut self) -> bool {
        let Some(control) = &self.shared.slices else {
            return false;
        };
        if self.stopped || self.busy > 0 || self.connections.is_empty() {
            return false;
        }
        self.end_measuring();
        let measure = self.pacing.phases.map_or(self.now, |phases| phases.measure);
        self.desk.rotate(self.now - measure);
        let _ = control.results.send(std::mem::take(&mut self.found)); // Nobody conducts any more: the stop comes.
        (self.pacing.phases, self.pacing.schedule) = (None, None);
        (self.pacing.before, self.pacing.ended) = (None, false);
        true
    }

    /// What has not come back by now is missing, and enters the record with its age.
    pub(super) fn finish(&mut self) {
        self.end_measuring();
        let keys: Vec<Key> = self.connections.keys().collect();
        for key in keys {
            self.conclude(key);
        }
        self.miss_unsent();
        let measure = self.pacing.phases.map_or(self.now, |phases| phases.measure);
        self.desk.rotate(self.now - measure);
        self.found.overflows = self.ring.counts().overflows;
        self.shared.publish(self.index, self.found.opened, self.pacing.ok);
    }

    /// Takes down what a connection has done and still owes, and ends it.
    fn conclude(&mut self, key: Key) {
        let (now, open_loop) = (self.now, self.shared.plan.workload.pace.is_open());
        let measure = self.pacing.phases.map_or(Nanos::NEVER, |phases| phases.measure);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        // One after the other; cancelling all receives of the ring at once takes the kernel the square of their number.
        socket::shutdown_both(connection.socket.as_fd());
        if !matches!(connection.stage, Stage::Open | Stage::Closing(_)) {
            return;
        }
        self.found.by_connection.push(ConnectionMessages {
            connection: connection.number,
            messages: connection.answers,
        });
        let info = tcp_info::of(connection.socket.as_fd());
        self.found.retransmits += info.map_or(0, |info| info.retransmits_total.into());
        for message in connection.pinger.open() {
            if message.measured {
                self.desk.current.missing(*message, now, open_loop);
            } else if !open_loop && now > measure {
                // A connection that fell silent in the warm-up would else be missed by nobody.
                self.desk.current.messages.sent += 1;
                let since = Message {
                    submitted: message.submitted.max(measure).min(now),
                    ..*message
                };
                self.desk.current.missing(since, now, open_loop);
            }
        }
    }

    /// Messages that were due and never handed to anybody, because the generator itself fell behind.
    fn miss_unsent(&mut self) {
        let (Some(phases), Some(schedule)) = (self.pacing.phases, &mut self.pacing.schedule) else {
            return;
        };
        while schedule.due() < phases.end.min(self.now) {
            let message = Message {
                planned: schedule.due(),
                submitted: Nanos::NEVER,
                measured: true,
            };
            if phases.measures(message.planned) {
                self.desk.current.messages.sent += 1;
                self.desk.current.missing(message, self.now, true);
            }
            schedule.advance();
        }
    }
}
