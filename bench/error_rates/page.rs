//! The page of error rates, in Markdown: a function of the log.

use std::collections::BTreeMap;

use urecho::check::judge::decision::METHOD;
use urecho::check::judge::{Metric, MetricVerdict, Verdict};
use urecho::clock::Nanos;
use urecho::output::markdown::table;
use urecho::stats::{median, proportion};
use urecho::units::{plural, show_change, show_duration, show_percent};

use crate::log::{Begin, End, Entry};

/// Confidence of the bounds.
const CONFIDENCE: f64 = 0.95;

/// Targets: false alarms rarer than this; injected faults detected in this many checks, and all of them; and, beside a
/// second load, no more inconclusive checks of an unchanged server than this.
const FALSE_ALARMS_MAX: f64 = 0.01;
const DETECTIONS_IN_A_ROW: usize = 15;
const INCONCLUSIVE_MAX: f64 = 0.2;

/// A check that has an answer.
#[derive(Clone, Copy)]
struct Answer<'a> {
    begin: &'a Begin,
    end: &'a End,
    is_unchanged: bool,
}

impl<'a> Answer<'a> {
    /// None if the check has no answer.
    fn of(entry: &'a Entry) -> Option<Answer<'a>> {
        let end = entry.end.as_ref().filter(|end| end.is_complete())?;
        Some(Answer {
            begin: &entry.begin,
            end,
            is_unchanged: entry.is_unchanged(),
        })
    }

    /// True if it was made as users run checks: by this method, and without arguments of its own.
    fn is_of_the_defaults(&self) -> bool {
        self.end.settings.method == METHOD && self.begin.arguments.is_empty()
    }
}

/// The page.
pub(crate) fn page(log: &[Entry]) -> String {
    let answers: Vec<Answer<'_>> = log.iter().filter_map(Answer::of).collect();
    let (answers, other): (Vec<Answer<'_>>, Vec<Answer<'_>>) =
        answers.into_iter().partition(Answer::is_of_the_defaults);
    let without_answer = log.len() - answers.len() - other.len();
    let (unchanged, faults): (Vec<Answer<'_>>, Vec<Answer<'_>>) =
        answers.iter().copied().partition(|answer| answer.is_unchanged);
    let mut parts = vec![
        "# Error rates of `urecho check`".to_owned(),
        "Made from `log.jsonl`, two lines per check whose correct verdict was known, by `cargo bench --bench error_rates`. The \
         second load, in every third check, is an unrelated server that echoes 5,000 messages per second, not pinned. \
         Results of earlier rules are in [`0.3.0/`](0.3.0/README.md) (urecho 0.2 and 0.3) and \
         [`0.4-method-3/`](0.4-method-3/README.md) (27 checks)."
            .to_owned(),
        conditions(&answers),
        "## False alarms".to_owned(),
        "Base and head are the same program: `A/A` the same file, `A/A-copy` a copy of it, `A/A-build` another build of the same \
         commit in another directory."
            .to_owned(),
        unchanged_table(&unchanged),
        false_alarms(&unchanged),
        inconclusive(&unchanged),
        intervals(&unchanged),
        "## Injected faults".to_owned(),
        "`spin=250ns` is 250 ns of CPU time per message; `stall=5ms/1s` stops the server for 5 ms in every second; \
         `lag=1ms/100` echoes one message in 100 a millisecond later; `busy` never sleeps; `memory=1MiB` is about a tenth \
         of what the server uses. Detected: by any gating metric."
            .to_owned(),
        fault_table(&faults),
        "How many checks each metric would have failed alone, and the median of the measured changes; for `spikes`, `stalled` \
         and `idle-cpu` in percentage points:"
            .to_owned(),
        metric_table(&faults),
        power(&faults),
        "## Time".to_owned(),
        format!(
            "{} Checks without a verdict, because they were interrupted or a server failed: {without_answer}. Checks by other \
             methods or with other arguments, not counted above: {}.",
            duration(&answers),
            other.len()
        ),
    ];
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n") + "\n"
}

/// Each machine, build and arrangement, with the number of its checks.
fn conditions(answers: &[Answer<'_>]) -> String {
    let text = |answer: &Answer<'_>| {
        let machine = &answer.begin.environment.machine;
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
        let setup = answer.end.setup.as_ref();
        let loads = setup.map_or(&[][..], |setup| &setup.loads);
        let blocks: Vec<String> = loads
            .iter()
            .map(|load| format!("{} {}", load.blocks, load.profile.name()))
            .collect();
        format!(
            "{}, {} CPUs, Linux {}, urecho {} of commit {}, method {}; a budget of {}, {} blocks per restart in slices of {}",
            text(&machine.cpu_model),
            machine.cpus.map_or("unknown".into(), |cpus| cpus.to_string()),
            text(&machine.kernel),
            answer.begin.environment.urecho,
            text(&answer.begin.environment.commit),
            answer.end.settings.method,
            show_duration(Nanos(answer.end.settings.budget_ns)),
            blocks.join(" and "),
            show_duration(Nanos(loads.first().map_or(0, |load| load.plan.duration_ns))),
        )
    };
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for answer in answers {
        *counts.entry(text(answer)).or_default() += 1;
    }
    let lines = counts
        .into_iter()
        .map(|(text, count)| format!("- {}: {text}", plural(count, "check")));
    lines.collect::<Vec<_>>().join("\n")
}

/// The name of a group of checks with and without a second load.
const EITHER: &str = "either";

/// Checks with the same treatment.
struct Group<'a> {
    treatment: &'a str,
    /// `without` or `with` a second load, or [`EITHER`].
    load: &'static str,
    answers: Vec<Answer<'a>>,
}

