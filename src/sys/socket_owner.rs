//! The local processes that listen on TCP addresses, from the kernel's socket tables, the links in /proc/PID/fd, and
//! the tables of rings in /proc/PID/fdinfo. proc(5).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

use super::usage::processes;

/// The processes that accept when this machine connects to these addresses, ascending: every process that holds one of
/// the listening sockets, so a parent and its forks, and all that share a port by SO_REUSEPORT. Errors: why those of an
/// address are not known.
///
/// An exact address wins over a wildcard, as in the kernel; a `::` that refuses IPv4 cannot be distinguished from one
/// that accepts it. Neither can a relay (docker-proxy, ssh -L) from a server: callers show names. Reads the
/// links of all processes and the tables of their rings: milliseconds per 10,000 descriptors.
pub fn processes_at(addresses: &[SocketAddr]) -> Result<Vec<i32>, String> {
    let listeners = listeners().unwrap_or_default();
    let mut wanted = BTreeMap::new();
    for &address in addresses {
        let sockets = sockets_at(destination(address), &listeners)?;
        wanted.extend(sockets.into_iter().map(|socket| (socket.inode, (address, socket.user))));
    }
    let (mut pids, mut found) = (BTreeSet::new(), BTreeSet::new());
    for pid in processes() {
        let held: Vec<u64> = sockets_of(pid).filter(|inode| wanted.contains_key(inode)).collect();
        if !held.is_empty() {
            pids.insert(pid);
            found.extend(held);
        }
    }
    match wanted.iter().find(|(inode, _)| !found.contains(inode)) {
        None => Ok(pids.into_iter().collect()),
        Some((_, (address, user))) => Err(format!(
            "the process that listens at {address} (user {user}) is not visible"
        )),
    }
}

/// A process that holds a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: i32,
    /// Its name, as in /proc/PID/comm.
    pub name: String,
}

/// The processes that hold sockets, by the numbers of the sockets. Those whose descriptors we may not read are missing.
pub fn holders() -> BTreeMap<u64, Vec<Holder>> {
    let mut holders: BTreeMap<u64, Vec<Holder>> = BTreeMap::new();
    for pid in processes() {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let name = name.trim().to_owned();
        for inode in sockets_of(pid).collect::<BTreeSet<u64>>() {
            let name = name.clone();
            holders.entry(inode).or_default().push(Holder { pid, name });
        }
    }
    holders
}

/// Who accepts connections to an address of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Nothing listens there.
    Nothing,
    /// These processes, and no other.
    These,
    /// Others, or others as well: described.
    Others(String),
    /// The kernel does not show it.
    Unknown,
}

/// Is it these processes, and only they, that accept connections to `address`?
pub fn owner_of(address: SocketAddr, pids: &[i32]) -> Owner {
    let Some(listeners) = listeners() else {
        return Owner::Unknown;
    };
    let Ok(mut sockets) = sockets_at(destination(address), &listeners) else {
        return Owner::Nothing;
    };
    for &pid in pids {
        let held: BTreeSet<u64> = sockets_of(pid).collect();
        sockets.retain(|socket| !held.contains(&socket.inode));
    }
    let Some(&foreign) = sockets.first() else {
        return Owner::These;
    };
    if let Some(pid) = processes().find(|&pid| sockets_of(pid).any(|inode| inode == foreign.inode)) {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        return Owner::Others(format!("{} (process {pid})", name.trim()));
    }
    // No descriptor is visible: of a process whose descriptors are hidden from us, or of a ring (a direct descriptor).
    let has_user = |pid: &&i32| fs::metadata(format!("/proc/{pid}")).is_ok_and(|process| process.uid() == foreign.user);
    match pids.iter().find(has_user) {
        Some(_) => Owner::These,
        None => Owner::Others(format!("a process of user {}", foreign.user)),
    }
}

/// All listening sockets; `None` if the tables are hidden.
fn listeners() -> Option<Vec<Listener>> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).ok());
    let [None, None] = &tables else {
        let lines = tables.iter().flatten().flat_map(|table| table.lines());
        return Some(lines.filter_map(listening).collect());
    };
    None
}

/// A socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    address: SocketAddr,
    user: u32,
    inode: u64,
}

