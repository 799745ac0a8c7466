//! What the kernel said, in our words. The only reader of completion entries.

use std::os::fd::OwnedFd;

use io_uring::cqueue;

use super::chain::{Chain, Chunk};
use super::token::Op;
use crate::error::Errno;
use crate::slab::Key;

/// One answer of the kernel to the operation that was submitted under `key`.
#[derive(Debug)]
pub struct Completion {
    /// The key that the operation was submitted with.
    pub key: Key,
    /// True while the same operation will answer again; false when it has left the kernel.
    pub more: bool,
    /// What happened.
    pub event: Event,
}

/// What happened, by operation.
#[derive(Debug)]
pub enum Event {
    /// A connection arrived, or none could.
    Accepted(Result<OwnedFd, Errno>),
    /// Another ring handed us a connection.
    Adopted(OwnedFd),
    /// The ring we handed this connection to is gone.
    Undelivered(OwnedFd, Errno),
    /// A receive has something.
    Received(Received),
    /// A send has ended: how much of the chain went out, and the rest of it.
    Sent {
        /// Bytes taken by the socket; fewer than given after a short send.
        sent: Result<u32, Errno>,
        /// What is still ours to send again or give back.
        rest: Chain,
    },
    /// A connect has ended.
    Connected(Result<(), Errno>),
    /// A cancel has been polled at; what it aimed at completes on its own.
    Cancelled,
    /// A watched descriptor became readable.
    Woken,
}

/// What a receive brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Bytes, in order.
    Data(Chunk),
    /// The peer has finished sending (FIN).
    End,
    /// The pool was empty (ENOBUFS); the bytes wait in the socket.
    Starved,
    /// We cancelled it.
    Cancelled,
    /// The connection is broken.
    Failed(Errno),
}

/// A completion entry, taken apart but not yet understood.
pub(super) struct Raw {
    pub(super) result: Result<u32, Errno>,
    pub(super) more: bool,
    pub(super) buffer: Option<u16>,
}

impl Raw {
    pub(super) fn of(entry: &cqueue::Entry) -> Raw {
        let result = entry.result();
        Raw {
            result: u32::try_from(result).map_err(|_| Errno(-result)),
            more: cqueue::more(entry.flags()),
            buffer: cqueue::buffer_select(entry.flags()),
        }
    }

    /// True when an operation of this ring has left the kernel with this entry.
    pub(super) fn ends(&self, op: Op) -> bool {
        // Adopt is another ring's operation; Post completes only when it failed, and is not counted.
        !self.more && !matches!(op, Op::Adopt | Op::Post)
    }
}
