//! The limits that a run can reach: descriptors, ports, the accept queue. getrlimit(2), ip(7), listen(2).

use std::fs;
use std::ops::RangeInclusive;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use crate::sys::{shortage, sysctl, throttling};

/// A resource limit of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The limit in force.
    pub soft: u64,
    /// How far this process may raise it.
    pub hard: u64,
}

/// Limit on open descriptors (RLIMIT_NOFILE). Infinite where a sandbox does not show it.
pub fn descriptors() -> Limit {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((RLIM_INFINITY, RLIM_INFINITY));
    Limit { soft, hard }
}

/// Raises the soft limit on descriptors to the hard one; returns the limit in force.
///
/// Children inherit it. If raising is refused, the old limit stays and is returned.
pub fn raise_descriptors() -> u64 {
    let hard = descriptors().hard;
    // A refusal shows in the limit that is returned; the caller compares that with its need.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    descriptors().soft
}

/// IORING_MAX_FIXED_FILES in the kernel's io_uring/rsrc.c.
pub const RING_ENTRIES_MAX: u64 = 1 << 20;

/// Entries that a table of direct descriptors may have, io_uring_register(2): as many as descriptors, and at most 2^20.
/// At least 1.
pub fn ring_entries() -> u32 {
    descriptors().soft.clamp(1, RING_ENTRIES_MAX) as u32
}

/// Number of descriptors that this process has open.
pub fn open_descriptors() -> usize {
    // The listing itself holds one descriptor open.
    fs::read_dir("/proc/self/fd").map_or_else(|_| count_descriptors(), |entries| entries.count().saturating_sub(1))
}

/// The same without /proc, which may be hidden: of the lowest numbers, which are taken first.
fn count_descriptors() -> usize {
    const NUMBERS: i32 = 1024;
    // SAFETY: asks for the flags of a number that may be a descriptor, and changes nothing.
    (0..NUMBERS)
        .filter(|&number| unsafe { libc::fcntl(number, libc::F_GETFD) } != -1)
        .count()
}

/// Memory that this process may still take, in bytes, and what limits it. None if nothing is known.
pub fn memory() -> Option<(u64, &'static str)> {
    // SAFETY: asks for a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    let mapped = fs::read_to_string("/proc/self/statm").ok();
    let mapped = mapped.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    let space =
        shortage::address_space().map(|limit| (limit.saturating_sub(mapped.unwrap_or(0) * page), "`ulimit -v`"));
    let available = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| available(&text));
    let available = available.map(|bytes| (bytes, "MemAvailable in /proc/meminfo"));
    [space, available, group_memory()]
        .into_iter()
        .flatten()
        .min_by_key(|&(bytes, _)| bytes)
}

/// Memory of TCP sockets, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMemory {
    /// Send and receive buffer of one connection, at most.
    pub per_connection: u64,
    /// All sockets of this host, at most (net.ipv4.tcp_mem); none if /proc/sys is hidden.
    pub total: Option<u64>,
}

/// What sockets take at most, with buffers of `buffer` bytes, or with those that the system allows. tcp(7), socket(7).
pub fn socket_memory(buffer: Option<u32>) -> SocketMemory {
    // The defaults in tcp(7), if /proc/sys is hidden.
    let max = |name: &str, default| third_number(&format!("/proc/sys/net/ipv4/{name}")).unwrap_or(default);
    let per_connection = match buffer {
        Some(bytes) => 2 * 2 * u64::from(bytes), // The kernel doubles each.
        None => max("tcp_rmem", 6 << 20) + max("tcp_wmem", 4 << 20),
    };
    // SAFETY: asks for a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    SocketMemory {
        per_connection,
        total: third_number("/proc/sys/net/ipv4/tcp_mem").map(|pages| pages * page),
    }
}

/// Pages that all TCP sockets of this host may take without restraint (net.ipv4.tcp_mem); none if /proc/sys is hidden.
pub fn tcp_pages() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn third_number(path: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.split_whitespace().nth(2)?.parse().ok()
}

/// What the control groups of this process leave. Documentation/admin-guide/cgroup-v2.rst.
fn group_memory() -> Option<(u64, &'static str)> {
    const FILES: [(&str, &str); 2] = [
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ];
    let groups = throttling::groups_of("memory");
    let left = groups.iter().flat_map(|group| {
        let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
        let left = FILES.map(|(limit, used)| Some(number(limit)?.saturating_sub(number(used)?)));
        left.into_iter().flatten()
    });
    left.min().map(|bytes| (bytes, "memory.max of its control group"))
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Ports that the kernel may choose for an outgoing connection (net.ipv4.ip_local_port_range, for IPv6 as well).
/// To one target address and port there can be no more connections than this from one source address.
pub fn ephemeral_ports() -> RangeInclusive<u16> {
    // The default in ip(7), if /proc/sys is hidden.
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    text.and_then(|text| port_range(&text)).unwrap_or(32_768..=60_999)
}

/// Ports that the kernel never chooses (net.ipv4.ip_local_reserved_ports, for IPv6 as well). Empty if /proc/sys is
/// hidden.
pub fn reserved_ports() -> Vec<RangeInclusive<u16>> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    port_list(&text)
}

/// How many source ports there are for connections to one address and port: the range without the reserved ones.
pub fn source_ports() -> usize {
    let reserved = reserved_ports();
    let is_free = |port: &u16| !reserved.iter().any(|range| range.contains(port));
    ephemeral_ports().filter(is_free).count()
}

/// The longest accept queue that listen(2) grants, in connections (net.core.somaxconn).
pub fn somaxconn() -> u32 {
    // The default since Linux 5.4, if /proc/sys is hidden.
    let text = fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(4_096)
}

/// Most connections in TIME-WAIT: those beyond it are gone at once (net.ipv4.tcp_max_tw_buckets).
pub fn time_wait_max() -> usize {
    // Of a machine with a few GiB of memory, if /proc/sys is hidden.
    const USUAL: u64 = 1 << 17;
    sysctl::number("net.ipv4.tcp_max_tw_buckets").unwrap_or(USUAL) as usize
}

/// Parses two ports separated by white space.
fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ports = text.split_whitespace().map(str::parse);
    Some(ports.next()?.ok()?..=ports.next()?.ok()?)
}

/// Parses ports and ranges separated by commas: `8080,9000-9010`.
fn port_list(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_ports_and_ranges() {
        assert_eq!(port_list("8080,9000-9010\n"), [8080..=8080, 9000..=9010]);
        assert_eq!(port_list("\n"), []);
    }

    #[test]
    fn descriptors_are_raised_to_the_hard_limit() {
        let hard = descriptors().hard;
        assert_eq!(raise_descriptors(), hard);
        assert_eq!(descriptors(), Limit { soft: hard, hard });
    }

    #[test]
    fn open_descriptors_grow_with_open_files() {
        // Other tests of this process open and close files as well: 200 are more than theirs.
        let files: Vec<_> = (0..200).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(open_descriptors() > files.len() && count_descriptors() > files.len());
    }

    #[test]
    fn the_memory_left_is_that_of_the_tightest_limit() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
        assert!(memory().is_some_and(|(bytes, limit)| bytes > 0 && !limit.is_empty()));
    }

    #[test]
    fn a_port_range_is_two_ports() {
        assert_eq!(port_range("32768\t60999\n"), Some(32_768..=60_999));
        for text in ["", "1", "1 70000", "a b"] {
            assert_eq!(port_range(text), None, "{text}");
        }
    }

    #[test]
    fn this_machine_has_ports_and_an_accept_queue() {
        assert!(!ephemeral_ports().is_empty());
        assert!(somaxconn() > 0);
    }
}
