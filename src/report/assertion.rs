//! `--assert 'p99<2ms'`: what a run must show, and whether it did, as far as its samples can tell.
//!
//! An assertion is judged on the 95 % interval of its metric, not on the figure alone: it is true or false only if the
//! whole interval lies on one side. Pure: where the figures come from is the caller's affair.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::clock::Nanos;
use crate::units::{self, show_count, show_duration, show_rate};

/// `METRIC OP VALUE`.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion {
    metric: Metric,
    op: Op,
    /// In the metric's unit.
    bound: f64,
    /// The value as it was typed, to be shown without rounding.
    typed: String,
}

/// What can be asserted about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// A figure of a latency histogram, in nanoseconds.
    Latency(Latency, Statistic),
    /// All that went wrong: messages failed and missing, connections unopened and lost.
    Errors,
    /// Messages whose connection ended first.
    Failed,
    /// Messages that had not come back when the drain was over.
    Missing,
    /// Messages answered in a second.
    Rate,
}

/// Which histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// The response time in an open loop, the service time in a closed one.
    Usual,
    /// From the planned instant. Open loop only.
    Response,
    /// From the submit.
    Service,
    /// Of connecting.
    Connect,
    /// How late messages were sent. Open loop only.
    Lag,
}

/// Which figure of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// 0.99 for p99.
    Quantile(f64),
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// Arithmetic mean.
    Mean,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Less,
    AtMost,
    More,
    AtLeast,
}

const LATENCIES: [(&str, Latency); 5] = [
    ("", Latency::Usual),
    ("response.", Latency::Response),
    ("service.", Latency::Service),
    ("connect.", Latency::Connect),
    ("lag.", Latency::Lag),
];

const STATISTICS: [(&str, Statistic); 8] = [
    ("p50", Statistic::Quantile(0.5)),
    ("p90", Statistic::Quantile(0.9)),
    ("p99", Statistic::Quantile(0.99)),
    ("p99.9", Statistic::Quantile(0.999)),
    ("p99.99", Statistic::Quantile(0.9999)),
    ("min", Statistic::Min),
    ("max", Statistic::Max),
    ("mean", Statistic::Mean),
];

const OTHERS: [(&str, Metric); 4] = [
    ("errors", Metric::Errors),
    ("failed", Metric::Failed),
    ("missing", Metric::Missing),
    ("rate", Metric::Rate),
];

/// The longer ones first, so that `<=` is not taken for `<` and a bound of `=…`.
const OPS: [(&str, Op); 4] = [
    ("<=", Op::AtMost),
    (">=", Op::AtLeast),
    ("<", Op::Less),
    (">", Op::More),
];

/// Reads `METRIC OP VALUE`, spaces around OP or not. For clap: errors are one line that says what is wrong and what to
/// write instead, without the text itself.
pub fn parse(text: &str) -> Result<Assertion, String> {
    const FORMS: &str = "write it like `p99<2ms`, `service.p50<=80us`, `errors<=0` or `rate>=50k/s`";
    let at = text
        .find(['<', '>', '=', '!'])
        .ok_or_else(|| format!("nothing is compared: {FORMS}"))?;
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
            .filter_map(|(latency, rest)| Some(Metric::Latency(latency, statistic(rest)?)))
            .next()
    };
    other
        .map(|(_, metric)| metric)
        .or_else(latency)
        .ok_or_else(|| unknown(name))
}

fn statistic(name: &str) -> Option<Statistic> {
    let known = STATISTICS.into_iter().find(|&(known, _)| known == name);
    known.map(|(_, statistic)| statistic)
}

/// Escaped and cut, so that garbage cannot disturb the terminal.
fn unknown(name: &str) -> String {
    let shown: String = name.chars().take(24).flat_map(char::escape_debug).collect();
    format!(
        "unknown metric `{shown}`: write p50, p90, p99, p99.9, p99.99, min, max or mean, after `response.`, \
         `service.`, `connect.`, `lag.` or nothing; or errors, failed, missing or rate"
    )
}