/// Each treatment with and without a second load, and both together, in order of first appearance; last all together.
fn groups<'a>(answers: &[Answer<'a>]) -> Vec<Group<'a>> {
    let groups = treatments(answers).into_iter().flat_map(|treatment| {
        let of_treatment = answers.iter().filter(|answer| answer.begin.treatment == treatment);
        by_load(treatment, of_treatment.copied().collect())
    });
    groups.filter(|group| !group.answers.is_empty()).collect()
}

/// In order of first appearance.
fn treatments<'a>(answers: &[Answer<'a>]) -> Vec<&'a str> {
    let mut treatments: Vec<&str> = Vec::new();
    for answer in answers {
        if !treatments.contains(&answer.begin.treatment.as_str()) {
            treatments.push(&answer.begin.treatment);
        }
    }
    treatments
}

fn by_load<'a>(treatment: &'a str, all: Vec<Answer<'a>>) -> [Group<'a>; 3] {
    let (with, without): (Vec<Answer<'_>>, Vec<Answer<'_>>) = all.iter().partition(|answer| answer.begin.second_load);
    let both = !with.is_empty() && !without.is_empty();
    let either = if both { all } else { Vec::new() };
    [("without", without), ("with", with), (EITHER, either)].map(|(load, answers)| Group {
        treatment,
        load,
        answers,
    })
}

