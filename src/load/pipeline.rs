//! The messages of one connection, without a kernel: which bytes go out next, and which must come back next.
//!
//! It keeps two cursors on one endless stream of messages, one for sending and one for receiving, and compares every
//! byte that comes back. When messages are due, and when bytes are sent, is up to the connection.

use std::fmt;

use crate::clock::Nanos;
use crate::load::payload::{Mismatch, PayloadStream};
use crate::load::workload::Traffic;

mod outstanding;

use outstanding::Outstanding;

/// One message that was issued and has not come back completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// When it was due.
    pub planned: Nanos,
    /// When its first byte was submitted; `NEVER` while it waits.
    pub submitted: Nanos,
    /// True if it counts: it was due while measuring.
    pub measured: bool,
}

/// Why the bytes that came back are not an echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EchoMismatch {
    /// A byte differs.
    Byte {
        /// The message, counted from 0 on its connection.
        message: u64,
        /// Where, and how.
        mismatch: Mismatch,
    },
    /// More came back than was sent.
    Excess {
        /// The message that had not been sent yet.
        message: u64,
        /// How many bytes too many, at least.
        bytes: usize,
    },
}

impl fmt::Display for EchoMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EchoMismatch::Byte { message, mismatch } => write!(
                f,
                "message {message}, offset {}: expected 0x{:02x}, found 0x{:02x}",
                mismatch.offset, mismatch.expected, mismatch.found
            ),
            EchoMismatch::Excess { message, bytes } => write!(
                f,
                "message {message}, offset 0: expected nothing (it had not been sent), found {bytes} bytes"
            ),
        }
    }
}

/// The messages of one connection.
#[derive(Debug)]
pub struct Pipeline {
    payload: PayloadStream,
    outstanding: Outstanding,
    /// Number of the oldest outstanding message, and how many of its bytes have come back.
    oldest: u64,
    received: u32,
    /// Messages that may be in flight at once.
    depth: u32,
    /// Messages whose bytes have all been sent, and how many bytes of the next one have.
    in_flight: u32,
    sent: u32,
    /// True once no message may begin.
    held: bool,
}

impl Pipeline {
    /// A pipeline whose first message is number `first` of the payload stream, with up to `depth` in flight at once.
    pub fn new(payload: PayloadStream, first: u64, depth: usize) -> Pipeline {
        Pipeline {
            payload,
            outstanding: Outstanding::default(),
            oldest: first,
            received: 0,
            depth: u32::try_from(depth).unwrap_or(u32::MAX),
            in_flight: 0,
            sent: 0,
            held: false,
        }
    }

    /// Issues one more message, due at `planned`.
    pub fn issue(&mut self, planned: Nanos, measured: bool) {
        self.outstanding.push_back(Message {
            planned,
            submitted: Nanos::NEVER,
            measured,
        });
    }

    /// True if there are bytes to send, of an issued message within the depth.
    pub fn can_send(&self) -> bool {
        let ahead = self.outstanding.len().min(self.depth as usize);
        (self.in_flight as usize) < ahead && (!self.held || self.sent > 0)
    }

    /// Sends the rest of a message that has begun, and begins no other.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// True if a part of a message has been sent or received, and a part has not.
    pub fn is_partial(&self) -> bool {
        self.sent > 0 || self.received > 0
    }

    /// Writes the next bytes to send into `out`, of as many messages as fit, and returns how many.
    /// Messages whose first byte is among them are submitted at `now`.
    pub fn write(&mut self, traffic: &Traffic, out: &mut [u8], now: Nanos) -> usize {
        let mut written = 0;
        while written < out.len() && self.can_send() {
            let next = self.oldest + u64::from(self.in_flight);
            let size = self.size(traffic, next);
            let len = (out.len() - written).min((size - self.sent) as usize);
            self.payload
                .fill(next, self.sent.into(), &mut out[written..written + len]);
            if self.sent == 0
                && let Some(message) = self.outstanding.get_mut(self.in_flight as usize)
            {
                message.submitted = now;
            }
            written += len;
            self.sent += len as u32;
            if self.sent == size {
                (self.in_flight, self.sent) = (self.in_flight + 1, 0);
            }
        }
        written
    }

    /// Compares bytes that came back. Each message they complete goes to `completed`. Errors: the first wrong byte.
    pub fn receive(
        &mut self,
        traffic: &Traffic,
        mut bytes: &[u8],
        mut completed: impl FnMut(Message),
    ) -> Result<(), EchoMismatch> {
        while !bytes.is_empty() {
            let size = self.size(traffic, self.oldest);
            let sent = if self.in_flight > 0 { size } else { self.sent };
            let len = bytes.len().min((sent - self.received) as usize);
            if len == 0 {
                return Err(EchoMismatch::Excess {
                    message: self.oldest,
                    bytes: bytes.len(),
                });
            }
            if traffic.verify {
                self.payload
                    .check(self.oldest, self.received.into(), &bytes[..len])
                    .map_err(|mismatch| EchoMismatch::Byte {
                        message: self.oldest,
                        mismatch,
                    })?;
            }
            bytes = &bytes[len..];
            self.received += len as u32;
            if self.received == size {
                (self.oldest, self.received, self.in_flight) = (self.oldest + 1, 0, self.in_flight - 1);
                completed(self.outstanding.pop_front().expect("only issued messages are sent"));
            }
        }
        Ok(())
    }

    /// Bytes of message `number`.
    fn size(&self, traffic: &Traffic, number: u64) -> u32 {
        let size = traffic.sizes.of(self.payload.draw(number));
        u32::try_from(size).expect("a message has 1 GiB at most")
    }

    /// Messages issued and not completed, oldest first.
    pub fn outstanding(&self) -> impl Iterator<Item = &Message> {
        self.outstanding.iter()
    }

    /// True if every issued message has come back.
    pub fn is_idle(&self) -> bool {
        self.outstanding.len() == 0
    }
}

#[cfg(test)]
mod model;
