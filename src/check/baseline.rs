//! Head against itself as it was stored, for those who cannot run both: better than nothing, and worse than a pair.
//!
//! What a machine does from day to day hits one side only here. So nothing is compared across machines, kernels or
//! versions of the generator; three stored runs are needed, from different hours, and the interval is widened by how far
//! they lie apart. That is a rule of thumb without a promise: the chance of a false alarm is not known, as it
//! is for pairs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::decision::{self, Finding};
use crate::check::metric::{Metric, Profile};
use crate::check::noise::{self, Signs};
use crate::check::record::Terms;
use crate::check::summary::{Summary, under};
use crate::check::verdict::{Judged, Judgement, Verdict, over_all};
use crate::clock::Nanos;
use crate::compare::comparison::BlockFigures;
use crate::error::{Error, Result};
use crate::stats::median;
use crate::stats::signed_rank::{self, Estimate};

/// The version of a stored file's shape.
pub const SCHEMA: &str = "urecho.baseline/1";

/// Runs that show how far runs lie apart. Fewer show next to nothing.
const RUNS: usize = 3;

/// Seconds between two runs that count as two: what a machine does it goes on doing for a while.
const APART: u64 = 3600;

/// Runs of one server on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// [`SCHEMA`].
    pub schema: String,
    /// All of them under the same load.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// What started the server.
    pub command: String,
    /// When it began, in seconds since 1970.
    pub began_s: u64,
    /// How long it took.
    pub elapsed_ns: u64,
    /// Where it ran, and with which build.
    pub environment: Value,
    /// How it was measured.
    pub terms: Terms,
    /// The sample.
    pub restarts: Vec<Solo>,
}

/// What one start of the server has found, by blocks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Solo {
    /// Under the closed loop.
    pub closed: Vec<BlockFigures>,
    /// Under the open loop.
    pub open: Vec<BlockFigures>,
}

impl Baseline {
    /// The first run.
    pub fn new(run: Run) -> Baseline {
        Baseline {
            schema: SCHEMA.into(),
            runs: vec![run],
        }
    }

    /// Reads a stored file. Errors: [`Error::Usage`] if it is none.
    pub fn read(text: &str) -> Result<Baseline> {
        let baseline: Baseline =
            serde_json::from_str(text).map_err(|cause| Error::Usage(format!("this is no baseline: {cause}")))?;
        if baseline.schema != SCHEMA || baseline.runs.is_empty() {
            return Err(Error::Usage(format!("this is no baseline that {SCHEMA} allows")));
        }
        Ok(baseline)
    }

