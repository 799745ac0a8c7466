//! Several runs of one plan as a page: the figures with their intervals, each run's value, and the spectra of all.

use super::{Repeated, Repeats, cells};
use crate::html::{self, Axis, Chart, Color, Layer, Markup, Section, extent, html};
use crate::output::untrusted;
use crate::report::assertion::Metric;
use crate::report::page::{how_to_repeat, spectra};
use crate::report::text::describe;
use crate::report::validity::Grade;
use crate::units::plural;

impl Repeats {
    /// As a section of a page.
    pub fn section(&self) -> Section {
        let first = self.runs.first();
        let load = first.map(|run| describe(run.figures.connections.requested, &run.figures.plan));
        let class = match self.grade() {
            Grade::Valid => "verdict",
            Grade::Suspect => "verdict doubtful",
            Grade::Invalid => "verdict bad",
        };
        let heads = [
            "figure",
            "estimate",
            "95 % confidence interval",
            "lowest and highest run",
        ];
        let seeds = first.map(|run| ("first seed", run.figures.plan.seed.to_string()));
        Section {
            title: format!(
                "{} of {}",
                plural(self.runs.len() as u64, "run"),
                load.unwrap_or_else(|| "nothing".into())
            ),
            body: html! {
                div class=(class) {
                    p { strong { (self.grade()) } " is the worst verdict of the runs." }
                    @if self.partial { p { "There are fewer runs than planned." } }
                    @if let Some(error) = &self.error { p { (untrusted::text(error)) } }
                    @for outcome in &self.assertions { p { "Assertion " (untrusted::text(&outcome.text)) } }
                }
                (html::table(&heads, self.figures.iter().map(cells)))
                (runs(&self.figures))
                (spectra(&self.runs))
                @if let Some(run) = first {
                    h2 { "How to repeat it" }
                    (how_to_repeat(&run.figures.environment, seeds.into_iter().collect()))
                }
            },
        }
    }
}

/// The latencies of each run, and their intervals over the runs.
fn runs(figures: &[Repeated]) -> Markup {
    let latencies = figures
        .iter()
        .filter(|figure| matches!(figure.metric, Metric::Latency(..)));
    let latencies: Vec<&Repeated> = latencies
        .filter(|figure| figure.values.iter().any(Option::is_some))
        .collect();
    let values = latencies
        .iter()
        .flat_map(|figure| figure.values.iter().flatten().copied());
    let Some(range) = extent(values) else {
        return html! {};
    };
    let layers = latencies.iter().enumerate().flat_map(|(row, figure)| {
        let row = row as f64;
        let dots = Layer::Dots {
            name: String::new(),
            color: Color::A,
            points: figure.values.iter().flatten().map(|&value| (value, -row)).collect(),
        };
        let ends = figure.interval.map(|interval| [interval.low, interval.high]);
        let estimate = figure.estimate.map(|at| Layer::Interval {
            color: Color::B,
            row: row + 0.3,
            at,
            ends,
        });
        std::iter::once(dots).chain(estimate)
    });
    let chart = Chart {
        title: "Each run".into(),
        note: "Dots are runs; below them is the estimate over all with its 95 % confidence interval, if there is one."
            .into(),
        height: 60 + 34 * latencies.len() as u32,
        label_width: 150,
        x: Axis::durations(range),
        layers: layers.collect(),
        y: Axis::rows(latencies.iter().map(|figure| figure.metric.to_string()).collect()),
    };
    chart.figure()
}
