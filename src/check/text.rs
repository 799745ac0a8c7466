//! A check for people: first what became of it, then how it was found, then what to do next.

use std::fmt::{self, Display, Formatter};

use crate::check::summary::Summary;
use crate::check::verdict::{Judged, Verdict};
use crate::units::show_percent;

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        for reason in &self.judgement.reasons {
            // A server's last words: no line of theirs may look like a command to a build server.
            writeln!(f, "  {}", reason.replace('\r', "").replace('\n', "\n  | "))?;
        }
        writeln!(f, "  base  {}", self.base)?;
        writeln!(f, "  head  {}", self.head)?;
        if self.has_figures() {
            writeln!(f, "\n{}", columns(&HEADS))?;
            for judged in &self.judgement.metrics {
                writeln!(f, "{}", columns(&row(judged)))?;
            }
            writeln!(f, "\n  {}", self.sure)?;
        }
        writeln!(f, "  {}", self.method)?;
        writeln!(f, "\nNext: {}", self.advice)
    }
}

pub(super) const HEADS: [&str; 7] = ["metric", "base", "head", "change", "interval", "matters", "verdict"];

pub(super) fn columns(cells: &[impl AsRef<str>; 7]) -> String {
    let [metric, base, head, change, interval, matters, verdict] = cells.each_ref().map(AsRef::as_ref);
    format!("  {metric:<11}{base:>11}{head:>11}{change:>10}{interval:>20}{matters:>9}  {verdict}")
        .trim_end()
        .to_owned()
}

/// One metric, ready to be drawn.
pub(super) fn row(judged: &Judged) -> [String; 7] {
    let figure = |figure: Option<f64>| figure.map_or("n/a".into(), |figure| judged.metric.show(figure));
    let interval = judged.interval.map_or("n/a".into(), |(low, high)| {
        format!("{} .. {}", signed(low), signed(high))
    });
    [
        judged.metric.name().into(),
        figure(judged.base),
        figure(judged.head),
        judged.change.map_or("n/a".into(), signed),
        interval,
        judged.matters.map_or("n/a".into(), percent),
        verdict(judged),
    ]
}

/// A verdict in capitals decides; one in brackets is for information.
fn verdict(judged: &Judged) -> String {
    let mut text = if judged.gates {
        judged.verdict.name().to_owned()
    } else {
        format!("({})", judged.verdict.name().to_lowercase())
    };
    match (&judged.why, judged.could_have_seen) {
        (Some(why), _) => text.push_str(&format!(": {why}")),
        (None, Some(seen)) => text.push_str(&format!(": sees {} or more", percent(seen))),
        (None, None) => {}
    }
    text
}

impl Verdict {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Regressed => "REGRESSED",
            Verdict::Improved => "IMPROVED",
            Verdict::Passed => "PASSED",
            Verdict::Inconclusive => "INCONCLUSIVE",
            Verdict::Failed => "FAILED",
        }
    }
}

impl Summary {
    /// The first line: all that somebody reads who reads one.
    pub fn headline(&self) -> String {
        let what = match self.judgement.verdict {
            Verdict::Regressed => format!("head is worse than base: {}", self.changes(Verdict::Regressed)),
            Verdict::Improved => format!("head is better than base: {}", self.changes(Verdict::Improved)),
            Verdict::Passed => format!("head is not worse than base by as much as matters ({})", self.gate()),
            Verdict::Inconclusive => {
                format!("not known whether head is worse than base: {}", self.blind_spots())
            }
            Verdict::Failed => "there is nothing to compare".into(),
        };
        format!("{}: {what}", self.judgement.verdict.name())
    }

    /// True if there is something for a table.
    pub(super) fn has_figures(&self) -> bool {
        self.judgement.metrics.iter().any(|judged| judged.of > 0)
    }

    /// The metrics that decide.
    pub(super) fn deciding(&self) -> impl Iterator<Item = &Judged> {
        self.judgement.metrics.iter().filter(|judged| judged.gates)
    }

    fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Judged> {
        self.deciding().filter(move |judged| judged.verdict == verdict)
    }

    fn changes(&self, verdict: Verdict) -> String {
        let all: Vec<String> = self.with(verdict).map(change).collect();
        all.join(", ")
    }

    fn gate(&self) -> String {
        let names: Vec<&str> = self.deciding().map(|judged| judged.metric.name()).collect();
        names.join(", ")
    }

    fn blind_spots(&self) -> String {
        if self.with(Verdict::Inconclusive).next().is_none() {
            return "nothing was compared".into();
        }
        let spot = |judged: &Judged| match judged.could_have_seen {
            Some(seen) => format!("{} (only {} or more would have shown)", judged.metric, percent(seen)),
            None => judged.metric.to_string(),
        };
        let all: Vec<String> = self.with(Verdict::Inconclusive).map(spot).collect();
        all.join(", ")
    }
}

/// `p50 +6.0 % (81.2 µs to 86.1 µs)`.
pub(super) fn change(judged: &Judged) -> String {
    let [metric, base, head, change, ..] = row(judged);
    format!("{metric} {change} ({base} to {head})")
}

/// From this change on, 900 %, a factor is easier to read.
const FACTOR: f64 = 9.0;

/// `+6.0 %`, or `x12`.
fn signed(share: f64) -> String {
    if share >= FACTOR {
        return percent(share);
    }
    format!("{:+.1} %", share * 100.0)
}

/// `6.0 %`, or `x12`.
fn percent(share: f64) -> String {
    if share >= FACTOR {
        return format!("x{:.0}", 1.0 + share);
    }
    show_percent(share, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shares_and_large_ones_factors() {
        for (share, text) in [(0.06, "+6.0 %"), (-0.5, "-50.0 %"), (1202.9, "x1204")] {
            assert_eq!(signed(share), text);
        }
        assert_eq!((percent(0.08), percent(17.7)), ("8.0 %".into(), "x19".into()));
    }

    #[test]
    fn columns_do_not_run_into_each_other() {
        let row = columns(&[
            "p50",
            "21.4 µs",
            "25.3 ms",
            "x1204",
            "-95.2 % .. x1204",
            "3.0 %",
            "REGRESSED",
        ]);
        assert_eq!(row.split_whitespace().count(), 13, "{row}");
    }
}
