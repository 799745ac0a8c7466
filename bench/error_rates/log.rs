//! The log of error rates: one line of JSON per check whose correct verdict was known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use urecho::check::judge::metric::ChangeInterval;
use urecho::check::judge::verdict::scores;
use urecho::check::judge::{Metric, MetricVerdict, Verdict};
use urecho::check::output::Check;
use urecho::check::record::StopReason;
use urecho::error::Result;
use urecho::output::json;
use urecho::report::Environment;
use urecho::sys::machine::Machine;

/// Version of a line's JSON.
pub(crate) const SCHEMA: &str = "urecho.error-rates/2";

/// Version of the lines that urecho 0.2 and 0.3 wrote.
const OLD_SCHEMA: &str = "urecho.proof/1";

/// One check whose correct verdict was known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// Name and version of this line's shape.
    pub(crate) schema: String,
    /// Where it ran, and with which build.
    pub(crate) environment: Environment,
    /// How head differed from base: `A/A` and `A/A'` for not at all, else the argument of `serve --fault`.
    pub(crate) treatment: String,
    /// True if a second load ran on the machine.
    pub(crate) second_load: bool,
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
    /// Time limit.
    pub(crate) budget_ns: u64,
    /// Blocks per restart, by load.
    pub(crate) blocks: BTreeMap<String, usize>,
    /// Length of a slice.
    pub(crate) slice_ns: u64,
    /// The values that each gating metric was judged by: one log ratio per restart that counts, positive if head is worse.
    /// The statistics can be done again from these.
    pub(crate) scores: BTreeMap<Metric, Vec<f64>>,
}

impl Line {
    /// The line of a check.
    pub(crate) fn of(check: &Check, treatment: &str, second_load: bool) -> Line {
        let (judgement, record) = (&check.judgement, &check.record);
        let loads = record.loads();
        let gate = record.settings.gate.iter();
        Line {
            schema: SCHEMA.into(),
            environment: record.environment.clone(),
            treatment: treatment.into(),
            second_load,
            verdict: judgement.verdict,
            metrics: judgement.metrics.clone(),
            restarts: record.restarts.len(),
            stop_reason: record.stop_reason,
            elapsed_ns: record.elapsed_ns,
            reasons: judgement.reasons.clone(),
            budget_ns: record.settings.budget_ns,
            blocks: loads
                .iter()
                .map(|load| (load.profile.name().to_owned(), load.blocks))
                .collect(),
            slice_ns: loads.first().map_or(0, |load| load.plan.duration_ns),
            scores: gate.map(|&metric| (metric, scores(record, metric))).collect(),
        }
    }

    /// True if base and head were the same program.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.treatment.starts_with("A/A")
    }

    /// The verdict of a metric.
    pub(crate) fn metric(&self, metric: Metric) -> Option<&MetricVerdict> {
        self.metrics.iter().find(|verdict| verdict.metric == metric)
    }
}

/// Reads a log, in which lines of the old version may come before those of the current one. Errors:
/// [`Error::Usage`](urecho::error::Error::Usage) at the first line that is neither.
pub(crate) fn read(text: &str) -> Result<Vec<Line>> {
    let is_old = |line: &&str| line.contains(OLD_SCHEMA);
    let old: Vec<&str> = text.lines().take_while(is_old).collect();
    let current: Vec<&str> = text.lines().skip_while(is_old).collect();
    let old: Vec<OldLine> = json::parse_lines(&old.join("\n"), OLD_SCHEMA)?;
    let mut lines: Vec<Line> = old.into_iter().map(Line::from).collect();
    lines.extend(json::parse_lines::<Line>(&current.join("\n"), SCHEMA)?);
    Ok(lines)
}

/// A line as urecho 0.2 and 0.3 wrote it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OldLine {
    #[expect(dead_code, reason = "checked before the line is read")]
    schema: String,
    environment: OldEnvironment,
    planted: String,
    competing: bool,
    verdict: Verdict,
    metrics: Vec<OldMetric>,
    restarts: usize,
    #[serde(rename = "ended")]
    stop_reason: StopReason,
    elapsed_ns: u64,
    reasons: Vec<String>,
    budget_ns: u64,
    blocks: BTreeMap<String, usize>,
    slice_ns: u64,
    scores: BTreeMap<Metric, Vec<f64>>,
}

#[derive(Deserialize)]
struct OldEnvironment {
    urecho: String,
    debug_build: bool,
    #[serde(flatten)]
    machine: Machine,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OldMetric {
    metric: Metric,
    gates: bool,
    verdict: Verdict,
    base: Option<f64>,
    head: Option<f64>,
    change: Option<f64>,
    interval: Option<(f64, f64)>,
    #[serde(rename = "matters")]
    threshold: Option<f64>,
    restarts: usize,
    of: usize,
    could_have_seen: Option<f64>,
    why: Option<String>,
}

impl From<OldLine> for Line {
    fn from(old: OldLine) -> Line {
        Line {
            schema: SCHEMA.into(),
            environment: Environment {
                urecho: old.environment.urecho,
                commit: None,
                profile: None,
                debug_build: old.environment.debug_build,
                command: Vec::new(),
                machine: old.environment.machine,
            },
            treatment: old.planted,
            second_load: old.competing,
            verdict: old.verdict,
            metrics: old.metrics.into_iter().map(MetricVerdict::from).collect(),
            restarts: old.restarts,
            stop_reason: old.stop_reason,
            elapsed_ns: old.elapsed_ns,
            reasons: old.reasons,
            budget_ns: old.budget_ns,
            blocks: old.blocks,
            slice_ns: old.slice_ns,
            scores: old.scores,
        }
    }
}

impl From<OldMetric> for MetricVerdict {
    fn from(old: OldMetric) -> MetricVerdict {
        MetricVerdict {
            metric: old.metric,
            gates: old.gates,
            verdict: old.verdict,
            base: old.base,
            head: old.head,
            change: old.change,
            interval: old.interval.map(|(low, high)| ChangeInterval { low, high }),
            threshold: old.threshold,
            restarts: old.restarts,
            of: old.of,
            detectable: old.could_have_seen,
            why: old.why,
        }
    }
}
