//! Fault injection: a worker that is slower on purpose, to prove that `urecho check` finds regressions. A hidden flag
//! of `urecho serve`.

use std::collections::VecDeque;
use std::hint;
use std::num::NonZeroU64;
use std::thread;

use crate::clock::{self, Nanos};
use crate::ring::{Completion, Event, Received};
use crate::units;

/// The fault to inject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Extra CPU time for each receive that returns data, which is each message unless messages are coalesced.
    Spin(Nanos),
    /// Extra sleep in each pass that receives data.
    Delay(Nanos),
    /// A sleep at regular intervals, in the first pass after each is due.
    Stall {
        /// How long it lasts.
        duration: Nanos,
        /// Time from the start of one to the start of the next.
        every: Nanos,
    },
    /// One receive in `one_in` is echoed late. Other connections do not wait for it.
    Lag {
        /// How long it is kept.
        duration: Nanos,
        /// The number of receives of which one is kept.
        one_in: NonZeroU64,
    },
    /// A worker that never sleeps.
    Busy,
    /// Extra resident memory, in bytes.
    Memory(u64),
    /// A panic at the first message, of the worker with this index or of all.
    Panic(Option<usize>),
}

impl Fault {
    /// Parses `spin=2us`, `delay=50us`, `stall=5ms/1s`, `lag=1ms/100`, `memory=1MiB`, `busy`, `panic=0` or `panic=all`.
    /// Errors: one line that says what to write, for clap.
    pub fn parse(text: &str) -> Result<Fault, String> {
        const FORMS: &str = "write `spin=2us`, `delay=50us`, `stall=5ms/1s`, `lag=1ms/100`, `memory=1MiB`, `busy`, \
             `panic=WORKER` or `panic=all`";
        let (kind, value) = text.split_once('=').unwrap_or((text, ""));
        let two = || value.split_once('/').ok_or(FORMS);
        match kind {
            "busy" if value.is_empty() => Ok(Fault::Busy),
            "panic" if value == "all" => Ok(Fault::Panic(None)),
            "panic" => value
                .parse()
                .map(|worker| Fault::Panic(Some(worker)))
                .map_err(|_| FORMS.into()),
            "spin" => units::duration(value).map(Fault::Spin),
            "delay" => units::duration(value).map(Fault::Delay),
            "memory" => units::size(value).map(Fault::Memory),
            "stall" => Ok(Fault::Stall {
                duration: units::duration(two()?.0)?,
                every: units::duration(two()?.1)?,
            }),
            "lag" => Ok(Fault::Lag {
                duration: units::duration(two()?.0)?,
                one_in: two()?.1.parse().map_err(|_| FORMS)?,
            }),
            _ => Err(FORMS.into()),
        }
    }
}

/// Injects a fault into one worker.
#[derive(Debug)]
pub(super) struct FaultInjector {
    fault: Fault,
    /// Index of the worker.
    worker: usize,
    next_stall: Nanos,
    /// Receives that returned data so far.
    received: u64,
    /// Completions that are kept, until when.
    kept: VecDeque<(Nanos, Completion)>,
    _memory: Vec<u8>,
}

impl FaultInjector {
    /// For the worker with this index.
    pub(super) fn new(fault: Fault, worker: usize) -> FaultInjector {
        let next_stall = match fault {
            Fault::Stall { every, .. } => clock::now() + every,
            _ => Nanos::NEVER,
        };
        let memory = match fault {
            Fault::Memory(bytes) => vec![1; usize::try_from(bytes).unwrap_or(0)], // Zeros would not become resident.
            _ => Vec::new(),
        };
        FaultInjector {
            fault,
            worker,
            next_stall,
            received: 0,
            kept: VecDeque::new(),
            _memory: memory,
        }
    }

    /// Slows down the pass that handles these completions.
    pub(super) fn inject(&mut self, completions: &mut Vec<Completion>) {
        let received = completions.iter().filter(|completion| is_data(completion)).count();
        let now = clock::now();
        match self.fault {
            Fault::Spin(duration) => {
                let until = now + Nanos(duration.0 * received as u64);
                while clock::now() < until {
                    hint::spin_loop();
                }
            }
            Fault::Delay(duration) if received > 0 => thread::sleep(duration.into()),
            Fault::Stall { duration, every } if now >= self.next_stall => {
                thread::sleep(duration.into());
                self.next_stall = now + every;
            }
            Fault::Lag { duration, one_in } => self.keep_some(completions, now, duration, one_in),
            Fault::Panic(victim) if received > 0 && victim.is_none_or(|victim| victim == self.worker) => {
                panic!("injected by --fault panic")
            }
            Fault::Delay(_) | Fault::Stall { .. } | Fault::Busy | Fault::Memory(_) | Fault::Panic(_) => {}
        }
    }

