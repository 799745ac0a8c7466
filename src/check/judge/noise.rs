//! Which blocks count: not those in which the machine was disturbed.
//!
//! The rule sees the noise of a whole block, in which base and head both had their turns, and no score: it cannot know
//! whom it favours. If head itself causes the noise, whole blocks are dropped and too few are left: the check is
//! inconclusive, not wrong. Interleaving and medians tolerate much noise without it, so only hopeless blocks are
//! dropped: beyond what makes a single run INVALID, and for pressure, far beyond the other blocks.

use std::fmt::{self, Display, Formatter};

use crate::clock::Nanos;
use crate::compare::BlockFigures;
use crate::stats::median;

/// With a tenth of the time stolen by the hypervisor, even p90 is the length of a gap.
const STEAL_MAX: f64 = 0.1;

/// How far pressure may exceed the typical pressure of the check: beyond it another program ran, and one side may have
/// met more of it. Typical pressure is tolerated, because servers with more threads than CPUs cause it themselves.
pub const PRESSURE_EXCESS_MAX: f64 = 0.5;

/// With one message in a hundred sent a millisecond late, differences of microseconds mean nothing.
const LAG_MAX: Nanos = Nanos(1_000_000);

/// A CPU quota of the generator's control group stops all of its threads, and those of servers in the same group: gaps
/// of 1 % of the time reach p99, on whichever side they fall.
const THROTTLED_MAX: f64 = 0.01;

/// The noise in a block, over the slices of both servers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseSigns {
    /// Share of CPU time that the hypervisor gave to other guests; 0 if it reports none.
    pub steal_share: f64,
    /// Share of the time in which some task waited for a CPU. None if the kernel does not count it.
    pub pressure_share: Option<f64>,
    /// 99th percentile of the send lag. None in a closed loop, which has no plan.
    pub lag_p99: Option<Nanos>,
    /// Share of the time for which a CPU quota stopped the generator.
    pub throttled_share: f64,
}

/// Why a block does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoiseSource {
    /// Other guests of the hypervisor.
    Steal,
    /// Other programs, or more threads than CPUs.
    Pressure,
    /// A generator that was late.
    Lag,
    /// A CPU quota of the generator's control group.
    Quota,
}

impl Display for NoiseSource {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoiseSource::Steal => "other guests of the hypervisor (steal)",
            NoiseSource::Pressure => "other programs that wanted the CPUs (pressure)",
            NoiseSource::Lag => "a late generator (send lag)",
            NoiseSource::Quota => "the CPU quota of the generator's control group (cpu.max, docker run --cpus)",
        })
    }
}

impl NoiseSigns {
    /// From the figures of all sides of a block, on a machine with `cpus` CPUs. The disturbance is the same for all; of
    /// the send lags, the largest counts.
    pub fn of(sides: &[&BlockFigures], cpus: f64) -> NoiseSigns {
        let disturbance = sides.first().map(|side| side.disturbance).unwrap_or_default();
        let throttling = sides.first().and_then(|side| side.throttling).unwrap_or_default();
        let span = disturbance.span.0.max(1) as f64;
        let lag = sides.iter().filter_map(|side| side.send_lag_p99_ns).max();
        NoiseSigns {
            steal_share: disturbance.steal.unwrap_or_default().0 as f64 / (span * cpus),
            pressure_share: disturbance.pressure.map(|pressure| pressure.0 as f64 / span),
            lag_p99: lag.map(Nanos),
            throttled_share: throttling.throttled.0 as f64 / span,
        }
    }

    /// The first source of noise beyond its limit; none if the block counts.
    pub fn source(self, typical_pressure: f64) -> Option<NoiseSource> {
        let pressure_max = typical_pressure + PRESSURE_EXCESS_MAX;
        // The quota first: it is the cause of pressure and lag as well.
        if self.throttled_share > THROTTLED_MAX {
            Some(NoiseSource::Quota)
        } else if self.steal_share > STEAL_MAX {
            Some(NoiseSource::Steal)
        } else if self.pressure_share.is_some_and(|share| share > pressure_max) {
            Some(NoiseSource::Pressure)
        } else if self.lag_p99 > Some(LAG_MAX) {
            Some(NoiseSource::Lag)
        } else {
            None
        }
    }
}

/// Most blocks of a restart do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooNoisy {
    /// Blocks that do not count.
    pub dropped: usize,
    /// All blocks.
    pub of: usize,
    /// The most frequent reason.
    pub mostly: NoiseSource,
}

