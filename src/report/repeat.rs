//! Several runs of one plan, and what can be said of its figures over all of them.
//!
//! The run is the sample. A run has its own arrivals, ports and memory layout, so a figure differs between runs by more
//! than the confidence interval of any one of them tells. Estimate and interval are those of the signed-rank
//! distribution ([`signed_rank`]), of the logarithms: figures differ by factors. Pure.

mod page;

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::assertion::{self, Assertion, AssertionOutcome, Estimate, Latency, Metric, NoInterval};
use super::distribution::Statistic;
use super::validity::Grade;
use super::{Report, text};
use crate::error::Outcome;
use crate::load::RunResult;
use crate::output;
use crate::output::table::Column::{Left, Right};
use crate::output::table::{self, Column};
use crate::stats::signed_rank;
use crate::units::{plural, show_count};

/// Version of this document's JSON.
pub const SCHEMA: &str = "urecho.repeat/2";

/// The JSON Schema (draft 2020-12) that every document satisfies.
pub const REPEAT_SCHEMA: &str = include_str!("repeat.schema.json");

/// Error probability of each end of an interval. Signed ranks of fewer than six runs have no such interval.
const ALPHA: f64 = 0.025;
const RUNS_MIN: u64 = 6;

/// Result of `urecho load --repeat`: every figure with its confidence interval over the runs, and the report of each
/// run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Repeats {
    /// Name and version of this document's shape.
    pub schema: Cow<'static, str>,
    /// True if there are fewer runs than planned: the last was interrupted, or ended by an error.
    pub partial: bool,
    /// The error that ended them; null if none did.
    pub error: Option<String>,
    /// Runs of the plan.
    pub planned: u64,
    /// The figures, each over all complete runs.
    pub figures: Vec<Repeated>,
    /// The outcome of each `--assert`, by the interval over the runs.
    pub assertions: Vec<AssertionOutcome>,
    /// The report of each run; `plan.seed` is one more each time.
    pub runs: Vec<Report>,
}

/// A figure of several runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Repeated {
    /// As in an assertion: `response.p99` in nanoseconds, `rate` in messages per second.
    #[serde(rename = "name")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub metric: Metric,
    /// Its value in each run; null where the run has none, or only a lower bound.
    pub values: Vec<Option<f64>>,
    /// The Hodges-Lehmann estimate of the logarithms; null if a run has no value.
    pub estimate: Option<f64>,
    /// The 95 % confidence interval by signed ranks; null with fewer than six runs.
    pub interval: Option<RepeatInterval>,
}

/// A confidence interval over runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RepeatInterval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Repeated {
    fn of(metric: Metric, values: Vec<Option<f64>>) -> Repeated {
        let logs = values
            .iter()
            .map(|value| value.filter(|&value| value > 0.0).map(f64::ln));
        let logs: Option<Vec<f64>> = logs.collect();
        let found = logs.and_then(|logs| signed_rank::estimate(&logs, ALPHA));
        Repeated {
            metric,
            values,
            estimate: found.map(|found| found.location.exp()),
            interval: found
                .and_then(|found| found.interval)
                .map(|signed_rank::ConfidenceInterval { low, high }| RepeatInterval {
                    low: low.exp(),
                    high: high.exp(),
                }),
        }
    }

    /// For an assertion. A count is judged by the run with the most: one error is not undone by other runs.
    fn judged(&self) -> Result<Estimate, NoInterval> {
        let known: Option<Vec<f64>> = self.values.iter().copied().collect();
        let runs = self.values.len() as u64;
        if matches!(self.metric, Metric::Count(_)) {
            let most = known.and_then(|known| known.into_iter().reduce(f64::max));
            return most
                .map(Estimate::exact)
                .ok_or_else(|| NoInterval::no_figure("no run was completed"));
        }
        if runs == 0 {
            return Err(NoInterval::no_figure("no run was completed"));
        }
        match (self.estimate, self.interval) {
            (Some(value), Some(RepeatInterval { low, high })) => Ok(Estimate { value, low, high }),
            (Some(value), None) => Err(NoInterval {
                figure: Some(Estimate::exact(value)),
                why: format!("an interval over runs needs {RUNS_MIN}, there are {runs}"),
            }),
            (None, _) => {
                // An estimate is of logarithms: zero has none.
                let without = self
                    .values
                    .iter()
                    .filter(|value| value.is_none_or(|value| value <= 0.0));
                let [without, runs] = [without.count() as u64, runs].map(show_count);
                Err(NoInterval::no_figure(format!(
                    "in {without} of {runs} runs this figure is missing or 0"
                )))
            }
        }
    }
}

