//! Which local process listens on a TCP address, by the kernel's socket tables and the links in /proc/PID/fd. proc(5).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use super::process_cpu;

/// The process that answers when this machine connects to `addr`. None when the address is not of this machine (and
/// of this network namespace), nobody listens, or the process is not ours to see (another user's, and we are not root).
///
/// An exact address wins over a wildcard, as in the kernel; a `::` that refuses IPv4 looks like one that takes it. If
/// several processes hold the socket (a parent and its forks, or one port shared by SO_REUSEPORT), it is the one with
/// the most CPU time, so ask after some traffic. A server that keeps its listener as an io_uring direct descriptor has
/// no link in /proc and is not found. Reads the links of all processes: milliseconds per 10,000 open descriptors.
pub fn listener_of(addr: SocketAddr) -> Option<i32> {
    let wanted = meant(addr);
    // Without this a wildcard listener here would be taken for the one on another machine.
    if !is_ours(wanted) {
        return None;
    }
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let listening = tables.iter().flat_map(|table| table.lines()).filter_map(listening);
    let on_port = listening.filter(|(local, _)| local.port() == wanted.port());
    let claims: Vec<_> = on_port
        .filter_map(|(local, inode)| Some((claim(local.ip(), wanted.ip())?, inode)))
        .collect();
    let best = claims.iter().map(|&(claim, _)| claim).min()?;
    let winners = claims.iter().filter(|&&(claim, _)| claim == best);
    let links: Vec<_> = winners
        .map(|(_, inode)| PathBuf::from(format!("socket:[{inode}]")))
        .collect();
    processes()
        .filter(|&pid| holds(pid, &links))
        .max_by_key(|&pid| process_cpu(pid))
}

/// The address a connection ends up at: IPv4 in IPv6 clothes is IPv4, and the wildcard is loopback (connect(2)).
fn meant(mut addr: SocketAddr) -> SocketAddr {
    addr.set_ip(match addr.ip().to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    });
    addr
}

/// True when the address belongs to this machine: only then it can be bound (unless net.ipv4.ip_nonlocal_bind is set).
fn is_ours(mut addr: SocketAddr) -> bool {
    addr.set_port(0);
    UdpSocket::bind(addr).is_ok()
}

/// How near a listening address comes to the wanted one, 0 is best; none if it does not take these connections.
fn claim(listening: IpAddr, wanted: IpAddr) -> Option<u8> {
    match (listening, wanted) {
        _ if listening == wanted => Some(0),
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(_)) => Some(1),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(_)) => Some(1),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(_)) => Some(2),
        _ => None,
    }
}

/// Reads a line of the socket tables: address and inode, if the socket listens.
fn listening(line: &str) -> Option<(SocketAddr, u64)> {
    // TCP_LISTEN in the kernel's include/net/tcp_states.h.
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace();
    let (ip, port) = fields.nth(1)?.split_once(':')?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let inode = fields.nth(5)?.parse().ok()?;
    Some((SocketAddr::new(ip_of(ip)?, u16::from_str_radix(port, 16).ok()?), inode))
}

/// Reads an address as the kernel prints it: 32-bit words in network order, each shown as a number of this machine.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let word = |from: usize| Some(u32::from_str_radix(hex.get(from..from + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes = <[u8; 16]>::try_from(words.as_flattened()).ok()?;
            Some(IpAddr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// Every process in /proc.
fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// True when one of the process's descriptors is one of these sockets. False for processes we may not look into.
fn holds(pid: i32, links: &[PathBuf]) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| links.contains(&target))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Listens on a free port of this address, or says why the test cannot.
    fn listen(ip: &str) -> Option<TcpListener> {
        let listener = TcpListener::bind((ip, 0));
        listener
            .inspect_err(|cause| println!("SKIPPED: needs a listener on {ip} ({cause})"))
            .ok()
    }

    /// Checks that whoever connects to `ip` finds this process, if it listens on `listening`.
    fn found(listening: &str, ip: &str) {
        let Some(listener) = listen(listening) else {
            return;
        };
        let addr = SocketAddr::new(ip.parse().unwrap(), listener.local_addr().unwrap().port());
        let me = std::process::id().cast_signed();
        assert_eq!(
            listener_of(addr),
            Some(me),
            "listening on {listening}, asked for {addr}"
        );
    }

    #[test]
    fn a_listener_is_found_by_its_own_address() {
        found("127.0.0.1", "127.0.0.1");
        found("127.0.0.1", "::ffff:127.0.0.1");
        found("::1", "::1");
    }

    #[test]
    fn a_wildcard_listener_is_found_by_any_local_address() {
        found("0.0.0.0", "0.0.0.0");
        found("0.0.0.0", "127.0.0.1");
        found("0.0.0.0", "127.9.9.9");
        found("::", "::");
        found("::", "::1");
        found("::", "127.0.0.1");
    }

    #[test]
    fn a_listener_on_another_address_is_not_taken_for_the_wanted_one() {
        let Some(listener) = listen("127.0.0.1") else {
            return;
        };
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listener_of(SocketAddr::from(([127, 0, 0, 2], port))), None);
    }

    #[test]
    fn another_machines_address_has_no_process_here() {
        let Some(listener) = listen("0.0.0.0") else {
            return;
        };
        let port = listener.local_addr().unwrap().port();
        // TEST-NET-1, RFC 5737: nobody has this address.
        assert_eq!(listener_of(SocketAddr::from(([192, 0, 2, 1], port))), None);
    }

    #[test]
    fn a_port_that_is_bound_but_not_listened_on_has_nobody() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        assert_eq!(listener_of(socket.local_addr().unwrap().as_socket().unwrap()), None);
    }

    #[test]
    fn an_exact_address_comes_before_a_wildcard_and_ipv4_before_ipv6() {
        let claims = ["127.0.0.1", "0.0.0.0", "::"].map(|ip| claim(ip.parse().unwrap(), Ipv4Addr::LOCALHOST.into()));
        assert_eq!(claims, [Some(0), Some(1), Some(2)]);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_socket_tables_read_as_the_kernel_prints_them() {
        let tail = "00000000:00000000 00:00000000 00000000     0        0 195 1 0000000017e51aba 100 0 0 10 0";
        let read = |local: &str, state: &str| listening(&format!("   0: {local} 00000000:0000 {state} {tail}"));
        assert_eq!(read("0100007F:0007", "0A"), Some(("127.0.0.1:7".parse().unwrap(), 195)));
        let mapped = "0000000000000000FFFF00000100007F:1F90";
        assert_eq!(read(mapped, "0A"), Some(("127.0.0.1:8080".parse().unwrap(), 195)));
        let documentation = "B80D0120000000000000000001000000:0016";
        assert_eq!(
            read(documentation, "0A"),
            Some(("[2001:db8::1]:22".parse().unwrap(), 195))
        );
        assert_eq!(read("0100007F:0007", "01"), None, "established, not listening");
    }

    #[test]
    fn a_line_that_is_no_socket_is_passed_over() {
        for line in [
            "",
            "  sl  local_address rem_address   st",
            "0: 0:0 0:0 0A",
            "0: ééééé:0 0 0A a b c d e 1",
            "0: 1:",
        ] {
            assert_eq!(listening(line), None, "{line}");
        }
    }
}
