//! TCP sockets of servers and clients, with their options. Accepted sockets inherit those of the listener.
//!
//! Options: tcp(7), socket(7). All sockets are blocking: on a non-blocking one io_uring completes with EAGAIN.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::clock::Nanos;
use crate::error::{Errno, Error, Result};

/// How often a silent peer is asked whether it is still there before the connection is ended.
const KEEPALIVE_PROBES: u32 = 6;

/// Options of TCP sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Disables Nagle's algorithm (TCP_NODELAY).
    pub nodelay: bool,
    /// Congestion control by name (TCP_CONGESTION); none for the system's default.
    pub congestion: Option<String>,
    /// How long a peer may be silent before it is asked whether it is still there (SO_KEEPALIVE, TCP_KEEPIDLE); none
    /// for never. One that vanished without FIN, by a crash or a lost network, would hold its descriptor forever.
    /// It is asked six times, a sixth of this apart.
    pub keepalive: Option<Nanos>,
    /// How long what was sent may be unacknowledged, or wait because the peer does not read (TCP_USER_TIMEOUT); none
    /// for the system's retransmission limit, and any time for a peer that does not read. The kernel also ends a
    /// silent connection after this time, as soon as one probe is unanswered: less than twice `keepalive` cuts the
    /// six short.
    pub user_timeout: Option<Nanos>,
    /// Bytes of the send and of the receive buffer, which the kernel doubles (SO_SNDBUF, SO_RCVBUF); none for buffers
    /// that grow as they are needed.
    pub buffer: Option<u32>,
}

impl Options {
    /// Those of a server that runs unattended: it finds dead peers within a minute or two.
    pub fn server() -> Options {
        Options {
            nodelay: true,
            congestion: None,
            keepalive: Some(Nanos(60_000_000_000)),
            user_timeout: Some(Nanos(120_000_000_000)),
            buffer: None,
        }
    }
}

/// Opens a listener on the first of these addresses that this machine has. Errors: [`Error::Machine`] that names the
/// address, the cause and what to try.
pub fn listen(addresses: &[SocketAddr], backlog: u32, options: &Options) -> Result<OwnedFd> {
    let (last, others) = addresses.split_last().expect("at least one address");
    let address = others.iter().copied().find(|&address| is_of_this_machine(address));
    listen_on(address.unwrap_or(*last), backlog, options)
}

/// True if any port of the address can be bound.
fn is_of_this_machine(mut address: SocketAddr) -> bool {
    address.set_port(0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP));
    let bound = socket.and_then(|socket| socket.bind(&address.into()));
    bound.map_or_else(|cause| cause.kind() == ErrorKind::AddrInUse, |()| true)
}

fn listen_on(address: SocketAddr, backlog: u32, options: &Options) -> Result<OwnedFd> {
    let failed = |doing: &str, cause: io::Error| {
        Error::Machine(format!(
            "cannot {doing} {address}: {cause}.{}",
            listen_advice(&cause, address)
        ))
    };
    if address.ip().is_multicast() || address.ip() == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(Error::Usage(format!(
            "cannot listen on {address}: the kernel allows it, but no TCP connection can reach a group of hosts"
        )));
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
        .map_err(|cause| failed("open a socket for", cause))?;
    // A restart must not wait for connections of the last run in TIME_WAIT.
    socket
        .set_reuse_address(true)
        .map_err(|cause| failed("prepare", cause))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket
            .set_only_v6(false) // All addresses are those of IPv4 as well, whatever net.ipv6.bindv6only says.
            .map_err(|cause| failed("prepare", cause))?;
    }
    apply(&SockRef::from(&socket), options).map_err(|cause| refused_option(options, cause))?;
    bind_and_listen(&socket, address, backlog).map_err(|cause| failed("listen on", cause))?;
    Ok(socket.into())
}

