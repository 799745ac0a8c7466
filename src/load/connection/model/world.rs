//! One connection, its kernel and its target.

mod kernel;

use std::collections::VecDeque;

use crate::clock::Nanos;
use crate::load::connection::{Change, Connection, Next, Outgoing, Receive, Sample, Shutdown, Step};
use crate::load::payload::PayloadStream;
use crate::load::pipeline::{Message, Pipeline};
use crate::load::result::Loss;
use crate::load::sizes::Sizes;
use crate::load::workload::{Close, Traffic};
use crate::random::Choices;
use kernel::{Kernel, Target};

/// Messages that a connection may issue before it is closed, where it is.
const BUDGET: u64 = 6;

/// More steps than any world takes.
const STEPS: usize = 20_000;

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The target echoes for as long as there are messages.
    Kept,
    /// We close it when its messages are used up.
    Churned(Close),
    /// The target sends FIN at some time; we may close it first, by FIN.
    Finished,
    /// The target resets it at some time.
    Reset,
    /// The target refuses it.
    Refused,
    /// The target completes the handshake at most, and never echoes.
    Silent,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is open, with nothing outstanding.
    Idle,
    Closed,
    Aborted,
    Lost,
    Failed,
}

/// What the changes so far add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Opening,
    Open,
    Closing,
    Over(Outcome),
}

pub(super) struct World {
    seed: u64,
    fate: Fate,
    random: Choices,
    connection: Connection,
    traffic: Traffic,
    now: Nanos,
    life: Life,
    kernel: Kernel,
    target: Target,
    /// True while it waits for a buffer to send from, or to receive into.
    wants_buffer: bool,
    starved: bool,
    /// True if it has to echo a message before it counts as open; false in churn.
    probe: bool,
    /// True if the target completes the handshake.
    accepts: bool,
    issued: u64,
    completed: u64,
    /// When the messages that are outstanding were due, oldest first.
    outstanding: VecDeque<Nanos>,
    removed: bool,
    /// Samples by step, and FIN sent.
    samples: [u32; 3],
    fins: u32,
}

impl World {
    #[cfg(test)]
    pub(super) fn seeded(seed: u64, fate: Fate) -> World {
        World::new(Choices::seeded(seed, 1), seed, fate)
    }

    /// The seed is that of the payload.
    pub(super) fn new(mut random: Choices, seed: u64, fate: Fate) -> World {
        let most = if cfg!(miri) { 20 } else { [1, 20, 300][random.below(3)] };
        let depth = 1 + random.below(3);
        let pipeline = Pipeline::new(PayloadStream::new(seed, 7), 0, depth);
        let budget = match fate {
            Fate::Kept | Fate::Reset => u64::MAX,
            _ => BUDGET,
        };
        World {
            seed,
            fate,
            connection: Connection::dialed(7, pipeline, budget, Nanos(5)),
            traffic: Traffic {
                sizes: Sizes::Uniform { least: 1, most },
                depth,
                verify: true,
            },
            now: Nanos(5),
            life: Life::Opening,
            kernel: Kernel {
                connect: true,
                ..Kernel::default()
            },
            target: Target::default(),
            wants_buffer: false,
            starved: false,
            probe: fate == Fate::Silent || random.coin(),
            accepts: fate != Fate::Silent || random.coin(),
            issued: 0,
            completed: 0,
            outstanding: VecDeque::new(),
            removed: false,
            samples: [0; 3],
            fins: 0,
            random,
        }
    }

    /// Steps until nothing more can happen. Says how it ended.
    pub(super) fn run(mut self) -> Outcome {
        for _ in 0..STEPS {
            if self.removed {
                return self.ending();
            }
            if self.life == Life::Open && self.issued >= 3 * BUDGET && self.is_idle() {
                return Outcome::Idle;
            }
            self.now = self.now + Nanos(self.random.below(10) as u64);
            self.step();
        }
        panic!("seed {}: it does not end: {:?} {:?}", self.seed, self.life, self.kernel);
    }

    fn is_idle(&self) -> bool {
        self.outstanding.is_empty() && self.kernel.send.is_none()
    }

    fn ending(&self) -> Outcome {
        let Life::Over(ending) = self.life else {
            panic!("seed {}: removed while {:?}", self.seed, self.life);
        };
        let (issued, completed, outstanding) = (self.issued, self.completed, self.outstanding.len() as u64);
        assert_eq!(issued, completed + outstanding, "seed {}", self.seed);
        assert_eq!(
            self.connection.outstanding().count() as u64,
            self.outstanding_and_probe()
        );
        let [connects, _, closes] = self.samples;
        assert_eq!((connects, closes), (1, self.fins), "seed {}", self.seed);
        match ending {
            Outcome::Closed | Outcome::Aborted => assert_eq!((completed, outstanding), (BUDGET, 0)),
            Outcome::Failed => assert_eq!(issued, 0),
            Outcome::Lost | Outcome::Idle => {}
        }
        ending
    }

