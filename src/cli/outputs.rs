//! What a run leaves behind: the flags for files and assertions, and the line that shows how far it is.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::find_max::search::Curve;
use crate::load::interval::Interval;
use crate::load::{Observer, Progress, RunResult, Workload};
use crate::report::Report;
use crate::report::assertion::{self, Assertion};
use crate::report::files::{self, Files, Paths};
use crate::units;

#[derive(Debug, Args)]
pub(super) struct Outputs {
    /// Write the report as JSON to FILE; `-`, here and below, is stdout instead of the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the latency distribution for HdrHistogram plotters
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
    /// Write both latencies of every second as an HdrHistogram interval log
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Write a JSON object for every second
    #[arg(long, value_name = "FILE")]
    jsonl: Option<PathBuf>,
    /// Write a table row for every second
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Fail (exit 1) unless the 95 % interval says so, as in `p99<2ms`; repeatable. Metrics: p50 to p99.99, min, max,
    /// mean, plain or after `response.`, `service.`, `connect.`, `lag.`; errors, failed, missing, rate
    #[arg(long = "assert", value_name = "CONDITION", value_parser = assertion::parse)]
    assertions: Vec<Assertion>,
    /// Search for the highest rate at which the condition holds, with a run for each rate (each takes --duration), and
    /// print the rate-latency curve; --json writes it too
    #[arg(long, value_name = "CONDITION", value_parser = assertion::parse,
        conflicts_with_all = ["rate", "think", "churn", "assertions", "hgrm", "hlog", "jsonl", "csv"])]
    find_max: Option<Assertion>,
}

impl Outputs {
    fn paths(&self) -> Paths {
        Paths {
            json: self.json.clone(),
            hgrm: self.hgrm.clone(),
            hlog: self.hlog.clone(),
            jsonl: self.jsonl.clone(),
            csv: self.csv.clone(),
        }
    }

    pub(super) fn assertions(&self) -> &[Assertion] {
        &self.assertions
    }

    /// The condition of `--find-max`.
    pub(super) fn find_max(&self) -> Option<&Assertion> {
        self.find_max.as_ref()
    }

    /// Prints the curve of a search, and writes it where the report would go.
    pub(super) fn write_curve(&self, curve: &Curve) -> Result<()> {
        let paths = self.paths();
        if let Some(path) = &paths.json {
            files::write_whole(path, &curve.json())?;
        }
        if !paths.use_stdout() {
            let _ = write!(std::io::stdout(), "{curve}"); // As with a report.
        }
        Ok(())
    }

    /// Errors: [`Error::Usage`] where outputs and plan do not go together. Opens nothing.
    pub(super) fn check(&self, workload: &Workload) -> Result<()> {
        for assertion in &self.assertions {
            assertion.fits(workload.pace.is_open()).map_err(Error::Usage)?;
        }
        self.paths().check()
    }

    /// Opens the files.
    pub(super) fn open(&self, workload: &Workload) -> Result<Watcher> {
        let paths = self.paths();
        Ok(Watcher {
            files: Files::open(&paths, workload)?,
            line: ProgressLine::new(),
            text: !paths.use_stdout(),
        })
    }
}

/// Whoever watches a run on behalf of the command line.
pub(super) struct Watcher {
    files: Files,
    line: ProgressLine,
    /// True if the report goes to stdout as text.
    text: bool,
}

impl Watcher {
    /// Concludes the files and prints the report.
    pub(super) fn finish(self, outcome: &RunResult, report: &Report) -> Result<()> {
        let written = self.files.finish(outcome, report);
        if self.text {
            // A reader that has gone away has read enough.
            let _ = write!(std::io::stdout(), "{report}");
        }
        written
    }

    /// Takes the progress line off the screen.
    pub(super) fn clear(&self) {
        self.line.clear();
    }
}

impl Observer for Watcher {
    fn progress(&mut self, progress: Progress) {
        self.line.draw(progress);
    }

    fn interval(&mut self, interval: &Interval) {
        self.files.interval(interval);
    }
}

/// One line on stderr that says how far the run is, on a terminal only.
struct ProgressLine {
    shown: bool,
    dim: (&'static str, &'static str),
}

impl ProgressLine {
    fn new() -> ProgressLine {
        // no-color.org: any value but the empty one.
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let dim = if colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        ProgressLine {
            shown: std::io::stderr().is_terminal(),
            dim,
        }
    }

    fn draw(&self, progress: Progress) {
        if !self.shown {
            return;
        }
        let mut text = format!("{} connections", units::show_count(progress.opened));
        if progress.elapsed > Nanos(0) {
            let (ok, seconds) = (units::show_count(progress.completed), progress.elapsed.as_secs());
            let rate = units::show_rate(progress.completed as f64 / seconds);
            text = format!("{text}, {ok} messages, {rate}, {seconds:.1} s");
        }
        // Back to the start of the line, the text, and away with what is left of a longer one.
        let _ = write!(std::io::stderr(), "\r{}{text}{}\x1b[K", self.dim.0, self.dim.1);
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
