//! The rate-latency curve of a search, as JSON and as a table.

use std::fmt::{self, Display, Formatter};

#[cfg(test)]
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Nanos;
use crate::output::json;
use crate::output::table::Column::{Left, Right};
use crate::output::table::{self, Column};
use crate::report::validity::Grade;
use crate::report::{Distribution, Report};
use crate::units::{show_duration, show_rate};

/// Version of the curve's JSON.
pub const SCHEMA: &str = "urecho.find-max/2";

/// The JSON Schema (draft 2020-12) that every curve satisfies.
pub const FIND_MAX_SCHEMA: &str = include_str!("find-max.schema.json");

/// Result of `urecho find-max`: the highest rate at which a condition held, and all rates tried.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// Name and version of this document's shape.
    pub schema: &'static str,
    /// The condition, `p99 < 1ms`.
    pub condition: String,
    /// The highest rate that held twice, in messages per second; null if none did.
    pub found_per_s: Option<f64>,
    /// True if the search was interrupted.
    pub partial: bool,
    /// All rates tried, in order of trying.
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
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Offered messages per second.
    pub offered_per_s: f64,
    /// Completed messages per second.
    pub completed_per_s: f64,
    /// True if the condition held over the whole 95 % confidence interval, and the run was not INVALID.
    pub held: bool,
    /// How far the run can be trusted.
    pub grade: Grade,
    /// Response time.
    pub response: Distribution,
    /// Service time.
    pub service: Distribution,
}

impl Point {
    /// The outcome of a run at this rate.
    pub fn of(rate: f64, held: bool, report: &Report) -> Point {
        let figures = &report.figures;
        Point {
            offered_per_s: rate,
            completed_per_s: figures.completed_per_s,
            held,
            grade: report.verdict.grade,
            response: figures.main_latency().clone(),
            service: figures.latency.service.clone(),
        }
    }
}

impl Curve {
    /// As one JSON document.
    pub fn json(&self) -> String {
        json::document(self)
    }
}

impl Display for Curve {
    /// In order of rate.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let head = [
            "offered",
            "completed",
            "p50",
            "p99",
            "p99.9",
            "max",
            "verdict",
            &self.condition,
        ];
        writeln!(f, "{}", table::row(&COLUMNS, &head))?;
        let mut points: Vec<&Point> = self.points.iter().collect();
        points.sort_by(|a, b| a.offered_per_s.total_cmp(&b.offered_per_s));
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
        let show = |ns: Option<u64>| ns.map_or("n/a".to_owned(), |ns| show_duration(Nanos(ns)));
        let response = &self.response;
        let cells = [
            show_rate(self.offered_per_s),
            show_rate(self.completed_per_s),
            show(response.p50_ns),
            show(response.p99_ns),
            show(response.p99_9_ns),
            show(response.max_ns),
            self.grade.to_string(),
            if self.held { "holds" } else { "does not hold" }.to_owned(),
        ];
        f.write_str(&table::row(&COLUMNS, &cells))
    }
}
