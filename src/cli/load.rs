//! `urecho load`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::load_flags::{LoadFlags, TargetFlags};
use crate::cli::outputs::{OutputFlags, RunObserver};
use crate::cli::repeat;
use crate::cli::values;
use crate::error::{self, Error, Outcome, Result};
use crate::html;
use crate::load::{self, Plan, RunResult};
use crate::output::publish::publish;
use crate::report::assertion::{Assertion, Count, Metric};
use crate::report::validity::Grade;
use crate::report::{Environment, Report};
use crate::sys::signal::Stop;

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
    /// For figures that are quoted: runs differ by more than the interval of any one of them says. Six runs or more
    /// have intervals (signed ranks). Assertions are decided on these. --json has all runs.
    #[arg(long, value_name = "N", value_parser = values::repeats)]
    repeat: Option<u32>,
}

pub(super) fn run(flags: &Flags, environment: Environment) -> Result<ExitCode> {
    let generator = &flags.load.workload.generator;
    let mut workload = flags.load.workload(generator.pin());
    flags.outputs.check(&workload)?;
    match flags.repeat {
        Some(times) => {
            let [json, html] = flags.outputs.open_for_repeat()?;
            let stop = Stop::on_signals()?;
            let targets = flags.targets.resolve(generator, &mut workload, &stop)?;
            let plan = Plan { targets, workload };
            let exit_code = |run: &RunResult, report: &Report| exit_code(run, report, flags.outputs.assertions());
            let (interrupted, repeats) =
                repeat::execute(times, &plan, flags.outputs.assertions(), &environment, &stop, exit_code);
            let page = || html::page(&[repeats.section()]);
            let written = publish(&repeats, [(json.as_ref(), &|| repeats.json()), (html.as_ref(), &page)]);
            let interrupted = interrupted?.map(Outcome::Interrupted);
            let verdict = verdict(repeats.assertions_outcome(), repeats.grade());
            let code = error::exit_code(verdict.chain(interrupted));
            Ok(ExitCode::from(written.exit_code(code)))
        }
        None => {
            let observer = flags.outputs.open(&workload)?;
            let stop = Stop::on_signals()?;
            let targets = flags.targets.resolve(generator, &mut workload, &stop)?;
            let plan = Plan { targets, workload };
            execute(plan, observer, flags.outputs.assertions(), environment, &stop)
        }
    }
}

/// Runs the plan, writes the outputs, and returns the exit code of the run.
pub(super) fn execute(
    plan: Plan,
    mut observer: RunObserver,
    assertions: &[Assertion],
    environment: Environment,
    stop: &Stop,
) -> Result<ExitCode> {
    let run = match load::run_with_rate_control(&observer.rate(), plan, stop, &mut observer) {
        Ok(run) => run,
        Err(error) => {
            observer.abandon();
            return Err(error);
        }
    };
    let report = Report::of(&run, environment, assertions);
    let written = observer.finish(&run, &report);
    let code = exit_code(&run, &report, assertions)?;
    Ok(ExitCode::from(written.exit_code(code)))
}

/// The exit code of a completed run. Errors: what decides it, where a sentence says more than the report.
fn exit_code(run: &RunResult, report: &Report, assertions: &[Assertion]) -> Result<u8> {
    let defect = defect(run, report, assertions);
    let outcome = defect.as_ref().map(|error| match error {
        Error::Data(_) if !is_target_at_fault(run, report) => Outcome::Unanswered,
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

/// True if messages without a reply are the target's fault: it changed them, closed their connections, or had them for
/// long.
fn is_target_at_fault(run: &RunResult, report: &Report) -> bool {
    let figures = &report.figures;
    let lost = figures.messages.failed > 0 || figures.connections.lost_total() > 0;
    lost || run.stats.wrong_data.is_some() || run.stats.overdue > 0
}

/// Wrong data; and connections and messages that were lost, unless an assertion says how many may be.
fn defect(run: &RunResult, report: &Report, assertions: &[Assertion]) -> Option<Error> {
    if let Some(what) = &run.stats.wrong_data {
        return Some(Error::Data(what.clone()));
    }
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
    if connections.unopened() > 0 && !asserted(assertions, &[Count::Errors]) {
        if run.stats.without_port() > 0 {
            return Some(load::no_source_port(run.plan.targets[0].address()));
        }
        let unopened = connections.unopened();
        return Some(Error::Target(format!(
            "{unopened} connections did not open, {} did",
            connections.opened
        )));
    }
    let failed = messages.failed > 0 && !asserted(assertions, &[Count::Errors, Count::Failed]);
    let missing = messages.missing > 0 && !asserted(assertions, &[Count::Errors, Count::Missing]);
    (failed || missing).then(|| {
        let (sent, failed, missing) = (messages.sent, messages.failed, messages.missing);
        Error::Data(format!(
            "{} of {sent} messages got no reply: {failed} failed with their connections, {missing} are missing",
            failed + missing
        ))
    })
}

/// True if an assertion says how many of these errors are allowed: then it decides, not their presence.
fn asserted(assertions: &[Assertion], counts: &[Count]) -> bool {
    let asserts = |count: &Count| assertions.iter().any(|one| one.metric() == Metric::Count(*count));
    counts.iter().any(asserts)
}

/// What a verdict and its assertions amount to.
fn verdict(assertions: Option<Outcome>, grade: Grade) -> impl Iterator<Item = Outcome> {
    let invalid = (grade == Grade::Invalid).then_some(Outcome::Invalid);
    invalid.into_iter().chain(assertions)
}
