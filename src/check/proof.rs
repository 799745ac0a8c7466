//! How often a check is wrong, from checks whose right answer is known: a log of them, and a page made from it.
//!
//! A line of the log is a check of two things alike (A/A: the same command twice; A/A': the same program laid out
//! differently in memory) or of a planted slowdown. The page is a function of the log, and of nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::metric::Metric;
use crate::check::record::Ended;
use crate::check::report::Check;
use crate::check::verdict::{self, Judged, Verdict};
use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::stats::{median, proportion};
use crate::units::show_duration;

/// The version of a line's shape.
pub const SCHEMA: &str = "urecho.proof/1";

/// With how much confidence bounds are given.
const CONFIDENCE: f64 = 0.95;

/// False alarms are to be rarer than this, and slowdowns found more often than that.
const ALARMS: f64 = 0.01;
const POWER: f64 = 0.9;

/// One check whose right answer was known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`SCHEMA`].
    pub schema: String,
    /// Where it ran, and with which build.
    pub environment: Value,
    /// What was planted in head: `A/A` and `A/A'` for nothing, else what `serve --inject` takes.
    pub planted: String,
    /// True if a second load ran beside it.
    pub competing: bool,
    /// What it found.
    pub verdict: Verdict,
    /// Of each metric.
    pub metrics: Vec<Judged>,
    /// Restarts it took, why there were no more, and the time.
    pub restarts: usize,
    /// See `restarts`.
    pub ended: Ended,
    /// See `restarts`.
    pub elapsed_ns: u64,
    /// Why it is what it is.
    pub reasons: Vec<String>,
    /// How it was measured: how long all might take, blocks of each load in a restart, and how long a
    /// slice was.
    pub budget_ns: u64,
    /// See `budget_ns`.
    pub blocks: BTreeMap<String, usize>,
    /// See `budget_ns`.
    pub slice_ns: u64,
    /// For each metric that decides, what it was judged by: a log-ratio for each restart that counts, positive where
    /// head is worse. With these the statistics can be done again.
    pub scores: BTreeMap<Metric, Vec<f64>>,
}

impl Outcome {
    /// What a check came to.
    pub fn of(check: &Check, planted: &str, competing: bool) -> Outcome {
        let (judgement, record) = (&check.judgement, &check.record);
        Outcome {
            schema: SCHEMA.into(),
            environment: record.environment.clone(),
            planted: planted.into(),
            competing,
            verdict: judgement.verdict,
            metrics: judgement.metrics.clone(),
            restarts: record.restarts.len(),
            ended: record.ended,
            elapsed_ns: record.elapsed_ns,
            reasons: judgement.reasons.clone(),
            budget_ns: record.terms.budget_ns,
            blocks: record
                .terms
                .loads
                .iter()
                .map(|load| (load.profile.name().to_owned(), load.blocks))
                .collect(),
            slice_ns: record.terms.loads.first().map_or(0, |load| {
                load.plan["duration_ns"].as_u64().unwrap_or_default()
            }),
            scores: record
                .terms
                .gate
                .iter()
                .map(|&metric| (metric, verdict::scores(record, metric)))
                .collect(),
        }
    }

    /// As a line of the log.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("plain data has no way to fail") + "\n"
    }

    fn is_alike(&self) -> bool {
        self.planted.starts_with("A/A")
    }

    fn of_metric(&self, metric: Metric) -> Option<&Judged> {
        self.metrics.iter().find(|judged| judged.metric == metric)
    }
}

/// Reads a log. Errors: [`Error::Usage`] at the first line that is none of its.
pub fn read(log: &str) -> Result<Vec<Outcome>> {
    let lines = log
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let wrong = |what: String| Error::Usage(format!("line {}: {what}", number + 1));
            let outcome: Outcome = serde_json::from_str(line)
                .map_err(|cause| wrong(format!("not an outcome of a self-test: {cause}")))?;
            if outcome.schema != SCHEMA {
                return Err(wrong(format!(
                    "it is {}, and {SCHEMA} is read here",
                    outcome.schema
                )));
            }
            Ok(outcome)
        })
        .collect()
}

