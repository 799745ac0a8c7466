//! Many checks in a row: where, over the commits, a figure of head changed for good.
//!
//! A check compares two versions. What creeps, each step smaller than what matters, is seen in the row of them only. Such
//! a row is of absolute figures, from days on which the machine was fast and days on which it was slow: it shows where to
//! look, and decides nothing. Checks of another machine, version or load are no part of it. Where a row changed is for
//! [`Search`] to find.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::check::jsonl;
use crate::check::metric::Metric;
use crate::check::summary::Summary;
use crate::check::verdict::Verdict;
use crate::error::{Error, Result};
use crate::stats::change_points::Search;

/// The version of a line's shape.
pub const SCHEMA: &str = "urecho.trend/1";

/// How changes are searched for.
const SEARCH: Search = Search {
    min_segment: 5, // Fewer checks on one side are a bad day.
    alpha: 0.01,
    permutations: 499, // More than the 99 that this alpha needs.
    seed: 1,           // The same file shows the same changes.
};

/// One check of the row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// [`SCHEMA`].
    pub schema: String,
    /// Which version head was: a commit, or whatever it was called.
    pub label: String,
    /// On what, and under what: machine, version and loads, in a line. Only points that agree in it are compared.
    pub under: String,
    /// What was found.
    pub verdict: Verdict,
    /// Head's figures, each in the metric's unit.
    pub head: BTreeMap<Metric, f64>,
}

impl Point {
    /// What a check adds to the row.
    pub fn of(story: &Summary, label: &str) -> Point {
        let figures = story.judgement.metrics.iter();
        Point {
            schema: SCHEMA.into(),
            label: label.into(),
            under: story.under.clone(),
            verdict: story.judgement.verdict,
            head: figures
                .filter_map(|judged| Some((judged.metric, judged.head?)))
                .collect(),
        }
    }

    /// As a line of the file.
    pub fn line(&self) -> String {
        jsonl::line(self)
    }
}

/// Reads a file of points. Errors: [`Error::Usage`] if it is none.
pub fn read(text: &str) -> Result<Vec<Point>> {
    let points: Vec<Point> = jsonl::read(text, SCHEMA)?;
    let figures = || points.iter().flat_map(|point| point.head.values());
    match figures().find(|&&figure| figure <= 0.0) {
        Some(figure) => Err(Error::Usage(format!("no point has a figure of {figure}"))),
        None => Ok(points),
    }
}

/// What the row says, for people.
pub fn show(points: &[Point]) -> String {
    let Some(last) = points.last() else {
        return "no checks\n".into();
    };
    let (row, others): (Vec<&Point>, Vec<&Point>) = points.iter().partition(|point| point.under == last.under);
    let mut text = format!("{} checks in a row: {}\n", row.len(), last.under);
    if !others.is_empty() {
        text.push_str(&format!(
            "  {} others left out: of another machine, version or load than the last\n",
            others.len()
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
        "A change needs 5 checks on either side, and shows up by chance in 1 row of 100. BlockFigures are those of the \
         day: compare two versions with --base and --head before you blame one.\n",
    );
    text
}

fn show_row(metric: Metric, row: &[(&Point, f64)]) -> String {
    // Of logarithms, so that a doubling is as far as a halving.
    let logs: Vec<f64> = row.iter().map(|(_, figure)| figure.ln()).collect();
    let changes = SEARCH.change_points(&logs);
    if changes.is_empty() {
        return format!("  {metric:<11} no change in {} checks\n", row.len());
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
            under: "a machine".into(),
            verdict: Verdict::Passed,
            head: BTreeMap::from([(Metric::P50, p50)]),
        }
    }

    #[test]
    fn a_step_is_found_where_it_happened() {
        let luck = |number: usize| 1.0 + (number * 7 % 5) as f64 / 1_000.0;
        let step = |number: usize| if number < 12 { 80_000.0 } else { 84_000.0 };
        let points: Vec<Point> = (0..24)
            .map(|number| point(number, step(number) * luck(number)))
            .collect();
        let text = show(&points);
        assert!(text.contains("p50         worse from commit-12 on: 80"), "{text}");
        assert!(show(&points[..12]).contains("no change in 12 checks"));
        // The same step is none if it came with another machine.
        let mut moved = points.clone();
        moved[..12].iter_mut().for_each(|point| point.under = "another".into());
        let text = show(&moved);
        assert!(
            text.contains("12 others left out") && text.contains("no change in 12 checks"),
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
