//! Fault injection: a worker that is slower on purpose, to prove that `urecho check` finds regressions. A hidden flag of
//! `urecho serve`.

use std::hint;
use std::thread;

use crate::clock::{self, Nanos};
use crate::units;

/// The fault to inject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Extra CPU time for each receive that returns data, which is each message unless messages are coalesced.
    Spin(Nanos),
    /// Extra sleep in each pass that receives data.
    Delay(Nanos),
    /// A sleep at regular intervals.
    Stall {
        /// How long it lasts.
        duration: Nanos,
        /// Time from the start of one to the start of the next.
        every: Nanos,
    },
}

impl Fault {
    /// Parses `spin=2us`, `delay=50us` or `stall=5ms/1s`. Errors: one line that says what to write, for clap.
    pub fn parse(text: &str) -> Result<Fault, String> {
        const FORMS: &str = "write `spin=2us`, `delay=50us` or `stall=5ms/1s`";
        match text.split_once('=').ok_or(FORMS)? {
            ("spin", duration) => units::duration(duration).map(Fault::Spin),
            ("delay", duration) => units::duration(duration).map(Fault::Delay),
            ("stall", durations) => {
                let (duration, every) = durations.split_once('/').ok_or(FORMS)?;
                Ok(Fault::Stall {
                    duration: units::duration(duration)?,
                    every: units::duration(every)?,
                })
            }
            _ => Err(FORMS.into()),
        }
    }
}

/// Injects a fault into one worker.
#[derive(Debug)]
pub(super) struct FaultInjector {
    fault: Fault,
    next_stall: Nanos,
}

impl FaultInjector {
    pub(super) fn new(fault: Fault) -> FaultInjector {
        let next_stall = match fault {
            Fault::Stall { every, .. } => clock::now() + every,
            _ => Nanos::NEVER,
        };
        FaultInjector { fault, next_stall }
    }

    /// Slows down a pass in which `received` receives returned data.
    pub(super) fn inject(&mut self, received: usize) {
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
            Fault::Delay(_) | Fault::Stall { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_three_forms() {
        let us = |count: u64| Nanos(count * 1_000);
        let stall = Fault::Stall {
            duration: us(5_000),
            every: us(1_000_000),
        };
        for (text, fault) in [
            ("spin=2us", Fault::Spin(us(2))),
            ("delay=50us", Fault::Delay(us(50))),
            ("stall=5ms/1s", stall),
        ] {
            assert_eq!(Fault::parse(text), Ok(fault));
        }
        for text in ["", "spin", "spin=2", "stall=5ms", "panic=2us"] {
            assert!(Fault::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spinning_takes_at_least_its_time_for_each_receive() {
        let mut injector = FaultInjector::new(Fault::Spin(Nanos(100_000)));
        let before = clock::now();
        injector.inject(3);
        assert!(clock::now() - before >= Nanos(300_000));
    }
}
