//! How a time budget is divided into restarts, blocks and slices, and whether another restart fits.
//!
//! Slices are short and blocks are many: disturbances come in bursts of a quarter of a second and more, and a burst
//! longer than a block hits both of its sides. On a machine with two CPUs, with 50 connections and 20 restarts of two
//! equal servers, the values of p50 varied by 20 % with 3 blocks of slices of 249 ms, and by 1.7 % with 10 blocks of 30
//! ms in half of the time.

use crate::clock::Nanos;

/// Shorter slices would spend much of the time on switching; there are fewer restarts instead.
const SLICE_MIN: Nanos = Nanos(40_000_000);

/// Longer slices gain messages, but lose more to a machine that changes in between.
const SLICE_MAX: Nanos = Nanos(1_000_000_000);

/// Messages per slice, so that two slices have a p99.
const MESSAGES_MIN: f64 = 1_000.0;

/// Messages per slice and connection.
const MESSAGES_PER_CONNECTION: f64 = 4.0;

/// With the shortest slices, a restart of this many blocks of both loads takes six seconds: a stall that comes every
/// five seconds comes in every restart, and one that comes every second is met several times.
const BLOCKS_MAX: usize = 14;

/// Fewer blocks have no useful median.
const BLOCKS_MIN: usize = 3;

/// Restarts that a budget is divided among, at most. Further restarts take what is left of it: shortening slices for
/// them would weaken the interim analysis, which ends most checks.
pub const PLANNED_RESTARTS: usize = 20;

/// Time of a slice apart from warm-up and measuring: start delay, last replies, and a moment for the server to go idle.
const SLICE_OVERHEAD: Nanos = Nanos(3_000_000);

/// A twentieth of the budget is kept for a last server that is slow to stop, and for the report.
const RESERVE: u64 = 20;

/// What has to fit into a budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Restarts.
    pub restarts: usize,
    /// Servers.
    pub sides: usize,
    /// Loads.
    pub loads: usize,
    /// Warm-up of each slice.
    pub warmup: Nanos,
    /// Time of a restart apart from slices: to start servers, connect, and stop them.
    pub overhead: Nanos,
    /// Connections to each server.
    pub connections: u32,
    /// Messages per second, under the load that has fewer.
    pub rate: f64,
}

/// How a restart is divided into blocks and slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockLayout {
    /// Blocks of each load.
    pub blocks: usize,
    /// Length of a slice, without warm-up.
    pub slice: Nanos,
}

impl Demand {
    /// The layout that fits into `budget`, as far as `blocks` and `slice` do not prescribe it.
    pub fn divide(self, budget: Nanos, blocks: Option<usize>, slice: Option<Nanos>) -> BlockLayout {
        let usable = budget.0 - budget.0 / RESERVE;
        let restart = Nanos(usable / self.restarts.max(1) as u64) - self.overhead;
        let slice_time = |blocks: usize| {
            let slices = self.slices(blocks).max(1) as u64;
            Nanos(restart.0 / slices) - self.warmup - SLICE_OVERHEAD
        };
        let fewest = blocks.unwrap_or(BLOCKS_MIN);
        let slice = slice.unwrap_or_else(|| {
            let most = slice_time(fewest).clamp(SLICE_MIN, SLICE_MAX);
            self.wanted_slice().min(most)
        });
        let fits = |&blocks: &usize| slice_time(blocks) >= slice;
        let blocks = blocks.unwrap_or_else(|| (BLOCKS_MIN..=BLOCKS_MAX).rev().find(fits).unwrap_or(BLOCKS_MIN));
        BlockLayout { blocks, slice }
    }

    /// Slices in a restart: two of each side in each block.
    fn slices(self, blocks: usize) -> usize {
        2 * self.sides * self.loads * blocks
    }

