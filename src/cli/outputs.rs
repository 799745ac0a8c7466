//! The outputs of a run: flags for files and assertions, and the observer that writes them.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::clock::{Nanos, WallTime};
use crate::error::{Error, Result};
use crate::load::interval::Interval;
use crate::load::{Observer, Progress, RunResult, Workload};
use crate::output::progress::ProgressLine;
use crate::output::{console, file};
use crate::report::Report;
use crate::report::assertion::{self, Assertion};
use crate::report::files::{Files, Paths};
use crate::report::repeat::Repeats;
use crate::sys::signal::Stop;
use crate::units;

#[derive(Debug, Args)]
pub(super) struct OutputFlags {
    /// Write the report as JSON to FILE; `-`, here and below, writes to stdout in place of the text report
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the latency distribution for HdrHistogram plotters
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
    /// Write per-second histograms of service and response time, as an HdrHistogram interval log
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Write a JSON object per second
    #[arg(long, value_name = "FILE")]
    jsonl: Option<PathBuf>,
    /// Write a CSV row per second
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Exit 1 if the condition is false over the whole 95 % confidence interval, as in `p99<2ms`; repeatable
    ///
    /// Exit 3 if the interval straddles the bound, or if there is no valid one: too few messages, or too short a run.
    ///
    /// Metrics: any percentile (p50, p99.95), min, max and mean, plain or after `response.`, `service.`, `connect.` or
    /// `lag.`; errors, failed, missing, rate.
    #[arg(long = "assert", value_name = "CONDITION", value_parser = assertion::parse)]
    assertions: Vec<Assertion>,
}

impl OutputFlags {
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

    /// Errors: [`Error::Usage`] if outputs and workload do not go together. Opens nothing.
    pub(super) fn check(&self, workload: &Workload) -> Result<()> {
        for assertion in &self.assertions {
            assertion.fits(workload).map_err(Error::Usage)?;
        }
        self.paths().check()
    }

    /// Errors: [`Error::Usage`] if an output is of a single run, [`Error::Machine`] if the JSON cannot be written.
    pub(super) fn check_repeat(&self) -> Result<()> {
        if [&self.hgrm, &self.hlog, &self.jsonl, &self.csv]
            .into_iter()
            .all(Option::is_none)
        {
            return file::check_all(self.json.iter());
        }
        Err(Error::Usage(
            "--hgrm, --hlog, --jsonl and --csv are of a single run: leave them out with --repeat, or use --json".into(),
        ))
    }

    /// Prints a series of runs, and writes its JSON.
    pub(super) fn publish(&self, repeats: &Repeats) -> Result<()> {
        if !self.json.as_deref().is_some_and(file::is_stdout) {
            console::print(repeats); // Before anything can fail.
        }
        self.json
            .as_ref()
            .map_or(Ok(()), |path| file::write(path, &repeats.json()))
    }

    /// Opens the files.
    pub(super) fn open(&self, workload: &Workload, stop: &Stop) -> Result<RunObserver> {
        let paths = self.paths();
        Ok(RunObserver {
            files: Files::open(&paths, workload, stop)?,
            line: ProgressLine::new(),
            prints_text: !paths.use_stdout(),
        })
    }
}

/// Writes files and the progress line while a run goes on.
pub(super) struct RunObserver {
    files: Files,
    line: ProgressLine,
    prints_text: bool,
}

impl RunObserver {
    /// Finishes the files and prints the report.
    pub(super) fn finish(self, run: &RunResult, report: &Report) -> Result<()> {
        let written = self.files.finish(run, report);
        if self.prints_text {
            let _ = write!(std::io::stdout(), "{report}"); // A reader that closed the pipe has read enough.
        }
        written
    }

    /// Removes the progress line.
    pub(super) fn clear(&self) {
        self.line.clear();
    }
}

impl Observer for RunObserver {
    fn measuring(&mut self, began: WallTime) {
        self.files.measuring(began);
    }

    fn progress(&mut self, progress: Progress) {
        let mut text = format!("{} connections", units::show_count(progress.opened));
        if progress.elapsed > Nanos(0) {
            let (completed, seconds) = (units::show_count(progress.completed), progress.elapsed.as_secs());
            let rate = units::show_rate(progress.completed as f64 / seconds);
            text = format!("{text}, {completed} messages, {rate}, {seconds:.1} s");
        }
        self.line.show(&text);
    }

    fn interval(&mut self, interval: &Interval) {
        self.files.interval(interval);
    }
}
