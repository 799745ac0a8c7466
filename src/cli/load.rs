//! `urecho load`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::load_flags::{LoadFlags, TargetFlags};
use crate::cli::outputs::OutputFlags;
use crate::cli::repeat;
use crate::cli::values;
use crate::error::{self, Error, Outcome, Result};
use crate::load::{self, Plan, RunResult};
use crate::report::assertion::{Assertion, Metric};
use crate::report::validity::Grade;
use crate::report::{Environment, Report};
use crate::sys::signal::{self, Stop};

#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    targets: TargetFlags,
    #[command(flatten)]
    load: LoadFlags,
    #[command(flatten)]
    outputs: OutputFlags,
    /// Run the plan N times, 2 to 100, each with a seed one higher; figures get confidence intervals over the runs
    ///
    /// For figures that are quoted: runs differ by more than the interval of any one of them says. Six runs or more have
    /// intervals (signed ranks). Assertions are decided on these. --json has all runs.
    #[arg(long, value_name = "N", value_parser = values::repeats)]
    repeat: Option<u32>,
}

pub(super) fn run(flags: &Flags, environment: Environment) -> Result<ExitCode> {
    let generator = &flags.load.workload.generator;
    let workload = flags.load.workload(generator.pin());
    flags.outputs.check(&workload)?;
    if flags.repeat.is_some() {
        flags.outputs.check_repeat()?;
    }
    let targets = flags.targets.resolve(generator)?;
    let stop = Stop::on_signals()?;
    let plan = Plan { targets, workload };
    match flags.repeat {
        Some(times) => {
            let exit_code = |run: &RunResult, report: &Report| exit_code(run, report, flags.outputs.assertions());
            let (interrupted, repeats) = repeat::execute(times, &plan, &flags.outputs, &environment, &stop, exit_code)?;
            let interrupted = interrupted.map(Outcome::Interrupted);
            let verdict = verdict(repeats.assertions_outcome(), repeats.grade());
            Ok(ExitCode::from(error::exit_code(verdict.chain(interrupted))))
        }
        None => execute(plan, &flags.outputs, environment, &stop),
    }
}

/// Runs the plan, writes the outputs, and returns the exit code of the run.
pub(super) fn execute(plan: Plan, outputs: &OutputFlags, environment: Environment, stop: &Stop) -> Result<ExitCode> {
    let mut observer = outputs.open(&plan.workload, stop)?;
    let run = load::run(plan, stop, &mut observer);
    observer.clear();
    let run = match (run, stop.signal()) {
        (Err(Error::Target(_)), Some(signal)) => return Ok(ExitCode::from(signal::exit_code(signal))), // Nothing was measured.
        (run, _) => run?,
    };
    let report = Report::of(&run, environment, outputs.assertions());
    observer.finish(&run, &report)?;
    exit_code(&run, &report, outputs.assertions()).map(ExitCode::from)
}

/// The exit code of a completed run. Errors: what decides it, where a sentence says more than the report.
fn exit_code(run: &RunResult, report: &Report, assertions: &[Assertion]) -> Result<u8> {
    let defect = defect(report, assertions);
    let is_target_at_fault = run.stats.overdue > 0 || report.figures.connections.lost_total() > 0;
    let outcome = defect.as_ref().map(|error| match error {
        Error::Data(_) if report.figures.messages.failed == 0 && !is_target_at_fault => Outcome::Unanswered,
        error => Outcome::Failed(error.exit_code()),
    });
    let interrupted = run.interrupted.map(Outcome::Interrupted);
    let verdict = verdict(report.assertions_outcome(), report.verdict.grade);
    let code = error::exit_code(verdict.chain(outcome).chain(interrupted));
    match defect {
        Some(error) if error.exit_code() == code => Err(error),
        _ => Ok(code),
    }
}

/// Connections and messages that were lost, unless an assertion says how many may be.
fn defect(report: &Report, assertions: &[Assertion]) -> Option<Error> {
    let figures = &report.figures;
    let (connections, messages) = (&figures.connections, &figures.messages);
    if connections.lost_total() + connections.closed >= connections.opened && messages.completed == 0
        || connections.closed == 0 && connections.lost_total() >= connections.opened
    {
        let targets = figures.plan.targets_shown();
        return Some(Error::Target(format!(
            "{targets} closed every connection before the run was over"
        )));
    }
    if connections.unopened() > 0 && !asserted(assertions, &[Metric::Errors]) {
        let unopened = connections.unopened();
        return Some(Error::Target(format!(
            "{unopened} connections did not open, {} did",
            connections.opened
        )));
    }
    let failed = messages.failed > 0 && !asserted(assertions, &[Metric::Errors, Metric::Failed]);
    let missing = messages.missing > 0 && !asserted(assertions, &[Metric::Errors, Metric::Missing]);
    (failed || missing).then(|| {
        let (sent, failed, missing) = (messages.sent, messages.failed, messages.missing);
        Error::Data(format!(
            "{} of {sent} messages got no reply: {failed} failed with their connections, {missing} are missing",
            failed + missing
        ))
    })
}

/// True if an assertion says how many of these errors are allowed: then it decides, not their presence.
fn asserted(assertions: &[Assertion], metrics: &[Metric]) -> bool {
    assertions.iter().any(|assertion| metrics.contains(&assertion.metric()))
}

/// What a verdict and its assertions amount to.
fn verdict(assertions: Option<Outcome>, grade: Grade) -> impl Iterator<Item = Outcome> {
    let invalid = (grade == Grade::Invalid).then_some(Outcome::Invalid);
    invalid.into_iter().chain(assertions)
}
