//! Reports as files: written beside their place and moved there whole, so that nobody reads half of one.
//!
//! `.json` is the report, `.hgrm` the distribution of the latency that counts (response in an open loop, service in a
//! closed one), `.hlog` both latencies by seconds, `.jsonl` and `.csv` a line for every second.

use std::fs::{self, File};
use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Report;
use super::seconds::Second;
use crate::error::{Error, Result};
use crate::histogram::{Hlog, hgrm};
use crate::load::interval::Interval;
use crate::load::{Observer, RunResult, Workload};

/// The name that means standard output.
const STDOUT: &str = "-";

/// Where to write what. None: not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// The report.
    pub json: Option<PathBuf>,
    /// The distribution.
    pub hgrm: Option<PathBuf>,
    /// Both latencies by seconds, as histograms.
    pub hlog: Option<PathBuf>,
    /// A JSON object a second.
    pub jsonl: Option<PathBuf>,
    /// A row a second.
    pub csv: Option<PathBuf>,
}

impl Paths {
    /// True if one of them is standard output: nothing else may be printed there.
    pub fn use_stdout(&self) -> bool {
        self.all().any(|path| path.as_os_str() == STDOUT)
    }

    /// Errors: [`Error::Usage`] if two of them are the same place.
    pub fn check(&self) -> Result<()> {
        distinct(self.all())
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.json, &self.hgrm, &self.hlog, &self.jsonl, &self.csv]
            .into_iter()
            .flatten()
    }
}

/// Errors: [`Error::Usage`] if two of these are the same place, [`Error::Machine`] if one cannot be written to.
pub fn check_places<'a>(paths: impl Iterator<Item = &'a PathBuf> + Clone) -> Result<()> {
    distinct(paths.clone())?;
    for path in paths {
        // Whoever reads a pipe would take this for its end.
        let is_special = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        if !is_special {
            Draft::open(path)?; // Dropped: nothing is left of it.
        }
    }
    Ok(())
}

fn distinct<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    let mut paths: Vec<&PathBuf> = paths.collect();
    paths.sort();
    match paths.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            let path = pair[0].display();
            Err(Error::Usage(format!(
                "two outputs go to {path}: give each a file of its own"
            )))
        }
        None => Ok(()),
    }
}

/// Writes one file at once, in the way of all others. Errors: [`Error::Machine`].
pub fn write_whole(path: &Path, text: &str) -> Result<()> {
    Draft::open(path)?.conclude(text).map_err(cannot_write)
}

/// The files of one run, open while it goes on.
pub struct Files {
    json: Option<Draft>,
    hgrm: Option<Draft>,
    hlog: Option<Hlog<Draft>>,
    jsonl: Option<Draft>,
    csv: Option<Draft>,
    /// True if the plan has two latencies.
    open_loop: bool,
    /// The first thing that went wrong while the run went on; told at its end.
    failure: Option<io::Error>,
}

impl Files {
    /// Opens all of them. Errors: [`Error::Machine`] that names the file; nothing has been sent yet.
    pub fn open(paths: &Paths, workload: &Workload) -> Result<Files> {
        let open = |path: &Option<PathBuf>| path.as_deref().map(Draft::open).transpose();
        let hlog = open(&paths.hlog)?;
        let mut csv = open(&paths.csv)?;
        let about = format!("urecho {} load, seed {}", env!("CARGO_PKG_VERSION"), workload.seed);
        let begin = |draft| Hlog::begin(draft, SystemTime::now(), &about).map_err(cannot_write);
        if let Some(csv) = &mut csv {
            csv.write_all(Second::CSV_HEAD.as_bytes()).map_err(cannot_write)?;
        }
        Ok(Files {
            json: open(&paths.json)?,
            hgrm: open(&paths.hgrm)?,
            hlog: hlog.map(begin).transpose()?,
            jsonl: open(&paths.jsonl)?,
            csv,
            open_loop: workload.pace.is_open(),
            failure: None,
        })
    }

