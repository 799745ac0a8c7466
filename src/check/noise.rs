//! Which blocks count: not those in which the machine was busy with something else.
//!
//! The rule sees signs of a whole block, in which base and head both had their turns, and no score: it cannot know
//! whom it favours. If the head itself makes the signs, whole blocks go, and too few are left: the check is
//! inconclusive, not wrong. Turns and medians stand up to much noise without it. So only what is hopeless is dropped:
//! beyond what makes a single run INVALID; for pressure, far more of it than in the other blocks.

use crate::clock::Nanos;
use crate::compare::comparison::BlockFigures;
use crate::stats::median;

/// A tenth of the time in gaps that the hypervisor made: even p90 is the length of a gap then.
const STEAL: f64 = 0.1;

/// Some task waits for a CPU half of the time more than it usually does in this check: a program runs beside ours, and one
/// side may have met more of it. What is usual is no sign: servers with more threads than CPUs make it themselves.
pub const PRESSURE: f64 = 0.5;

/// One message in a hundred is sent a millisecond late, when we look at differences of microseconds.
const LAG: Nanos = Nanos(1_000_000);

/// What the machine did during a block, both servers' turns together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signs {
    /// Share of the CPU time that a hypervisor gave to others; 0 where there is none.
    pub steal_share: f64,
    /// Share of the time in which some task waited for a CPU. None where the kernel does not count it.
    pub pressure_share: Option<f64>,
    /// How late the generator sent, at p99. None in a closed loop, which has no plan.
    pub lag_p99: Option<Nanos>,
}

/// Why a block does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disturbance {
    /// The hypervisor had other guests.
    Steal,
    /// Other programs, or more threads than CPUs.
    Pressure,
    /// The generator was not on time.
    Lag,
}

impl Signs {
    /// Of what all sides of a block have seen, on a machine with so many CPUs. The machine is the same to all; of their
    /// sending, the latest counts.
    pub fn of(sides: &[&BlockFigures], cpus: f64) -> Signs {
        let seen = sides.first().map(|side| side.disturbance).unwrap_or_default();
        let span = seen.span.0.max(1) as f64;
        let lag = sides.iter().filter_map(|side| side.send_lag_p99_ns).max();
        Signs {
            steal_share: seen.steal.unwrap_or_default().0 as f64 / (span * cpus),
            pressure_share: seen.pressure.map(|pressure| pressure.0 as f64 / span),
            lag_p99: lag.map(Nanos),
        }
    }

    /// The first thing that speaks against the block, where so much pressure is usual. On a threshold is within it.
    pub fn disturbance(self, usual_pressure: f64) -> Option<Disturbance> {
        let most = usual_pressure + PRESSURE;
        if self.steal_share > STEAL {
            Some(Disturbance::Steal)
        } else if self.pressure_share.is_some_and(|share| share > most) {
            Some(Disturbance::Pressure)
        } else if self.lag_p99 > Some(LAG) {
            Some(Disturbance::Lag)
        } else {
            None
        }
    }
}

/// A restart has no value: most of its blocks do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooDisturbed {
    /// Blocks that do not count.
    pub dropped: usize,
    /// All blocks.
    pub of: usize,
    /// What spoke against most of those that do not count.
    pub mostly: Disturbance,
}

/// The pressure of a block of this check, in the middle; 0 where the kernel does not count it.
pub fn usual_pressure<'a>(blocks: impl IntoIterator<Item = &'a Signs>) -> f64 {
    let shares = blocks.into_iter().filter_map(|block| block.pressure_share);
    median(&shares.collect::<Vec<f64>>()).unwrap_or(0.0)
}

/// The indices of the blocks that count, where so much pressure is usual. An error unless they are [`enough`].
pub fn quiet(blocks: &[Signs], usual_pressure: f64) -> Result<Vec<usize>, TooDisturbed> {
    let disturbance = |block: &Signs| block.disturbance(usual_pressure);
    let dropped = blocks.iter().filter_map(disturbance);
    let mut dropped: Vec<Disturbance> = dropped.collect();
    dropped.sort_unstable();
    let alike = dropped.chunk_by(|a, b| a == b);
    match alike.max_by_key(|alike| alike.len()) {
        Some(most) if !enough(blocks.len() - dropped.len(), blocks.len()) => Err(TooDisturbed {
            dropped: dropped.len(),
            of: blocks.len(),
            mostly: most[0],
        }),
        _ => Ok((0..blocks.len())
            .filter(|&index| disturbance(&blocks[index]).is_none())
            .collect()),
    }
}

/// Whether so many that count can speak for all: at least half of them. Of blocks in a restart, and of restarts in
/// a check.
///
/// What is left of fewer is not what was planned, but the quiet moments of a machine that has few.
pub fn enough(kept: usize, of: usize) -> bool {
    2 * kept >= of
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Signs = Signs {
        steal_share: 0.1,
        pressure_share: Some(0.5),
        lag_p99: Some(Nanos(1_000_000)),
    };
    const STOLEN: Signs = Signs {
        steal_share: 0.101,
        ..QUIET
    };
    const PRESSED: Signs = Signs {
        pressure_share: Some(0.501),
        ..QUIET
    };
    const LATE: Signs = Signs {
        lag_p99: Some(Nanos(1_000_001)),
        ..QUIET
    };

    #[test]
    fn each_sign_alone_speaks_against_a_block_beyond_its_threshold() {
        assert_eq!(QUIET.disturbance(0.0), None);
        assert_eq!(STOLEN.disturbance(0.0), Some(Disturbance::Steal));
        assert_eq!(PRESSED.disturbance(0.0), Some(Disturbance::Pressure));
        assert_eq!(LATE.disturbance(0.0), Some(Disturbance::Lag));
    }

    #[test]
    fn pressure_that_is_usual_is_no_sign() {
        assert_eq!(usual_pressure(&[PRESSED, LATE, PRESSED]), 0.501);
        assert_eq!(usual_pressure(&[]), 0.0);
        assert_eq!(PRESSED.disturbance(0.501), None);
    }

    #[test]
    fn what_is_not_known_is_not_held_against_a_block() {
        let unknown = Signs {
            steal_share: 0.0,
            pressure_share: None,
            lag_p99: None,
        };
        assert_eq!(unknown.disturbance(0.0), None);
    }

    #[test]
    fn half_of_the_blocks_are_enough_and_fewer_are_not() {
        assert_eq!(quiet(&[QUIET, LATE, QUIET, STOLEN], 0.0), Ok(vec![0, 2]));
        assert_eq!(
            quiet(&[PRESSED, LATE, QUIET, STOLEN, PRESSED], 0.0),
            Err(TooDisturbed {
                dropped: 4,
                of: 5,
                mostly: Disturbance::Pressure
            })
        );
    }

    #[test]
    fn no_blocks_are_not_disturbed() {
        assert_eq!(quiet(&[], 0.0), Ok(vec![]));
    }
}