/// The sockets that accept connections to an address. Errors: there is none here.
fn sockets_at(wanted: SocketAddr, listeners: &[Listener]) -> Result<Vec<Listener>, String> {
    // Otherwise a wildcard listener here would be taken for the one on another machine.
    if !is_local(wanted) {
        return Err(format!("{wanted} is not on this machine"));
    }
    let on_port = listeners
        .iter()
        .filter(|listener| listener.address.port() == wanted.port());
    let matches: Vec<_> = on_port
        .filter_map(|listener| Some((distance(listener.address.ip(), wanted.ip())?, *listener)))
        .collect();
    let nearest = matches.iter().map(|&(distance, _)| distance).min();
    let nearest = nearest.ok_or_else(|| format!("no process in this network namespace listens at {wanted}"))?;
    let sockets = matches.into_iter().filter(|&(distance, _)| distance == nearest);
    Ok(sockets.map(|(_, listener)| listener).collect())
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
/// All of its ports may be taken or reserved.
fn is_local(mut addr: SocketAddr) -> bool {
    addr.set_port(0);
    UdpSocket::bind(addr).map_or_else(|cause| cause.kind() == ErrorKind::AddrInUse, |_| true)
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

/// Parses a line of the socket tables, if the socket listens.
fn listening(line: &str) -> Option<Listener> {
    // TCP_LISTEN in the kernel's include/net/tcp_states.h.
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace();
    let (ip, port) = fields.nth(1)?.split_once(':')?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let user = fields.nth(3)?.parse().ok()?;
    Some(Listener {
        address: SocketAddr::new(ip_of(ip)?, u16::from_str_radix(port, 16).ok()?),
        user,
        inode: fields.nth(1)?.parse().ok()?,
    })
}

/// Parses an address as the kernel prints it: 32-bit words in network order, each printed as a native number.
pub(super) fn ip_of(hex: &str) -> Option<IpAddr> {
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

/// The inodes of a process's sockets: its descriptors, and the direct descriptors of its rings. Empty if its
/// descriptors are not readable.
fn sockets_of(pid: i32) -> impl Iterator<Item = u64> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.flat_map(move |entry| {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        match target.to_str() {
            Some("anon_inode:[io_uring]") => direct_sockets(pid, &entry.file_name().to_string_lossy()),
            Some(target) => socket_inode(target).into_iter().collect(),
            None => Vec::new(),
        }
    })
}

/// The inode in the name of a socket: `socket:[123]`.
fn socket_inode(name: &str) -> Option<u64> {
    name.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The inodes of the sockets in the table of a ring. The kernel lists them in lines like `   0: socket:[123]`, unless
/// the ring is in use at that moment: so it is asked again.
fn direct_sockets(pid: i32, descriptor: &str) -> Vec<u64> {
    const ATTEMPTS: usize = 5;
    let listed = (0..ATTEMPTS).find_map(|attempt| {
        if attempt > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).ok()?;
        text.contains("UserFiles:").then_some(text)
    });
    let named = |line: &str| socket_inode(line.split_once(": ")?.1.trim());
    listed.unwrap_or_default().lines().filter_map(named).collect()
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

    fn me() -> i32 {
        std::process::id().cast_signed()
    }

    /// Why no process is known at an address.
    fn refusal(ip: [u8; 4], port: u16) -> String {
        processes_at(&[SocketAddr::from((ip, port))]).unwrap_err()
    }

    /// Checks that this process is found at `ip` if it listens on `listening`.
    fn assert_found(listening: &str, ip: &str) {
        let Some(listener) = listen(listening) else {
            return;
        };
        let addr = SocketAddr::new(ip.parse().unwrap(), listener.local_addr().unwrap().port());
        let found = processes_at(&[addr]).unwrap();
        assert!(found.contains(&me()), "listening on {listening}, looking for {addr}");
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
        assert!(refusal([127, 0, 0, 2], port).contains("no process in this network namespace"));
    }

    #[test]
    fn an_address_of_another_machine_has_no_process() {
        let Some(listener) = listen("0.0.0.0") else {
            return;
        };
        let port = listener.local_addr().unwrap().port();
        // TEST-NET-1, RFC 5737: no machine has this address.
        assert_eq!(
            refusal([192, 0, 2, 1], port),
            format!("192.0.2.1:{port} is not on this machine")
        );
    }

    #[test]
    fn a_bound_port_without_a_listener_has_no_process() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        assert!(processes_at(&[socket.local_addr().unwrap().as_socket().unwrap()]).is_err());
    }

    #[test]
    fn a_listener_belongs_to_the_process_that_holds_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(owner_of(address, &[me()]), Owner::These);
        assert_eq!(owner_of(address, &[me(), 1]), Owner::These);
        let Owner::Others(shown) = owner_of(address, &[]) else {
            panic!("it is another's");
        };
        assert!(shown.ends_with(&format!("(process {})", me())), "{shown}");
        drop(listener);
        assert_eq!(owner_of(address, &[me()]), Owner::Nothing);
    }

    #[test]
    fn all_addresses_must_have_a_process() {
        let (Some(one), Some(two)) = (listen("127.0.0.1"), listen("127.0.0.1")) else {
            return;
        };
        let addresses = [&one, &two].map(|listener| listener.local_addr().unwrap());
        assert!(processes_at(&addresses).unwrap().contains(&me()));
        drop(two);
        let refused = processes_at(&addresses).unwrap_err();
        assert!(refused.ends_with(&addresses[1].to_string()), "{refused}");
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
        let tail = "00000000:00000000 00:00000000 00000000  1000        0 195 1 0000000017e51aba 100 0 0 10 0";
        let read = |local: &str, state: &str| listening(&format!("   0: {local} 00000000:0000 {state} {tail}"));
        let listener = |address: &str| {
            Some(Listener {
                address: address.parse().unwrap(),
                user: 1000,
                inode: 195,
            })
        };
        assert_eq!(read("0100007F:0007", "0A"), listener("127.0.0.1:7"));
        let mapped = "0000000000000000FFFF00000100007F:1F90";
        assert_eq!(read(mapped, "0A"), listener("127.0.0.1:8080"));
        let documentation = "B80D0120000000000000000001000000:0016";
        assert_eq!(read(documentation, "0A"), listener("[2001:db8::1]:22"));
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
