//! What a record says: a verdict for each metric, and one over those that decide.
//!
//! Pure: the same record has the same verdict, wherever and whenever it is judged. A metric that is decided at the first
//! look stays so, and is shown as it was then.

use serde::{Deserialize, Serialize};

use crate::check::decision::{self, Decision, FIRST_LOOK, Finding};
use crate::check::metric::Metric;
use crate::check::noise::{self, Disturbance, Signs};
use crate::check::record::{Block, Ended, Load, Record, Restart, Terms};
use crate::compare::comparison::{ASLEEP, BlockFigures};
use crate::stats::median;

/// Head, compared with base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Worse beyond doubt, by as much as matters.
    Regressed,
    /// Better beyond doubt, by as much as matters.
    Improved,
    /// Not worse by as much as matters, beyond doubt.
    Passed,
    /// Not known.
    Inconclusive,
    /// A server failed: there is nothing to compare. For the whole only.
    Failed,
}

/// All that a record says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// Over the metrics that decide.
    pub verdict: Verdict,
    /// What it exits with.
    pub exit_code: u8,
    /// Why it is what it is, a sentence each.
    pub reasons: Vec<String>,
    /// The probability of an error on one side at one look, of each metric.
    pub alpha: f64,
    /// All metrics that were measured, whether they decide or not.
    pub metrics: Vec<Judged>,
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Which one.
    pub metric: Metric,
    /// True if it decides.
    pub gates: bool,
    /// Head, compared with base.
    pub verdict: Verdict,
    /// Medians over the restarts that count, in the metric's unit.
    pub base: Option<f64>,
    /// See `base`.
    pub head: Option<f64>,
    /// How head differs, as a share of base: 0.03 for 3 % more.
    pub change: Option<f64>,
    /// Where that lies.
    pub interval: Option<(f64, f64)>,
    /// The change that matters, as a share and without a sign.
    pub matters: Option<f64>,
    /// Restarts that count, of those there were at the look that decided.
    pub restarts: usize,
    /// See `restarts`.
    pub of: usize,
    /// If it is not known: the smallest change for the worse that would have been called, without a sign.
    pub could_have_seen: Option<f64>,
    /// If it is not known: why, where it is not chance alone.
    pub why: Option<String>,
}

/// Judges a record as it is: nothing comes after it.
pub fn judge(record: &Record) -> Judgement {
    let alpha = decision::alpha(record.terms.gate.len());
    let measured = Metric::ALL.into_iter().filter(|&metric| record.terms.measures(metric));
    let mut metrics: Vec<Judged> = measured.map(|metric| judge_metric(record, metric)).collect();
    if restless(record).is_some() {
        let spoilt = "one side slows the other down";
        let all = metrics.iter_mut();
        all.for_each(|judged| judged.unsettle(spoilt.into()));
    }
    let failed = [&record.base, &record.head].map(|side| side.failure.as_ref());
    let verdict = if failed.iter().any(Option::is_some) {
        Verdict::Failed
    } else {
        over_all(&metrics, &record.terms.gate)
    };
    let exit_code = match verdict {
        Verdict::Regressed => 1,
        Verdict::Improved | Verdict::Passed => 0,
        Verdict::Inconclusive => record.terms.inconclusive.exit_code(),
        Verdict::Failed => {
            let codes = failed.iter().flatten().map(|failure| failure.exit_code);
            codes.max().unwrap_or(5)
        }
    };
    Judgement {
        verdict,
        exit_code,
        reasons: reasons(record, &metrics, verdict),
        alpha,
        metrics,
    }
}

/// True if the first look is enough: a metric that decides got worse, or all are decided.
pub fn is_settled(record: &Record) -> bool {
    let first = |&metric| look(record, metric, &record.restarts[..FIRST_LOOK]);
    let decided: Vec<Verdict> = record
        .terms
        .gate
        .iter()
        .map(first)
        .map(|judged| judged.verdict)
        .collect();
    decided.contains(&Verdict::Regressed) || !decided.contains(&Verdict::Inconclusive)
}

/// How much of a CPU base and head used while the other one had the traffic, if that was not alike and both have the same
/// CPU: then one of them seems slower than it is, and nothing can be said.
fn restless(record: &Record) -> Option<(f64, f64)> {
    let share = |side: fn(&Block) -> &BlockFigures| {
        let idle = record.blocks().filter_map(|block| side(block).idle_cpu_ratio);
        median(&idle.collect::<Vec<f64>>())
    };
    let (base, head) = (share(|block| &block.base)?, share(|block| &block.head)?);
    let generator = record.terms.loads.iter().flat_map(Load::cpus);
    let shared = generator.into_iter().any(|cpu| record.terms.server_cpus.contains(&cpu));
    let crowded = record.terms.server_cpus.len() < 2 || shared;
    (crowded && (base - head).abs() > ASLEEP).then_some((base, head))
}

