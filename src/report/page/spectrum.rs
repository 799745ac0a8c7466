//! Latency by percentile: a line for each distribution, as the plotters of HdrHistogram draw it.

use super::LABEL_WIDTH;
use crate::clock::Nanos;
use crate::histogram::Buckets;
use crate::html::{Axis, Chart, Color, Layer, Markup, html};
use crate::output::untrusted;
use crate::report::distribution::{Distribution, Statistic};
use crate::report::{Figures, Report};
use crate::stats::order_statistics::needs;
use crate::units::plural;

/// Points of a line.
const POINTS: usize = 240;

/// Response and service time of a run; nothing if its report has no histograms.
pub(super) fn of_run(figures: &Figures) -> Markup {
    let Some(histograms) = &figures.histograms else {
        return html! {};
    };
    let response = figures.latency.response.as_ref().zip(histograms.response.as_ref());
    let response = response.and_then(|(latency, encoded)| Spectrum::of("response time", latency, encoded.buckets()));
    let service = Spectrum::of("service time", &figures.latency.service, histograms.service.buckets());
    chart("Latency by percentile", response.into_iter().chain(service).collect())
}

/// The main latencies of several runs in one chart; nothing for fewer than two.
pub fn of_runs<'a>(reports: impl IntoIterator<Item = &'a Report>) -> Markup {
    let spectrum = |(number, report): (usize, &Report)| {
        let figures = &report.figures;
        let histograms = figures.histograms.as_ref()?;
        let main = histograms.response.as_ref().unwrap_or(&histograms.service);
        let targets = untrusted::text(&figures.plan.targets_shown());
        let spectrum = Spectrum::of(
            &format!("{}. {targets}", number + 1),
            figures.main_latency(),
            main.buckets(),
        )?;
        Some(Spectrum {
            band: Vec::new(),
            ..spectrum
        })
    };
    let spectra: Vec<Spectrum> = reports.into_iter().enumerate().filter_map(spectrum).collect();
    html! { @if spectra.len() > 1 { (chart("Latencies of all runs by percentile", spectra)) } }
}

/// The distribution of a latency as a line.
struct Spectrum {
    name: String,
    /// Shares of the messages, and the latency that they did not exceed.
    points: Vec<(f64, f64)>,
    /// The confidence intervals, where both ends are known.
    band: Vec<(f64, f64, f64)>,
    /// The largest share that has enough samples for an interval.
    resolved: f64,
    censored: u64,
}

impl Spectrum {
    /// None without samples, and of a histogram that cannot be read.
    fn of(name: &str, latency: &Distribution, buckets: Result<Buckets, String>) -> Option<Spectrum> {
        let buckets = buckets.ok().filter(|buckets| buckets.count() > 0)?;
        let count = buckets.count();
        let last = (1.0 - 1.0 / count as f64).max(0.5);
        let band = latency.table().into_iter().filter_map(|(statistic, figure)| {
            let (Statistic::Percentile(percentile), Some(bounds)) = (statistic, figure.bounds) else {
                return None;
            };
            Some((percentile.share(), bounds.low_ns? as f64, bounds.high_ns? as f64))
        });
        let shares = (0..=POINTS).map(|k| {
            let position = k as f64 / POINTS as f64;
            1.0 - (1.0 - last).powf(position)
        });
        let shares: Vec<f64> = shares.collect();
        Some(Spectrum {
            name: name.to_owned(),
            resolved: shares
                .iter()
                .copied()
                .filter(|&share| share > 0.0 && needs(share) <= count)
                .fold(0.0, f64::max),
            points: shares
                .iter()
                .copied()
                .zip(buckets.quantiles(&shares).into_iter().map(in_chart))
                .collect(),
            band: band.collect(),
            censored: latency.censored,
        })
    }

    fn layers(&self, color: Color) -> Vec<Layer> {
        let line = |name: &str, dashed, wanted: &dyn Fn(f64) -> bool| Layer::Line {
            name: name.to_owned(),
            color,
            points: self
                .points
                .iter()
                .map(|&(share, ns)| (share, wanted(share).then_some(ns)))
                .collect(),
            dashed,
        };
        let mut layers = vec![
            line(&self.name, false, &|share| share <= self.resolved),
            line("", true, &|share| share >= self.resolved),
        ];
        if self.band.len() > 1 {
            let name = format!("{}: 95 % confidence interval", self.name);
            layers.insert(
                0,
                Layer::Band {
                    name,
                    color,
                    points: self.band.clone(),
                },
            );
        }
        layers
    }
}

fn chart(title: &str, spectra: Vec<Spectrum>) -> Markup {
    let all = || spectra.iter().flat_map(|spectrum| &spectrum.points);
    let last = all().map(|point| point.0).fold(0.0, f64::max);
    let [low, high] = [
        all().map(|point| point.1).fold(f64::INFINITY, f64::min),
        all().map(|point| point.1).fold(0.0, f64::max),
    ];
    let mut note =
        "Dashed: fewer messages than a confidence interval needs. The last point is the largest latency.".to_owned();
    let censored = spectra.iter().map(|spectrum| spectrum.censored).max().unwrap_or(0);
    if censored > 0 {
        let messages = plural(censored, "message");
        note += &format!(" {messages} did not complete: counted with the age reached, so the tail is a lower bound.");
    }
    let layers = spectra.iter().enumerate();
    let chart = Chart {
        title: title.to_owned(),
        note,
        height: 420,
        label_width: LABEL_WIDTH,
        x: Axis::percentiles(last),
        y: Axis::durations(low..high),
        layers: layers
            .flat_map(|(index, spectrum)| spectrum.layers(Color::of_series(index)))
            .collect(),
    };
    html! { @if !spectra.is_empty() { (chart.figure()) } }
}

/// On a logarithmic axis there is no zero.
fn in_chart(latency: Nanos) -> f64 {
    latency.0.max(1) as f64
}
