//! Latency by percentile: a line for each distribution, as the plotters of HdrHistogram draw it.

use crate::clock::Nanos;
use crate::histogram::Buckets;
use crate::html::{Axis, Chart, Color, LABEL_WIDTH, Layer, Markup, extent, html};
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
            bands: Vec::new(),
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
    /// The confidence intervals of neighbouring percentiles, where both ends are known: share, lower and upper end.
    bands: Vec<Vec<(f64, f64, f64)>>,
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
            bands: bands(latency),
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
        let name = format!("{}: 95 % confidence interval", self.name);
        for (index, points) in self.bands.iter().enumerate() {
            let name = if index == 0 { name.clone() } else { String::new() };
            let points = widened(points);
            layers.insert(0, Layer::Band { name, color, points });
        }
        layers
    }
}

/// A percentile without an interval ends a band: between its neighbours nothing is known.
fn bands(latency: &Distribution) -> Vec<Vec<(f64, f64, f64)>> {
    let percentiles = latency
        .table()
        .into_iter()
        .filter_map(|(statistic, figure)| match statistic {
            Statistic::Percentile(percentile) => Some((percentile.share(), figure.bounds)),
            Statistic::Min | Statistic::Max | Statistic::Mean => None,
        });
    let points = percentiles.map(|(share, bounds)| {
        let bounds = bounds?;
        Some((share, bounds.low_ns? as f64, bounds.high_ns? as f64))
    });
    let points: Vec<Option<(f64, f64, f64)>> = points.collect();
    let bands = points.split(Option::is_none).filter(|band| !band.is_empty());
    bands.map(|band| band.iter().flatten().copied().collect()).collect()
}

/// A band of a single percentile is a narrow one around it.
fn widened(band: &[(f64, f64, f64)]) -> Vec<(f64, f64, f64)> {
    match band {
        &[(share, low, high)] => [1.0 / 0.95, 0.95]
            .map(|factor| (1.0 - (1.0 - share) * factor, low, high))
            .into(),
        band => band.to_vec(),
    }
}

fn chart(title: &str, spectra: Vec<Spectrum>) -> Markup {
    let all = || spectra.iter().flat_map(|spectrum| &spectrum.points);
    let last = all().map(|point| point.0).fold(0.0, f64::max);
    let Some(latencies) = extent(all().map(|point| point.1)) else {
        return html! {};
    };
    let mut note =
        "Dashed: fewer messages than a confidence interval needs. Bands: percentiles of the table that have one. The \
         last point is the largest latency."
            .to_owned();
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
        y: Axis::durations(latencies),
        layers: layers
            .flat_map(|(index, spectrum)| spectrum.layers(Color::of_series(index)))
            .collect(),
    };
    chart.figure()
}

/// On a logarithmic axis there is no zero.
fn in_chart(latency: Nanos) -> f64 {
    latency.0.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Recorder;
    use crate::report::distribution::{Bounds, IntervalMethod};

    #[test]
    fn a_percentile_without_an_interval_ends_a_band() {
        let mut recorder = Recorder::new();
        (1..=100_000).for_each(|ns| recorder.record(Nanos(ns)));
        let mut latency = Distribution::of(&recorder);
        assert!(bands(&latency).is_empty());
        let known = Some(Bounds {
            low_ns: Some(1),
            high_ns: Some(2),
            method: IntervalMethod::Batches,
            correlated_over_ns: None,
        });
        let open = known.map(|bounds| Bounds {
            high_ns: None,
            ..bounds
        });
        let intervals = &mut latency.intervals;
        (intervals.p50_ns, intervals.p75_ns, intervals.p90_ns, intervals.p99_ns) = (known, known, open, known);
        let shares = bands(&latency)
            .into_iter()
            .map(|band| band.iter().map(|point| point.0).collect());
        let shares: Vec<Vec<f64>> = shares.collect();
        assert_eq!(shares, [vec![0.5, 0.75], vec![0.99]]);
        let [(from, ..), (to, ..)] = widened(&[(0.99, 1.0, 2.0)])[..] else {
            panic!("two points")
        };
        assert!(from < 0.99 && 0.99 < to && to < 1.0);
    }
}
