//! How a budget is divided into restarts, blocks and slices; and whether another restart fits.
//!
//! Slices are short and blocks are many: what else goes on here comes in bursts of a quarter of a second and more, and a
//! burst that is longer than a block hits both sides of it alike. On a machine of two CPUs, 50 connections, two alike in
//! 20 restarts, the values of p50 scattered by 20 % with 3 blocks of slices of 249 ms, and by 1.7 % with 10 blocks of
//! 30 ms in half of the time.

use crate::check::metric::Profile;
use crate::clock::Nanos;

/// Slices are not made shorter than this: switching would take most of the time. Fewer restarts then.
const SHORTEST: Nanos = Nanos(20_000_000);

/// Nor longer: what they gain in messages they lose against a machine that changes meanwhile.
const LONGEST: Nanos = Nanos(1_000_000_000);

/// Messages that a slice is to have, so that two of them have a p99; and no fewer than four for each connection.
const MESSAGES: f64 = 1_000.0;
const EACH: f64 = 4.0;

/// More blocks than this gain less than they cost: a third more of them makes the values scatter by a seventh less.
const MOST: usize = 12;

/// Fewer have no middle to speak of.
const LEAST: usize = 3;

/// Restarts that a budget is divided among. If there are to be more than these, they take what is left of it: to make
/// slices shorter for them would weaken the first look, at which most checks are over.
pub const PLANNED: usize = 20;

/// What a slice takes besides guard and measuring: notice, the last answers, and a moment for the server to sleep.
const BESIDES: Nanos = Nanos(3_000_000);

/// What is left at the end, for the last server that takes its time, and the report: a twentieth.
const RESERVE: u64 = 20;

/// What has to fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work<'a> {
    /// Restarts that have to fit.
    pub restarts: usize,
    /// Servers that take turns.
    pub sides: usize,
    /// Loads that take turns.
    pub profiles: &'a [Profile],
    /// How long messages go in each before it is measured.
    pub guard: Nanos,
    /// What a restart takes besides slices: to start servers, to connect, to end them.
    pub overhead: Nanos,
    /// Connections to each server.
    pub connections: u32,
    /// Messages a second, under the load that has fewer.
    pub rate: f64,
}

/// How a restart is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grain {
    /// Blocks of the load that has more.
    pub blocks: usize,
    /// How long a slice is measured.
    pub slice: Nanos,
}

/// Blocks of a load, where the one that has more has so many.
///
/// Beside an open loop the closed one has half: its figures scatter by less than half as much as the p50 of the open
/// one (0.4 % against 1.4 % with 16 blocks each), so that its time does more good there.
pub fn blocks_of(profile: Profile, profiles: &[Profile], most: usize) -> usize {
    match profile {
        Profile::Closed if profiles.len() > 1 => most.div_ceil(2),
        _ => most,
    }
}

impl Work<'_> {
    /// The grain with which all is over in `budget`, as far as nobody has asked for another.
    pub fn divide(self, budget: Nanos, blocks: Option<usize>, slice: Option<Nanos>) -> Grain {
        let usable = budget.0 - budget.0 / RESERVE;
        let restart = Nanos(usable / self.restarts.max(1) as u64) - self.overhead;
        let in_a_slice = |blocks: usize| {
            let slices = self.slices(blocks).max(1) as u64;
            Nanos(restart.0 / slices) - self.guard - BESIDES
        };
        let few = blocks.unwrap_or(LEAST);
        let slice = slice.unwrap_or_else(|| {
            let most = in_a_slice(few).clamp(SHORTEST, LONGEST);
            self.wanted().min(most)
        });
        let fits = |&blocks: &usize| in_a_slice(blocks) >= slice;
        let blocks = blocks.unwrap_or_else(|| (LEAST..=MOST).rev().find(fits).unwrap_or(LEAST));
        Grain { blocks, slice }
    }

    /// Slices in a restart: two of each side in each block.
    fn slices(self, blocks: usize) -> usize {
        let of = |&profile: &Profile| blocks_of(profile, self.profiles, blocks);
        2 * self.sides * self.profiles.iter().map(of).sum::<usize>()
    }

    /// A slice that has messages enough.
    fn wanted(self) -> Nanos {
        let messages = MESSAGES.max(EACH * f64::from(self.connections));
        // The cast saturates, also where there is no rate.
        let slice = Nanos((messages / self.rate * 1e9) as u64);
        slice.clamp(SHORTEST, LONGEST)
    }
}

