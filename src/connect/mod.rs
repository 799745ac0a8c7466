//! `urecho connect`: one connection by hand. A line from a terminal is a message (`session`); a pipe is copied, and its
//! echo compared byte by byte (`pipe`).
//!
//! This is a blocking client without the ring: what it shows is TCP, not a measurement.

mod pipe;
mod session;

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::error::{Error, Result};
use crate::load::Target;
use crate::sys::socket;

pub use pipe::copy;
pub use session::converse;

/// How long to wait for a connection, and for an echo of which nothing arrives.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often to check whether a signal has arrived.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How our side ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// FIN, once everything has been sent; then what the peer still has to say.
    Fin,
    /// RST, once everything has come back.
    Rst,
}

/// A connection to an echo server.
pub struct Connection {
    stream: TcpStream,
    /// As the user called it.
    name: String,
    /// How long connecting took.
    took: Nanos,
}

impl Connection {
    /// To the first address of a target that accepts. Errors: [`Error::Target`], with what every address said.
    pub fn open(target: &Target) -> Result<Connection> {
        let mut refusals = Vec::new();
        for address in &target.addresses {
            let begin = clock::now();
            match TcpStream::connect_timeout(address, TIMEOUT) {
                Ok(stream) => {
                    let took = clock::now() - begin;
                    let name = target.name.clone();
                    let connection = Connection { stream, name, took };
                    connection.prepare().map_err(|cause| connection.failure(&cause))?;
                    return Ok(connection);
                }
                Err(cause) => refusals.push(format!("{address}: {cause}")),
            }
        }
        Err(Error::Target(format!("cannot connect to {}", refusals.join("; "))))
    }

    fn prepare(&self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream.set_read_timeout(Some(POLL_INTERVAL))
    }

    /// Ends our side.
    fn end(&self, ending: Ending) -> Result<()> {
        match ending {
            Ending::Fin => self
                .stream
                .shutdown(Shutdown::Write)
                .map_err(|cause| self.failure(&cause)),
            Ending::Rst => {
                socket::reset_on_close(self.stream.as_fd()); // It is sent when the connection is dropped.
                Ok(())
            }
        }
    }

    /// The connection has failed.
    fn failure(&self, cause: &io::Error) -> Error {
        Error::Target(format!("{}: {cause}", self.name))
    }
}

/// What a read brought, or that there is nothing to read for the moment.
fn or_nothing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(cause) if matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(cause) => Err(cause),
    }
}