fn count(answers: &[Answer<'_>], verdict: Verdict) -> usize {
    answers.iter().filter(|answer| answer.end.verdict == verdict).count()
}

fn unchanged_table(answers: &[Answer<'_>]) -> String {
    let all = by_load("all", answers.to_vec());
    let rows = groups(answers).into_iter().chain(all).map(|group| {
        let (answers, alarms) = (&group.answers, count(&group.answers, Verdict::Regressed));
        [
            group.treatment.to_owned(),
            group.load.to_owned(),
            answers.len().to_string(),
            alarms.to_string(),
            show_percent(
                proportion::upper_bound(alarms as u64, answers.len() as u64, CONFIDENCE),
                1,
            ),
            count(answers, Verdict::Improved).to_string(),
            count(answers, Verdict::Passed).to_string(),
            count(answers, Verdict::Inconclusive).to_string(),
            median_time(answers),
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
    table(&head, rows).trim_end().to_owned()
}

fn false_alarms(answers: &[Answer<'_>]) -> String {
    let (alarms, of) = (count(answers, Verdict::Regressed) as u64, answers.len() as u64);
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

/// How often an unchanged server has no answer beside a second load.
fn inconclusive(answers: &[Answer<'_>]) -> String {
    let loaded: Vec<Answer<'_>> = answers
        .iter()
        .filter(|answer| answer.begin.second_load)
        .copied()
        .collect();
    let (inconclusive, of) = (count(&loaded, Verdict::Inconclusive), loaded.len());
    if of == 0 {
        return String::new();
    }
    let target = if inconclusive as f64 <= INCONCLUSIVE_MAX * of as f64 {
        "The target, at most one in five, is met."
    } else {
        "The target, at most one in five, is not met."
    };
    format!("Beside a second load, {inconclusive} of {of} checks ended INCONCLUSIVE. {target}")
}

/// Evidence from all confidence intervals of unchanged servers, which is stronger than that from verdicts.
fn intervals(answers: &[Answer<'_>]) -> String {
    let row = |name: &str, verdicts: Vec<&MetricVerdict>| {
        let intervals = verdicts.iter().filter_map(|verdict| verdict.interval);
        let (mut below, mut above) = (0, 0);
        for interval in intervals.clone() {
            below += u64::from(interval.high < 0.0);
            above += u64::from(interval.low > 0.0);
        }
        let widths: Vec<f64> = intervals
            .clone()
            .map(|interval| (interval.high - interval.low) / 2.0)
            .collect();
        let inconclusive = verdicts
            .iter()
            .filter(|verdict| verdict.verdict == Verdict::Inconclusive);
        [
            name.to_owned(),
            widths.len().to_string(),
            below.to_string(),
            above.to_string(),
            median(&widths).map_or("n/a".into(), |width| format!("±{}", show_percent(width, 1))),
            inconclusive.count().to_string(),
        ]
    };
    let of = |metric: Metric| -> Vec<&MetricVerdict> {
        let verdicts = answers.iter().filter_map(|answer| answer.end.metric(metric));
        verdicts.filter(|verdict| verdict.gates).collect()
    };
    let gating: Vec<Metric> = Metric::ALL
        .into_iter()
        .filter(|&metric| !of(metric).is_empty())
        .collect();
    if gating.is_empty() {
        return String::new();
    }
    let rows = gating.iter().map(|&metric| row(metric.name(), of(metric)));
    let all = row("all", gating.iter().flat_map(|&metric| of(metric)).collect());
    let nominal = answers.iter().map(|answer| {
        let settings = &answer.end.settings;
        2.0 * settings.alpha / settings.gate.len().max(1) as f64
    });
    format!(
        "Confidence intervals of these checks that exclude zero. Of those of one analysis, at most {} should, in either \
         direction; two analyses may double that.\n\n{}",
        show_percent(median(&nominal.collect::<Vec<_>>()).unwrap_or(0.0), 2),
        table(
            &[
                "metric",
                "intervals",
                "below zero",
                "above zero",
                "median half-width",
                "INCONCLUSIVE"
            ],
            rows.chain([all])
        )
        .trim_end()
    )
}

fn fault_table(answers: &[Answer<'_>]) -> String {
    let rows = groups(answers).into_iter().map(|group| {
        let (answers, found) = (&group.answers, count(&group.answers, Verdict::Regressed));
        [
            group.treatment.to_owned(),
            group.load.to_owned(),
            answers.len().to_string(),
            found.to_string(),
            show_percent(
                proportion::lower_bound(found as u64, answers.len() as u64, CONFIDENCE),
                1,
            ),
            count(answers, Verdict::Inconclusive).to_string(),
            (count(answers, Verdict::Passed) + count(answers, Verdict::Improved)).to_string(),
            median_time(answers),
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
        "median time",
    ];
    table(&head, rows).trim_end().to_owned()
}

/// What each gating metric contributes, by fault.
fn metric_table(answers: &[Answer<'_>]) -> String {
    let gates = |&metric: &Metric| {
        answers
            .iter()
            .any(|answer| answer.end.metric(metric).is_some_and(|verdict| verdict.gates))
    };
    let metrics: Vec<Metric> = Metric::ALL.into_iter().filter(gates).collect();
    let rows = treatments(answers).into_iter().map(|treatment| {
        let of_treatment: Vec<&End> = answers
            .iter()
            .filter(|answer| answer.begin.treatment == treatment)
            .map(|answer| answer.end)
            .collect();
        let cells = metrics.iter().map(|&metric| change_and_count(&of_treatment, metric));
        std::iter::once(treatment.to_owned())
            .chain(cells)
            .collect::<Vec<String>>()
    });
    let head: Vec<&str> = std::iter::once("fault")
        .chain(metrics.iter().map(|metric| metric.name()))
        .collect();
    table(&head, rows).trim_end().to_owned()
}

/// The median change, and how many of the checks this metric would have failed alone.
fn change_and_count(ends: &[&End], metric: Metric) -> String {
    let verdicts: Vec<&MetricVerdict> = ends.iter().filter_map(|end| end.metric(metric)).collect();
    let found = verdicts
        .iter()
        .filter(|verdict| verdict.verdict == Verdict::Regressed)
        .count();
    let changes: Vec<f64> = verdicts.iter().filter_map(|verdict| verdict.change).collect();
    let change = median(&changes).map_or("n/a".into(), show_change);
    format!("{found} of {}, {change}", ends.len())
}

/// The faults that are detected often enough, and those that are not.
fn power(answers: &[Answer<'_>]) -> String {
    let mut by_treatment: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for answer in answers {
        let (found, of) = by_treatment.entry(&answer.begin.treatment).or_default();
        *found += usize::from(answer.end.verdict == Verdict::Regressed);
        *of += 1;
    }
    let (met, rest): (Vec<_>, Vec<_>) = by_treatment
        .into_iter()
        .partition(|(_, (found, of))| found == of && *of >= DETECTIONS_IN_A_ROW);
    let list = |faults: &[(&str, (usize, usize))]| {
        let each = faults
            .iter()
            .map(|(treatment, (found, of))| format!("`{treatment}` in {found} of {of}"));
        match each.collect::<Vec<_>>().join(", ") {
            list if list.is_empty() => "none".into(),
            list => list,
        }
    };
    format!(
        "Detected in every check, {DETECTIONS_IN_A_ROW} or more: {}. Not (or not yet): {}.",
        list(&met),
        list(&rest)
    )
}

fn times(answers: &[Answer<'_>]) -> Vec<f64> {
    answers.iter().map(|answer| answer.end.elapsed_ns as f64).collect()
}

fn median_time(answers: &[Answer<'_>]) -> String {
    median(&times(answers)).map_or("n/a".into(), |ns| show_duration(Nanos(ns as u64)))
}

fn duration(answers: &[Answer<'_>]) -> String {
    let longest = times(answers).into_iter().fold(0.0, f64::max);
    format!(
        "A check took {} in the median, {} at most.",
        median_time(answers),
        show_duration(Nanos(longest as u64))
    )
}