/// The values that a metric is judged by: one of each restart that counts, as log-ratios, positive where head is worse.
pub fn scores(record: &Record, metric: Metric) -> Vec<f64> {
    let found = values(record, metric, &record.restarts);
    let values = found.iter().filter_map(|value| value.as_ref().ok());
    values.map(|value| value.score).collect()
}

/// The worst of those that decide. Not known if one of them was not even measured, or nothing decides.
pub(super) fn over_all(metrics: &[Judged], gate: &[Metric]) -> Verdict {
    let judged = metrics.iter().filter(|judged| judged.gates).count();
    if gate.is_empty() || judged < gate.len() {
        return Verdict::Inconclusive;
    }
    let any = |verdict| metrics.iter().any(|judged| judged.gates && judged.verdict == verdict);
    let worst = [Verdict::Regressed, Verdict::Inconclusive, Verdict::Improved];
    worst
        .into_iter()
        .find(|&verdict| any(verdict))
        .unwrap_or(Verdict::Passed)
}

fn judge_metric(record: &Record, metric: Metric) -> Judged {
    let two_looks = record.terms.restarts > FIRST_LOOK && record.restarts.len() >= FIRST_LOOK;
    if two_looks {
        let first = look(record, metric, &record.restarts[..FIRST_LOOK]);
        let is_all = record.restarts.len() == FIRST_LOOK;
        if is_all || first.verdict != Verdict::Inconclusive {
            return first;
        }
    }
    look(record, metric, &record.restarts)
}

/// Judges one metric by the restarts up to a look.
fn look(record: &Record, metric: Metric, restarts: &[Restart]) -> Judged {
    let found = values(record, metric, restarts);
    let values: Vec<&Middle> = found.iter().filter_map(|value| value.as_ref().ok()).collect();
    let side = |of: fn(&Middle) -> f64| median(&values.iter().map(|&value| of(value)).collect::<Vec<_>>());
    let (base, head) = (side(|value| value.base), side(|value| value.head));
    let alpha = decision::alpha(record.terms.gate.len());
    let mut judged = Judged {
        base,
        head,
        restarts: values.len(),
        of: restarts.len(),
        ..Judged::unknown(metric, &record.terms)
    };
    let Some(base) = base else {
        judged.why = Some(missing(&found));
        return judged;
    };
    let effect = metric.effect(record.terms.matters(metric), base);
    let scores: Vec<f64> = values.iter().map(|value| value.score).collect();
    judged.settle(&decision::decide(&scores, effect, alpha), effect);
    if !noise::enough(values.len(), restarts.len()) {
        judged.unsettle(missing(&found));
    } else if judged.interval.is_none() {
        judged.unsettle(too_few(values.len(), alpha));
    }
    judged
}

impl Judged {
    /// Takes over what was found, `effect` being the smallest that matters.
    pub(super) fn settle(&mut self, finding: &Finding, effect: f64) {
        let metric = self.metric;
        let size = |effect: f64| metric.change(effect).abs();
        self.matters = Some(size(effect));
        if let Some(estimate) = finding.estimate {
            self.change = Some(metric.change(estimate.location));
            self.interval = estimate.interval.map(|ends| metric.changes(ends));
        }
        self.verdict = match finding.decision {
            Decision::Regressed => Verdict::Regressed,
            Decision::Improved => Verdict::Improved,
            Decision::Passed => Verdict::Passed,
            Decision::Inconclusive { could_have_seen } => {
                self.could_have_seen = could_have_seen.map(size);
                Verdict::Inconclusive
            }
        };
    }

    /// Leaves the figures, but nothing follows from them.
    pub(super) fn unsettle(&mut self, why: String) {
        self.verdict = Verdict::Inconclusive;
        self.could_have_seen = None;
        self.why = Some(why);
    }

    /// Nothing is known of this metric yet.
    pub(super) fn unknown(metric: Metric, terms: &Terms) -> Judged {
        Judged {
            metric,
            gates: terms.gate.contains(&metric),
            verdict: Verdict::Inconclusive,
            base: None,
            head: None,
            change: None,
            interval: None,
            matters: None,
            restarts: 0,
            of: 0,
            could_have_seen: None,
            why: None,
        }
    }
}

/// What a restart says of one metric, if it says anything.
type Value = Result<Middle, Missing>;

/// The middle of the blocks that count.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Middle {
    base: f64,
    head: f64,
    score: f64,
}

/// Why a restart says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Missing {
    /// Most of its blocks were disturbed.
    Disturbed(Disturbance),
    /// A block has no figure: too few messages, or it cannot be seen.
    NoFigure,
}

/// The value of each of these restarts.
fn values(record: &Record, metric: Metric, restarts: &[Restart]) -> Vec<Value> {
    let signs: Vec<Vec<Signs>> = restarts
        .iter()
        .map(|restart| signs(restart.blocks(metric), cpus(record)))
        .collect();
    let usual = noise::usual_pressure(signs.iter().flatten());
    let both = restarts.iter().zip(signs);
    both.map(|(restart, signs)| value(restart.blocks(metric), metric, &signs, usual))
        .collect()
}