    /// As a file.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data has no way to fail") + "\n"
    }

    /// What a run must have to be compared: how long its slices are, and how many messages a second are planned.
    pub fn load(&self, profile: Profile) -> Option<(u64, Option<f64>)> {
        let loads = &self.runs[0].terms.loads;
        let load = loads.iter().find(|load| load.profile == profile)?;
        Some((load.plan["duration_ns"].as_u64()?, load.plan["rate_per_s"][0].as_f64()))
    }

    /// And how many blocks of them, of the load that has more.
    pub fn blocks(&self) -> Option<usize> {
        let loads = self.runs[0].terms.loads.iter();
        loads.map(|load| load.blocks).max()
    }

    /// Why nothing that is measured here must be compared with these, if it must not.
    pub fn refusal_of(&self, environment: &Value) -> Option<String> {
        let stored = &self.runs[0];
        for (name, what) in [
            ("cpu_model", "processor"),
            ("cpus", "number of CPUs"),
            ("cpus_allowed", "set of CPUs"),
            ("memory_bytes", "memory"),
            ("kernel", "kernel"),
            ("congestion_control", "congestion control"),
            ("urecho", "version of the generator"),
            ("debug_build", "build of the generator"),
        ] {
            let (there, here) = (&stored.environment[name], &environment[name]);
            if there != here {
                return Some(format!(
                    "the baseline has another {what}: {there} there, {here} here. Store a new one, or compare a pair \
                     with --base and --head"
                ));
            }
        }
        None
    }

    /// Why a run must not be compared with these, if it must not.
    pub fn refusal(&self, run: &Run) -> Option<String> {
        if let Some(refusal) = self.refusal_of(&run.environment) {
            return Some(refusal);
        }
        let load = |run: &Run| {
            let plans = run.terms.loads.iter().map(|load| {
                let mut plan = load.plan.clone();
                if let Some(plan) = plan.as_object_mut() {
                    plan.remove("seed");
                }
                (load.profile, load.connections, load.blocks, plan)
            });
            (
                plans.collect::<Vec<_>>(),
                run.terms.server_cpus.clone(),
                run.terms.connected_at_once,
            )
        };
        (load(&self.runs[0]) != load(run))
            .then(|| "the baseline was stored under another load: give the same flags".into())
    }

    /// Compares a run with these.
    pub fn judge(&self, run: &Run) -> Judgement {
        let refusal = self.refusal(run);
        let measured = Metric::ALL.into_iter().filter(|&metric| run.terms.measures(metric));
        let metrics: Vec<Judged> = match &refusal {
            Some(_) => Vec::new(),
            None => measured.map(|metric| self.judge_metric(run, metric)).collect(),
        };
        let verdict = match &refusal {
            Some(_) => Verdict::Inconclusive,
            None => over_all(&metrics, &run.terms.gate),
        };
        let exit_code = match verdict {
            _ if refusal.is_some() => 3,
            Verdict::Regressed => 1,
            Verdict::Improved | Verdict::Passed => 0,
            Verdict::Inconclusive | Verdict::Failed => run.terms.inconclusive.exit_code(),
        };
        Judgement {
            verdict,
            exit_code,
            reasons: refusal.into_iter().collect(),
            alpha: decision::alpha(run.terms.gate.len()),
            metrics,
        }
    }

    /// What there is to tell of such a comparison.
    pub fn story(&self, run: &Run) -> Summary {
        let count = self.runs.len();
        let judgement = self.judge(run);
        let advice = match judgement.verdict {
            Verdict::Improved | Verdict::Passed => "nothing",
            _ => "compare a pair with --base and --head, which does not depend on the day",
        };
        Summary {
            base: format!("{count} stored runs of {}", self.runs[0].command),
            head: run.command.clone(),
            sure:
                "How sure: not known. Intervals are widened by how far the stored runs lie apart, which is a rule of \
                thumb; where both versions can be run, a pair (--base and --head) is better"
                    .into(),
            method: format!("Measured: {} restarts", run.restarts.len()),
            advice: advice.into(),
            inconclusive: run.terms.inconclusive,
            elapsed: Nanos(run.elapsed_ns),
            under: under(&run.environment, &run.terms.loads),
            judgement,
        }
    }

    /// How many runs there are that began an hour or more after the one before them.
    pub fn runs_apart(&self) -> usize {
        let mut began: Vec<u64> = self.runs.iter().map(|run| run.began_s).collect();
        began.sort_unstable();
        let mut last = None;
        let is_new = |&began: &u64| {
            let new = last.is_none_or(|last| began - last >= APART);
            if new {
                last = Some(began);
            }
            new
        };
        began.into_iter().filter(is_new).count()
    }

    fn judge_metric(&self, run: &Run, metric: Metric) -> Judged {
        let stored: Vec<f64> = self
            .runs
            .iter()
            .filter_map(|run| median(&run.figures(metric)))
            .collect();
        let figures = run.figures(metric);
        let (base, head) = (median(&stored), median(&figures));
        let mut judged = Judged {
            base,
            head,
            restarts: figures.len(),
            of: run.restarts.len(),
            ..Judged::unknown(metric, &run.terms)
        };
        let Some(base) = base.filter(|_| noise::enough(figures.len(), run.restarts.len())) else {
            judged.why = Some("too few restarts were quiet and had this figure".into());
            return judged;
        };
        let scores: Vec<f64> = figures.iter().map(|&figure| metric.score(base, figure)).collect();
        let Some(estimate) = signed_rank::estimate(&scores, decision::alpha(run.terms.gate.len())) else {
            judged.why = Some("no restart was quiet and had this figure".into());
            return judged;
        };
        let apart = stored.iter().map(|&figure| metric.score(base, figure));
        let (least, most) = apart.fold((0.0_f64, 0.0_f64), |(least, most), score| {
            (least.min(score), most.max(score))
        });
        // Today may be as far from the middle of the stored runs as any of them, in either direction.
        let wider = |(low, high)| (low - (most - least), high + (most - least));
        let estimate = Estimate {
            interval: estimate.interval.map(wider),
            ..estimate
        };
        let effect = metric.effect(run.terms.matters(metric), base);
        judged.settle(&Finding::of(Some(estimate), effect), effect);
        let apart = self.runs_apart();
        if judged.interval.is_none() {
            judged.unsettle(format!("{} restarts have no interval", figures.len()));
        } else if apart < RUNS {
            judged.unsettle(format!(
                "it takes {RUNS} stored runs, an hour apart, to show how far runs lie apart; there are {apart}"
            ));
        }
        judged
    }
}

