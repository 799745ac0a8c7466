//! `Timeline` against a clock that jumps: to when the timeline wants to wake up, or to any other time.
//!
//! Messages complete after a random time. What is due must come once, never early, and not be forgotten by a worker
//! that sleeps until the timeline's wake-up.

mod single;
mod slices;

use std::collections::BTreeMap;

use super::{Milestone, Planned, QUEUE_MAX, Timeline, Unissued};
use crate::clock::Nanos;
use crate::load::schedule::{Arrivals, Pace, Rate, Schedule, ScheduleSpec};
use crate::load::sizes::Sizes;
use crate::load::workload::{Traffic, Workload};
use crate::random::Random;
use crate::slab::Key;

/// Miri is three orders of magnitude slower.
const SEEDS: u64 = if cfg!(miri) { 1 } else { 500 };

/// Messages a second when measuring begins.
const RATE: f64 = if cfg!(miri) { 20.0 } else { 200.0 };

/// How long is measured, in milliseconds, and how long a reply takes at most.
const MEASURED: u64 = if cfg!(miri) { 1_100 } else { 3_500 };
const REPLY: Nanos = ms(if cfg!(miri) { 200 } else { 5 });

const fn ms(count: u64) -> Nanos {
    Nanos(count * 1_000_000)
}

/// Everything that came of one timeline.
#[derive(Default)]
struct Log {
    marks: Vec<(Nanos, Milestone)>,
    /// Planned messages, and when they were issued.
    planned: Vec<(Nanos, Planned)>,
    /// Planned messages that were not issued.
    unissued: Vec<Nanos>,
    /// Messages of a closed loop: when, and on which connection.
    issued: Vec<(Nanos, Key)>,
    /// Most messages that were on their way at once.
    most: usize,
    ended: Nanos,
}

/// One timeline, its connections, and the messages on their way.
struct World {
    seed: u64,
    random: Random,
    workload: Workload,
    timeline: Timeline,
    now: Nanos,
    /// When outstanding messages complete, and when they were due.
    outstanding: BTreeMap<(Nanos, usize), (Key, Nanos)>,
    /// How long a reply takes at most; beyond the drain for a server that hangs.
    reply: Nanos,
    log: Log,
}

impl World {
    fn new(seed: u64, workload: Workload, worker: usize, sliced: bool) -> World {
        let mut random = Random::new(seed, 9);
        let mut timeline = Timeline::new(&workload, worker, sliced);
        for slot in 0..1 + random.below(5) as u32 {
            timeline.add(Key { slot, generation: 0 }, Nanos(0));
        }
        World {
            seed,
            random,
            workload,
            timeline,
            now: Nanos(0),
            outstanding: BTreeMap::new(),
            reply: REPLY,
            log: Log::default(),
        }
    }

    /// Runs from `start` until it is over, or stops it at `stop`.
    fn run(&mut self, start: Nanos, stop: Option<Nanos>) {
        assert!(!self.timeline.is_due(start, start - Nanos(1)), "seed {}", self.seed);
        self.now = start + Nanos(self.random.below(100_000) as u64);
        assert!(self.timeline.is_due(start, self.now), "seed {}", self.seed);
        self.timeline.start(&self.workload, start, self.workload.seed);
        assert!(!self.timeline.is_due(start, self.now), "seed {}: once", self.seed);
        loop {
            self.complete();
            if stop.is_some_and(|stop| stop <= self.now) {
                self.timeline.cut_short(self.now);
            }
            self.advance();
            if self.timeline.is_over(self.outstanding.is_empty(), self.now) {
                return self.finish();
            }
            self.sleep(stop);
        }
    }

    /// Until the wake-up, a completion or the stop; or for a moment only.
    fn sleep(&mut self, stop: Option<Nanos>) {
        let completion = self.outstanding.keys().next().map_or(Nanos::NEVER, |&(at, _)| at);
        let stop = stop.filter(|&stop| stop > self.now).unwrap_or(Nanos::NEVER);
        let next = self.timeline.wake_up(self.now).min(completion).min(stop);
        assert!(next != Nanos::NEVER, "seed {}: it would sleep forever", self.seed);
        let late = match self.random.below(4) {
            0 => Nanos(self.random.below(3_000_000) as u64),
            _ => Nanos(0),
        };
        self.now = next.max(self.now) + late;
    }

