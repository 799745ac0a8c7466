//! The page of error rates, in Markdown: a function of the log.

use std::collections::BTreeMap;

use urecho::check::judge::{Metric, Verdict};
use urecho::check::record::StopReason;
use urecho::clock::Nanos;
use urecho::output::markdown::table;
use urecho::stats::{median, proportion};
use urecho::units::{plural, show_duration, show_percent};

use crate::log::Line;

/// Confidence of the bounds.
const CONFIDENCE: f64 = 0.95;

/// Targets: false alarms rarer than this, and injected slowdowns detected more often than that.
const FALSE_ALARMS_MAX: f64 = 0.01;
const POWER_MIN: f64 = 0.9;

/// The metrics whose changes are shown.
const SHOWN: [Metric; 3] = [Metric::P50, Metric::Throughput, Metric::Cpu];

/// The page.
pub(crate) fn page(log: &[Line]) -> String {
    let version = |line: &Line| line.environment.urecho.clone();
    let newest = log.last().map(version);
    let (log, older): (Vec<&Line>, Vec<&Line>) = log.iter().partition(|line| Some(version(line)) == newest);
    // A check that was interrupted, or whose server failed, has no answer.
    let is_complete = |line: &&Line| line.stop_reason != StopReason::Interrupted && line.verdict != Verdict::Failed;
    let (complete, broken): (Vec<&Line>, Vec<&Line>) = log.iter().copied().partition(is_complete);
    let (unchanged, slower): (Vec<&Line>, Vec<&Line>) = complete.iter().copied().partition(|line| line.is_unchanged());
    [
        "# Error rates of `urecho check`\n\nMade from `log.jsonl`, one line per check whose correct verdict was known, by \
         `cargo bench --bench error_rates`. The second load is an unrelated server that echoes 5,000 messages per second, \
         not pinned."
            .to_owned(),
        conditions(&complete),
        format!(
            "## False alarms\n\nBase and head are the same program; A/A' differs in memory layout only.\n\n{}\n{}",
            unchanged_table(&unchanged),
            false_alarms(&unchanged)
        ),
        format!("## Injected slowdowns\n\n`spin=250ns` is 250 ns of CPU time per message.\n\n{}\n{}", slower_table(&slower), power(&slower)),
        format!(
            "## Time\n\n{} Checks that were interrupted, or whose servers failed: {}. {}",
            duration(&complete),
            broken.len(),
            older_versions(&older)
        ),
    ]
    .join("\n\n")
        + "\n"
}

fn older_versions(older: &[&Line]) -> String {
    let (unchanged, slower): (Vec<&Line>, Vec<&Line>) = older.iter().copied().partition(|line| line.is_unchanged());
    format!(
        "Checks of older versions, not counted above: {}, with {} false alarms in {} of an unchanged server, and {} of {} slowdowns detected.",
        older.len(),
        count(&unchanged, Verdict::Regressed),
        unchanged.len(),
        count(&slower, Verdict::Regressed),
        slower.len()
    )
}

/// Each machine, build and method, with the number of its checks.
fn conditions(log: &[&Line]) -> String {
    let text = |line: &Line| {
        let machine = &line.environment.machine;
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
        let blocks = line.blocks.iter();
        let blocks: Vec<String> = blocks.map(|(load, blocks)| format!("{blocks} {load}")).collect();
        format!(
            "{}, {} CPUs, Linux {}, urecho {}; a budget of {}, {} blocks per restart",
            text(&machine.cpu_model),
            machine.cpus.map_or("unknown".into(), |cpus| cpus.to_string()),
            text(&machine.kernel),
            line.environment.urecho,
            show_duration(Nanos(line.budget_ns)),
            blocks.join(" and "),
        )
    };
    let mut slices: BTreeMap<String, Vec<Nanos>> = BTreeMap::new();
    for line in log {
        slices.entry(text(line)).or_default().push(Nanos(line.slice_ns));
    }
    let lines = slices.into_iter().map(|(text, mut slices)| {
        slices.sort_unstable();
        let [least, most] = [slices[0], slices[slices.len() - 1]].map(show_duration);
        let range = if least == most {
            least
        } else {
            format!("{least} to {most}")
        };
        format!(
            "- {}: {text} in slices of {range}",
            plural(slices.len() as u64, "check")
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The name of a group of checks with and without a second load.
const EITHER: &str = "either";

/// Checks with the same treatment.
struct Group<'a> {
    treatment: &'a str,
    /// `without` or `with` a second load, or [`EITHER`].
    load: &'static str,
    lines: Vec<&'a Line>,
}

/// Each treatment with and without a second load, and both together, in order of first appearance.
fn groups<'a>(log: &[&'a Line]) -> Vec<Group<'a>> {
    let mut treatments: Vec<&str> = Vec::new();
    for line in log {
        if !treatments.contains(&line.treatment.as_str()) {
            treatments.push(&line.treatment);
        }
    }
    let groups = treatments.into_iter().flat_map(|treatment| {
        let all: Vec<&Line> = log.iter().copied().filter(|line| line.treatment == treatment).collect();
        let (loaded, alone): (Vec<&Line>, Vec<&Line>) = all.iter().copied().partition(|line| line.second_load);
        let both = !loaded.is_empty() && !alone.is_empty();
        let either = if both { all } else { Vec::new() };
        [("without", alone), ("with", loaded), (EITHER, either)].map(|(load, lines)| Group { treatment, load, lines })
    });
    groups.filter(|group| !group.lines.is_empty()).collect()
}

