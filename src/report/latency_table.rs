//! The latency table of a report: a row per statistic, with value and confidence interval of one or two distributions.

use std::fmt::{self, Display, Formatter};

use super::distribution::{Bounds, Distribution, Figure, IntervalMethod, Statistic};
use crate::clock::Nanos;
use crate::output::table::Column::{Left, Right};
use crate::output::table::{self, Column};
use crate::units::{show_count, show_duration};

/// The columns: name, then value and confidence interval of each distribution. Rows are indented by two.
const ROW: [Column; 5] = [Left(9), Right(19), Left(25), Right(19), Left(0)];
const HEAD: [Column; 5] = [Left(11), Right(19), Left(25), Right(19), Left(0)];

/// Distributions side by side, each with its name.
pub(super) struct LatencyTable<'a>(pub(super) Vec<(&'static str, &'a Distribution)>);

impl Display for LatencyTable<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().flat_map(|&(name, _)| [name, "95 % confidence interval"]);
        let head: Vec<&str> = std::iter::once("latency").chain(names).collect();
        writeln!(f, "{}", table::row(&HEAD, &head))?;
        self.rows()
            .try_for_each(|cells| writeln!(f, "  {}", table::row(&ROW, &cells)))?;
        self.legend(f)
    }
}

impl LatencyTable<'_> {
    /// The cells of each statistic: its name, then value and confidence interval of each distribution.
    pub(super) fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        let tables: Vec<_> = self.0.iter().map(|(_, distribution)| distribution.table()).collect();
        Statistic::TABLE.into_iter().enumerate().map(move |(row, statistic)| {
            let figures = tables.iter().map(|table| table[row].1);
            let cells = figures.flat_map(|figure| [value(statistic, figure), interval(figure.bounds)]);
            std::iter::once(statistic.to_string()).chain(cells).collect()
        })
    }

    /// Explains the marks that occur in the table.
    pub(super) fn legend(&self, f: &mut impl fmt::Write) -> fmt::Result {
        if self.any(|figure| method(figure) == Some(IntervalMethod::Batches)) {
            writeln!(
                f,
                "  b: from batches of 1, 2, 4, … seconds, because the samples depend on each other"
            )?;
        }
        if self.any(|figure| method(figure) == Some(IntervalMethod::Untested)) {
            writeln!(
                f,
                "  u: untested: the run was too short to test the samples for independence; decides no assertion"
            )?;
        }
        if self.any(|figure| method(figure) == Some(IntervalMethod::TooShort)) {
            writeln!(
                f,
                "  n/a (correlated over …): the run is too short for an interval; measure longer (--duration), or use --repeat"
            )?;
        }
        if self.any(|figure| figure.lower_bound) {
            writeln!(
                f,
                "  >: at least; messages that failed or are missing could only raise it"
            )?;
        }
        Ok(())
    }

    fn any(&self, has_mark: impl Fn(Figure) -> bool) -> bool {
        let figures = |(_, distribution): &(_, &Distribution)| distribution.table().map(|(_, figure)| figure);
        self.0.iter().flat_map(figures).any(has_mark)
    }
}

fn method(figure: Figure) -> Option<IntervalMethod> {
    figure.bounds.map(|bounds| bounds.method)
}

/// `1.21 ms`, `> 1.21 ms` for a lower bound, `n/a (needs 368)` with too few samples.
pub(super) fn value(statistic: Statistic, figure: Figure) -> String {
    match figure.value {
        Some(value) if figure.lower_bound => format!("> {}", show_duration(value)),
        Some(value) => show_duration(value),
        None => format!("n/a (needs {})", show_count(statistic.needs())),
    }
}

/// `1.19 ms .. 1.24 ms`, with a mark for its method unless it is order statistics.
fn interval(bounds: Option<Bounds>) -> String {
    let Some(bounds) = bounds else {
        return String::new();
    };
    let show = |end: Option<u64>| end.map_or("?".to_owned(), |end| show_duration(Nanos(end)));
    let ends = format!("{} .. {}", show(bounds.low_ns), show(bounds.high_ns));
    match bounds.method {
        IntervalMethod::OrderStatistics => ends,
        IntervalMethod::Batches => format!("{ends} b"),
        IntervalMethod::Untested => format!("{ends} u"),
        IntervalMethod::TooShort => format!("n/a (correlated over {})", show(bounds.correlated_over_ns)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Recorder;

    #[test]
    fn a_mark_is_explained_only_where_it_occurs() {
        let mut recorder = Recorder::new();
        (1..=100).for_each(|ms| recorder.record(Nanos(ms * 1_000_000)));
        let complete = Distribution::of(&recorder);
        recorder.record_censored(Nanos(200_000_000));
        let censored = Distribution::of(&recorder);
        let text = |distribution| LatencyTable(vec![("service", distribution)]).to_string();
        assert!(!text(&complete).contains("at least"), "{}", text(&complete));
        assert!(text(&censored).contains("  >: at least"), "{}", text(&censored));
    }

    #[test]
    fn two_distributions_stand_side_by_side() {
        let mut recorder = Recorder::new();
        (1..=10).for_each(|ms| recorder.record(Nanos(ms * 1_000_000)));
        let distribution = Distribution::of(&recorder);
        let text = LatencyTable(vec![("response", &distribution), ("service", &distribution)]).to_string();
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 1 + Statistic::TABLE.len(), "{text}");
        let ends = |row: &str, [first, second]: [&str; 2]| {
            let (left, right) = (row.find(first).unwrap(), row.rfind(second).unwrap());
            (left + first.len(), right + second.len())
        };
        let head = ends(rows[0], ["response", "service"]);
        assert_eq!(ends(rows[1], ["1.00 ms"; 2]), head, "{text}");
        assert_eq!(ends(rows[6], ["n/a (needs 368)"; 2]), head, "{text}");
    }
}
