//! `urecho check`: a pair of versions, and its subcommands.

mod baseline;
mod flags;
mod outputs;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::check::experiment::Control;
use crate::check::history::{self, HistoryReport};
use crate::check::output::Check;
use crate::cli::values::Parsed;
use crate::compare::Candidate;
use crate::error::{Error, Result};
use crate::output::file;
use crate::output::progress::ProgressLine;
use crate::report::Environment;
use crate::sys::signal::{self, Stop};
use flags::{JudgementFlags, MeasurementFlags, SingleServerFlags, UtilizationFlag};
use outputs::{JsonFlag, OutputFlags};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Flags {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    pair: Option<PairFlags>,
    #[command(flatten)]
    rate: UtilizationFlag,
    #[command(flatten)]
    measurement: MeasurementFlags,
    #[command(flatten)]
    judgement: JudgementFlags,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    outputs: OutputFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge a check again from the JSON it wrote; runs nothing
    Replay(ReplayFlags),
    /// Compare with stored runs, when the two versions cannot run side by side
    #[command(subcommand)]
    Baseline(Box<baseline::Command>),
    /// Find shifts and creep in a history written by --append; runs nothing. Exit 1 for a creep
    History(HistoryFlags),
}

/// The two versions. Flattens nothing: clap tells from its own arguments whether it was given.
#[derive(Debug, Args)]
struct PairFlags {
    /// Command that starts the old server (base), with `{port}` where the port belongs
    ///
    /// It runs without a shell: variables and pipes need `sh -c '...'`.
    #[arg(long, value_name = "COMMAND", value_parser = base)]
    base: Candidate,
    /// Text in the line on base's stdout that announces readiness [default: probe the port]
    #[arg(long, value_name = "TEXT")]
    base_ready: Option<String>,
    /// Command that starts the new server (head)
    #[arg(long, value_name = "COMMAND", value_parser = flags::head)]
    head: Candidate,
    /// Text in the line on head's stdout that announces readiness [default: probe the port]
    #[arg(long, value_name = "TEXT")]
    head_ready: Option<String>,
}

#[derive(Debug, Args)]
struct ReplayFlags {
    /// A file written by `urecho check --json`
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    json: JsonFlag,
    #[command(flatten)]
    outputs: OutputFlags,
}

#[derive(Debug, Args)]
struct HistoryFlags {
    /// A file written by `urecho check --append`
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write the same as JSON; `-` is stdout instead of the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn base(command: &str) -> Parsed<Candidate> {
    Candidate::named("base", command)
}

pub(super) fn run(flags: &Flags, environment: Environment) -> Result<ExitCode> {
    match (&flags.command, &flags.pair) {
        (Some(Command::Replay(flags)), _) => replay(flags),
        (Some(Command::Baseline(command)), _) => baseline::run(command, environment),
        (Some(Command::History(flags)), _) => show_history(flags),
        (None, Some(pair)) => run_pair(pair, flags, environment),
        (None, None) => Err(Error::Usage("give both servers: --base and --head".into())),
    }
}

fn run_pair(pair: &PairFlags, flags: &Flags, environment: Environment) -> Result<ExitCode> {
    let base = flags::with_ready_text(pair.base.clone(), &pair.base_ready);
    let head = flags::with_ready_text(pair.head.clone(), &pair.head_ready);
    let mut experiment = flags.measurement.experiment(flags.rate.offered(), &flags.judgement)?;
    flags.outputs.check(&flags.json)?;
    let stop = Stop::on_signals()?;
    flags.measurement.connect_locally(&mut experiment, &stop)?;
    let restarts = experiment.settings.restarts;
    let line = ProgressLine::new();
    let record = experiment.run(
        &base,
        &head,
        environment,
        &mut Control {
            stop: &stop,
            on_restart: &mut |restart| show_progress(line, restart, restarts),
        },
    );
    line.clear();
    let check = Check::of(record);
    flags.outputs.publish(&check.summary(), Some((&flags.json, &check)))?;
    Ok(ExitCode::from(
        stop.signal().map_or(check.judgement.exit_code, signal::exit_code),
    ))
}

fn replay(flags: &ReplayFlags) -> Result<ExitCode> {
    flags.outputs.check(&flags.json)?;
    let check = parse_file(&flags.file, Check::replay)?;
    flags.outputs.publish(&check.summary(), Some((&flags.json, &check)))?;
    Ok(ExitCode::from(check.judgement.exit_code))
}

fn show_history(flags: &HistoryFlags) -> Result<ExitCode> {
    let report = HistoryReport::of(&parse_file(&flags.file, history::read)?);
    if !flags.json.as_deref().is_some_and(file::is_stdout) {
        let _ = write!(std::io::stdout(), "{report}"); // The reader may have closed the pipe.
    }
    if let Some(path) = &flags.json {
        file::write(path, &report.json())?;
    }
    Ok(ExitCode::from(report.exit_code()))
}

fn show_progress(line: ProgressLine, restart: usize, of: usize) {
    match restart {
        0 => line.show("measuring the capacity of the server"),
        restart => line.show(&format!("restart {restart} of {of}")),
    }
}

/// Parses a file. Errors: [`Error::Usage`] that names the file.
fn parse_file<T>(path: &Path, parse: fn(&str) -> Result<T>) -> Result<T> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|cause| Error::Usage(format!("cannot read {name}: {cause}")))?;
    parse(&text).map_err(|error| Error::Usage(format!("{name}: {error}")))
}
