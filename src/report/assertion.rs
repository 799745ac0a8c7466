//! `--assert 'p99<2ms'`: conditions on a run, and whether they hold.
//!
//! An assertion is judged on the 95 % confidence interval of its metric: it is true or false only if the whole interval
//! lies on one side, and undecided otherwise. Without a valid interval it is undecided. Pure: the caller provides the
//! figures.

use std::fmt::{self, Display, Formatter};

#[cfg(test)]
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};

use super::distribution::Statistic;
use crate::clock::Nanos;
use crate::error::Outcome;
use crate::load::Workload;
use crate::units::{self, show_count, show_duration, show_rate};

/// `METRIC OP VALUE`.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion {
    metric: Metric,
    op: Op,
    /// In the metric's unit.
    bound: f64,
    /// The value as typed, to be shown without rounding.
    typed: String,
}

/// What an assertion is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// A figure of a latency distribution, in nanoseconds.
    Latency(Latency, Statistic),
    /// A number of errors.
    Count(Count),
    /// Messages completed per second.
    Rate,
}

/// Which errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Messages failed and missing, connections failed and lost.
    Errors,
    /// Messages whose connection closed before the reply.
    Failed,
    /// Messages without a reply by the end of the drain.
    Missing,
}

/// Which distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// The response time in an open loop, the service time in a closed one.
    Main,
    /// From the planned instant. Open loop only.
    Response,
    /// From submission.
    Service,
    /// Time to connect.
    Connect,
    /// How long after the planned instant messages were issued. Open loop only.
    Lag,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Less,
    AtMost,
    More,
    AtLeast,
}

const LATENCIES: [(&str, Latency); 5] = [
    ("", Latency::Main),
    ("response.", Latency::Response),
    ("service.", Latency::Service),
    ("connect.", Latency::Connect),
    ("lag.", Latency::Lag),
];

const OTHERS: [(&str, Metric); 4] = [
    ("errors", Metric::Count(Count::Errors)),
    ("failed", Metric::Count(Count::Failed)),
    ("missing", Metric::Count(Count::Missing)),
    ("rate", Metric::Rate),
];

/// Longer ones first, so that `<=` is not read as `<` and a bound of `=…`.
const OPS: [(&str, Op); 4] = [
    ("<=", Op::AtMost),
    (">=", Op::AtLeast),
    ("<", Op::Less),
    (">", Op::More),
];

/// Parses `METRIC OP VALUE`, with or without spaces around OP. For clap: an error is one line that says what is wrong
/// and what to write instead, without the text itself.
pub fn parse(text: &str) -> Result<Assertion, String> {
    const FORMS: &str = "write it like `p99<2ms`, `service.p50<=80us`, `errors<=0` or `rate>=50k/s`";
    let at = text
        .find(['<', '>', '=', '!'])
        .ok_or_else(|| format!("no comparison: {FORMS}"))?;
    let (name, rest) = text.split_at(at);
    let (sign, op) = OPS
        .into_iter()
        .find(|(sign, _)| rest.starts_with(sign))
        .ok_or_else(|| format!("compare with <, <=, > or >=: {FORMS}"))?;
    let metric = metric(name.trim())?;
    let typed = rest[sign.len()..].trim();
    Ok(Assertion {
        metric,
        op,
        bound: bound(metric, typed)?,
        typed: typed.to_owned(),
    })
}

fn metric(name: &str) -> Result<Metric, String> {
    let other = OTHERS.into_iter().find(|&(known, _)| known == name);
    let latency = || {
        let split = LATENCIES
            .into_iter()
            .filter_map(|(prefix, latency)| Some((latency, name.strip_prefix(prefix)?)));
        split
            .filter_map(|(latency, rest)| Some(Metric::Latency(latency, Statistic::parse(rest)?)))
            .next()
    };
    other
        .map(|(_, metric)| metric)
        .or_else(latency)
        .ok_or_else(|| unknown(name))
}

