//! `Echo` against a random kernel and random peers: what must hold for every order of completions.
//!
//! A world is a few connections on one pool. Each step lets a peer, the kernel or the worker do one legal thing, chosen
//! by a seeded generator: chunks of any size, short sends, an empty pool, receives that end for no reason, FIN and RST
//! at any moment, cancels that complete early or late, streams that find no pipe or that a pipe does not serve, a
//! server that drains. The payload is a running counter that is never written down: byte n of a connection is n, and
//! the world remembers the range in each buffer.

mod world;

use crate::random::Choices;
use world::{Ending, World};

/// Miri runs a step about 5,000 times slower.
#[cfg(test)]
const SEEDS: u64 = if cfg!(miri) { 4 } else { 2_000 };

/// A world whose choices are the bytes of `input`: a fuzz target. Panics if an invariant does not hold.
pub fn fuzz(input: &[u8]) {
    let endings = [Ending::Fin, Ending::Reset, Ending::Drain, Ending::DrainAndReset];
    if let Some((first, choices)) = input.split_first() {
        let ending = endings[usize::from(*first) % endings.len()];
        World::new(Choices::of(choices), ending).run();
    }
}

#[test]
#[cfg_attr(miri, ignore = "the seeded worlds run the same code")]
fn choices_of_arbitrary_bytes_break_no_invariant() {
    for seed in 0..SEEDS {
        let _print = PrintSeedOnPanic(seed);
        let mut random = crate::random::Random::new(seed, 1);
        let input: Vec<u8> = (0..random.below(1_000)).map(|_| random.bits() as u8).collect();
        fuzz(&input);
    }
}

#[test]
fn every_byte_is_echoed_in_order_and_every_buffer_is_given_back() {
    let streams = run_all(Ending::Fin);
    // The few short worlds under Miri have none.
    assert!(streams > 0 || cfg!(miri), "no peer was taken for a stream in any world");
}

#[test]
fn resets_lose_connections_but_no_buffer() {
    run_all(Ending::Reset);
}

#[test]
fn a_drain_echoes_what_arrived_before_its_fin() {
    run_all(Ending::Drain);
}

#[test]
fn resets_during_a_drain_lose_no_buffer() {
    run_all(Ending::DrainAndReset);
}

/// Runs a world for every seed. Returns how often a connection began to stream.
#[cfg(test)]
fn run_all(ending: Ending) -> usize {
    (0..SEEDS)
        .map(|seed| {
            let _print = PrintSeedOnPanic(seed);
            World::new(Choices::seeded(seed, 0), ending).run()
        })
        .sum()
}

#[cfg(test)]
struct PrintSeedOnPanic(u64);

#[cfg(test)]
impl Drop for PrintSeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failing seed: {}", self.0);
        }
    }
}
