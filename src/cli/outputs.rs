//! The outputs of a run: flags for files and assertions, and the observer that writes them.

use std::path::PathBuf;

use clap::Args;

use crate::cli::run_progress::RunProgress;
use crate::clock::WallTime;
use crate::error::{Error, Result};
use crate::load::interval::Interval;
use crate::load::{Observer, Progress, RunResult, Workload};
use crate::output::place::{self, Place};
use crate::output::written::Written;
use crate::report::Report;
use crate::report::assertion::{self, Assertion};
use crate::report::files::{Files, Paths};

#[derive(Debug, Args)]
pub(super) struct OutputFlags {
    /// Write the report as JSON to FILE; `-`, here and below, writes to stdout in place of the text report
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with charts to FILE: it opens in any browser, without a network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the latency distribution for HdrHistogram plotters
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
    /// Write histograms of service and response time each second, as an HdrHistogram interval log
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Write a JSON object each second; one for several seconds if its reader is slow
    #[arg(long, value_name = "FILE")]
    jsonl: Option<PathBuf>,
    /// Write a CSV row each second; one for several seconds if its reader is slow
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
    pub(super) fn assertions(&self) -> &[Assertion] {
        &self.assertions
    }

    /// Errors: [`Error::Usage`] if outputs and workload do not go together. Opens nothing.
    pub(super) fn check(&self, workload: &Workload) -> Result<()> {
        let mut refusals = self.assertions.iter().map(|assertion| assertion.fits(workload));
        refusals.try_for_each(|fits| fits).map_err(Error::Usage)
    }

    /// Opens the places of the JSON and the page of several runs. Errors: [`Error::Usage`] if an output is of a single
    /// run, [`Error::Machine`] if one cannot be written.
    pub(super) fn open_for_repeat(&self) -> Result<[Option<Place>; 2]> {
        if [&self.hgrm, &self.hlog, &self.jsonl, &self.csv]
            .into_iter()
            .all(Option::is_none)
        {
            return place::open_all([&self.json, &self.html]);
        }
        Err(Error::Usage(
            "--hgrm, --hlog, --jsonl and --csv are of a single run: leave them out with --repeat, or use --json or --html".into(),
        ))
    }

    /// Opens the places of all files of a run. Errors: as for [`Files::open`].
    pub(super) fn open(&self, workload: &Workload) -> Result<RunObserver> {
        let paths = Paths {
            json: self.json.clone(),
            html: self.html.clone(),
            hgrm: self.hgrm.clone(),
            hlog: self.hlog.clone(),
            jsonl: self.jsonl.clone(),
            csv: self.csv.clone(),
        };
        Ok(RunObserver {
            files: Files::open(&paths, workload)?,
            progress: RunProgress::new(workload),
        })
    }
}

/// Writes files and the progress line while a run goes on.
pub(super) struct RunObserver {
    files: Files,
    progress: RunProgress,
}

impl RunObserver {
    /// Removes the progress line, finishes the files and prints the report.
    pub(super) fn finish(self, run: &RunResult, report: &Report) -> Written {
        drop(self.progress);
        self.files.finish(run, report)
    }

    /// Removes the progress line, and marks the files of a run that an error has ended.
    pub(super) fn abandon(self) {
        drop(self.progress);
        self.files.abandon();
    }
}

impl Observer for RunObserver {
    fn measuring(&mut self, began: WallTime) {
        self.files.measuring(began);
    }

    fn progress(&mut self, progress: Progress) {
        self.progress.progress(progress);
    }

    fn interval(&mut self, interval: &Interval) {
        self.files.interval(interval);
    }
}
