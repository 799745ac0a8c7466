//! All servers under all loads, compared with the engine `epoll`: the figures of record.
//!
//! ```text
//! cargo bench --bench suite -- run             # measures every cell of matrix.toml into bench/runs/DATE
//! cargo bench --bench suite -- stall           # a server that stops for a second, under an open and a closed loop
//! cargo bench --bench suite -- summary FOLDER  # writes the README of a run again
//! ```
//!
//! Without arguments, as under `cargo test`, it checks itself with the small cells. Method: bench/METHOD.md.

#![allow(clippy::unwrap_used)] // in a benchmark, a panic is the report

mod folder;
mod matrix;
mod plan;
mod processes;
mod record;
mod run;
mod servers;
mod stall;
mod summary;
mod tables;
mod verify;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use urecho::clock::Nanos;
use urecho::error::Result;
use urecho::units;

use folder::Folder;
use plan::Settings;

#[derive(Debug, Parser)]
#[command(about = "Compare all servers under all loads")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Passed by `cargo bench`; ignored
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure every cell
    Run {
        /// Restarts of all servers in each cell [default: 10, or 6 where opening takes longer]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        restarts: Option<u32>,
        /// Blocks per restart [default: 2, or 1 where opening takes longer]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        blocks: Option<u32>,
        /// Length of a slice [default: 250ms plus 40us per connection]
        #[arg(long, value_name = "TIME", value_parser = units::duration)]
        slice: Option<Nanos>,
        /// Directory of the run; cells in it are not measured again [default: a new one in bench/runs]
        #[arg(long, value_name = "FOLDER")]
        into: Option<PathBuf>,
        /// A few seconds, with the peers that are built: shows that the suite works, nothing else
        #[arg(long)]
        small: bool,
    },
    /// Stop a server for a second in the middle of ten
    Stall,
    /// Write the README of a run again
    Summary {
        /// Directory of the run
        folder: PathBuf,
    },
    /// Start a server as several processes that share a listener
    #[command(hide = true)]
    Processes {
        /// How many
        count: usize,
        /// Where to listen
        address: SocketAddr,
        /// The server and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        None => {
            verify::verify();
            Ok(0)
        }
        Some(Command::Run {
            restarts,
            blocks,
            slice,
            into,
            small,
        }) => {
            let settings = Settings {
                small,
                restarts,
                blocks,
                slice,
            };
            run::run(settings, into)
        }
        Some(Command::Stall) => stall::run(Duration::from_secs(10))
            .map(|text| print!("{text}"))
            .map(|()| 0),
        Some(Command::Summary { folder }) => summarise(&folder).map(|()| 0),
        Some(Command::Processes {
            count,
            address,
            command,
        }) => processes::run(count, address, &command).map(|()| 0),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("suite: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn summarise(folder: &std::path::Path) -> Result<()> {
    summary::write(&Folder::open(folder)?)
}
