//! The files of a run: the report itself, distributions, and a line per second.
//!
//! `.json` is the report, `.hgrm` the distribution of the main latency (response time in an open loop, service time in a
//! closed one), `.hlog` both latencies second by second, `.jsonl` and `.csv` one line per second.

use std::io::{self, Write};
use std::path::PathBuf;

use super::Report;
use super::intervals::IntervalLine;
use crate::clock::{self, WallTime};
use crate::error::Result;
use crate::histogram::{Hlog, hgrm};
use crate::load::interval::Interval;
use crate::load::{Observer, RunResult, Workload};
use crate::output::file::{self, AtomicFile, cannot_write};
use crate::sys::signal::Stop;

/// The mark of a file whose run was interrupted, or ended by wrong data.
const PARTIAL: &str = "PARTIAL: ended before the planned end";

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
    hlog: Option<HlogFile>,
    jsonl: Option<AtomicFile>,
    csv: Option<AtomicFile>,
    open_loop: bool,
    /// Version and seed.
    about: String,
    /// When measuring began.
    began: Option<WallTime>,
    /// Once it has fired, what follows is marked as partial.
    stop: Stop,
    /// The first error while the run went on, returned at its end.
    failure: Option<io::Error>,
}

/// An interval log: its header has the start of measuring, so it is written then.
enum HlogFile {
    Waiting(AtomicFile),
    Begun(Hlog<AtomicFile>),
}

impl HlogFile {
    fn begin(self, began: WallTime, about: &str) -> io::Result<HlogFile> {
        Ok(HlogFile::Begun(match self {
            HlogFile::Waiting(file) => Hlog::begin(file, began.into(), about)?,
            HlogFile::Begun(log) => log,
        }))
    }
}

impl Files {
    /// Opens all of them; `stop` interrupts the run. Errors: [`Error::Machine`](crate::error::Error::Machine) that names the
    /// file.
    pub fn open(paths: &Paths, workload: &Workload, stop: &Stop) -> Result<Files> {
        let open = |path: &Option<PathBuf>| path.as_deref().map(AtomicFile::create).transpose();
        let mut csv = open(&paths.csv)?;
        if let Some(csv) = &mut csv {
            csv.write_all(IntervalLine::CSV_HEADER.as_bytes())
                .map_err(cannot_write)?;
        }
        Ok(Files {
            json: open(&paths.json)?,
            hgrm: open(&paths.hgrm)?,
            hlog: open(&paths.hlog)?.map(HlogFile::Waiting),
            jsonl: open(&paths.jsonl)?,
            csv,
            open_loop: workload.pace.is_open(),
            about: format!("urecho {} load, seed {}", env!("CARGO_PKG_VERSION"), workload.seed),
            began: None,
            stop: stop.clone(),
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

    fn commit(mut self, run: &RunResult, report: &Report) -> io::Result<()> {
        let began = self.begin()?; // If it did not: a header is due all the same.
        let comment = if report.partial {
            format!("#[{PARTIAL}]\n")
        } else {
            String::new()
        };
        if let Some(HlogFile::Begun(hlog)) = self.hlog {
            hlog.finish()?.commit(&comment)?;
        }
        for lines in [self.jsonl, self.csv].into_iter().flatten() {
            lines.commit("")?;
        }
        if let Some(file) = self.hgrm {
            let main = if self.open_loop {
                &run.latencies.response
            } else {
                &run.latencies.service
            };
            let began = format!("# {}; {}\n", self.about, began_line(began));
            file.commit(&(hgrm(main) + &began + &comment))?;
        }
        if let Some(json) = self.json {
            json.commit(&report.json())?;
        }
        Ok(())
    }

    /// The start of measuring, or now if it has not begun. Begins the interval log.
    fn begin(&mut self) -> io::Result<WallTime> {
        let began = *self.began.get_or_insert_with(|| WallTime::at(clock::now()));
        if let Some(hlog) = self.hlog.take() {
            let about = format!("{}\n{}", self.about, began_line(began));
            self.hlog = Some(hlog.begin(began, &about)?);
        }
        Ok(began)
    }

    fn write_interval(&mut self, interval: &Interval) -> io::Result<()> {
        let began = self.begin()?;
        let (begin, end) = (interval.span.begin, interval.span.end);
        if let Some(HlogFile::Begun(hlog)) = &mut self.hlog {
            hlog.interval("service", begin, end, &interval.latencies.service)?;
            if self.open_loop {
                hlog.interval("response", begin, end, &interval.latencies.response)?;
            }
        }
        let line = IntervalLine::of(interval, began, self.stop.has_fired());
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

fn began_line(began: WallTime) -> String {
    format!("measuring began {began}, {} ns since 1970", began.unix_ns())
}

impl Observer for Files {
    fn measuring(&mut self, began: WallTime) {
        self.began = Some(began);
    }

    fn interval(&mut self, interval: &Interval) {
        if self.failure.is_none() {
            self.failure = self.write_interval(interval).err();
        }
    }
}
