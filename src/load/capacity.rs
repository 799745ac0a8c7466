//! Does a plan fit this machine? Descriptors, ports, memory and CPUs, computed before the first connection is opened.

use crate::error::{Error, Result};
use crate::load::connection::Connection;
use crate::load::pipeline::Message;
use crate::load::target::ends_here;
use crate::load::timeline::QUEUE_MAX;
use crate::load::workload::{Io, Plan, Workload};
use crate::ring::{self, RingSet};
use crate::sys::{affinity, limits, socket, usage};
use crate::units::{plural, show_count, show_size};

/// Descriptors that a run needs besides its connections: standard streams, the stop, files the standard library opens
/// briefly.
const OVERHEAD: u64 = 16;

/// Descriptors of each thread: its ring, and as many to spare.
const PER_THREAD: u64 = 4;

/// Descriptors of each ring where connections are entries in tables; and, in all, of those that are being opened.
const PER_RING: u64 = 2;
const OPENING: u64 = 128;

/// Memory of the kernel for each connection: its socket, and the operations that wait on it (measured: 4.6 kB,
/// bench/scale).
const KERNEL_MEMORY: u64 = 5_000;

/// How many connections each limit of this process allows to a load with one thread, one target, and one source
/// address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MostConnections {
    /// By its descriptors, and the tables of its rings.
    pub descriptors: u64,
    /// By the source ports.
    pub ports: u64,
    /// By the memory that it may still take: how much that is, what limits it, and the connections. None if not known.
    pub memory: Option<(u64, &'static str, u64)>,
}

impl MostConnections {
    /// Raises the soft descriptor limit, as a load does, then reads the limits. `direct`: connections may be direct
    /// descriptors.
    pub fn of_this_process(direct: bool) -> MostConnections {
        let limits = ProcessLimits::of_this_process();
        let ProcessLimits { ports, memory, .. } = limits;
        let workload = Workload {
            direct,
            ..Workload::default()
        };
        MostConnections {
            descriptors: limits.most_connections(&workload),
            ports,
            memory: memory.map(|(free, limit)| (free, limit, within_memory(free))),
        }
    }
}

/// The most connections whose memory fits, by bisection.
fn within_memory(free: u64) -> u64 {
    let fits = |connections: u32| {
        let workload = Workload {
            connections,
            ..Workload::default()
        };
        memory_of(&workload, 1) <= free
    };
    let (mut most, mut too_many) = (0, u32::MAX);
    while too_many - most > 1 {
        let middle = most + (too_many - most) / 2;
        match fits(middle) {
            true => most = middle,
            false => too_many = middle,
        }
    }
    u64::from(most)
}

/// Limits of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessLimits {
    /// Descriptors this process may have, after raising the soft limit.
    pub(super) descriptors: u64,
    /// Descriptors it has already.
    pub(super) open: u64,
    /// Source ports for connections to one address and port.
    pub(super) ports: u64,
    /// Memory that this process may still take, and what limits it; none if that is not known.
    pub(super) memory: Option<(u64, &'static str)>,
}

impl ProcessLimits {
    /// Raises the soft descriptor limit, then reads the limits.
    pub(super) fn of_this_process() -> ProcessLimits {
        let descriptors = limits::raise_descriptors();
        ProcessLimits {
            descriptors,
            open: limits::open_descriptors() as u64,
            ports: limits::source_ports() as u64,
            memory: limits::memory(),
        }
    }

    /// Errors: [`Error::Machine`] that names the limit, its value, and what to do.
    pub(super) fn check(self, plan: &Plan) -> Result<()> {
        self.check_descriptors(&plan.workload)?;
        let connections = u64::from(plan.workload.connections);
        let sources = plan.workload.sources.len().max(1);
        // Every pair of source and target address has all ports.
        let pairs = (plan.targets.len() * sources) as u64;
        let most = self.ports.saturating_mul(pairs);
        if connections > most {
            return Err(Error::Machine(format!(
                "{} connections need as many source ports, and {} to {} have {} (net.ipv4.ip_local_port_range minus \
                 ip_local_reserved_ports has {}): connect from more addresses with --source (on loopback, --source \
                 127.0.1.0/24), give more targets, widen the range, or use at most -c {most}",
                show_count(connections),
                plural(sources as u64, "source address"),
                plural(plan.targets.len() as u64, "target"),
                show_count(most),
                show_count(self.ports),
            )));
        }
        self.check_memory(plan)
    }