/// The time that is left for restarts, as they take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    deadline: Nanos,
    /// When the last one began, and what the longest took.
    last: Nanos,
    longest: Nanos,
}

impl Left {
    /// The first restart is to begin, and all to be over at the deadline.
    pub fn new(now: Nanos, deadline: Nanos) -> Left {
        Left {
            deadline,
            last: now,
            longest: Nanos(0),
        }
    }

    /// Another restart is to begin: true if there is time even if it takes as long as the longest.
    pub fn takes_another(&mut self, now: Nanos) -> bool {
        self.longest = self.longest.max(now - self.last);
        self.last = now;
        now + self.longest + Nanos(self.longest.0 / RESERVE) <= self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Work<'_> = Work {
        restarts: 20,
        sides: 2,
        profiles: &[Profile::Open, Profile::Closed],
        guard: Nanos(6_000_000),
        overhead: Nanos(500_000_000),
        connections: 50,
        rate: 100_000.0,
    };

    fn grain(work: Work<'_>, seconds: u64) -> (usize, u64) {
        let grain = work.divide(Nanos(seconds * 1_000_000_000), None, None);
        (grain.blocks, grain.slice.0 / 1_000_000)
    }

    #[test]
    fn slices_are_short_and_blocks_many() {
        assert_eq!(grain(WORK, 150), (12, 20));
        assert_eq!(grain(WORK, 50), (10, 20));
    }

    #[test]
    fn slices_have_messages_enough_and_all_fits_into_the_budget() {
        for (connections, rate) in [(50, 10_000.0), (10_000, 70_000.0), (16, 1_500.0)] {
            let work = Work {
                connections,
                rate,
                ..WORK
            };
            for seconds in [60, 150, 600] {
                let budget = Nanos(seconds * 1_000_000_000);
                let Grain { blocks, slice } = work.divide(budget, None, None);
                assert!((LEAST..=MOST).contains(&blocks), "{blocks}");
                assert!(slice <= work.wanted());
                let slices = work.slices(blocks) as u64;
                let restart = work.overhead.0 + slices * (slice.0 + work.guard.0 + BESIDES.0);
                assert!(restart * 20 <= budget.0, "{blocks} blocks of {slice:?}");
            }
        }
    }

    #[test]
    fn a_load_has_all_blocks_if_it_is_alone_and_half_beside_the_open_loop() {
        let both = [Profile::Open, Profile::Closed];
        let blocks = both.map(|profile| blocks_of(profile, &both, 16));
        assert_eq!(blocks, [16, 8]);
        assert_eq!(blocks_of(Profile::Closed, &[Profile::Closed], 16), 16);
        assert_eq!(WORK.slices(16), 4 * (16 + 8));
    }

    #[test]
    fn what_somebody_asked_for_is_what_there_is() {
        let grain = WORK.divide(Nanos(1), Some(1), Some(Nanos(7)));
        assert_eq!((grain.blocks, grain.slice), (1, Nanos(7)));
        assert_eq!(WORK.divide(Nanos(1), None, Some(Nanos(7))).blocks, LEAST);
        assert_eq!(WORK.divide(Nanos(1), Some(30), None).slice, SHORTEST);
    }

    #[test]
    fn a_load_without_a_rate_has_long_slices() {
        let work = Work { rate: 0.0, ..WORK };
        assert_eq!(work.wanted(), LONGEST);
    }

    #[test]
    fn what_takes_longer_than_what_is_left_does_not_fit() {
        let mut left = Left::new(Nanos(0), Nanos(100));
        let begins = [0, 20, 30, 79, 80].map(|now| left.takes_another(Nanos(now)));
        assert_eq!(begins, [true, true, true, false, false]);
        let mut left = Left::new(Nanos(0), Nanos(100));
        let begins = [20, 40, 60, 79].map(|now| left.takes_another(Nanos(now)));
        assert_eq!(begins, [true; 4]);
    }
}
