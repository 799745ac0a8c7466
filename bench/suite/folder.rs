//! The directory of a run: what is in it, and whether a run may continue in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use urecho::error::{Error, Result};
use urecho::output::file;

use crate::record::Record;
use crate::servers::{CONGESTION, Servers, relative};

/// Where runs of record are kept.
const RUNS: &str = "bench/runs";

/// The directory of a run.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// An existing directory, or one that is created. Errors: [`Error::Machine`].
    pub(crate) fn open(path: &Path) -> Result<Folder> {
        fs::create_dir_all(path)
            .and_then(|()| path.canonicalize())
            .map(|path| Folder(relative(&path)))
            .map_err(|cause| Error::Machine(format!("cannot create {}: {cause}", path.display())))
    }

    /// A new directory with today's date below [`RUNS`].
    pub(crate) fn create_for_today() -> Result<Folder> {
        let today = output_of("date", &["+%F"])?;
        let names = (1..).map(|number| match number {
            1 => today.clone(),
            number => format!("{today}-{number}"),
        });
        let mut paths = names.map(|name| Path::new(RUNS).join(name));
        let unused = paths.find(|path| !path.exists());
        Folder::open(&unused.unwrap_or_default())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Errors: [`Error::Machine`] that names the file.
    pub(crate) fn read(&self, name: &str) -> Result<String> {
        let path = self.file(name);
        fs::read_to_string(&path).map_err(|cause| Error::Machine(format!("cannot read {}: {cause}", path.display())))
    }

    /// The comparison of a cell; none if it was not measured.
    pub(crate) fn record(&self, cell: &str) -> Result<Option<Record>> {
        let name = format!("{cell}.json");
        if !self.file(&name).exists() {
            return Ok(None);
        }
        let parsed = Record::parse(&self.read(&name)?);
        parsed
            .map(Some)
            .map_err(|what| Error::Machine(format!("{}: {what}", self.file(&name).display())))
    }

    /// True if a cell is complete. An interrupted one is written too, and marked as partial.
    pub(crate) fn is_measured(&self, cell: &str) -> Result<bool> {
        Ok(self.record(cell)?.is_some_and(|record| !record.partial))
    }

    /// Writes `machine` and `commands`. Errors: [`Error::Usage`] if they were there and differ: figures of two builds
    /// or machines do not belong into one table.
    pub(crate) fn begin(&self, machine: &str, commands: &str) -> Result<()> {
        for (name, new) in [("machine", machine), ("commands", commands)] {
            if let Ok(old) = fs::read_to_string(self.file(name))
                && old != new
            {
                return Err(Error::Usage(format!(
                    "{} was started with other {name}:\n{}\nUse the same build and flags, or another directory",
                    self.0.display(),
                    differences(&old, new)
                )));
            }
        }
        file::write(&self.file("machine"), machine)?;
        file::write(&self.file("commands"), commands)
    }
}

/// Lines that are in one text only.
fn differences(old: &str, new: &str) -> String {
    let only = |a: &str, b: &str, mark: char| -> Vec<String> {
        let lines = a.lines().filter(|line| !b.lines().any(|other| other == *line));
        lines.map(|line| format!("{mark} {line}")).collect()
    };
    [only(old, new, '-'), only(new, old, '+')].concat().join("\n")
}

/// The commit, compiler, peers, programs and machine of a run. No line may change while a directory is filled.
pub(crate) fn machine(servers: &Servers, environment: &[String]) -> Result<String> {
    let git = |arguments: &[&str]| output_of("git", arguments).unwrap_or_else(|_| "unknown".into());
    let tree = match git(&["status", "--porcelain", "--", ".", ":!bench/runs"]).as_str() {
        "" => "clean",
        _ => "DIRTY: the commit does not describe all of it",
    };
    let mut lines = vec![
        format!("commit: {}", git(&["rev-parse", "HEAD"])),
        format!("tree: {tree}"),
        format!("rustc: {}", output_of("rustc", &["--version"])?),
    ];
    lines.extend(servers.peer_versions()?);
    lines.push(format!("sha256 urecho: {}", sha256(&servers.urecho)?));
    for server in servers.all.iter().filter(|server| server.program != servers.urecho) {
        lines.push(format!("sha256 {}: {}", server.name, sha256(&server.program)?));
    }
    lines.push(format!("congestion control of all sockets: {CONGESTION}"));
    lines.extend_from_slice(environment);
    Ok(lines.join("\n") + "\n")
}

fn sha256(program: &Path) -> Result<String> {
    let line = output_of("sha256sum", &[&program.to_string_lossy()])?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
}

/// What a command prints, trimmed. Errors: [`Error::Machine`] if it fails.
fn output_of(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|cause| Error::Machine(format!("cannot start {program}: {cause}")))?;
    if !output.status.success() {
        return Err(Error::Machine(format!(
            "{program} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
