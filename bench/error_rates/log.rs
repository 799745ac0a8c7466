//! The log of error rates: two lines of JSON per check whose correct verdict was known, one when it begins and one when
//! it ends. A check that never ended is in the log as well.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use urecho::check::judge::verdict::scores;
use urecho::check::judge::{Metric, MetricVerdict, Verdict};
use urecho::check::output::Check;
use urecho::check::record::{Settings, Setup, StopReason};
use urecho::error::{Error, Result};
use urecho::output::json;
use urecho::report::Environment;

/// Version of a line's JSON.
pub(crate) const SCHEMA: &str = "urecho.error-rates/3";

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Name and version of this line's shape.
    pub(crate) schema: String,
    /// The check it belongs to: its seed.
    pub(crate) seed: u64,
    /// What happened.
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// The beginning or the end of a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event {
    Begin(Box<Begin>),
    End(Box<End>),
}

/// What is known when a check begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Begin {
    /// Seconds since 1970.
    pub(crate) at_s: u64,
    /// Where it runs, and with which build.
    pub(crate) environment: Environment,
    /// How head differs from base.
    pub(crate) treatment: String,
    /// True if a second load runs on the machine.
    pub(crate) second_load: bool,
    /// Arguments of the check apart from base, head, seed and output.
    pub(crate) arguments: Vec<String>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct End {
    /// What was fixed in advance: budget, restarts, error, method, gate, thresholds.
    pub(crate) settings: Settings,
    /// The loads; null if base failed at once.
    pub(crate) setup: Option<Setup>,
    /// The verdict.
    pub(crate) verdict: Verdict,
    /// The verdict of each metric.
    pub(crate) metrics: Vec<MetricVerdict>,
    /// Restarts done.
    pub(crate) restarts: usize,
    /// Why there were no more.
    pub(crate) stop_reason: StopReason,
    /// Length of the check.
    pub(crate) elapsed_ns: u64,
    /// Why the verdict is what it is.
    pub(crate) reasons: Vec<String>,
    /// The values that each gating metric was judged by: one log ratio per restart that counts, positive if head is
    /// worse. The statistics can be done again from these.
    pub(crate) scores: BTreeMap<Metric, Vec<f64>>,
}

impl Line {
    pub(crate) fn new(seed: u64, event: Event) -> Line {
        Line {
            schema: SCHEMA.into(),
            seed,
            event,
        }
    }
}

impl End {
    /// The end of a check.
    pub(crate) fn of(check: &Check) -> End {
        let (judgement, record) = (&check.judgement, &check.record);
        let gate = record.settings.gate.iter();
        End {
            settings: record.settings.clone(),
            setup: record.setup.clone(),
            verdict: judgement.verdict,
            metrics: judgement.metrics.clone(),
            restarts: record.restarts.len(),
            stop_reason: record.stop_reason,
            elapsed_ns: record.elapsed_ns,
            reasons: judgement.reasons.clone(),
            scores: gate.map(|&metric| (metric, scores(record, metric))).collect(),
        }
    }

    /// The verdict of a metric.
    pub(crate) fn metric(&self, metric: Metric) -> Option<&MetricVerdict> {
        self.metrics.iter().find(|verdict| verdict.metric == metric)
    }

    /// False if it was interrupted, or a server failed: it has no answer then.
    pub(crate) fn is_complete(&self) -> bool {
        self.stop_reason != StopReason::Interrupted && self.verdict != Verdict::Failed
    }
}

/// One check whose correct verdict was known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// How it began.
    pub(crate) begin: Begin,
    /// How it ended; none if the log has no end of it.
    pub(crate) end: Option<End>,
}

impl Entry {
    /// True if base and head were the same program.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.begin.treatment.starts_with("A/A")
    }
}

/// Reads a log. Errors: [`Error::Usage`] at the first line that is not one of it, and at an end without a beginning.
pub(crate) fn read(text: &str) -> Result<Vec<Entry>> {
    let mut entries: Vec<(u64, Entry)> = Vec::new();
    for line in json::parse_lines::<Line>(text, SCHEMA)?.whole {
        match line.event {
            Event::Begin(begin) => entries.push((
                line.seed,
                Entry {
                    begin: *begin,
                    end: None,
                },
            )),
            Event::End(end) => {
                let mut open = entries.iter_mut().rev();
                let (_, entry) = open
                    .find(|(seed, entry)| *seed == line.seed && entry.end.is_none())
                    .ok_or_else(|| {
                        Error::Usage(format!("the log has an end without a beginning: seed {}", line.seed))
                    })?;
                entry.end = Some(*end);
            }
        }
    }
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}