/// The median pressure of the blocks of a check; 0 if the kernel does not count it.
pub fn typical_pressure<'a>(blocks: impl IntoIterator<Item = &'a NoiseSigns>) -> f64 {
    let shares = blocks.into_iter().filter_map(|block| block.pressure_share);
    median(&shares.collect::<Vec<f64>>()).unwrap_or(0.0)
}

/// The indices of the blocks that count. Errors: they are not [`enough`].
pub fn undisturbed(blocks: &[NoiseSigns], typical_pressure: f64) -> Result<Vec<usize>, TooNoisy> {
    let source = |block: &NoiseSigns| block.source(typical_pressure);
    let mut dropped: Vec<NoiseSource> = blocks.iter().filter_map(source).collect();
    dropped.sort_unstable();
    let same = dropped.chunk_by(|a, b| a == b);
    match same.max_by_key(|same| same.len()) {
        Some(most) if !enough(blocks.len() - dropped.len(), blocks.len()) => Err(TooNoisy {
            dropped: dropped.len(),
            of: blocks.len(),
            mostly: most[0],
        }),
        _ => Ok((0..blocks.len())
            .filter(|&index| source(&blocks[index]).is_none())
            .collect()),
    }
}

/// True if a quota stopped most of a restart: then neither its blocks nor all of them together say anything.
pub fn is_throttled(blocks: &[NoiseSigns], typical_pressure: f64) -> bool {
    undisturbed(blocks, typical_pressure).is_err_and(|noise| noise.mostly == NoiseSource::Quota)
}

/// True if at least half are kept: of the blocks of a restart, and of the restarts of a check.
///
/// Fewer would be a sample of the machine's undisturbed moments instead of the planned one.
pub fn enough(kept: usize, of: usize) -> bool {
    2 * kept >= of
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: NoiseSigns = NoiseSigns {
        steal_share: 0.1,
        pressure_share: Some(0.5),
        lag_p99: Some(Nanos(1_000_000)),
        throttled_share: 0.01,
    };
    const THROTTLED: NoiseSigns = NoiseSigns {
        throttled_share: 0.011,
        lag_p99: Some(Nanos(1_000_001)),
        ..QUIET
    };
    const STOLEN: NoiseSigns = NoiseSigns {
        steal_share: 0.101,
        ..QUIET
    };
    const PRESSED: NoiseSigns = NoiseSigns {
        pressure_share: Some(0.501),
        ..QUIET
    };
    const LATE: NoiseSigns = NoiseSigns {
        lag_p99: Some(Nanos(1_000_001)),
        ..QUIET
    };

    #[test]
    fn each_source_alone_drops_a_block_beyond_its_limit() {
        assert_eq!(QUIET.source(0.0), None);
        assert_eq!(STOLEN.source(0.0), Some(NoiseSource::Steal));
        assert_eq!(PRESSED.source(0.0), Some(NoiseSource::Pressure));
        assert_eq!(LATE.source(0.0), Some(NoiseSource::Lag));
        assert_eq!(THROTTLED.source(0.0), Some(NoiseSource::Quota), "the cause of the lag");
    }

    #[test]
    fn typical_pressure_drops_nothing() {
        assert_eq!(typical_pressure(&[PRESSED, LATE, PRESSED]), 0.501);
        assert_eq!(typical_pressure(&[]), 0.0);
        assert_eq!(PRESSED.source(0.501), None);
    }

    #[test]
    fn an_unknown_sign_drops_nothing() {
        let unknown = NoiseSigns {
            steal_share: 0.0,
            pressure_share: None,
            lag_p99: None,
            throttled_share: 0.0,
        };
        assert_eq!(unknown.source(0.0), None);
    }

    #[test]
    fn half_of_the_blocks_are_enough_and_fewer_are_not() {
        assert_eq!(undisturbed(&[QUIET, LATE, QUIET, STOLEN], 0.0), Ok(vec![0, 2]));
        assert_eq!(
            undisturbed(&[PRESSED, LATE, QUIET, STOLEN, PRESSED], 0.0),
            Err(TooNoisy {
                dropped: 4,
                of: 5,
                mostly: NoiseSource::Pressure
            })
        );
    }

    #[test]
    fn no_blocks_are_not_too_noisy() {
        assert_eq!(undisturbed(&[], 0.0), Ok(vec![]));
    }
}