/// The page, in Markdown.
pub fn page(log: &[Outcome]) -> String {
    // Checks that were stopped, or whose servers failed, answer no question.
    let version = |outcome: &Outcome| outcome.environment["urecho"].clone();
    let newest = log.last().map(version);
    let (log, older): (Vec<&Outcome>, Vec<&Outcome>) = log
        .iter()
        .partition(|outcome| Some(version(outcome)) == newest);
    let (whole, broken): (Vec<&Outcome>, Vec<&Outcome>) = log.iter().partition(|outcome| {
        outcome.ended != Ended::Interrupted && outcome.verdict != Verdict::Failed
    });
    let (alike, planted): (Vec<&Outcome>, Vec<&Outcome>) =
        whole.iter().partition(|outcome| outcome.is_alike());
    let sections = [
        "# How often `urecho check` is wrong\n\nMade from `log.jsonl`, a line for each check, by `urecho check --page`. \
         The log is only ever added to, by `urecho check --self-test`; the right answer to each check was known beforehand. \
         A second load is 5,000 messages a second to a server of its own, on any CPU."
            .to_owned(),
        machines(&whole),
        format!("## Two things alike\n\n{}\n\n{}", alike_table(&alike), alarms(&alike)),
        format!("## Planted slowdowns\n\n{}\n\n{}", planted_table(&planted), power(&planted)),
        format!(
            "## Time\n\n{} Checks that were interrupted, or whose servers failed: {}. Checks of older versions, which count \
             nowhere: {}.",
            duration(&whole),
            broken.len(),
            older.len()
        ),
    ];
    sections.join("\n\n") + "\n"
}

/// Each machine, build and way of measuring once, with how many checks there were.
fn machines(log: &[&Outcome]) -> String {
    let text = |outcome: &Outcome| {
        let field = |name: &str| {
            outcome.environment[name]
                .as_str()
                .unwrap_or("unknown")
                .to_owned()
        };
        let blocks: Vec<String> = outcome
            .blocks
            .iter()
            .map(|(load, blocks)| format!("{blocks} {load}"))
            .collect();
        format!(
            "{}, {} CPUs, Linux {}, urecho {}; in a restart {} blocks, slices of {}, a budget of {}",
            field("cpu_model"),
            outcome.environment["cpus"],
            field("kernel"),
            field("urecho"),
            blocks.join(" and "),
            show_duration(Nanos(outcome.slice_ns)),
            show_duration(Nanos(outcome.budget_ns)),
        )
    };
    let mut all: Vec<String> = log.iter().map(|outcome| text(outcome)).collect();
    all.sort_unstable();
    let alike = all.chunk_by(|a, b| a == b);
    let lines: Vec<String> = alike
        .map(|alike| format!("- {} checks: {}", alike.len(), alike[0]))
        .collect();
    lines.join("\n")
}

/// Those with the same head, with and without a second load and all together, in the order of their first check.
fn groups<'a>(log: &[&'a Outcome]) -> Vec<(String, Vec<&'a Outcome>)> {
    let mut names: Vec<&str> = Vec::new();
    for outcome in log {
        if !names.contains(&outcome.planted.as_str()) {
            names.push(&outcome.planted);
        }
    }
    let mut groups = Vec::new();
    for name in names {
        let named = log
            .iter()
            .filter(|outcome| outcome.planted == name)
            .copied();
        let (beside, alone): (Vec<&Outcome>, Vec<&Outcome>) =
            named.clone().partition(|outcome| outcome.competing);
        let both = !beside.is_empty() && !alone.is_empty();
        let all = if both { named.collect() } else { Vec::new() };
        for (which, group) in [("alone", alone), ("second load", beside), ("either", all)] {
            if !group.is_empty() {
                groups.push((format!("{name} | {which}"), group));
            }
        }
    }
    groups
}

