//! One connection of the tokio-uring worker.

use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

use ::tokio_uring::buf::BoundedBuf;
use ::tokio_uring::net::TcpStream;

use crate::clock::Nanos;

/// A connection, as its own task and the main task see it.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    /// True if something was received or sent since the last sweep of the drain.
    pub(super) busy: Cell<bool>,
    /// When something was received or sent last, if there is an idle timeout.
    pub(super) active_at: Cell<Nanos>,
    /// True while an echo is being written.
    pub(super) writing: Cell<bool>,
    /// True if FIN follows the next echo.
    pub(super) last_echo: Cell<bool>,
    /// True once our FIN is out: what still arrives is read and dropped, so that close(2) sends no RST.
    pub(super) fin_sent: Cell<bool>,
}

impl Peer {
    pub(super) fn new(stream: TcpStream, now: Nanos) -> Peer {
        Peer {
            stream,
            busy: Cell::new(true),
            active_at: Cell::new(now),
            writing: Cell::new(false),
            last_echo: Cell::new(false),
            fin_sent: Cell::new(false),
        }
    }

    /// Reads into an empty buffer. A signal that arrives meanwhile makes the kernel end an operation with EINTR, with
    /// nothing done; tokio-uring passes that on, also out of its own `write_all`.
    pub(super) async fn read(&self, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        loop {
            let (read, returned) = self.stream.read(buffer).await;
            buffer = returned;
            if !is_interrupted(&read) {
                return (read, buffer);
            }
        }
    }

    /// Writes the first `len` bytes of a buffer.
    pub(super) async fn write_all(&self, mut buffer: Vec<u8>, len: usize) -> (io::Result<()>, Vec<u8>) {
        let mut done = 0;
        while done < len {
            let (written, slice) = self.stream.write(buffer.slice(done..len)).submit().await;
            buffer = slice.into_inner();
            match written {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buffer),
                Ok(count) => done += count,
                Err(_) if is_interrupted(&written) => {}
                Err(cause) => return (Err(cause), buffer),
            }
        }
        (Ok(()), buffer)
    }

    pub(super) fn take_had_io(peer: &mut Rc<Peer>) -> bool {
        peer.busy.take()
    }

    /// The server drains, and this connection has been idle.
    pub(super) fn close_idle(&self) {
        if !self.writing.get() {
            self.send_fin();
        }
    }

    pub(super) fn send_fin(&self) {
        if !self.fin_sent.replace(true) {
            // If the peer is gone already, the read reports it.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    /// Shuts it down in both directions, which ends what its task waits for.
    pub(super) fn cut(&self) {
        // Fails only if the connection is down already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn is_interrupted(result: &io::Result<usize>) -> bool {
    matches!(result, Err(cause) if cause.kind() == io::ErrorKind::Interrupted)
}

impl AsRawFd for Peer {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}
