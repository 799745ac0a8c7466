//! The report of a run as a page: the verdict in words, charts, the table, and how to repeat it.

mod heat_map;
mod over_time;
mod spectrum;

use over_time::OverTime;

use super::distribution::Statistic;
use super::latency_table::LatencyTable;
use super::percentile::Percentile;
use super::validity::Grade;
use super::{Environment, Report};
use crate::html::{self, Markup, Section, html};
use crate::output::untrusted;
use crate::units::{show_rate, show_size};

pub use spectrum::of_runs as spectra;

impl Report {
    /// As a section of a page.
    pub fn section(&self) -> Section {
        let plan = &self.figures.plan;
        Section {
            title: format!("Load on {}", untrusted::text(&plan.targets_shown())),
            body: html! {
                p.note { (self.figures.title()) }
                (self.verdict_in_words())
                (spectrum::of_run(&self.figures))
                @if self.figures.over_time.len() > 1 { (OverTime::of(&self.figures).charts()) }
                h2 { "Latencies" }
                (self.figures.latency_tables().page())
                h2 { "How to repeat it" }
                (how_to_repeat(&self.figures.environment, self.repeat_facts()))
                details { summary { "The whole report" } pre { (untrusted::text_lines(&self.to_string())) } }
            },
        }
    }

    fn verdict_in_words(&self) -> Markup {
        let (class, meaning) = match self.verdict.grade {
            Grade::Valid => ("verdict", "these figures describe the server"),
            Grade::Suspect => (
                "verdict doubtful",
                "some figures may describe the generator or this machine instead",
            ),
            Grade::Invalid => ("verdict bad", "these figures do not describe the server"),
        };
        html! {
            div class=(class) {
                p { strong { (self.verdict.grade) } ": " (meaning) "." @if self.partial { " The run ended before the planned end." } }
                p { (self.figures.summary()) }
                @if !self.verdict.reasons.is_empty() {
                    ul { @for reason in &self.verdict.reasons {
                        li { code { (reason.code) } ": " (untrusted::text(&reason.what)) ". " (reason.advice) }
                    } }
                }
                @if !self.assertions.is_empty() {
                    ul { @for outcome in &self.assertions { li { "Assertion " (untrusted::text(&outcome.text)) } } }
                }
            }
        }
    }

    fn repeat_facts(&self) -> Vec<(&'static str, String)> {
        let figures = &self.figures;
        let mut facts = vec![("seed", figures.plan.seed.to_string())];
        facts.extend(figures.began.map(|began| ("measuring began", began.to_string())));
        facts
    }
}

impl super::Figures {
    /// The main latency and the rate in one line.
    fn summary(&self) -> String {
        let latency = self.main_latency();
        let name = if self.latency.response.is_some() {
            "Response time"
        } else {
            "Service time"
        };
        let [p50, p99] = [Percentile::P50, Percentile::P99].map(|percentile| {
            let wanted = Statistic::Percentile(percentile);
            let (_, figure) = latency
                .table()
                .into_iter()
                .find(|(one, _)| *one == wanted)
                .expect("it is in the table");
            super::latency_table::value(wanted, figure)
        });
        let connections = crate::units::plural(self.connections.requested, "connection");
        let rate = show_rate(self.completed_per_s);
        format!("{name}: p50 {p50}, p99 {p99}; {rate} completed over {connections}.")
    }
}

/// The build, the command line and the machine, between other facts.
pub fn how_to_repeat(environment: &Environment, others: Vec<(&'static str, String)>) -> Markup {
    let machine = &environment.machine;
    let known = |text: &Option<String>| untrusted::text(text.as_deref().unwrap_or("unknown"));
    let build = match &environment.commit {
        Some(commit) => format!("{} ({commit})", environment.urecho),
        None => environment.urecho.clone(),
    };
    let command = shell_words::join(&environment.command);
    let mut facts = vec![("command", untrusted::text(&command))];
    facts.extend(others);
    facts.extend([
        ("urecho", build),
        ("CPU", known(&machine.cpu_model)),
        ("CPUs", machine.cpus.map_or("unknown".into(), |cpus| cpus.to_string())),
        ("memory", machine.memory_bytes.map_or("unknown".into(), show_size)),
        ("Linux", known(&machine.kernel)),
        ("congestion control", known(&machine.congestion_control)),
    ]);
    html::facts(facts)
}

impl LatencyTable<'_> {
    fn page(&self) -> Markup {
        let names = self.0.iter().flat_map(|&(name, _)| [name, "95 % confidence interval"]);
        let heads: Vec<&str> = std::iter::once("latency").chain(names).collect();
        let mut legend = String::new();
        let _ = self.legend(&mut legend); // Into a string: cannot fail.
        html! {
            (html::table(&heads, self.rows()))
            @for line in legend.lines() { div.note { (line.trim()) } }
        }
    }
}
