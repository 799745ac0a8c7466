//! Receives into pipes, and sends from them: io_uring waits until the socket is ready, and splice(2) moves the bytes.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use io_uring::opcode;
use io_uring::types::Fd;

use super::Ring;
use super::completion::{Completion, Received};
use super::socket::SocketRef;
use super::token::Op;
use crate::error::Errno;
use crate::slab::Key;

impl Ring {
    /// Receives into one pipe, once ([`Event::Received`](super::Event::Received)). Only of a socket that is a descriptor.
    pub fn receive_into_pipe<'a>(&mut self, key: Key, socket: impl Into<SocketRef<'a>>) {
        let socket = socket.into();
        self.set_spliced(key, socket);
        let events = libc::POLLIN | libc::POLLRDHUP;
        let entry = opcode::PollAdd::new(socket.number(), events as u32);
        self.push(entry.build(), Op::Receive, key);
    }

    /// The socket of a receive into a pipe is ready.
    pub(super) fn splice_in(&mut self, key: Key) -> Received {
        match self.pool.splice_in(borrowed(self.spliced[key.slot as usize])) {
            Ok(chunk) => Received::Data(chunk),
            Err(Errno(libc::ENOBUFS)) => Received::Starved,
            Err(Errno(libc::EAGAIN)) => Received::NotForPipe,
            Err(errno) => Received::Failed(errno),
        }
    }

    /// Sends from the pipe that is the first to be sent, or waits until the socket has room.
    pub(super) fn splice_out(&mut self, key: Key) {
        let Some(pipe) = self.outgoing[key.slot as usize].first_pipe(&self.pool.chunk_table) else {
            return;
        };
        let socket = self.spliced[key.slot as usize];
        match self.pool.splice_out(pipe, borrowed(socket)) {
            Err(Errno(libc::EAGAIN)) => {
                let entry = opcode::PollAdd::new(Fd(socket), libc::POLLOUT as u32);
                self.push(entry.build(), Op::Send, key);
            }
            result => {
                let event = self.sent(key, result);
                self.done.push(Completion {
                    key,
                    more: false,
                    event,
                });
            }
        }
    }

    pub(super) fn set_spliced(&mut self, key: Key, socket: SocketRef<'_>) {
        let SocketRef::Descriptor(descriptor) = socket else {
            unreachable!("splice(2) does not know direct descriptors");
        };
        let slot = key.slot as usize;
        if slot >= self.spliced.len() {
            self.spliced.resize(slot + 1, -1);
        }
        self.spliced[slot] = descriptor.as_raw_fd();
    }

    /// True if what is being sent begins with a pipe.
    pub(super) fn sends_from_pipe(&self, key: Key) -> bool {
        self.outgoing[key.slot as usize]
            .first_pipe(&self.pool.chunk_table)
            .is_some()
    }
}

fn borrowed<'a>(socket: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the caller of a ring keeps a socket open until its operations have completed.
    unsafe { BorrowedFd::borrow_raw(socket) }
}
