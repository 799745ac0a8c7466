//! The highest rate at which a condition holds: which rate to try next, and the curve of what was seen.
//!
//! Up by doubling until the condition fails, then between the two by geometric means until they are within 5 %, then
//! downward in steps of 5 % until a rate holds twice: a rate that held once may have been lucky, and a queue that
//! has just grown may still be there. Pure; running a rate is the caller's affair.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::clock::Nanos;
use crate::report::Distribution;
use crate::report::Report;
use crate::report::verdict::Grade;
use crate::units::{show_duration, show_rate};

/// Rates closer than this are not told apart: a run of seconds cannot.
const CLOSE: f64 = 1.05;

/// Below this a search gives up: fewer than ten messages a second measure nothing in a run of seconds.
const LOWEST: f64 = 10.0;

/// Above this a search stops climbing: no generator of this kind sends a hundred million messages a second.
const HIGHEST: f64 = 1e8;

/// The version of the curve's shape.
pub const SCHEMA: &str = "urecho.find-max/1";

/// A search that is going on.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    next: Option<f64>,
    /// The highest rate that held, and the lowest that did not.
    held: Option<f64>,
    failed: Option<f64>,
    /// While confirming: how often the next rate must hold still.
    confirm: Option<u8>,
    found: Option<f64>,
}

impl Search {
    /// Begins at `rate` messages a second.
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

    /// Whether the condition held at the rate that was to be tried.
    pub fn tell(&mut self, held: bool) {
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

    /// The next rate on the way up, down, and to the middle; the rate that held when they are close.
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

    /// The same rate until it has held twice, a lower one if it has not.
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

/// What was seen at one rate.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// Planned messages a second.
    pub rate_per_s: f64,
    /// Messages that came back a second.
    pub achieved_per_s: f64,
    /// Whether the condition held, by the whole of its interval.
    pub held: bool,
    /// How far the run can be trusted.
    pub grade: Grade,
    /// Response time.
    pub response_ns: Distribution,
    /// Service time.
    pub service_ns: Distribution,
}

/// The rate-latency curve of a search.
#[derive(Debug, Clone, Serialize)]
pub struct Curve {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The condition, as `p99 < 1ms`.
    pub condition: String,
    /// The highest rate that held twice.
    pub found_per_s: Option<f64>,
    /// True if the search was interrupted.
    pub partial: bool,
    /// What was seen, in the order of trying.
    pub points: Vec<Point>,
}

impl Curve {
    /// Nothing seen yet.
    pub fn of(condition: String) -> Curve {
        Curve {
            schema: SCHEMA,
            condition,
            found_per_s: None,
            partial: false,
            points: Vec::new(),
        }
    }

    /// Adds what was seen at one rate.
    pub fn push(&mut self, rate: f64, held: bool, report: &Report) {
        let latencies = &report.latency_ns;
        self.points.push(Point {
            rate_per_s: rate,
            achieved_per_s: report.rate_per_s,
            held,
            grade: report.verdict.grade,
            response_ns: latencies.response.clone().unwrap_or_else(|| latencies.service.clone()),
            service_ns: latencies.service.clone(),
        });
    }

    /// As one JSON document.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain data has no way to fail");
        text.push('\n');
        text
    }
}

impl Display for Curve {
    /// By rate, not by the order of trying: that is what a curve is.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>12} {:>12} {:>10} {:>10} {:>10} {:>10}  {:<9} {}",
            "planned", "back", "p50", "p99", "p99.9", "max", "verdict", self.condition
        )?;
        let mut points: Vec<&Point> = self.points.iter().collect();
        points.sort_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s));
        for point in points {
            writeln!(f, "{point}")?;
        }
        match self.found_per_s {
            Some(rate) => writeln!(
                f,
                "found        {} is the highest rate with {}",
                show_rate(rate),
                self.condition
            ),
            None => writeln!(f, "found        no rate with {}", self.condition),
        }
    }
}

impl Display for Point {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let shown = |ns: Option<u64>| ns.map_or("n/a".to_owned(), |ns| show_duration(Nanos(ns)));
        let response = &self.response_ns;
        write!(
            f,
            "{:>12} {:>12} {:>10} {:>10} {:>10} {:>10}  {:<9} {}",
            show_rate(self.rate_per_s),
            show_rate(self.achieved_per_s),
            shown(response.p50),
            shown(response.p99),
            shown(response.p99_9),
            shown(response.max),
            self.grade,
            if self.held { "holds" } else { "not shown" },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where the condition holds up to `limit`, and returns what was found and how many rates were tried.
    fn search(from: f64, mut holds: impl FnMut(f64, usize) -> bool) -> (Option<f64>, usize) {
        let mut search = Search::from(from);
        let mut tried = 0;
        while let Some(rate) = search.next() {
            search.tell(holds(rate, tried));
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
    fn a_rate_that_was_lucky_once_is_not_believed() {
        // Everything holds up to 1,000, and 1,900 only the first time that it is tried.
        let (found, _) = search(950.0, |rate, tried| rate <= 1_000.0 || tried == 1);
        assert!(found.unwrap() <= 1_000.0, "{found:?}");
    }

    #[test]
    fn what_is_found_has_held_twice_however_lucky_it_was() {
        for seed in 1..200_u64 {
            // Above 1,000 every try holds by a coin.
            let mut held = Vec::new();
            let (found, _) = search(500.0, |rate, tried| {
                let coin = (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (tried % 64)) & 1 == 1;
                let holds = rate <= 1_000.0 || (coin && rate < 1e6);
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
    fn where_nothing_holds_nothing_is_found() {
        assert_eq!(search(1000.0, |_, _| false).0, None);
    }
}
