//! The command line: flags become plans, and results become exit codes.
//!
//! The only user of clap. One file per command; `load_flags` has the flags of a load, `values` the parsers of their
//! values, `outputs` the flags of a run's files, and `cpu_split` decides which CPUs serve and which generate.

mod addresses;
mod bench;
mod check;
mod compare;
mod connect;
mod cpu_split;
mod defaults;
mod doctor;
mod find_max;
mod input;
mod load;
mod load_flags;
mod manual;
mod outputs;
mod repeat;
mod report;
mod run_progress;
mod serve;
mod sockets;
mod uring_flags;
mod values;

use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::error::{Error, Result};
use crate::output::console;
use crate::report::Environment;
use crate::sys::{allocator, guard, machine, prctl, signal};
use defaults::Completed;

/// The command line. Its summary in the help is the description in Cargo.toml.
#[derive(Debug, Parser)]
#[command(name = "urecho", version, about, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: CommonFlags,
}

/// The flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
struct CommonFlags {
    /// Read flags from a TOML file that has a section for each command, as in `[load]`
    ///
    /// A key is the long name of a flag; a list gives it several times. Environment variables outweigh the file, and
    /// the command line both: URECHO_RATE is --rate.
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Print neither a report nor progress: only errors, and what goes to files
    #[arg(long, short, global = true)]
    quiet: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: When,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum When {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Echo server (RFC 862 over TCP)
    Serve(serve::Flags),
    /// Open thousands of connections to an echo server and measure its latency
    Load(load::Flags),
    /// Start a server in a child process, load it, print one report
    Bench(bench::Flags),
    /// Compare echo servers side by side, in interleaved slices: ratios that survive a noisy machine
    Compare(compare::Flags),
    /// Fail a build when a server got slower: two versions side by side
    Check(Box<check::Flags>),
    /// Find the highest rate at which a condition holds
    FindMax(find_max::Flags),
    /// Draw earlier reports as one page with charts
    Report(report::Flags),
    /// Send lines to an echo server by hand, or a file through it
    Connect(connect::Flags),
    /// List TCP sockets with their state, queues, process and round-trip time
    Sockets(sockets::Flags),
    /// Examine this machine: what blocks io_uring, which limits there are, what to change
    Doctor(doctor::Flags),
    /// Print completions for a shell
    Completions(manual::CompletionFlags),
    /// Write man pages to a directory
    Man(manual::ManFlags),
    /// Ends servers when the process that started them is killed. See `sys::guard`
    #[command(name = guard::COMMAND, hide = true)]
    Guard { mark: String },
}

const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    an assertion is false, a server regressed, changes of a history add up, or find-max found no rate
  2    usage error; nothing was opened
  3    the verdict is INVALID or INCONCLUSIVE, an assertion is undecided, or a program changed
  4    this machine cannot run it: a limit, a blocked io_uring, an address in use (see doctor)
  5    the target is unreachable, or not an echo server
  6    data came back wrong or went missing
  70   a bug in urecho
  130  interrupted by SIGINT; partial results are reported and marked partial
  143  interrupted by SIGTERM, likewise
  129  interrupted by SIGHUP, likewise; not under nohup";

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    prctl::disable_huge_pages();
    allocator::share_one_arena();
    prctl::restore_name();
    prctl::survive_file_size_limits();
    prctl::keep_exit_statuses();
    let variable = |name: &str| std::env::var_os(name);
    let line = match defaults::complete(&Cli::command(), std::env::args_os().collect(), variable) {
        Ok(line) => line,
        Err(error) => return ExitCode::from(report_error(&error)),
    };
    let cli = match Cli::try_parse_from(&line.words) {
        Ok(cli) => cli,
        Err(error) => return answer(&error, &line),
    };
    console::configure(
        cli.common.quiet,
        match cli.common.color {
            When::Auto => None,
            When::Always => Some(true),
            When::Never => Some(false),
        },
    );
    if let Command::Guard { mark } = &cli.command {
        guard::run(mark);
        return ExitCode::SUCCESS;
    }
    guard::enable();
    let environment = Environment::of(machine::describe()); // Before any thread is pinned.
    // A panic has printed its message; a child that it leaves behind dies with this process.
    let ended = panic::catch_unwind(AssertUnwindSafe(|| run(cli.command, environment)));
    guard::finish();
    let bug = |_| Err(Error::Bug("it panicked. Please report it".into()));
    let result = ended.unwrap_or_else(bug);
    result.unwrap_or_else(|error| ExitCode::from(report_error(&error)))
}

/// Says what went wrong, and returns the exit code. A step that failed because the user interrupted it is no failure.
fn report_error(error: &Error) -> u8 {
    match (error, signal::received()) {
        (Error::Target(_), Some(signal)) => {
            console::note("urecho: interrupted before anything was measured");
            signal::exit_code(signal)
        }
        _ => {
            console::note(format_args!("urecho: {error}"));
            error.exit_code()
        }
    }
}

fn run(command: Command, environment: Environment) -> Result<ExitCode> {
    match command {
        Command::Serve(flags) => serve::run(flags),
        Command::Load(flags) => load::run(&flags, environment),
        Command::Bench(flags) => bench::run(&flags, environment),
        Command::Compare(flags) => compare::run(&flags, environment),
        Command::Check(flags) => check::run(&flags, environment),
        Command::FindMax(flags) => find_max::run(&flags, &environment),
        Command::Report(flags) => report::run(&flags),
        Command::Connect(flags) => connect::run(&flags),
        Command::Sockets(flags) => sockets::run(&flags),
        Command::Doctor(flags) => doctor::run(&flags, environment),
        Command::Completions(flags) => Ok(manual::complete(&flags)),
        Command::Man(flags) => manual::write_pages(&flags),
        Command::Guard { .. } => unreachable!("it has run"),
    }
}

/// Help and version go to stdout and exit with 0. Everything else is one line on stderr that says what is wrong, and
/// exits with 2.
fn answer(error: &clap::Error, line: &Completed) -> ExitCode {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let text = error.render();
        if error.use_stderr() {
            console::note(text);
            return ExitCode::from(2);
        }
        let written = console::print_styled(&text.to_string(), &text.ansi().to_string());
        return ExitCode::from(written.exit_code(0));
    }
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.as_str(),
        _ => "",
    };
    let origin = line.origin(argument);
    let origin = origin.map_or(String::new(), |origin| format!(" (from {origin})"));
    console::note(refusal(error) + &origin);
    ExitCode::from(2)
}

/// One line that says what is wrong.
fn refusal(error: &clap::Error) -> String {
    if let Some(number) = negative_number(error) {
        return format!("urecho: flag values cannot be negative: '{number}'");
    }
    let text = error.render().to_string();
    let is_message = |part: &&str| !part.starts_with("Usage:") && !part.starts_with("For more");
    let words = text.split("\n\n").filter(is_message).flat_map(str::split_whitespace);
    let line = words.collect::<Vec<_>>().join(" ");
    format!("urecho: {}", line.trim_start_matches("error: "))
}

/// Parses a command line, which begins with the name of the program, and runs nothing. Errors: one line.
pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> std::result::Result<(), String> {
    match Cli::try_parse_from(words) {
        Ok(_) => Ok(()),
        Err(error) if error.use_stderr() => Err(refusal(&error)),
        Err(_help) => Ok(()),
    }
}

/// A negative number where a value belongs. The parser takes it for a flag, and would advise how to pass it on.
fn negative_number(error: &clap::Error) -> Option<&str> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let is_number = argument
        .strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    (error.kind() == ErrorKind::UnknownArgument && is_number).then_some(argument)
}
