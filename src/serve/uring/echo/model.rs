//! `Echo` against a kernel and peers made of dice: what must hold in every order of completions.
//!
//! A world is a few connections on one pool. Each step lets a peer, the kernel or the worker do one legal
//! thing, chosen by a seeded dice: chunks of any size, short sends, an empty pool, receives that end for no
//! reason, FIN and RST at any moment, cancels that come early or late, a server that wants to end. The payload
//! is a running counter that is never written down: byte n of a connection is n, and a buffer knows its range.

mod world;

use world::{Ends, World};

/// Miri runs a step about 5,000 times slower.
const SEEDS: u64 = if cfg!(miri) { 10 } else { 2_000 };

#[test]
fn every_byte_comes_back_in_order_and_every_buffer_comes_home() {
    for seed in 0..SEEDS {
        let _told = TellSeed(seed);
        World::new(seed, Ends::Well).run();
    }
}

#[test]
fn resets_lose_connections_but_no_buffer() {
    for seed in 0..SEEDS {
        let _told = TellSeed(seed);
        World::new(seed, Ends::InReset).run();
    }
}

#[test]
fn a_server_that_leaves_echoes_what_came_before_its_fin() {
    for seed in 0..SEEDS {
        let _told = TellSeed(seed);
        World::new(seed, Ends::InFarewell).run();
    }
}

#[test]
fn resets_during_a_farewell_lose_no_buffer_either() {
    for seed in 0..SEEDS {
        let _told = TellSeed(seed);
        World::new(seed, Ends::InBoth).run();
    }
}

/// Says which world failed.
struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failing seed: {}", self.0);
        }
    }
}

/// splitmix64 (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    /// 1 to `most`.
    fn some(&mut self, most: usize) -> usize {
        1 + self.below(most)
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
