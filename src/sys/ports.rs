//! Ports for servers under test, handed out so that runs that share this host do not collide, and what has become of
//! the ports of clients. ip(7), unix(7).
//!
//! A port is locked by the name of an abstract Unix socket, which exists for as long as the process that bound it, in
//! the network namespace to which the port belongs: nothing is left behind by a process that is killed.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};

use socket2::{Domain, Socket, Type};

use super::limits;
use crate::random::Random;

/// The lowest port for a server, as long as there are others; registered services are mostly below.
const PREFERRED_MIN: u16 = 15_000;

/// Ports below need privileges.
const UNPRIVILEGED_MIN: u16 = 1_024;

/// A free port that no other run takes while this exists.
#[derive(Debug)]
pub struct ClaimedPort {
    port: u16,
    _lock: UnixDatagram,
}

impl ClaimedPort {
    /// A port that nothing uses on any address of this machine. Where the range allows it, not one that the kernel may
    /// choose for an outgoing connection: thousands may be opened before the server binds it. Errors: all are
    /// taken, or descriptors have run out.
    pub fn any() -> io::Result<ClaimedPort> {
        let (clients, reserved) = (limits::ephemeral_ports(), limits::reserved_ports());
        for tier in tiers(&clients, &reserved) {
            let start = Random::seed_from_os() as usize % tier.len().max(1);
            for &port in tier[start..].iter().chain(&tier[..start]) {
                if let Some(port) = ClaimedPort::take(port)? {
                    return Ok(port);
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "all ports are in use"))
    }

    /// None if it is taken.
    fn take(port: u16) -> io::Result<Option<ClaimedPort>> {
        let name = UnixAddress::from_abstract_name(format!("urecho-port-{port}"))?;
        match UnixDatagram::bind_addr(&name) {
            Ok(lock) if is_free(port) => Ok(Some(ClaimedPort { port, _lock: lock })),
            Ok(_) => Ok(None),
            Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.port
    }

    /// True if no socket uses it now.
    pub fn is_free(&self) -> bool {
        is_free(self.port)
    }
}

/// True if it can be bound on all addresses, also by a server that does not set SO_REUSEADDR: so there is no connection
/// in TIME_WAIT either.
fn is_free(port: u16) -> bool {
    let can_bind = |address: SocketAddr| {
        let bound = Socket::new(Domain::for_address(address), Type::STREAM, None).and_then(|socket| {
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.bind(&address.into())
        });
        bound.is_ok() || !is_usable(address)
    };
    can_bind((Ipv4Addr::UNSPECIFIED, port).into()) && can_bind((Ipv6Addr::UNSPECIFIED, port).into())
}

/// False if not even port 0 of this address can be bound: this machine lacks the address family.
fn is_usable(mut address: SocketAddr) -> bool {
    address.set_port(0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
    let bound = socket.and_then(|socket| socket.bind(&address.into()));
    bound.map_or_else(|cause| cause.kind() == io::ErrorKind::AddrInUse, |()| true)
}

/// All unprivileged ports without the reserved ones, the best first.
fn tiers(clients: &RangeInclusive<u16>, reserved: &[RangeInclusive<u16>]) -> [Vec<u16>; 4] {
    let mut tiers = [const { Vec::new() }; 4];
    for port in UNPRIVILEGED_MIN..=u16::MAX {
        if reserved.iter().any(|range| range.contains(&port)) {
            continue;
        }
        let tier = match (port >= PREFERRED_MIN, clients.contains(&port)) {
            (true, false) if port < *clients.start() => 0,
            (true, false) => 1,
            (false, false) => 2,
            (_, true) => 3,
        };
        tiers[tier].push(port);
    }
    tiers
}

/// Source ports towards one address and port, in this network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePorts {
    /// Those that the kernel may choose: its range without the reserved ones.
    pub available: u64,
    /// How many of the range are reserved (net.ipv4.ip_local_reserved_ports).
    pub reserved: u64,
    /// How many are in TIME_WAIT.
    pub waiting: u64,
    /// How many connections use one now.
    pub connected: u64,
}

impl SourcePorts {
    /// Counts them.
    pub fn towards(target: SocketAddr) -> SourcePorts {
        let (range, reserved) = (limits::ephemeral_ports(), limits::reserved_ports());
        let is_reserved = |port: &u16| reserved.iter().any(|range| range.contains(port));
        let reserved = range.clone().filter(is_reserved).count() as u64;
        let (mut waiting, mut connected) = (0, 0);
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let text = fs::read_to_string(table).unwrap_or_default();
            for state in text.lines().filter_map(|line| state_towards(line, target)) {
                match state {
                    TIME_WAIT => waiting += 1,
                    _ => connected += 1,
                }
            }
        }
        SourcePorts {
            available: range.len() as u64 - reserved,
            reserved,
            waiting,
            connected,
        }
    }
}

impl std::fmt::Display for SourcePorts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [available, reserved, waiting, connected] =
            [self.available, self.reserved, self.waiting, self.connected].map(crate::units::show_count);
        write!(
            f,
            "of {available} source ports (net.ipv4.ip_local_port_range without {reserved} that \
             net.ipv4.ip_local_reserved_ports excludes) {waiting} are in TIME_WAIT and {connected} connected"
        )
    }
}

