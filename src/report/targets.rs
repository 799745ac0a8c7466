//! A row per target, if a run has several.

use std::cmp::Reverse;
use std::fmt::{self, Display, Formatter};

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::distribution::{Distribution, Statistic};
use super::latency_table::value;
use super::percentile::Percentile;
use super::ratio;
use super::sections::TargetAddress;
use crate::load::by_target::{LATENCIES_MAX, TargetStats};
use crate::load::result::Messages;
use crate::load::{self, RunResult};
use crate::output::table::Column::{Left, Right};
use crate::output::table::{self, Column};
use crate::units::{show_count, show_rate};

/// Rows that the text has, at most; the JSON has all.
const SHOWN: usize = 16;

const ROW: [Column; 8] = [
    Left(23),
    Right(11),
    Right(12),
    Right(12),
    Right(12),
    Right(12),
    Right(12),
    Right(6),
];
const HEAD: [&str; 8] = [
    "target",
    "connections",
    "completed",
    "rate",
    "p50",
    "p99",
    "max",
    "failed",
];

/// The latencies in a row.
const LATENCIES: [Statistic; 3] = [
    Statistic::Percentile(Percentile::P50),
    Statistic::Percentile(Percentile::P99),
    Statistic::Max,
];

/// What became of the connections and messages of one target.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Which one.
    pub target: TargetAddress,
    /// Connections that opened; with churn, replacements count as well.
    pub opened: u64,
    /// Opened, then closed by the target before we closed them.
    pub lost: u64,
    /// What became of its messages. Messages of an open loop that were due and never sent belong to no target.
    pub messages: Messages,
    /// Messages completed per second of measuring.
    pub completed_per_s: f64,
    /// Response time in an open loop, service time in a closed one, to 2 significant digits. Null for targets beyond
    /// the first 1,024: theirs are not recorded.
    pub latency: Option<Distribution>,
}

impl Target {
    /// One for each target; none if there is only one.
    pub(super) fn all(run: &RunResult) -> Vec<Target> {
        let targets = run.plan.targets.iter().zip(run.stats.by_target.targets());
        let target = |(target, stats): (&load::Target, &TargetStats)| Target {
            target: TargetAddress::of(target),
            opened: stats.opened,
            lost: stats.lost,
            messages: Messages {
                sent: stats.completed + stats.failed + stats.missing,
                completed: stats.completed,
                failed: stats.failed,
                missing: stats.missing,
            },
            completed_per_s: ratio(stats.achieved as f64, run.stats.elapsed().as_secs()),
            latency: stats.latency.as_ref().map(Distribution::of),
        };
        targets.map(target).collect()
    }

    fn cells(&self) -> Vec<String> {
        let latencies = match &self.latency {
            None => vec!["n/a".to_owned(); LATENCIES.len()],
            Some(latency) => {
                let shown = latency.table().into_iter();
                let shown = shown.filter(|(statistic, _)| LATENCIES.contains(statistic));
                shown.map(|(statistic, figure)| value(statistic, figure)).collect()
            }
        };
        let mut cells = vec![
            format!("  {}", self.target),
            show_count(self.opened),
            show_count(self.messages.completed),
            show_rate(self.completed_per_s),
        ];
        cells.extend(latencies);
        cells.push(show_count(self.messages.failed + self.messages.missing));
        cells
    }
}

/// The rows in the order of the targets; of many targets those with the longest p99.
pub(super) struct TargetTable<'a>(pub(super) &'a [Target]);

impl Display for TargetTable<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rows: Vec<&Target> = self.0.iter().collect();
        if rows.is_empty() {
            return Ok(());
        }
        writeln!(f, "{}", table::row(&ROW, &HEAD))?;
        if rows.len() > SHOWN {
            rows.sort_by_key(|row| Reverse(row.latency.as_ref().map(|latency| (latency.p99_ns, latency.max_ns))));
            rows.truncate(SHOWN);
        }
        for row in rows {
            writeln!(f, "{}", table::row(&ROW, &row.cells()))?;
        }
        if self.0.len() > SHOWN {
            let more = show_count((self.0.len() - SHOWN) as u64);
            writeln!(f, "  and {more} more: these have the longest p99, the JSON has all")?;
        }
        if self.0.len() > LATENCIES_MAX {
            let most = show_count(LATENCIES_MAX as u64);
            writeln!(f, "  latencies are recorded of the first {most} targets only")?;
        }
        writeln!(f, "  latencies of targets are exact to 1 %; failed: without a reply")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Nanos;
    use crate::histogram::Recorder;

    fn target(number: u64) -> Target {
        let mut recorder = Recorder::coarse();
        (0..400).for_each(|_| recorder.record(Nanos(number * 1_000_000)));
        Target {
            target: TargetAddress {
                name: format!("127.0.0.1:{number}"),
                address: format!("127.0.0.1:{number}"),
            },
            opened: 3,
            lost: 0,
            messages: Messages::default(),
            completed_per_s: 40.0,
            latency: Some(Distribution::of(&recorder)),
        }
    }

    #[test]
    fn of_many_targets_the_text_has_the_slowest() {
        let all: Vec<Target> = (1..=20).map(target).collect();
        let text = TargetTable(&all).to_string();
        assert!(
            text.contains("127.0.0.1:20 ") && !text.contains("127.0.0.1:4 "),
            "{text}"
        );
        assert!(text.contains("and 4 more"), "{text}");
        assert_eq!(TargetTable(&[]).to_string(), "");
    }

    #[test]
    fn a_few_targets_are_in_their_order() {
        let text = TargetTable(&[target(7), target(9)]).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains(":7 ") && lines[2].contains(":9 "), "{text}");
        assert_eq!(
            lines[0].find("max").map(|at| at + 3),
            lines[1].rfind("7.00 ms").map(|at| at + 7),
            "{text}"
        );
    }
}
