//! The sample of a check: one value per restart and metric.

use super::metric::{Metric, Profile, Source, mean_of_loads, share};
use super::noise::{self, NoiseSigns, NoiseSource};
use crate::check::record::{Block, LoadPair, Record, Restart, Settings, Setup};
use crate::compare::PooledFigures;
use crate::report::Environment;
use crate::stats::median;

/// What the verdict of a metric follows from.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    pub(super) settings: &'a Settings,
    /// CPUs of the machine; steal is summed over them.
    pub(super) cpus: f64,
    /// A message that takes longer than this is a spike, in nanoseconds.
    pub(super) spike_limit: f64,
    pub(super) restarts: &'a [Restart],
}

impl<'a> Sample<'a> {
    /// Restarts measured with these settings and this setup, in this environment.
    pub fn new(
        settings: &'a Settings,
        setup: Option<&Setup>,
        environment: &Environment,
        restarts: &'a [Restart],
    ) -> Sample<'a> {
        Sample {
            settings,
            cpus: environment.machine.cpus.unwrap_or(1).max(1) as f64,
            spike_limit: setup.map_or(f64::INFINITY, |setup| setup.spike_limit_ns as f64),
            restarts,
        }
    }

    pub(super) fn of(record: &'a Record) -> Sample<'a> {
        let setup = record.setup.as_ref();
        Sample::new(&record.settings, setup, &record.environment, &record.restarts)
    }

    /// Its first restarts.
    pub(super) fn first(self, restarts: usize) -> Sample<'a> {
        Sample {
            restarts: &self.restarts[..restarts],
            ..self
        }
    }
}

/// The value of a restart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RestartValue {
    pub(super) base: f64,
    pub(super) head: f64,
    pub(super) score: f64,
}

/// Why a restart has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NoValue {
    /// Most of its blocks were disturbed.
    TooNoisy(NoiseSource),
    /// A block has no value of the metric: too few messages, or not observable.
    Unavailable,
}

/// The value of each restart.
pub(super) fn values(sample: Sample<'_>, metric: Metric) -> Vec<Result<RestartValue, NoValue>> {
    let restarts: Vec<Vec<LoadSample<'_>>> = sample
        .restarts
        .iter()
        .map(|restart| {
            let profiles = [Profile::Open, Profile::Closed].into_iter();
            let of_metric = profiles.filter(|&profile| metric.profile().is_none_or(|of| of == profile));
            let loads = of_metric.filter_map(|profile| restart.load(profile));
            loads.map(|load| LoadSample::of(load, sample.cpus)).collect()
        })
        .collect();
    // The loads differ in how much pressure they cause.
    let loads = restarts.iter().map(Vec::len).max().unwrap_or(0);
    let typical = |load: usize| {
        let of_load = restarts.iter().filter_map(|loads| loads.get(load));
        noise::typical_pressure(of_load.flat_map(|load| &load.signs))
    };
    let typical: Vec<f64> = (0..loads).map(typical).collect();
    let value = |loads: &Vec<_>| value(loads, metric, sample.spike_limit, &typical);
    restarts.iter().map(value).collect()
}

/// A load in one restart, and the noise in its blocks.
struct LoadSample<'a> {
    load: &'a LoadPair,
    signs: Vec<NoiseSigns>,
}

impl<'a> LoadSample<'a> {
    fn of(load: &'a LoadPair, cpus: f64) -> LoadSample<'a> {
        LoadSample {
            load,
            signs: signs(&load.blocks, cpus),
        }
    }
}

pub(super) fn signs(blocks: &[Block], cpus: f64) -> Vec<NoiseSigns> {
    let of = |block: &Block| NoiseSigns::of(&[&block.base, &block.head], cpus);
    blocks.iter().map(of).collect()
}

/// The value of a restart from the loads of the metric, each with its typical pressure.
fn value(loads: &[LoadSample<'_>], metric: Metric, spike_limit: f64, typical: &[f64]) -> Result<RestartValue, NoValue> {
    let undisturbed = || {
        let mut blocks = Vec::new();
        for (LoadSample { load, signs }, &typical) in loads.iter().zip(typical) {
            let kept = noise::undisturbed(signs, typical).map_err(|noise| NoValue::TooNoisy(noise.mostly))?;
            blocks.extend(kept.into_iter().map(|index| load.blocks[index]));
        }
        Ok(blocks)
    };
    let is_throttled = |(load, &typical): (&LoadSample<'_>, &f64)| noise::is_throttled(&load.signs, typical);
    let pair = |base: Option<f64>, head: Option<f64>| plausible(metric, base, head);
    let pairs: Option<Vec<(f64, f64)>> = match metric.source() {
        _ if loads.is_empty() => None,
        Source::Blocks(figure) => undisturbed()?
            .into_iter()
            .map(|Block { base, head }| pair(figure(&base), figure(&head)))
            .collect(),
        Source::Share(is_true) => {
            let blocks = undisturbed()?;
            let base = share(blocks.iter().map(|block| is_true(&block.base, spike_limit)));
            let head = share(blocks.iter().map(|block| is_true(&block.head, spike_limit)));
            pair(base, head).map(|pair| vec![pair])
        }
        Source::Pool(_) if metric != Metric::Memory && loads.iter().zip(typical).any(is_throttled) => {
            return Err(NoValue::TooNoisy(NoiseSource::Quota));
        }
        Source::Pool(figure) => {
            let pooled = |side: fn(&LoadPair) -> &PooledFigures| {
                mean_of_loads(
                    loads
                        .iter()
                        .map(|LoadSample { load, .. }| (figure(side(load)), load.blocks.len())),
                )
            };
            pair(pooled(|load| &load.base), pooled(|load| &load.head)).map(|pair| vec![pair])
        }
    };
    let pairs = pairs.ok_or(NoValue::Unavailable)?;
    let middle =
        |of: &dyn Fn(&(f64, f64)) -> f64| median(&pairs.iter().map(of).collect::<Vec<_>>()).ok_or(NoValue::Unavailable);
    Ok(RestartValue {
        base: middle(&|pair| pair.0)?,
        head: middle(&|pair| pair.1)?,
        score: middle(&|&(base, head)| metric.score(base, head))?,
    })
}

/// The values of both sides, if they can be compared.
pub(super) fn plausible(metric: Metric, base: Option<f64>, head: Option<f64>) -> Option<(f64, f64)> {
    Some((metric.plausible(base?)?, metric.plausible(head?)?))
}

/// Why most of the restarts without a value have none.
pub(super) fn missing(values: &[Result<RestartValue, NoValue>]) -> String {
    let mut missing: Vec<NoValue> = values.iter().filter_map(|value| value.err()).collect();
    missing.sort_unstable();
    let most = missing.chunk_by(|a, b| a == b).max_by_key(|same| same.len());
    let count = format!("{} of {} restarts", missing.len(), values.len());
    match most.map(|same| same[0]) {
        None => "no restart was completed".into(),
        Some(NoValue::Unavailable) => format!("unavailable in {count}: too few messages, or not observable"),
        Some(NoValue::TooNoisy(source)) => format!("{count} were too noisy, mostly because of {source}"),
    }
}