/// Tries again for a moment while the address is in use: the kernel keeps the listener of a process that was killed
/// until the operations of its io_uring have ended, which took 4 to 15 ms.
fn bind_and_listen(socket: &Socket, address: SocketAddr, backlog: u32) -> io::Result<()> {
    const PERIOD: Duration = Duration::from_millis(5);
    const ATTEMPTS: u32 = 40;
    let mut attempt = 1;
    loop {
        let result = socket
            .bind(&address.into())
            .and_then(|()| socket.listen(backlog as i32));
        match result {
            Err(cause) if cause.kind() == ErrorKind::AddrInUse && attempt < ATTEMPTS => {
                attempt += 1;
                std::thread::sleep(PERIOD);
            }
            result => return result,
        }
    }
}

/// Prepares a listener that another process has opened. Errors: [`Error::Machine`] if it is something else.
pub fn prepare_inherited(listener: &OwnedFd, options: &Options) -> Result<()> {
    let socket = SockRef::from(listener);
    let is_listener = socket.is_listener().unwrap_or(false);
    if !is_listener || local_address(listener.as_fd()).is_err() || socket.r#type().ok() != Some(Type::STREAM) {
        let number = listener.as_raw_fd();
        return Err(Error::Machine(format!(
            "descriptor {number}, which another process has passed, is not a listening TCP socket"
        )));
    }
    apply(&socket, options).map_err(|cause| refused_option(options, cause))
}

/// A socket to connect to `target` with, bound to `source` if there is one.
pub fn client(target: SocketAddr, source: Option<SocketAddr>, options: &Options) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    apply(&SockRef::from(&socket), options)?;
    if let Some(source) = source {
        // The port is chosen at connect(2), when the kernel knows both addresses: that allows more connections.
        choose_port_late(&socket)?;
        socket.bind(&source.into())?;
    }
    Ok(socket.into())
}

/// Accepts a connection that waits in the queue of a non-blocking listener; none if the queue is empty. Errors: as of
/// accept(2), such as EMFILE.
pub fn accept_waiting(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    match SockRef::from(&listener).accept() {
        Ok((socket, _)) => Ok(Some(socket.into())),
        Err(cause) if cause.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// Connects a [`client`], and waits for that at most `timeout`. Errors: `Interrupted` once `stop` is readable;
/// `ConnectionRefused` as well if the kernel has chosen the target's port as ours, and the socket met itself.
pub fn connect(socket: OwnedFd, target: SocketAddr, timeout: Duration, stop: BorrowedFd<'_>) -> io::Result<TcpStream> {
    let socket = Socket::from(socket);
    socket.set_nonblocking(true)?;
    match socket.connect(&target.into()) {
        Err(cause) if cause.raw_os_error() == Some(libc::EINPROGRESS) => await_connect(&socket, timeout, stop)?,
        result => result?,
    }
    socket.set_nonblocking(false)?;
    refuse_itself(socket.as_fd(), target).map_err(|errno| io::Error::from_raw_os_error(errno.0))?;
    Ok(socket.into())
}

fn await_connect(socket: &Socket, timeout: Duration, stop: BorrowedFd<'_>) -> io::Result<()> {
    let deadline = std::time::Instant::now().checked_add(timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(std::time::Instant::now()));
        // Rounded up: a wait of less than a millisecond is one, not a busy loop.
        let left = left.map_or(u128::MAX, |left| left.as_micros().div_ceil(1000));
        let wait = PollTimeout::from(left.min(60_000) as u16);
        let mut watched = [
            PollFd::new(socket.as_fd(), PollFlags::POLLOUT),
            PollFd::new(stop, PollFlags::POLLIN),
        ];
        match poll(&mut watched, wait) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
            Ok(_) => {}
        }
        let [connected, stopped] = watched.map(|fd| fd.any().unwrap_or(true));
        if connected {
            return socket.take_error()?.map_or(Ok(()), Err);
        }
        if stopped {
            return Err(ErrorKind::Interrupted.into());
        }
        if left == 0 {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}

/// Errors: ECONNREFUSED if both ends of a connection are this socket. TCP allows that (simultaneous open), and the
/// kernel may choose the port of a target of this machine where nothing listens; it would be a perfect echo.
pub fn refuse_itself(socket: BorrowedFd<'_>, target: SocketAddr) -> std::result::Result<(), Errno> {
    let address = SockRef::from(&socket)
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket());
    if address.is_some_and(|ours| ours.port() == target.port() && ours.ip() == target.ip()) {
        reset_on_close(socket);
        return Err(Errno(libc::ECONNREFUSED));
    }
    Ok(())
}

/// Checks that the loopback interface is up: in a new network namespace it is not. Errors: [`Error::Machine`].
pub fn check_loopback() -> Result<()> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let discard = SocketAddr::from(([127, 0, 0, 1], 9)); // Nothing is sent.
    let routed = UdpSocket::bind(any).and_then(|socket| socket.connect(discard));
    match routed {
        Err(cause)
            if matches!(
                cause.kind(),
                ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable
            ) =>
        {
            Err(loopback_is_down(&cause))
        }
        _ => Ok(()),
    }
}

