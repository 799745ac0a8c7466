//! `urecho check`: a pair of versions, and its subcommands.

mod baseline;
mod flags;
mod outputs;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::check::experiment::{Control, Experiment};
use crate::check::history::{self, HistoryReport};
use crate::check::output::Check;
use crate::cli::input;
use crate::cli::values::Parsed;
use crate::clock::{self, Nanos};
use crate::compare::Candidate;
use crate::error::{self, Error, Outcome, Result};
use crate::html;
use crate::load;
use crate::output::progress::{ProgressLine, show_left};
use crate::output::publish::publish;
use crate::output::{console, place};
use crate::report::Environment;
use crate::sys::signal::Stop;
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
    /// Find shifts and creep in a history written by --append; runs nothing; exits with 1 if creep is found
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
    /// Write a page with a chart of each metric over the commits to FILE
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
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
    let outputs = flags.outputs.open(&flags.json, None)?;
    load::check_machine(flags.measurement.io())?;
    let stop = Stop::on_signals()?;
    flags.measurement.connect_locally(&mut experiment, &stop)?;
    let mut progress = Progress::new(&experiment);
    let record = experiment.run(
        &base,
        &head,
        environment,
        &mut Control {
            stop: &stop,
            on_restart: &mut |restart| progress.show(restart),
        },
    );
    drop(progress);
    let check = Check::of(record);
    let written = outputs.publish(&check.summary(), Some(&check));
    let code = check.judgement.exit_code;
    // An interruption outweighs the verdict, and a bug both.
    let interrupted = |signal| error::exit_code([Outcome::Interrupted(signal), Outcome::Failed(code)]);
    Ok(ExitCode::from(
        written.exit_code(stop.signal().map_or(code, interrupted)),
    ))
}

fn replay(flags: &ReplayFlags) -> Result<ExitCode> {
    let outputs = flags.outputs.open(&flags.json, Some(&flags.file))?;
    let check = input::parse(&flags.file, Check::replay)?;
    let written = outputs.publish(&check.summary(), Some(&check));
    Ok(ExitCode::from(written.exit_code(check.judgement.exit_code)))
}

fn show_history(flags: &HistoryFlags) -> Result<ExitCode> {
    let places = place::open_all([&flags.json, &flags.html])?;
    places
        .iter()
        .flatten()
        .try_for_each(|place| place.check_is_not(&flags.file))?;
    let history = input::parse(&flags.file, history::read)?;
    for line in &history.torn {
        let name = flags.file.display();
        console::note(format_args!(
            "urecho: warning: {name}: line {line} is torn off and was skipped"
        ));
    }
    let report = HistoryReport::of(&history.whole);
    let [json, html] = places;
    let written = publish(
        &report,
        [
            (json.as_ref(), &|| report.json()),
            (html.as_ref(), &|| html::page(&[report.section(&history.whole)])),
        ],
    );
    Ok(ExitCode::from(written.exit_code(report.exit_code())))
}

/// How far an experiment is, on the progress line.
struct Progress {
    line: ProgressLine,
    /// When the budget is used up; a restart in progress is completed.
    deadline: Nanos,
    restarts: usize,
}

impl Progress {
    fn new(experiment: &Experiment) -> Progress {
        Progress {
            line: ProgressLine::new(),
            deadline: clock::now() + Nanos(experiment.settings.budget_ns),
            restarts: experiment.settings.restarts,
        }
    }

    /// Before a restart, from 1, or 0 for the capacity run.
    fn show(&mut self, restart: usize) {
        let left = show_left(self.deadline - clock::now());
        let step = match restart {
            0 => "measuring the capacity of the server".to_owned(),
            restart => format!("restart {restart} of {}", self.restarts),
        };
        self.line.show(&format!("at most {left}, {step}"));
    }
}
