//! Which rate to try next.
//!
//! Doubles until the condition fails, then bisects geometrically until the bounds are within 5 %, then steps down by 5 %
//! until a rate holds twice: a single success may be chance, and a queue that has just grown may still be there. Pure: the
//! caller runs each rate.

/// Rates closer than this are treated as equal: a run of seconds cannot distinguish them.
const CLOSE: f64 = 1.05;

/// Below this a search gives up: in a run of seconds, fewer than ten messages per second measure nothing.
const LOWEST: f64 = 10.0;

/// Above this a search stops climbing: no generator of this kind sends a hundred million messages per second.
const HIGHEST: f64 = 1e8;

/// A search in progress, or its result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Search {
    /// The limit is above `held` and below `failed`, as far as they are known.
    Bracketing {
        /// The rate to try.
        rate: f64,
        /// The highest rate that held.
        held: Option<f64>,
        /// The lowest rate that did not.
        failed: Option<f64>,
    },
    /// A rate has held, or one 5 % higher has not.
    Confirming {
        /// The rate to try.
        rate: f64,
        /// How many more times it must hold.
        times: u8,
    },
    /// The highest rate that held twice; none if no rate did.
    Over(Option<f64>),
}

impl Search {
    /// Starts at `rate` messages per second.
    pub fn from(rate: f64) -> Search {
        Search::Bracketing {
            rate,
            held: None,
            failed: None,
        }
    }

    /// The rate to try; none when the search is over.
    pub fn rate(self) -> Option<f64> {
        match self {
            Search::Bracketing { rate, .. } | Search::Confirming { rate, .. } => Some(rate),
            Search::Over(_) => None,
        }
    }

    /// The result; none while the search goes on, and if no rate held twice.
    pub fn found(self) -> Option<f64> {
        match self {
            Search::Over(found) => found,
            _ => None,
        }
    }

    /// The search after a try of [`rate`](Search::rate), given whether the condition held.
    pub fn after(self, holds: bool) -> Search {
        let next = match self {
            Search::Bracketing { rate, failed, .. } if holds => above(rate, failed),
            Search::Bracketing { rate, held, .. } => below(rate, held),
            Search::Confirming { rate, times: 1 } if holds => Search::Over(Some(rate)),
            Search::Confirming { rate, times } if holds => Search::Confirming { rate, times: times - 1 },
            Search::Confirming { rate, .. } => Search::Confirming {
                rate: rate / CLOSE,
                times: 2,
            },
            Search::Over(found) => Search::Over(found),
        };
        match next.rate() {
            Some(rate) if rate < LOWEST => Search::Over(None),
            _ => next,
        }
    }
}

/// Above the highest rate that held: doubles or bisects, and confirms that rate once the bounds are close.
fn above(held: f64, failed: Option<f64>) -> Search {
    let bracketing = |rate| Search::Bracketing {
        rate,
        held: Some(held),
        failed,
    };
    match failed {
        None if held < HIGHEST => bracketing(held * 2.0),
        Some(failed) if failed / held > CLOSE => bracketing((held * failed).sqrt()),
        _ => Search::Confirming { rate: held, times: 1 },
    }
}

/// Below the lowest rate that failed: halves until a rate holds, then bisects.
fn below(failed: f64, held: Option<f64>) -> Search {
    match held {
        Some(held) => above(held, Some(failed)),
        None => Search::Bracketing {
            rate: failed / 2.0,
            held,
            failed: Some(failed),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Runs a search, and returns what it found and how many rates it tried.
    fn search(from: f64, mut holds: impl FnMut(f64, usize) -> bool) -> (Option<f64>, usize) {
        let mut search = Search::from(from);
        let mut tried = 0;
        while let Some(rate) = search.rate() {
            search = search.after(holds(rate, tried));
            tried += 1;
            assert!(tried < 100, "a search comes to an end");
        }
        (search.found(), tried)
    }

    #[test]
    fn the_limit_is_found_within_five_percent_from_below() {
        for limit in [1_500.0, 20_000.0, 333_333.0] {
            let (found, tried) = search(1000.0, |rate, _| rate <= limit);
            let found = found.unwrap();
            assert!(found <= limit && found * CLOSE >= limit, "{found} of {limit}");
            assert!(tried < 20, "{tried}");
        }
    }

    #[test]
    fn a_start_beyond_the_limit_goes_down_first() {
        let (found, _) = search(1_000_000.0, |rate, _| rate <= 700.0);
        assert!(found.unwrap() <= 700.0);
    }

    #[test]
    fn a_rate_that_held_once_by_chance_is_not_reported() {
        // Everything holds up to 1,000, and 1,900 only the first time that it is tried.
        let (found, _) = search(950.0, |rate, tried| rate <= 1_000.0 || tried == 1);
        assert!(found.unwrap() <= 1_000.0, "{found:?}");
    }

    #[test]
    fn a_reported_rate_has_held_twice() {
        for seed in 1..200_u64 {
            // Above 1,000 a coin decides.
            let (mut held, mut random) = (Vec::new(), Random::new(seed, 0));
            let (found, _) = search(500.0, |rate, _| {
                let holds = rate <= 1_000.0 || (random.coin() && rate < 1e6);
                held.extend(holds.then_some(rate));
                holds
            });
            let times = held.iter().filter(|&&rate| Some(rate) == found).count();
            assert!(times >= 2, "seed {seed}: {found:?} held {times} times");
        }
    }

    #[test]
    fn a_condition_that_always_holds_ends_the_search_too() {
        assert!(search(1000.0, |_, _| true).0.unwrap() >= HIGHEST);
    }

    #[test]
    fn without_a_success_nothing_is_found() {
        assert_eq!(search(1000.0, |_, _| false).0, None);
    }
}
