//! The limits a run can hit: descriptors, locked memory, ports, the accept queue.
//!
//! What to advise about them is for those who ask. getrlimit(2), ip(7), listen(2).

use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Keeps this process to small pages (PR_SET_THP_DISABLE, prctl(2)). The allocator asks for huge ones, and a server
/// with 10,000 connections then has 2 MiB resident for every few kilobytes in use: 30 MB instead of 11 (measured).
///
/// Inherited by children; `child::spawn` undoes it there.
pub fn disable_thp() {
    let _ = nix::sys::prctl::set_thp_disable(true); // A kernel without huge pages has nothing to disable.
}

/// Raises the soft limit on descriptors as far as this user may (to the hard one); returns the limit in force.
///
/// Children inherit it. Never fails: where raising is refused, the old limit stays and is returned.
pub fn raise_descriptors() -> u64 {
    let (_, hard) = descriptors();
    // A refusal shows in the limit we read back; the caller compares that with its need.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    descriptors().0
}

/// Soft and hard limit on open descriptors of this process (RLIMIT_NOFILE).
pub fn descriptors() -> (u64, u64) {
    limit(Resource::RLIMIT_NOFILE)
}

/// Soft and hard limit on locked memory in bytes (RLIMIT_MEMLOCK); `u64::MAX` is unlimited.
///
/// Since Linux 5.12 rings are charged to the memory cgroup, and only registered buffers count against this.
pub fn memlock() -> (u64, u64) {
    limit(Resource::RLIMIT_MEMLOCK)
}

/// How many descriptors this process has open. Zero where /proc is hidden.
pub fn open_descriptors() -> usize {
    // The listing itself holds one descriptor open, which is not the caller's.
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1))
}

/// First and last port the kernel may give an outgoing connection (net.ipv4.ip_local_port_range, IPv6 too).
/// Per target address and port, no more connections than this from one source address.
pub fn ephemeral_ports() -> (u16, u16) {
    // The default in ip(7), for where /proc/sys is hidden.
    let read = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    read.and_then(|text| port_range(&text)).unwrap_or((32_768, 60_999))
}

/// The longest accept queue listen(2) grants, in connections (net.core.somaxconn).
pub fn somaxconn() -> u32 {
    // The default since Linux 5.4, for where /proc/sys is hidden.
    let read = fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    read.and_then(|text| text.trim().parse().ok()).unwrap_or(4_096)
}

fn limit(resource: Resource) -> (u64, u64) {
    getrlimit(resource).expect("getrlimit(2) fails for unknown resources only")
}

/// Reads two ports with white space between them.
fn port_range(text: &str) -> Option<(u16, u16)> {
    let mut ports = text.split_whitespace().map(str::parse);
    Some((ports.next()?.ok()?, ports.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_descriptors_reaches_the_hard_limit() {
        let (_, hard) = descriptors();
        assert_eq!(raise_descriptors(), hard);
        assert_eq!(descriptors(), (hard, hard));
    }

    #[test]
    fn open_descriptors_grow_with_files() {
        // Other tests of this process open and close files too: many of ours stand out from theirs.
        let files: Vec<_> = (0..200).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(open_descriptors() > files.len());
    }

    #[test]
    fn a_port_range_reads_as_two_ports_or_not_at_all() {
        assert_eq!(port_range("32768\t60999\n"), Some((32_768, 60_999)));
        for text in ["", "1", "1 70000", "a b"] {
            assert_eq!(port_range(text), None, "{text}");
        }
    }

    #[test]
    fn this_machine_has_ports_a_queue_and_a_memory_limit() {
        let (first, last) = ephemeral_ports();
        assert!(first <= last);
        assert!(somaxconn() > 0);
        let (soft, hard) = memlock();
        assert!(soft <= hard);
    }
}
