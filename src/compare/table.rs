//! A comparison as tables, for a terminal and in Markdown.

use std::fmt::{self, Display, Formatter};

use super::comparison::{BACKGROUND_CPU_RATIO_MAX, Compared, Comparison, Ratio, RatioInterval, Scenario, ServerResult};
use crate::clock::Nanos;
use crate::output::markdown;
use crate::output::table::Column::{Left, Right};
use crate::output::table::{self, Column};
use crate::output::untrusted;
use crate::report::text::describe;
use crate::report::validity::Reason;
use crate::sys::affinity;
use crate::units::{show_count, show_duration, show_percent};

/// A figure of a server, and how to show it.
pub(super) struct FigureColumn {
    pub(super) head: &'static str,
    pub(super) figure: fn(&ServerResult) -> Option<Compared>,
    pub(super) show: fn(f64) -> String,
}

pub(super) const FIGURES: [FigureColumn; 4] = [
    FigureColumn {
        head: "messages/s",
        figure: |server| server.completed_per_s,
        show: per_second,
    },
    FigureColumn {
        head: "p50",
        figure: |server| server.p50_ns,
        show: duration,
    },
    FigureColumn {
        head: "p99",
        figure: |server| server.p99_ns,
        show: duration,
    },
    FigureColumn {
        head: "CPU/message",
        figure: |server| server.cpu_ns_per_message,
        show: duration,
    },
];

/// The columns in plain text: the server, then its figures.
const COLUMNS: [Column; 5] = [Left(14), Right(19), Right(19), Right(19), Right(19)];

pub(super) const LEGEND: &str = "ratio to the first server, with its 95 % confidence interval over restarts. \
    `=`: not resolved, the confidence interval contains 1. `?`: fewer than 6 restarts, no confidence interval.";

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for scenario in &self.scenarios {
            scenario.fmt(f)?;
            writeln!(f)?;
        }
        writeln!(f, "Second lines: {LEGEND}")?;
        if self.partial {
            writeln!(f, "PARTIAL: interrupted before the last restart")?;
        }
        Ok(())
    }
}

impl Comparison {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        let tables: Vec<String> = self.scenarios.iter().map(Scenario::markdown).collect();
        format!("{}\nIn square brackets: {LEGEND}\n", tables.join("\n"))
    }
}

impl Scenario {
    pub(super) fn title(&self) -> String {
        describe(self.connections, &self.load)
    }

    pub(super) fn method(&self) -> String {
        let method = &self.method;
        let on = |cpus: &[usize]| match cpus {
            [] => "any CPU".to_owned(),
            cpus => format!("CPU {}", affinity::show(cpus)),
        };
        let note = if method.connected_at_once {
            ""
        } else {
            ", connections opened for each slice"
        };
        format!(
            "{} restarts of {} blocks of 2 slices of {} for each server{note}; servers on {}, generator on {}",
            method.restarts,
            method.blocks,
            show_duration(Nanos(self.load.duration_ns)),
            on(&method.server_cpus),
            on(&self.load.cpus),
        )
    }

    /// A line for each server that was busy while others had the traffic.
    fn not_idle(&self) -> impl Iterator<Item = String> {
        let busy = self.servers.iter().filter_map(|server| {
            let ratio = server.background_cpu_ratio?;
            (ratio > BACKGROUND_CPU_RATIO_MAX).then_some((&server.name, ratio))
        });
        busy.map(|(name, ratio)| {
            let cpu = show_percent(ratio, 0);
            format!("NOT IDLE: {name} used {cpu} of a CPU while others had the traffic, which may slow them down")
        })
    }

    /// What makes the figures doubtful, a line each.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        let reasons = self.reasons.iter().map(Reason::to_string);
        self.not_idle().chain(reasons)
    }

    pub(super) fn markdown(&self) -> String {
        let heads = heads("server");
        let table = markdown::table(&heads, self.servers.iter().map(ServerResult::cells));
        let notes: String = self.notes().map(|text| format!("\n{text}\n")).collect();
        format!("**{}**\n\n{}\n\n{table}{notes}", self.title(), self.method())
    }
}

impl Display for Scenario {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n  {}", self.title(), self.method())?;
        writeln!(f, "  {}", table::row(&COLUMNS, &heads("")))?;
        self.servers.iter().try_for_each(|server| server.fmt(f))?;
        self.notes().try_for_each(|text| writeln!(f, "  {text}"))
    }
}

impl Display for ServerResult {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(failure) = &self.failure {
            // It may contain stderr of the server.
            return writeln!(f, "  {:<14}  FAILED: {}", self.name, untrusted::note(failure));
        }
        let figures =
            FIGURES.map(|column| (column.figure)(self).map_or("n/a".to_owned(), |one| (column.show)(one.median)));
        writeln!(f, "  {}", table::row(&COLUMNS, &with_first(&self.name, figures)))?;
        let ratios = FIGURES.map(|column| (column.figure)(self).and_then(|figure| figure.ratio));
        if ratios.iter().all(Option::is_none) {
            return Ok(());
        }
        let ratios = ratios.map(|ratio| ratio.map_or(String::new(), |ratio| ratio.to_string()));
        writeln!(f, "  {}", table::row(&COLUMNS, &with_first("", ratios)))
    }
}

impl ServerResult {
    /// The cells of its row in Markdown.
    fn cells(&self) -> Vec<String> {
        if let Some(failure) = &self.failure {
            let mut figures = [const { String::new() }; FIGURES.len()];
            figures[0] = format!("FAILED: {}", untrusted::markdown(failure));
            return with_first(&self.name, figures);
        }
        let figures = FIGURES.map(|FigureColumn { figure, show, .. }| match figure(self) {
            None => "n/a".to_owned(),
            Some(Compared { median, ratio: None }) => show(median),
            Some(Compared {
                median,
                ratio: Some(ratio),
            }) => format!("{} [{ratio}]", show(median)),
        });
        with_first(&self.name, figures)
    }
}

pub(super) fn heads(first: &'static str) -> Vec<&'static str> {
    std::iter::once(first)
        .chain(FIGURES.map(|column| column.head))
        .collect()
}

fn with_first(first: &str, figures: [String; FIGURES.len()]) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(figures).collect()
}

impl Display for Ratio {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let estimate = short(self.estimate);
        match self.interval {
            None => write!(f, "{estimate} ?"),
            Some(RatioInterval { low, high }) => {
                let mark = if self.is_resolved() { "" } else { "=" };
                write!(f, "{mark}{estimate} ({}-{})", short(low), short(high))
            }
        }
    }
}

/// Three significant digits.
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
