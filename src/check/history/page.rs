//! A history as a page: each metric over the commits, with its change points.

use super::{HistoryReport, Point};
use crate::check::judge::Metric;
use crate::html::{Axis, Chart, Color, LABEL_WIDTH, Layer, Markup, Scale, Section, html};
use crate::output::untrusted;
use crate::units::plural;

/// Characters of a label on the axis: as many as git shows of a commit.
const LABEL: usize = 8;

/// Labels on the axis, at most.
const LABELS_MAX: usize = 8;

impl HistoryReport {
    /// As a section of a page. `points` are the checks that it was made of.
    pub fn section(&self, points: &[Point]) -> Section {
        let row = points
            .iter()
            .filter(|point| Some(&point.conditions) == self.conditions.as_ref());
        let row: Vec<&Point> = row.collect();
        let worse = self.exit_code() != 0;
        Section {
            title: format!("History of {}", plural(self.checks as u64, "check")),
            body: html! {
                div class=(if worse { "verdict bad" } else { "verdict" }) {
                    p { strong { (if worse { "A metric that gates creeps." } else { "No metric that gates creeps." }) } }
                }
                @for metric in &self.metrics { (self.chart(metric.metric, &row)) }
                h2 { "In words" }
                pre { (untrusted::text_lines(&self.to_string())) }
            },
        }
    }

    fn chart(&self, metric: Metric, row: &[&Point]) -> Markup {
        let values: Vec<(f64, Option<f64>)> = row
            .iter()
            .enumerate()
            .map(|(at, point)| (at as f64, point.head.get(&metric).copied()))
            .collect();
        let high = values.iter().filter_map(|value| value.1).fold(0.0, f64::max);
        let shifts = self
            .metrics
            .iter()
            .filter(|one| one.metric == metric)
            .flat_map(|one| &one.change_points);
        let shifts = shifts.filter_map(|shift| {
            let at = row.iter().position(|point| point.label == shift.from)?;
            let direction = if shift.worse { "worse" } else { "better" };
            Some(Layer::Mark {
                name: format!("{direction} from {} on", label(&shift.from)),
                color: if shift.worse { Color::D } else { Color::C },
                x: at as f64,
            })
        });
        let line = Layer::Line {
            name: String::new(),
            color: Color::A,
            points: values.clone(),
            dashed: false,
        };
        let dots = Layer::Dots {
            name: String::new(),
            color: Color::A,
            points: values.iter().filter_map(|&(at, value)| Some((at, value?))).collect(),
        };
        let labels: Vec<String> = row.iter().map(|point| label(&point.label)).collect();
        let step = row.len().div_ceil(LABELS_MAX).max(1);
        let last = row.len().saturating_sub(1) as f64;
        let axis = Axis::new(Scale::Linear, -0.3..last + 0.3, move |at| {
            labels.get(at.round() as usize).cloned().unwrap_or_default()
        });
        let chart = Chart {
            title: metric.name().into(),
            note: String::new(),
            height: 200,
            label_width: LABEL_WIDTH,
            x: axis.with_ticks((0..row.len()).step_by(step).map(|at| at as f64).collect()),
            y: Axis::new(Scale::Linear, 0.0..high * 1.1, move |figure| metric.show(figure)),
            layers: [line, dots].into_iter().chain(shifts).collect(),
        };
        chart.figure()
    }
}

fn label(version: &str) -> String {
    untrusted::text(version).chars().take(LABEL).collect()
}
