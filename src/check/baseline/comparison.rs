//! A run against stored ones: judgement and summary.
//!
//! A run's value of a metric is the median over its restarts. The next run of an unchanged server lies within the
//! prediction interval of the stored values ([`prediction`]); the interval of the change is as wide around the
//! difference to their mean. The values are log ratios, so a factor counts the same in both directions.
//!
//! *Error.* Values vary from day to day with tails heavier than normal. In simulations of servers that did not change,
//! with values of eight independent gating metrics that are normal, Laplace, contaminated normal or of Student's t with
//! 3 degrees of freedom, fewer than 1 % of runs end as REGRESSED, for 5 to 12 stored runs and every amount of variation
//! (tests). That is what [`ALPHA`] is so small for.

use super::counted::{Counted, RUNS_MIN};
use super::{Baseline, Run, SingleRestart};
use crate::check::judge::decision::{self, Analysis};
use crate::check::judge::metric::{Source, mean_of_loads, share};
use crate::check::judge::noise::{self, NoiseSigns};
use crate::check::judge::verdict::{Figures, overall};
use crate::check::judge::{Judgement, Metric, MetricVerdict, Verdict};
use crate::check::output::Summary;
use crate::check::output::summary::conditions;
use crate::check::record::{Load, Settings};
use crate::clock::Nanos;
use crate::compare::{BlockFigures, quotas};
use crate::error::{self, Outcome};
use crate::report::Environment;
use crate::stats::signed_rank::{ConfidenceInterval, Estimate};
use crate::stats::{median, prediction};
use crate::sys::identity::MachineIdentity;
use crate::units::{plural, show_percent};

/// One-sided error of all gating metrics together, if values are normal.
pub(super) const ALPHA: f64 = 0.00002;

/// The share of one of `gating` metrics (Bonferroni).
fn alpha(settings: &Settings) -> f64 {
    decision::bonferroni(ALPHA, settings.gate.len())
}

impl Baseline {
    /// Compares a run with the stored ones.
    pub fn judge(&self, run: &Run, identity: &MachineIdentity) -> Judgement {
        if let Some(refusal) = self.refuses(run, identity) {
            return refused(refusal, &run.settings);
        }
        let counted = self.counted(identity);
        let missing = (counted.runs.len() < RUNS_MIN).then(|| self.missing(identity));
        let measured = Metric::ALL
            .into_iter()
            .filter(|&metric| Load::measure(&run.setup.loads, metric));
        let metrics: Vec<MetricVerdict> = measured
            .map(|metric| match &missing {
                Some(_) => judge_metric(&counted, run, metric).inconclusive("too few stored runs".into()),
                None => judge_metric(&counted, run, metric),
            })
            .collect();
        let verdict = overall(&metrics, &run.settings.gate);
        Judgement {
            verdict,
            exit_code: error::exit_code(match verdict {
                Verdict::Regressed => Some(Outcome::ConditionFailed),
                Verdict::Improved | Verdict::Passed => None,
                // Without enough runs nothing was compared.
                Verdict::Inconclusive | Verdict::Failed if missing.is_some() => Some(Outcome::Undecided),
                Verdict::Inconclusive | Verdict::Failed => run.settings.inconclusive.outcome(),
            }),
            reasons: missing
                .into_iter()
                .chain(quotas::used_up(&[("head", run.blocks().collect())]))
                .collect(),
            alpha: alpha(&run.settings),
            metrics,
        }
    }

    /// The summary of a comparison.
    pub fn summary(&self, run: &Run, identity: &MachineIdentity) -> Summary {
        let head = Head {
            command: run.command.clone(),
            settings: &run.settings,
            method: format!("Measured: {}", plural(run.restarts.len() as u64, "restart")),
            conditions: conditions(&run.environment, &run.setup.loads),
            elapsed: Nanos(run.elapsed_ns),
        };
        self.summary_of(self.judge(run, identity), identity, head)
    }

    /// The summary of a comparison that was refused before anything was measured.
    pub fn refusal_summary(
        &self,
        refusal: String,
        command: String,
        environment: &Environment,
        identity: &MachineIdentity,
        settings: &Settings,
    ) -> Summary {
        let head = Head {
            command,
            settings,
            method: "Measured: nothing".into(),
            conditions: conditions(environment, &[]),
            elapsed: Nanos(0),
        };
        self.summary_of(refused(refusal, settings), identity, head)
    }

    fn summary_of(&self, judgement: Judgement, identity: &MachineIdentity, head: Head<'_>) -> Summary {
        let advice = match judgement.verdict {
            Verdict::Improved | Verdict::Passed => None,
            _ => Some("compare two versions with --base and --head, which does not depend on the day".into()),
        };
        Summary {
            base: format!(
                "{} of {}",
                plural(self.runs.len() as u64, "stored run"),
                self.runs[0].run.command
            ),
            head: head.command,
            confidence: confidence(&self.counted(identity), head.settings),
            method: head.method,
            advice,
            inconclusive: head.settings.inconclusive,
            elapsed: head.elapsed,
            conditions: head.conditions,
            judgement,
        }
    }
}

