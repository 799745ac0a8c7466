//! The kernel's view of one connection: round-trip time, retransmits, reordering. TCP_INFO, tcp(7).
//!
//! Reading it is a system call, so callers sample connections.

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::clock::Nanos;

/// The kernel's view of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round-trip time, in steps of 1 µs (RFC 6298): from a segment to its acknowledgement. That often
    /// arrives with the echo, so this includes the server's time and is no lower bound of the latency.
    pub rtt: Nanos,
    /// Retransmitted segments since the connection was opened.
    pub retransmits_total: u32,
    /// Segments that arrived out of order since then: an earlier one was lost or delayed on its way to us. A segment
    /// that was lost alone, and sent again, does not show. Zero before Linux 5.4.
    pub out_of_order_total: u32,
}

/// Of a socket. None if it is not TCP, or has no round trip yet: it listens, or is not connected.
pub fn of(socket: BorrowedFd<'_>) -> Option<TcpInfo> {
    let info = read(socket)?;
    (info.tcpi_rtt > 0).then(|| TcpInfo {
        rtt: Nanos(u64::from(info.tcpi_rtt) * 1_000),
        retransmits_total: info.tcpi_total_retrans,
        out_of_order_total: info.tcpi_rcv_ooopack,
    })
}

fn read(socket: BorrowedFd<'_>) -> Option<libc::tcp_info> {
    // SAFETY: the structure consists of integers, for which zero is valid.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let room = size_of_val(&info) as libc::socklen_t;
    let mut size = room;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: the kernel writes at most `size` bytes, which is the size of `info`, and then how many it wrote.
    let failed = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut info).cast(), &raw mut size) };
    debug_assert!(size <= room, "the kernel wrote {size} bytes into {room}");
    // A kernel with fewer fields than libc writes less and leaves the others zero.
    (failed == 0).then_some(info)
}

/// From the bytes that sock_diag(7) returns: as many fields as the kernel has.
pub(super) fn of_bytes(bytes: &[u8]) -> libc::tcp_info {
    // SAFETY: the structure consists of integers, for which zero is valid.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let len = bytes.len().min(size_of_val(&info));
    // SAFETY: at most the size of `info` is copied, from a slice that is as long; any bytes are valid integers.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut info).cast::<u8>(), len) };
    info
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    use super::*;

    /// Both ends of a connection over the loopback interface, and its listener.
    fn connected() -> (TcpStream, TcpStream, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        (client, server, listener)
    }

    #[test]
    fn a_used_connection_has_a_round_trip_time() {
        let (mut client, mut server, _listener) = connected();
        let mut byte = [7];
        client.write_all(&byte).unwrap();
        server.read_exact(&mut byte).unwrap();
        server.write_all(&byte).unwrap();
        client.read_exact(&mut byte).unwrap();
        let info = of(client.as_fd()).unwrap();
        assert!(info.rtt > Nanos(0) && info.rtt < Nanos::SECOND, "{info:?}");
        assert_eq!((info.retransmits_total, info.out_of_order_total), (0, 0), "{info:?}");
    }

    #[test]
    fn both_ends_have_one() {
        let (client, server, _listener) = connected();
        assert!(of(client.as_fd()).is_some());
        assert!(of(server.as_fd()).is_some());
    }

    #[test]
    fn a_listener_has_none() {
        let (_client, _server, listener) = connected();
        assert_eq!(of(listener.as_fd()), None);
    }

    #[test]
    fn other_descriptors_have_none() {
        assert_eq!(of(UdpSocket::bind("127.0.0.1:0").unwrap().as_fd()), None);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(of(file.as_fd()), None);
    }
}
