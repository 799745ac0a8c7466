//! `urecho bench`: server and load at once, each on CPUs of its own.

use std::process::ExitCode;

use clap::Args;

use crate::cli::load;
use crate::cli::outputs::Outputs;
use crate::cli::workload::WorkloadFlags;
use crate::compare::Server;
use crate::error::Result;
use crate::load::Plan;
use crate::sys::affinity;
use crate::sys::signal::Stop;

#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    shape: WorkloadFlags,
    #[command(flatten)]
    outputs: Outputs,
    /// Threads of the server [default: the CPUs that the generator leaves, at least 1]
    #[arg(long, value_name = "N", value_parser = super::threads)]
    workers: Option<u32>,
}

pub(super) fn run(flags: &Flags) -> Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let sides = CpuSplit::of(&affinity::allowed(), flags.shape.threads(), flags.shape.cpus());
    let workers = flags
        .workers
        .map_or(sides.server.len().max(1), |workers| workers as usize);
    let workload = flags.shape.workload(sides.generator.clone());
    flags.outputs.check(&workload)?;
    let mut server = Server::start(workers, &sides.server)?;
    let targets = vec![server.address()];
    flags.shape.check_targets(&targets)?;
    let outcome = load::execute(Plan { targets, workload }, &flags.outputs, &stop);
    // A server that died explains every other failure.
    server.check()?;
    // Its sockets close a moment before it is dead: the check may have come too early, the stop cannot.
    server.stop()?;
    outcome
}

/// Which CPUs serve and which generate; empty where there are not enough to part.
#[derive(Debug, PartialEq, Eq)]
struct CpuSplit {
    server: Vec<usize>,
    generator: Vec<usize>,
}

impl CpuSplit {
    /// The generator gets one CPU a thread, from the last, or those that were asked for; the server gets the rest.
    fn of(cpus: &[usize], threads: usize, asked: &[usize]) -> CpuSplit {
        let generator = match asked {
            [] if cpus.len() < 2 => Vec::new(),
            [] => cpus[cpus.len() - threads.min(cpus.len() - 1)..].to_vec(),
            asked => asked.to_vec(),
        };
        let server = cpus.iter().copied().filter(|cpu| !generator.contains(cpu)).collect();
        if generator.is_empty() {
            return CpuSplit {
                server: Vec::new(),
                generator,
            };
        }
        CpuSplit { server, generator }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(cpus: &[usize], threads: usize, asked: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let CpuSplit { server, generator } = CpuSplit::of(cpus, threads, asked);
        (server, generator)
    }

    #[test]
    fn server_and_generator_never_share_a_cpu_that_they_need_not() {
        assert_eq!(sides(&[0, 1], 1, &[]), (vec![0], vec![1]));
        assert_eq!(sides(&[0, 1, 2, 3], 2, &[]), (vec![0, 1], vec![2, 3]));
        assert_eq!(sides(&[0, 1, 2, 3], 1, &[0]), (vec![1, 2, 3], vec![0]));
    }

    #[test]
    fn the_server_keeps_a_cpu_however_many_threads_generate() {
        assert_eq!(sides(&[0, 1], 8, &[]), (vec![0], vec![1]));
    }

    #[test]
    fn one_cpu_is_shared_without_pinning() {
        assert_eq!(sides(&[3], 1, &[]), (vec![], vec![]));
    }
}