/// TCP_TIME_WAIT in the kernel's include/net/tcp_states.h.
const TIME_WAIT: u8 = 6;

/// The state of a socket whose other end is `target`, from a line of the socket tables.
fn state_towards(line: &str, target: SocketAddr) -> Option<u8> {
    let mut fields = line.split_whitespace().skip(2);
    let (ip, port) = fields.next()?.split_once(':')?;
    if u16::from_str_radix(port, 16).ok()? != target.port()
        || super::socket_owner::ip_of(ip)? != target.ip().to_canonical()
    {
        return None;
    }
    u8::from_str_radix(fields.next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn ports_that_are_held_at_the_same_time_differ_and_are_free() {
        let ports: Vec<ClaimedPort> = (0..50).map(|_| ClaimedPort::any().unwrap()).collect();
        let numbers: BTreeSet<u16> = ports.iter().map(ClaimedPort::number).collect();
        assert_eq!(numbers.len(), ports.len());
        let clients = limits::ephemeral_ports();
        if *clients.start() > PREFERRED_MIN {
            assert!(numbers.iter().all(|port| !clients.contains(port)), "{numbers:?}");
        }
    }

    #[test]
    fn a_port_in_use_is_not_handed_out() {
        for address in ["127.0.0.1:0", "127.9.9.9:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                println!("SKIPPED: needs {address}");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            assert!(ClaimedPort::take(port).unwrap().is_none(), "{address}");
        }
    }

    #[test]
    fn every_range_leaves_ports_and_reserved_ones_are_left_out() {
        let sizes = |clients: RangeInclusive<u16>| tiers(&clients, &[20_000..=20_009]).map(|tier| tier.len());
        assert_eq!(sizes(32_768..=60_999), [17_758, 4_536, 13_976, 28_232]);
        assert_eq!(
            sizes(1_024..=65_535),
            [0, 0, 0, 64_502],
            "no port is outside of the widest range"
        );
        assert_eq!(sizes(15_000..=15_003), [0, 50_522, 13_976, 4]);
        assert_eq!(sizes(1..=1), [0, 50_526, 13_976, 0]);
    }

    #[test]
    fn ports_of_closed_connections_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(target).unwrap();
        assert_eq!(SourcePorts::towards(target).connected, 1);
        let (server, _) = listener.accept().unwrap();
        drop(client); // Closes first, so that its port waits.
        std::io::Read::read(&mut &server, &mut [0; 1]).unwrap();
        drop(server);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while SourcePorts::towards(target).waiting != 1 {
            assert!(std::time::Instant::now() < deadline, "{}", SourcePorts::towards(target));
            std::thread::yield_now();
        }
    }
}
