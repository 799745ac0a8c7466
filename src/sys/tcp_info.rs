//! What the kernel knows of one connection: its round trip below us, and what had to be sent again.
//!
//! A look costs a system call, so connections are sampled; which and when is the caller's affair. TCP_INFO: tcp(7).

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::clock::Nanos;

/// A connection as the kernel sees it from our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round-trip time, in steps of 1 µs (RFC 6298). From a segment to its acknowledgement, which often
    /// travels with the echo: then the server's time is in it, and it is no lower bound of the latency.
    pub rtt: Nanos,
    /// Its smoothed mean deviation.
    pub rtt_var: Nanos,
    /// How long a segment goes unacknowledged before it is sent again: 200 ms or more, unless the route says otherwise.
    pub retransmit_timeout: Nanos,
    /// Segments sent again since the connection was made.
    pub retransmits_total: u32,
    /// How many segments may be on their way at once (the congestion window).
    pub congestion_window: u32,
}

/// Asks the kernel about this socket. None if it is not TCP, or has no round trip yet: listening, or not connected.
pub fn of(socket: BorrowedFd<'_>) -> Option<TcpInfo> {
    let info = ask(socket)?;
    let micros = |count: u32| Nanos(u64::from(count) * 1_000);
    (info.tcpi_rtt > 0).then(|| TcpInfo {
        rtt: micros(info.tcpi_rtt),
        rtt_var: micros(info.tcpi_rttvar),
        retransmit_timeout: micros(info.tcpi_rto),
        retransmits_total: info.tcpi_total_retrans,
        congestion_window: info.tcpi_snd_cwnd,
    })
}

fn ask(socket: BorrowedFd<'_>) -> Option<libc::tcp_info> {
    // SAFETY: the structure has integers only, and zero is one.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let room = size_of_val(&info) as libc::socklen_t;
    let mut size = room;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: the kernel writes no more than the `size` bytes that `info` has, and then how many it wrote.
    let failed = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut info).cast(), &raw mut size) };
    debug_assert!(size <= room, "the kernel wrote {size} bytes into {room}");
    // A kernel that knows fewer fields than libc writes less, and leaves the others zero.
    (failed == 0).then_some(info)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    use super::*;

    /// A connection over the loopback interface, and the listener it was made with.
    fn connected() -> (TcpStream, TcpStream, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        (client, server, listener)
    }

    #[test]
    fn a_connection_that_has_carried_bytes_knows_its_round_trip() {
        let (mut client, mut server, _listener) = connected();
        let mut byte = [7];
        client.write_all(&byte).unwrap();
        server.read_exact(&mut byte).unwrap();
        server.write_all(&byte).unwrap();
        client.read_exact(&mut byte).unwrap();
        let info = of(client.as_fd()).unwrap();
        assert!(info.rtt > Nanos(0) && info.rtt < Nanos::SECOND, "{info:?}");
        assert!(info.rtt_var < Nanos::SECOND, "{info:?}");
        assert!(info.retransmit_timeout > info.rtt, "{info:?}");
        assert!(info.congestion_window > 0, "{info:?}");
        assert_eq!(info.retransmits_total, 0, "{info:?}");
    }

    #[test]
    fn both_ends_can_be_asked() {
        let (client, server, _listener) = connected();
        assert!(of(client.as_fd()).is_some());
        assert!(of(server.as_fd()).is_some());
    }

    #[test]
    fn a_listener_has_no_round_trip() {
        let (_client, _server, listener) = connected();
        assert_eq!(of(listener.as_fd()), None);
    }

    #[test]
    fn what_is_not_tcp_is_none() {
        assert_eq!(of(UdpSocket::bind("127.0.0.1:0").unwrap().as_fd()), None);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(of(file.as_fd()), None);
    }
}