    /// The length of a slice that has enough messages.
    fn wanted_slice(self) -> Nanos {
        let messages = MESSAGES_MIN.max(MESSAGES_PER_CONNECTION * f64::from(self.connections));
        // The cast saturates, also for a rate of zero.
        let slice = Nanos((messages / self.rate * 1e9) as u64);
        slice.clamp(SLICE_MIN, SLICE_MAX)
    }
}

/// The time that is left for restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemainingTime {
    deadline: Nanos,
    /// When the last restart began.
    last: Nanos,
    /// Length of the longest restart so far.
    longest: Nanos,
}

impl RemainingTime {
    /// From the first restart at `now` until the deadline.
    pub fn new(now: Nanos, deadline: Nanos) -> RemainingTime {
        RemainingTime {
            deadline,
            last: now,
            longest: Nanos(0),
        }
    }

    /// Call before each restart: true if it fits even if it takes as long as the longest so far.
    pub fn fits_another(&mut self, now: Nanos) -> bool {
        self.longest = self.longest.max(now - self.last);
        self.last = now;
        now + self.longest + Nanos(self.longest.0 / RESERVE) <= self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMAND: Demand = Demand {
        restarts: 20,
        sides: 2,
        loads: 2,
        warmup: Nanos(6_000_000),
        overhead: Nanos(500_000_000),
        connections: 50,
        rate: 100_000.0,
    };

    fn layout(demand: Demand, seconds: u64) -> (usize, u64) {
        let layout = demand.divide(Nanos(seconds * 1_000_000_000), None, None);
        (layout.blocks, layout.slice.0 / 1_000_000)
    }

    #[test]
    fn slices_are_short_and_blocks_many() {
        assert_eq!(layout(DEMAND, 150), (14, 40));
        assert_eq!(layout(DEMAND, 50), (4, 40));
    }

    #[test]
    fn slices_have_enough_messages_and_everything_fits_into_the_budget() {
        for (connections, rate) in [(50, 10_000.0), (10_000, 70_000.0), (16, 1_500.0)] {
            let demand = Demand {
                connections,
                rate,
                ..DEMAND
            };
            for seconds in [60, 150, 600] {
                let budget = Nanos(seconds * 1_000_000_000);
                let BlockLayout { blocks, slice } = demand.divide(budget, None, None);
                assert!((BLOCKS_MIN..=BLOCKS_MAX).contains(&blocks), "{blocks}");
                assert!(slice <= demand.wanted_slice());
                let slices = demand.slices(blocks) as u64;
                let restart = demand.overhead.0 + slices * (slice.0 + demand.warmup.0 + SLICE_OVERHEAD.0);
                assert!(restart * 20 <= budget.0, "{blocks} blocks of {slice:?}");
            }
        }
    }

    #[test]
    fn prescribed_blocks_and_slices_are_kept() {
        let layout = DEMAND.divide(Nanos(1), Some(1), Some(Nanos(7)));
        assert_eq!((layout.blocks, layout.slice), (1, Nanos(7)));
        assert_eq!(DEMAND.divide(Nanos(1), None, Some(Nanos(7))).blocks, BLOCKS_MIN);
        assert_eq!(DEMAND.divide(Nanos(1), Some(30), None).slice, SLICE_MIN);
    }

    #[test]
    fn a_load_without_a_rate_has_long_slices() {
        let demand = Demand { rate: 0.0, ..DEMAND };
        assert_eq!(demand.wanted_slice(), SLICE_MAX);
    }

    #[test]
    fn a_restart_that_takes_longer_than_what_is_left_does_not_fit() {
        let mut remaining = RemainingTime::new(Nanos(0), Nanos(100));
        let begins = [0, 20, 30, 79, 80].map(|now| remaining.fits_another(Nanos(now)));
        assert_eq!(begins, [true, true, true, false, false]);
        let mut remaining = RemainingTime::new(Nanos(0), Nanos(100));
        let begins = [20, 40, 60, 79].map(|now| remaining.fits_another(Nanos(now)));
        assert_eq!(begins, [true; 4]);
    }
}