fn signs(blocks: &[Block], cpus: f64) -> Vec<Signs> {
    let of = |block: &Block| Signs::of(&[&block.base, &block.head], cpus);
    blocks.iter().map(of).collect()
}

fn value(blocks: &[Block], metric: Metric, signs: &[Signs], usual: f64) -> Value {
    let quiet = noise::quiet(signs, usual).map_err(|disturbed| Missing::Disturbed(disturbed.mostly))?;
    let pairs = quiet.into_iter().map(|index| {
        let Block { base, head } = &blocks[index];
        Some((metric.figure(base)?, metric.figure(head)?))
    });
    let pairs: Vec<(f64, f64)> = pairs.collect::<Option<_>>().ok_or(Missing::NoFigure)?;
    let middle =
        |of: &dyn Fn(&(f64, f64)) -> f64| median(&pairs.iter().map(of).collect::<Vec<_>>()).ok_or(Missing::NoFigure);
    Ok(Middle {
        base: middle(&|pair| pair.0)?,
        head: middle(&|pair| pair.1)?,
        score: middle(&|&(base, head)| metric.score(base, head))?,
    })
}

/// CPUs of the machine, over which steal is counted.
fn cpus(record: &Record) -> f64 {
    let cpus = record.environment.get("cpus").and_then(serde_json::Value::as_f64);
    cpus.unwrap_or(1.0).max(1.0)
}

/// What most of the restarts without a value lack.
fn missing(values: &[Value]) -> String {
    let mut missing: Vec<Missing> = values.iter().filter_map(|value| value.err()).collect();
    missing.sort_unstable();
    let most = missing.chunk_by(|a, b| a == b).max_by_key(|alike| alike.len());
    let count = format!("{} of {} restarts", missing.len(), values.len());
    match most.map(|alike| alike[0]) {
        None => "no restart was finished".into(),
        Some(Missing::NoFigure) => {
            format!("{count} have no such figure: too few messages for it, or it cannot be seen")
        }
        Some(Missing::Disturbed(disturbance)) => {
            format!("{count} were too disturbed, mostly by {}", cause(disturbance))
        }
    }
}

fn cause(disturbance: Disturbance) -> &'static str {
    match disturbance {
        Disturbance::Steal => "other guests of the hypervisor (steal)",
        Disturbance::Pressure => "other programs that wanted the CPUs (pressure)",
        Disturbance::Lag => "a generator that was not on time (send lag)",
    }
}

fn too_few(restarts: usize, alpha: f64) -> String {
    let needed = decision::restarts_needed(alpha);
    format!("{restarts} restarts have no interval, it takes {needed}")
}

/// A word on a machine that was busy all the time: nothing was dropped for that, because servers may do it themselves.
fn busy(record: &Record) -> Option<String> {
    let blocks: Vec<Block> = record.blocks().copied().collect();
    let signs = signs(&blocks, cpus(record));
    let usual = noise::usual_pressure(&signs);
    (usual > noise::PRESSURE).then(|| {
        format!(
            "some thread waited for a CPU in {:.0} % of the time (pressure): other programs, or a server with more \
             threads than CPUs",
            usual * 100.0
        )
    })
}

fn reasons(record: &Record, metrics: &[Judged], verdict: Verdict) -> Vec<String> {
    let mut reasons = Vec::new();
    for (name, side) in [("base", &record.base), ("head", &record.head)] {
        if let Some(failure) = &side.failure {
            let how = match failure.exit_code {
                4 | 70 => "could not be measured",
                _ => "failed",
            };
            let when = match failure.restart {
                0 => "when it was tried".to_owned(),
                restart => format!("in restart {restart}"),
            };
            reasons.push(format!("{name} {how} {when}: {}", failure.what));
        }
    }
    reasons.extend(restless(record).map(|(base, head)| {
        let [base, head] = [base, head].map(|share| format!("{:.0} %", share * 100.0));
        format!(
            "base used {base} and head {head} of a CPU while the other one had the traffic, whose figures suffer from it: \
             give the servers more CPUs with --server-pin"
        )
    }));
    match record.ended {
        Ended::Budget => reasons.push(format!(
            "the budget was over after {} of {} restarts",
            record.restarts.len(),
            record.terms.restarts
        )),
        Ended::Interrupted => reasons.push("it was interrupted".into()),
        Ended::Decided | Ended::Restarts | Ended::Failed => {}
    }
    if verdict == Verdict::Inconclusive {
        reasons.extend(busy(record));
        let of_metric = |judged: &Judged| Some(format!("{}: {}", judged.metric, judged.why.as_ref()?));
        reasons.extend(metrics.iter().filter(|judged| judged.gates).filter_map(of_metric));
    }
    reasons
}

#[cfg(test)]
mod tests;
