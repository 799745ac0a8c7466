//! TCP sockets of servers and clients, with their options. Accepted sockets inherit those of the listener.
//!
//! Options: tcp(7), socket(7). All sockets are blocking: on a non-blocking one io_uring completes with EAGAIN.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::error::{Error, Result};

/// Options of TCP sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Disables Nagle's algorithm (TCP_NODELAY).
    pub nodelay: bool,
    /// Congestion control by name (TCP_CONGESTION); none for the system's default.
    pub congestion: Option<String>,
}

/// Opens a listener. Errors: [`Error::Machine`] that names the address, the cause and what to try.
pub fn listen(address: SocketAddr, backlog: u32, options: &Options) -> Result<OwnedFd> {
    let failed = |doing: &str, cause: io::Error| {
        Error::Machine(format!(
            "cannot {doing} {address}: {cause}.{}",
            listen_advice(&cause, address)
        ))
    };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
        .map_err(|cause| failed("open a socket for", cause))?;
    // A restart must not wait for connections of the last run in TIME_WAIT.
    socket
        .set_reuse_address(true)
        .map_err(|cause| failed("prepare", cause))?;
    apply(&socket, options).map_err(|cause| congestion_refused(options, &cause))?;
    socket
        .bind(&address.into())
        .map_err(|cause| failed("listen on", cause))?;
    socket
        .listen(backlog as i32)
        .map_err(|cause| failed("listen on", cause))?;
    Ok(socket.into())
}

/// A socket to connect to `target` with, bound to `source` if there is one.
pub fn client(target: SocketAddr, source: Option<IpAddr>, options: &Options) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    apply(&socket, options)?;
    if let Some(source) = source {
        // The port is chosen at connect(2), when the kernel knows both addresses: that allows more connections.
        choose_port_late(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket.into())
}

/// Accepts a connection that waits in the queue of a listener; none if the queue is empty. The listener becomes non-blocking.
/// Errors: as of accept(2), such as EMFILE.
pub fn accept_waiting(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let listener = SockRef::from(&listener);
    listener.set_nonblocking(true)?;
    match listener.accept() {
        Ok((socket, _)) => Ok(Some(socket.into())),
        Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// Connects a [`client`], and waits for that at most `timeout`.
pub fn connect(socket: OwnedFd, target: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let socket = Socket::from(socket);
    socket.connect_timeout(&target.into(), timeout)?;
    Ok(socket.into())
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

/// A second descriptor of the same socket. Errors: EMFILE, EBADF.
pub fn duplicate(socket: &impl AsRawFd) -> io::Result<OwnedFd> {
    let number = socket.as_raw_fd();
    // SAFETY: only changes the table of descriptors; a number that is not open is refused.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just created it, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Makes a socket non-blocking, for engines without io_uring.
pub fn set_nonblocking(socket: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&socket).set_nonblocking(true)
}

/// Sends FIN after all queued bytes; receiving continues. shutdown(2), because io_uring's operation always runs on a worker
/// thread of the kernel.
pub fn shutdown_write(socket: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&socket).shutdown(std::net::Shutdown::Write)
}

/// Bytes that have arrived and have not been read (SIOCINQ, tcp(7)); zero if that is unknown.
pub fn readable_bytes(socket: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    let number = socket.as_raw_fd();
    // SAFETY: FIONREAD writes one int, and `bytes` is one.
    let failed = unsafe { libc::ioctl(number, libc::FIONREAD, &raw mut bytes) };
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

fn apply(socket: &Socket, options: &Options) -> io::Result<()> {
    socket.set_tcp_nodelay(options.nodelay)?;
    match &options.congestion {
        Some(name) => socket.set_tcp_congestion(name.as_bytes()),
        None => Ok(()),
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
        io::ErrorKind::AddrInUse => format!(
            " Another process listens there (`ss -ltnp 'sport = :{}'`): choose another port, or 0 for a free one",
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => " No interface of this machine has that address (`ip address`)".into(),
        io::ErrorKind::PermissionDenied => " Ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one".into(),
        _ => String::new(),
    }
}
