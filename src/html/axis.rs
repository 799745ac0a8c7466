//! The axis of a chart: a range of values, how they are spaced, and how they are written.

use std::ops::Range;

use plotters::coord::ranged1d::{
    BoldPoints, KeyPointHint, NoDefaultFormatting, Ranged, ReversibleRanged, ValueFormatter,
};
use plotters::coord::types::RangedCoordf64;

use crate::clock::Nanos;
use crate::units::show_duration;

/// How values are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm.
    Log,
    /// Shares below 1, by the logarithm of 1/(1 - share): as far from 90 % to 99 % as from there to 99.9 %. The scale
    /// of percentile spectra.
    Tail,
}

/// An axis.
pub struct Axis {
    scale: Scale,
    range: Range<f64>,
    show: Box<dyn Fn(f64) -> String>,
    /// Values to be written, if not the usual ones.
    ticks: Option<Vec<f64>>,
}

impl Axis {
    /// From the lower to the upper end of a range. One that is empty, or beyond what the scale has, is widened.
    pub fn new(scale: Scale, range: Range<f64>, show: impl Fn(f64) -> String + 'static) -> Axis {
        let Range { start, end } = range;
        let range = match scale {
            Scale::Linear if end > start => start..end,
            Scale::Linear => start..start + 1.0,
            Scale::Log => {
                let start = start.max(f64::MIN_POSITIVE);
                start..if end > start { end } else { start * 2.0 }
            }
            Scale::Tail => start.clamp(0.0, 0.9)..end.clamp(0.99, 1.0 - 1e-12),
        };
        let show = Box::new(show);
        Axis {
            scale,
            range,
            show,
            ticks: None,
        }
    }

    /// Durations in nanoseconds, from 1, 2 or 5 times a power of ten to another.
    pub fn durations(range: Range<f64>) -> Axis {
        let range = below(range.start.max(1.0))..1.0 / below(1.0 / range.end.max(1.0));
        Axis::new(Scale::Log, range, |ns| {
            trimmed(&show_duration(Nanos(ns.round() as u64)))
        })
    }

    /// Shares of the messages up to this one, in percent.
    pub fn percentiles(last: f64) -> Axis {
        Axis::new(Scale::Tail, 0.0..last, |share| {
            let percent = format!("{:.9}", share * 100.0);
            format!("{} %", percent.trim_end_matches('0').trim_end_matches('.'))
        })
    }

    /// A row for each of these names, the first one at the top: row k is at -k.
    pub fn rows(names: Vec<String>) -> Axis {
        let count = names.len() as f64;
        let name = move |at: f64| {
            let row = (-at).round();
            let found = (row >= 0.0).then(|| names.get(row as usize)).flatten();
            found.cloned().unwrap_or_default()
        };
        Axis {
            ticks: Some((0..count as usize).rev().map(|row| -(row as f64)).collect()),
            ..Axis::new(Scale::Linear, -count + 0.5..0.5, name)
        }
    }

    /// With only these values written.
    #[must_use]
    pub fn with_ticks(self, ticks: Vec<f64>) -> Axis {
        Axis {
            ticks: Some(ticks),
            ..self
        }
    }

    /// Where on the axis a value belongs: 0 at its lower end, 1 at its upper one.
    fn position(&self, value: f64) -> f64 {
        let spaced = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).ln(),
            Scale::Tail => -(1.0 - value.clamp(0.0, 1.0 - 1e-12)).ln(),
        };
        let [low, high] = [self.range.start, self.range.end].map(spaced);
        (spaced(value) - low) / (high - low)
    }

    /// Values to be written, about `count` of them.
    fn usual_ticks(&self, count: usize) -> Vec<f64> {
        match self.scale {
            Scale::Linear => RangedCoordf64::from(self.range.clone()).key_points(BoldPoints(count)),
            Scale::Log => log_ticks(&self.range, count),
            Scale::Tail => {
                let nines = (1..=12).map(|nines| 1.0 - 0.1_f64.powi(nines));
                [0.0, 0.5].into_iter().chain(nines).collect()
            }
        }
    }
}

/// From the smallest to the largest of these values; none without any.
pub fn extent(values: impl IntoIterator<Item = f64>) -> Option<Range<f64>> {
    values.into_iter().fold(None, |extent: Option<Range<f64>>, value| {
        let Range { start, end } = extent.unwrap_or(value..value);
        Some(start.min(value)..end.max(value))
    })
}

/// Without the zeros that end a decimal fraction: `1 ms` for `1.00 ms`.
fn trimmed(shown: &str) -> String {
    match shown.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => shown.to_owned(),
    }
}

/// The largest of 1, 2 or 5 times a power of ten that is not above this value.
fn below(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let multiples = [5.0, 2.0, 1.0].map(|multiple| multiple * power);
    let fits = |multiple: &f64| *multiple <= value * (1.0 + 1e-9);
    multiples.into_iter().find(fits).unwrap_or(power)
}