/// The error for an address of the loopback interface that cannot be reached.
pub fn loopback_is_down(cause: &io::Error) -> Error {
    Error::Machine(format!(
        "the loopback interface is down: {cause}. In a network namespace it has to be brought up: `ip link set lo up`"
    ))
}

/// The address a socket is bound to.
pub fn local_address(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let address = SockRef::from(&socket).local_addr()?;
    address.as_socket().ok_or_else(|| io::Error::other("not an IP socket"))
}

/// The IP address of the peer; none once it has reset the connection.
pub fn peer_ip(socket: BorrowedFd<'_>) -> Option<IpAddr> {
    let address = SockRef::from(&socket).peer_addr().ok()?;
    address.as_socket().map(|address| address.ip())
}

/// Ends a connection without traffic, whose pending operations complete with that: with FIN, or with RST if the peer
/// has not taken what was sent. False if bytes have just arrived.
pub fn end_idle(owner: &impl AsRawFd) -> bool {
    // SAFETY: `owner` keeps its descriptor open, and is borrowed for the whole call.
    let socket = unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) };
    let unsent = unsent_bytes(socket);
    if unsent == 0 && readable_bytes(socket) > 0 {
        return false;
    }
    if unsent > 0 {
        reset_on_close(socket);
    }
    shutdown_both(socket);
    true
}

/// Shuts a connection down in both directions, or makes a listener refuse connections. Pending operations complete.
pub fn shutdown_both(socket: BorrowedFd<'_>) {
    // Fails only if it is down already.
    let _ = SockRef::from(&socket).shutdown(std::net::Shutdown::Both);
}

/// Makes the close of a socket abort its connection with RST (SO_LINGER of zero, socket(7)).
pub fn reset_on_close(socket: BorrowedFd<'_>) {
    // Fails only if the descriptor is not a socket.
    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
}

/// Makes a socket non-blocking, or blocking again.
pub fn set_nonblocking(socket: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    SockRef::from(&socket).set_nonblocking(nonblocking)
}

/// Sends FIN after all queued bytes; receiving continues. shutdown(2), because io_uring's operation always runs on a
/// worker thread of the kernel.
pub fn shutdown_write(socket: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&socket).shutdown(std::net::Shutdown::Write)
}

/// Bytes that have arrived and have not been read (SIOCINQ, tcp(7)); zero if that is unknown.
pub fn readable_bytes(socket: BorrowedFd<'_>) -> usize {
    queued_bytes(socket, libc::FIONREAD)
}

/// Bytes that were sent and not acknowledged (SIOCOUTQ, tcp(7)); zero if that is unknown.
fn unsent_bytes(socket: BorrowedFd<'_>) -> usize {
    queued_bytes(socket, libc::TIOCOUTQ)
}