fn confidence(counted: &Counted<'_>, settings: &Settings) -> String {
    let runs = plural(counted.runs.len() as u64, "stored run");
    let which = if counted.of_this_boot {
        "of this boot"
    } else {
        "of one boot each"
    };
    format!(
        "Confidence: prediction interval from {runs} {which}, one-sided error {} per metric if days vary normally; \
         an unchanged server ends as REGRESSED in fewer than 1 % of comparisons with much heavier tails (simulated)",
        show_percent(alpha(settings), 5)
    )
}

fn judge_metric(counted: &Counted<'_>, run: &Run, metric: Metric) -> MetricVerdict {
    // One limit for all: a server that is slower now must not have a longer one.
    let limits = counted.runs.iter().map(|stored| stored.run.setup.spike_limit_ns as f64);
    let limit = median(&limits.collect::<Vec<f64>>()).unwrap_or(f64::INFINITY);
    let stored: Vec<f64> = counted
        .runs
        .iter()
        .filter_map(|stored| median(&stored.run.values(metric, limit)))
        .collect();
    let values = run.values(metric, limit);
    let figures = Figures {
        base: median(&stored),
        head: median(&values),
        restarts: values.len(),
        of: run.restarts.len(),
    };
    let enough = noise::enough(figures.restarts, figures.of);
    let (Some(base), Some(head), true) = (figures.base, figures.head, enough) else {
        let why = "too few restarts were undisturbed and had this metric".into();
        return MetricVerdict::without_estimate(metric, &run.settings, figures, why);
    };
    let scores: Vec<f64> = stored.iter().map(|&value| metric.score(base, value)).collect();
    let estimate = estimate(&scores, metric.score(base, head), alpha(&run.settings));
    let effect = metric.effect(run.settings.threshold(metric), base);
    let finding = Analysis::of(Some(estimate), effect);
    let verdict = MetricVerdict::of(metric, &run.settings, figures, &finding, effect);
    match estimate.interval {
        Some(ConfidenceInterval { low, high }) if low == high && low != 0.0 => {
            verdict.inconclusive("the stored runs have equal values, so their variation is unknown".into())
        }
        None => verdict.inconclusive(format!("{} of the stored runs have this metric", scores.len())),
        Some(_) => verdict,
    }
}

/// How far head is from the mean of the stored scores, as far as these scatter.
pub(super) fn estimate(stored: &[f64], head: f64, alpha: f64) -> Estimate {
    let predicted = prediction::next_value(stored, alpha);
    let location = head - predicted.map_or(0.0, |predicted| predicted.mean);
    Estimate {
        n: stored.len(),
        location,
        interval: predicted.map(|predicted| ConfidenceInterval::around(location, predicted.half_width)),
    }
}

/// What a summary says of head.
struct Head<'a> {
    command: String,
    settings: &'a Settings,
    method: String,
    conditions: String,
    elapsed: Nanos,
}

/// The judgement of a run that cannot be compared. Exit 3 whatever `--inconclusive` says: nothing was compared.
fn refused(refusal: String, settings: &Settings) -> Judgement {
    Judgement {
        verdict: Verdict::Inconclusive,
        exit_code: error::exit_code([Outcome::Undecided]),
        reasons: vec![refusal],
        alpha: alpha(settings),
        metrics: Vec::new(),
    }
}

impl Run {
    /// All blocks, of all loads.
    fn blocks(&self) -> impl Iterator<Item = &BlockFigures> {
        let loads = self
            .restarts
            .iter()
            .flat_map(|restart| restart.closed.iter().chain(&restart.open));
        loads.flat_map(|load| &load.blocks)
    }

    /// The value of each restart that has one: the median over its undisturbed blocks; shares are of all blocks.
    fn values(&self, metric: Metric, spike_limit: f64) -> Vec<f64> {
        let cpus = self.environment.machine.cpus.unwrap_or(1).max(1) as f64;
        let signs = |restart: &SingleRestart| -> Vec<NoiseSigns> {
            let blocks = restart.loads(metric).next().map_or(&[][..], |load| &load.blocks).iter();
            blocks.map(|block| NoiseSigns::of(&[block], cpus)).collect()
        };
        let all: Vec<NoiseSigns> = self.restarts.iter().flat_map(&signs).collect();
        let typical = noise::typical_pressure(&all);
        let value = |restart: &SingleRestart| {
            let load = restart.loads(metric).next()?;
            let value = match metric.source() {
                Source::Blocks(figure) => {
                    let kept = noise::undisturbed(&signs(restart), typical).ok()?;
                    let figures = kept.into_iter().map(|index| figure(&load.blocks[index]));
                    median(&figures.collect::<Option<Vec<f64>>>()?)
                }
                Source::Share(_) | Source::Pool(_)
                    if metric != Metric::Memory && noise::is_throttled(&signs(restart), typical) =>
                {
                    None
                }
                Source::Share(is_true) => {
                    let blocks = restart.loads(metric).flat_map(|load| &load.blocks);
                    share(blocks.map(|block| is_true(block, spike_limit)))
                }
                Source::Pool(figure) => mean_of_loads(
                    restart
                        .loads(metric)
                        .map(|load| (figure(&load.pooled), load.blocks.len())),
                ),
            };
            metric.plausible(value?)
        };
        self.restarts.iter().filter_map(value).collect()
    }
}
