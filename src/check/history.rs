//! A history of checks: where, over the commits, head shifted permanently, and whether it creeps.
//!
//! A check compares two versions, so changes below its threshold pass, one after the other. Two views of their row
//! (`report`) show them: change points of head's values, and the sum of the changes of consecutive checks. The values
//! are absolute, from days on which the machine was fast and days on which it was slow, so a change point shows where
//! to look and decides nothing; only checks with the same machine, version and load are in one row. Changes are ratios,
//! which do not depend on the day, and need the same load only.

mod page;
mod report;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::check::judge::{Metric, MetricVerdict, Verdict};
use crate::check::output::Summary;
use crate::error::{Error, Result};
use crate::output;
use crate::output::json::Lines;
use crate::stats::quantiles::student_t;
pub use report::{HISTORY_REPORT_SCHEMA, HistoryReport, SCHEMA as REPORT_SCHEMA};

/// Version of a line's JSON.
pub const SCHEMA: &str = "urecho.history/2";

/// JSON Schema (draft 2020-12) of a line.
pub const HISTORY_SCHEMA: &str = include_str!("history.schema.json");

/// One check of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Point {
    /// Name and version of this line's shape.
    pub schema: String,
    /// The version of head: a commit, or any name.
    pub label: String,
    /// The version of base, if it was named; otherwise it is that of the check before.
    #[serde(default)]
    pub base: Option<String>,
    /// Machine, version and loads in one line.
    pub conditions: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The values of head, in the unit of each metric.
    pub head: BTreeMap<Metric, f64>,
    /// The changes from base to head; empty if base was not measured together with head.
    #[serde(default)]
    pub changes: BTreeMap<Metric, Change>,
}

/// How head differs from base, as log ratios.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Change {
    /// The estimate, positive if head is worse.
    pub estimate: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// The smallest change that counts.
    pub threshold: f64,
    /// True if the metric gates.
    pub gates: bool,
}

/// The label of a check without one.
pub const UNNAMED: &str = "unnamed";

impl Change {
    /// Of a metric. None without an interval.
    fn of(verdict: &MetricVerdict, alpha: f64) -> Option<Change> {
        let score = |change: f64| verdict.metric.score_of_change(change);
        let (interval, threshold) = (verdict.interval?, verdict.threshold?);
        // The interval of signed ranks is about as wide as that of a mean.
        let quantile = student_t(alpha, verdict.restarts.checked_sub(1)?.max(1));
        let change = Change {
            estimate: score(verdict.change?),
            standard_error: (score(interval.high) - score(interval.low)).abs() / 2.0 / quantile,
            threshold: score(threshold).max(score(-threshold)),
            gates: verdict.gates,
        };
        change.is_valid().then_some(change)
    }

    fn is_valid(&self) -> bool {
        self.estimate.is_finite() && self.standard_error.is_finite() && self.standard_error >= 0.0
    }
}

impl Point {
    /// The line of a check.
    pub fn of(summary: &Summary, label: &str) -> Point {
        let figures = summary.judgement.metrics.iter();
        Point {
            schema: SCHEMA.into(),
            label: label.into(),
            base: None,
            conditions: summary.conditions.clone(),
            verdict: summary.judgement.verdict,
            head: figures
                .filter_map(|metric| Some((metric.metric, metric.head?)))
                .collect(),
            changes: BTreeMap::new(),
        }
    }

    /// With the changes from base, which was measured together with head, and its version if it was named.
    pub fn with_base(self, summary: &Summary, label: Option<String>) -> Point {
        let judgement = &summary.judgement;
        let changes = judgement.metrics.iter();
        Point {
            base: label,
            changes: changes
                .filter_map(|metric| Some((metric.metric, Change::of(metric, judgement.alpha)?)))
                .collect(),
            ..self
        }
    }

    /// As one line of JSON Lines.
    pub fn line(&self) -> String {
        output::json::line(self)
    }

    /// The part of the conditions that ratios depend on.
    fn loads(&self) -> &str {
        self.conditions.split_once("; ").map_or("", |(_machine, loads)| loads)
    }
}

/// Reads a history, without the lines that are torn off. Errors: [`Error::Usage`] if it is not one.
pub fn read(text: &str) -> Result<Lines<Point>> {
    let lines: Lines<Point> = output::json::parse_lines(text, SCHEMA)?;
    let points = &lines.whole;
    let mut figures = points.iter().flat_map(|point| &point.head);
    if let Some((metric, figure)) = figures.find(|&(metric, &figure)| metric.plausible(figure).is_none()) {
        return Err(Error::Usage(format!("invalid value {figure} of {metric}")));
    }
    let mut changes = points.iter().flat_map(|point| point.changes.values());
    match changes.find(|change| !change.is_valid()) {
        Some(change) => Err(Error::Usage(format!("invalid change {change:?}"))),
        None => Ok(lines),
    }
}

/// The last check and those that lead to it: the base of each is head of the one before, which is the latest one of
/// that name under the same load. In order of time.
fn chain(points: &[Point]) -> Vec<&Point> {
    let mut chain: Vec<&Point> = Vec::new();
    for point in points.iter().rev() {
        let follows = chain.last().is_none_or(|next| match &next.base {
            Some(base) => point.label == *base,
            // Without a name for base, the line before; but not an earlier check of the same head.
            None => point.label != next.label || point.label == UNNAMED,
        });
        if follows && points.last().is_some_and(|last| last.loads() == point.loads()) {
            chain.push(point);
        }
    }
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests;
