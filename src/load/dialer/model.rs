//! `Dialer` against a simulated network: handshakes that take time, lose SYN, fail or are never answered.
//!
//! Time jumps from event to event, or to when the dialer wants to wake up: a dialer that forgot to would hang.

use std::collections::{BTreeMap, BTreeSet};

use super::{DIALS, Dialer, RETRY_DELAY, STALL, TIMEOUT, WINDOW};
use crate::clock::Nanos;
use crate::load::workload::{Churn, Close, Workload};
use crate::random::Random;
use crate::slab::Key;

/// Miri is three orders of magnitude slower.
const SEEDS: u64 = if cfg!(miri) { 1 } else { 300 };

/// Connections of all workers.
const CONNECTIONS: u32 = if cfg!(miri) { 10 } else { 400 };

const fn ms(count: u64) -> Nanos {
    Nanos(count * 1_000_000)
}

/// What the target does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// Accepts everything at once.
    Prompt,
    /// Drops a SYN whenever this many are in its queue, from which it takes one every millisecond.
    Queue(usize),
    /// Every fourth connect fails.
    Flaky,
    /// Serves one connection; the others never open.
    Single,
}

/// A connection attempt in progress.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    dialed: Nanos,
    /// When its next SYN is sent, and how long after that the one after, while none has been accepted.
    syn: Nanos,
    again: Nanos,
    /// When its handshake is complete, and when it has echoed or failed; `NEVER` until a SYN has been accepted.
    connects: Nanos,
    ends: Nanos,
    opens: bool,
}

impl Attempt {
    fn next_event(&self) -> Nanos {
        self.syn.min(self.connects).min(self.ends)
    }
}

/// One dialer and the network.
struct Network {
    seed: u64,
    random: Random,
    target: Target,
    dialer: Dialer,
    now: Nanos,
    attempts: BTreeMap<u64, Attempt>,
    dialed: BTreeSet<u64>,
    open: BTreeSet<u64>,
    failed: u64,
    given_up: u64,
    lost_syn: u64,
    /// When the target takes the last connection out of its queue.
    served: Nanos,
}

impl Network {
    fn new(seed: u64, target: Target, workload: &Workload, worker: usize) -> Network {
        Network {
            seed,
            random: Random::new(seed, worker as u64),
            target,
            dialer: Dialer::new(workload, worker, 0, Nanos(0)),
            now: Nanos(0),
            attempts: BTreeMap::new(),
            dialed: BTreeSet::new(),
            open: BTreeSet::new(),
            failed: 0,
            given_up: 0,
            lost_syn: 0,
            served: Nanos(0),
        }
    }

    /// Runs until every initial connection has opened or failed.
    fn ramp_up(&mut self) {
        while !self.dialer.is_complete() {
            self.pass(false);
            if self.dialer.is_complete() {
                return;
            }
            let event = self.next_event();
            let wake_up = self.dialer.wake_up(self.now);
            let next = event.min(wake_up);
            assert!(next != Nanos::NEVER, "seed {}: nothing would ever happen", self.seed);
            self.now = next.max(self.now);
        }
    }

    fn next_event(&self) -> Nanos {
        let events = self.attempts.values().map(Attempt::next_event);
        events.min().unwrap_or(Nanos::NEVER)
    }

