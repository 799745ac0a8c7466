//! Do the connections fit this machine? Worked out before the first is opened.

use crate::error::{Error, Result};
use crate::load::Plan;
use crate::sys::limits;
use crate::units::show_count;

/// Descriptors that a run needs besides its connections: standard streams, the stop, and per thread a ring and
/// what the standard library opens for a moment.
const BESIDES: u64 = 16;
const PER_THREAD: u64 = 4;

/// What a machine offers to one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capacity {
    /// Descriptors this process may have, after raising the soft limit.
    pub(super) descriptors: u64,
    /// Those it has already.
    pub(super) open: u64,
    /// Source ports for connections to one address and port.
    pub(super) ports: u64,
}

impl Capacity {
    /// Raises the soft descriptor limit, then looks.
    pub(super) fn look() -> Capacity {
        let descriptors = limits::raise_descriptors();
        let (first, last) = limits::ephemeral_ports();
        Capacity {
            descriptors,
            open: limits::open_descriptors() as u64,
            ports: u64::from(last.saturating_sub(first)) + 1,
        }
    }

    /// Errors: [`Error::Machine`] that names the limit, its value, and what to do.
    pub(super) fn check(self, plan: &Plan) -> Result<()> {
        let (connections, threads) = (u64::from(plan.connections), u64::from(plan.threads));
        let needed = connections + self.open + BESIDES + PER_THREAD * threads;
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
        // Ports are counted for each pair of our address and theirs.
        let pairs = (plan.targets.len() * plan.sources.len().max(1)) as u64;
        let most = self.ports.saturating_mul(pairs);
        if connections > most {
            return Err(Error::Machine(format!(
                "{} connections need as many source ports, and {} to {} leave {} (net.ipv4.ip_local_port_range has \
                 {}): connect from more addresses with --source (on loopback, --source 127.0.1.0/24), give more \
                 targets, widen the range, or use at most -c {most}",
                show_count(connections),
                many(plan.sources.len().max(1), "source address"),
                many(plan.targets.len(), "target"),
                show_count(most),
                show_count(self.ports),
            )));
        }
        Ok(())
    }
}

/// True if this process can hold so many sessions with this plan at once.
pub fn fits_at_once(plan: &Plan, sessions: usize) -> bool {
    let room = Capacity::look();
    let each = u64::from(plan.connections) + BESIDES + PER_THREAD * u64::from(plan.threads);
    room.open + each * sessions as u64 <= room.descriptors
}

fn many(count: usize, what: &str) -> String {
    let plural = if count == 1 {
        ""
    } else if what.ends_with('s') {
        "es"
    } else {
        "s"
    };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Capacity = Capacity {
        descriptors: 20_000,
        open: 5,
        ports: 28_232,
    };

    fn plan(connections: u64) -> Plan {
        let target = std::net::SocketAddr::from(([127, 0, 0, 1], 7007));
        Plan {
            connections: connections as u32,
            ..Plan::against(target)
        }
    }

    fn check(room: Capacity, connections: u64) -> std::result::Result<(), String> {
        room.check(&plan(connections)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_most_that_the_message_offers_is_the_most_that_fits() {
        let text = check(ROOM, 50_000).unwrap_err();
        assert!(text.contains("RLIMIT_NOFILE") && text.contains("20,000"), "{text}");
        let most: u64 = text.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(check(ROOM, most), Ok(()));
        assert!(check(ROOM, most + 1).is_err());
    }

    #[test]
    fn ports_are_a_limit_of_their_own() {
        let text = check(
            Capacity {
                descriptors: 1 << 20,
                ..ROOM
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
    fn more_sources_and_targets_make_more_room_for_ports() {
        let room = Capacity {
            descriptors: 1 << 20,
            ..ROOM
        };
        let mut plan = plan(60_000);
        assert!(room.check(&plan).is_err());
        plan.sources = vec![[127, 0, 1, 1].into(), [127, 0, 1, 2].into(), [127, 0, 1, 3].into()];
        assert!(room.check(&plan).is_ok());
    }
}
