//! `urecho connect`.

use std::io::{IsTerminal, stdin};
use std::process::ExitCode;

use clap::Args;

use crate::clock::Nanos;
use crate::connect::{self, Connection, Ending};
use crate::error::{self, Outcome, Result};
use crate::load::Target;
use crate::sys::signal::Stop;

/// How long a name may take that cannot be resolved for the moment.
const RETRY_TIME: Nanos = Nanos(5_000_000_000);

#[derive(Debug, Args)]
#[command(after_long_help = "\
On a terminal each line is a message, and its echo is shown with its size and round trip; `quit` or Ctrl-D ends. From a \
pipe all of the input is sent, and what comes back is written to stdout:

  printf hello | urecho connect

Exit codes: 5 if the server does not reply or closes the connection, 6 if an echo differs or is incomplete.")]
pub(super) struct Flags {
    /// The echo server: NAME:PORT or ADDRESS:PORT
    #[arg(default_value = "127.0.0.1:7007")]
    target: String,
    /// End with RST instead of FIN, once everything has come back
    #[arg(long)]
    rst: bool,
}

pub(super) fn run(flags: &Flags) -> Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let target = Target::resolve(&flags.target, RETRY_TIME, &stop)?;
    let mut connection = Connection::open(&target)?;
    let ending = if flags.rst { Ending::Rst } else { Ending::Fin };
    let (written, typed) = if stdin().is_terminal() {
        connect::converse(&mut connection, ending, &stop)?
    } else {
        (connect::copy(&mut connection, ending, &stop)?, None)
    };
    let signal = typed.or(stop.signal()).map(Outcome::Interrupted);
    Ok(ExitCode::from(written.exit_code(error::exit_code(signal))))
}
