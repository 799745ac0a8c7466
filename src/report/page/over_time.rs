//! Charts of a run over time, one below the other on the same axis.

use super::heat_map::HeatMap;
use crate::clock::Nanos;
use crate::html::{Axis, Chart, Color, LABEL_WIDTH, Layer, Markup, Scale, extent, html};
use crate::report::{Column, Figures};
use crate::stats::order_statistics::needs;
use crate::units::{show_count, show_rate};

/// A run over time.
pub(super) struct OverTime<'a> {
    columns: &'a [Column],
    open_loop: bool,
    is_ramp: bool,
    /// Seconds at the middle of each column.
    middles: Vec<f64>,
    end: f64,
}

impl<'a> OverTime<'a> {
    pub(super) fn of(figures: &'a Figures) -> OverTime<'a> {
        let columns = figures.over_time.as_slice();
        let middle = |column: &Column| Nanos((column.from_ns + column.to_ns) / 2).as_secs();
        OverTime {
            columns,
            open_loop: figures.latency.response.is_some(),
            is_ramp: figures.plan.pace.is_ramp(),
            middles: columns.iter().map(middle).collect(),
            end: columns.last().map_or(1.0, |last| Nanos(last.to_ns).as_secs()),
        }
    }

    /// All of them.
    pub(super) fn charts(&self) -> Markup {
        html! {
            (self.by_rate())
            (self.heat_map())
            (self.rates())
            (self.send_lag())
            (self.cpu())
            (self.retransmits())
        }
    }

    fn time(&self) -> Axis {
        Axis::new(Scale::Linear, 0.0..self.end, |seconds| format!("{seconds} s"))
    }

    fn line(&self, name: &str, color: Color, value: impl Fn(&Column) -> Option<f64>) -> Layer {
        let points = self.middles.iter().zip(self.columns);
        Layer::Line {
            name: name.to_owned(),
            color,
            points: points.map(|(&at, column)| (at, value(column))).collect(),
            dashed: false,
        }
    }

    /// The largest of the values of all columns.
    fn max(&self, value: impl Fn(&Column) -> Option<f64>) -> f64 {
        self.columns.iter().filter_map(value).fold(0.0, f64::max)
    }

    fn chart(&self, title: &str, note: &str, y: Axis, layers: Vec<Layer>) -> Markup {
        let chart = Chart {
            title: title.to_owned(),
            note: note.to_owned(),
            height: 200,
            label_width: LABEL_WIDTH,
            x: self.time(),
            y,
            layers,
        };
        chart.figure()
    }

    /// Latency by offered rate, of a ramp.
    fn by_rate(&self) -> Markup {
        let rate = |column: &Column| column.offered_per_s.unwrap_or(0.0);
        let percentiles = [
            ("p99.9", 0.999, Color::D),
            ("p99", 0.99, Color::B),
            ("p50", 0.5, Color::A),
        ];
        let lines = percentiles.map(|(name, q, color)| Layer::Line {
            name: name.into(),
            color,
            points: self
                .columns
                .iter()
                .map(|column| (rate(column), quantile(column, q)))
                .collect(),
            dashed: false,
        });
        let high = self.max(|column| Some(rate(column)));
        let chart = Chart {
            title: "Response time by offered rate".into(),
            note: "One second of the ramp after the other.".into(),
            height: 360,
            label_width: LABEL_WIDTH,
            x: Axis::new(Scale::Linear, 0.0..high * 1.02, show_rate),
            y: Axis::durations(HeatMap::of(self.columns).range()),
            layers: lines.into(),
        };
        html! { @if self.is_ramp { (chart.figure()) } }
    }

    /// Where messages lie, by time and latency.
    fn heat_map(&self) -> Markup {
        let cells = HeatMap::of(self.columns);
        let name = if self.open_loop {
            "Response time"
        } else {
            "Service time"
        };
        let chart = Chart {
            title: format!("{name} over time"),
            note: "The stronger a cell, the more messages: opacity follows the square root of their number.".into(),
            height: 360,
            label_width: LABEL_WIDTH,
            x: self.time(),
            y: Axis::durations(cells.range()),
            layers: vec![
                Layer::Cells {
                    color: Color::A,
                    cells: cells.rectangles(),
                },
                self.line("p50", Color::Text, |column| quantile(column, 0.5)),
                self.line("p99", Color::B, |column| quantile(column, 0.99)),
            ],
        };
        chart.figure()
    }

    fn rates(&self) -> Markup {
        let completed = |column: &Column| Some(column.completed_per_s);
        let offered = |column: &Column| column.offered_per_s;
        let high = self.max(completed).max(self.max(offered));
        let mut layers = vec![self.line("completed", Color::A, completed)];
        if self.open_loop {
            layers.insert(0, self.line("offered", Color::B, offered));
        }
        self.chart(
            "Messages per second",
            "",
            Axis::new(Scale::Linear, 0.0..high * 1.05, show_rate),
            layers,
        )
    }

    fn send_lag(&self) -> Markup {
        let lag = |column: &Column| column.send_lag_p99_ns.map(|ns| ns.max(1) as f64);
        html! {
            @if let Some(lags) = extent(self.columns.iter().filter_map(lag)) {
                (self.chart(
                    "Send lag, p99",
                    "How long after the planned instant messages were issued: the generator's own delay.",
                    Axis::durations(lags),
                    vec![self.line("", Color::C, lag)],
                ))
            }
        }
    }

    fn cpu(&self) -> Markup {
        let generator = |column: &Column| Some(column.generator_cpu_ratio);
        let server = |column: &Column| column.server_cpu_ratio;
        let high = self.max(generator).max(self.max(server));
        let mut layers = vec![self.line("generator, all threads", Color::C, generator)];
        let note = if self.columns.iter().any(|column| server(column).is_some()) {
            layers.push(self.line("server", Color::D, server));
            ""
        } else {
            "That of the server is not known."
        };
        let y = Axis::new(Scale::Linear, 0.0..high * 1.05, |cpus| format!("{:.0} %", cpus * 100.0));
        self.chart("CPU time per second; 100 % is one CPU", note, y, layers)
    }

    fn retransmits(&self) -> Markup {
        let segments = |column: &Column| column.retransmits.map(|count| count as f64);
        let known = self.columns.iter().any(|column| column.retransmits.is_some());
        let high = self.max(segments);
        html! {
            @if high > 0.0 {
                (self.chart(
                    "Retransmitted TCP segments",
                    "Of the whole network namespace.",
                    Axis::new(Scale::Linear, 0.0..high * 1.05, |count| show_count(count as u64)),
                    vec![self.line("", Color::D, segments)],
                ))
            } @else if known {
                p.note { "No TCP segment was retransmitted." }
            }
        }
    }
}

/// The q-quantile of a column's latencies; none with too few.
fn quantile(column: &Column, q: f64) -> Option<f64> {
    let buckets = column.latency.buckets().ok()?;
    (buckets.count() >= needs(q)).then(|| buckets.quantiles(&[q])[0].0.max(1) as f64)
}
