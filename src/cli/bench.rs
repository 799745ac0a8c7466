//! `urecho bench`: a server in a child process and a load, on separate CPUs.

use std::process::ExitCode;

use clap::Args;

use crate::cli::cpu_split::{CpuSplit, ServerCpus};
use crate::cli::load;
use crate::cli::load_flags::LoadFlags;
use crate::cli::outputs::OutputFlags;
use crate::cli::values;
use crate::compare::Server;
use crate::error::Result;
use crate::load::{Io, Plan, check_machine};
use crate::report::Environment;
use crate::serve::engine::Engine;
use crate::sys::signal::Stop;

#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    load: LoadFlags,
    #[command(flatten)]
    outputs: OutputFlags,
    /// I/O engine of the server: uring, tokio-uring or epoll [default: uring; epoll with --io epoll]
    #[arg(long, value_name = "NAME")]
    engine: Option<Engine>,
    /// Threads of the server [default: the CPUs that the generator leaves, at least 1]
    #[arg(long, value_name = "N", value_parser = values::threads)]
    workers: Option<u32>,
}

pub(super) fn run(flags: &Flags, environment: Environment) -> Result<ExitCode> {
    let generator = &flags.load.workload.generator;
    let cpus = CpuSplit::of(generator, ServerCpus::Rest);
    let workers = flags
        .workers
        .map_or(cpus.server.len().max(1), |workers| workers as usize);
    let mut workload = flags.load.workload(cpus.generator);
    flags.outputs.check(&workload)?;
    // A FIFO waits for its reader: until then signals do what they usually do.
    let observer = flags.outputs.open(&workload)?;
    let stop = Stop::on_signals()?;
    generator.connect_locally_from(&mut workload, &stop)?;
    check_machine(workload.io)?;
    let engine = flags.engine.unwrap_or(match workload.io {
        Io::Uring => Engine::Uring,
        Io::Epoll => Engine::Epoll,
    });
    let mut server = Server::start(engine, workers, &cpus.server)?;
    let targets = vec![server.address().into()];
    let plan = Plan { targets, workload };
    let result = load::execute(plan, observer, flags.outputs.assertions(), environment, &stop);
    // A server that crashed is the cause of every other failure.
    server.check()?;
    // Its sockets close shortly before it has exited: the check may have come too early, the stop cannot.
    server.stop()?;
    result
}