/// Reads a value in the metric's unit. Nanoseconds and counts are exact up to 2^53: 104 days.
fn bound(metric: Metric, typed: &str) -> Result<f64, String> {
    match metric {
        Metric::Latency(..) => units::duration(typed).map(|span| span.0 as f64),
        Metric::Errors | Metric::Failed | Metric::Missing => units::count(typed).map(|count| count as f64),
        Metric::Rate => units::rate(typed),
    }
}

impl Assertion {
    /// What it is about.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// An error, in one line, for what a closed loop does not have: it knows no planned instants.
    pub fn fits(&self, open_loop: bool) -> Result<(), String> {
        match self.metric {
            Metric::Latency(Latency::Response | Latency::Lag, _) if !open_loop => Err(format!(
                "`{}` needs an open loop: add --rate, or assert `service.p99` or the like",
                self.metric
            )),
            _ => Ok(()),
        }
    }

    /// Judges it by what `look` finds for its metric. `look`'s error says why there is no estimate (`needs 368 samples,
    /// has 100`) and leaves it undecided.
    pub fn judge(&self, look: impl FnOnce(Metric) -> Result<Estimate, String>) -> Judgement {
        let (truth, seen) = match look(self.metric) {
            Ok(estimate) => (self.truth(&estimate), shown_estimate(self.metric, &estimate)),
            Err(why) => (AssertionResult::Undecided, why),
        };
        let assertion = self.to_string();
        Judgement {
            what: format!("{assertion}: {truth} ({seen})"),
            assertion,
            truth,
        }
    }

    fn truth(&self, estimate: &Estimate) -> AssertionResult {
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

/// A figure and its 95 % interval, in the unit of its metric: nanoseconds, messages a second, or a count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end; infinite where answers are missing that could only make the figure larger.
    pub high: f64,
}

impl Estimate {
    /// Something that was counted and has no doubt about it.
    pub fn exact(value: f64) -> Estimate {
        Estimate {
            value,
            low: value,
            high: value,
        }
    }

    /// A latency, between the two ends that [`crate::histogram::Recorder::interval`] gives; `NEVER` is infinite.
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

/// Whether an assertion holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AssertionResult {
    /// Everywhere in the interval.
    True,
    /// Nowhere in the interval.
    False,
    /// In some of it, or there are too few samples for an interval.
    Undecided,
}

/// What became of an assertion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// What was asserted, `p99 < 2ms`.
    pub assertion: String,
    /// Whether it holds.
    pub truth: AssertionResult,
    /// All of it in a line: `p99 < 2ms: true (1.21 ms, 95 % interval 1.19 ms to 1.24 ms)`.
    pub what: String,
}

/// The exit code that these ask for: 1 if any is false, else 3 if any is undecided, else 0. None at all is 0.
pub fn exit_code(judgements: &[Judgement]) -> u8 {
    let any = |truth| judgements.iter().any(|judgement| judgement.truth == truth);
    if any(AssertionResult::False) {
        1
    } else if any(AssertionResult::Undecided) {
        3
    } else {
        0
    }
}

fn shown_estimate(metric: Metric, estimate: &Estimate) -> String {
    let Estimate { value, low, high } = *estimate;
    if low == high {
        return shown(metric, value);
    }
    if high == f64::INFINITY {
        return format!(
            "at least {}: answers are missing that could only raise it",
            shown(metric, low)
        );
    }
    let [value, low, high] = [value, low, high].map(|figure| shown(metric, figure));
    format!("{value}, 95 % interval {low} to {high}")
}

fn shown(metric: Metric, figure: f64) -> String {
    // The casts saturate.
    match metric {
        Metric::Latency(..) => show_duration(Nanos(figure as u64)),
        Metric::Errors | Metric::Failed | Metric::Missing => show_count(figure as u64),
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
                f.write_str(name_in(&STATISTICS, statistic))
            }
            other => f.write_str(name_in(&OTHERS, other)),
        }
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

/// How a thing is written. `?` for a quantile that no name has, which only a caller could make.
fn name_in<T: PartialEq>(table: &'static [(&'static str, T)], wanted: &T) -> &'static str {
    let row = table.iter().find(|(_, thing)| thing == wanted);
    row.map_or("?", |(name, _)| name)
}

#[cfg(test)]
mod tests;
