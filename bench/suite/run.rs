//! Runs the cells one after the other, and writes the summary after each.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use urecho::error::{Error, Result};
use urecho::sys::limits;
use urecho::sys::signal::{Stop, exit_code};

use crate::folder::{self, Folder};
use crate::plan::{Plan, PlannedCell, Settings, show};
use crate::record::Record;
use crate::servers::{self, CONGESTION, Servers};
use crate::summary;

/// How often a running cell is checked, and a signal passed on to it.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Measures all cells that `into` does not have. Returns the exit code: 5 or 6 if a server failed, as for `compare`.
pub(crate) fn run(settings: Settings, into: Option<PathBuf>) -> Result<u8> {
    let stop = Stop::on_signals()?;
    limits::raise_descriptors();
    if !settings.small {
        servers::build_peers()?;
    }
    let servers = Servers::find();
    for name in &servers.skipped {
        eprintln!("SKIPPED: the peer {name} is not built");
    }
    let plan = Plan::of(settings, &servers);
    let folder = match into {
        Some(path) => Folder::open(&path)?,
        None if settings.small => {
            Folder::open(&std::env::temp_dir().join(format!("urecho-suite-{}", std::process::id())))?
        }
        None => Folder::create_for_today()?,
    };
    let (environment, restart) = try_servers(&servers, &plan)?;
    folder.begin(
        &folder::machine(&servers, &environment)?,
        &commands(&plan, &servers, &folder),
    )?;
    let mut suite = Suite {
        plan,
        servers,
        folder,
        restart,
        stop,
    };
    suite.measure()
}

/// One line per cell: name, tab, command.
fn commands(plan: &Plan, servers: &Servers, folder: &Folder) -> String {
    let head = "# Run in the directory of Cargo.toml, with the builds in `machine`. Per cell: name, tab, command.\n";
    let lines = plan.cells.iter().map(|cell| {
        let command = shell_words::join(cell.command(servers, folder.path()));
        format!("{}\t{command}\n", cell.cell.name)
    });
    head.to_owned() + &lines.collect::<String>()
}

/// Starts every server once, as in the first cell, for a slice too short to be a result. Returns the environment of the
/// measurement, and how long it takes to start and stop a server.
fn try_servers(servers: &Servers, plan: &Plan) -> Result<(Vec<String>, Duration)> {
    let begin = Instant::now();
    let flags = "compare --json - -c 1 --restarts 1 --blocks 1 --slice 5ms --slice-warmup 1ms --congestion";
    let output = Command::new(&servers.urecho)
        .args(flags.split_whitespace())
        .arg(CONGESTION)
        .args(servers.all.iter().map(|server| server.candidate(&plan.cells[0].cell)))
        .output()
        .map_err(|cause| Error::Machine(format!("cannot start {}: {cause}", servers.urecho.display())))?;
    let record = Record::parse(&String::from_utf8_lossy(&output.stdout))
        .map_err(|what| Error::Machine(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim())))?;
    for server in record.servers().map_err(Error::Machine)? {
        if let Some(failure) = server.failure {
            eprintln!("{} FAILED: {failure}", server.name);
        }
    }
    Ok((record.environment(), begin.elapsed() / servers.all.len() as u32))
}

/// A run of the suite.
struct Suite {
    plan: Plan,
    servers: Servers,
    folder: Folder,
    /// How long it takes to start and stop a server.
    restart: Duration,
    stop: Stop,
}

impl Suite {
    fn measure(&mut self) -> Result<u8> {
        self.announce()?;
        let mut exit = 0;
        let count = self.plan.cells.len();
        for (number, cell) in self.plan.cells.iter().enumerate() {
            let name = &cell.cell.name;
            if self.folder.is_measured(name)? {
                eprintln!("{name}: already measured");
                continue;
            }
            if self.stop.signal().is_some() {
                break;
            }
            eprintln!(
                "{name} ({} of {count}): about {}",
                number + 1,
                show(cell.duration(self.restart))
            );
            exit = exit.max(self.measure_cell(cell)?);
            summary::write(&self.folder)?;
        }
        let readme = self.folder.file("README.md");
        eprintln!("{}", readme.display());
        match self.stop.signal() {
            Some(signal) => {
                let folder = self.folder.path().display();
                eprintln!("interrupted: continue with --into {folder} and the same flags");
                Ok(exit_code(signal))
            }
            None => Ok(exit),
        }
    }

    /// What will be measured, and how long that takes.
    fn announce(&self) -> Result<()> {
        let mut total = Duration::ZERO;
        for cell in &self.plan.cells {
            if !self.folder.is_measured(&cell.cell.name)? {
                total += cell.duration(self.restart);
            }
        }
        eprintln!(
            "{} cells of {} servers into {}: about {}",
            self.plan.cells.len(),
            self.servers.all.len(),
            self.folder.path().display(),
            show(total)
        );
        Ok(())
    }

    /// Returns the exit code of `compare`.
    fn measure_cell(&self, cell: &PlannedCell) -> Result<u8> {
        let words = cell.command(&self.servers, self.folder.path());
        let mut command = Command::new(&words[0]);
        // Its own process group: a signal from the terminal comes here first, and is passed on once.
        let child = command.args(&words[1..]).process_group(0).spawn();
        let child = child.map_err(|cause| Error::Machine(format!("cannot start {}: {cause}", words[0])))?;
        let status = self.wait(child)?;
        let name = &cell.cell.name;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        match code {
            Some(0) => Ok(0),
            Some(code @ (5 | 6)) => {
                eprintln!("{name}: a server FAILED, see its row");
                Ok(code)
            }
            code => {
                eprintln!("{name}: NOT MEASURED ({status})");
                Ok(code.unwrap_or(1))
            }
        }
    }

    /// Waits for the child, and passes a signal on to it.
    fn wait(&self, mut child: Child) -> Result<ExitStatus> {
        let mut passed_on = false;
        loop {
            let status = child.try_wait();
            if let Some(status) = status.map_err(|cause| Error::Machine(format!("cannot wait: {cause}")))? {
                return Ok(status);
            }
            if self.stop.signal().is_some() && !passed_on {
                // It may have exited this instant.
                let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
                passed_on = true;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}
