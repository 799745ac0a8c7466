//! The verdict of a record: one for each metric, and one over those that gate.
//!
//! A metric that the interim analysis decides stays decided, and is shown as it was then.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decision::{self, Analysis, Decision};
use super::metric::{ChangeInterval, Metric};
use super::noise;
use super::sample::{RestartValue, Sample, missing, signs, values};
use super::warm_up;
use crate::check::record::{Block, Load, Record, Settings, StopReason};
use crate::compare::comparison::BACKGROUND_CPU_RATIO_MAX;
use crate::compare::{BlockFigures, bottleneck, quotas};
use crate::error::{self, Outcome};
use crate::report::validity::bottleneck::Bottleneck;
use crate::stats::median;
use crate::units::show_percent;

/// Head compared with base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Significantly worse, by at least the threshold.
    Regressed,
    /// Significantly better, by at least the threshold.
    Improved,
    /// Not worse by the threshold or more.
    Passed,
    /// Undecided.
    Inconclusive,
    /// A server failed, so there is nothing to compare. Only for a whole check.
    Failed,
}

impl Verdict {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Regressed => "REGRESSED",
            Verdict::Improved => "IMPROVED",
            Verdict::Passed => "PASSED",
            Verdict::Inconclusive => "INCONCLUSIVE",
            Verdict::Failed => "FAILED",
        }
    }
}

/// The judgement of a whole check.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// The worst verdict among the gating metrics.
    pub verdict: Verdict,
    /// The exit code.
    pub exit_code: u8,
    /// Why, in one sentence each.
    pub reasons: Vec<String>,
    /// One-sided error of each metric at each analysis.
    pub alpha: f64,
    /// All metrics that were measured, gating or not.
    pub metrics: Vec<MetricVerdict>,
}

/// The verdict of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MetricVerdict {
    /// The metric.
    pub metric: Metric,
    /// True if it gates.
    pub gates: bool,
    /// Head compared with base.
    pub verdict: Verdict,
    /// Median of base over the restarts that count, in the metric's unit; null if none counts.
    pub base: Option<f64>,
    /// Median of head over the restarts that count.
    pub head: Option<f64>,
    /// Estimated relative change of head: 0.03 is 3 % more.
    pub change: Option<f64>,
    /// Interval of the change.
    pub interval: Option<ChangeInterval>,
    /// The threshold as a relative change, without a sign.
    pub threshold: Option<f64>,
    /// Restarts that count.
    pub restarts: usize,
    /// Restarts at the analysis that decided.
    pub of: usize,
    /// If inconclusive: the smallest change for the worse that would have been detected, without a sign.
    pub detectable: Option<f64>,
    /// If inconclusive: the cause, unless it is chance.
    pub why: Option<String>,
}

/// Judges a complete record.
pub fn judge(record: &Record) -> Judgement {
    let sample = Sample::of(record);
    let measured = Metric::ALL
        .into_iter()
        .filter(|&metric| Load::measure(record.loads(), metric));
    let metrics = measured.map(|metric| judge_metric(sample, metric));
    let not_idle = not_idle(record);
    let metrics: Vec<MetricVerdict> = match not_idle {
        Some(_) => metrics
            .map(|metric| match metric.metric {
                Metric::IdleCpu | Metric::Memory => metric,
                _ => metric.inconclusive("one side slows the other down".into()),
            })
            .collect(),
        None => metrics.collect(),
    };
    let failures: Vec<Outcome> = [&record.base, &record.head]
        .into_iter()
        .filter_map(|side| Some(Outcome::Failed(side.failure.as_ref()?.exit_code)))
        .collect();
    let verdict = match failures.as_slice() {
        [] => overall(&metrics, &record.settings.gate),
        _ => Verdict::Failed,
    };
    Judgement {
        verdict,
        exit_code: error::exit_code(failures.into_iter().chain(match verdict {
            Verdict::Regressed => Some(Outcome::ConditionFailed),
            Verdict::Inconclusive => record.settings.inconclusive.outcome(),
            Verdict::Improved | Verdict::Passed | Verdict::Failed => None,
        })),
        reasons: reasons(record, &metrics, not_idle, verdict),
        alpha: sample.settings.alpha_of_a_metric(),
        metrics,
    }
}

/// True if the interim analysis is conclusive: a gating metric regressed, or none is inconclusive.
pub fn can_stop_early(sample: Sample<'_>) -> bool {
    let interim = |&metric| analyse(sample.first(sample.settings.interim_restarts), metric).verdict;
    let verdicts: Vec<Verdict> = sample.settings.gate.iter().map(interim).collect();
    verdicts.contains(&Verdict::Regressed) || !verdicts.contains(&Verdict::Inconclusive)
}

