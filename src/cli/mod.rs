//! The command line: flags as typed become plans as meant, and outcomes become exit codes.
//!
//! The only user of clap. Every command has a file: its flags, its plan, its run.

mod bench;
mod check;
mod compare;
mod cpu_split;
mod find_max;
mod load;
mod outputs;
mod progress;
mod serve;
mod workload;

use std::ops::RangeInclusive;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::error::Result;
use crate::sys::prctl;

/// Serve TCP echo on Linux with io_uring, load it, and measure it.
#[derive(Debug, Parser)]
#[command(name = "urecho", version, about, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Echo everything that comes over TCP (RFC 862).
    Serve(serve::Flags),
    /// Open thousands of connections to an echo server and measure its latency.
    Load(load::Flags),
    /// Both at once: start a server in a child process, load it, print one report.
    Bench(bench::Flags),
    /// Any echo servers side by side, in interleaved slices: ratios that survive a noisy machine.
    Compare(compare::Flags),
    /// Fail a build when a server got worse: two versions side by side, with known error rates.
    Check(Box<check::Flags>),
}

const EXIT_CODES: &str = "\
Exit codes:
  0  it went well
  1  an assertion is false, or a server got worse
  2  the command line was wrong; nothing was opened
  3  the verdict is INVALID or INCONCLUSIVE, or an assertion undecided
  4  this machine cannot do it: a limit, a blocked io_uring, a taken address
  5  the target cannot be reached, or is not an echo server
  6  data came back wrong, or went missing
  70 a bug in urecho
  130, 143  interrupted (SIGINT, SIGTERM); what was measured is reported and marked partial";

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    prctl::disable_huge_pages();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return answer(&error),
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("urecho: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve(flags) => serve::run(flags),
        Command::Load(flags) => load::run(&flags),
        Command::Bench(flags) => bench::run(&flags),
        Command::Compare(flags) => compare::run(&flags),
        Command::Check(flags) => check::run(&flags),
    }
}

/// Help and version are answers, on stdout and with 0. Everything else is one line that says what is wrong, and 2.
fn answer(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
    }
    let text = error.render().to_string();
    let says_what = |part: &&str| !part.starts_with("Usage:") && !part.starts_with("For more");
    let words = text.split("\n\n").filter(says_what).flat_map(str::split_whitespace);
    let line = words.collect::<Vec<_>>().join(" ");
    eprintln!("urecho: {}", line.trim_start_matches("error: "));
    ExitCode::from(2)
}

/// A count that must be at least one, for clap.
fn at_least_one(text: &str) -> std::result::Result<u32, String> {
    let count = crate::units::count(text)?;
    match u32::try_from(count) {
        Ok(0) => Err("at least 1 is needed".into()),
        Ok(count) => Ok(count),
        Err(_) => Err(format!("{count} is more than this can handle ({})", u32::MAX)),
    }
}

/// A number of threads, for clap.
fn threads(text: &str) -> std::result::Result<u32, String> {
    between(text, 1..=1024)
}

fn between(text: &str, range: RangeInclusive<u64>) -> std::result::Result<u32, String> {
    match crate::units::count(text)? {
        count if range.contains(&count) => Ok(count as u32),
        count => Err(format!(
            "{count} is not between {} and {}",
            range.start(),
            crate::units::show_count(*range.end())
        )),
    }
}