/// Collects runs one after another; keeps no histogram.
#[derive(Debug)]
pub struct Collector {
    planned: u64,
    assertions: Vec<Assertion>,
    metrics: Vec<Metric>,
    values: Vec<Vec<Option<f64>>>,
    runs: Vec<Report>,
}

impl Collector {
    /// Of this many runs, with these assertions; `open_loop`: with response times.
    pub fn new(planned: u64, assertions: &[Assertion], open_loop: bool) -> Collector {
        let latencies = [Latency::Response, Latency::Service];
        let latencies = latencies
            .into_iter()
            .filter(|&latency| open_loop || latency == Latency::Service);
        let latencies = latencies.flat_map(|latency| Statistic::TABLE.map(|one| Metric::Latency(latency, one)));
        let mut metrics: Vec<Metric> = std::iter::once(Metric::Rate).chain(latencies).collect();
        metrics.extend(assertions.iter().map(Assertion::metric));
        Collector {
            planned,
            assertions: assertions.to_vec(),
            values: vec![Vec::new(); metrics.len()],
            metrics,
            runs: Vec::new(),
        }
    }

    /// Adds a run. One that was interrupted is kept, and counts in no figure.
    pub fn add(&mut self, run: &RunResult, report: Report) {
        if !report.partial {
            for (&metric, values) in self.metrics.iter().zip(&mut self.values) {
                values.push(report.figures.value(run, metric));
            }
        }
        self.runs.push(report);
    }

    /// Ends collecting; `error` is what ended it early.
    pub fn finish(self, error: Option<String>) -> Repeats {
        let figures = self.metrics.iter().zip(self.values);
        let mut figures: Vec<Repeated> = figures.map(|(&metric, values)| Repeated::of(metric, values)).collect();
        let asserted = figures.split_off(figures.len() - self.assertions.len());
        let assertions = self.assertions.iter().zip(asserted);
        let assertions = assertions
            .map(|(assertion, figure)| assertion.judge(|_| figure.judged()))
            .collect();
        Repeats {
            schema: SCHEMA.into(),
            partial: (self.runs.iter().filter(|run| !run.partial).count() as u64) < self.planned,
            error,
            planned: self.planned,
            figures,
            assertions,
            runs: self.runs,
        }
    }
}

impl Repeats {
    /// As one JSON document.
    pub fn json(&self) -> String {
        output::json::document(self)
    }

    /// What the assertions amount to together; none if all are true.
    pub fn assertions_outcome(&self) -> Option<Outcome> {
        assertion::outcome(&self.assertions)
    }

    /// The worst grade of the runs.
    pub fn grade(&self) -> Grade {
        let grades = self.runs.iter().map(|run| run.verdict.grade);
        grades.max().unwrap_or(Grade::Valid)
    }
}

/// The columns: name, estimate, interval, lowest and highest run.
const ROW: [Column; 5] = [Left(17), Right(13), Left(27), Left(27), Left(0)];

