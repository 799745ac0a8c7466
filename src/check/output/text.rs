//! A check as text: verdict, table, method, next step.

use std::fmt::{self, Display, Formatter};

use super::Summary;
use super::row::{HEADS, row};

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        for reason in &self.judgement.reasons {
            // It may contain stderr of a server: no line of it may look like a command to a build server.
            writeln!(f, "  {}", reason.replace('\r', "").replace('\n', "\n  | "))?;
        }
        writeln!(f, "  base  {}", self.base)?;
        writeln!(f, "  head  {}", self.head)?;
        if self.has_figures() {
            writeln!(f, "\n{}", columns(&HEADS))?;
            for metric in &self.judgement.metrics {
                writeln!(f, "{}", columns(&row(metric)))?;
            }
            writeln!(f, "\n  {}", self.confidence)?;
        }
        writeln!(f, "  {}", self.method)?;
        writeln!(f, "\nNext: {}", self.advice)
    }
}

fn columns(cells: &[impl AsRef<str>; 7]) -> String {
    let [metric, base, head, change, interval, threshold, verdict] = cells.each_ref().map(AsRef::as_ref);
    format!("  {metric:<11}{base:>11}{head:>11}{change:>10}{interval:>20}{threshold:>11}  {verdict}")
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
