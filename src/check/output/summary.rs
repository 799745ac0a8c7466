//! The summary of a judged check, of two versions or against a baseline: what every output format draws.

use super::Check;
use crate::check::judge::{Judgement, MetricVerdict, Verdict};
use crate::check::record::{Inconclusive, Load, Record, StopReason};
use crate::clock::Nanos;
use crate::load::schedule::Pace;
use crate::report::Environment;
use crate::units::{plural, show_duration, show_percent, show_rate, show_size};

/// A judged check, ready to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The judgement.
    pub judgement: Judgement,
    /// What head was compared with.
    pub base: String,
    /// The command of head.
    pub head: String,
    /// The error rate, in one sentence.
    pub confidence: String,
    /// How it was measured, in one line.
    pub method: String,
    /// What to do next, if anything.
    pub advice: Option<String>,
    /// What an inconclusive check exits with.
    pub inconclusive: Inconclusive,
    /// How long it took.
    pub elapsed: Nanos,
    /// Machine, version and loads in one line: checks with different conditions do not compare.
    pub conditions: String,
}

impl Check {
    /// Its summary.
    pub fn summary(&self) -> Summary {
        let record = &self.record;
        Summary {
            judgement: self.judgement.clone(),
            base: record.base.command.clone(),
            head: record.head.command.clone(),
            confidence: self.confidence(),
            method: method(record),
            advice: self.advice(),
            inconclusive: record.settings.inconclusive,
            elapsed: Nanos(record.elapsed_ns),
            conditions: conditions(&record.environment, record.loads()),
        }
    }

    fn confidence(&self) -> String {
        let gating = match self.record.settings.gate.as_slice() {
            [one] => format!("{one} gates"),
            several => format!("{} metrics gate", several.len()),
        };
        format!(
            "Confidence: one-sided error {} per metric at each of two analyses; {gating}, so comparing a build with \
             itself yields REGRESSED in at most 1 % of checks",
            show_percent(self.judgement.alpha, 2)
        )
    }

    fn advice(&self) -> Option<String> {
        let advice = match self.judgement.verdict {
            Verdict::Regressed => "find what changed (`perf record` of both, or `git bisect run` with this check); \
                if the cost is intended, raise the threshold with --min-effect METRIC=PERCENT"
                .into(),
            Verdict::Improved | Verdict::Passed => return None,
            Verdict::Inconclusive => self.inconclusive_advice(),
            Verdict::Failed => "run the command of the failed server by itself, and `urecho load` against it".into(),
        };
        Some(advice)
    }

    fn inconclusive_advice(&self) -> String {
        let record = &self.record;
        match record.stop_reason {
            StopReason::Interrupted => "run it again to the end".into(),
            StopReason::Budget => format!(
                "raise --budget (it was {}), or use fewer --blocks and shorter slices",
                show_duration(Nanos(record.settings.budget_ns)).replace(' ', "")
            ),
            StopReason::Decided | StopReason::Restarts | StopReason::Failed => {
                "run it on a machine with less other load, with separate \
                CPUs for both sides (--pin, --server-pin), or longer (--budget); or raise the thresholds (--min-effect)"
                    .into()
            }
        }
    }
}

impl Summary {
    /// The first line, for readers who read one.
    pub fn headline(&self) -> String {
        let what = match self.judgement.verdict {
            Verdict::Regressed => format!("head is worse than base: {}", self.changes(Verdict::Regressed)),
            Verdict::Improved => format!("head is better than base: {}", self.changes(Verdict::Improved)),
            Verdict::Passed => format!(
                "head is not worse than base beyond the thresholds ({}){}",
                self.gate(),
                self.ungated_warning()
            ),
            Verdict::Inconclusive => format!("cannot tell whether head is worse: {}", self.undecided()),
            Verdict::Failed => "there is nothing to compare".into(),
        };
        format!("{}: {what}", self.judgement.verdict.name())
    }

    /// True if there is a table to draw.
    pub(super) fn has_figures(&self) -> bool {
        self.judgement.metrics.iter().any(|metric| metric.of > 0)
    }

