//! What a history shows: change points and creep of each metric, as text and as JSON.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::{Change, Point, chain};
use crate::check::judge::{Metric, Verdict};
use crate::error::{self, Outcome};
use crate::output;
use crate::stats::signed_rank::ConfidenceInterval;
use crate::stats::{change_points, creep};
use crate::units::{plural, show_change, show_percent};

/// Version of the report's JSON.
pub const SCHEMA: &str = "urecho.history-report/2";

/// JSON Schema (draft 2020-12) of the report.
pub const HISTORY_REPORT_SCHEMA: &str = include_str!("../history-report.schema.json");

/// What a history shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryReport {
    /// Name and version of this document's shape.
    pub schema: &'static str,
    /// Machine, version and loads of the last check; null if there are no checks.
    pub conditions: Option<String>,
    /// Checks with these conditions: the row of the change points.
    pub checks: usize,
    /// Checks with other conditions.
    pub skipped: usize,
    /// Consecutive checks up to the last, whose changes are added up.
    pub consecutive: usize,
    /// Each metric that was measured.
    pub metrics: Vec<MetricHistory>,
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MetricHistory {
    /// The metric.
    pub metric: Metric,
    /// Checks that measured it.
    pub checks: usize,
    /// Where its level shifted, in order of time.
    pub change_points: Vec<Shift>,
    /// The sum of the last changes; null for too few.
    pub creep: Option<Creep>,
}

/// A permanent shift.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Shift {
    /// The first version after it.
    pub from: String,
    /// The version whose check showed it.
    pub found_at: String,
    /// True if it is for the worse.
    pub worse: bool,
    /// Median before, in the metric's unit.
    pub before: f64,
    /// Median after.
    pub after: f64,
}

/// The sum of the changes of consecutive checks that did not end as REGRESSED, over the range in which it is
/// most clearly a creep, or over all.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Creep {
    /// The first version in it.
    pub from: String,
    /// Changes in it.
    pub changes: usize,
    /// The sum as a relative change: 0.03 is 3 % more.
    pub change: f64,
    /// Ends of its confidence interval, which holds for all analyses together.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// True if the metric gated in the last of the checks.
    pub gates: bool,
    /// True if it is significantly worse, by at least the threshold of the last check.
    pub alarm: bool,
}

impl HistoryReport {
    /// Of checks in order of time.
    pub fn of(points: &[Point]) -> HistoryReport {
        let conditions = points.last().map(|last| last.conditions.clone());
        let row: Vec<&Point> = points
            .iter()
            .filter(|point| Some(&point.conditions) == conditions.as_ref())
            .collect();
        let chain = chain(points);
        let metrics = Metric::ALL.into_iter().filter_map(|metric| {
            let values: Vec<(&str, f64)> = row
                .iter()
                .filter_map(|point| Some((point.label.as_str(), *point.head.get(&metric)?)))
                .collect();
            (!values.is_empty()).then(|| MetricHistory {
                metric,
                checks: values.len(),
                change_points: shifts(metric, &values),
                creep: creep(metric, &chain),
            })
        });
        HistoryReport {
            schema: SCHEMA,
            metrics: metrics.collect(),
            conditions,
            checks: row.len(),
            skipped: points.len() - row.len(),
            consecutive: chain.len(),
        }
    }

    /// As one JSON document.
    pub fn json(&self) -> String {
        output::json::document(self)
    }

    /// 1 if a metric that gates creeps. Change points depend on the day, so they fail nothing.
    pub fn exit_code(&self) -> u8 {
        let mut creeps = self.metrics.iter().filter_map(|metric| metric.creep.as_ref());
        let creeps = creeps.any(|creep| creep.gates && creep.alarm);
        error::exit_code(creeps.then_some(Outcome::ConditionFailed))
    }
}