    /// A probe is not counted, but it is outstanding as well, if it is what the connection ended with.
    fn outstanding_and_probe(&self) -> u64 {
        let probing = self.life == Life::Over(Outcome::Failed) && self.connection.outstanding().count() == 1;
        self.outstanding.len() as u64 + u64::from(probing)
    }

    fn step(&mut self) {
        match self.random.below(9) {
            0 => self.complete_connect(),
            1 => self.complete_send(),
            2 | 3 => self.complete_receive(),
            4 => self.complete_cancels(),
            5 => self.give_buffer(),
            6 => self.feed(),
            7 => self.issue(),
            _ => self.act_as_target(),
        }
    }

    fn complete_connect(&mut self) {
        let answered = self.kernel.down || self.target.reset || self.accepts;
        if !self.kernel.connect || !answered {
            return;
        }
        self.kernel.connect = false;
        let result = if self.kernel.down || self.target.reset {
            Err(Loss::Reset)
        } else if self.fate == Fate::Refused {
            Err(Loss::Refused)
        } else {
            Ok(())
        };
        let (probe, now) = (self.probe, self.now);
        let next = self.connection.connected(result, probe, now);
        self.apply(next);
    }

    fn complete_send(&mut self) {
        let Some(mut bytes) = self.kernel.send.take() else {
            return;
        };
        if self.kernel.down || self.target.reset {
            let next = self.connection.sent(Err(Loss::Reset), true, self.now);
            return self.apply(next);
        }
        let taken = 1 + self.random.below(bytes.len());
        self.target.echo.extend(bytes.drain(..taken));
        let next = self.connection.sent(Ok(()), !bytes.is_empty(), self.now);
        if next.send == Some(Outgoing::Rest) {
            self.kernel.send = Some(bytes);
        }
        self.apply(next);
    }

    fn complete_receive(&mut self) {
        if !self.kernel.receive {
            return;
        }
        let now = self.now;
        if self.target.reset {
            self.kernel.receive = false;
            let next = self.connection.receive_failed(Loss::Reset, self.now);
            return self.apply(next);
        }
        if !self.target.echo.is_empty() && !self.kernel.down && self.fate != Fate::Silent {
            return match self.random.below(6) {
                0 => {
                    self.kernel.receive = false;
                    let next = self.connection.starved();
                    self.apply(next);
                }
                _ => self.receive_bytes(),
            };
        }
        if self.kernel.down || (self.target.fin && self.target.echo.is_empty()) {
            self.kernel.receive = false;
            let next = self.connection.ended(now);
            return self.apply(next);
        }
        if self.kernel.receive_ends && self.random.coin() {
            self.kernel.receive = false;
            let next = self.connection.receive_cancelled();
            self.apply(next);
        }
    }

    fn receive_bytes(&mut self) {
        let most = [1, 10, 1000][self.random.below(3)].min(self.target.echo.len());
        let len = 1 + self.random.below(most);
        let bytes: Vec<u8> = self.target.echo.drain(..len).collect();
        let more = self.random.below(4) > 0;
        self.kernel.receive = more;
        let was_over = matches!(self.life, Life::Over(_));
        let mut completed: Vec<Message> = Vec::new();
        let next = self
            .connection
            .received(&self.traffic, &bytes, more, self.now, |message| completed.push(message))
            .unwrap_or_else(|wrong| panic!("seed {}: {wrong:?}", self.seed));
        assert!(
            !was_over || completed.is_empty(),
            "seed {}: a message completed after the end",
            self.seed
        );
        if self.life == Life::Opening {
            assert_eq!(next.completed, 0, "seed {}: a probe leads to no message", self.seed);
        } else {
            assert_eq!(next.completed, completed.len(), "seed {}", self.seed);
            for message in completed {
                assert_eq!(
                    Some(message.planned),
                    self.outstanding.pop_front(),
                    "seed {}",
                    self.seed
                );
                assert!(message.submitted <= self.now, "seed {}", self.seed);
                self.completed += 1;
            }
        }
        self.apply(next);
        self.retire();
    }

    fn complete_cancels(&mut self) {
        if self.kernel.cancel_receive && self.random.coin() {
            self.kernel.cancel_receive = false;
            let next = self.connection.cancelled();
            self.apply(next);
        } else if self.kernel.cancel_connect {
            self.kernel.cancel_connect = false;
            self.kernel.down = true;
            let next = self.connection.cancelled();
            self.apply(next);
        }
    }

    /// A buffer to send from is free.
    fn give_buffer(&mut self) {
        if !self.wants_buffer {
            return;
        }
        self.wants_buffer = false;
        if !self.connection.wants_buffer() {
            return; // It has ended meanwhile.
        }
        let most = [1, 64, 512][self.random.below(3)];
        let mut buffer = vec![0; 1 + self.random.below(most)];
        let len = self.connection.write(&self.traffic, &mut buffer, self.now);
        assert!(len > 0 && self.kernel.send.is_none(), "seed {}", self.seed);
        self.kernel.send = Some(buffer[..len].iter().copied().collect());
    }