    fn complete(&mut self) {
        while let Some((&(at, number), &(key, _))) = self.outstanding.first_key_value()
            && at <= self.now
        {
            self.outstanding.remove(&(at, number));
            if let Some(next) = self.timeline.completed(key, self.now) {
                self.issue(next);
            }
        }
    }

    fn advance(&mut self) {
        while let Some(mark) = self.timeline.next_milestone(self.now) {
            self.log.marks.push((self.now, mark));
        }
        let end = self.timeline.measuring_ends().unwrap_or(Nanos::NEVER);
        if self.outstanding.values().all(|&(_, due)| due >= end) {
            self.timeline.catch_up(self.now);
        }
        loop {
            self.timeline.set_outstanding(self.outstanding.len(), self.now);
            let Some(key) = self.timeline.next_starting(self.now) else {
                break;
            };
            let first = self.timeline.first_messages(self.workload.traffic.depth);
            (0..first).for_each(|_| self.issue(key));
        }
        while let Some(key) = self.timeline.next_thinking(self.now) {
            self.issue(key);
        }
        while let Some(planned) = self.timeline.next_planned(self.now) {
            self.log.planned.push((self.now, planned));
            self.send(planned.key, planned.at);
        }
    }

    fn issue(&mut self, key: Key) {
        assert!(self.timeline.is_sending(self.now), "seed {}: after the end", self.seed);
        self.log.issued.push((self.now, key));
        self.send(key, self.now);
    }

    fn send(&mut self, key: Key, due: Nanos) {
        let number = self.log.planned.len() + self.log.issued.len();
        let reply = Nanos(1 + self.random.below(self.reply.0 as usize) as u64);
        self.outstanding.insert((self.now + reply, number), (key, due));
        self.log.most = self.log.most.max(self.outstanding.len());
    }

    fn finish(&mut self) {
        if let Some(mark) = self.timeline.end_measuring(self.now) {
            self.log.marks.push((self.now, mark));
        }
        while let Some(Unissued { at, .. }) = self.timeline.next_unissued(self.now) {
            self.log.unissued.push(at);
        }
        self.log.ended = self.now;
    }

    /// Marks come in order, each once, none before its time.
    fn check_marks(&self, measure: Nanos, end: Nanos) {
        let (seed, marks) = (self.seed, &self.log.marks);
        let begins: Vec<_> = marks
            .iter()
            .filter(|(_, mark)| matches!(mark, Milestone::Begin(_)))
            .collect();
        let ends: Vec<_> = marks
            .iter()
            .filter(|(_, mark)| matches!(mark, Milestone::End(_)))
            .collect();
        assert_eq!((begins.len(), ends.len()), (1, 1), "seed {seed}: {marks:?}");
        assert!(
            begins[0].1 == Milestone::Begin(measure) && begins[0].0 >= measure,
            "seed {seed}"
        );
        assert!(
            ends[0].1 == Milestone::End(end) && ends[0].0 >= end,
            "seed {seed}: {ends:?} at {end:?}"
        );
        let seconds = marks.iter().filter_map(|&(at, mark)| match mark {
            Milestone::Second(since) => Some((at, since)),
            Milestone::Begin(_) | Milestone::End(_) => None,
        });
        for (index, (at, since)) in seconds.enumerate() {
            assert_eq!(since, Nanos((index as u64 + 1) * 1_000_000_000), "seed {seed}");
            assert!(at >= measure + since, "seed {seed}");
        }
    }

