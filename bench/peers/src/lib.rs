//! What all peers share, so that they differ in the runtime only: the command line, the listener with its socket
//! options, the descriptor limit, the ready line, and the allocator. Each file in `src/bin` echoes in its own way.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

/// The allocator of the urecho binary, so that allocators are not compared.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pause after accept has failed. Out of descriptors it fails at once, every time: without a pause it would be retried
/// in a loop that takes CPU time from the connections being served.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that may wait to be accepted. The kernel limits it to net.core.somaxconn, 4096 unless it was changed.
const BACKLOG: i32 = 4096;

/// Exit code for what this machine cannot do, as in urecho.
const CANNOT: u8 = 4;

/// An echo server to compare urecho with.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Options {
    /// Address to listen on; port 0 selects a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Congestion control of every connection [default: the system's]
    #[arg(long, value_name = "NAME")]
    pub congestion: Option<String>,

    /// Size of each connection's buffer, in bytes
    #[arg(long, value_name = "BYTES", default_value = "16384", value_parser = clap::value_parser!(u32).range(1..))]
    buffer_size: u32,

    /// The program's name, for the ready line and for errors.
    #[arg(skip)]
    name: &'static str,
}

impl Options {
    /// Bytes in the buffer of one connection.
    pub fn buffer_size(&self) -> usize {
        self.buffer_size as usize
    }

    /// Binds the listener, in blocking mode, and announces it on stdout. Call it when the runtime is up.
    pub fn listen(&self) -> io::Result<TcpListener> {
        let listener = bind(self)?;
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "listening on {} peer={}", listener.local_addr()?, self.name)?;
        stdout.flush()?;
        Ok(listener)
    }

    /// Reports that accept failed. The caller retries after [`ACCEPT_PAUSE`] and serves its connections meanwhile.
    pub fn not_accepted(&self, error: impl Display) {
        eprintln!("{}: cannot accept a connection: {error}", self.name);
    }
}

/// Runs a peer from command line to exit code. `serve` returns only if it cannot start.
pub fn run<E: Display>(name: &'static str, serve: impl FnOnce(Options) -> Result<(), E>) -> ExitCode {
    let options = Options {
        name,
        ..Options::parse()
    };
    raise_descriptors();
    disable_huge_pages();
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: cannot serve: {error}");
            ExitCode::from(CANNOT)
        }
    }
}

/// The error of a peer that cannot create a ring. None has a fallback: what the ready line names is what is measured.
pub fn no_ring(error: io::Error) -> io::Error {
    io::Error::other(format!("no io_uring: {error}"))
}

/// Sets all options on the listener: accepted sockets inherit them, so that no peer pays system calls per connection.
fn bind(options: &Options) -> io::Result<TcpListener> {
    let address = options.listen;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(name) = &options.congestion {
        let explain = |error| io::Error::other(format!("congestion control {name}: {error}"));
        socket.set_tcp_congestion(name.as_bytes()).map_err(explain)?;
    }
    let explain = |error| io::Error::other(format!("{address}: {error}"));
    socket.bind(&address.into()).map_err(explain)?;
    socket.listen(BACKLOG).map_err(explain)?;
    Ok(socket.into())
}

/// One connection is one descriptor, and the soft limit is often 1024.
fn raise_descriptors() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // If it is refused the old limit stays, and accept reports the first connection that does not fit.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// As urecho does for itself: the allocator requests huge pages, and a server with many small buffers then has 2 MiB
/// resident for every few kilobytes in use. A comparison of memory should show the runtimes.
fn disable_huge_pages() {
    let _ = nix::sys::prctl::set_thp_disable(true); // A kernel without huge pages has nothing to disable.
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // In a test, a panic is the report.
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn accepted_sockets_inherit_nodelay_and_congestion_control() {
        let options = Options::parse_from(["peer", "--congestion", "reno"]);
        let listener = bind(&options).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = Socket::from(listener.accept().unwrap().0);
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.tcp_congestion().unwrap().starts_with(b"reno"));
    }

    #[test]
    fn an_unknown_congestion_control_is_named() {
        let options = Options::parse_from(["peer", "--congestion", "pigeon"]);
        let error = bind(&options).unwrap_err().to_string();
        assert!(error.contains("congestion control pigeon"), "{error}");
    }
}