    /// The metrics that gate.
    pub(super) fn gating(&self) -> impl Iterator<Item = &MetricVerdict> {
        self.judgement.metrics.iter().filter(|metric| metric.gates)
    }

    fn gating_with(&self, verdict: Verdict) -> impl Iterator<Item = &MetricVerdict> {
        self.gating().filter(move |metric| metric.verdict == verdict)
    }

    fn changes(&self, verdict: Verdict) -> String {
        let changes: Vec<String> = self.gating_with(verdict).map(super::row::change).collect();
        changes.join(", ")
    }

    fn gate(&self) -> String {
        let names: Vec<&str> = self.gating().map(|metric| metric.metric.name()).collect();
        names.join(", ")
    }

    /// The metrics that are worse and do not gate.
    pub(super) fn ungated_regressions(&self) -> impl Iterator<Item = &MetricVerdict> {
        let metrics = self.judgement.metrics.iter();
        metrics.filter(|metric| !metric.gates && metric.verdict == Verdict::Regressed)
    }

    fn ungated_warning(&self) -> String {
        let changes: Vec<String> = self.ungated_regressions().map(super::row::change).collect();
        match changes.as_slice() {
            [] => String::new(),
            changes => format!("; worse, but not gating: {}", changes.join(", ")),
        }
    }

    fn undecided(&self) -> String {
        let describe = |metric: &MetricVerdict| match metric.detectable {
            Some(detectable) => format!(
                "{} (would have detected {} or more)",
                metric.metric,
                super::row::percent(detectable)
            ),
            None => metric.metric.to_string(),
        };
        let metrics: Vec<String> = self.gating_with(Verdict::Inconclusive).map(describe).collect();
        if metrics.is_empty() {
            "nothing was compared".into()
        } else {
            metrics.join(", ")
        }
    }
}

fn method(record: &Record) -> String {
    let capacity = record.setup.as_ref().map_or(0.0, |setup| setup.capacity_per_s);
    let loads = record.loads().iter().map(|load| show_load(load, capacity));
    let mut parts = vec![format!(
        "Measured: {} of {} restarts",
        record.restarts.len(),
        record.settings.restarts
    )];
    parts.extend(loads);
    parts.extend(io_note(record.loads()).map(str::to_owned));
    parts.extend(record.loads().first().map(|load| format!("seed {}", load.plan.seed)));
    parts.push(show_duration(Nanos(record.elapsed_ns)));
    parts.join("; ")
}

/// Machine, version and loads. Not the rate of the open loop, which follows the machine's speed from day to day.
pub(in crate::check) fn conditions(environment: &Environment, loads: &[Load]) -> String {
    let machine = &environment.machine;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
    let load = |load: &Load| {
        format!(
            "{} loop, {} connections, {} B, pipeline {}",
            load.profile.name(),
            load.connections,
            load.plan.sizes.mean_bytes,
            load.plan.pipeline
        )
    };
    let note = io_note(loads).map(str::to_owned);
    let loads: Vec<String> = loads.iter().map(load).chain(note).collect();
    format!(
        "{}, {} CPUs, Linux {}, urecho {}; {}",
        text(&machine.cpu_model),
        machine.cpus.map_or("unknown".into(), |cpus| cpus.to_string()),
        text(&machine.kernel),
        environment.urecho,
        loads.join("; ")
    )
}

/// What to say of the generator, which is the same for all loads.
fn io_note(loads: &[Load]) -> Option<&'static str> {
    loads.first().and_then(|load| load.plan.io.note())
}

fn show_load(load: &Load, capacity: f64) -> String {
    let rate = match load.plan.pace {
        Pace::Open { rate, .. } => {
            let share = show_percent(rate.from / capacity, 0);
            format!(", {} ({share} of base's capacity)", show_rate(rate.from))
        }
        Pace::Closed { .. } => String::new(),
    };
    format!(
        "{} loop with {}, {}{rate}, {} in slices of {}",
        load.profile.name(),
        plural(load.connections.into(), "connection"),
        show_size(load.plan.sizes.max_bytes),
        plural(load.blocks as u64, "block"),
        show_duration(Nanos(load.plan.duration_ns)),
    )
}
