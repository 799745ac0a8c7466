//! The rate-latency curve of a search, as JSON and as a table.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::judge::Judgement;
use super::search::Outcome;
use crate::clock::Nanos;
use crate::output::json;
use crate::output::table::Column::{Left, Right};
use crate::output::table::{self, Column};
use crate::report::validity::Grade;
use crate::report::{Distribution, Environment, Report};
use crate::units::{show_duration, show_rate};

/// Version of the curve's JSON.
pub const SCHEMA: &str = "urecho.find-max/2";

/// The JSON Schema (draft 2020-12) that every curve satisfies.
pub const FIND_MAX_SCHEMA: &str = include_str!("find-max.schema.json");

/// Result of `urecho find-max`: the highest rate at which all conditions held, and all runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// Name and version of this document's shape.
    pub schema: Cow<'static, str>,
    /// The conditions, `p99 < 1ms`.
    pub conditions: Vec<String>,
    /// The highest rate that held twice, in messages per second; null if none did.
    pub found_per_s: Option<f64>,
    /// The lowest rate above it at which three runs did not show whether the conditions hold; null if there is none.
    pub undecided_per_s: Option<f64>,
    /// True if the search was interrupted, or ended by an error.
    pub partial: bool,
    /// The error that ended it; null if none did.
    pub error: Option<String>,
    /// Where it ran, and with which build; null in curves of versions before 0.5.
    #[serde(default)]
    pub environment: Option<Environment>,
    /// All runs, in order of time.
    pub points: Vec<Point>,
}

/// The columns of the table: rates, response times, verdict, and whether the condition held.
const COLUMNS: [Column; 8] = [
    Right(12),
    Right(12),
    Right(9),
    Right(9),
    Right(9),
    Right(9),
    Left(7),
    Left(0),
];

/// The outcome at one rate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Offered messages per second.
    pub offered_per_s: f64,
    /// Completed messages per second.
    pub completed_per_s: f64,
    /// Whether the conditions held in this run. A rate counts as one that holds, or does not, by two runs.
    pub outcome: Outcome,
    /// Why they did not, or why that is undecided; empty if they held.
    pub why: String,
    /// How far the run can be trusted.
    pub grade: Grade,
    /// Response time.
    pub response: Distribution,
    /// Service time.
    pub service: Distribution,
}

impl Point {
    /// The outcome of a run at this rate.
    pub fn of(rate: f64, judgement: Judgement, report: &Report) -> Point {
        let figures = &report.figures;
        Point {
            offered_per_s: rate,
            completed_per_s: figures.completed_per_s,
            outcome: judgement.outcome,
            why: judgement.why,
            grade: report.verdict.grade,
            response: figures.main_latency().clone(),
            service: figures.latency.service.clone(),
        }
    }
}

impl Curve {
    /// The runs in order of rate.
    pub(super) fn sorted(&self) -> Vec<&Point> {
        let mut points: Vec<&Point> = self.points.iter().collect();
        points.sort_by(|a, b| a.offered_per_s.total_cmp(&b.offered_per_s));
        points
    }

    /// What was found, in words.
    pub(super) fn found(&self) -> String {
        let conditions = self.conditions.join(" and ");
        match self.found_per_s {
            _ if self.partial => "nothing: the search was not completed".into(),
            Some(rate) => format!("{} is the highest rate with {conditions}", show_rate(rate)),
            None => format!("no rate with {conditions}"),
        }
    }

    /// Where it is undecided, and what to do about it.
    pub(super) fn undecided(&self) -> Option<String> {
        let (rate, conditions) = (show_rate(self.undecided_per_s?), self.conditions.join(" and "));
        Some(format!(
            "at {rate} three runs did not show whether {conditions} holds: the table says why; if the runs are valid, measure \
             longer (--duration)"
        ))
    }

    /// As one JSON document.
    pub fn json(&self) -> String {
        json::document(self)
    }
}

/// The heads of the columns; the last is that of the outcome.
pub(super) fn heads(conditions: &str) -> [&str; 8] {
    [
        "offered",
        "completed",
        "p50",
        "p99",
        "p99.9",
        "max",
        "verdict",
        conditions,
    ]
}

impl Display for Curve {
    /// In order of rate.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let conditions = self.conditions.join(", ");
        let head = heads(&conditions);
        writeln!(f, "{}", table::row(&COLUMNS, &head))?;
        for point in self.sorted() {
            writeln!(f, "{point}")?;
        }
        writeln!(f, "found        {}", self.found())?;
        if let Some(undecided) = self.undecided() {
            writeln!(f, "undecided    {undecided}")?;
        }
        Ok(())
    }
}

impl Point {
    /// The cells of its row.
    pub(super) fn cells(&self) -> [String; 8] {
        let show = |ns: Option<u64>| ns.map_or("n/a".to_owned(), |ns| show_duration(Nanos(ns)));
        let response = &self.response;
        [
            show_rate(self.offered_per_s),
            show_rate(self.completed_per_s),
            show(response.p50_ns),
            show(response.p99_ns),
            show(response.p99_9_ns),
            show(response.max_ns),
            self.grade.to_string(),
            self.outcome.to_string() + if self.why.is_empty() { "" } else { ": " } + &self.why,
        ]
    }
}

impl Display for Point {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&table::row(&COLUMNS, &self.cells()))
    }
}
