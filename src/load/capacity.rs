//! Does a plan fit this machine? Descriptors, ports and CPUs, computed before the first connection is opened.

use crate::error::{Error, Result};
use crate::load::workload::{Plan, Workload};
use crate::sys::{affinity, limits, usage};
use crate::units::{plural, show_count};

/// Descriptors that a run needs besides its connections: standard streams, the stop, files the standard library opens
/// briefly.
const OVERHEAD: u64 = 16;

/// Descriptors of each thread: its ring, and as many to spare.
const PER_THREAD: u64 = 4;

/// Limits of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capacity {
    /// Descriptors this process may have, after raising the soft limit.
    pub(super) descriptors: u64,
    /// Descriptors it has already.
    pub(super) open: u64,
    /// Source ports for connections to one address and port.
    pub(super) ports: u64,
}

impl Capacity {
    /// Raises the soft descriptor limit, then reads the limits.
    pub(super) fn of_this_process() -> Capacity {
        let descriptors = limits::raise_descriptors();
        Capacity {
            descriptors,
            open: limits::open_descriptors() as u64,
            ports: limits::source_ports() as u64,
        }
    }

    /// Errors: [`Error::Machine`] that names the limit, its value, and what to do.
    pub(super) fn check(self, plan: &Plan) -> Result<()> {
        let sources = plan.workload.sources.len().max(1);
        let (connections, threads) = (u64::from(plan.workload.connections), u64::from(plan.workload.threads));
        let needed = connections + self.open + OVERHEAD + PER_THREAD * threads;
        if needed > self.descriptors {
            let most = self.descriptors.saturating_sub(needed - connections);
            return Err(Error::Machine(format!(
                "{} connections need {} descriptors, and this process may have {} (RLIMIT_NOFILE, raised as far as \
                 it goes): raise it with `ulimit -n {needed}` or LimitNOFILE=, or use at most -c {most}",
                show_count(connections),
                show_count(needed),
                show_count(self.descriptors),
            )));
        }
        // Every pair of source and target address has all ports.
        let pairs = (plan.targets.len() * sources) as u64;
        let most = self.ports.saturating_mul(pairs);
        if connections > most {
            return Err(Error::Machine(format!(
                "{} connections need as many source ports, and {} to {} leave {} (net.ipv4.ip_local_port_range without \
                 ip_local_reserved_ports has {}): connect from more addresses with --source (on loopback, --source 127.0.1.0/24), give more \
                 targets, widen the range, or use at most -c {most}",
                show_count(connections),
                plural(sources as u64, "source address"),
                plural(plan.targets.len() as u64, "target"),
                show_count(most),
                show_count(self.ports),
            )));
        }
        Ok(())
    }
}

/// True if this process can hold `sessions` sessions with this workload at once.
pub fn fits_at_once(workload: &Workload, sessions: usize) -> bool {
    let capacity = Capacity::of_this_process();
    let each = u64::from(workload.connections) + OVERHEAD + PER_THREAD * u64::from(workload.threads);
    capacity.open + each * sessions as u64 <= capacity.descriptors
}

/// True if every thread of the generator can have a CPU that the servers do not need. `needed` is how many these processes
/// need, of those they may use; a server that is remote or not visible needs no CPU here.
pub(super) fn has_spare_cpu(workload: &Workload, servers: &[i32], needed: usize) -> bool {
    let threads = workload.threads as usize;
    let mut cpus = match workload.cpus.as_slice() {
        [] => affinity::allowed(),
        pinned => pinned[..threads.min(pinned.len())].to_vec(),
    };
    let of_servers = usage::cpus_of(servers);
    let others = if of_servers.is_some() { needed } else { 0 };
    cpus.extend(of_servers.unwrap_or_default());
    cpus.sort_unstable();
    cpus.dedup();
    cpus.len() >= threads + others
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity {
        descriptors: 20_000,
        open: 5,
        ports: 28_232,
    };

    fn plan(connections: u64) -> Plan {
        let target = std::net::SocketAddr::from(([127, 0, 0, 1], 7007));
        Plan {
            targets: vec![target.into()],
            workload: Workload {
                connections: connections as u32,
                ..Workload::default()
            },
        }
    }

    fn check(capacity: Capacity, connections: u64) -> std::result::Result<(), String> {
        capacity.check(&plan(connections)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_maximum_that_the_error_names_is_the_maximum_that_fits() {
        let text = check(CAPACITY, 50_000).unwrap_err();
        assert!(text.contains("RLIMIT_NOFILE") && text.contains("20,000"), "{text}");
        let most: u64 = text.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(check(CAPACITY, most), Ok(()));
        assert!(check(CAPACITY, most + 1).is_err());
    }

    #[test]
    fn source_ports_are_a_limit_of_their_own() {
        let text = check(
            Capacity {
                descriptors: 1 << 20,
                ..CAPACITY
            },
            30_000,
        )
        .unwrap_err();
        assert!(
            text.contains("ip_local_port_range") && text.ends_with("-c 28232"),
            "{text}"
        );
    }

    #[test]
    fn more_source_addresses_allow_more_connections() {
        let capacity = Capacity {
            descriptors: 1 << 20,
            ..CAPACITY
        };
        let mut plan = plan(60_000);
        assert!(capacity.check(&plan).is_err());
        plan.workload.sources = (1..=3)
            .map(|host| std::net::SocketAddr::from(([127, 0, 1, host], 0)))
            .collect();
        assert!(capacity.check(&plan).is_ok());
    }
}
