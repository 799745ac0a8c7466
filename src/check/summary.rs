//! What there is to tell of a check, whether of a pair or against a baseline: for people (`text`) and for build servers
//! (`ci`).

use serde_json::Value;

use crate::check::metric::Profile;
use crate::check::record::{Ended, Inconclusive, Load, Record};
use crate::check::report::Check;
use crate::check::verdict::{Judgement, Verdict};
use crate::clock::Nanos;
use crate::units::{show_count, show_duration, show_rate, show_size};

/// A check, ready to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// What came of it.
    pub judgement: Judgement,
    /// What head was measured against.
    pub base: String,
    /// What may have become worse.
    pub head: String,
    /// How sure one can be, in a sentence.
    pub sure: String,
    /// How it was measured, in a line.
    pub method: String,
    /// What to do now.
    pub advice: String,
    /// What not to know means for a build.
    pub inconclusive: Inconclusive,
    /// How long it took.
    pub elapsed: Nanos,
    /// On what, and under what, in a line: what has another one cannot be put in a row with it.
    pub under: String,
}

impl Check {
    /// What there is to tell.
    pub fn story(&self) -> Summary {
        Summary {
            judgement: self.judgement.clone(),
            base: self.record.base.command.clone(),
            head: self.record.head.command.clone(),
            sure: self.how_sure(),
            method: method(&self.record),
            advice: self.advice(),
            inconclusive: self.record.terms.inconclusive,
            elapsed: Nanos(self.record.elapsed_ns),
            under: under(&self.record.environment, &self.record.terms.loads),
        }
    }

    fn how_sure(&self) -> String {
        let alpha = self.judgement.alpha;
        let deciding = match self.record.terms.gate.as_slice() {
            [one] => format!("{one} decides"),
            several => format!("{} metrics decide", several.len()),
        };
        format!(
            "How sure: an end of an interval is wrong with {:.2} % at most, at each of two looks; {deciding}, so of \
             100 checks of two things alike at most one ends as REGRESSED",
            alpha * 100.0
        )
    }

    fn advice(&self) -> String {
        match self.judgement.verdict {
            Verdict::Regressed => "find what changed (`perf record` of both, or `git bisect run` with this check); \
                if it is meant to cost that much, say so with --effect METRIC=PERCENT"
                .into(),
            Verdict::Improved | Verdict::Passed => "nothing".into(),
            Verdict::Inconclusive => self.advice_to_the_blind(),
            Verdict::Failed => "run the command of the one that failed by itself, and `urecho load` against it".into(),
        }
    }

    fn advice_to_the_blind(&self) -> String {
        let record = &self.record;
        match record.ended {
            Ended::Interrupted => "run it again, to its end".into(),
            Ended::Budget => format!(
                "give it more time than --budget {}, or fewer --blocks and shorter slices",
                show_duration(Nanos(record.terms.budget_ns)).replace(' ', "")
            ),
            Ended::Decided | Ended::Restarts | Ended::Failed => "run it again where less else goes on, with CPUs of \
                their own for both sides (--pin, --server-pin), or longer (--budget); or ask for less, with a larger \
                --effect"
                .into(),
        }
    }
}

fn method(record: &Record) -> String {
    let terms = &record.terms;
    let loads: Vec<String> = terms
        .loads
        .iter()
        .map(|load| show_load(load, record.capacity_per_s))
        .collect();
    format!(
        "Measured: {} of {} restarts; {}; seed {}; {}",
        record.restarts.len(),
        terms.restarts,
        loads.join("; "),
        terms
            .loads
            .first()
            .map_or(0, |load| load.plan["seed"].as_u64().unwrap_or(0)),
        show_duration(Nanos(record.elapsed_ns)),
    )
}

/// Machine, version and loads. Not the rate of the open loop, which follows the machine's speed from day to day.
pub(super) fn under(environment: &Value, loads: &[Load]) -> String {
    let text = |name: &str| environment[name].as_str().unwrap_or("unknown").to_owned();
    let loads: Vec<String> = loads
        .iter()
        .map(|load| {
            let size = load.plan["size_bytes_mean"].as_f64().unwrap_or(0.0);
            let depth = load.plan["pipeline"].as_u64().unwrap_or(1);
            format!(
                "{} loop, {} connections, {size} B, pipeline {depth}",
                load.profile.name(),
                load.connections
            )
        })
        .collect();
    format!(
        "{}, {} CPUs, Linux {}, urecho {}; {}",
        text("cpu_model"),
        environment["cpus"],
        text("kernel"),
        text("urecho"),
        loads.join("; ")
    )
}

fn show_load(load: &Load, capacity: Option<f64>) -> String {
    let number = |name: &str| load.plan[name].as_u64().unwrap_or(0);
    let pace = match load.profile {
        Profile::Closed => "as fast as they come back".into(),
        Profile::Open => {
            let rate = load.plan["rate_per_s"][0].as_f64().unwrap_or(0.0);
            let share = capacity.map_or(0.0, |capacity| rate / capacity * 100.0);
            format!("{} ({share:.0} % of base)", show_rate(rate))
        }
    };
    format!(
        "{} loop with {} connections, {}, {pace}, {} blocks in slices of {}",
        load.profile.name(),
        show_count(load.connections.into()),
        show_size(number("size_bytes_max")),
        load.blocks,
        show_duration(Nanos(number("duration_ns"))),
    )
}
