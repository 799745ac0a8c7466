//! The local process that listens on a TCP address, from the kernel's socket tables and the links in /proc/PID/fd. proc(5).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use super::usage::process_cpu;

/// The process that accepts when this machine connects to `addr`. None if the address does not belong to this machine and
/// network namespace, if no process listens, or if its /proc entries are not readable (another user's process).
///
/// An exact address wins over a wildcard, as in the kernel; a `::` that refuses IPv4 cannot be distinguished from one that
/// accepts it. If several processes hold the socket (a parent and its forks, or a port shared by SO_REUSEPORT), the result is
/// the one with the most CPU time, so call this after some traffic. A server that keeps its listener as an io_uring direct
/// descriptor has no link in /proc and is not found. Reads the links of all processes: milliseconds per 10,000 descriptors.
pub fn pid_of(addr: SocketAddr) -> Option<i32> {
    let wanted = destination(addr);
    // Otherwise a wildcard listener here would be taken for the one on another machine.
    if !is_local(wanted) {
        return None;
    }
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let listening = tables.iter().flat_map(|table| table.lines()).filter_map(listening);
    let on_port = listening.filter(|(local, _)| local.port() == wanted.port());
    let matches: Vec<_> = on_port
        .filter_map(|(local, inode)| Some((distance(local.ip(), wanted.ip())?, inode)))
        .collect();
    let least = matches.iter().map(|&(distance, _)| distance).min()?;
    let nearest = matches.iter().filter(|&&(distance, _)| distance == least);
    let links: Vec<_> = nearest
        .map(|(_, inode)| PathBuf::from(format!("socket:[{inode}]")))
        .collect();
    processes()
        .filter(|&pid| holds(pid, &links))
        .max_by_key(|&pid| process_cpu(pid))
}

/// The address that a connection reaches: an IPv4-mapped address is IPv4, and the wildcard is loopback (connect(2)).
fn destination(mut addr: SocketAddr) -> SocketAddr {
    addr.set_ip(match addr.ip().to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    });
    addr
}

/// True if the address belongs to this machine: only then it can be bound (unless net.ipv4.ip_nonlocal_bind is set).
fn is_local(mut addr: SocketAddr) -> bool {
    addr.set_port(0);
    UdpSocket::bind(addr).is_ok()
}

/// How far a listening address is from the wanted one, 0 if equal; none if it does not accept its connections.
fn distance(listening: IpAddr, wanted: IpAddr) -> Option<u8> {
    match (listening, wanted) {
        _ if listening == wanted => Some(0),
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(_)) => Some(1),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(_)) => Some(1),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(_)) => Some(2),
        _ => None,
    }
}

/// Parses a line of the socket tables: address and inode, if the socket listens.
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

/// Parses an address as the kernel prints it: 32-bit words in network order, each printed as a native number.
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

/// All processes in /proc.
fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// True if one of the process's descriptors is one of these sockets. False if its descriptors are not readable.
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

    /// Listens on a free port of this address, or prints why the test is skipped.
    fn listen(ip: &str) -> Option<TcpListener> {
        let listener = TcpListener::bind((ip, 0));
        listener
            .inspect_err(|cause| println!("SKIPPED: needs a listener on {ip} ({cause})"))
            .ok()
    }

    /// Checks that this process is found at `ip` if it listens on `listening`.
    fn assert_found(listening: &str, ip: &str) {
        let Some(listener) = listen(listening) else {
            return;
        };
        let addr = SocketAddr::new(ip.parse().unwrap(), listener.local_addr().unwrap().port());
        let me = std::process::id().cast_signed();
        assert_eq!(pid_of(addr), Some(me), "listening on {listening}, looking for {addr}");
    }

    #[test]
    fn a_listener_is_found_by_its_own_address() {
        assert_found("127.0.0.1", "127.0.0.1");
        assert_found("127.0.0.1", "::ffff:127.0.0.1");
        assert_found("::1", "::1");
    }

    #[test]
    fn a_wildcard_listener_is_found_by_any_local_address() {
        assert_found("0.0.0.0", "0.0.0.0");
        assert_found("0.0.0.0", "127.0.0.1");
        assert_found("0.0.0.0", "127.9.9.9");
        assert_found("::", "::");
        assert_found("::", "::1");
        assert_found("::", "127.0.0.1");
    }

    #[test]
    fn a_listener_on_another_address_is_not_found() {
        let Some(listener) = listen("127.0.0.1") else {
            return;
        };
        let port = listener.local_addr().unwrap().port();
        assert_eq!(pid_of(SocketAddr::from(([127, 0, 0, 2], port))), None);
    }

    #[test]
    fn an_address_of_another_machine_has_no_process() {
        let Some(listener) = listen("0.0.0.0") else {
            return;
        };
        let port = listener.local_addr().unwrap().port();
        // TEST-NET-1, RFC 5737: no machine has this address.
        assert_eq!(pid_of(SocketAddr::from(([192, 0, 2, 1], port))), None);
    }

    #[test]
    fn a_bound_port_without_a_listener_has_no_process() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        assert_eq!(pid_of(socket.local_addr().unwrap().as_socket().unwrap()), None);
    }

    #[test]
    fn an_exact_address_is_nearer_than_a_wildcard_and_ipv4_nearer_than_ipv6() {
        let to_loopback = |ip: &str| distance(ip.parse().unwrap(), Ipv4Addr::LOCALHOST.into());
        let distances = ["127.0.0.1", "0.0.0.0", "::"].map(to_loopback);
        assert_eq!(distances, [Some(0), Some(1), Some(2)]);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_socket_tables_are_parsed_as_the_kernel_prints_them() {
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
    fn a_line_without_a_socket_is_ignored() {
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
