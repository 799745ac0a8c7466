//! A comparison as a page: ratios with their intervals for each load, and latency by rate if there are several rates.

use super::comparison::{Comparison, Scenario, ServerResult};
use super::table::{FIGURES, LEGEND, heads};
use crate::html::{self, Axis, Chart, Color, LABEL_WIDTH, Layer, Markup, Scale, Section, extent, html};
use crate::load::schedule::Pace;
use crate::output::untrusted;
use crate::report::PlanSummary;
use crate::report::page::how_to_repeat;
use crate::units::{plural, show_rate};

impl Comparison {
    /// As a section of a page.
    pub fn section(&self) -> Section {
        let servers = self.scenarios.first().map_or(0, |scenario| scenario.servers.len());
        let seed = self
            .scenarios
            .first()
            .map(|scenario| ("seed", scenario.load.seed.to_string()));
        Section {
            title: format!("Comparison of {}", plural(servers as u64, "server")),
            body: html! {
                @if self.partial {
                    div.verdict.doubtful { p { "Interrupted before the last restart." } }
                }
                (rate_curves(&self.scenarios))
                @for scenario in &self.scenarios { (scenario.page()) }
                p.note { "In parentheses: " (LEGEND) }
                h2 { "Commands" }
                @if let Some(scenario) = self.scenarios.first() {
                    (html::facts(scenario.servers.iter().map(|server| {
                        (server.name.as_str(), untrusted::text(&server.command))
                    })))
                }
                h2 { "How to repeat it" }
                (how_to_repeat(&self.environment, seed.into_iter().collect()))
            },
        }
    }
}

impl Scenario {
    fn page(&self) -> Markup {
        html! {
            h2 { (self.title()) }
            p.note { (self.method()) }
            @for note in self.notes() { div.verdict.doubtful { p { (untrusted::text(&note)) } } }
            (self.forest())
            (html::table(&heads("server"), self.servers.iter().map(ServerResult::cells_of_page)))
        }
    }

    /// The ratios of all servers and figures to the first server; nothing without any.
    fn forest(&self) -> Markup {
        let (mut names, mut layers) = (Vec::new(), Vec::new());
        let (mut low, mut high) = (1.0_f64, 1.0_f64);
        for (index, column) in FIGURES.iter().enumerate() {
            for server in self.servers.iter().skip(1) {
                let Some(ratio) = (column.figure)(server).and_then(|figure| figure.ratio) else {
                    continue;
                };
                let ends = ratio.interval.map(|interval| [interval.low, interval.high]);
                let [from, to] = ends.unwrap_or([ratio.estimate; 2]);
                (low, high) = (low.min(from), high.max(to));
                let (color, row) = (Color::of_series(index), names.len() as f64);
                layers.push(Layer::Interval {
                    color,
                    row,
                    at: ratio.estimate,
                    ends,
                });
                names.push(format!("{}: {}", untrusted::text(&server.name), column.head));
            }
        }
        let Some(first) = self.servers.first().filter(|_| !names.is_empty()) else {
            return html! {};
        };
        let first = untrusted::text(&first.name);
        layers.push(Layer::Mark {
            name: format!("as {first}"),
            color: Color::Text,
            x: 1.0,
        });
        let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let chart = Chart {
            title: format!("Ratios to {first}"),
            note: "With 95 % confidence intervals over restarts; an interval that holds 1 is no difference that was \
                   resolved. More messages/s is better; less of everything else."
                .into(),
            height: 60 + 28 * names.len() as u32,
            label_width: (9 * longest as u32).clamp(LABEL_WIDTH, 360),
            x: Axis::new(Scale::Log, low * 0.95..high * 1.05, |ratio| {
                let shown = format!("{ratio:.3}");
                shown.trim_end_matches('0').trim_end_matches('.').to_owned()
            }),
            y: Axis::rows(names),
            layers,
        };
        chart.figure()
    }
}

impl ServerResult {
    fn cells_of_page(&self) -> Vec<String> {
        if let Some(failure) = &self.failure {
            return vec![
                untrusted::text(&self.name),
                format!("FAILED: {}", untrusted::text(failure)),
            ];
        }
        let figures = FIGURES.iter().map(|column| match (column.figure)(self) {
            None => "n/a".to_owned(),
            Some(figure) => match figure.ratio {
                None => (column.show)(figure.median),
                Some(ratio) => format!("{} ({ratio})", (column.show)(figure.median)),
            },
        });
        std::iter::once(untrusted::text(&self.name)).chain(figures).collect()
    }
}

/// The rate of an open loop.
fn rate(plan: &PlanSummary) -> Option<f64> {
    match plan.pace {
        Pace::Open { rate, .. } => Some(rate.from),
        Pace::Closed { .. } => None,
    }
}

/// Latency by offered rate, a chart for all scenarios that only differ in that; nothing for one rate.
fn rate_curves(scenarios: &[Scenario]) -> Markup {
    let same_load = |one: &&Scenario, other: &&Scenario| {
        (one.connections, one.load.sizes, one.load.pipeline)
            == (other.connections, other.load.sizes, other.load.pipeline)
    };
    let open: Vec<&Scenario> = scenarios
        .iter()
        .filter(|scenario| rate(&scenario.load).is_some())
        .collect();
    html! {
        @for group in open.chunk_by(same_load).filter(|group| group.len() > 1) { (rate_curve(group)) }
    }
}

fn rate_curve(scenarios: &[&Scenario]) -> Markup {
    let mut sorted = scenarios.to_vec();
    sorted.sort_by(|one, other| {
        rate(&one.load)
            .unwrap_or(0.0)
            .total_cmp(&rate(&other.load).unwrap_or(0.0))
    });
    let rates: Vec<f64> = sorted.iter().filter_map(|scenario| rate(&scenario.load)).collect();
    let servers = sorted[0].servers.len();
    let mut layers = Vec::new();
    let mut all: Vec<f64> = Vec::new();
    for server in 0..servers {
        let name = untrusted::text(&sorted[0].servers[server].name);
        for (percentile, dashed, figure) in [
            (
                "p99",
                false,
                (|one| one.p99_ns) as fn(&ServerResult) -> Option<super::comparison::Compared>,
            ),
            ("p50", true, |one| one.p50_ns),
        ] {
            let value = |scenario: &&Scenario| Some(figure(scenario.servers.get(server)?)?.median);
            let values: Vec<Option<f64>> = sorted.iter().map(value).collect();
            all.extend(values.iter().flatten());
            layers.push(Layer::Line {
                name: format!("{name} {percentile}"),
                color: Color::of_series(server),
                points: rates.iter().copied().zip(values).collect(),
                dashed,
            });
        }
    }
    let Some(latencies) = extent(all) else {
        return html! {};
    };
    let chart = Chart {
        title: format!(
            "Response time by offered rate, {}",
            plural(sorted[0].connections, "connection")
        ),
        note: String::new(),
        height: 360,
        label_width: LABEL_WIDTH,
        x: Axis::new(
            Scale::Linear,
            0.0..rates.last().copied().unwrap_or(1.0) * 1.02,
            show_rate,
        ),
        y: Axis::durations(latencies),
        layers,
    };
    chart.figure()
}
