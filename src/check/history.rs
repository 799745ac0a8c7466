//! A history of checks: where, over the commits, a figure of head shifted permanently.
//!
//! A check compares two versions. Creep in steps below the threshold only shows in a history. Its figures are absolute,
//! from days on which the machine was fast and days on which it was slow, so it shows where to look and decides nothing.
//! Only checks of the same machine, version and load are compared. The method is in [`Search`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::check::judge::{Metric, Verdict};
use crate::check::output::Summary;
use crate::error::{Error, Result};
use crate::output;
use crate::stats::change_points::Search;
use crate::units::plural;

/// Version of a line's JSON.
pub const SCHEMA: &str = "urecho.history/2";

/// The search for change points.
const SEARCH: Search = Search {
    min_segment: 5, // Fewer checks on one side are a bad day.
    alpha: 0.01,
    permutations: 499, // More than the 99 that this alpha needs.
    seed: 1,           // The same file always gives the same result.
};

/// One check of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Name and version of this line's shape.
    pub schema: String,
    /// The version of head: a commit, or any name.
    pub label: String,
    /// Machine, version and loads in one line. Only checks with equal conditions are compared.
    pub conditions: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The values of head, in the unit of each metric.
    pub head: BTreeMap<Metric, f64>,
}

impl Point {
    /// The line of a check.
    pub fn of(summary: &Summary, label: &str) -> Point {
        let figures = summary.judgement.metrics.iter();
        Point {
            schema: SCHEMA.into(),
            label: label.into(),
            conditions: summary.conditions.clone(),
            verdict: summary.judgement.verdict,
            head: figures
                .filter_map(|metric| Some((metric.metric, metric.head?)))
                .collect(),
        }
    }

    /// As one line of JSON Lines.
    pub fn line(&self) -> String {
        output::json::line(self)
    }
}

/// Reads a history. Errors: [`Error::Usage`] if it is not one.
pub fn read(text: &str) -> Result<Vec<Point>> {
    let points: Vec<Point> = output::json::parse_lines(text, SCHEMA)?;
    let figures = || points.iter().flat_map(|point| point.head.values());
    match figures().find(|&&figure| figure <= 0.0) {
        Some(figure) => Err(Error::Usage(format!("invalid value {figure}: must be positive"))),
        None => Ok(points),
    }
}

/// The change points of a history, as text.
pub fn show(points: &[Point]) -> String {
    let Some(last) = points.last() else {
        return "no checks\n".into();
    };
    let (row, others): (Vec<&Point>, Vec<&Point>) =
        points.iter().partition(|point| point.conditions == last.conditions);
    let mut text = format!("{}: {}\n", plural(row.len() as u64, "check"), last.conditions);
    if !others.is_empty() {
        let skipped = plural(others.len() as u64, "check");
        text.push_str(&format!(
            "  {skipped} skipped: their machine, version or load differs from the last\n"
        ));
    }
    for metric in Metric::ALL {
        let row: Vec<(&Point, f64)> = row
            .iter()
            .filter_map(|&point| Some((point, *point.head.get(&metric)?)))
            .collect();
        if !row.is_empty() {
            text.push_str(&show_row(metric, &row));
        }
    }
    text.push_str(
        "A change point needs 5 checks on either side, and appears by chance in 1 metric of 100. The values depend on the \
         day: compare two versions with --base and --head before blaming a commit.\n",
    );
    text
}

fn show_row(metric: Metric, row: &[(&Point, f64)]) -> String {
    // Logarithms, so that doubling and halving are equally large.
    let logs: Vec<f64> = row.iter().map(|(_, figure)| figure.ln()).collect();
    let changes = SEARCH.change_points(&logs);
    if changes.is_empty() {
        return format!("  {metric:<11} no change in {}\n", plural(row.len() as u64, "check"));
    }
    let lines = changes.iter().map(|change| {
        let [before, after] = [change.before, change.after].map(f64::exp);
        let worse = metric.score(before, after) > 0.0;
        format!(
            "  {metric:<11} {} from {} on: {} to {} ({:+.1} %), p {:.3}\n",
            if worse { "worse" } else { "better" },
            row[change.at].0.label,
            metric.show(before),
            metric.show(after),
            (after / before - 1.0) * 100.0,
            change.p
        )
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(number: usize, p50: f64) -> Point {
        Point {
            schema: SCHEMA.into(),
            label: format!("commit-{number}"),
            conditions: "a machine".into(),
            verdict: Verdict::Passed,
            head: BTreeMap::from([(Metric::P50, p50)]),
        }
    }

    #[test]
    fn a_step_is_found_where_it_happened() {
        let variation = |number: usize| 1.0 + (number * 7 % 5) as f64 / 1_000.0;
        let step = |number: usize| if number < 12 { 80_000.0 } else { 84_000.0 };
        let points: Vec<Point> = (0..24)
            .map(|number| point(number, step(number) * variation(number)))
            .collect();
        let text = show(&points);
        assert!(text.contains("p50         worse from commit-12 on: 80"), "{text}");
        assert!(show(&points[..12]).contains("no change in 12 checks"));
        // The same step with another machine is not compared.
        let mut moved = points.clone();
        moved[..12]
            .iter_mut()
            .for_each(|point| point.conditions = "another".into());
        let text = show(&moved);
        assert!(
            text.contains("12 checks skipped") && text.contains("no change in 12 checks"),
            "{text}"
        );
        assert_eq!(show(&[]), "no checks\n");
    }

    #[test]
    fn a_point_is_read_as_it_was_written() {
        let points = [point(1, 80_000.0), point(2, 0.1 + 0.2)];
        let text: String = points.iter().map(Point::line).collect();
        assert_eq!(read(&text).unwrap(), points);
        assert!(read(&point(3, 0.0).line()).is_err(), "it has no logarithm");
    }
}