impl Run {
    /// The figure of each restart that has one, from its quiet blocks.
    fn figures(&self, metric: Metric) -> Vec<f64> {
        let cpus = self.environment["cpus"].as_f64().unwrap_or(1.0).max(1.0);
        let blocks = |solo: &'_ Solo| match metric.profile() {
            Some(Profile::Open) => solo.open.clone(),
            None if solo.closed.is_empty() => solo.open.clone(),
            Some(Profile::Closed) | None => solo.closed.clone(),
        };
        let signs = |solo: &Solo| -> Vec<Signs> {
            let blocks = blocks(solo);
            blocks.iter().map(|block| Signs::of(&[block], cpus)).collect()
        };
        let all: Vec<Signs> = self.restarts.iter().flat_map(&signs).collect();
        let usual = noise::usual_pressure(&all);
        let of = |solo: &Solo| {
            let quiet = noise::quiet(&signs(solo), usual).ok()?;
            let blocks = blocks(solo);
            let figures = quiet.into_iter().map(|index| metric.figure(&blocks[index]));
            median(&figures.collect::<Option<Vec<f64>>>()?)
        };
        self.restarts.iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixtures::{ALIKE, figures, record};
    use crate::check::record::Inconclusive;

    /// A run on a day of this slowness, with luck of half a percent.
    fn run(day: f64) -> Run {
        let record = record(0, &ALIKE);
        let solo = |number: usize| {
            let luck = 1.0 + ((number * 5) % 11) as f64 / 1_000.0 - 0.005;
            let blocks = vec![figures(day * luck, &ALIKE); 3];
            Solo {
                closed: blocks.clone(),
                open: blocks,
            }
        };
        Run {
            command: "./server {port}".into(),
            began_s: 0,
            elapsed_ns: 1,
            environment: record.environment,
            terms: record.terms,
            restarts: (0..20).map(solo).collect(),
        }
    }

    fn baseline(days: &[f64]) -> Baseline {
        let mut baseline = Baseline::new(run(days[0]));
        baseline.runs.extend(days[1..].iter().map(|&day| run(day)));
        for (number, run) in (0..).zip(&mut baseline.runs) {
            run.began_s = number * APART;
        }
        baseline
    }

    #[track_caller]
    fn assert_judged(days: &[f64], today: f64, verdict: Verdict, exit_code: u8) {
        let story = baseline(days).story(&run(today));
        let found = (story.judgement.verdict, story.judgement.exit_code);
        assert_eq!(found, (verdict, exit_code), "{story}");
    }

    #[test]
    fn a_day_like_the_others_passes_and_a_far_worse_one_does_not() {
        let days = [1.0, 1.002, 0.998];
        assert_judged(&days, 1.0, Verdict::Passed, 0);
        assert_judged(&days, 1.1, Verdict::Regressed, 1);
        assert_judged(&days, 0.9, Verdict::Improved, 0);
    }

    #[test]
    fn days_that_lie_apart_make_it_blind() {
        assert_judged(&[1.0, 1.1, 0.9], 1.1, Verdict::Inconclusive, 3);
        assert_judged(&[1.0, 1.1, 0.9], 1.0, Verdict::Inconclusive, 3);
    }

    #[test]
    fn fewer_than_three_stored_runs_say_nothing() {
        assert_judged(&[1.0, 1.0], 2.0, Verdict::Inconclusive, 3);
        let mut hasty = baseline(&[1.0, 1.0, 1.0]);
        hasty.runs[2].began_s -= 1;
        assert_eq!(hasty.runs_apart(), 2);
        assert_eq!(hasty.judge(&run(2.0)).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn another_machine_is_refused_whatever_not_knowing_means() {
        let stored = baseline(&[1.0, 1.0, 1.0]);
        let mut today = run(1.0);
        today.terms.inconclusive = Inconclusive::Pass;
        assert_eq!(stored.judge(&today).exit_code, 0);
        today.environment["kernel"] = "6.99".into();
        let story = stored.story(&today);
        assert_eq!(story.judgement.exit_code, 3);
        assert!(story.to_string().contains("another kernel"), "{story}");
        for change in [
            (|terms| terms.loads[0].blocks = 9) as fn(&mut Terms),
            |terms| terms.loads[0].connections = 9,
            |terms| terms.connected_at_once = false,
        ] {
            let mut other = run(1.0);
            change(&mut other.terms);
            assert!(stored.refusal(&other).unwrap().contains("another load"));
        }
    }

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let stored = baseline(&[1.0, 1.1]);
        assert_eq!(Baseline::read(&stored.json()).unwrap(), stored);
        assert!(Baseline::read("{}").is_err());
    }
}