fn count(log: &[&Outcome], verdict: Verdict) -> usize {
    log.iter()
        .filter(|outcome| outcome.verdict == verdict)
        .count()
}

fn alike_table(log: &[&Outcome]) -> String {
    let mut lines = vec![
        "| head | beside it | checks | REGRESSED | 95 % upper bound | IMPROVED | PASSED | INCONCLUSIVE | median time |".to_owned(),
        "|---|---|---:|---:|---:|---:|---:|---:|---:|".to_owned(),
    ];
    let all = ("all | ".to_owned(), log.to_vec());
    for (name, group) in groups(log).into_iter().chain([all]) {
        let alarms = count(&group, Verdict::Regressed);
        lines.push(format!(
            "| {name} | {} | {alarms} | {} | {} | {} | {} | {} |",
            group.len(),
            percent(proportion::at_most(
                alarms as u64,
                group.len() as u64,
                CONFIDENCE
            )),
            count(&group, Verdict::Improved),
            count(&group, Verdict::Passed),
            count(&group, Verdict::Inconclusive),
            median_time(&group),
        ));
    }
    lines.join("\n")
}

fn alarms(log: &[&Outcome]) -> String {
    let (alarms, of) = (count(log, Verdict::Regressed) as u64, log.len() as u64);
    let bound = proportion::at_most(alarms, of, CONFIDENCE);
    let aim = if bound < ALARMS {
        "The aim, fewer than 1 % with 95 % confidence, is met."
    } else {
        "The aim, fewer than 1 % with 95 % confidence, is not met yet: it takes 0 alarms in 299 checks, or 1 in 473."
    };
    format!(
        "{alarms} false alarms in {of} checks: fewer than {} with 95 % confidence. {aim}",
        percent(bound)
    )
}

fn planted_table(log: &[&Outcome]) -> String {
    let mut lines = vec![
        "| planted | beside it | checks | found | 95 % lower bound | INCONCLUSIVE | missed | p50 | throughput | CPU | median time |"
            .to_owned(),
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|".to_owned(),
    ];
    for (name, group) in groups(log) {
        let found = count(&group, Verdict::Regressed);
        let [p50, throughput, cpu] = Metric::GATE.map(|metric| told(&group, metric));
        lines.push(format!(
            "| {name} | {} | {found} | {} | {} | {} | {p50} | {throughput} | {cpu} | {} |",
            group.len(),
            percent(proportion::at_least(
                found as u64,
                group.len() as u64,
                CONFIDENCE
            )),
            count(&group, Verdict::Inconclusive),
            count(&group, Verdict::Passed) + count(&group, Verdict::Improved),
            median_time(&group),
        ));
    }
    lines.push("\nFound: by any metric that decides. For each metric the median of the changes that were measured, and how many checks it \
         would have failed alone.".into());
    lines.join("\n")
}

/// The slowdowns that are found often enough.
fn power(log: &[&Outcome]) -> String {
    let whole = groups(log)
        .into_iter()
        .filter(|(name, _)| name.ends_with("| either"));
    let found: Vec<String> = whole
        .filter_map(|(name, group)| {
            let found = count(&group, Verdict::Regressed);
            let often = found as f64 >= POWER * group.len() as f64;
            let name = name.trim_end_matches(" | either");
            let [p50, throughput, cpu] = Metric::GATE.map(|metric| change(&group, metric));
            often.then(|| {
                format!(
                    "{name}, in {found} of {} (p50 {p50}, throughput {throughput}, CPU {cpu})",
                    group.len()
                )
            })
        })
        .collect();
    if found.is_empty() {
        "None of them was found in 90 % of its checks, with and without a second load, yet.".into()
    } else {
        format!(
            "Found in at least 90 % of the checks, with and without a second load: {}.",
            found.join("; ")
        )
    }
}

