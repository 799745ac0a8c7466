//! The outputs of a run: flags for files and assertions, and the observer that writes them.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::run_progress::RunProgress;
use crate::clock::WallTime;
use crate::error::{Error, Result};
use crate::live::LiveView;
use crate::load::interval::Interval;
use crate::load::{Observer, Progress, RateControl, RunResult, Workload};
use crate::output::console;
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
    /// Draw the run while it goes on: rate, latencies of the last second, errors; keys change the rate of an open loop
    ///
    /// Up and down change it by 10 %, page up and page down by a factor of 2, and end a ramp; q ends the run. A run
    /// whose rate was changed is SUSPECT: its latencies are of all rates together. The CPU time spent drawing is
    /// printed at the end.
    #[arg(long)]
    live: bool,
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
        if self.live {
            return Err(Error::Usage(
                "--live shows a single run: leave it out with --repeat".into(),
            ));
        }
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

    /// Errors: [`Error::Usage`] if something else would be drawn on the same terminal, or nothing may be drawn.
    fn check_live(&self) -> Result<()> {
        let is_stdout = |path: &Option<PathBuf>| path.as_deref().is_some_and(|path| path == Path::new("-"));
        if console::is_quiet() {
            Err(Error::Usage(
                "--live draws, and --quiet forbids it: leave one of them out".into(),
            ))
        } else if console::stdout_is_terminal() && [&self.hlog, &self.jsonl, &self.csv].into_iter().any(is_stdout) {
            Err(Error::Usage(
                "--live needs the terminal for itself: write the lines of each second to a file or a pipe".into(),
            ))
        } else {
            Ok(())
        }
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
        if self.live {
            self.check_live()?;
        }
        let files = Files::open(&paths, workload)?;
        let rate = RateControl::default();
        let display = if self.live {
            Display::Screen(Box::new(LiveView::new(workload, rate.clone())?))
        } else {
            Display::Line(RunProgress::new(workload))
        };
        Ok(RunObserver { files, display, rate })
    }
}

/// Writes files and shows progress while a run goes on.
pub(super) struct RunObserver {
    files: Files,
    display: Display,
    rate: RateControl,
}

/// Where progress is shown.
enum Display {
    Line(RunProgress),
    Screen(Box<LiveView>),
}

impl Display {
    fn observer(&mut self) -> &mut dyn Observer {
        match self {
            Display::Line(progress) => progress,
            Display::Screen(view) => &mut **view,
        }
    }

    fn close(self) {
        match self {
            Display::Line(progress) => drop(progress),
            Display::Screen(view) => view.close(),
        }
    }
}

impl RunObserver {
    /// Changes the rate of the run.
    pub(super) fn rate(&self) -> RateControl {
        self.rate.clone()
    }

    /// Removes the display, finishes the files and prints the report.
    pub(super) fn finish(self, run: &RunResult, report: &Report) -> Written {
        self.display.close();
        self.files.finish(run, report)
    }

    /// Removes the display, and marks the files of a run that an error has ended.
    pub(super) fn abandon(self) {
        self.display.close();
        self.files.abandon();
    }
}

impl Observer for RunObserver {
    fn measuring(&mut self, began: WallTime) {
        self.files.measuring(began);
    }

    fn progress(&mut self, progress: Progress) {
        self.display.observer().progress(progress);
    }

    fn interval(&mut self, interval: &Interval) {
        self.files.interval(interval);
        self.display.observer().interval(interval);
    }
}