/// CPU that base and head used while the other had the traffic, if they differ and share a CPU: one of them then
/// appears slower than it is.
fn not_idle(record: &Record) -> Option<(f64, f64)> {
    let ratio = |side: fn(&Block) -> &BlockFigures| {
        let idle = record.blocks().filter_map(|block| side(block).background_cpu_ratio);
        median(&idle.collect::<Vec<f64>>())
    };
    let (base, head) = (ratio(|block| &block.base)?, ratio(|block| &block.head)?);
    let mut generator = record.loads().iter().flat_map(|load| &load.plan.cpus);
    let server_cpus = &record.settings.server_cpus;
    let crowded = server_cpus.len() < 2 || generator.any(|cpu| server_cpus.contains(cpu));
    (crowded && (base - head).abs() > BACKGROUND_CPU_RATIO_MAX).then_some((base, head))
}

/// The values that a metric is judged by: one log ratio per restart that counts, positive if head is worse.
pub fn scores(record: &Record, metric: Metric) -> Vec<f64> {
    let values = values(Sample::of(record), metric);
    values
        .iter()
        .filter_map(|value| Some(value.as_ref().ok()?.score))
        .collect()
}

/// The worst verdict among gating metrics. Inconclusive if one of them was not measured, or none gates.
pub(in crate::check) fn overall(metrics: &[MetricVerdict], gate: &[Metric]) -> Verdict {
    let gating: Vec<Verdict> = metrics
        .iter()
        .filter(|metric| metric.gates)
        .map(|metric| metric.verdict)
        .collect();
    if gate.is_empty() || gating.len() < gate.len() {
        return Verdict::Inconclusive;
    }
    let worst_first = [Verdict::Regressed, Verdict::Inconclusive, Verdict::Improved];
    worst_first
        .into_iter()
        .find(|verdict| gating.contains(verdict))
        .unwrap_or(Verdict::Passed)
}

fn judge_metric(sample: Sample<'_>, metric: Metric) -> MetricVerdict {
    let restarts = sample.restarts.len();
    let first = sample.settings.interim_restarts;
    if sample.settings.restarts > first && restarts >= first {
        let interim = analyse(sample.first(first), metric);
        if restarts == first || interim.verdict != Verdict::Inconclusive {
            return interim;
        }
    }
    analyse(sample, metric)
}

/// One analysis of one metric.
fn analyse(sample: Sample<'_>, metric: Metric) -> MetricVerdict {
    let all = values(sample, metric);
    let values: Vec<&RestartValue> = all.iter().filter_map(|value| value.as_ref().ok()).collect();
    let middle = |of: fn(&RestartValue) -> f64| median(&values.iter().map(|&value| of(value)).collect::<Vec<_>>());
    let figures = Figures {
        base: middle(|value| value.base),
        head: middle(|value| value.head),
        restarts: values.len(),
        of: sample.restarts.len(),
    };
    let Some(base) = figures.base else {
        return MetricVerdict::without_estimate(metric, sample.settings, figures, missing(&all));
    };
    let effect = metric.effect(sample.settings.threshold(metric), base);
    let scores: Vec<f64> = values.iter().map(|value| value.score).collect();
    let finding = decision::decide(&scores, effect, sample.settings.alpha_of_a_metric());
    let verdict = MetricVerdict::of(metric, sample.settings, figures, &finding, effect);
    if !noise::enough(figures.restarts, figures.of) {
        verdict.inconclusive(missing(&all))
    } else if verdict.interval.is_none() {
        verdict.inconclusive(too_few(figures.restarts, sample.settings.alpha_of_a_metric()))
    } else if metric == Metric::Throughput
        && verdict.verdict == Verdict::Passed
        && let Some(bottleneck) = bottleneck_of(sample)
    {
        verdict.inconclusive(format!(
            "limited by the generator, whose busiest thread used {} of a CPU",
            show_percent(bottleneck.generator, 0)
        ))
    } else {
        verdict
    }
}

/// If the generator limited the throughput of both.
fn bottleneck_of(sample: Sample<'_>) -> Option<Bottleneck> {
    let blocks = sample.restarts.iter().filter_map(|restart| restart.closed.as_ref());
    let blocks = blocks.flat_map(|load| &load.blocks);
    let sides: Vec<&BlockFigures> = blocks.flat_map(|block| [&block.base, &block.head]).collect();
    bottleneck::of_blocks(&sides, sample.settings.server_cpus.len())
}

/// The figures of a metric, before statistics.
#[derive(Debug, Clone, Copy)]
pub(in crate::check) struct Figures {
    /// Medians over restarts.
    pub(in crate::check) base: Option<f64>,
    pub(in crate::check) head: Option<f64>,
    /// Restarts that count, of all.
    pub(in crate::check) restarts: usize,
    pub(in crate::check) of: usize,
}

