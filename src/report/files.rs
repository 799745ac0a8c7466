//! The files of a run: the report itself, distributions, and a line per second.
//!
//! `.json` is the report, `.html` a page that shows it, `.hgrm` the distribution of the main latency (response time in
//! an open loop, service time in a closed one): documents, written at the end. `.hlog` has both latencies second by
//! second, `.jsonl` and `.csv` one line per second: written in place while the run goes on, from the end of the first
//! second on. Each is a valid file of its format after every second, however the process ends.

use std::io::{self, Write};
use std::path::PathBuf;

use super::intervals::IntervalLine;
use super::{Report, bars};
use crate::clock::{self, WallTime};
use crate::error::Result;
use crate::histogram::{Hlog, hgrm};
use crate::html;
use crate::load::interval::Interval;
use crate::load::{Observer, RunResult, Workload};
use crate::output::console;
use crate::output::file::Lines;
use crate::output::place::{self, Place};
use crate::output::publish::publish;
use crate::output::written::Written;

/// The mark of a file whose run was interrupted, or ended by wrong data.
const PARTIAL: &str = "PARTIAL: ended before the planned end";

/// Where to write what. None: not written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// The report.
    pub json: Option<PathBuf>,
    /// The report as a page.
    pub html: Option<PathBuf>,
    /// The distribution of the main latency.
    pub hgrm: Option<PathBuf>,
    /// Histograms of both latencies, per second.
    pub hlog: Option<PathBuf>,
    /// A JSON object per second.
    pub jsonl: Option<PathBuf>,
    /// A row per second.
    pub csv: Option<PathBuf>,
}

/// The files of one run.
pub struct Files {
    json: Option<Place>,
    html: Option<Place>,
    hgrm: Option<Place>,
    hlog: Option<HlogFile>,
    jsonl: Option<Lines>,
    csv: Option<Lines>,
    /// True if one of them is stdout, so that the text of the report must not go there.
    is_stdout_taken: bool,
    open_loop: bool,
    churn: bool,
    /// Version and seed.
    about: String,
    /// When measuring began.
    began: Option<WallTime>,
}

/// An interval log: its header has the start of measuring, so it is written then.
enum HlogFile {
    Waiting(Lines),
    Begun(Hlog<Lines>),
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
    /// Opens all of them; creates and changes none. Errors: [`Error::Usage`](crate::error::Error::Usage) if two are in
    /// one place, [`Error::Machine`](crate::error::Error::Machine) that names one that cannot be written.
    pub fn open(paths: &Paths, workload: &Workload) -> Result<Files> {
        let places = place::open_all([
            &paths.json,
            &paths.html,
            &paths.hgrm,
            &paths.hlog,
            &paths.jsonl,
            &paths.csv,
        ])?;
        let is_stdout_taken = places.iter().flatten().any(Place::is_stdout);
        let [json, html, hgrm, hlog, jsonl, csv] = places;
        Ok(Files {
            json,
            html,
            hgrm,
            hlog: hlog.map(Lines::new).map(HlogFile::Waiting),
            jsonl: jsonl.map(Lines::new),
            csv: csv.map(Lines::new),
            is_stdout_taken,
            open_loop: workload.pace.is_open(),
            churn: workload.churn.is_some(),
            about: format!("urecho {} load, seed {}", env!("CARGO_PKG_VERSION"), workload.seed),
            began: None,
        })
    }

