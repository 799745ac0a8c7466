//! Messages by time and latency.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::clock::Nanos;
use crate::html::Rectangle;
use crate::report::Column;

/// Columns, at most: a page must not become large.
const COLUMNS_MAX: usize = 96;

/// Cells for each factor of ten.
const CELLS_PER_DECADE: f64 = 10.0;

/// Opacity of a cell with hardly any message: one must be seen.
const FAINTEST: f64 = 0.12;

/// Messages by time and latency.
pub(super) struct HeatMap {
    columns: Vec<HeatColumn>,
}

struct HeatColumn {
    /// Begin and end in seconds.
    span: [f64; 2],
    /// Messages by cell: cell k is from 10^(k/10) ns to 10^((k+1)/10) ns.
    cells: BTreeMap<i32, u64>,
}

impl HeatMap {
    /// Of a run with columns.
    pub(super) fn of(columns: &[Column]) -> HeatMap {
        let together = columns.len().div_ceil(COLUMNS_MAX).max(1);
        HeatMap {
            columns: columns.chunks(together).map(HeatColumn::of).collect(),
        }
    }

    /// The latencies that it has.
    pub(super) fn range(&self) -> Range<f64> {
        let cells = || self.columns.iter().flat_map(|column| column.cells.keys().copied());
        let (low, high) = (cells().min().unwrap_or(0), cells().max().unwrap_or(10));
        edge(low)..edge(high + 1)
    }

    /// Its cells as they are drawn.
    pub(super) fn rectangles(&self) -> Vec<Rectangle> {
        let counts = self.columns.iter().flat_map(|column| column.cells.values().copied());
        let most = counts.max().unwrap_or(1) as f64;
        let rectangles = self.columns.iter().flat_map(|column| {
            column.cells.iter().map(move |(&cell, &count)| Rectangle {
                x: column.span,
                y: [edge(cell), edge(cell + 1)],
                opacity: FAINTEST + (1.0 - FAINTEST) * (count as f64 / most).sqrt(),
            })
        });
        rectangles.collect()
    }
}

impl HeatColumn {
    /// Of neighbours together.
    fn of(columns: &[Column]) -> HeatColumn {
        let mut cells = BTreeMap::new();
        for buckets in columns.iter().filter_map(|column| column.latency.buckets().ok()) {
            for (edge, count) in buckets.iter() {
                let cell = ((edge.0.max(1) as f64).log10() * CELLS_PER_DECADE).floor() as i32;
                *cells.entry(cell).or_default() += count;
            }
        }
        let seconds = |ns: Option<u64>| Nanos(ns.unwrap_or(0)).as_secs();
        let span = [
            columns.first().map(|first| first.from_ns),
            columns.last().map(|last| last.to_ns),
        ];
        HeatColumn {
            span: span.map(seconds),
            cells,
        }
    }
}

/// The lower edge of a cell, in nanoseconds.
fn edge(cell: i32) -> f64 {
    10_f64.powf(f64::from(cell) / CELLS_PER_DECADE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{EncodedHistogram, Recorder};
    use crate::load::result::Messages;

    fn encoded(latencies: impl IntoIterator<Item = u64>) -> EncodedHistogram {
        let mut recorder = Recorder::coarse();
        latencies.into_iter().for_each(|ns| recorder.record(Nanos(ns)));
        EncodedHistogram::of(&recorder)
    }

    fn column(second: u64) -> Column {
        Column {
            from_ns: second * Nanos::SECOND.0,
            to_ns: (second + 1) * Nanos::SECOND.0,
            messages: Messages::default(),
            offered_per_s: None,
            completed_per_s: 100.0,
            send_lag_p99_ns: None,
            generator_cpu_ratio: 0.5,
            server_cpu_ratio: None,
            retransmits: None,
            latency: encoded([1_000, 1_000, 2_000_000]),
        }
    }

    #[test]
    fn a_heat_map_has_every_message_once_and_a_bounded_number_of_columns() {
        let columns: Vec<Column> = (0..200).map(column).collect();
        let map = HeatMap::of(&columns);
        assert_eq!(map.columns.len(), 67);
        let counts = map.columns.iter().flat_map(|column| column.cells.values());
        assert_eq!(counts.sum::<u64>(), 600);
        assert_eq!(
            (map.columns[0].span, map.columns[66].span),
            ([0.0, 3.0], [198.0, 200.0])
        );
        let range = map.range();
        assert!(range.start <= 1_000.0 && range.end >= 2_000_000.0, "{range:?}");
        let strongest = map.rectangles().iter().map(|cell| cell.opacity).fold(0.0, f64::max);
        assert_eq!(strongest, 1.0);
    }
}
