//! `urecho sockets`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::values;
use crate::error::{self, Outcome, Result};
use crate::output::place;
use crate::output::publish::publish;
use crate::sockets::{Filter, Listing};

#[derive(Debug, Args)]
#[command(after_long_help = "\
recv-q and send-q of a connection are bytes: received and not read, sent and not acknowledged. Of a listener they are \
connections: waiting to be accepted, and how many may wait. rtt is the smoothed round-trip time of the kernel, cwnd the \
congestion window in segments, retrans the segments that were sent again.")]
pub(super) struct Flags {
    /// Sockets with this port, at either end [default: all]
    #[arg(value_name = "PORT", value_parser = values::port)]
    port: Option<u16>,
    /// Sockets of this process
    #[arg(long, value_name = "PID")]
    pid: Option<i32>,
    /// List those that listen and those in TIME-WAIT as well; without it they are only counted
    #[arg(long, short)]
    all: bool,
    /// Write JSON to FILE; `-` writes to stdout in place of the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(flags: &Flags) -> Result<ExitCode> {
    let [json] = place::open_all([&flags.json])?;
    let listing = Listing::read(Filter {
        port: flags.port,
        pid: flags.pid,
        all: flags.all,
    })?;
    let written = publish(&listing, [(json.as_ref(), &|| listing.json())]);
    Ok(ExitCode::from(written.exit_code(error::exit_code(None::<Outcome>))))
}
