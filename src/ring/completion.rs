//! Completions of the kernel as events. The only reader of completion entries.

use std::os::fd::OwnedFd;

use io_uring::cqueue;

use super::chunk::{Chunk, ChunkQueue};
use super::token::Op;
use crate::error::Errno;
use crate::slab::Key;

/// One completion of an operation.
#[derive(Debug)]
pub struct Completion {
    /// The key that the operation was submitted with.
    pub key: Key,
    /// True if the operation will complete again; false if it has left the kernel.
    pub more: bool,
    /// What happened.
    pub event: Event,
}

/// What happened, by operation.
#[derive(Debug)]
pub enum Event {
    /// A connection was accepted, or could not be.
    Accepted(Result<OwnedFd, Errno>),
    /// Another ring has posted a connection to this one.
    Delivered(OwnedFd),
    /// A posted connection could not be delivered: the other ring is gone.
    Undelivered {
        /// The connection.
        connection: OwnedFd,
        /// As it was passed to [`Ring::post`](super::Ring::post).
        recipient: u32,
    },
    /// A receive has completed.
    Received(Received),
    /// A send has completed.
    Sent {
        /// Bytes that the socket took; fewer than the chunks hold after a short send.
        sent: Result<u32, Errno>,
        /// The unsent rest of the chunks, to send again or to give back.
        rest: ChunkQueue,
    },
    /// A connect has completed.
    Connected(Result<(), Errno>),
    /// A cancel has completed; the cancelled operation completes on its own.
    Cancelled,
    /// A watched descriptor became readable.
    Woken,
}

/// The result of a receive.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Bytes, in order.
    Data(Chunk),
    /// The peer has finished sending (FIN).
    End,
    /// The pool was empty (ENOBUFS); the bytes remain in the socket.
    Starved,
    /// It was cancelled.
    Cancelled,
    /// The connection is broken.
    Failed(Errno),
}

/// The fields of a completion entry.
pub(super) struct Cqe {
    pub(super) result: Result<u32, Errno>,
    pub(super) more: bool,
    pub(super) buffer: Option<u16>,
}

impl Cqe {
    pub(super) fn of(entry: &cqueue::Entry) -> Cqe {
        let result = entry.result();
        Cqe {
            result: u32::try_from(result).map_err(|_| Errno(-result)),
            more: cqueue::more(entry.flags()),
            buffer: cqueue::buffer_select(entry.flags()),
        }
    }

    /// True if an operation of this ring has left the kernel with this entry.
    pub(super) fn ends(&self, op: Op) -> bool {
        // Deliver is another ring's operation; Post only completes on failure and is not counted.
        !self.more && !matches!(op, Op::Deliver | Op::Post)
    }
}