fn count(log: &[&Line], verdict: Verdict) -> usize {
    log.iter().filter(|line| line.verdict == verdict).count()
}

fn unchanged_table(log: &[&Line]) -> String {
    let all = Group {
        treatment: "all",
        load: EITHER,
        lines: log.to_vec(),
    };
    let rows = groups(log).into_iter().chain([all]).map(|group| {
        let (lines, alarms) = (&group.lines, count(&group.lines, Verdict::Regressed));
        [
            group.treatment.to_owned(),
            group.load.to_owned(),
            lines.len().to_string(),
            alarms.to_string(),
            show_percent(
                proportion::upper_bound(alarms as u64, lines.len() as u64, CONFIDENCE),
                1,
            ),
            count(lines, Verdict::Improved).to_string(),
            count(lines, Verdict::Passed).to_string(),
            count(lines, Verdict::Inconclusive).to_string(),
            median_time(lines),
        ]
    });
    let head = [
        "head",
        "second load",
        "checks",
        "REGRESSED",
        "95 % upper bound",
        "IMPROVED",
        "PASSED",
        "INCONCLUSIVE",
        "median time",
    ];
    table(&head, rows)
}

fn false_alarms(log: &[&Line]) -> String {
    let (alarms, of) = (count(log, Verdict::Regressed) as u64, log.len() as u64);
    let bound = proportion::upper_bound(alarms, of, CONFIDENCE);
    let target = if bound < FALSE_ALARMS_MAX {
        "The target, below 1 % with 95 % confidence, is met."
    } else {
        "The target, below 1 % with 95 % confidence, is not met yet: it takes 0 alarms in 299 checks, or 1 in 473."
    };
    format!(
        "{} in {}: below {} with 95 % confidence. {target}",
        plural(alarms, "false alarm"),
        plural(of, "check"),
        show_percent(bound, 1)
    )
}

fn slower_table(log: &[&Line]) -> String {
    let rows = groups(log).into_iter().map(|group| {
        let (lines, found) = (&group.lines, count(&group.lines, Verdict::Regressed));
        let [p50, throughput, cpu] = SHOWN.map(|metric| change_and_share(lines, metric));
        [
            group.treatment.to_owned(),
            group.load.to_owned(),
            lines.len().to_string(),
            found.to_string(),
            show_percent(proportion::lower_bound(found as u64, lines.len() as u64, CONFIDENCE), 1),
            count(lines, Verdict::Inconclusive).to_string(),
            (count(lines, Verdict::Passed) + count(lines, Verdict::Improved)).to_string(),
            p50,
            throughput,
            cpu,
            median_time(lines),
        ]
    });
    let head = [
        "fault",
        "second load",
        "checks",
        "detected",
        "95 % lower bound",
        "INCONCLUSIVE",
        "missed",
        "p50",
        "throughput",
        "CPU",
        "median time",
    ];
    format!(
        "{}\nDetected: by any gating metric. For each metric: the median of the measured changes, and how many checks it would \
         have failed alone.\n",
        table(&head, rows)
    )
}

/// The slowdowns that are detected often enough.
fn power(log: &[&Line]) -> String {
    let groups = groups(log).into_iter().filter(|group| group.load == EITHER);
    let found: Vec<String> = groups
        .filter_map(|group| {
            let (found, of) = (count(&group.lines, Verdict::Regressed), group.lines.len());
            let [p50, throughput, cpu] = SHOWN.map(|metric| change(&group.lines, metric));
            (found as f64 >= POWER_MIN * of as f64).then(|| {
                format!(
                    "{}, in {found} of {of} (p50 {p50}, throughput {throughput}, CPU {cpu})",
                    group.treatment
                )
            })
        })
        .collect();
    if found.is_empty() {
        "None was detected in 90 % of its checks, with and without a second load, yet.".into()
    } else {
        format!(
            "Detected in at least 90 % of the checks, with and without a second load: {}.",
            found.join("; ")
        )
    }
}

fn change(log: &[&Line], metric: Metric) -> String {
    let changes: Vec<f64> = log.iter().filter_map(|line| line.metric(metric)?.change).collect();
    median(&changes).map_or("n/a".into(), |change| format!("{:+.1} %", change * 100.0))
}

/// The median change, and how many of the checks this metric would have failed alone.
fn change_and_share(log: &[&Line], metric: Metric) -> String {
    let failed = |line: &&&Line| {
        line.metric(metric)
            .is_some_and(|verdict| verdict.verdict == Verdict::Regressed)
    };
    let found = log.iter().filter(failed).count();
    format!("{}, {found} of {}", change(log, metric), log.len())
}

fn times(log: &[&Line]) -> Vec<f64> {
    log.iter().map(|line| line.elapsed_ns as f64).collect()
}

fn median_time(log: &[&Line]) -> String {
    median(&times(log)).map_or("n/a".into(), |ns| show_duration(Nanos(ns as u64)))
}

fn duration(log: &[&Line]) -> String {
    let longest = times(log).into_iter().fold(0.0, f64::max);
    format!(
        "A check took {} in the median, {} at most.",
        median_time(log),
        show_duration(Nanos(longest as u64))
    )
}
