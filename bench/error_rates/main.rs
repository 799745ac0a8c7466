//! How often `urecho check` is wrong: runs checks whose correct verdict is known, and makes a page from their log.
//!
//! ```text
//! cargo bench --bench error_rates -- run bench/error_rates/log.jsonl       # continues where the log ends
//! cargo bench --bench error_rates -- page bench/error_rates/log.jsonl bench/error_rates/README.md
//! ```
//!
//! Every check is the command line that users run, with its defaults. Without arguments, as under `cargo test`, it
//! holds the committed page against the committed log, and decides every logged check of this method again.

mod log;
mod page;
mod run;
mod treatment;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use urecho::error::{Error, Result};
use urecho::output::file;

use treatment::Treatment;

#[derive(Debug, Parser)]
#[command(about = "Measure the error rates of urecho check")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Passed by `cargo bench`; ignored
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run checks whose correct verdict is known, and append a line per check to LOG
    Run {
        /// The log
        log: PathBuf,
        /// Number of checks [default: until interrupted]
        #[arg(long, value_name = "N")]
        checks: Option<usize>,
        /// How head differs from base, in turn
        ///
        /// `A/A` is the same file, `A/A-copy` a copy of it, `A/A-build` another build of the checked-out commit in
        /// another directory; anything else is an argument of `serve --fault`. By default 17 in turn: nine
        /// without a change and eight faults.
        #[arg(long, value_name = "TREATMENT,...", value_delimiter = ',')]
        treatments: Vec<Treatment>,
        /// Another build of the same commit, for `A/A-build` [default: made in a temporary directory]
        #[arg(long, value_name = "PROGRAM")]
        second_build: Option<PathBuf>,
        /// Further arguments of every check
        #[arg(last = true)]
        arguments: Vec<String>,
        /// Passed by `cargo bench`; ignored
        #[arg(long, hide = true)]
        bench: bool,
    },
    /// Make PAGE from LOG
    Page {
        /// The log
        log: PathBuf,
        /// The page, in Markdown
        page: PathBuf,
        /// Passed by `cargo bench`; ignored
        #[arg(long, hide = true)]
        bench: bool,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        None => verify::all(),
        Some(Command::Run {
            log,
            checks,
            treatments,
            second_build,
            arguments,
            ..
        }) => run::run(&run::Request {
            log,
            checks: checks.unwrap_or(usize::MAX),
            treatments,
            second_build,
            arguments,
        }),
        Some(Command::Page { log, page, .. }) => write_page(&log, &page),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error_rates: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn write_page(log: &Path, page: &Path) -> Result<()> {
    let text = std::fs::read_to_string(log).map_err(|cause| Error::Usage(format!("{}: {cause}", log.display())))?;
    file::write(page, &page::page(&log::read(&text)?))
}
