//! Head against stored runs of an earlier version, for machines that cannot run both side by side.
//!
//! Changes of the machine from day to day hit one side only, so runs from another machine, kernel or version of the
//! generator are refused; three stored runs are needed, at least an hour apart, and confidence intervals are widened by their range.
//! That is a rule of thumb: unlike for pairs, the false-alarm rate is unknown.

use serde::{Deserialize, Serialize};

use crate::check::judge::decision::{self, Finding};
use crate::check::judge::noise::{self, NoiseSigns};
use crate::check::judge::verdict::{Figures, overall};
use crate::check::judge::{Judgement, Metric, MetricVerdict, Profile, Verdict};
use crate::check::output::Summary;
use crate::check::output::summary::conditions;
use crate::check::record::{Load, Settings, Setup};
use crate::clock::Nanos;
use crate::compare::BlockFigures;
use crate::error::{Error, Result};
use crate::output;
use crate::report::{Environment, PlanSummary};
use crate::stats::median;
use crate::stats::signed_rank::{self, Estimate};
use crate::units::plural;

/// Version of a baseline's JSON.
pub const SCHEMA: &str = "urecho.baseline/2";

/// Stored runs from which run-to-run variation is estimated, at least.
const RUNS_MIN: usize = 3;

/// Seconds between two runs that count as separate: a machine's speed is correlated over minutes.
const SEPARATION_S: u64 = 3600;

/// Stored runs of one server on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Name and version of this document's shape.
    pub schema: String,
    /// All of them under the same load; at least one.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The command that started the server.
    pub command: String,
    /// When it began, in seconds since 1970.
    pub began_s: u64,
    /// How long it took.
    pub elapsed_ns: u64,
    /// Where it ran, and with which build.
    pub environment: Environment,
    /// What was fixed before anything was measured.
    pub settings: Settings,
    /// What was fixed once the capacity of the server was known.
    pub setup: Setup,
    /// The sample.
    pub restarts: Vec<SingleRestart>,
}

/// The blocks of one restart of one server, by load.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SingleRestart {
    /// Under the closed loop.
    pub closed: Vec<BlockFigures>,
    /// Under the open loop.
    pub open: Vec<BlockFigures>,
}

impl SingleRestart {
    /// The blocks of a load.
    pub fn blocks_mut(&mut self, profile: Profile) -> &mut Vec<BlockFigures> {
        match profile {
            Profile::Closed => &mut self.closed,
            Profile::Open => &mut self.open,
        }
    }

    /// The blocks that a metric is read from.
    fn blocks(&self, metric: Metric) -> &[BlockFigures] {
        match metric.profile() {
            Some(Profile::Open) => &self.open,
            None if self.closed.is_empty() => &self.open,
            Some(Profile::Closed) | None => &self.closed,
        }
    }
}

impl Baseline {
    /// With its first run.
    pub fn new(run: Run) -> Baseline {
        Baseline {
            schema: SCHEMA.into(),
            runs: vec![run],
        }
    }

    /// Reads a stored file. Errors: [`Error::Usage`] if it is not one.
    pub fn parse(text: &str) -> Result<Baseline> {
        let baseline: Baseline = output::json::parse(text, SCHEMA).map_err(Error::Usage)?;
        if baseline.runs.is_empty() {
            return Err(Error::Usage("the baseline has no runs".into()));
        }
        Ok(baseline)
    }

    /// As one JSON document.
    pub fn json(&self) -> String {
        output::json::document(self)
    }

    /// The load that a run needs to be comparable.
    pub fn load(&self, profile: Profile) -> Option<&Load> {
        let mut loads = self.runs[0].setup.loads.iter();
        loads.find(|load| load.profile == profile)
    }

    /// Blocks per restart, of the load that has more.
    pub fn blocks(&self) -> Option<usize> {
        let loads = self.runs[0].setup.loads.iter();
        loads.map(|load| load.blocks).max()
    }

    /// Length of a slice, of all loads.
    pub fn slice(&self) -> Option<Nanos> {
        let load = self.runs[0].setup.loads.first()?;
        Some(Nanos(load.plan.duration_ns))
    }