/// Powers of ten; with their multiples by 2 and 5, or all, as long as there are few.
fn log_ticks(range: &Range<f64>, count: usize) -> Vec<f64> {
    let decades = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let within = |multiples: &[f64]| -> Vec<f64> {
        let decades = decades.clone().map(|decade| 10_f64.powi(decade));
        let all = decades.flat_map(|power| multiples.iter().map(move |multiple| multiple * power));
        let holds = |tick: &f64| *tick >= range.start * (1.0 - 1e-9) && *tick <= range.end * (1.0 + 1e-9);
        all.filter(holds).collect()
    };
    const ALL: [f64; 11] = [1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
    let denser = [&ALL[..], &[1.0, 2.0, 5.0], &[1.0]].map(within);
    let fitting = denser.iter().find(|ticks| (2..=count).contains(&ticks.len()));
    match fitting {
        Some(ticks) => ticks.clone(),
        // Less than an even number lies between the ends: the ends themselves.
        None if denser[0].len() < 2 => vec![range.start, (range.start * range.end).sqrt(), range.end],
        None => denser[2]
            .iter()
            .step_by(denser[2].len().div_ceil(count))
            .copied()
            .collect(),
    }
}

impl Ranged for &Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let position = self.position(*value).clamp(-0.01, 1.01); // Lines may leave the chart, not the page.
        from + (position * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let ticks = self.ticks.clone();
        let ticks = ticks.unwrap_or_else(|| self.usual_ticks(hint.bold_points()));
        let on_axis = |tick: &f64| (-1e-9..=1.0 + 1e-9).contains(&self.position(*tick));
        ticks.into_iter().filter(on_axis).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ReversibleRanged for &Axis {
    fn unmap(&self, _: i32, _: (i32, i32)) -> Option<f64> {
        None // Nothing is read back from a chart.
    }
}

impl ValueFormatter<f64> for &Axis {
    fn format_ext(&self, value: &f64) -> String {
        (self.show)(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale, range: Range<f64>) -> Axis {
        Axis::new(scale, range, |value| value.to_string())
    }

    #[test]
    fn values_are_spaced_by_the_scale() {
        let at = |scale, range: Range<f64>, value: f64| Ranged::map(&&axis(scale, range), &value, (0, 100));
        assert_eq!(at(Scale::Linear, 10.0..30.0, 20.0), 50);
        assert_eq!(at(Scale::Log, 1.0..100.0, 10.0), 50);
        assert_eq!(at(Scale::Tail, 0.0..0.9999, 0.99), 50);
        // Upwards, as plotters draws ordinates.
        assert_eq!(Ranged::map(&&axis(Scale::Linear, 0.0..1.0), &0.25, (100, 0)), 75);
    }

    #[test]
    fn a_range_that_is_empty_or_impossible_is_widened() {
        for scale in [Scale::Linear, Scale::Log, Scale::Tail] {
            for range in [0.0..0.0, 5.0..5.0, -3.0..-3.0] {
                let axis = axis(scale, range.clone());
                assert!(axis.position(axis.range.end) == 1.0, "{scale:?} {range:?}");
            }
        }
    }

    #[test]
    fn logarithmic_ticks_are_even_numbers_and_few() {
        assert_eq!(log_ticks(&(90.0..1100.0), 6), [100.0, 200.0, 500.0, 1000.0]);
        assert_eq!(log_ticks(&(1.0..1e6), 8), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]);
        assert_eq!(log_ticks(&(21.0..45.0), 6), [30.0, 40.0]);
        assert_eq!(log_ticks(&(0.75..1.9), 6), [0.8, 0.9, 1.0, 1.2, 1.5]);
        let narrow = log_ticks(&(21.0..22.0), 6);
        assert_eq!((narrow.len(), narrow[0]), (3, 21.0));
        assert!(log_ticks(&(1.0..1e12), 5).len() <= 5);
    }

    #[test]
    fn durations_end_at_even_numbers() {
        for (range, ends) in [(3.1e3..4.7e3, 2e3..5e3), (2e6..2e6, 2e6..4e6), (0.0..9e9, 1.0..1e10)] {
            let rounded = Axis::durations(range).range;
            let distance = (rounded.start / ends.start).ln().abs() + (rounded.end / ends.end).ln().abs();
            assert!(distance < 1e-9, "{rounded:?}");
        }
        let axis = &Axis::durations(1e6..1e6);
        assert_eq!(axis.format_ext(&1e6), "1 ms");
        assert_eq!(axis.format_ext(&2.5e5), "250 µs");
    }

    #[test]
    fn percentiles_have_as_many_digits_as_they_need() {
        let axis = &Axis::percentiles(0.99999);
        let shown: Vec<String> = (&axis)
            .key_points(9)
            .iter()
            .map(|share| axis.format_ext(share))
            .collect();
        assert_eq!(shown, ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"]);
    }

    #[test]
    fn an_extent_holds_every_value() {
        assert_eq!(extent([3.0, -1.0, 2.0]), Some(-1.0..3.0));
        assert_eq!(extent([]), None);
    }

    #[test]
    fn rows_have_names() {
        let axis = &Axis::rows(vec!["first".into(), "second".into()]);
        let ticks = axis.key_points(10);
        let names: Vec<String> = ticks.iter().map(|tick| axis.format_ext(tick)).collect();
        assert_eq!(
            (ticks, names),
            (vec![-1.0, 0.0], vec!["second".to_owned(), "first".to_owned()])
        );
        assert_eq!(axis.format_ext(&-7.0), "");
    }
}