    /// The planned instants of the schedule, up to the end.
    fn expected(&self, start: Nanos, worker: usize, end: Nanos) -> Vec<Nanos> {
        let Pace::Open { rate, arrivals } = self.workload.pace else {
            return Vec::new();
        };
        let spec = ScheduleSpec {
            rate,
            arrivals,
            start,
            warmup: self.workload.warmup,
            duration: self.workload.duration,
            worker,
            workers: self.workload.threads as usize,
            share: 0.5,
        };
        let mut schedule = Schedule::new(&spec, Random::new(self.workload.seed, 2 * worker as u64 + 1));
        let instants = std::iter::from_fn(|| {
            let due = schedule.due();
            schedule.advance();
            (due < end).then_some(due)
        });
        instants.collect()
    }

    /// Every message of a slice's plan is issued, and so are those that are due until it has caught up. Returns how
    /// many were due in the slice itself.
    fn check_slice(&self, start: Nanos, worker: usize, end: Nanos) -> usize {
        let last = self
            .log
            .planned
            .last()
            .map_or(end, |(_, planned)| planned.at + Nanos(1));
        self.check_planned(&self.expected(start, worker, last.max(end)));
        self.expected(start, worker, end).len()
    }

    /// Every planned message is issued once and not early, or is among those that were not issued.
    fn check_planned(&self, expected: &[Nanos]) {
        let issued = self.log.planned.iter().map(|(_, planned)| planned.at);
        let all: Vec<Nanos> = issued.chain(self.log.unissued.iter().copied()).collect();
        assert_eq!(all, expected, "seed {}", self.seed);
        let early = self.log.planned.iter().any(|(now, planned)| *now < planned.at);
        assert!(!early, "seed {}", self.seed);
    }
}

fn closed(think: Nanos, depth: usize) -> Workload {
    let mut workload = short(Pace::Closed { think });
    workload.traffic.depth = depth;
    workload
}

fn open(arrivals: Arrivals) -> Workload {
    let rate = Rate {
        from: RATE,
        to: 2.0 * RATE,
    };
    short(Pace::Open { rate, arrivals })
}

fn short(pace: Pace) -> Workload {
    Workload {
        pace,
        warmup: ms(500),
        duration: ms(MEASURED),
        drain: ms(300),
        threads: 2,
        ..Workload::default()
    }
}

#[test]
fn every_planned_message_is_issued_once_and_never_early() {
    for seed in 0..SEEDS {
        let arrivals = [Arrivals::Poisson, Arrivals::Constant][seed as usize % 2];
        for worker in 0..2 {
            let mut world = World::new(seed, open(arrivals), worker, false);
            world.run(ms(7), None);
            let (measure, end) = (ms(507), ms(507 + MEASURED));
            world.check_planned(&world.expected(ms(7), worker, end));
            assert!(world.log.unissued.is_empty(), "seed {seed}");
            world.check_marks(measure, end);
        }
    }
}

#[test]
fn a_run_that_is_stopped_ends_then_and_drains() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, open(Arrivals::Poisson), 0, false);
        let stop = ms(7 + 20 + Random::new(seed, 3).below(MEASURED as usize) as u64);
        world.reply = ms(600);
        world.run(ms(7), Some(stop));
        let begin = world.log.marks.iter().find_map(|&(_, mark)| match mark {
            Milestone::Begin(at) => Some(at),
            _ => None,
        });
        let end = world.log.marks.iter().find_map(|&(_, mark)| match mark {
            Milestone::End(at) => Some(at),
            _ => None,
        });
        let (begin, end) = (begin.unwrap(), end.unwrap());
        assert!(begin <= end && end >= stop, "seed {seed}");
        assert!(
            world.log.ended <= end + ms(300) + ms(4),
            "seed {seed}: drained for too long"
        );
        let expected = world.expected(ms(7), 0, end);
        world.check_planned(&expected);
    }
}

#[test]
fn a_closed_loop_gives_every_connection_its_messages_and_keeps_the_pause() {
    for seed in 0..SEEDS {
        let (think, depth) = (ms(seed % 3 * 10), 1 + seed as usize % 3);
        let mut world = World::new(seed, closed(think, depth), 0, false);
        world.run(ms(7), None);
        world.check_marks(ms(507), ms(507 + MEASURED));
        let mut by_connection: BTreeMap<u32, Vec<Nanos>> = BTreeMap::new();
        for &(at, key) in &world.log.issued {
            by_connection.entry(key.slot).or_default().push(at);
        }
        assert_eq!(by_connection.len(), world.timeline.active(), "seed {seed}");
        for times in by_connection.values() {
            assert!(times[..depth].iter().all(|&at| at == times[0]), "seed {seed}: at once");
            assert!(times.len() > depth, "seed {seed}: it goes on");
            let paused = times.windows(depth + 1).all(|few| few[depth] >= few[0] + think);
            assert!(paused, "seed {seed}: {think:?}");
        }
    }
}