    /// Direct descriptors in the table of a ring, at most.
    fn entries(self) -> u64 {
        self.descriptors.min(limits::RING_ENTRIES_MAX)
    }

    fn check_descriptors(self, workload: &Workload) -> Result<()> {
        let connections = u64::from(workload.connections);
        let needed = self.open + descriptors_of(workload, self.entries());
        if needed <= self.descriptors {
            return Ok(());
        }
        let most = self.most_connections(workload);
        let fewer = if most > 0 {
            format!(", or use at most -c {most}")
        } else {
            String::new()
        };
        Err(Error::Machine(format!(
            "{} {} {} descriptors, and this process may have {} (RLIMIT_NOFILE, raised as far as it goes): raise it with \
             `ulimit -n {needed}` or LimitNOFILE={fewer}",
            plural(connections, "connection"),
            if connections == 1 { "needs" } else { "need" },
            show_count(needed),
            show_count(self.descriptors),
        )))
    }

    /// The most connections that fit: with a descriptor for each, or in the tables of as many rings as there may be.
    fn most_connections(self, workload: &Workload) -> u64 {
        let left = |own: u64| self.descriptors.saturating_sub(self.open + OVERHEAD + own);
        let threads = u64::from(workload.threads);
        let rings = left(OPENING + PER_THREAD * threads) / PER_RING;
        let in_tables = if workload.direct {
            rings.saturating_sub(threads).saturating_mul(self.entries())
        } else {
            0
        };
        in_tables.max(left(PER_THREAD * threads))
    }

    fn check_memory(self, plan: &Plan) -> Result<()> {
        let workload = &plan.workload;
        let needed = memory_of(workload, ends_here(&plan.targets));
        match self.memory {
            Some((free, limit)) if needed > free => Err(Error::Machine(format!(
                "{} with up to {} in flight on each need {} of memory, and this process may have {} more ({limit}): raise \
                 that, use fewer --connections, or a smaller --pipeline or --size",
                plural(workload.connections.into(), "connection"),
                plural(workload.traffic.depth as u64, "message"),
                show_size(needed),
                show_size(free),
            ))),
            _ => Ok(()),
        }
    }
}

/// Descriptors of a run, in a process whose rings may have tables of `entries`.
fn descriptors_of(workload: &Workload, entries: u64) -> u64 {
    let (connections, threads) = (u64::from(workload.connections), u64::from(workload.threads));
    match workload.direct {
        true => {
            let rings = connections.div_ceil(entries.max(1)) + threads;
            OVERHEAD + OPENING + PER_THREAD * threads + PER_RING * rings
        }
        false => OVERHEAD + PER_THREAD * threads + connections,
    }
}

/// Memory that a run may come to need: what its connections, their messages in flight, buffers and histograms take, and
/// what the kernel takes for as many ends of each connection.
fn memory_of(workload: &Workload, ends: u64) -> u64 {
    // Histograms, rings and stacks of a thread, and what the report is made of.
    const EACH_THREAD: u64 = 8 << 20;
    const ALL: u64 = 16 << 20;
    let (connections, threads) = (u64::from(workload.connections), u64::from(workload.threads));
    let in_flight = (workload.traffic.depth as u64).saturating_mul(connections);
    // An open loop queues messages as well, up to a bound.
    let queued = if workload.pace.is_open() {
        in_flight.min(threads * QUEUE_MAX as u64).max(connections)
    } else {
        in_flight
    };
    // A queue that grows has room for up to twice as many.
    let messages = queued.saturating_mul(2 * size_of::<Message>() as u64);
    let buffers: u64 = (0..workload.threads as usize)
        .map(|worker| {
            let (rings, buffers) = (
                workload.rings_of(worker),
                workload.buffers(workload.share_of(worker) as usize),
            );
            let each = if rings > 1 { RingSet::buffers(buffers) } else { buffers };
            rings * each.bytes() as u64
        })
        .sum();
    let connections = connections * (size_of::<Connection>() as u64 + ends * KERNEL_MEMORY);
    ALL + threads * EACH_THREAD + messages.saturating_add(buffers + connections)
}