    /// Why runs in this environment cannot be compared with the stored ones; none if they can.
    pub fn refuses_environment(&self, here: &Environment) -> Option<String> {
        let there = &self.runs[0].environment;
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
        let number = |number: Option<u64>| number.map_or("unknown".into(), |number| number.to_string());
        let fields = |environment: &Environment| {
            let machine = &environment.machine;
            [
                ("processor", text(&machine.cpu_model)),
                ("number of CPUs", number(machine.cpus)),
                ("set of CPUs", format!("{:?}", machine.cpus_allowed)),
                ("memory size", number(machine.memory_bytes)),
                ("kernel", text(&machine.kernel)),
                ("congestion control", text(&machine.congestion_control)),
                ("version of urecho", environment.urecho.clone()),
                ("debug build of urecho", environment.debug_build.to_string()),
            ]
        };
        let mut pairs = fields(there).into_iter().zip(fields(here));
        let ((what, there), (_, here)) = pairs.find(|(there, here)| there != here)?;
        Some(format!(
            "the baseline has a different {what}: {there}, not {here}. Store a new one, or compare two versions with --base \
             and --head"
        ))
    }

    /// Why a run cannot be compared with the stored ones; none if it can.
    pub fn refuses(&self, run: &Run) -> Option<String> {
        let without_seed = |load: &Load| Load {
            plan: PlanSummary {
                seed: 0,
                ..load.plan.clone()
            },
            ..load.clone()
        };
        let load = |run: &Run| {
            let loads: Vec<Load> = run.setup.loads.iter().map(without_seed).collect();
            (loads, run.settings.server_cpus.clone(), run.setup.connected_at_once)
        };
        self.refuses_environment(&run.environment).or_else(|| {
            (load(&self.runs[0]) != load(run))
                .then(|| "the baseline was stored under a different load: use the same flags".into())
        })
    }

    /// Compares a run with the stored ones.
    pub fn judge(&self, run: &Run) -> Judgement {
        if let Some(refusal) = self.refuses(run) {
            return refused(refusal, &run.settings);
        }
        let measured = Metric::ALL
            .into_iter()
            .filter(|&metric| Load::measure(&run.setup.loads, metric));
        let metrics: Vec<MetricVerdict> = measured.map(|metric| self.judge_metric(run, metric)).collect();
        let verdict = overall(&metrics, &run.settings.gate);
        Judgement {
            verdict,
            exit_code: match verdict {
                Verdict::Regressed => 1,
                Verdict::Improved | Verdict::Passed => 0,
                Verdict::Inconclusive | Verdict::Failed => run.settings.inconclusive.exit_code(),
            },
            reasons: Vec::new(),
            alpha: decision::alpha(run.settings.gate.len()),
            metrics,
        }
    }

    /// The summary of a comparison.
    pub fn summary(&self, run: &Run) -> Summary {
        let method = format!("Measured: {}", plural(run.restarts.len() as u64, "restart"));
        let conditions = conditions(&run.environment, &run.setup.loads);
        let head = Head {
            command: run.command.clone(),
            settings: &run.settings,
            method,
            conditions,
            elapsed: Nanos(run.elapsed_ns),
        };
        self.summary_of(self.judge(run), head)
    }

    /// The summary of a comparison that was refused before anything was measured.
    pub fn refusal_summary(
        &self,
        refusal: String,
        command: String,
        environment: &Environment,
        settings: &Settings,
    ) -> Summary {
        let head = Head {
            command,
            settings,
            method: "Measured: nothing".into(),
            conditions: conditions(environment, &[]),
            elapsed: Nanos(0),
        };
        self.summary_of(refused(refusal, settings), head)
    }

    fn summary_of(&self, judgement: Judgement, head: Head<'_>) -> Summary {
        let advice = match judgement.verdict {
            Verdict::Improved | Verdict::Passed => None,
            _ => Some("compare two versions with --base and --head, which does not depend on the day".into()),
        };
        Summary {
            base: format!(
                "{} of {}",
                plural(self.runs.len() as u64, "stored run"),
                self.runs[0].command
            ),
            head: head.command,
            confidence:
                "Confidence: unknown. Confidence intervals are widened by the range of the stored runs, which is a rule of \
                         thumb; compare two versions with --base and --head where possible"
                    .into(),
            method: head.method,
            advice,
            inconclusive: head.settings.inconclusive,
            elapsed: head.elapsed,
            conditions: head.conditions,
            judgement,
        }
    }

