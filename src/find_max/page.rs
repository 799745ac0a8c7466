//! A search as a page: latency and completed rate by offered rate, with the rate that was found.

use super::curve::{Curve, Point, heads};
use super::knee::knee;
use super::search::Outcome;
use crate::html::{self, Axis, Chart, Color, LABEL_WIDTH, Layer, Markup, Scale, Section, html};
use crate::output::untrusted;
use crate::report::page::how_to_repeat;
use crate::stats::median;
use crate::units::show_rate;

impl Curve {
    /// As a section of a page.
    pub fn section(&self) -> Section {
        let conditions = self.conditions.join(" and ");
        let class = match self.found_per_s {
            Some(_) if !self.partial => "verdict",
            _ => "verdict bad",
        };
        let points = self.sorted();
        let heads = heads(&conditions);
        Section {
            title: format!("Highest rate with {conditions}"),
            body: html! {
                div class=(class) {
                    p { strong { "Found: " (self.found()) "." } }
                    @if let Some(undecided) = self.undecided() { p { "Undecided: " (undecided) "." } }
                    @if let Some(error) = &self.error { p { (untrusted::text(error)) } }
                }
                (self.latencies(&points))
                (self.rates(&points))
                h2 { "Runs" }
                (html::table(&heads, points.iter().map(|point| point.cells())))
                @if let Some(environment) = &self.environment {
                    h2 { "How to repeat it" }
                    (how_to_repeat(environment, Vec::new()))
                }
            },
        }
    }

    /// What is marked in both charts.
    fn marks(&self, points: &[&Point]) -> Vec<Layer> {
        let knee = knee(&by_rate(points, |point| point.response.p99_ns.map(|ns| ns as f64)));
        let mark = |name: String, color, x| Layer::Mark { name, color, x };
        let found = self
            .found_per_s
            .map(|rate| mark(format!("found: {}", show_rate(rate)), Color::C, rate));
        let knee = knee.map(|rate| mark(format!("knee of p99: {}", show_rate(rate)), Color::Muted, rate));
        found.into_iter().chain(knee).collect()
    }

    fn latencies(&self, points: &[&Point]) -> Markup {
        let percentiles = [
            (
                "p99.9",
                Color::Muted,
                (|point| point.response.p99_9_ns) as fn(&Point) -> Option<u64>,
            ),
            ("p99", Color::B, |point| point.response.p99_ns),
            ("p50", Color::A, |point| point.response.p50_ns),
        ];
        let all = || {
            percentiles
                .iter()
                .flat_map(|(_, _, value)| points.iter().filter_map(|point| value(point)))
        };
        let (low, high) = (all().min().unwrap_or(1) as f64, all().max().unwrap_or(2) as f64);
        let lines = percentiles.iter().map(|&(name, color, value)| Layer::Line {
            name: name.into(),
            color,
            points: line(by_rate(points, |point| value(point).map(|ns| ns as f64))),
            dashed: false,
        });
        let dots = |name: &str, color, held: bool| {
            let wanted = points.iter().filter(|point| (point.outcome == Outcome::Held) == held);
            let p99 = wanted.filter_map(|point| Some((point.offered_per_s, point.response.p99_ns? as f64)));
            Layer::Dots {
                name: name.into(),
                color,
                points: p99.collect(),
            }
        };
        let dots = [
            dots("p99 of a run that held", Color::C, true),
            dots("p99 of a run that did not, or is undecided", Color::D, false),
        ];
        let chart = Chart {
            title: "Response time by offered rate".into(),
            note:
                "Lines are medians of the runs at a rate. The knee is where p99 turns away from the line between its \
                   ends most (Kneedle: Satopää et al., 2011)."
                    .into(),
            height: 380,
            label_width: LABEL_WIDTH,
            x: offered(points),
            y: Axis::durations(low..high),
            layers: lines.chain(dots).chain(self.marks(points)).collect(),
        };
        html! { @if !points.is_empty() { (chart.figure()) } }
    }

    fn rates(&self, points: &[&Point]) -> Markup {
        let high = points
            .iter()
            .map(|point| point.offered_per_s.max(point.completed_per_s))
            .fold(0.0, f64::max);
        let curve = |name: &str, color, dashed, value: fn(&Point) -> f64| Layer::Line {
            name: name.into(),
            color,
            points: line(by_rate(points, |point| Some(value(point)))),
            dashed,
        };
        let lines = [
            curve("offered", Color::Muted, true, |point| point.offered_per_s),
            curve("completed", Color::A, false, |point| point.completed_per_s),
        ];
        let chart = Chart {
            title: "Completed by offered rate".into(),
            note: String::new(),
            height: 260,
            label_width: LABEL_WIDTH,
            x: offered(points),
            y: Axis::new(Scale::Linear, 0.0..high * 1.05, show_rate),
            layers: lines.into_iter().chain(self.marks(points)).collect(),
        };
        html! { @if !points.is_empty() { (chart.figure()) } }
    }
}

fn offered(points: &[&Point]) -> Axis {
    let high = points.iter().map(|point| point.offered_per_s).fold(0.0, f64::max);
    Axis::new(Scale::Linear, 0.0..high * 1.02, show_rate)
}

/// The median over the runs at each rate, in order of rate; rates without a value are left out.
fn by_rate(points: &[&Point], value: impl Fn(&Point) -> Option<f64>) -> Vec<(f64, f64)> {
    let runs = points.chunk_by(|one, other| one.offered_per_s == other.offered_per_s);
    let medians = runs.filter_map(|runs| {
        let values: Vec<f64> = runs.iter().filter_map(|point| value(point)).collect();
        Some((runs[0].offered_per_s, median(&values)?))
    });
    medians.collect()
}

fn line(points: Vec<(f64, f64)>) -> Vec<(f64, Option<f64>)> {
    points.into_iter().map(|(x, y)| (x, Some(y))).collect()
}