    /// When to wake up although nothing completes.
    pub(super) fn deadline(&self) -> Nanos {
        match self.fault {
            Fault::Busy => Nanos(0),
            _ => self.kept.front().map_or(Nanos::NEVER, |&(until, _)| until),
        }
    }

    /// Keeps one receive in `one_in`, and what its connection receives after it; returns those whose time has come.
    fn keep_some(&mut self, completions: &mut Vec<Completion>, now: Nanos, duration: Nanos, one_in: NonZeroU64) {
        let over = self.kept.partition_point(|&(until, _)| until <= now);
        let mut due: Vec<Completion> = self.kept.drain(..over).map(|(_, completion)| completion).collect();
        for completion in completions.drain(..) {
            self.received += u64::from(is_data(&completion));
            let is_receive = matches!(completion.event, Event::Received(_));
            let keep = is_data(&completion) && self.received.is_multiple_of(one_in.get())
                || is_receive && self.kept.iter().any(|(_, kept)| kept.key == completion.key);
            if keep {
                self.kept.push_back((now + duration, completion));
            } else {
                due.push(completion);
            }
        }
        *completions = due;
    }
}

fn is_data(completion: &Completion) -> bool {
    matches!(completion.event, Event::Received(Received::Data(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::fake;
    use crate::slab::Key;
    use crate::sys::usage;

    fn data(key: u32) -> Completion {
        Completion {
            key: Key::reserved(key),
            more: true,
            event: Event::Received(Received::Data(fake::chunk(0, 64))),
        }
    }

    #[test]
    fn each_fault_has_a_form() {
        let us = |count: u64| Nanos(count * 1_000);
        let stall = Fault::Stall {
            duration: us(5_000),
            every: us(1_000_000),
        };
        let lag = Fault::Lag {
            duration: us(1_000),
            one_in: NonZeroU64::new(100).unwrap(),
        };
        for (text, fault) in [
            ("spin=2us", Fault::Spin(us(2))),
            ("delay=50us", Fault::Delay(us(50))),
            ("stall=5ms/1s", stall),
            ("lag=1ms/100", lag),
            ("memory=1MiB", Fault::Memory(1_048_576)),
            ("busy", Fault::Busy),
        ] {
            assert_eq!(Fault::parse(text), Ok(fault));
        }
        for text in [
            "",
            "spin",
            "spin=2",
            "stall=5ms",
            "panic=2us",
            "lag=1ms",
            "lag=1ms/0",
            "busy=1",
            "memory=1",
        ] {
            assert!(Fault::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spinning_takes_at_least_its_time_for_each_receive() {
        let mut injector = FaultInjector::new(Fault::Spin(Nanos(100_000)), 0);
        let mut completions = vec![data(1), data(2), data(1)];
        let before = clock::now();
        injector.inject(&mut completions);
        assert!(clock::now() - before >= Nanos(300_000));
        assert_eq!(completions.len(), 3);
    }

    #[test]
    fn lag_keeps_one_receive_in_three_and_what_its_connection_receives_after_it() {
        let mut injector = FaultInjector::new(Fault::parse("lag=1ms/3").unwrap(), 0);
        let mut pass = |now: u64, keys: &[u32]| {
            let mut completions: Vec<Completion> = keys.iter().map(|&key| data(key)).collect();
            injector.keep_some(&mut completions, Nanos(now), Nanos(1_000), NonZeroU64::new(3).unwrap());
            let keys: Vec<Key> = completions.iter().map(|completion| completion.key).collect();
            (keys, injector.deadline())
        };
        let keys = |keys: &[u32]| keys.iter().map(|&key| Key::reserved(key)).collect::<Vec<_>>();
        assert_eq!(pass(0, &[1, 2, 3, 4, 3]), (keys(&[1, 2, 4]), Nanos(1_000)));
        assert_eq!(pass(999, &[5]), (keys(&[]), Nanos(1_000))); // The sixth.
        assert_eq!(pass(1_000, &[3, 6]), (keys(&[3, 3, 3, 6]), Nanos(1_999)));
    }

    #[test]
    fn memory_becomes_resident() {
        let pid = std::process::id().cast_signed();
        let before = usage::resident(pid).unwrap();
        let _injector = FaultInjector::new(Fault::Memory(64 << 20), 0);
        assert!(usage::resident(pid).unwrap() >= before + (48 << 20));
    }
}
