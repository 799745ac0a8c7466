//! What all peers share, so that they differ in nothing but the runtime: the command line, the listener with its
//! socket options, the descriptor limit, the ready line, and the allocator. Echoing is the affair of `src/bin`.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

/// The allocator of the urecho binary, so that a comparison is not one of allocators.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a peer lets accept rest after an error. Out of descriptors, accept fails at once for as long as it lasts:
/// without a pause that is a loop that burns the CPU of the connections being served.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that may wait to be accepted. The kernel cuts it to net.core.somaxconn, 4096 unless it was changed.
const BACKLOG: i32 = 4096;

/// This machine cannot do it: the exit code that urecho has for it, too.
const CANNOT: u8 = 4;

/// An echo server to compare urecho with.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Options {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Congestion control of every connection [default: the system's]
    #[arg(long, value_name = "NAME")]
    pub congestion: Option<String>,

    /// Bytes that one read may bring; every connection has a buffer of this size
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

    /// The listener, in blocking mode, already announced on stdout: call it when the runtime is up.
    pub fn listen(&self) -> io::Result<TcpListener> {
        let listener = bind(self)?;
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "listening on {} peer={}", listener.local_addr()?, self.name)?;
        stdout.flush()?;
        Ok(listener)
    }

    /// Reports that accepting failed. The caller goes on after [`ACCEPT_PAUSE`]: the connections it has are served.
    pub fn not_accepted(&self, error: impl Display) {
        eprintln!("{}: cannot accept a connection: {error}", self.name);
    }
}

/// A peer from command line to exit code. `serve` returns only if it cannot start.
pub fn run<E: Display>(name: &'static str, serve: impl FnOnce(Options) -> Result<(), E>) -> ExitCode {
    let options = Options {
        name,
        ..Options::parse()
    };
    raise_descriptors();
    small_pages();
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: cannot serve: {error}");
            ExitCode::from(CANNOT)
        }
    }
}

/// What a peer says that cannot have a ring. None of them falls back to something else: the name on the ready line is
/// what was measured.
pub fn no_ring(error: io::Error) -> io::Error {
    io::Error::other(format!("no io_uring: {error}"))
}

/// Options stand on the listener; what it accepts inherits them. So no peer pays system calls per connection for them.
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
        // Refused means that the old limit stays: accept will report the first connection that does not fit.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// What urecho does to itself, for the same reason: the allocator asks for huge pages, and a server of many small
/// buffers then has 2 MiB resident for every few kilobytes in use. A comparison of memory is to show the runtimes.
fn small_pages() {
    let _ = nix::sys::prctl::set_thp_disable(true); // A kernel without huge pages has nothing to disable.
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test that cannot set itself up has failed.
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
