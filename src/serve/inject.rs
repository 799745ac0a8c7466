//! Slowness on order, for proving that `urecho check` finds it. A hidden option of `urecho serve`, and nobody's else.

use std::fmt::{self, Display, Formatter};
use std::hint;
use std::thread;

use crate::clock::{self, Nanos};
use crate::units::{self, show_duration};

/// What to suffer from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// So much more CPU time for each message, or rather for each time that bytes come in.
    Spin(Nanos),
    /// So much more time, asleep, whenever bytes have come in.
    Delay(Nanos),
    /// Asleep for so long, in every so long.
    Stall(Nanos, Nanos),
}

impl Injection {
    /// Reads `spin=2us`, `delay=50us` or `stall=5ms/1s`. For clap: errors are one line that says what to write.
    pub fn parse(text: &str) -> Result<Injection, String> {
        const FORMS: &str = "write `spin=2us`, `delay=50us` or `stall=5ms/1s`";
        match text.split_once('=').ok_or(FORMS)? {
            ("spin", span) => units::duration(span).map(Injection::Spin),
            ("delay", span) => units::duration(span).map(Injection::Delay),
            ("stall", spans) => {
                let (span, every) = spans.split_once('/').ok_or(FORMS)?;
                let (span, every) = (units::duration(span)?, units::duration(every)?);
                Ok(Injection::Stall(span, every))
            }
            _ => Err(FORMS.into()),
        }
    }
}

impl Display for Injection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Injection::Spin(span) => write!(f, "spin={}", show_duration(span)),
            Injection::Delay(span) => write!(f, "delay={}", show_duration(span)),
            Injection::Stall(span, every) => {
                write!(f, "stall={}/{}", show_duration(span), show_duration(every))
            }
        }
    }
}

/// A worker's suffering.
#[derive(Debug)]
pub(super) struct Injected {
    injection: Injection,
    /// When it stalls next.
    stall: Nanos,
}

impl Injected {
    pub(super) fn new(injection: Injection) -> Injected {
        let stall = match injection {
            Injection::Stall(_, every) => clock::now() + every,
            _ => Nanos::NEVER,
        };
        Injected { injection, stall }
    }

    /// Suffers, now that bytes have come in so many times.
    pub(super) fn suffer(&mut self, received: usize) {
        let now = clock::now();
        match self.injection {
            Injection::Spin(span) => {
                let until = now + Nanos(span.0 * received as u64);
                while clock::now() < until {
                    hint::spin_loop();
                }
            }
            Injection::Delay(span) if received > 0 => thread::sleep(span.into()),
            Injection::Stall(span, every) if now >= self.stall => {
                thread::sleep(span.into());
                self.stall = now + every;
            }
            Injection::Delay(_) | Injection::Stall(..) => {}
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
            ("spin=2us", Injection::Spin(us(2))),
            ("delay=50us", Injection::Delay(us(50))),
            ("stall=5ms/1s", Injection::Stall(us(5_000), us(1_000_000))),
        ] {
            assert_eq!(Injection::parse(text), Ok(injection));
        }
        for text in ["", "spin", "spin=2", "stall=5ms", "pain=2us"] {
            assert!(Injection::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spinning_takes_the_time_that_was_ordered() {
        let mut injected = Injected::new(Injection::Spin(Nanos(100_000)));
        let before = clock::now();
        injected.suffer(3);
        assert!(clock::now() - before >= Nanos(300_000));
    }
}