impl MetricVerdict {
    /// From a finding; `effect` is the threshold as a score.
    pub(in crate::check) fn of(
        metric: Metric,
        settings: &Settings,
        figures: Figures,
        finding: &Analysis,
        effect: f64,
    ) -> MetricVerdict {
        let size = |effect: f64| metric.change(effect).abs();
        let (verdict, detectable) = match finding.decision {
            Decision::Regressed => (Verdict::Regressed, None),
            Decision::Improved => (Verdict::Improved, None),
            Decision::Passed => (Verdict::Passed, None),
            Decision::Inconclusive { detectable } => (Verdict::Inconclusive, detectable.map(size)),
        };
        let interval = finding.estimate.and_then(|estimate| estimate.interval);
        MetricVerdict {
            metric,
            gates: settings.gate.contains(&metric),
            verdict,
            base: figures.base,
            head: figures.head,
            change: finding.estimate.map(|estimate| metric.change(estimate.location)),
            interval: interval.map(|ends| metric.change_interval(ends)),
            threshold: Some(size(effect)),
            restarts: figures.restarts,
            of: figures.of,
            detectable,
            why: None,
        }
    }

    /// Without a value to estimate from.
    pub(in crate::check) fn without_estimate(
        metric: Metric,
        settings: &Settings,
        figures: Figures,
        why: String,
    ) -> MetricVerdict {
        MetricVerdict {
            metric,
            gates: settings.gate.contains(&metric),
            verdict: Verdict::Inconclusive,
            base: figures.base,
            head: figures.head,
            change: None,
            interval: None,
            threshold: None,
            restarts: figures.restarts,
            of: figures.of,
            detectable: None,
            why: Some(why),
        }
    }

    /// The same figures, without a conclusion.
    pub(in crate::check) fn inconclusive(self, why: String) -> MetricVerdict {
        MetricVerdict {
            verdict: Verdict::Inconclusive,
            detectable: None,
            why: Some(why),
            ..self
        }
    }
}

fn too_few(restarts: usize, alpha: f64) -> String {
    let needed = decision::restarts_needed(alpha);
    format!("too few restarts for an interval: {restarts} of {needed}")
}

/// A note on a machine that was busy all the time. No block was dropped for it, because servers may cause it
/// themselves.
fn busy(record: &Record) -> Option<String> {
    let blocks: Vec<Block> = record.blocks().copied().collect();
    let typical = noise::typical_pressure(&signs(&blocks, Sample::of(record).cpus));
    (typical > noise::PRESSURE_EXCESS_MAX).then(|| {
        format!(
            "some thread waited for a CPU {} of the time (pressure): other programs, or a server with more threads than \
             CPUs",
            show_percent(typical, 0)
        )
    })
}

fn reasons(record: &Record, metrics: &[MetricVerdict], not_idle: Option<(f64, f64)>, verdict: Verdict) -> Vec<String> {
    let sides = [("base", &record.base), ("head", &record.head)];
    let failures = sides.into_iter().filter_map(|(name, side)| {
        let failure = side.failure.as_ref()?;
        let how = match failure.exit_code {
            4 | 70 => "could not be measured",
            _ => "failed",
        };
        let when = match failure.restart {
            0 => "in its capacity run".to_owned(),
            restart => format!("in restart {restart}"),
        };
        Some(format!("{name} {how} {when}: {}", failure.what))
    });
    let mut reasons: Vec<String> = failures.collect();
    reasons.extend(not_idle.map(|(base, head)| {
        let [base, head] = [base, head].map(|share| show_percent(share, 0));
        format!(
            "base used {base} and head {head} of a CPU while the other had the traffic, and slowed it down: give the \
             servers more CPUs with --server-pin"
        )
    }));
    reasons.extend(quotas::used_up(&[
        ("base", record.blocks().map(|block| &block.base).collect()),
        ("head", record.blocks().map(|block| &block.head).collect()),
    ]));
    match record.stop_reason {
        StopReason::Budget => reasons.push(format!(
            "the budget ended after {} of {} restarts",
            record.restarts.len(),
            record.settings.restarts
        )),
        StopReason::Interrupted => reasons.push("interrupted".into()),
        StopReason::Decided | StopReason::Restarts | StopReason::Failed => {}
    }
    let ungated = metrics
        .iter()
        .filter(|metric| !metric.gates && metric.verdict == Verdict::Regressed);
    reasons.extend(ungated.map(|metric| format!("{} is worse, and does not gate", metric.metric)));
    reasons.extend(warm_up::drifts(Sample::of(record)));
    if verdict == Verdict::Inconclusive {
        reasons.extend(busy(record));
        let of_metric = |metric: &MetricVerdict| Some(format!("{}: {}", metric.metric, metric.why.as_ref()?));
        reasons.extend(metrics.iter().filter(|metric| metric.gates).filter_map(of_metric));
    }
    reasons
}

#[cfg(test)]
mod tests;