    /// Writes what belongs at the end, and prints the report unless a file is on stdout.
    pub fn finish(mut self, run: &RunResult, report: &Report) -> Written {
        let began = match self.began {
            Some(began) => began,
            None => self.begin(WallTime::at(clock::now())), // It did not: a header is due all the same.
        };
        let comment = if report.partial {
            partial_comment()
        } else {
            String::new()
        };
        let mut written = Written::All;
        if let Some(HlogFile::Begun(hlog)) = self.hlog {
            let end = hlog
                .finish()
                .and_then(|mut lines| lines.write_all(comment.as_bytes()).map(|()| lines));
            written = written.and(in_memory(end).close());
        }
        for lines in [self.jsonl, self.csv].into_iter().flatten() {
            written = written.and(lines.close());
        }
        let main = match self.open_loop {
            true => &run.latencies.response,
            false => &run.latencies.service,
        };
        let distribution = || format!("{}# {}; {}\n{comment}", hgrm(main), self.about, began_line(began));
        let has_room = console::columns().is_some_and(|columns| columns >= bars::COLUMNS_MIN);
        let text = match (self.is_stdout_taken, has_room) {
            (true, _) => String::new(),
            (false, false) => report.to_string(),
            (false, true) => format!("{report}{}", report.figures.bars()),
        };
        written.and(publish(
            &text,
            [
                (self.hgrm.as_ref(), &distribution),
                (self.html.as_ref(), &|| html::page(&[report.section()])),
                (self.json.as_ref(), &|| report.json()),
            ],
        ))
    }

    /// Marks the files that have lines, if they have: the run has ended with an error. In `.jsonl` and `.csv` its last
    /// interval is marked already.
    pub fn abandon(self) {
        let Some(HlogFile::Begun(hlog)) = self.hlog else {
            return;
        };
        let mut lines = in_memory(hlog.finish());
        in_memory(lines.write_all(partial_comment().as_bytes()));
        let _ = lines.close(); // The error of the run decides the exit code.
    }

    /// Begins the files that have a line per second. Returns its argument.
    fn begin(&mut self, began: WallTime) -> WallTime {
        self.began = Some(began);
        let about = format!("{}\n{}", self.about, began_line(began));
        self.hlog = self.hlog.take().map(|hlog| in_memory(hlog.begin(began, &about)));
        if let Some(csv) = &mut self.csv {
            in_memory(csv.write_all(IntervalLine::CSV_HEADER.as_bytes()));
        }
        self.flush();
        began
    }

    fn write_interval(&mut self, interval: &Interval, began: WallTime) -> io::Result<()> {
        let (begin, end) = (interval.span.begin, interval.span.end);
        if let Some(HlogFile::Begun(hlog)) = &mut self.hlog {
            hlog.interval("service", begin, end, &interval.latencies.service)?;
            if self.open_loop {
                hlog.interval("response", begin, end, &interval.latencies.response)?;
            }
            if self.churn {
                hlog.interval("connect", begin, end, &interval.connect)?;
            }
        }
        let line = IntervalLine::of(interval, began);
        if let Some(jsonl) = &mut self.jsonl {
            jsonl.write_all(line.json().as_bytes())?;
        }
        if let Some(csv) = &mut self.csv {
            csv.write_all(line.csv().as_bytes())?;
        }
        Ok(())
    }

    /// Everything so far can be followed, and survives the process.
    fn flush(&mut self) {
        if let Some(HlogFile::Begun(hlog)) = &mut self.hlog {
            in_memory(hlog.flush());
        }
        for lines in [&mut self.jsonl, &mut self.csv].into_iter().flatten() {
            in_memory(lines.flush());
        }
    }
}

/// [`Lines`] keep what is written until it is flushed, and keep an error of that until they are closed.
fn in_memory<T>(result: io::Result<T>) -> T {
    result.expect("lines are written to memory, and histograms have fewer than 2^63 samples")
}

fn partial_comment() -> String {
    format!("#[{PARTIAL}]\n")
}

fn began_line(began: WallTime) -> String {
    format!("measuring began {began}, {} ns since 1970", began.unix_ns())
}

impl Observer for Files {
    fn measuring(&mut self, began: WallTime) {
        self.begin(began);
    }

    fn interval(&mut self, interval: &Interval) {
        let began = match self.began {
            Some(began) => began,
            None => self.begin(WallTime::at(clock::now())),
        };
        in_memory(self.write_interval(interval, began));
        self.flush();
    }
}
