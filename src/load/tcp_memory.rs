//! How many messages TCP memory has room for, net.ipv4.tcp_mem in tcp(7).

use crate::load::target::{Target, ends_here};
use crate::load::workload::Workload;
use crate::sys::limits;

/// Messages that connections may have in flight at once with small messages, where TCP memory has no room for all; none
/// if it has. Beyond the first limit of net.ipv4.tcp_mem the kernel drops segments, and a connection with
/// anything in flight takes at least a page at each end of it that is on this machine.
pub fn room_in_tcp_memory(workload: &Workload, targets: &[Target]) -> Option<u32> {
    let most = limits::tcp_pages()? / ends_here(targets);
    let messages = most / 2 * workload.traffic.depth as u64;
    (u64::from(workload.connections) > most).then(|| u32::try_from(messages).unwrap_or(u32::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_memory_has_room_for_some_messages_of_too_many_connections() {
        let of = |connections: u32, depth: usize, target: &str| {
            let mut workload = Workload {
                connections,
                ..Workload::default()
            };
            workload.traffic.depth = depth;
            let target = Target::from(target.parse::<std::net::SocketAddr>().unwrap());
            room_in_tcp_memory(&workload, &[target])
        };
        let (here, elsewhere) = ("127.0.0.1:7", "192.0.2.1:7");
        assert_eq!(of(1, 1, here), None);
        let Some(room) = of(u32::MAX, 1, here) else {
            return println!("SKIPPED: needs /proc/sys/net/ipv4/tcp_mem");
        };
        let twice = of(u32::MAX, 1, elsewhere).unwrap();
        assert!(twice.abs_diff(2 * room) <= 2, "one end only: {room}, {twice}");
        assert_eq!(
            of(u32::MAX, 3, here),
            Some(3 * room),
            "messages of a connection share a page"
        );
        assert_eq!(of(room, 1, here), None);
    }
}
