//! `urecho load`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

use clap::Args;

use crate::cli::find_max;
use crate::cli::outputs::Outputs;
use crate::cli::workload::WorkloadFlags;
use crate::error::{Error, Result};
use crate::load::{self, Plan, RunResult};
use crate::report::Report;
use crate::report::verdict::Grade;
use crate::sys::machine;
use crate::sys::signal::{self, Stop};

#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Echo servers, as ADDRESS:PORT or NAME:PORT; connections take several in turn
    #[arg(value_name = "TARGET", default_value = "127.0.0.1:7007", value_parser = target)]
    targets: Vec<SocketAddr>,
    #[command(flatten)]
    shape: WorkloadFlags,
    #[command(flatten)]
    outputs: Outputs,
}

fn target(text: &str) -> std::result::Result<SocketAddr, String> {
    let hint = "write ADDRESS:PORT, as in 127.0.0.1:7007 or [::1]:7007";
    let mut addresses = text.to_socket_addrs().map_err(|error| format!("{error}; {hint}"))?;
    let address = addresses
        .next()
        .ok_or_else(|| format!("the name has no address; {hint}"))?;
    if address.port() == 0 {
        Err(format!("nobody can listen on port 0; {hint}"))
    } else {
        Ok(address)
    }
}

pub(super) fn run(flags: &Flags) -> Result<ExitCode> {
    flags.shape.check_targets(&flags.targets)?;
    let workload = flags.shape.workload(flags.shape.cpus().to_vec());
    flags.outputs.check(&workload)?;
    let stop = Stop::on_signals()?;
    let targets = flags.targets.clone();
    execute(Plan { targets, workload }, &flags.outputs, &stop)
}

/// Runs the plan, writes what is asked for, and says how it went.
pub(super) fn execute(plan: Plan, outputs: &Outputs, stop: &Stop) -> Result<ExitCode> {
    if let Some(condition) = outputs.find_max() {
        return find_max::execute(&plan, condition, outputs, stop);
    }
    let machine = machine::describe(); // Before threads are pinned.
    let mut watcher = outputs.open(&plan.workload)?;
    let outcome = load::run(plan, stop, &mut watcher);
    watcher.clear();
    let outcome = outcome?;
    let report = Report::of(&outcome, machine, outputs.assertions());
    watcher.finish(&outcome, &report)?;
    judge(&outcome, &report)
}

/// The exit code of a run that came to its end: the worst thing that can be said of it.
fn judge(outcome: &RunResult, report: &Report) -> Result<ExitCode> {
    if let Some(signal) = outcome.interrupted {
        return Ok(ExitCode::from(signal::exit_code(signal)));
    }
    let (connections, messages) = (&report.connections, &report.messages);
    if connections.lost_total() + connections.closed >= connections.opened && messages.completed == 0
        || connections.closed == 0 && connections.lost_total() >= connections.opened
    {
        let targets = report.plan.targets.join(", ");
        return Err(Error::Target(format!(
            "{targets} closed every connection before the run was over"
        )));
    }
    if connections.failed > 0 {
        let failed = connections.failed;
        return Err(Error::Target(format!(
            "{failed} connections did not open, {} did",
            connections.opened
        )));
    }
    if messages.failed + messages.missing > 0 {
        let (sent, failed, missing) = (messages.sent, messages.failed, messages.missing);
        return Err(Error::Data(format!(
            "{} of {sent} messages got no answer: {failed} failed with their connections, {missing} went missing",
            failed + missing
        )));
    }
    let undecided = if report.verdict.grade == Grade::Invalid { 3 } else { 0 };
    Ok(ExitCode::from(match report.assertions_exit() {
        1 => 1,
        other => other.max(undecided),
    }))
}
