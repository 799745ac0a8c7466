//! Slowness on order, for proving that `urecho check` finds it. A hidden option of `urecho serve`, and nobody's else.

use std::fmt::{self, Display, Formatter};
use std::hint;
use std::thread;

use crate::clock::{self, Nanos};
use crate::units::{self, show_duration};

/// What to apply from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// So much more CPU time for each message, or rather for each time that bytes come in.
    Spin(Nanos),
    /// So much more time, asleep, whenever bytes have come in.
    Delay(Nanos),
    /// Asleep for so long, in every so long.
    Stall(Nanos, Nanos),
}

impl Fault {
    /// Reads `spin=2us`, `delay=50us` or `stall=5ms/1s`. For clap: errors are one line that says what to write.
    pub fn parse(text: &str) -> Result<Fault, String> {
        const FORMS: &str = "write `spin=2us`, `delay=50us` or `stall=5ms/1s`";
        match text.split_once('=').ok_or(FORMS)? {
            ("spin", span) => units::duration(span).map(Fault::Spin),
            ("delay", span) => units::duration(span).map(Fault::Delay),
            ("stall", spans) => {
                let (span, every) = spans.split_once('/').ok_or(FORMS)?;
                let (span, every) = (units::duration(span)?, units::duration(every)?);
                Ok(Fault::Stall(span, every))
            }
            _ => Err(FORMS.into()),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Fault::Spin(span) => write!(f, "spin={}", show_duration(span)),
            Fault::Delay(span) => write!(f, "delay={}", show_duration(span)),
            Fault::Stall(span, every) => {
                write!(f, "stall={}/{}", show_duration(span), show_duration(every))
            }
        }
    }
}

/// A worker's suffering.
#[derive(Debug)]
pub(super) struct FaultInjector {
    injection: Fault,
    /// When it stalls next.
    stall: Nanos,
}

impl FaultInjector {
    pub(super) fn new(injection: Fault) -> FaultInjector {
        let stall = match injection {
            Fault::Stall(_, every) => clock::now() + every,
            _ => Nanos::NEVER,
        };
        FaultInjector { injection, stall }
    }

    /// Suffers, now that bytes have come in so many times.
    pub(super) fn apply(&mut self, received: usize) {
        let now = clock::now();
        match self.injection {
            Fault::Spin(span) => {
                let until = now + Nanos(span.0 * received as u64);
                while clock::now() < until {
                    hint::spin_loop();
                }
            }
            Fault::Delay(span) if received > 0 => thread::sleep(span.into()),
            Fault::Stall(span, every) if now >= self.stall => {
                thread::sleep(span.into());
                self.stall = now + every;
            }
            Fault::Delay(_) | Fault::Stall(..) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slowness_is_ordered_in_three_ways() {
        let us = |count: u64| Nanos(count * 1_000);
        for (text, injection) in [
            ("spin=2us", Fault::Spin(us(2))),
            ("delay=50us", Fault::Delay(us(50))),
            ("stall=5ms/1s", Fault::Stall(us(5_000), us(1_000_000))),
        ] {
            assert_eq!(Fault::parse(text), Ok(injection));
        }
        for text in ["", "spin", "spin=2", "stall=5ms", "pain=2us"] {
            assert!(Fault::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spinning_takes_the_time_that_was_ordered() {
        let mut injected = FaultInjector::new(Fault::Spin(Nanos(100_000)));
        let before = clock::now();
        injected.apply(3);
        assert!(clock::now() - before >= Nanos(300_000));
    }
}
