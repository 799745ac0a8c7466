//! The TCP sockets of this network namespace, and what the kernel knows of each. sock_diag(7), by netlink(7).
//!
//! It is what `ss -tin` reads: one request per address family, answered by a list. Queues mean the same as there: for a
//! listener, connections that wait to be accepted and how many may; for a connection, bytes received and not read, and
//! bytes sent and not acknowledged.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::tcp_info;
use crate::clock::Nanos;

/// A state of a connection: RFC 9293, section 3.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Accepts connections.
    Listen,
    /// A SYN was sent.
    SynSent,
    /// A SYN was received and answered.
    SynReceived,
    /// Open.
    Established,
    /// Our FIN was sent.
    FinWait1,
    /// And acknowledged; the peer's is missing.
    FinWait2,
    /// The peer's FIN was received; ours is missing.
    CloseWait,
    /// Both were sent before either arrived.
    Closing,
    /// Ours was sent after the peer's, and is not acknowledged.
    LastAck,
    /// Closed by us first: waits for late segments.
    TimeWait,
    /// Neither connected nor listening.
    Closed,
}

impl State {
    /// From the number of include/net/tcp_states.h.
    fn of(number: u8) -> State {
        match number {
            1 => State::Established,
            2 => State::SynSent,
            3 | 12 => State::SynReceived, // 12 is TCP_NEW_SYN_RECV.
            4 => State::FinWait1,
            5 => State::FinWait2,
            6 => State::TimeWait,
            8 => State::CloseWait,
            9 => State::LastAck,
            10 => State::Listen,
            11 => State::Closing,
            _ => State::Closed,
        }
    }

    /// As ss(8) writes it.
    pub fn name(self) -> &'static str {
        match self {
            State::Listen => "LISTEN",
            State::SynSent => "SYN-SENT",
            State::SynReceived => "SYN-RECV",
            State::Established => "ESTAB",
            State::FinWait1 => "FIN-WAIT-1",
            State::FinWait2 => "FIN-WAIT-2",
            State::CloseWait => "CLOSE-WAIT",
            State::Closing => "CLOSING",
            State::LastAck => "LAST-ACK",
            State::TimeWait => "TIME-WAIT",
            State::Closed => "UNCONN",
        }
    }
}

/// A TCP socket.
#[derive(Debug, Clone, PartialEq)]
pub struct Socket {
    /// Its state.
    pub state: State,
    /// Connections that wait to be accepted, or bytes that were received and not read.
    pub receive_queue: u32,
    /// How many connections may wait, or bytes that were sent and not acknowledged.
    pub send_queue: u32,
    /// Its own address.
    pub local: SocketAddr,
    /// The address of its peer; port 0 for a listener.
    pub peer: SocketAddr,
    /// Its number in the links of /proc/PID/fd; 0 if no process holds it.
    pub inode: u64,
    /// The name of its congestion control.
    pub congestion: Option<String>,
    /// How its connection does; none for a listener, and for what is left of a connection.
    pub flow: Option<Flow>,
}

/// How a connection does: TCP_INFO, tcp(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Smoothed round-trip time.
    pub rtt: Nanos,
    /// Its mean deviation.
    pub rtt_variation: Nanos,
    /// The congestion window, in segments.
    pub congestion_window: u32,
    /// Segments that are sent and not acknowledged.
    pub unacknowledged: u32,
    /// Segments that were sent again, since the connection was opened.
    pub retransmits_total: u32,
    /// The largest segment that is sent, in bytes.
    pub segment_size: u32,
    /// How fast the kernel sends at most, in bytes per second; none if it does not pace.
    pub pacing_rate: Option<u64>,
    /// Bytes that were acknowledged, since the connection was opened.
    pub acknowledged: u64,
    /// Bytes that were received, since then.
    pub received: u64,
}

/// All TCP sockets of this network namespace. Errors: the kernel has no sock_diag, or a filter refuses it.
pub fn sockets() -> io::Result<Vec<Socket>> {
    let mut all = list(AF_INET, SocketId::new_v4(), StateFlags::all())?;
    all.extend(list(AF_INET6, SocketId::new_v6(), StateFlags::all())?);
    Ok(all)
}

/// How many sockets are in TIME-WAIT, or on the way there because this side sent its FIN first, and have one of these
/// peers. Errors: as of [`sockets`].
pub fn time_wait_to(peers: &[SocketAddr]) -> io::Result<u64> {
    let states = StateFlags::FIN_WAIT1 | StateFlags::FIN_WAIT2 | StateFlags::CLOSING | StateFlags::TIME_WAIT;
    let mut found = list(AF_INET, SocketId::new_v4(), states.clone())?;
    found.extend(list(AF_INET6, SocketId::new_v6(), states)?);
    let peers: Vec<SocketAddr> = peers
        .iter()
        .map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()))
        .collect();
    Ok(found.iter().filter(|socket| peers.contains(&socket.peer)).count() as u64)
}