    /// What a worker does in one pass: completions, time-outs, dials.
    fn pass(&mut self, replacing: bool) {
        self.complete();
        while let Some(key) = self.dialer.timed_out(self.now) {
            let number = u64::from(key.slot);
            let attempt = self
                .attempts
                .remove(&number)
                .expect("only an attempt in progress times out");
            assert!(self.now >= attempt.dialed + TIMEOUT, "seed {}: too early", self.seed);
            self.fail(number);
            self.given_up += self.dialer.give_up(self.now);
        }
        self.dialer.begin_pass(self.now, replacing);
        let before = self.dialed.len();
        while let Some(number) = self.dialer.next(self.now) {
            self.dial(number);
        }
        let (dials, on_their_way) = (self.dialed.len() - before, self.attempts.len());
        assert_eq!(on_their_way, self.dialer.attempts.len(), "seed {}", self.seed);
        if !replacing {
            let fits = dials == 0 || on_their_way <= self.dialer.window;
            assert!(dials <= DIALS && fits, "seed {}", self.seed);
        }
        let overdue = self.attempts.values().any(|one| one.dialed + TIMEOUT <= self.now);
        assert!(!overdue, "seed {}: given up too late", self.seed);
    }

    /// Everything that happens up to now, in the order of time.
    fn complete(&mut self) {
        while let Some((&number, &attempt)) = self.attempts.iter().min_by_key(|(_, one)| one.next_event())
            && attempt.next_event() <= self.now
        {
            if attempt.next_event() == attempt.syn {
                let sent = self.send_syn(attempt);
                self.attempts.insert(number, sent);
            } else if attempt.next_event() == attempt.connects {
                self.connected(attempt.connects - attempt.dialed);
                let connects = Nanos::NEVER;
                self.attempts.insert(number, Attempt { connects, ..attempt });
            } else {
                self.attempts.remove(&number);
                if attempt.opens {
                    self.opened(number);
                } else {
                    self.fail(number);
                }
            }
        }
    }

    fn connected(&mut self, took: Nanos) {
        let window = self.dialer.window;
        self.dialer.connected(took);
        let halved = if took >= Nanos::SECOND {
            (window / 2).max(1)
        } else {
            window
        };
        assert_eq!(self.dialer.window, halved, "seed {}: {took:?}", self.seed);
    }

    fn opened(&mut self, number: u64) {
        self.open.insert(number);
        let window = self.dialer.window;
        self.dialer.opened(number, self.now);
        let waits_for_older = self.attempts.keys().any(|&other| other < number);
        let grown = if waits_for_older {
            window
        } else {
            (window + 1).min(self.dialer.limit)
        };
        assert_eq!(self.dialer.window, grown, "seed {}: head of line", self.seed);
    }

    fn fail(&mut self, number: u64) {
        self.failed += 1;
        self.dialer.failed(number);
        self.dialer.replace(self.now, RETRY_DELAY);
    }

    fn dial(&mut self, number: u64) {
        assert!(self.dialed.insert(number), "seed {}: {number} dialled twice", self.seed);
        let key = Key {
            slot: number as u32,
            generation: 0,
        };
        self.dialer.dialed(number, key, self.now);
        let attempt = Attempt {
            dialed: self.now,
            syn: self.now,
            again: Nanos::SECOND,
            connects: Nanos::NEVER,
            ends: Nanos::NEVER,
            opens: self.target != Target::Flaky || self.random.below(4) > 0,
        };
        let answered = self.target != Target::Single || number == 0;
        let syn = if answered { attempt.syn } else { Nanos::NEVER };
        self.attempts.insert(number, Attempt { syn, ..attempt });
    }

    /// A SYN reaches the target. One that is dropped is sent again 1 s, 2 s, 4 s, … later.
    fn send_syn(&mut self, attempt: Attempt) -> Attempt {
        let now = attempt.syn;
        let handshake = now + Nanos(1 + self.random.below(200_000) as u64);
        let echo = handshake + Nanos(1 + self.random.below(3_000_000) as u64);
        let queued = self.attempts.values().filter(|one| one.ends != Nanos::NEVER).count();
        let (connects, ends) = match self.target {
            Target::Queue(length) if queued >= length => {
                self.lost_syn += 1;
                return Attempt {
                    syn: now + attempt.again,
                    again: Nanos(2 * attempt.again.0),
                    ..attempt
                };
            }
            Target::Queue(_) => {
                self.served = self.served.max(handshake) + ms(1);
                (handshake, self.served)
            }
            Target::Prompt | Target::Flaky | Target::Single => (handshake, echo),
        };
        let syn = Nanos::NEVER;
        Attempt {
            syn,
            connects,
            ends,
            ..attempt
        }
    }
}