    /// A buffer to receive into is free.
    fn feed(&mut self) {
        if std::mem::take(&mut self.starved) {
            let next = self.connection.buffer_available();
            self.apply(next);
        }
    }

    fn issue(&mut self) {
        let enough = self.issued >= 3 * BUDGET;
        if self.removed || !self.connection.takes_messages() || enough {
            return;
        }
        assert_eq!(self.life, Life::Open, "seed {}", self.seed);
        self.issued += 1;
        self.outstanding.push_back(self.now);
        let next = self.connection.issue(self.now, true);
        self.apply(next);
    }

    /// Closes the connection if its messages are used up, as after every reply of a churning run.
    fn retire(&mut self) {
        let close = match self.fate {
            Fate::Churned(close) => close,
            Fate::Finished => Close::Fin,
            _ => return,
        };
        if !self.removed {
            let next = self.connection.retire(close, self.now);
            self.apply(next);
        }
    }

    fn act_as_target(&mut self) {
        match self.fate {
            Fate::Reset => self.target.reset |= self.random.below(30) == 0,
            Fate::Finished => self.target.fin |= self.random.below(60) == 0 && !self.kernel.connect,
            Fate::Silent if self.random.below(10) == 0 && !self.removed => {
                let next = self.connection.timed_out(self.now);
                self.apply(next);
            }
            _ => {}
        }
        self.target.fin |= self.target.our_fin && self.target.echo.is_empty();
    }

    fn apply(&mut self, next: Next) {
        assert!(!self.removed, "seed {}: an event after the end", self.seed);
        if let Some(sample) = next.sample {
            self.check_sample(sample, next.change);
        }
        match next.shutdown {
            Some(Shutdown::Write) => self.target.our_fin = true,
            Some(Shutdown::Both) => self.kernel.down = true,
            Some(Shutdown::Reset) | None => {}
        }
        if next.send == Some(Outgoing::Buffer) {
            let idle = !self.wants_buffer && self.kernel.send.is_none();
            assert!(idle, "seed {}: one send at a time", self.seed);
            self.wants_buffer = true;
        }
        match next.receive {
            Receive::Keep => {}
            Receive::Arm => {
                let idle = !self.kernel.receive && !self.starved;
                assert!(idle, "seed {}: one receive at a time", self.seed);
                self.kernel.receive = true;
            }
            Receive::Starve => self.starved = true,
            Receive::Cancel => {
                assert!(self.kernel.receive, "seed {}: nothing to cancel", self.seed);
                (self.kernel.cancel_receive, self.kernel.receive_ends) = (true, true);
            }
        }
        if next.cancel_connect {
            assert!(self.kernel.connect, "seed {}: nothing to cancel", self.seed);
            self.kernel.cancel_connect = true;
        }
        if let Some(change) = next.change {
            self.change(change);
        }
        if next.remove {
            self.check_that_the_kernel_has_nothing();
            self.removed = true;
        }
    }

    fn change(&mut self, change: Change) {
        self.fins += u32::from(change == Change::Closing);
        self.life = match (self.life, change) {
            (Life::Opening, Change::Opened) => Life::Open,
            (Life::Opening, Change::Failed(_)) => Life::Over(Outcome::Failed),
            (Life::Open | Life::Closing, Change::Lost(_)) => Life::Over(Outcome::Lost),
            (Life::Open, Change::Closing) => {
                assert!(
                    self.outstanding.is_empty(),
                    "seed {}: FIN before the last reply",
                    self.seed
                );
                Life::Closing
            }
            (Life::Open, Change::Aborted) => Life::Over(Outcome::Aborted),
            (Life::Closing, Change::Closed) => Life::Over(Outcome::Closed),
            (life, change) => panic!("seed {}: {change:?} while {life:?}", self.seed),
        };
    }

    fn check_sample(&mut self, sample: Sample, change: Option<Change>) {
        let (seed, step) = (self.seed, sample.step);
        assert_eq!(sample.since + sample.took, self.now, "seed {seed}: {sample:?}");
        let after_probe = step == Step::FirstByte && self.probe;
        assert!(!after_probe, "seed {seed}: the probe was first");
        let ends = matches!(change, Some(Change::Failed(_) | Change::Lost(_)));
        assert_eq!(sample.censored, ends, "seed {seed}: {sample:?} {change:?}");
        self.samples[step as usize] += 1;
    }

    fn check_that_the_kernel_has_nothing(&self) {
        assert!(
            self.kernel.is_empty(),
            "seed {}: removed with {:?}",
            self.seed,
            self.kernel
        );
    }
}
