//! `urecho load`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::load_flags::{LoadFlags, TargetFlags};
use crate::cli::outputs::OutputFlags;
use crate::cli::repeat;
use crate::error::{Error, Result};
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
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100))]
    repeat: Option<u32>,
}

pub(super) fn run(flags: &Flags, environment: Environment) -> Result<ExitCode> {
    let generator = &flags.load.workload.generator;
    let mut workload = flags.load.workload(generator.pin.clone());
    flags.outputs.check(&workload)?;
    if flags.repeat.is_some() {
        flags.outputs.check_repeat()?;
    }
    let stop = Stop::on_signals()?;
    let targets = flags.targets.resolve(generator, &mut workload, &stop)?;
    let plan = Plan { targets, workload };
    match flags.repeat {
        Some(times) => {
            let exit_code = |run: &RunResult, report: &Report| exit_code(run, report, flags.outputs.assertions());
            let (interrupted, repeats) = repeat::execute(times, &plan, &flags.outputs, &environment, &stop, exit_code)?;
            let judged = || combine(repeats.assertions_exit(), repeats.grade());
            Ok(ExitCode::from(interrupted.map_or_else(judged, signal::exit_code)))
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
        (Err(error @ Error::Target(_)), Some(_)) => return Err(error), // The exit code is the signal's.
        (run, _) => run?,
    };
    let report = Report::of(&run, environment, outputs.assertions());
    observer.finish(&run, &report)?;
    exit_code(&run, &report, outputs.assertions()).map(ExitCode::from)
}

/// The exit code of a completed run: that of its worst defect.
fn exit_code(run: &RunResult, report: &Report, assertions: &[Assertion]) -> Result<u8> {
    if let Some(signal) = run.interrupted {
        return Ok(signal::exit_code(signal));
    }
    let figures = &report.figures;
    let (connections, messages) = (&figures.connections, &figures.messages);
    if connections.lost_total() + connections.closed >= connections.opened && messages.completed == 0
        || connections.closed == 0 && connections.lost_total() >= connections.opened
    {
        let targets = figures.plan.targets_shown();
        return Err(Error::Target(format!(
            "{targets} closed every connection before the run was over"
        )));
    }
    if connections.unopened() > 0 && !asserted(assertions, &[Metric::Errors]) {
        if run.stats.unopened.keys().any(|loss| loss.is_lack_of_ports()) {
            return Err(load::no_source_port(run.plan.targets[0].address()));
        }
        let unopened = connections.unopened();
        return Err(Error::Target(format!(
            "{unopened} connections did not open, {} did",
            connections.opened
        )));
    }
    let failed = messages.failed > 0 && !asserted(assertions, &[Metric::Errors, Metric::Failed]);
    let missing = messages.missing > 0 && !asserted(assertions, &[Metric::Errors, Metric::Missing]);
    if failed || missing {
        let (sent, failed, missing) = (messages.sent, messages.failed, messages.missing);
        return Err(Error::Data(format!(
            "{} of {sent} messages got no reply: {failed} failed with their connections, {missing} are missing",
            failed + missing
        )));
    }
    Ok(combine(report.assertions_exit(), report.verdict.grade))
}

/// True if an assertion says how many of these errors are allowed: then it decides, not their presence.
fn asserted(assertions: &[Assertion], metrics: &[Metric]) -> bool {
    assertions.iter().any(|assertion| metrics.contains(&assertion.metric()))
}

/// An INVALID run (3) says nothing about the server: it outweighs assertions, of which a false one (1) outweighs an undecided
/// one (3).
fn combine(assertions: u8, grade: Grade) -> u8 {
    match grade {
        Grade::Invalid => 3,
        Grade::Valid | Grade::Suspect => assertions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_run_outweighs_every_assertion() {
        let codes = [0, 1, 3].map(|assertions| [Grade::Valid, Grade::Invalid].map(|grade| combine(assertions, grade)));
        assert_eq!(codes, [[0, 3], [1, 3], [3, 3]]);
    }
}