    /// Stored runs that began at least an hour after the one before.
    pub fn separate_runs(&self) -> usize {
        let mut began: Vec<u64> = self.runs.iter().map(|run| run.began_s).collect();
        began.sort_unstable();
        let mut last = None;
        let is_separate = |&began: &u64| {
            let separate = last.is_none_or(|last| began - last >= SEPARATION_S);
            if separate {
                last = Some(began);
            }
            separate
        };
        began.into_iter().filter(is_separate).count()
    }

    fn judge_metric(&self, run: &Run, metric: Metric) -> MetricVerdict {
        let stored: Vec<f64> = self.runs.iter().filter_map(|run| median(&run.values(metric))).collect();
        let values = run.values(metric);
        let figures = Figures {
            base: median(&stored),
            head: median(&values),
            restarts: values.len(),
            of: run.restarts.len(),
        };
        let Some(base) = figures.base.filter(|_| noise::enough(figures.restarts, figures.of)) else {
            let why = "too few restarts were undisturbed and had this metric".into();
            return MetricVerdict::without_estimate(metric, &run.settings, figures, why);
        };
        let scores: Vec<f64> = values.iter().map(|&value| metric.score(base, value)).collect();
        let alpha = decision::alpha(run.settings.gate.len());
        let Some(estimate) = signed_rank::estimate(&scores, alpha) else {
            let why = "no restart was undisturbed and had this metric".into();
            return MetricVerdict::without_estimate(metric, &run.settings, figures, why);
        };
        let estimate = widen(estimate, stored.iter().map(|&value| metric.score(base, value)));
        let effect = metric.effect(run.settings.threshold(metric), base);
        let verdict = MetricVerdict::of(
            metric,
            &run.settings,
            figures,
            &Finding::of(Some(estimate), effect),
            effect,
        );
        let separate = self.separate_runs();
        if verdict.interval.is_none() {
            let needed = decision::restarts_needed(alpha);
            verdict.inconclusive(format!(
                "too few restarts for a confidence interval: {} of {needed}",
                values.len()
            ))
        } else if separate < RUNS_MIN {
            verdict.inconclusive(format!(
                "needs {RUNS_MIN} stored runs at least an hour apart to estimate run-to-run variation; has {separate}"
            ))
        } else {
            verdict
        }
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
        exit_code: 3,
        reasons: vec![refusal],
        alpha: decision::alpha(settings.gate.len()),
        metrics: Vec::new(),
    }
}

/// Widens a confidence interval by the range of the stored runs on both sides: today may be as far from their median as any of them.
fn widen(estimate: Estimate, stored: impl Iterator<Item = f64>) -> Estimate {
    let (least, most) = stored.fold((0.0_f64, 0.0_f64), |(least, most), score| {
        (least.min(score), most.max(score))
    });
    let range = most - least;
    Estimate {
        interval: estimate.interval.map(|(low, high)| (low - range, high + range)),
        ..estimate
    }
}

impl Run {
    /// The value of each restart that has one: the median over its undisturbed blocks.
    fn values(&self, metric: Metric) -> Vec<f64> {
        let cpus = self.environment.machine.cpus.unwrap_or(1).max(1) as f64;
        let signs = |restart: &SingleRestart| -> Vec<NoiseSigns> {
            let blocks = restart.blocks(metric).iter();
            blocks.map(|block| NoiseSigns::of(&[block], cpus)).collect()
        };
        let all: Vec<NoiseSigns> = self.restarts.iter().flat_map(&signs).collect();
        let typical = noise::typical_pressure(&all);
        let value = |restart: &SingleRestart| {
            let kept = noise::undisturbed(&signs(restart), typical).ok()?;
            let blocks = restart.blocks(metric);
            let figures = kept.into_iter().map(|index| metric.figure(&blocks[index]));
            median(&figures.collect::<Option<Vec<f64>>>()?)
        };
        self.restarts.iter().filter_map(value).collect()
    }
}

#[cfg(test)]
mod tests;