/// Escaped and cut, so that control characters cannot reach the terminal.
fn unknown(name: &str) -> String {
    let shown: String = name.chars().take(24).flat_map(char::escape_debug).collect();
    format!(
        "unknown metric `{shown}`: write a percentile such as p50 or p99.9, or min, max or mean, after `response.`, \
         `service.`, `connect.`, `lag.` or nothing; or errors, failed, missing or rate"
    )
}

/// Reads a value in the metric's unit. Nanoseconds and counts are exact up to 2^53: 104 days.
fn bound(metric: Metric, typed: &str) -> Result<f64, String> {
    match metric {
        Metric::Latency(..) => units::duration(typed).map(|span| span.0 as f64),
        Metric::Count(_) => units::count(typed).map(|count| count as f64),
        Metric::Rate => units::rate(typed),
    }
}

impl Assertion {
    /// Its metric.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// True for `<` and `<=`.
    pub fn is_upper_bound(&self) -> bool {
        matches!(self.op, Op::Less | Op::AtMost)
    }

    /// Errors: one line, for a metric that this load does not have: a closed loop has no planned instants, a ramp no
    /// single rate, and connections that are all opened before measuring no confidence interval.
    pub fn fits(&self, workload: &Workload) -> Result<(), String> {
        let (metric, pace) = (self.metric, workload.pace);
        match metric {
            Metric::Latency(Latency::Response | Latency::Lag, _) if !pace.is_open() => Err(format!(
                "`{metric}` needs an open loop: add --rate, or assert `service.p99` or the like"
            )),
            Metric::Latency(_, Statistic::Min | Statistic::Max) => Ok(()),
            Metric::Latency(Latency::Connect, _) if workload.churn.is_none() => Err(format!(
                "`{metric}` has no confidence interval without --churn: assert `connect.max`"
            )),
            Metric::Latency(Latency::Connect, _) => Ok(()),
            Metric::Latency(..) | Metric::Rate if pace.is_ramp() => Err(format!(
                "`{metric}` over a ramp is of no rate, but of a mixture of all: assert it at one --rate, or search for the \
                 highest with find-max"
            )),
            _ => Ok(()),
        }
    }

    /// Judges it by what `estimate` returns for its metric. Without a valid interval it is undecided.
    pub fn judge(&self, estimate: impl FnOnce(Metric) -> Result<Estimate, NoInterval>) -> AssertionOutcome {
        let (result, shown, figure_holds) = match estimate(self.metric) {
            Ok(estimate) => (self.result(&estimate), shown_estimate(self.metric, &estimate), None),
            Err(none) => {
                let holds = none.figure.and_then(|figure| match self.result(&figure) {
                    AssertionResult::True => Some(true),
                    AssertionResult::False => Some(false),
                    AssertionResult::Undecided => None,
                });
                (AssertionResult::Undecided, none.shown(self.metric), holds)
            }
        };
        let assertion = self.to_string();
        AssertionOutcome {
            text: format!("{assertion}: {result} ({shown})"),
            assertion,
            result,
            figure_holds,
        }
    }

    fn result(&self, estimate: &Estimate) -> AssertionResult {
        let Estimate { low, high, .. } = *estimate;
        let bound = self.bound;
        let (always, never) = match self.op {
            Op::Less => (high < bound, low >= bound),
            Op::AtMost => (high <= bound, low > bound),
            Op::More => (low > bound, high <= bound),
            Op::AtLeast => (low >= bound, high < bound),
        };
        match (always, never) {
            (true, _) => AssertionResult::True,
            (_, true) => AssertionResult::False,
            _ => AssertionResult::Undecided,
        }
    }
}

/// A figure and its 95 % confidence interval, in the unit of its metric: nanoseconds, messages per second, or a count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The lower end of the confidence interval.
    pub low: f64,
    /// The upper end; infinite where censored samples could only make the figure larger.
    pub high: f64,
}

impl Estimate {
    /// A count, or the extreme of a run, which has no sampling error.
    pub fn exact(value: f64) -> Estimate {
        Estimate {
            value,
            low: value,
            high: value,
        }
    }