fn queued_bytes(socket: BorrowedFd<'_>, queue: libc::Ioctl) -> usize {
    let mut bytes: libc::c_int = 0;
    let number = socket.as_raw_fd();
    // SAFETY: both requests write one int, and `bytes` is one.
    let failed = unsafe { libc::ioctl(number, queue, &raw mut bytes) };
    if failed == 0 {
        usize::try_from(bytes).unwrap_or(0)
    } else {
        0
    }
}

/// IP_BIND_ADDRESS_NO_PORT (ip(7)), which socket2 lacks.
fn choose_port_late(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
    // SAFETY: the option is one int, and `on` is one.
    let failed = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), size) };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn apply(socket: &SockRef<'_>, options: &Options) -> io::Result<()> {
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(time) = options.keepalive {
        let interval = Nanos(time.0 / u64::from(KEEPALIVE_PROBES)).max(Nanos::SECOND); // Whole seconds, at least one.
        let keepalive = TcpKeepalive::new()
            .with_time(time.max(Nanos::SECOND).into())
            .with_interval(interval.into())
            .with_retries(KEEPALIVE_PROBES);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout.map(Duration::from))?;
    }
    if let Some(bytes) = options.buffer {
        socket.set_send_buffer_size(bytes as usize)?;
        socket.set_recv_buffer_size(bytes as usize)?;
    }
    match &options.congestion {
        Some(name) => socket.set_tcp_congestion(name.as_bytes()),
        None => Ok(()),
    }
}

/// The error of a socket that was refused an option: only the congestion control is the user's choice.
fn refused_option(options: &Options, cause: io::Error) -> Error {
    match options.congestion {
        Some(_) => congestion_refused(options, &cause),
        None => Error::Machine(format!("cannot set the options of a socket: {cause}")),
    }
}

/// The error of a socket whose congestion control this machine lacks.
pub fn congestion_refused(options: &Options, cause: &io::Error) -> Error {
    let available = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
    let name = options.congestion.as_deref().unwrap_or("default");
    Error::Machine(format!(
        "cannot use congestion control {name}: {cause}. Available here: {}",
        available.as_deref().map_or("unknown", str::trim)
    ))
}

fn listen_advice(cause: &io::Error, address: SocketAddr) -> String {
    match cause.kind() {
        ErrorKind::AddrInUse => format!(
            " Another process listens there (`ss -ltnp 'sport = :{}'`): choose another port, or 0 for a free one",
            address.port()
        ),
        ErrorKind::AddrNotAvailable => " No interface of this machine has that address (`ip address`)".into(),
        ErrorKind::PermissionDenied => " Ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one".into(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_meets_itself_is_refused() {
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let stop = crate::sys::signal::Stop::new().unwrap();
        let connect = |source| {
            let socket = client(free, source, &Options::default()).unwrap();
            connect(socket, free, Duration::from_secs(20), stop.as_fd()).map(drop)
        };
        let refused = |result: io::Result<()>| result.unwrap_err().kind() == ErrorKind::ConnectionRefused;
        assert!(
            refused(connect(Some(free))),
            "its own port as the source: the kernel connects it"
        );
        assert!(refused(connect(None)));
    }

    #[test]
    fn a_stop_ends_a_connect_that_gets_no_reply() {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap(); // One connection fits; the SYN of the next is dropped.
        let target = listener.local_addr().unwrap().as_socket().unwrap();
        let _first = TcpStream::connect(target).unwrap();
        let stop = crate::sys::signal::Stop::new().unwrap();
        stop.fire();
        let socket = client(target, None, &Options::default()).unwrap();
        let cause = connect(socket, target, Duration::from_secs(600), stop.as_fd()).unwrap_err();
        assert_eq!(cause.kind(), ErrorKind::Interrupted);
    }
}