impl Display for Repeats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.partial {
            writeln!(f, "PARTIAL: fewer runs than planned")?;
        }
        if let Some(first) = self.runs.first() {
            let plan = &first.figures.plan;
            let load = text::describe(first.figures.connections.requested, plan);
            writeln!(f, "load         {}: {load}", plan.targets_shown())?;
        }
        for run in &self.runs {
            let codes: Vec<&str> = run.verdict.reasons.iter().map(|reason| reason.code.as_ref()).collect();
            let (seed, grade) = (run.figures.plan.seed, run.verdict.grade);
            writeln!(f, "run          seed {seed}: {grade} {}", codes.join(", "))?;
        }
        let head = [
            "figure",
            "estimate",
            "95 % confidence interval",
            "lowest and highest run",
        ];
        writeln!(f, "{}", table::row(&ROW, &head))?;
        for figure in &self.figures {
            writeln!(f, "{}", table::row(&ROW, &cells(figure)))?;
        }
        let complete = self.runs.iter().filter(|run| !run.partial).count() as u64;
        let runs = plural(complete, "run");
        writeln!(
            f,
            "  over {runs}: Hodges-Lehmann estimate and signed-rank interval of the logarithms"
        )?;
        if complete < RUNS_MIN {
            writeln!(f, "  an interval needs {RUNS_MIN} runs")?;
        }
        for outcome in &self.assertions {
            writeln!(f, "assert       {}", outcome.text)?;
        }
        writeln!(f, "verdict      {}", self.grade())
    }
}

fn cells(figure: &Repeated) -> [String; 4] {
    let show = |value: f64| assertion::shown(figure.metric, value);
    let known = || figure.values.iter().flatten().copied();
    let ends = known().reduce(f64::min).zip(known().reduce(f64::max));
    let interval = figure.interval.map(|RepeatInterval { low, high }| (low, high));
    let range =
        |ends: Option<(f64, f64)>| ends.map_or("n/a".into(), |(low, high)| format!("{} .. {}", show(low), show(high)));
    [
        figure.metric.to_string(),
        figure.estimate.map_or("n/a".into(), show),
        format!("  {}", range(interval)),
        range(ends),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::assertion::{AssertionResult, parse};

    fn judge(text: &str, values: &[Option<f64>]) -> AssertionOutcome {
        let assertion = parse(text).unwrap();
        let figure = Repeated::of(assertion.metric(), values.to_vec());
        assertion.judge(|_| figure.judged())
    }

    fn ms(values: impl IntoIterator<Item = f64>) -> Vec<Option<f64>> {
        values.into_iter().map(|ms| Some(ms * 1e6)).collect()
    }

    #[test]
    fn six_runs_have_the_interval_of_their_extremes() {
        let figure = Repeated::of(parse("p99<1ms").unwrap().metric(), ms([1.0, 1.1, 1.2, 1.3, 1.4, 1.5]));
        let RepeatInterval { low, high } = figure.interval.unwrap();
        assert!((low - 1.0e6).abs() < 1.0 && (high - 1.5e6).abs() < 1.0, "{figure:?}");
        assert!((1.2e6..=1.3e6).contains(&figure.estimate.unwrap()), "{figure:?}");
    }

    #[test]
    fn an_assertion_is_decided_by_the_interval_over_runs() {
        let runs = ms([1.0, 1.1, 1.2, 1.3, 1.4, 1.5]);
        assert_eq!(judge("p99<2ms", &runs).result, AssertionResult::True);
        assert_eq!(judge("p99<1.2ms", &runs).result, AssertionResult::Undecided);
        assert_eq!(judge("p99<0.9ms", &runs).result, AssertionResult::False);
    }

    #[test]
    fn five_runs_decide_nothing_and_say_so() {
        let outcome = judge("p99<2ms", &ms([1.0; 5]));
        assert_eq!(outcome.result, AssertionResult::Undecided);
        assert!(outcome.text.contains("needs 6, there are 5"), "{}", outcome.text);
    }

    #[test]
    fn a_run_without_the_figure_leaves_it_undecided() {
        let mut runs = ms([1.0; 7]);
        runs[3] = None;
        let outcome = judge("p99.99<2ms", &runs);
        assert_eq!(outcome.result, AssertionResult::Undecided);
        assert!(outcome.text.contains("1 of 7 runs"), "{}", outcome.text);
    }

    #[test]
    fn one_run_with_an_error_refutes_an_assertion_on_errors() {
        assert_eq!(
            judge("errors<=0", &[Some(0.0), Some(1.0)]).result,
            AssertionResult::False
        );
        assert_eq!(
            judge("errors<=0", &[Some(0.0), Some(0.0)]).result,
            AssertionResult::True
        );
    }
}