/// True if this process may have a descriptor for each of `connections`, beside those of `threads`.
pub fn has_descriptors(connections: u32, threads: u32) -> bool {
    let limits = ProcessLimits::of_this_process();
    let workload = Workload {
        connections,
        threads,
        ..Workload::default()
    };
    limits.open + descriptors_of(&workload, limits.entries()) <= limits.descriptors
}

/// Checks that a load can be generated here at all, before servers are started for it: the loopback interface, and
/// io_uring if it is used. Errors: [`Error::Machine`].
pub fn check_machine(io: Io) -> Result<()> {
    socket::check_loopback()?;
    match io {
        Io::Uring => ring::probe(1),
        Io::Epoll => Ok(()),
    }
}

/// Checks that a plan fits this machine, before servers are started for it. Errors: [`Error::Machine`] that names the
/// limit.
pub fn check_fits(plan: &Plan) -> Result<()> {
    ProcessLimits::of_this_process().check(plan)
}

/// True if this process can hold `sessions` sessions with this workload at once.
pub fn fits_at_once(workload: &Workload, sessions: usize) -> bool {
    let capacity = ProcessLimits::of_this_process();
    capacity.open + descriptors_of(workload, capacity.entries()) * sessions as u64 <= capacity.descriptors
}

/// True if every thread of the generator can have a CPU that the servers do not need. `needed` is how many these
/// processes need, of those they may use; a server that is remote or not visible needs no CPU here.
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
    use crate::load::target::Target;

    const CAPACITY: ProcessLimits = ProcessLimits {
        descriptors: 20_000,
        open: 5,
        ports: 28_232,
        memory: None,
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

    fn check(capacity: ProcessLimits, connections: u64) -> std::result::Result<(), String> {
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
    fn with_direct_descriptors_the_tables_of_the_rings_hold_many_times_as_many() {
        let direct = |connections: u64| {
            let mut plan = plan(connections);
            plan.workload.direct = true;
            let capacity = ProcessLimits {
                ports: u64::MAX,
                ..CAPACITY
            };
            capacity.check(&plan).map_err(|error| error.to_string())
        };
        assert_eq!(direct(1_000_000), Ok(()));
        let text = direct(400_000_000).unwrap_err();
        let most: u64 = text.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(most > 100_000_000, "{text}");
        assert_eq!(direct(most), Ok(()));
        assert!(direct(most + 20_001).is_err());
    }

    #[test]
    fn the_most_connections_that_are_named_fit_and_one_more_does_not() {
        let most = within_memory(1 << 30);
        let capacity = ProcessLimits {
            descriptors: u64::MAX,
            ports: u64::MAX,
            memory: Some((1 << 30, "a limit")),
            ..CAPACITY
        };
        let fits = |connections: u64, target: &str| {
            let mut plan = plan(connections);
            plan.targets = vec![Target::from(target.parse::<std::net::SocketAddr>().unwrap())];
            capacity.check(&plan).is_ok()
        };
        assert!(fits(most, "192.0.2.1:7") && !fits(most + 1, "192.0.2.1:7"));
        assert!(
            fits(most / 2, "127.0.0.1:7") && !fits(most, "127.0.0.1:7"),
            "both ends are here"
        );
        assert_eq!(within_memory(0), 0);
    }

    #[test]
    fn where_not_even_one_connection_fits_no_smaller_number_is_advised() {
        let text = check(
            ProcessLimits {
                descriptors: 20,
                ..CAPACITY
            },
            1,
        )
        .unwrap_err();
        assert!(
            text.contains("1 connection needs") && text.contains("ulimit -n") && !text.contains("-c "),
            "{text}"
        );
    }

    #[test]
    fn the_messages_in_flight_have_to_fit_the_memory() {
        let limited = ProcessLimits {
            memory: Some((2_000_000_000, "ulimit -v")),
            ..CAPACITY
        };
        let mut plan = plan(2_000);
        assert!(limited.check(&plan).is_ok());
        plan.workload.traffic.depth = 65_536;
        let text = limited.check(&plan).unwrap_err().to_string();
        assert!(
            text.contains("ulimit -v") && text.contains("GiB") && text.contains("--pipeline"),
            "{text}"
        );
        assert!(CAPACITY.check(&plan).is_ok(), "not known");
    }

    #[test]
    fn source_ports_are_a_limit_of_their_own() {
        let text = check(
            ProcessLimits {
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
        let capacity = ProcessLimits {
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
