//! The page of error rates, in Markdown: a function of the log, and of nothing else.

use std::collections::BTreeMap;

use super::Outcome;
use crate::check::metric::Metric;
use crate::check::record::Ended;
use crate::check::verdict::Verdict;
use crate::clock::Nanos;
use crate::stats::{median, proportion};
use crate::units::{show_duration, show_percent};

/// With how much confidence bounds are given.
const CONFIDENCE: f64 = 0.95;

/// False alarms are to be rarer than this, and slowdowns found more often than that.
const ALARMS: f64 = 0.01;
const POWER: f64 = 0.9;

/// The page.
pub fn page(log: &[Outcome]) -> String {
    // Checks that were stopped, or whose servers failed, answer no question.
    let version = |outcome: &Outcome| outcome.environment["urecho"].clone();
    let newest = log.last().map(version);
    let (log, older): (Vec<&Outcome>, Vec<&Outcome>) = log.iter().partition(|outcome| Some(version(outcome)) == newest);
    let (whole, broken): (Vec<&Outcome>, Vec<&Outcome>) = log
        .iter()
        .partition(|outcome| outcome.ended != Ended::Interrupted && outcome.verdict != Verdict::Failed);
    let (alike, planted): (Vec<&Outcome>, Vec<&Outcome>) = whole.iter().partition(|outcome| outcome.is_alike());
    let sections = [
        "# How often `urecho check` is wrong\n\nMade from `log.jsonl`, a line for each check, by `urecho check --page`. \
         The log is only ever added to, by `urecho check --self-test`; the right answer to each check was known beforehand. \
         A second load is 5,000 messages a second to a server of its own, on any CPU."
            .to_owned(),
        machines(&whole),
        format!("## Two things alike\n\n{}\n\n{}", alike_table(&alike), alarms(&alike)),
        format!("## Planted slowdowns\n\n{}\n\n{}", planted_table(&planted), power(&planted)),
        format!(
            "## Time\n\n{} Checks that were interrupted, or whose servers failed: {}. {}",
            duration(&whole),
            broken.len(),
            before(&older)
        ),
    ];
    sections.join("\n\n") + "\n"
}

/// What the log has of other versions than the newest.
fn before(older: &[&Outcome]) -> String {
    let (alike, slow): (Vec<&Outcome>, Vec<&Outcome>) = older.iter().partition(|outcome| outcome.is_alike());
    format!(
        "Checks of older versions, which count nowhere above: {}; {} false alarms in {} of two things alike, {} of {} \
         slowdowns found.",
        older.len(),
        count(&alike, Verdict::Regressed),
        alike.len(),
        count(&slow, Verdict::Regressed),
        slow.len()
    )
}

/// Each machine, build and way of measuring once, with how many checks there were.
fn machines(log: &[&Outcome]) -> String {
    let text = |outcome: &Outcome| {
        let field = |name: &str| {
            let text = outcome.environment[name].as_str();
            text.unwrap_or("unknown").to_owned()
        };
        let blocks = outcome.blocks.iter();
        let blocks: Vec<String> = blocks.map(|(load, blocks)| format!("{blocks} {load}")).collect();
        format!(
            "{}, {} CPUs, Linux {}, urecho {}; a budget of {}, in a restart {} blocks",
            field("cpu_model"),
            outcome.environment["cpus"],
            field("kernel"),
            field("urecho"),
            show_duration(Nanos(outcome.budget_ns)),
            blocks.join(" and "),
        )
    };
    let mut slices: BTreeMap<String, Vec<Nanos>> = BTreeMap::new();
    for outcome in log {
        let alike = slices.entry(text(outcome)).or_default();
        alike.push(Nanos(outcome.slice_ns));
    }
    let lines = slices.into_iter().map(|(text, mut slices)| {
        slices.sort_unstable();
        let [least, most] = [slices[0], slices[slices.len() - 1]].map(show_duration);
        let range = if least == most {
            least
        } else {
            format!("{least} to {most}")
        };
        format!("- {} checks: {text} of slices of {range}", slices.len())
    });
    lines.collect::<Vec<_>>().join("\n")
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
        let named = log.iter().filter(|outcome| outcome.planted == name).copied();
        let (beside, alone): (Vec<&Outcome>, Vec<&Outcome>) = named.clone().partition(|outcome| outcome.competing);
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
    log.iter().filter(|outcome| outcome.verdict == verdict).count()
}

fn alike_table(log: &[&Outcome]) -> String {
    let mut lines = vec![
        "| head | beside it | checks | REGRESSED | 95 % upper bound | IMPROVED | PASSED | INCONCLUSIVE | median time |"
            .to_owned(),
        "|---|---|---:|---:|---:|---:|---:|---:|---:|".to_owned(),
    ];
    let all = ("all | ".to_owned(), log.to_vec());
    for (name, group) in groups(log).into_iter().chain([all]) {
        let alarms = count(&group, Verdict::Regressed);
        lines.push(format!(
            "| {name} | {} | {alarms} | {} | {} | {} | {} | {} |",
            group.len(),
            show_percent(
                proportion::upper_bound(alarms as u64, group.len() as u64, CONFIDENCE),
                1
            ),
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
    let bound = proportion::upper_bound(alarms, of, CONFIDENCE);
    let aim = if bound < ALARMS {
        "The aim, fewer than 1 % with 95 % confidence, is met."
    } else {
        "The aim, fewer than 1 % with 95 % confidence, is not met yet: it takes 0 alarms in 299 checks, or 1 in 473."
    };
    format!(
        "{alarms} false alarms in {of} checks: fewer than {} with 95 % confidence. {aim}",
        show_percent(bound, 1)
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
            show_percent(proportion::lower_bound(found as u64, group.len() as u64, CONFIDENCE), 1),
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
    let whole = groups(log).into_iter().filter(|(name, _)| name.ends_with("| either"));
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
    log.iter().map(|outcome| outcome.elapsed_ns as f64).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixtures::{ALIKE, Head, record};
    use crate::check::report::Check;

    fn outcome(planted: &str, competing: bool, p50: f64) -> Outcome {
        Outcome::of(&Check::of(record(12, &Head { p50, ..ALIKE })), planted, competing)
    }

    #[test]
    fn a_page_counts_alarms_and_finds_with_their_bounds() {
        let alike = (0..298).map(|number| outcome(if number % 2 == 0 { "A/A" } else { "A/A'" }, number % 3 == 0, 1.0));
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
    fn an_empty_log_makes_a_page_too() {
        assert!(page(&[]).contains("0 false alarms in 0 checks"));
    }
}
