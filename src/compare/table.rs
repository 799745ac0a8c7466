//! A comparison as tables: for the terminal, and in Markdown.

use std::fmt::{self, Display, Formatter};

use super::comparison::{Compared, Comparison, Ratio, Scenario, ServerResult};
use crate::clock::Nanos;
use crate::report::text::what_load;
use crate::sys::affinity;
use crate::units::{show_count, show_duration};

/// The columns: a head, and a figure with its way to be written.
const COLUMNS: [Column; 4] = [
    ("messages/s", |server| server.rate_per_s, per_second),
    ("p50", |server| server.p50_ns, duration),
    ("p99", |server| server.p99_ns, duration),
    ("CPU/message", |server| server.cpu_ns_per_message, duration),
];

type Column = (&'static str, fn(&ServerResult) -> Option<Compared>, fn(f64) -> String);

const LEGEND: &str = "Second lines: ratio to the first server, with its 95 % interval over restarts. \
    `=`: not resolved, the interval contains 1. `?`: fewer than 6 restarts, no interval.";

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for scenario in &self.scenarios {
            scenario.fmt(f)?;
            writeln!(f)?;
        }
        writeln!(f, "{LEGEND}")?;
        if self.partial {
            writeln!(f, "PARTIAL: interrupted before all restarts were done")?;
        }
        Ok(())
    }
}

impl Comparison {
    /// The same in Markdown.
    pub fn markdown(&self) -> String {
        let tables: Vec<String> = self.scenarios.iter().map(Scenario::markdown).collect();
        format!(
            "{}\n{}\n",
            tables.join("\n"),
            LEGEND.replace("Second lines: ratio", "In brackets: ratio")
        )
    }
}

impl Scenario {
    fn title(&self) -> String {
        what_load(self.connections, &self.load)
    }

    fn method(&self) -> String {
        let method = &self.method;
        let on = |cpus: &[usize]| match cpus {
            [] => "any CPU".to_owned(),
            cpus => format!("CPU {}", affinity::show(cpus)),
        };
        let apart = if method.connected_at_once {
            ""
        } else {
            ", connections opened for each slice"
        };
        format!(
            "{} restarts of {} blocks of 2 slices of {} for each server{apart}; servers on {}, generator on {}",
            method.restarts,
            method.blocks,
            show_duration(Nanos(self.load.duration_ns)),
            on(&method.server_cpus),
            on(&self.load.cpus),
        )
    }

    /// A sentence for each server that did not sleep while others had the traffic.
    fn restless(&self) -> impl Iterator<Item = String> {
        let awake = self.servers.iter().filter_map(|server| {
            let ratio = server.idle_cpu_ratio?;
            (ratio > super::comparison::ASLEEP).then_some((&server.name, ratio))
        });
        awake.map(|(name, ratio)| {
            format!(
                "NOT IDLE: {name} used {:.0} % of a CPU while others had the traffic; their figures suffer from it",
                100.0 * ratio
            )
        })
    }

    pub(super) fn markdown(&self) -> String {
        let heads = COLUMNS.map(|(head, ..)| head).join(" | ");
        let rule = "---|".repeat(COLUMNS.len() + 1);
        let rows: Vec<String> = self.servers.iter().map(ServerResult::markdown).collect();
        format!(
            "**{}**\n\n{}\n\n| server | {heads} |\n|{rule}\n{}\n{}",
            self.title(),
            self.method(),
            rows.join("\n"),
            self.restless().map(|text| format!("\n{text}\n")).collect::<String>()
        )
    }
}

impl Display for Scenario {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n  {}", self.title(), self.method())?;
        let heads = COLUMNS.map(|(head, ..)| format!("{head:>21}"));
        writeln!(f, "  {:<14}{}", "", heads.concat())?;
        self.servers.iter().try_for_each(|server| server.fmt(f))?;
        self.restless().try_for_each(|text| writeln!(f, "  {text}"))
    }
}

impl Display for ServerResult {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(failure) = &self.failure {
            return writeln!(f, "  {:<14}  FAILED: {failure}", self.name);
        }
        let scenarios = COLUMNS.map(|(_, figure, show)| (figure(self), show));
        let figures = scenarios.map(|(scenario, show)| {
            let figure = scenario.map_or("n/a".to_owned(), |scenario| show(scenario.median));
            format!("{figure:>21}")
        });
        writeln!(f, "  {:<14}{}", self.name, figures.concat())?;
        if scenarios
            .iter()
            .all(|(scenario, _)| scenario.is_none_or(|scenario| scenario.ratio.is_none()))
        {
            return Ok(());
        }
        let ratios = scenarios.map(|(scenario, _)| {
            let ratio = scenario.and_then(|scenario| scenario.ratio);
            format!("{:>21}", ratio.map_or(String::new(), |ratio| ratio.to_string()))
        });
        writeln!(f, "  {:<14}{}", "", ratios.concat().trim_end())
    }
}

impl ServerResult {
    fn markdown(&self) -> String {
        if let Some(failure) = &self.failure {
            let failure = failure.replace('|', "\\|").replace('\n', " ");
            return format!(
                "| {} | FAILED: {failure} |{}",
                self.name,
                " |".repeat(COLUMNS.len() - 1)
            );
        }
        let scenarios = COLUMNS.map(|(_, figure, show)| match figure(self) {
            None => "n/a".to_owned(),
            Some(Compared { median, ratio: None }) => show(median),
            Some(Compared {
                median,
                ratio: Some(ratio),
            }) => format!("{} [{ratio}]", show(median)),
        });
        format!("| {} | {} |", self.name, scenarios.join(" | "))
    }
}

impl Display for Ratio {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let estimate = short(self.estimate);
        match self.interval {
            None => write!(f, "{estimate} ?"),
            Some((low, high)) => {
                let mark = if self.is_resolved() { "" } else { "=" };
                write!(f, "{mark}{estimate} ({}-{})", short(low), short(high))
            }
        }
    }
}

/// Three digits that count.
fn short(ratio: f64) -> String {
    match ratio {
        0.0..1.0 => format!("{ratio:.3}"),
        1.0..10.0 => format!("{ratio:.2}"),
        10.0..100.0 => format!("{ratio:.1}"),
        _ => format!("{ratio:.0}"),
    }
}

fn per_second(rate: f64) -> String {
    show_count(rate.round() as u64)
}

fn duration(ns: f64) -> String {
    show_duration(Nanos(ns.round() as u64))
}
