//! A comparison as tables: for the terminal, and in Markdown.

use std::fmt::{self, Display, Formatter};

use super::{Cell, Compared, Comparison, Ratio, Standing};
use crate::clock::Nanos;
use crate::report::text::what_load;
use crate::sys::affinity;
use crate::units::{show_count, show_duration};

/// The columns: a head, and a figure with its way to be written.
const COLUMNS: [Column; 4] = [
    ("messages/s", |standing| standing.rate_per_s, per_second),
    ("p50", |standing| standing.p50_ns, duration),
    ("p99", |standing| standing.p99_ns, duration),
    ("CPU/message", |standing| standing.cpu_ns_per_message, duration),
];

type Column = (&'static str, fn(&Standing) -> Option<Compared>, fn(f64) -> String);

const LEGEND: &str = "Second lines: ratio to the first server, with its 95 % interval over restarts. \
    `=`: not resolved, the interval contains 1. `?`: fewer than 6 restarts, no interval.";

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for cell in &self.cells {
            cell.fmt(f)?;
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
        let tables: Vec<String> = self.cells.iter().map(Cell::markdown).collect();
        format!(
            "{}\n{}\n",
            tables.join("\n"),
            LEGEND.replace("Second lines: ratio", "In brackets: ratio")
        )
    }
}

impl Cell {
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
        let awake = self.standings.iter().filter_map(|standing| {
            let ratio = standing.idle_cpu_ratio?;
            (ratio > super::ASLEEP).then_some((&standing.name, ratio))
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
        let rows: Vec<String> = self.standings.iter().map(Standing::markdown).collect();
        format!(
            "**{}**\n\n{}\n\n| server | {heads} |\n|{rule}\n{}\n{}",
            self.title(),
            self.method(),
            rows.join("\n"),
            self.restless().map(|text| format!("\n{text}\n")).collect::<String>()
        )
    }
}

impl Display for Cell {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n  {}", self.title(), self.method())?;
        let heads = COLUMNS.map(|(head, ..)| format!("{head:>21}"));
        writeln!(f, "  {:<14}{}", "", heads.concat())?;
        self.standings.iter().try_for_each(|standing| standing.fmt(f))?;
        self.restless().try_for_each(|text| writeln!(f, "  {text}"))
    }
}

impl Display for Standing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(failure) = &self.failure {
            return writeln!(f, "  {:<14}  FAILED: {failure}", self.name);
        }
        let cells = COLUMNS.map(|(_, figure, show)| (figure(self), show));
        let figures = cells.map(|(cell, show)| {
            let figure = cell.map_or("n/a".to_owned(), |cell| show(cell.median));
            format!("{figure:>21}")
        });
        writeln!(f, "  {:<14}{}", self.name, figures.concat())?;
        if cells
            .iter()
            .all(|(cell, _)| cell.is_none_or(|cell| cell.ratio.is_none()))
        {
            return Ok(());
        }
        let ratios = cells.map(|(cell, _)| {
            let ratio = cell.and_then(|cell| cell.ratio);
            format!("{:>21}", ratio.map_or(String::new(), |ratio| ratio.to_string()))
        });
        writeln!(f, "  {:<14}{}", "", ratios.concat().trim_end())
    }
}

impl Standing {
    fn markdown(&self) -> String {
        if let Some(failure) = &self.failure {
            let failure = failure.replace('|', "\\|").replace('\n', " ");
            return format!(
                "| {} | FAILED: {failure} |{}",
                self.name,
                " |".repeat(COLUMNS.len() - 1)
            );
        }
        let cells = COLUMNS.map(|(_, figure, show)| match figure(self) {
            None => "n/a".to_owned(),
            Some(Compared { median, ratio: None }) => show(median),
            Some(Compared {
                median,
                ratio: Some(ratio),
            }) => format!("{} [{ratio}]", show(median)),
        });
        format!("| {} | {} |", self.name, cells.join(" | "))
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