#[test]
fn connections_take_turns_where_not_all_may_have_messages_in_flight() {
    for seed in 0..SEEDS {
        let (depth, most) = (1 + seed as usize % 3, 2 + seed as u32 % 3);
        let mut workload = closed(Nanos(0), depth);
        workload.tcp_memory = Some(most);
        let mut world = World::new(seed, workload, 0, false);
        world.run(ms(7), None);
        assert!(
            world.log.most <= most.div_ceil(2) as usize,
            "seed {seed}: two workers share it"
        );
        let mut turns: BTreeMap<u32, usize> = BTreeMap::new();
        for &(_, key) in &world.log.issued {
            *turns.entry(key.slot).or_default() += 1;
        }
        assert_eq!(turns.len(), world.timeline.active(), "seed {seed}: every connection");
        let (fewest, most) = (turns.values().min().unwrap(), turns.values().max().unwrap());
        // Replies take random times, so a turn may come a little sooner or later.
        assert!(fewest * 20 >= most * 19, "seed {seed}: {turns:?}");
    }
}

#[test]
fn a_server_that_hangs_is_waited_for_as_long_as_the_drain() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, closed(Nanos(0), 1), 0, false);
        world.reply = Nanos::SECOND;
        world.run(ms(7), None);
        let drained = ms(507 + MEASURED + 300);
        assert!(world.log.ended <= drained + ms(4), "seed {seed}");
        assert!(
            world.outstanding.is_empty() || world.log.ended >= drained,
            "seed {seed}"
        );
    }
}

#[test]
fn messages_due_without_a_connection_are_counted_once_by_the_second_in_which_they_are_due() {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed, 4);
        let mut world = World::new(seed, open(Arrivals::Poisson), 0, false);
        let (start, end) = (ms(7), ms(507 + MEASURED));
        world.timeline.start(&world.workload, start, world.workload.seed);
        let keys: Vec<Key> = (0..world.timeline.active() as u32)
            .map(|slot| Key { slot, generation: 0 })
            .collect();
        let mut sent = 0;
        world.now = start;
        // Connections come and go: all of them at once, so that there are times without any.
        let (mut there, mut change) = (true, start + ms(random.below(900) as u64));
        while world.now < end + ms(1) {
            if world.now >= change {
                there = !there;
                change = world.now + ms(1 + random.below(900) as u64);
                for &key in &keys {
                    if there {
                        let _ = world.timeline.add(key, world.now); // Open loop: no first messages.
                    } else {
                        world.timeline.remove(key)
                    }
                }
            }
            while let Some(mark) = world.timeline.next_milestone(world.now) {
                if let Milestone::Second(since) = mark {
                    sent += world.timeline.count_waiting(ms(507) + since);
                }
            }
            while let Some(Planned { at, .. }) = world.timeline.next_planned(world.now) {
                sent += u64::from(world.timeline.measures(at) && !world.timeline.take_counted());
            }
            let wake_up = world.timeline.wake_up(world.now);
            assert!(there || wake_up > world.now, "seed {seed}: it would not sleep");
            world.now = wake_up.min(change).max(world.now + Nanos(1));
        }
        while let Some(unissued) = world.timeline.next_unissued(world.now) {
            if world.timeline.measures(unissued.at) {
                sent += unissued.count - unissued.counted;
            }
        }
        let expected = world.expected(start, 0, end);
        let measured = expected.iter().filter(|&&at| at >= ms(507)).count();
        assert_eq!(sent, measured as u64, "seed {seed}");
        assert!(world.timeline.is_over(true, world.now), "seed {seed}");
    }
}
