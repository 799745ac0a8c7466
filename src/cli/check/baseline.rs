//! `urecho check baseline`: head alone, against runs stored earlier.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::flags::{DEFAULT_UTILIZATION, UtilizationFlag};
use super::{JsonFlag, JudgementFlags, MeasurementFlags, OutputFlags, Progress, SingleServerFlags};
use crate::check::baseline::{Baseline, Run, StoredRun};
use crate::check::experiment::{Control, Experiment, Offered};
use crate::check::judge::Profile;
use crate::cli::input;
use crate::compare::Candidate;
use crate::error::{self, Outcome, Result};
use crate::load;
use crate::load::schedule::Pace;
use crate::output::console;
use crate::output::place::Place;
use crate::output::written::Written;
use crate::report::Environment;
use crate::sys::identity::{MachineIdentity, Salt};
use crate::sys::signal::{self, Stop};
use crate::units::plural;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Measure a server alone and add the run to FILE; do it 5 to 10 times, at least an hour apart
    Save(Box<SaveFlags>),
    /// Compare a server with the runs in FILE; comparing two versions side by side is better
    Compare(Box<CompareFlags>),
}

#[derive(Debug, Args)]
pub(super) struct SaveFlags {
    /// The baseline; created if it does not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    head: SingleServerFlags,
    #[command(flatten)]
    rate: UtilizationFlag,
    #[command(flatten)]
    measurement: MeasurementFlags,
}

#[derive(Debug, Args)]
pub(super) struct CompareFlags {
    /// The baseline, from the same machine, kernel and flags
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    head: SingleServerFlags,
    #[command(flatten)]
    measurement: MeasurementFlags,
    #[command(flatten)]
    judgement: JudgementFlags,
    #[command(flatten)]
    outputs: OutputFlags,
}

pub(super) fn run(command: &Command, environment: Environment) -> Result<ExitCode> {
    match command {
        Command::Save(flags) => save(flags, environment),
        Command::Compare(flags) => compare(flags, environment),
    }
}

/// How a measurement ended.
enum Measured {
    Run(Box<Run>),
    Interrupted(i32),
}

fn save(flags: &SaveFlags, environment: Environment) -> Result<ExitCode> {
    let path = flags.file.as_path();
    let place = Place::open(path)?;
    let stored = path.exists().then(|| input::parse(path, Baseline::parse)).transpose()?;
    let salt = stored
        .as_ref()
        .map_or_else(Salt::random, |stored| Ok(stored.salt.clone()))?;
    let identity = MachineIdentity::read(&salt);
    let refusal = stored
        .as_ref()
        .and_then(|stored| stored.refuses_machine(&environment, &identity));
    if let Some(refusal) = refusal {
        return Ok(not_saved(&refusal));
    }
    let first = flags
        .measurement
        .experiment(flags.rate.offered(), &JudgementFlags::default())?;
    let mut experiment = match &stored {
        None => first,
        Some(stored) => repeat(first, stored),
    };
    let run = match measure(
        &flags.measurement,
        &mut experiment,
        &flags.head.candidate(),
        environment,
    )? {
        Measured::Run(run) => *run,
        Measured::Interrupted(signal) => return Ok(ExitCode::from(signal::exit_code(signal))),
    };
    let refusal = stored.as_ref().and_then(|stored| stored.refuses(&run, &identity));
    if let Some(refusal) = refusal {
        return Ok(not_saved(&refusal));
    }
    let run = StoredRun { identity, run };
    let baseline = match stored {
        None => Baseline::new(salt, run),
        Some(stored) => stored.with(run),
    };
    let written = match place.write_document(&baseline.json()) {
        Written::NotAll => Written::NotAll,
        Written::All if place.is_stdout() => Written::All,
        Written::All => {
            let (name, runs) = (path.display(), plural(baseline.runs.len() as u64, "run"));
            console::print(format_args!("{name}: {runs} stored; {}\n", baseline.describe_counted()))
        }
    };
    Ok(ExitCode::from(written.exit_code(0)))
}

fn not_saved(refusal: &str) -> ExitCode {
    let written = console::print(format_args!("not saved: {refusal}\n"));
    ExitCode::from(written.exit_code(error::exit_code([Outcome::Undecided])))
}

fn compare(flags: &CompareFlags, environment: Environment) -> Result<ExitCode> {
    let outputs = flags.outputs.open(&JsonFlag::default(), Some(&flags.file))?;
    let baseline = input::parse(&flags.file, Baseline::parse)?;
    let offered = Offered::Utilization(DEFAULT_UTILIZATION); // For a baseline without an open loop.
    let mut experiment = repeat(flags.measurement.experiment(offered, &flags.judgement)?, &baseline);
    let head = flags.head.candidate();
    let identity = MachineIdentity::read(&baseline.salt);
    // Nothing is measured that will not be compared.
    let summary = match baseline.refuses_machine(&environment, &identity) {
        Some(refusal) => {
            baseline.refusal_summary(refusal, head.command(), &environment, &identity, &experiment.settings)
        }
        None => match measure(&flags.measurement, &mut experiment, &head, environment)? {
            Measured::Run(run) => baseline.summary(&run, &identity),
            Measured::Interrupted(signal) => return Ok(ExitCode::from(signal::exit_code(signal))),
        },
    };
    let written = outputs.publish(&summary, None);
    Ok(ExitCode::from(written.exit_code(summary.judgement.exit_code)))
}

fn measure(
    flags: &MeasurementFlags,
    experiment: &mut Experiment,
    head: &Candidate,
    environment: Environment,
) -> Result<Measured> {
    load::check_machine(flags.io())?;
    let stop = Stop::on_signals()?;
    flags.connect_locally(experiment, &stop)?;
    let mut progress = Progress::new(experiment);
    let run = experiment.run_alone(
        head,
        environment,
        &mut Control {
            stop: &stop,
            on_restart: &mut |restart| progress.show(restart),
        },
    );
    drop(progress);
    match stop.signal() {
        Some(signal) => Ok(Measured::Interrupted(signal)),
        None => run.map(|run| Measured::Run(Box::new(run))),
    }
}

/// The experiment with the rate of the stored runs, and with their blocks and slices unless flags say otherwise.
fn repeat(experiment: Experiment, baseline: &Baseline) -> Experiment {
    let stored = baseline.load(Profile::Open).map(|load| load.plan.pace);
    Experiment {
        blocks: experiment.blocks.or(baseline.blocks()),
        slice: experiment.slice.or(baseline.slice()),
        offered: match stored {
            Some(Pace::Open { rate, .. }) => Offered::Rate(rate.from),
            _ => experiment.offered,
        },
        ..experiment
    }
}
