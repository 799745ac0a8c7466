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

/// A search in progress.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    next: Option<f64>,
    /// The highest rate that held, and the lowest that did not.
    held: Option<f64>,
    failed: Option<f64>,
    /// While confirming: how many more times the next rate must hold.
    confirm: Option<u8>,
    found: Option<f64>,
}

impl Search {
    /// Starts at `rate` messages per second.
    pub fn from(rate: f64) -> Search {
        Search {
            next: Some(rate),
            held: None,
            failed: None,
            confirm: None,
            found: None,
        }
    }

    /// The rate to try; none when the search is over.
    pub fn next(&self) -> Option<f64> {
        self.next
    }

    /// The highest rate that held twice, once the search is over; none if no rate did.
    pub fn found(&self) -> Option<f64> {
        self.found
    }

    /// Records whether the condition held at the rate returned by [`next`](Search::next).
    pub fn record(&mut self, held: bool) {
        let Some(rate) = self.next else { return };
        self.next = match self.confirm {
            Some(times) => self.confirmed(rate, held, times),
            None => {
                *(if held { &mut self.held } else { &mut self.failed }) = Some(rate);
                self.between()
            }
        };
        self.next = self.next.filter(|&rate| rate >= LOWEST);
    }

    /// The next rate upwards, downwards, or in between; the highest that held once the bounds are close.
    fn between(&mut self) -> Option<f64> {
        match (self.held, self.failed) {
            (Some(held), None) if held < HIGHEST => Some(held * 2.0),
            (None, Some(failed)) => Some(failed / 2.0),
            (Some(held), Some(failed)) if failed / held > CLOSE => Some((held * failed).sqrt()),
            (held, _) => {
                self.confirm = Some(1);
                held
            }
        }
    }

    /// The same rate until it has held twice; a lower one if it fails.
    fn confirmed(&mut self, rate: f64, held: bool, times: u8) -> Option<f64> {
        match (held, times) {
            (true, 1) => {
                self.found = Some(rate);
                None
            }
            (true, _) => {
                self.confirm = Some(times - 1);
                Some(rate)
            }
            (false, _) => {
                self.confirm = Some(2);
                Some(rate / CLOSE)
            }
        }
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
        while let Some(rate) = search.next() {
            search.record(holds(rate, tried));
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
