//! Whether one run kept the conditions, and which conditions a search can use.

use super::search::Outcome;
use crate::load::RunResult;
use crate::report::Report;
use crate::report::assertion::{Assertion, AssertionOutcome, AssertionResult, Latency, Metric};
use crate::report::validity::{Grade, Verdict};
use crate::units::{show_count, show_percent};

/// The least share of the offered rate that must be completed. Below it the queue grows, and every latency depends on
/// how long one measures.
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

/// What a run is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Messages failed and missing, connections failed and lost.
    pub errors: u64,
    /// Messages due.
    pub sent: u64,
    /// The share of the offered rate that was completed; `None` in a closed loop.
    pub achieved: Option<f64>,
    /// The verdict of the run on itself.
    pub verdict: &'a Verdict,
    /// The outcomes of the conditions.
    pub outcomes: &'a [AssertionOutcome],
}

impl<'a> Evidence<'a> {
    /// From a run and its report.
    pub fn of(run: &RunResult, report: &'a Report) -> Evidence<'a> {
        Evidence {
            errors: report.figures.errors(),
            sent: report.figures.messages.sent,
            achieved: report.figures.achieved_share(run),
            verdict: &report.verdict,
            outcomes: &report.assertions,
        }
    }
}

impl Judgement {
    /// Of a run with these conditions.
    ///
    /// A run that lost messages or connections failed, unless a condition is on errors, and so did one that completed
    /// less than 99 % of the offered rate. Latencies of an INVALID run decide nothing. A condition is judged by its
    /// confidence interval. Where there is no valid one, its figure decides: a rate holds or fails by two runs, not
    /// by one.
    pub fn of(run: Evidence<'_>, conditions: &[Assertion]) -> Judgement {
        let failed = |why| Judgement {
            outcome: Outcome::Failed,
            why,
        };
        let limits_errors = conditions.iter().any(|condition| is_count(condition.metric()));
        if run.errors > 0 && !limits_errors {
            return failed(format!(
                "{} messages or connections failed or are missing",
                show_count(run.errors)
            ));
        }
        if let Some(share) = run.achieved {
            let short = (1.0 - share) * run.sent as f64;
            if share < ACHIEVED && short >= IN_FLIGHT {
                return failed(format!("{} of the offered rate completed", show_percent(share, 1)));
            }
        }
        // What else such a run measures is not the server.
        if run.verdict.grade == Grade::Invalid {
            let codes: Vec<&str> = run.verdict.reasons.iter().map(|reason| reason.code.as_ref()).collect();
            return Judgement {
                outcome: Outcome::Undecided,
                why: format!("the run is INVALID: {}", codes.join(", ")),
            };
        }
        let mut undecided = None;
        for outcome in run.outcomes {
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
    matches!(metric, Metric::Count(_))
}

/// Errors: one line, for a condition that does not get worse as the rate rises. `depth`: messages in flight per
/// connection.
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
    use crate::report::assertion::{Estimate, NoInterval, parse};
    use crate::report::validity::Reason;

    const RUN: Evidence<'static> = Evidence {
        errors: 0,
        sent: 20_000,
        achieved: Some(1.0),
        verdict: &Verdict {
            grade: Grade::Valid,
            reasons: Vec::new(),
        },
        outcomes: &[],
    };

    /// The outcome of a condition for this estimate.
    fn outcome(condition: &str, estimate: Result<Estimate, NoInterval>) -> AssertionOutcome {
        parse(condition).unwrap().judge(|_| estimate)
    }

    /// A latency in milliseconds between these ends.
    fn between(low: f64, high: f64) -> Result<Estimate, NoInterval> {
        let [low, high] = [low, high].map(|ms| ms * 1e6);
        Ok(Estimate {
            value: f64::midpoint(low, high),
            low,
            high,
        })
    }

    /// A latency in milliseconds without an interval.
    fn alone(ms: f64) -> Result<Estimate, NoInterval> {
        Err(NoInterval {
            figure: Some(Estimate::exact(ms * 1e6)),
            why: "too short".into(),
        })
    }

