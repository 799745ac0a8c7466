//! `urecho doctor`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::clock::Nanos;
use crate::doctor::Examination;
use crate::error::{self, Error, Outcome, Result};
use crate::output::place;
use crate::output::publish::publish;
use crate::report::Environment;
use crate::sys::signal::Stop;
use crate::units;

#[derive(Debug, Args)]
#[command(after_long_help = "\
Exit codes: 0 if `urecho serve` can run here with io_uring, 4 if it cannot. Findings under `to change` do not \
affect it.")]
pub(super) struct Flags {
    /// Write what was found as JSON to FILE; `-` writes to stdout in place of the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How long to measure the noise of timers and scheduling; 0s for not at all
    ///
    /// Uses half of a CPU for that time. SIGINT ends it early and keeps what was measured.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = units::duration)]
    noise: Nanos,
}

pub(super) fn run(flags: &Flags, environment: Environment) -> Result<ExitCode> {
    let [json] = place::open_all([&flags.json])?;
    // Where no thread can be started, a signal ends the process instead.
    let stop = Stop::on_signals().or_else(|_| Stop::new())?;
    let examination = Examination::run(environment, flags.noise, &stop);
    let written = publish(&examination, [(json.as_ref(), &|| examination.json())]);
    let blocked = (!examination.can_serve).then(|| Outcome::Failed(Error::Machine(String::new()).exit_code()));
    let interrupted = stop.signal().map(Outcome::Interrupted);
    let code = error::exit_code(blocked.into_iter().chain(interrupted));
    Ok(ExitCode::from(written.exit_code(code)))
}