fn shifts(metric: Metric, values: &[(&str, f64)]) -> Vec<Shift> {
    // Logarithms, so that doubling and halving are equally large.
    let logs: Vec<f64> = values.iter().map(|&(_, figure)| metric.log(figure)).collect();
    let changes = change_points::change_points(&logs).into_iter().map(|change| {
        let [before, after] = [change.before, change.after].map(|log| metric.of_log(log));
        Shift {
            from: values[change.at].0.into(),
            found_at: values[change.found_at].0.into(),
            worse: metric.score(before, after) > 0.0,
            before,
            after,
        }
    });
    changes.collect()
}

fn creep(metric: Metric, chain: &[&Point]) -> Option<Creep> {
    // A regression was reported by its check.
    let passed = chain.iter().filter(|point| point.verdict != Verdict::Regressed);
    let changes: Vec<(&str, Change)> = passed
        .filter_map(|point| Some((point.label.as_str(), *point.changes.get(&metric)?)))
        .collect();
    let estimates: Vec<creep::Change> = changes
        .iter()
        .map(|(_, change)| creep::Change {
            estimate: change.estimate,
            standard_error: change.standard_error,
        })
        .collect();
    let sum = creep::clearest_sum(&estimates)?;
    let (_, last) = changes.last()?;
    let ends = metric.change_interval(ConfidenceInterval::around(sum.total, sum.half_width));
    Some(Creep {
        from: changes[sum.from].0.into(),
        changes: changes.len() - sum.from,
        change: metric.change(sum.total),
        low: ends.low,
        high: ends.high,
        gates: last.gates,
        alarm: sum.is_creep && sum.total >= last.threshold,
    })
}

impl Display for HistoryReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(conditions) = &self.conditions else {
            return writeln!(f, "no checks");
        };
        writeln!(f, "{}: {conditions}", plural(self.checks as u64, "check"))?;
        if self.skipped > 0 {
            let skipped = plural(self.skipped as u64, "check");
            writeln!(
                f,
                "  {skipped} skipped: their machine, version or load differs from the last"
            )?;
        }
        for metric in &self.metrics {
            metric.write_shifts(f)?;
        }
        let consecutive = plural(self.consecutive as u64, "consecutive check");
        writeln!(f, "{consecutive}, their changes added up:")?;
        for metric in &self.metrics {
            metric.write_creep(f)?;
        }
        writeln!(
            f,
            "In {} checks without a change, each metric has at most a {} chance of a false change point, and the same of a \
             false creep. Change points depend on the day: compare two versions with --base and --head before blaming a \
             commit.",
            change_points::HORIZON,
            show_percent(change_points::ALPHA, 1)
        )
    }
}

impl MetricHistory {
    fn write_shifts(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let metric = self.metric;
        if self.change_points.is_empty() {
            return writeln!(
                f,
                "  {metric:<11} no change point in {}",
                plural(self.checks as u64, "check")
            );
        }
        self.change_points.iter().try_for_each(|shift| {
            writeln!(
                f,
                "  {metric:<11} {} from {} on: {} to {} ({}), found at {}",
                if shift.worse { "worse" } else { "better" },
                shift.from,
                metric.show(shift.before),
                metric.show(shift.after),
                show_change(shift.after / shift.before - 1.0),
                shift.found_at
            )
        })
    }

    fn write_creep(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let metric = self.metric;
        let Some(creep) = &self.creep else {
            let needed = creep::CHANGES_MIN;
            return writeln!(f, "  {metric:<11} fewer than {needed} changes that passed");
        };
        let verdict = match (creep.alarm, creep.gates) {
            (true, true) => "CREEP",
            (true, false) => "(creep)",
            (false, _) => "no creep",
        };
        writeln!(
            f,
            "  {metric:<11} {} in {} from {} on, confidence interval {} .. {}: {verdict}",
            show_change(creep.change),
            plural(creep.changes as u64, "change"),
            creep.from,
            show_change(creep.low),
            show_change(creep.high)
        )
    }
}
