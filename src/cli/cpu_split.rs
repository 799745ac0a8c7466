//! Which CPUs serve and which generate, for the commands that start servers.

use clap::Args;

use super::load_flags::GeneratorFlags;
use super::values::{self, Cpus};
use crate::sys::affinity;

#[derive(Debug, Args)]
pub(super) struct ServerCpuFlags {
    /// CPUs of each server, as in `0-3,8` [default: the first that the generator leaves]
    #[arg(long, value_name = "CPUS", value_parser = values::cpus)]
    server_pin: Vec<Cpus>,
}

/// The CPUs of servers and generator; both empty, and so not pinned, if there are too few to separate them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CpuSplit {
    pub(super) server: Vec<usize>,
    pub(super) generator: Vec<usize>,
}

/// Which CPUs a server gets.
#[derive(Debug, Clone)]
pub(super) enum ServerCpus {
    /// The first that the generator leaves: one worker needs no more, and one generator thread saturates no more.
    First,
    /// All that the generator leaves.
    Rest,
    /// These.
    Listed(Vec<usize>),
}

impl ServerCpuFlags {
    pub(super) fn cpus(&self) -> ServerCpus {
        match Cpus::all(&self.server_pin) {
            cpus if cpus.is_empty() => ServerCpus::First,
            cpus => ServerCpus::Listed(cpus),
        }
    }
}

impl CpuSplit {
    /// Splits the CPUs that this process may use. Without --pin the generator gets the last of them, one per thread,
    /// and leaves at least one to a server without CPUs of its own.
    pub(super) fn of(generator: &GeneratorFlags, server: ServerCpus) -> CpuSplit {
        CpuSplit::new(&affinity::allowed(), generator.threads(), &generator.pin(), server)
    }

    fn new(allowed: &[usize], threads: usize, pin: &[usize], server: ServerCpus) -> CpuSplit {
        let without = |taken: &[usize]| -> Vec<usize> {
            let free = allowed.iter().filter(|cpu| !taken.contains(cpu));
            free.copied().collect()
        };
        let last = |cpus: &[usize]| cpus[cpus.len() - threads.min(cpus.len())..].to_vec();
        let generator = match (pin, &server) {
            ([], _) if allowed.len() < 2 => Vec::new(),
            ([], ServerCpus::Listed(cpus)) => last(&without(cpus)),
            ([], ServerCpus::First | ServerCpus::Rest) => last(&allowed[1..]),
            (pin, _) => pin.to_vec(),
        };
        let server = match server {
            ServerCpus::Listed(cpus) => cpus,
            ServerCpus::First | ServerCpus::Rest if generator.is_empty() => Vec::new(),
            ServerCpus::First => without(&generator).into_iter().take(1).collect(),
            ServerCpus::Rest => without(&generator),
        };
        CpuSplit { server, generator }
    }
}

#[cfg(test)]
mod tests {
    use super::ServerCpus::{First, Listed, Rest};
    use super::*;

    fn split(allowed: &[usize], threads: usize, pin: &[usize], server: ServerCpus) -> [Vec<usize>; 2] {
        let CpuSplit { server, generator } = CpuSplit::new(allowed, threads, pin, server);
        [server, generator]
    }

    #[test]
    fn servers_get_the_first_cpus_and_the_generator_the_last() {
        assert_eq!(split(&[0, 1], 1, &[], First), [[0], [1]]);
        assert_eq!(split(&[0, 1, 2, 3], 2, &[], First), [vec![0], vec![2, 3]]);
        assert_eq!(split(&[0, 1, 2, 3], 2, &[], Rest), [[0, 1], [2, 3]]);
        assert_eq!(split(&[0, 1, 2, 3], 1, &[0], Rest), [vec![1, 2, 3], vec![0]]);
    }

    #[test]
    fn one_cpu_is_left_to_servers_however_many_threads_generate() {
        for server in [First, Rest] {
            assert_eq!(split(&[0, 1], 8, &[], server), [[0], [1]]);
        }
    }

    #[test]
    fn a_single_cpu_is_shared_without_pinning() {
        for server in [First, Rest] {
            assert_eq!(split(&[3], 1, &[], server), [vec![0; 0], vec![]]);
        }
    }

    #[test]
    fn either_side_gets_the_cpus_it_asks_for_and_the_other_avoids_them() {
        assert_eq!(split(&[0, 1], 1, &[0], First), [[1], [0]]);
        assert_eq!(split(&[0, 1, 2], 1, &[], Listed(vec![1, 2])), [vec![1, 2], vec![0]]);
        assert_eq!(split(&[0, 1], 1, &[], Listed(vec![0, 1])), [vec![0, 1], vec![]]);
        assert_eq!(split(&[0, 1], 1, &[1], Listed(vec![1])), [[1], [1]], "as requested");
    }
}