    fn judge(run: Evidence<'_>, conditions: &[&str]) -> Judgement {
        let conditions: Vec<Assertion> = conditions.iter().map(|text| parse(text).unwrap()).collect();
        Judgement::of(run, &conditions)
    }

    fn judge_outcomes(outcomes: &[AssertionOutcome]) -> Outcome {
        judge(Evidence { outcomes, ..RUN }, &["p99<1ms"]).outcome
    }

    #[test]
    fn errors_fail_a_run_unless_a_condition_says_how_many_are_allowed() {
        let run = Evidence { errors: 3, ..RUN };
        let found = judge(run, &["p99<1ms"]);
        assert!(
            found.outcome == Outcome::Failed && found.why.starts_with("3 messages"),
            "{found:?}"
        );
        assert_eq!(judge(run, &["p99<1ms", "failed<=5"]).outcome, Outcome::Held);
        let broken = [outcome("failed<=2", Ok(Estimate::exact(3.0)))];
        let run = Evidence {
            outcomes: &broken,
            ..run
        };
        assert_eq!(judge(run, &["failed<=2"]).outcome, Outcome::Failed);
    }

    #[test]
    fn a_run_that_falls_behind_failed_unless_a_few_messages_were_in_flight() {
        let with = |achieved, sent| Evidence {
            achieved: Some(achieved),
            sent,
            ..RUN
        };
        assert_eq!(judge(with(0.99, 20_000), &[]).outcome, Outcome::Held);
        let found = judge(with(0.985, 20_000), &[]);
        assert!(
            found.outcome == Outcome::Failed && found.why.starts_with("98.5 %"),
            "{found:?}"
        );
        assert_eq!(judge(with(0.96, 100), &[]).outcome, Outcome::Held, "4 messages");
        assert_eq!(judge(with(0.94, 100), &[]).outcome, Outcome::Failed, "6 messages");
    }

    #[test]
    fn an_invalid_run_decides_nothing_but_what_it_lost() {
        let verdict = Verdict {
            grade: Grade::Invalid,
            reasons: vec![Reason {
                grade: Grade::Invalid,
                code: "send-lag".into(),
                what: String::new(),
                advice: "".into(),
            }],
        };
        let broken = [outcome("p99<1ms", between(2.0, 3.0))];
        let run = Evidence {
            verdict: &verdict,
            outcomes: &broken,
            ..RUN
        };
        let found = judge(run, &["p99<1ms"]);
        assert!(
            found.outcome == Outcome::Undecided && found.why.ends_with("send-lag"),
            "{found:?}"
        );
        assert_eq!(
            judge(Evidence { errors: 1, ..run }, &["p99<1ms"]).outcome,
            Outcome::Failed
        );
        let behind = Evidence {
            achieved: Some(0.5),
            ..run
        };
        assert_eq!(judge(behind, &["p99<1ms"]).outcome, Outcome::Failed);
    }

    #[test]
    fn a_condition_is_judged_by_its_interval_and_without_one_by_its_figure() {
        for (estimate, expected) in [
            (between(0.1, 0.9), Outcome::Held),
            (between(1.1, 1.9), Outcome::Failed),
            (between(0.1, 1.9), Outcome::Undecided),
            (alone(0.9), Outcome::Held),
            (alone(1.1), Outcome::Failed),
            (
                Err(NoInterval::no_figure("needs 368 samples, has 3")),
                Outcome::Undecided,
            ),
        ] {
            let what = format!("{estimate:?}");
            assert_eq!(judge_outcomes(&[outcome("p99<1ms", estimate)]), expected, "{what}");
        }
    }

    #[test]
    fn one_broken_condition_fails_a_run_whatever_the_others_are() {
        let [held, undecided, broken] =
            [between(0.1, 0.9), between(0.1, 1.9), between(1.1, 1.9)].map(|estimate| outcome("p99<1ms", estimate));
        assert_eq!(judge_outcomes(&[undecided.clone(), broken]), Outcome::Failed);
        assert_eq!(judge_outcomes(&[held.clone(), undecided]), Outcome::Undecided);
        assert_eq!(judge_outcomes(&[held.clone(), held]), Outcome::Held);
    }

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
