//! Whether one run kept the conditions, and which conditions a search can use.

use super::search::Outcome;
use crate::load::RunResult;
use crate::report::Report;
use crate::report::assertion::{Assertion, AssertionResult, Latency, Metric};
use crate::report::validity::Grade;
use crate::units::{show_count, show_percent};

/// The least share of the offered rate that must be completed. Below it the queue grows, and every latency depends on how
/// long one measures.
const ACHIEVED: f64 = 0.99;

/// Fewer messages than this may have been in flight at the end without a queue.
const IN_FLIGHT: f64 = 5.0;

/// The outcome of a run, and why it is not [`Outcome::Held`].
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Whether the conditions held.
    pub outcome: Outcome,
    /// In a few words; empty if they held.
    pub why: String,
}

impl Judgement {
    /// Of a run with these conditions.
    ///
    /// A run that lost messages or connections failed, unless a condition is on errors, and so did one that completed less
    /// than 99 % of the offered rate. Latencies of an INVALID run decide nothing. A condition is judged by its confidence interval. Where there is no valid one, its
    /// figure decides: a rate holds or fails by two runs, not by one.
    pub fn of(run: &RunResult, report: &Report, conditions: &[Assertion]) -> Judgement {
        let failed = |why| Judgement {
            outcome: Outcome::Failed,
            why,
        };
        let limits_errors = conditions.iter().any(|condition| is_count(condition.metric()));
        let errors = report.figures.errors();
        if errors > 0 && !limits_errors {
            return failed(format!(
                "{} messages or connections failed or are missing",
                show_count(errors)
            ));
        }
        if let Some(share) = report.figures.achieved_share(run) {
            let short = (1.0 - share) * report.figures.messages.sent as f64;
            if share < ACHIEVED && short >= IN_FLIGHT {
                return failed(format!("{} of the offered rate completed", show_percent(share, 1)));
            }
        }
        // What else such a run measures is not the server.
        if report.verdict.grade == Grade::Invalid {
            let codes: Vec<&str> = report.verdict.reasons.iter().map(|reason| reason.code).collect();
            return Judgement {
                outcome: Outcome::Undecided,
                why: format!("the run is INVALID: {}", codes.join(", ")),
            };
        }
        let mut undecided = None;
        for outcome in &report.assertions {
            match (outcome.result, outcome.figure_holds) {
                (AssertionResult::True, _) | (AssertionResult::Undecided, Some(true)) => {}
                (AssertionResult::False, _) | (AssertionResult::Undecided, Some(false)) => {
                    return failed(outcome.text.clone());
                }
                (AssertionResult::Undecided, None) => undecided = Some(outcome.text.clone()),
            }
        }
        Judgement {
            outcome: if undecided.is_some() {
                Outcome::Undecided
            } else {
                Outcome::Held
            },
            why: undecided.unwrap_or_default(),
        }
    }
}

fn is_count(metric: Metric) -> bool {
    matches!(metric, Metric::Errors | Metric::Failed | Metric::Missing)
}

/// Errors: one line, for a condition that does not get worse as the rate rises. `depth`: messages in flight per connection.
pub fn check(condition: &Assertion, depth: usize) -> Result<(), String> {
    let metric = condition.metric();
    let refused = |why: &str| Err(format!("`{condition}` cannot be searched for: {why}"));
    if !condition.is_upper_bound() || metric == Metric::Rate {
        return refused("it holds at high rates rather than at low ones; write an upper bound, as in `p99<1ms`");
    }
    match metric {
        Metric::Latency(Latency::Service, _) if depth == 1 => refused(
            "with one message in flight per connection, service time does not include the queue; write `response.p99` or \
             `p99`",
        ),
        Metric::Latency(Latency::Connect | Latency::Lag, _) => {
            refused("it says nothing about the messages; write `p99` or the like")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::assertion::parse;

    #[test]
    fn conditions_that_a_rising_rate_does_not_break_are_refused() {
        for (condition, depth, word) in [
            ("rate>=50k/s", 1, "high rates"),
            ("rate<50k/s", 1, "high rates"),
            ("p99>1ms", 1, "high rates"),
            ("service.p99<1ms", 1, "queue"),
            ("connect.p99<1ms", 8, "messages"),
            ("lag.p99<1ms", 8, "messages"),
        ] {
            let message = check(&parse(condition).unwrap(), depth).expect_err(condition);
            assert!(message.contains(word) && message.lines().count() == 1, "{message}");
        }
        for (condition, depth) in [
            ("p99<1ms", 1),
            ("response.p99.95<=1ms", 1),
            ("service.p99<1ms", 8),
            ("errors<=0", 1),
            ("missing<10", 1),
        ] {
            assert_eq!(check(&parse(condition).unwrap(), depth), Ok(()), "{condition}");
        }
    }
}