fn workload(threads: u32, churn: bool) -> Workload {
    let churn = churn.then_some(Churn {
        messages: 1,
        close: Close::Rst,
    });
    Workload {
        connections: CONNECTIONS,
        threads,
        churn,
        ..Workload::default()
    }
}

/// The dialers of all workers, each after its ramp-up against the target.
fn ramped_up(seed: u64, target: Target, threads: u32) -> Vec<Network> {
    let workload = workload(threads, false);
    let networks = (0..threads as usize).map(|worker| {
        let mut network = Network::new(seed, target, &workload, worker);
        network.ramp_up();
        network
    });
    networks.collect()
}

fn all_open(networks: &[Network]) -> Vec<u64> {
    let mut numbers: Vec<u64> = networks
        .iter()
        .flat_map(|network| network.open.iter().copied())
        .collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn every_connection_is_dialled_once_by_one_of_the_workers() {
    for seed in 0..SEEDS {
        let networks = ramped_up(seed, Target::Prompt, 1 + seed as u32 % 4);
        let expected: Vec<u64> = (0..u64::from(CONNECTIONS)).collect();
        assert_eq!(all_open(&networks), expected, "seed {seed}");
    }
}

#[test]
fn an_accept_queue_of_128_loses_no_syn() {
    for seed in 0..SEEDS {
        let networks = ramped_up(seed, Target::Queue(128), 1);
        assert_eq!(networks[0].lost_syn, 0, "seed {seed}");
    }
}

#[test]
fn lost_syn_shrink_the_window_and_every_connection_opens_in_the_end() {
    let mut lost = 0;
    for seed in 0..SEEDS {
        let networks = ramped_up(seed, Target::Queue(2 + seed as usize % 20), 1);
        assert_eq!(networks[0].open.len() as u64, u64::from(CONNECTIONS), "seed {seed}");
        lost += networks[0].lost_syn;
    }
    assert!(cfg!(miri) || lost > 0, "the queue never overflowed");
}

#[test]
fn connections_that_fail_are_counted_and_not_dialled_again() {
    for seed in 0..SEEDS {
        let network = &ramped_up(seed, Target::Flaky, 1)[0];
        let (opened, failed) = (network.open.len() as u64, network.failed);
        assert_eq!(opened + failed, u64::from(CONNECTIONS), "seed {seed}");
        assert!(failed > 0 || cfg!(miri), "seed {seed}");
    }
}

#[test]
fn a_target_that_serves_one_connection_ends_the_ramp_up_after_one_timeout_of_all() {
    for seed in 0..SEEDS {
        let network = &ramped_up(seed, Target::Single, 1)[0];
        assert_eq!(network.open.len(), 1, "seed {seed}");
        let all = 1 + network.failed + network.given_up;
        assert_eq!(all, u64::from(CONNECTIONS), "seed {seed}");
        assert!(
            network.now < TIMEOUT + TIMEOUT + STALL,
            "seed {seed}: {:?}",
            network.now
        );
    }
}

#[test]
fn a_stalled_ramp_up_doubles_its_window_every_second() {
    let mut network = Network::new(1, Target::Single, &workload(1, false), 1);
    network.dialer.window = 1;
    network.pass(false);
    for doubled in [2, 4, 8] {
        network.now = network.dialer.wake_up(network.now);
        network.pass(false);
        assert_eq!(network.dialer.window, doubled);
    }
}

#[test]
fn a_churning_worker_replaces_what_ends_with_numbers_of_its_own() {
    for seed in 0..SEEDS {
        let workload = workload(3, true);
        let mut numbers = BTreeSet::new();
        for worker in 0..3 {
            let mut network = Network::new(seed, Target::Flaky, &workload, worker);
            network.ramp_up();
            network.dialer.refill(network.open.len());
            for _ in 0..if cfg!(miri) { 20 } else { 200 } {
                network.pass(true);
                let present = network.open.len() + network.attempts.len();
                assert!(present <= network.dialer.share(), "seed {seed}");
                if let Some(&number) = network.open.iter().nth(network.random.below(20)) {
                    network.open.remove(&number);
                    let delay = [Nanos(0), RETRY_DELAY][network.random.below(2)];
                    network.dialer.replace(network.now, delay);
                }
                network.now = network.now + Nanos(network.random.below(500_000) as u64);
            }
            assert!(
                network.dialed.iter().all(|&number| numbers.insert(number)),
                "seed {seed}: a number of another worker"
            );
        }
    }
}

#[test]
fn what_ends_when_nothing_is_sent_any_more_is_not_replaced() {
    let mut network = Network::new(1, Target::Prompt, &workload(1, true), 0);
    network.ramp_up();
    let dialed = network.dialed.len();
    network.dialer.replace(network.now, Nanos(0));
    network.dialer.replace(network.now, RETRY_DELAY);
    network.pass(false);
    network.now = network.now + Nanos::SECOND;
    network.pass(true);
    assert_eq!(network.dialed.len(), dialed);
    // The next slice begins with as many connections as the first.
    network.dialer.refill(network.open.len() - 2);
    network.pass(true);
    assert_eq!(network.dialed.len(), dialed + 2);
}

#[test]
fn a_connection_that_is_open_already_is_not_dialled() {
    let workload = workload(2, false);
    let mut dialer = Dialer::new(&workload, 0, 1, Nanos(0));
    dialer.begin_pass(Nanos(0), false);
    assert_eq!(dialer.next(Nanos(0)), Some(2));
    assert_eq!(dialer.share() as u32, CONNECTIONS / 2);
}

#[test]
fn a_connection_whose_first_message_moves_is_not_given_up() {
    let mut dialer = Dialer::new(&workload(1, false), 0, 0, Nanos(0));
    let key = |number: u64| Key {
        slot: number as u32,
        generation: 0,
    };
    for number in 0..3 {
        dialer.dialed(number, key(number), ms(number));
    }
    // The second moves for five times as long as a connection may stand still.
    let mut gone = Vec::new();
    let stands_still = ms(5 * TIMEOUT.0 / 1_000_000);
    let mut now = Nanos(0);
    while now < stands_still + TIMEOUT + ms(100) {
        if now < stands_still {
            dialer.moved(1, now);
        }
        while let Some(key) = dialer.timed_out(now) {
            gone.push((key.slot, now));
            assert_eq!(
                dialer.give_up(now) > 0,
                key.slot == 1,
                "others are given up once nothing moves"
            );
        }
        assert!(dialer.attempts.iter().all(|one| dialer.timeout <= one.deadline));
        now = now + ms(100);
    }
    let waited = TIMEOUT + ms(100);
    assert_eq!(gone[..2], [(0, TIMEOUT), (2, waited)]);
    let (last, at) = gone[2];
    assert!(
        last == 1 && at >= stands_still && at <= stands_still + TIMEOUT,
        "{gone:?}"
    );
}

#[test]
fn all_workers_together_have_one_window() {
    for (threads, limit) in [(1, WINDOW), (2, WINDOW / 2), (8, WINDOW / 8), (200, 1)] {
        let workload = Workload {
            connections: 10_000,
            threads,
            ..Workload::default()
        };
        let mut dialer = Dialer::new(&workload, 0, 0, Nanos(0));
        for second in 1..20 {
            dialer.begin_pass(Nanos(second * 1_000_000_000), false); // Nothing opens: it doubles.
        }
        assert_eq!(dialer.window, limit, "{threads} threads");
    }
}
