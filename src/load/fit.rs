//! Do the connections fit this machine? Worked out before the first is opened.

use std::net::SocketAddr;

use crate::error::{Error, Result};
use crate::sys::limits;
use crate::units::show_count;

/// Descriptors that a run needs besides its connections: standard streams, the stop, and per thread a ring and
/// what the standard library opens for a moment.
const BESIDES: u64 = 16;
const PER_THREAD: u64 = 4;

/// What a machine offers to one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Descriptors this process may have, after raising the soft limit.
    pub(super) descriptors: u64,
    /// Those it has already.
    pub(super) open: u64,
    /// Source ports for connections to one address and port.
    pub(super) ports: u64,
}

impl Room {
    /// Raises the soft descriptor limit, then looks.
    pub(super) fn look() -> Room {
        let descriptors = limits::raise_descriptors();
        let (first, last) = limits::ephemeral_ports();
        Room {
            descriptors,
            open: limits::open_descriptors() as u64,
            ports: u64::from(last.saturating_sub(first)) + 1,
        }
    }

    /// Errors: [`Error::Machine`] that names the limit, its value, and what to do.
    pub(super) fn check(self, target: SocketAddr, connections: u64, threads: u64) -> Result<()> {
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
        if connections > self.ports {
            return Err(Error::Machine(format!(
                "{} connections to {target} need as many source ports, and there are {} \
                 (net.ipv4.ip_local_port_range): widen it with `sysctl -w net.ipv4.ip_local_port_range=\"1024 \
                 65535\"`, or use at most -c {}",
                show_count(connections),
                show_count(self.ports),
                self.ports,
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room {
        descriptors: 20_000,
        open: 5,
        ports: 28_232,
    };

    fn check(room: Room, connections: u64) -> std::result::Result<(), String> {
        let target = SocketAddr::from(([127, 0, 0, 1], 7007));
        room.check(target, connections, 1)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_most_that_the_message_offers_is_the_most_that_fits() {
        let text = check(ROOM, 50_000).unwrap_err();
        assert!(
            text.contains("RLIMIT_NOFILE") && text.contains("20,000"),
            "{text}"
        );
        let most: u64 = text.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(check(ROOM, most), Ok(()));
        assert!(check(ROOM, most + 1).is_err());
    }

    #[test]
    fn ports_are_a_limit_of_their_own() {
        let text = check(
            Room {
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
}
