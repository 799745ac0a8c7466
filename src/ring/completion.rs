//! Completions of the kernel as events. The only reader of completion entries.

use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::cqueue;

use super::Ring;
use super::chunk::{Chunk, ChunkQueue};
use super::token::{Op, Token};
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
    /// Every buffer (ENOBUFS) or pipe was in use; the bytes remain in the socket.
    Starved,
    /// A pipe cannot take what comes next, FIN or urgent data, and a receive into buffers can.
    NotForPipe,
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
        // Deliver is another ring's operation. Post and Table only complete on failure, and are not counted; Install is
        // waited for.
        !self.more && !matches!(op, Op::Deliver | Op::Post | Op::Table | Op::Install)
    }
}

impl Ring {
    /// None for a send from a pipe that goes on, and for a change of the table that has failed: the next operation on
    /// its socket says so.
    pub(super) fn decode(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let Token { op, key } = Token::unpack(entry.user_data());
        let raw = Cqe::of(entry);
        if raw.ends(op) {
            self.in_flight -= 1;
        }
        let event = match op {
            Op::Accept => Event::Accepted(raw.result.map(owned)),
            Op::Deliver => Event::Delivered(owned(raw.result.expect("a posted descriptor is not negative"))),
            Op::Post => Event::Undelivered {
                connection: owned(key.slot),
                recipient: key.generation,
            },
            Op::Receive => Event::Received(self.received(key, &raw)),
            Op::Send => match (self.pipe_to_send(key), raw.result) {
                (Some(pipe), Ok(_) | Err(Errno(libc::ETIME))) => {
                    self.splice_out(key, pipe, raw.result.is_ok());
                    return None;
                }
                (_, result) => self.sent(key, result),
            },
            Op::Connect => Event::Connected(raw.result.map(|_| ())),
            Op::Cancel => Event::Cancelled,
            Op::Watch => {
                self.broken = self.broken.or(raw.result.err()); // The next pass returns it.
                Event::Woken
            }
            Op::Table | Op::Install => return None,
        };
        Some(Completion {
            key,
            more: raw.more,
            event,
        })
    }

    fn received(&mut self, key: Key, raw: &Cqe) -> Received {
        if let (Err(_), Some(buffer)) = (raw.result, raw.buffer) {
            // A worker thread of the kernel takes a buffer before it receives.
            let chunk = self.pool.filled(buffer, 0);
            self.give_back(chunk);
        }
        match (raw.result, raw.buffer) {
            (Ok(len), Some(buffer)) => {
                let chunk = self.pool.filled(buffer, len);
                if len > 0 {
                    return Received::Data(chunk);
                }
                // Some kernels take a buffer before they find FIN.
                self.give_back(chunk);
                Received::End
            }
            (Ok(0), None) => Received::End,
            (Ok(_), None) => self.splice_in(key), // A receive that gets bytes has a buffer.
            (Err(Errno(libc::ENOBUFS)), _) => Received::Starved,
            (Err(Errno(libc::ECANCELED)), _) => Received::Cancelled,
            (Err(errno), _) => Received::Failed(errno),
        }
    }

    pub(super) fn sent(&mut self, key: Key, sent: Result<u32, Errno>) -> Event {
        let mut rest = std::mem::take(&mut self.outgoing[key.slot as usize]);
        self.pool.take_sent(&mut rest, sent.unwrap_or(0));
        Event::Sent { sent, rest }
    }
}

/// Takes ownership of a descriptor: the kernel has just created it, or a post has moved it here or failed to move it.
fn owned(number: u32) -> OwnedFd {
    // SAFETY: it comes from the completion of an accept or of a post, so nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(number as i32) }
}
