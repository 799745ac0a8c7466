//! One socket of a poller: what is known of its readiness, and single calls.

use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, RawFd};

use nix::sys::socket::{MsgFlags, recv};
use socket2::SockRef;

use super::super::pool::Pool;
use super::super::{ChunkQueue, Received};
use crate::error::Errno;
use crate::slab::Key;

/// Chunks in one send. The rest of a longer queue goes out with the next one.
const VECTORS: usize = 16;

/// What is known of a socket, and what waits for it.
pub(super) struct Socket {
    pub(super) key: Key,
    pub(super) descriptor: RawFd,
    pub(super) is_registered: bool,
    /// False once a call has returned EAGAIN, until the next event.
    pub(super) is_readable: bool,
    pub(super) is_writable: bool,
    /// FIN, RST or an error has arrived: the next receives must reach it.
    pub(super) has_ended: bool,
    pub(super) is_connecting: bool,
    pub(super) is_receiving: bool,
    /// True while it is in `ready`.
    pub(super) is_ready: bool,
    /// The unsent chunks of the send that is under way, and its bytes that were sent.
    pub(super) outgoing: ChunkQueue,
    pub(super) sent: u32,
}

impl Socket {
    pub(super) fn new(key: Key, descriptor: RawFd) -> Socket {
        Socket {
            key,
            descriptor,
            is_registered: false,
            is_readable: true,
            is_writable: true,
            has_ended: false,
            is_connecting: false,
            is_receiving: false,
            is_ready: false,
            outgoing: ChunkQueue::default(),
            sent: 0,
        }
    }

    /// Receives once; none if nothing has arrived.
    pub(super) fn receive_once(&mut self, pool: &mut Pool) -> Option<Received> {
        let Some(mut chunk) = pool.take() else {
            return Some(Received::Starved);
        };
        let mut result = Ok(0);
        let mut is_full = false;
        pool.write(&mut chunk, |buffer| {
            result = recv(self.descriptor, buffer, MsgFlags::MSG_DONTWAIT);
            is_full = result == Ok(buffer.len());
            result.unwrap_or(0)
        });
        // A buffer that was not filled has emptied the socket: epoll(7). Only what follows the last byte is left to be
        // read.
        self.is_readable &= is_full || self.has_ended;
        match result {
            Ok(1..) => return Some(Received::Data(chunk)),
            _ => pool.give_back(chunk),
        }
        match result.map_err(|errno| errno as i32) {
            Ok(_) => Some(Received::End),
            Err(libc::EAGAIN) => {
                self.is_readable = false;
                None
            }
            Err(errno) => Some(Received::Failed(Errno(errno))),
        }
    }

    /// One send(2), or sendmsg(2) for several chunks. Returns the bytes that the socket took.
    pub(super) fn send_once(&self, pool: &Pool) -> std::result::Result<u32, Errno> {
        const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let descriptor = self.borrow();
        let socket = SockRef::from(&descriptor);
        let mut slices = pool.slices(&self.outgoing);
        let sent = if self.outgoing.count() == 1 {
            socket.send_with_flags(slices.next().unwrap_or_default(), FLAGS)
        } else {
            let mut vectors = [IoSlice::new(&[]); VECTORS];
            let mut count = 0;
            for (slice, vector) in slices.zip(&mut vectors) {
                *vector = IoSlice::new(slice);
                count += 1;
            }
            socket.send_vectored_with_flags(&vectors[..count], FLAGS)
        };
        sent.map(|sent| sent as u32).map_err(Errno::from)
    }

    /// What went wrong since the last call; nothing, if it is connected.
    pub(super) fn take_error(&self) -> io::Result<()> {
        let pending = SockRef::from(&self.borrow()).take_error()?;
        pending.map_or(Ok(()), Err)
    }

    fn borrow(&self) -> BorrowedFd<'_> {
        // SAFETY: the owner keeps the descriptor open while an operation waits for it.
        unsafe { BorrowedFd::borrow_raw(self.descriptor) }
    }
}
