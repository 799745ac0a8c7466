//! `urecho bench`: a server in a child process and a load, on separate CPUs.

use std::process::ExitCode;

use clap::Args;

use crate::cli::cpu_split::{CpuSplit, ServerCpus};
use crate::cli::load;
use crate::cli::load_flags::LoadFlags;
use crate::cli::outputs::OutputFlags;
use crate::cli::values;
use crate::compare::Server;
use crate::error::{Error, Result};
use crate::load::{Io, Plan, Workload, check_machine};
use crate::report::Environment;
use crate::serve::admission;
use crate::serve::engine::Engine;
use crate::sys::limits;
use crate::sys::signal::Stop;
use crate::units::{plural, show_count};

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

impl Flags {
    /// Errors: [`Error::Machine`] for an engine that cannot hold as many connections.
    fn check_room(&self, engine: Engine, connections: u32, cpus: usize) -> Result<()> {
        let workers = self.workers.map_or(cpus.max(1), |workers| workers as usize);
        if admission::has_descriptors(connections, workers) {
            return Ok(());
        }
        if engine == Engine::Uring {
            return self.check_tables(connections);
        }
        Err(Error::Machine(format!(
            "a server on {engine} needs a descriptor for each of {}, more than this process may have: raise the limit \
             with `ulimit -n`, or use --engine uring",
            plural(connections.into(), "connection")
        )))
    }

    fn check_tables(&self, connections: u32) -> Result<()> {
        let (workers, each) = (self.workers.unwrap_or(u32::MAX), limits::ring_entries());
        if u64::from(workers) * u64::from(each) >= u64::from(connections) {
            return Ok(());
        }
        Err(Error::Machine(format!(
            "{} do not fit into the tables of {}, each of {} (`ulimit -n`): leave out --workers",
            plural(connections.into(), "connection"),
            plural(workers.into(), "worker"),
            show_count(each.into())
        )))
    }

    /// The server has room for the connections, and for as many as may wait in its queue: it would accept the last of
    /// them one by one.
    fn server_flags(&self, engine: Engine, workload: &Workload, cpus: &CpuSplit) -> Vec<String> {
        const SPARE: u32 = 1 << 14;
        let workers = self.workers.unwrap_or(cpus.server.len().max(1) as u32);
        let room = workload.connections.saturating_add(SPARE);
        let has_room = admission::has_descriptors(workload.connections, workers as usize);
        let mut flags = Vec::new();
        if self.workers.is_some() || has_room {
            flags.extend(["--workers".into(), workers.to_string()]);
        }
        if engine == Engine::Uring && (!has_room || workload.direct) {
            flags.extend(["--max-connections".into(), room.to_string()]);
        }
        if engine == Engine::Uring && workload.direct {
            flags.push("--direct-descriptors".into());
        }
        flags
    }
}

pub(super) fn run(flags: &Flags, environment: Environment) -> Result<ExitCode> {
    let generator = &flags.load.workload.generator;
    let cpus = CpuSplit::of(generator, ServerCpus::Rest);
    let mut workload = flags.load.workload(cpus.generator.clone());
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
    flags.check_room(engine, workload.connections, cpus.server.len())?;
    let mut server = Server::start(engine, &flags.server_flags(engine, &workload, &cpus), &cpus.server)?;
    let targets = vec![server.address().into()];
    let plan = Plan { targets, workload };
    let result = load::execute(plan, observer, flags.outputs.assertions(), environment, &stop);
    // A server that crashed is the cause of every other failure.
    server.check()?;
    // Its sockets close shortly before it has exited: the check may have come too early, the stop cannot.
    server.stop()?;
    result
}