fn list(family: u8, any: SocketId, states: StateFlags) -> io::Result<Vec<Socket>> {
    /// Larger than any message that the kernel sends: it fills pages.
    const BUFFER: usize = 64 << 10;
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    send(netlink.as_raw_fd(), &request(family, any, states), MsgFlags::empty())?;
    let (mut found, mut buffer) = (Vec::new(), vec![0; BUFFER]);
    loop {
        let len = recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..len];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            // Messages are aligned to 4 bytes.
            let taken = (message.header.length as usize).next_multiple_of(4);
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    found.push(Socket::of(&response));
                }
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
    }
}

fn request(family: u8, any: SocketId, states: StateFlags) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::INFO | ExtensionFlags::CONG,
        states,
        socket_id: any,
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

impl Socket {
    fn of(response: &InetResponse) -> Socket {
        let InetResponse { header, nlas } = response;
        let (id, state) = (&header.socket_id, State::of(header.state));
        let address = |ip: IpAddr, port| SocketAddr::new(ip.to_canonical(), port);
        let mut socket = Socket {
            state,
            receive_queue: header.recv_queue,
            send_queue: header.send_queue,
            local: address(id.source_address, id.source_port),
            peer: address(id.destination_address, id.destination_port),
            inode: header.inode.into(),
            congestion: None,
            flow: None,
        };
        for nla in nlas.iter() {
            match nla {
                Nla::Congestion(name) => socket.congestion = Some(name.clone()),
                Nla::TcpInfo(bytes) if state != State::Listen => socket.flow = Some(Flow::of(bytes)),
                _ => {}
            }
        }
        socket
    }
}

impl Flow {
    fn of(bytes: &[u8]) -> Flow {
        let info = tcp_info::of_bytes(bytes);
        let micros = |micros: u32| Nanos(u64::from(micros) * 1_000);
        Flow {
            rtt: micros(info.tcpi_rtt),
            rtt_variation: micros(info.tcpi_rttvar),
            congestion_window: info.tcpi_snd_cwnd,
            unacknowledged: info.tcpi_unacked,
            retransmits_total: info.tcpi_total_retrans,
            segment_size: info.tcpi_snd_mss,
            pacing_rate: (info.tcpi_pacing_rate != u64::MAX).then_some(info.tcpi_pacing_rate),
            acknowledged: info.tcpi_bytes_acked,
            received: info.tcpi_bytes_received,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// The socket of this namespace with these ports.
    fn find(local: SocketAddr, peer_port: u16) -> Socket {
        let all = sockets().unwrap();
        let mut found = all
            .into_iter()
            .filter(|one| one.local == local && one.peer.port() == peer_port);
        found.next().unwrap_or_else(|| panic!("no socket at {local}"))
    }

    fn both_ends_and_their_listener_are_listed(address: &str) {
        let listener = TcpListener::bind(address).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, theirs) = (client.local_addr().unwrap(), listener.local_addr().unwrap());
        let waiting = find(theirs, 0);
        assert_eq!((waiting.state, waiting.receive_queue), (State::Listen, 1));
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        server.peek(&mut [0; 5]).unwrap();
        let [client_end, server_end] = [find(ours, theirs.port()), find(theirs, ours.port())];
        assert_eq!((client_end.state, client_end.peer), (State::Established, theirs));
        assert_eq!((server_end.state, server_end.receive_queue), (State::Established, 5));
        assert!(
            client_end.inode > 0 && client_end.congestion.is_some(),
            "{client_end:?}"
        );
        let flow = server_end.flow.unwrap();
        assert_eq!((flow.received, flow.retransmits_total), (5, 0), "{flow:?}");
        assert!(
            flow.rtt > Nanos(0) && flow.congestion_window > 0 && flow.segment_size > 0,
            "{flow:?}"
        );
        server.read_exact(&mut [0; 5]).unwrap();
        drop(server);
        client.read_exact(&mut [0; 1]).unwrap_err();
        assert_eq!(find(ours, theirs.port()).state, State::CloseWait);
    }

    #[test]
    fn both_ends_and_their_listener_are_listed_for_ipv4() {
        both_ends_and_their_listener_are_listed("127.0.0.1:0");
    }

    #[test]
    fn both_ends_and_their_listener_are_listed_for_ipv6() {
        both_ends_and_their_listener_are_listed("[::1]:0");
    }

    #[test]
    fn an_older_kernel_has_fewer_fields() {
        let flow = Flow::of(&[0; 104]);
        assert_eq!((flow.rtt, flow.pacing_rate), (Nanos(0), Some(0)));
    }
}
