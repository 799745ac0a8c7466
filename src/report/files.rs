//! The files of a run: the report itself, distributions, and a line per second.
//!
//! `.json` is the report, `.hgrm` the distribution of the main latency (response time in an open loop, service time in a
//! closed one), `.hlog` both latencies second by second, `.jsonl` and `.csv` one line per second.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use super::Report;
use super::intervals::IntervalLine;
use crate::error::Result;
use crate::histogram::{Hlog, hgrm};
use crate::load::interval::Interval;
use crate::load::{Observer, RunResult, Workload};
use crate::output::file::{self, AtomicFile, cannot_write};

/// The mark of a file whose run was interrupted.
const PARTIAL: &str = "PARTIAL: interrupted before the planned end";

/// Where to write what. None: not written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// The report.
    pub json: Option<PathBuf>,
    /// The distribution of the main latency.
    pub hgrm: Option<PathBuf>,
    /// Histograms of both latencies, per second.
    pub hlog: Option<PathBuf>,
    /// A JSON object per second.
    pub jsonl: Option<PathBuf>,
    /// A row per second.
    pub csv: Option<PathBuf>,
}

impl Paths {
    /// True if one of them is standard output, so that the text of the report must not go there.
    pub fn use_stdout(&self) -> bool {
        self.all().any(|path| file::is_stdout(path))
    }

    /// Errors: [`Error::Usage`](crate::error::Error::Usage) if two of them are the same path.
    pub fn check(&self) -> Result<()> {
        file::check_distinct(self.all())
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.json, &self.hgrm, &self.hlog, &self.jsonl, &self.csv]
            .into_iter()
            .flatten()
    }
}

/// The files of one run, open while it goes on.
pub struct Files {
    json: Option<AtomicFile>,
    hgrm: Option<AtomicFile>,
    hlog: Option<Hlog<AtomicFile>>,
    jsonl: Option<AtomicFile>,
    csv: Option<AtomicFile>,
    open_loop: bool,
    /// The first error while the run went on, returned at its end.
    failure: Option<io::Error>,
}

impl Files {
    /// Opens all of them. Errors: [`Error::Machine`](crate::error::Error::Machine) that names the file.
    pub fn open(paths: &Paths, workload: &Workload) -> Result<Files> {
        let open = |path: &Option<PathBuf>| path.as_deref().map(AtomicFile::create).transpose();
        let comment = format!("urecho {} load, seed {}", env!("CARGO_PKG_VERSION"), workload.seed);
        let begin = |file| Hlog::begin(file, SystemTime::now(), &comment).map_err(cannot_write);
        let mut csv = open(&paths.csv)?;
        if let Some(csv) = &mut csv {
            csv.write_all(IntervalLine::CSV_HEADER.as_bytes())
                .map_err(cannot_write)?;
        }
        Ok(Files {
            json: open(&paths.json)?,
            hgrm: open(&paths.hgrm)?,
            hlog: open(&paths.hlog)?.map(begin).transpose()?,
            jsonl: open(&paths.jsonl)?,
            csv,
            open_loop: workload.pace.is_open(),
            failure: None,
        })
    }

    /// Writes what belongs at the end, and moves all files into place. Errors:
    /// [`Error::Machine`](crate::error::Error::Machine).
    pub fn finish(mut self, run: &RunResult, report: &Report) -> Result<()> {
        let written = match self.failure.take() {
            Some(failure) => Err(failure),
            None => self.commit(run, report),
        };
        written.map_err(cannot_write)
    }

    fn commit(self, run: &RunResult, report: &Report) -> io::Result<()> {
        let if_partial = |line: String| if report.partial { line } else { String::new() };
        let comment = if_partial(format!("#[{PARTIAL}]\n"));
        if let Some(hlog) = self.hlog {
            hlog.finish()?.commit(&comment)?;
        }
        if let Some(jsonl) = self.jsonl {
            jsonl.commit(&if_partial("{\"partial\":true}\n".to_owned()))?;
        }
        if let Some(csv) = self.csv {
            csv.commit(&if_partial(format!("# {PARTIAL}\n")))?;
        }
        if let Some(file) = self.hgrm {
            let main = if self.open_loop {
                &run.latencies.response
            } else {
                &run.latencies.service
            };
            file.commit(&(hgrm(main) + &comment))?;
        }
        if let Some(json) = self.json {
            json.commit(&report.json())?;
        }
        Ok(())
    }

    fn write_interval(&mut self, interval: &Interval) -> io::Result<()> {
        let (begin, end) = (interval.span.begin, interval.span.end);
        if let Some(hlog) = &mut self.hlog {
            hlog.interval("service", begin, end, &interval.latencies.service)?;
            if self.open_loop {
                hlog.interval("response", begin, end, &interval.latencies.response)?;
            }
        }
        let line = IntervalLine::of(interval);
        if let Some(jsonl) = &mut self.jsonl {
            jsonl.write_all(line.json().as_bytes())?;
            jsonl.flush()?; // It may be followed while the run goes on.
        }
        if let Some(csv) = &mut self.csv {
            csv.write_all(line.csv().as_bytes())?;
        }
        Ok(())
    }
}

impl Observer for Files {
    fn interval(&mut self, interval: &Interval) {
        if self.failure.is_none() {
            self.failure = self.write_interval(interval).err();
        }
    }
}
