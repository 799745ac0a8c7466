//! `Connection` against a kernel and a target that do whatever is legal: what must hold in every order of completions.
//!
//! A world is one connection. Each step lets the target, the kernel or the worker do one legal thing, chosen by the
//! seed: bytes in any pieces, short sends, no free buffer, receives that end for no reason, FIN and RST at any time, a
//! connect that is refused or never answered, cancels that complete early or late.

mod world;

use world::{Fate, Outcome, World};

use crate::load::workload::Close;
use crate::random::Choices;

/// Miri runs a step about 5,000 times slower.
#[cfg(test)]
const SEEDS: u64 = if cfg!(miri) { 2 } else { 2_000 };

const FATES: [Fate; 7] = [
    Fate::Kept,
    Fate::Churned(Close::Fin),
    Fate::Churned(Close::Rst),
    Fate::Finished,
    Fate::Reset,
    Fate::Refused,
    Fate::Silent,
];

/// A world whose choices are the bytes of `input`: a fuzz target. Panics if an invariant does not hold.
pub fn fuzz(input: &[u8]) {
    let Some((first, choices)) = input.split_first() else {
        return;
    };
    let fate = FATES[usize::from(*first) % FATES.len()];
    let outcome = World::new(Choices::of(choices), 0, fate).run();
    let expected: &[Outcome] = match fate {
        Fate::Kept => &[Outcome::Idle],
        Fate::Churned(Close::Fin) => &[Outcome::Closed],
        Fate::Churned(Close::Rst) => &[Outcome::Aborted],
        Fate::Refused | Fate::Silent => &[Outcome::Failed],
        Fate::Finished => &[Outcome::Failed, Outcome::Lost, Outcome::Closed],
        Fate::Reset => &[Outcome::Lost, Outcome::Failed, Outcome::Idle],
    };
    assert!(expected.contains(&outcome), "{fate:?} ended with {outcome:?}");
}

#[test]
#[cfg_attr(miri, ignore = "the seeded worlds run the same code")]
fn choices_of_arbitrary_bytes_break_no_invariant() {
    for seed in 0..SEEDS {
        let mut random = crate::random::Random::new(seed, 2);
        let input: Vec<u8> = (0..random.below(1_000)).map(|_| random.bits() as u8).collect();
        let fuzzed = std::panic::catch_unwind(|| fuzz(&input));
        assert!(fuzzed.is_ok(), "failing seed: {seed}");
    }
}

/// Runs a world of every seed, and counts those that ended in each way.
#[cfg(test)]
fn run(fate: Fate) -> Vec<Outcome> {
    (0..SEEDS).map(|seed| World::seeded(seed, fate).run()).collect()
}

#[cfg(test)]
fn count(endings: &[Outcome], of: impl Fn(&Outcome) -> bool) -> usize {
    endings.iter().filter(|ending| of(ending)).count()
}

#[test]
fn a_target_that_keeps_the_connection_echoes_every_message() {
    for ending in run(Fate::Kept) {
        assert_eq!(ending, Outcome::Idle);
    }
}

#[test]
fn a_connection_whose_messages_are_used_up_closes_with_fin_after_the_last_reply() {
    for ending in run(Fate::Churned(Close::Fin)) {
        assert_eq!(ending, Outcome::Closed);
    }
}

#[test]
fn a_connection_whose_messages_are_used_up_resets_after_the_last_reply() {
    for ending in run(Fate::Churned(Close::Rst)) {
        assert_eq!(ending, Outcome::Aborted);
    }
}

#[test]
fn a_target_that_sends_fin_loses_the_connection_or_ends_its_close() {
    let endings = run(Fate::Finished);
    let (lost, closed) = (
        count(&endings, |ending| matches!(ending, Outcome::Lost)),
        count(&endings, |ending| *ending == Outcome::Closed),
    );
    assert!(
        cfg!(miri) || lost > 0 && closed > 0,
        "{lost} lost, {closed} closed of {SEEDS}"
    );
}

#[test]
fn a_reset_at_any_time_fails_exactly_what_is_outstanding() {
    let endings = run(Fate::Reset);
    let (lost, failed) = (
        count(&endings, |ending| matches!(ending, Outcome::Lost)),
        count(&endings, |ending| *ending == Outcome::Failed),
    );
    assert!(
        cfg!(miri) || lost > 0 && failed > 0,
        "{lost} lost, {failed} failed of {SEEDS}"
    );
}

#[test]
fn a_refused_connect_is_a_failure_and_no_message_is_issued() {
    for ending in run(Fate::Refused) {
        assert_eq!(ending, Outcome::Failed);
    }
}

#[test]
fn a_connection_that_does_not_open_in_time_is_given_up() {
    for ending in run(Fate::Silent) {
        assert_eq!(ending, Outcome::Failed);
    }
}
