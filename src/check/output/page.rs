//! A check as a page: the decision, and for each metric the values of the restarts, their interval and the threshold.

use super::json::Check;
use super::row::{TITLES, percent, row, signed_percent};
use super::summary::Summary;
use crate::check::judge::{MetricVerdict, Verdict, scores};
use crate::html::{self, Axis, Chart, Color, LABEL_WIDTH, Layer, Markup, Scale, Section, extent, html};
use crate::output::untrusted;
use crate::report::page::how_to_repeat;

impl Check {
    /// As a section of a page.
    pub fn section(&self) -> Section {
        let summary = self.summary();
        let metrics = self.judgement.metrics.iter();
        let (gating, others): (Vec<_>, Vec<_>) = metrics.partition(|metric| metric.gates);
        let seed = self
            .record
            .loads()
            .first()
            .map(|load| ("seed", load.plan.seed.to_string()));
        Section {
            title: summary.headline(),
            body: html! {
                (summary.page())
                h2 { "Restarts" }
                p.note {
                    "Each dot is the change of head in one restart; below them is the estimate with its interval at the \
                     error level of the check. Head regressed if the whole interval is worse than no change and the \
                     estimate is beyond the threshold; it passed if the whole interval is short of the threshold."
                }
                @for metric in gating { (self.chart(metric)) }
                @if !others.is_empty() {
                    h2 { "Metrics that do not gate" }
                    @for metric in others { (self.chart(metric)) }
                }
                h2 { "How to repeat it" }
                (how_to_repeat(&self.record.environment, seed.into_iter().collect()))
            },
        }
    }

    fn chart(&self, verdict: &MetricVerdict) -> Markup {
        let metric = verdict.metric;
        let scores = scores(&self.record, metric).into_iter();
        let changes: Vec<f64> = scores.map(|score| metric.change(score)).collect();
        let marks = marks(verdict);
        let ends = verdict.interval.map(|interval| [interval.low, interval.high]);
        let shown = marks.iter().map(|mark| mark.2).chain(changes.iter().copied());
        let shown = extent(shown.chain(ends.into_iter().flatten()).chain(verdict.change)).unwrap_or(0.0..0.0);
        let margin = 0.06 * (shown.end - shown.start).max(1e-4);
        let color = color_of(verdict.verdict);
        let mut layers: Vec<Layer> = marks
            .into_iter()
            .map(|(name, color, x)| Layer::Mark { name, color, x })
            .collect();
        layers.push(Layer::Dots {
            name: String::new(),
            color: Color::A,
            points: changes.iter().map(|&change| (change, 0.0)).collect(),
        });
        layers.extend(verdict.change.map(|at| Layer::Interval {
            color,
            row: 1.0,
            at,
            ends,
        }));
        let chart = Chart {
            title: format!("{metric}: {}", row(verdict)[TITLES.len() - 1]),
            note: String::new(),
            height: 120,
            label_width: LABEL_WIDTH,
            x: Axis::new(
                Scale::Linear,
                shown.start - margin..shown.end + margin,
                |change| match change {
                    0.0 => "0 %".into(),
                    change => signed_percent(change),
                },
            ),
            y: Axis::rows(vec!["restarts".into(), "estimate".into()]),
            layers,
        };
        html! { @if !changes.is_empty() { (chart.figure()) } }
    }
}

/// What the interval is compared with: name, colour, and change.
fn marks(verdict: &MetricVerdict) -> Vec<(String, Color, f64)> {
    // Towards what is worse.
    let worse = verdict.metric.change(1.0).signum();
    let threshold = verdict
        .threshold
        .map(|size| (format!("threshold: {}", percent(size)), Color::B, size));
    let detectable = verdict
        .detectable
        .map(|size| (format!("would have been detected: {}", percent(size)), Color::D, size));
    let sizes = threshold.into_iter().chain(detectable);
    let none = ("no change".to_owned(), Color::Text, 0.0);
    std::iter::once(none)
        .chain(sizes.map(|(name, color, size)| (name, color, worse * size)))
        .collect()
}

fn color_of(verdict: Verdict) -> Color {
    match verdict {
        Verdict::Regressed | Verdict::Failed => Color::D,
        Verdict::Inconclusive => Color::B,
        Verdict::Improved | Verdict::Passed => Color::C,
    }
}

impl Summary {
    /// As a section of a page: what is known without the record, as of a comparison with a baseline.
    pub fn section(&self) -> Section {
        Section {
            title: self.headline(),
            body: self.page(),
        }
    }

    /// The decision, without charts.
    fn page(&self) -> Markup {
        let class = match color_of(self.judgement.verdict) {
            Color::D => "verdict bad",
            Color::B => "verdict doubtful",
            _ => "verdict",
        };
        html! {
            div class=(class) {
                @for reason in &self.judgement.reasons { p { (untrusted::text(reason)) } }
                @if let Some(advice) = &self.advice { p { "Next: " (advice) "." } }
            }
            (html::facts([("base", untrusted::text(&self.base)), ("head", untrusted::text(&self.head))]))
            @if self.has_figures() {
                (html::table(&TITLES, self.judgement.metrics.iter().map(row)))
                p.note { (self.confidence) "." }
            }
            p.note { (self.method) "." }
        }
    }
}