    /// A latency between the ends of its confidence interval; [`Nanos::NEVER`] is infinite.
    pub fn latency(value: Nanos, low: Nanos, high: Nanos) -> Estimate {
        let high = match high {
            Nanos::NEVER => f64::INFINITY,
            Nanos(ns) => ns as f64,
        };
        Estimate {
            value: value.0 as f64,
            low: low.0 as f64,
            high,
        }
    }
}

/// Why a metric has no valid interval.
#[derive(Debug, Clone, PartialEq)]
pub struct NoInterval {
    /// The figure alone; open above if it is a lower bound. None if there are too few samples for it.
    pub figure: Option<Estimate>,
    /// In a few words: `needs 368 samples, has 100`.
    pub why: String,
}

impl NoInterval {
    /// Without even a figure.
    pub fn no_figure(why: impl Into<String>) -> NoInterval {
        NoInterval {
            figure: None,
            why: why.into(),
        }
    }

    fn shown(&self, metric: Metric) -> String {
        let why = &self.why;
        match &self.figure {
            Some(figure) => format!("{}, no valid interval: {why}", shown(metric, figure.value)),
            None => why.clone(),
        }
    }
}

/// Whether an assertion holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AssertionResult {
    /// It holds in the whole confidence interval.
    True,
    /// It holds nowhere in the confidence interval.
    False,
    /// It holds in a part of the confidence interval, or there is no valid one.
    Undecided,
}

/// The outcome of an assertion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AssertionOutcome {
    /// The condition, `p99 < 2ms`.
    pub assertion: String,
    /// Whether it holds.
    pub result: AssertionResult,
    /// Where it is undecided for want of a valid interval: whether the figure itself meets it; otherwise null. A
    /// single such run proves nothing.
    pub figure_holds: Option<bool>,
    /// In one line: `p99 < 2ms: true (1.21 ms, 95 % confidence interval 1.19 ms to 1.24 ms)`.
    pub text: String,
}

/// What these amount to together; none if all are true.
pub fn outcome(outcomes: &[AssertionOutcome]) -> Option<Outcome> {
    let any = |result| outcomes.iter().any(|outcome| outcome.result == result);
    if any(AssertionResult::False) {
        Some(Outcome::ConditionFailed)
    } else {
        any(AssertionResult::Undecided).then_some(Outcome::Undecided)
    }
}

fn shown_estimate(metric: Metric, estimate: &Estimate) -> String {
    let Estimate { value, low, high } = *estimate;
    if low == high {
        return shown(metric, value);
    }
    if high == f64::INFINITY {
        let [value, low] = [value, low].map(|figure| shown(metric, figure));
        return format!("{value}, 95 % confidence interval from {low} with no upper end");
    }
    let [value, low, high] = [value, low, high].map(|figure| shown(metric, figure));
    format!("{value}, 95 % confidence interval {low} to {high}")
}

/// A figure in the unit of its metric.
pub(super) fn shown(metric: Metric, figure: f64) -> String {
    // The casts saturate.
    match metric {
        Metric::Latency(..) => show_duration(Nanos(figure as u64)),
        Metric::Count(_) => show_count(figure as u64),
        Metric::Rate => show_rate(figure),
    }
}

impl Display for Assertion {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.metric, name_in(&OPS, &self.op), self.typed)
    }
}

impl Display for Metric {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Metric::Latency(latency, statistic) => {
                f.write_str(name_in(&LATENCIES, latency))?;
                statistic.fmt(f)
            }
            other => f.write_str(name_in(&OTHERS, other)),
        }
    }
}

impl Serialize for Metric {
    /// As in an assertion.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Metric, D::Error> {
        metric(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Display for AssertionResult {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            AssertionResult::True => "true",
            AssertionResult::False => "false",
            AssertionResult::Undecided => "undecided",
        })
    }
}

/// The name of a value in its table; every value has one.
fn name_in<T: PartialEq>(table: &'static [(&'static str, T)], wanted: &T) -> &'static str {
    let row = table.iter().find(|(_, thing)| thing == wanted);
    row.map_or("?", |(name, _)| name)
}

#[cfg(test)]
mod tests;