fn middle(log: &[&Outcome], metric: Metric) -> Option<f64> {
    let changes: Vec<f64> = log
        .iter()
        .filter_map(|outcome| outcome.of_metric(metric)?.change)
        .collect();
    median(&changes)
}

fn change(log: &[&Outcome], metric: Metric) -> String {
    middle(log, metric).map_or("n/a".into(), |change| format!("{:+.1} %", change * 100.0))
}

/// The median change, and how many of the checks this metric alone would have failed.
fn told(log: &[&Outcome], metric: Metric) -> String {
    let failed = |outcome: &&&Outcome| {
        let judged = outcome.of_metric(metric);
        judged.is_some_and(|judged| judged.verdict == Verdict::Regressed)
    };
    let found = log.iter().filter(failed).count();
    format!("{}, {found} of {}", change(log, metric), log.len())
}

fn times(log: &[&Outcome]) -> Vec<f64> {
    log.iter()
        .map(|outcome| outcome.elapsed_ns as f64)
        .collect()
}

fn median_time(log: &[&Outcome]) -> String {
    median(&times(log)).map_or("n/a".into(), |ns| show_duration(Nanos(ns as u64)))
}

fn duration(log: &[&Outcome]) -> String {
    let longest = times(log).into_iter().fold(0.0, f64::max);
    format!(
        "A check took {}, at most {}.",
        median_time(log),
        show_duration(Nanos(longest as u64))
    )
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::made_up::{ALIKE, Head, record};

    fn outcome(planted: &str, competing: bool, p50: f64) -> Outcome {
        Outcome::of(
            &Check::of(record(12, &Head { p50, ..ALIKE })),
            planted,
            competing,
        )
    }

    #[test]
    fn a_page_counts_alarms_and_finds_with_their_bounds() {
        let alike = (0..298).map(|number| {
            outcome(
                if number % 2 == 0 { "A/A" } else { "A/A'" },
                number % 3 == 0,
                1.0,
            )
        });
        let mut log: Vec<Outcome> = alike.collect();
        let mut old = outcome("A/A", false, 1.2);
        old.environment["urecho"] = "0.0.1".into();
        log.insert(0, old);
        log.splice(0..0, (0..29).map(|n| outcome("spin=1us", n == 0, 1.06)));
        let text = page(&log);
        assert!(
            text.contains("0 false alarms in 298 checks: fewer than 1.0 %"),
            "{text}"
        );
        assert!(text.contains("is not met yet"), "{text}");
        assert!(
            text.contains("| spin=1us | either | 29 | 29 | 90.2 % | 0 | 0 | +"),
            "{text}"
        );
        assert!(
            text.contains("with and without a second load: spin=1us, in 29 of 29 (p50 +"),
            "{text}"
        );
        log.push(outcome("A/A", false, 1.0));
        assert!(page(&log).contains("is met."));
        log.push(outcome("A/A", true, 1.2));
        assert!(page(&log).contains("1 false alarms in 300"));
    }

    #[test]
    fn checks_that_were_not_finished_count_nowhere() {
        let mut stopped = outcome("A/A", false, 1.2);
        stopped.ended = Ended::Interrupted;
        let text = page(&[stopped, outcome("A/A", false, 1.0)]);
        assert!(
            text.contains("0 false alarms in 1 checks") && text.contains("failed: 1."),
            "{text}"
        );
    }

    #[test]
    fn a_log_is_read_as_it_was_written() {
        let log = [outcome("A/A", false, 1.0), outcome("spin=1us", true, 1.1)];
        let text: String = log.iter().map(Outcome::line).collect();
        assert_eq!(read(&text).unwrap(), log);
        assert!(read("{}").unwrap_err().to_string().contains("line 1"));
        assert!(page(&[]).contains("0 false alarms in 0 checks"));
    }
}