    /// Writes what belongs at the end, and moves all files to their places.
    pub fn finish(mut self, outcome: &RunResult, report: &Report) -> Result<()> {
        let written = match self.failure.take() {
            Some(failure) => Err(failure),
            None => self.write_ends(outcome, report),
        };
        written.map_err(cannot_write)
    }

    fn write_ends(self, outcome: &RunResult, report: &Report) -> io::Result<()> {
        const PARTIAL: &str = "PARTIAL: interrupted before its time was over";
        let partial = |line: String| if report.partial { line } else { String::new() };
        if let Some(hlog) = self.hlog {
            hlog.finish()?.conclude(&partial(format!("#[{PARTIAL}]\n")))?;
        }
        if let Some(jsonl) = self.jsonl {
            jsonl.conclude(&partial("{\"partial\":true}\n".to_owned()))?;
        }
        if let Some(csv) = self.csv {
            csv.conclude(&partial(format!("# {PARTIAL}\n")))?;
        }
        if let Some(file) = self.hgrm {
            let recorder = if self.open_loop {
                &outcome.latencies.response
            } else {
                &outcome.latencies.service
            };
            file.conclude(&(hgrm(recorder) + &partial(format!("#[{PARTIAL}]\n"))))?;
        }
        if let Some(json) = self.json {
            json.conclude(&report.json())?;
        }
        Ok(())
    }

    fn write_second(&mut self, interval: &Interval) -> io::Result<()> {
        if let Some(hlog) = &mut self.hlog {
            hlog.interval(
                "service",
                interval.span.begin,
                interval.span.end,
                &interval.latencies.service,
            )?;
            if self.open_loop {
                hlog.interval(
                    "response",
                    interval.span.begin,
                    interval.span.end,
                    &interval.latencies.response,
                )?;
            }
        }
        let second = Second::of(interval);
        if let Some(jsonl) = &mut self.jsonl {
            jsonl.write_all(second.json().as_bytes())?;
            jsonl.flush()?; // Somebody may be following it.
        }
        if let Some(csv) = &mut self.csv {
            csv.write_all(second.csv().as_bytes())?;
        }
        Ok(())
    }
}

impl Observer for Files {
    fn interval(&mut self, interval: &Interval) {
        if self.failure.is_none() {
            self.failure = self.write_second(interval).err();
        }
    }
}

fn cannot_write(cause: io::Error) -> Error {
    Error::Machine(format!("cannot write the results: {cause}"))
}

/// A file on its way to its place. Dropped before it is concluded, it leaves no trace.
struct Draft {
    out: BufWriter<Out>,
    /// Where it is written, and where it belongs; none if it is written in place.
    paths: Option<(PathBuf, PathBuf)>,
}

enum Out {
    File(File),
    Stdout(Stdout),
}

impl Draft {
    fn open(path: &Path) -> Result<Draft> {
        if path.as_os_str() == STDOUT {
            return Ok(Draft {
                out: BufWriter::new(Out::Stdout(io::stdout())),
                paths: None,
            });
        }
        // A pipe or a device is written in place: moving a file there would replace it.
        let in_place = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        let beside = if in_place { path.to_owned() } else { beside(path) };
        let file = File::create(&beside)
            .map_err(|cause| Error::Machine(format!("cannot write {}: {cause}", path.display())))?;
        let paths = (!in_place).then(|| (beside, path.to_owned()));
        Ok(Draft {
            out: BufWriter::new(Out::File(file)),
            paths,
        })
    }

    /// Writes the last text and moves the file to its place.
    fn conclude(mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()?;
        if let Some((from, to)) = self.paths.take() {
            fs::rename(from, to)?;
        }
        Ok(())
    }
}

/// A name in the same directory, so that a rename is enough.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Out::File(file) => file.write(bytes),
            Out::Stdout(stdout) => stdout.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::File(file) => file.flush(),
            Out::Stdout(stdout) => stdout.flush(),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some((beside, _)) = &self.paths {
            let _ = fs::remove_file(beside); // Gone already: as well.
        }
    }
}
