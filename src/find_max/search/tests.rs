//! Searches against simulated servers, some of whose runs are misjudged.

use super::*;
use crate::random::Random;

/// Runs a search, and returns it with all rates tried and the outcomes.
fn search(from: f64, mut outcome: impl FnMut(f64, usize) -> Outcome) -> (Search, Vec<(f64, Outcome)>) {
    let mut search = Search::from(from);
    let mut runs = Vec::new();
    while let Some(rate) = search.rate() {
        let outcome = outcome(rate, runs.len());
        search = search.after(outcome);
        runs.push((rate, outcome));
        assert!(runs.len() < 500, "a search comes to an end");
    }
    (search, runs)
}

fn held(holds: bool) -> Outcome {
    if holds { Outcome::Held } else { Outcome::Failed }
}

/// The rate found, where the condition holds up to a limit.
fn found(from: f64, mut holds: impl FnMut(f64, usize) -> bool) -> Option<f64> {
    search(from, |rate, run| held(holds(rate, run))).0.found()
}

#[test]
fn the_limit_is_found_within_five_percent_from_below() {
    for limit in [1_500.0, 20_000.0, 333_333.0] {
        let (search, runs) = search(1000.0, |rate, _| held(rate <= limit));
        let found = search.found().unwrap();
        assert!(found <= limit && found * CLOSE >= limit, "{found} of {limit}");
        assert!(runs.len() < 30, "{} runs", runs.len());
    }
}

#[test]
fn a_start_beyond_the_limit_goes_down_first() {
    assert!(found(1_000_000.0, |rate, _| rate <= 700.0).unwrap() <= 700.0);
}

#[test]
fn a_rate_that_held_once_by_chance_is_not_reported() {
    // Everything holds up to 1,000, and 1,900 only the first time that it is tried.
    let found = found(950.0, |rate, run| rate <= 1_000.0 || run == 1);
    assert!(found.unwrap() <= 1_000.0, "{found:?}");
}

#[test]
fn a_run_that_failed_by_chance_does_not_end_the_search_there() {
    // Whichever run fails, the limit is found.
    for unlucky in 0..15 {
        let found = found(2_000.0, |rate, run| rate <= 100_000.0 && run != unlucky).unwrap();
        assert!((95_000.0..=100_000.0).contains(&found), "run {unlucky} failed: {found}");
    }
}

#[test]
fn few_searches_end_far_from_the_limit_though_runs_are_misjudged() {
    for (misjudged, share) in [(0.02, 0.01), (0.05, 0.03)] {
        let below = (0..2_000).filter(|&seed| {
            let mut random = Random::new(seed, 0);
            let limit = 100_000.0 * (1.0 + random.uniform());
            let holds = |rate, _| (rate <= limit) != (random.uniform() < misjudged);
            found(2_000.0, holds).is_none_or(|found| found < 0.8 * limit)
        });
        let below = below.count() as f64 / 2_000.0;
        assert!(below <= share, "{misjudged}: {below}");
    }
}

#[test]
fn a_reported_rate_has_held_twice() {
    for seed in 1..200_u64 {
        // Above 1,000 a coin decides.
        let mut random = Random::new(seed, 0);
        let (search, runs) = search(500.0, |rate, _| held(rate <= 1_000.0 || (random.coin() && rate < 1e6)));
        let at_found = runs
            .iter()
            .filter(|&&run| Some(run) == search.found().map(|rate| (rate, Outcome::Held)));
        assert!(at_found.count() >= 2, "seed {seed}: {:?}", search.found());
    }
}

#[test]
fn an_undecided_run_is_repeated_and_counts_as_neither() {
    // Every second run is undecided.
    let (search, runs) = search(2_000.0, |rate, run| {
        if run % 2 == 0 {
            Outcome::Undecided
        } else {
            held(rate <= 50_000.0)
        }
    });
    let found = search.found().unwrap();
    assert!(found <= 50_000.0 && found * CLOSE >= 50_000.0, "{found}");
    assert!(runs.iter().filter(|(rate, _)| *rate == 2_000.0).count() >= 3);
}

#[test]
fn a_rate_that_stays_undecided_is_reported_as_such() {
    let (search, _) = search(2_000.0, |rate, _| match rate {
        ..=30_000.0 => Outcome::Held,
        ..=60_000.0 => Outcome::Undecided,
        _ => Outcome::Failed,
    });
    let (found, undecided) = (search.found().unwrap(), search.undecided().unwrap());
    assert!((28_500.0..=30_000.0).contains(&found), "{found}");
    assert!(found < undecided && undecided <= 32_000.0, "{undecided}");
}

#[test]
fn a_condition_that_always_holds_ends_the_search_too() {
    assert!(found(1000.0, |_, _| true).unwrap() >= HIGHEST);
}

#[test]
fn without_a_success_nothing_is_found() {
    assert_eq!(found(1000.0, |_, _| false), None);
}

#[test]
fn without_a_decided_run_nothing_is_found_and_the_search_says_so() {
    let (search, _) = search(1000.0, |_, _| Outcome::Undecided);
    assert_eq!(search.found(), None);
    assert!(search.undecided().unwrap() < 2.0 * LOWEST);
}
