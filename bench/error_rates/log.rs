//! How often a check is wrong: a log of checks whose right answer is known, and a [`page`](page()) made from it.
//!
//! A line of the log is a check of two things alike (A/A: the same command twice; A/A': the same program laid out
//! differently in memory) or of a planted slowdown.

mod page;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::jsonl;
use crate::check::metric::Metric;
use crate::check::record::Ended;
use crate::check::report::Check;
use crate::check::verdict::{self, Judged, Verdict};
use crate::error::Result;

pub use page::page;

/// The version of a line's shape.
pub const SCHEMA: &str = "urecho.proof/1";

/// One check whose right answer was known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`SCHEMA`].
    pub schema: String,
    /// Where it ran, and with which build.
    pub environment: Value,
    /// What was planted in head: `A/A` and `A/A'` for nothing, else what `serve --fault` takes.
    pub planted: String,
    /// True if a second load ran beside it.
    pub competing: bool,
    /// What it found.
    pub verdict: Verdict,
    /// Of each metric.
    pub metrics: Vec<Judged>,
    /// Restarts it took, why there were no more, and the time.
    pub restarts: usize,
    /// See `restarts`.
    pub ended: Ended,
    /// See `restarts`.
    pub elapsed_ns: u64,
    /// Why it is what it is.
    pub reasons: Vec<String>,
    /// How it was measured: how long all might take, blocks of each load in a restart, and how long a
    /// slice was.
    pub budget_ns: u64,
    /// See `budget_ns`.
    pub blocks: BTreeMap<String, usize>,
    /// See `budget_ns`.
    pub slice_ns: u64,
    /// For each metric that decides, what it was judged by: a log-ratio for each restart that counts, positive where
    /// head is worse. With these the statistics can be done again.
    pub scores: BTreeMap<Metric, Vec<f64>>,
}

impl Outcome {
    /// What a check came to.
    pub fn of(check: &Check, planted: &str, competing: bool) -> Outcome {
        let (judgement, record) = (&check.judgement, &check.record);
        Outcome {
            schema: SCHEMA.into(),
            environment: record.environment.clone(),
            planted: planted.into(),
            competing,
            verdict: judgement.verdict,
            metrics: judgement.metrics.clone(),
            restarts: record.restarts.len(),
            ended: record.ended,
            elapsed_ns: record.elapsed_ns,
            reasons: judgement.reasons.clone(),
            budget_ns: record.terms.budget_ns,
            blocks: record
                .terms
                .loads
                .iter()
                .map(|load| (load.profile.name().to_owned(), load.blocks))
                .collect(),
            slice_ns: record
                .terms
                .loads
                .first()
                .map_or(0, |load| load.plan["duration_ns"].as_u64().unwrap_or_default()),
            scores: record
                .terms
                .gate
                .iter()
                .map(|&metric| (metric, verdict::scores(record, metric)))
                .collect(),
        }
    }

    /// As a line of the log.
    pub fn line(&self) -> String {
        jsonl::line(self)
    }

    fn is_alike(&self) -> bool {
        self.planted.starts_with("A/A")
    }

    fn of_metric(&self, metric: Metric) -> Option<&Judged> {
        self.metrics.iter().find(|judged| judged.metric == metric)
    }
}

/// Reads a log. Errors: [`Error::Usage`](crate::error::Error::Usage) at the first line that is none of its.
pub fn read(log: &str) -> Result<Vec<Outcome>> {
    jsonl::read(log, SCHEMA)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixtures::{ALIKE, record};

    #[test]
    fn a_log_is_read_as_it_was_written() {
        let check = Check::of(record(12, &ALIKE));
        let log = [Outcome::of(&check, "A/A", false), Outcome::of(&check, "spin=1us", true)];
        let text: String = log.iter().map(Outcome::line).collect();
        assert_eq!(read(&text).unwrap(), log);
    }
}
