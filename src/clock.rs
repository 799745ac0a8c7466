//! The one clock: monotonic nanoseconds since its first use in this process. `wall` has the date, for labels.
//!
//! CLOCK_MONOTONIC through the vDSO (clock_gettime(2)): about 20 ns per call on the reference machine.

use std::ops::{Add, Sub};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

mod wall;

pub use wall::WallTime;

/// A point in time, or a duration, in nanoseconds. Arithmetic saturates: a negative duration is zero. In JSON an
/// integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// One second.
    pub const SECOND: Nanos = Nanos(1_000_000_000);
    /// Later than the end of any run.
    pub const NEVER: Nanos = Nanos(u64::MAX);

    /// Of seconds: cut to whole nanoseconds, and zero if negative.
    pub fn from_secs(seconds: f64) -> Nanos {
        Nanos((seconds * 1e9) as u64) // The cast saturates.
    }

    /// In seconds, for rates and reports.
    pub fn as_secs(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Add for Nanos {
    type Output = Nanos;
    fn add(self, duration: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(duration.0))
    }
}

impl Sub for Nanos {
    type Output = Nanos;
    fn sub(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

impl From<Duration> for Nanos {
    fn from(duration: Duration) -> Nanos {
        Nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Nanos> for Duration {
    fn from(duration: Nanos) -> Duration {
        Duration::from_nanos(duration.0)
    }
}

/// The current time. Never decreases; zero at the first call in this process.
pub fn now() -> Nanos {
    static START: OnceLock<Instant> = OnceLock::new();
    Nanos::from(START.get_or_init(Instant::now).elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_decreases() {
        let mut last = now();
        for _ in 0..1000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Nanos(1) - Nanos(2), Nanos(0));
        assert_eq!(Nanos::NEVER + Nanos::SECOND, Nanos::NEVER);
    }
}
