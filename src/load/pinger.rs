//! One connection of the load, without a kernel: messages asked for, bytes out, bytes back, answers.
//!
//! It keeps two cursors on one endless stream of messages: what goes out next and what must come back next. Every
//! byte that comes back is compared. It knows no io_uring, no clock and no thread.

use std::collections::VecDeque;

use crate::clock::Nanos;
use crate::load::payload::{Mismatch, PayloadStream};
use crate::load::workload::Traffic;

/// One message on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// When it was due.
    pub planned: Nanos,
    /// When its first byte was handed to the ring; `NEVER` while it waits.
    pub submitted: Nanos,
    /// True if it counts: it was asked for while measuring.
    pub measured: bool,
}

/// Why a connection cannot go on: its bytes are not an echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
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

/// One connection.
#[derive(Debug)]
pub struct Pinger {
    payload: PayloadStream,
    /// Asked for and not answered, oldest first.
    open: VecDeque<Message>,
    /// Number of the oldest open message, and how much of it has come back.
    answered: u64,
    returned: u64,
    /// Number of the message that goes out next, and how much of it has gone.
    begun: u64,
    gone: u64,
    /// True from a send to its completion.
    sending: bool,
}

impl Pinger {
    /// A connection of which the first `told` messages are history.
    pub fn new(payload: PayloadStream, told: u64) -> Pinger {
        Pinger {
            payload,
            open: VecDeque::with_capacity(1),
            answered: told,
            returned: 0,
            begun: told,
            gone: 0,
            sending: false,
        }
    }

    /// One more message, due at `planned`.
    pub fn ask(&mut self, planned: Nanos, measured: bool) {
        self.open.push_back(Message {
            planned,
            submitted: Nanos::NEVER,
            measured,
        });
    }

    /// True when a send should be made now: something may go out, and no send is in flight.
    pub fn wants_to_send(&self, traffic: &Traffic) -> bool {
        !self.sending && self.may_begin(traffic)
    }

    /// True while the next message, or the rest of it, may go out: at most `depth` are unanswered at once.
    fn may_begin(&self, traffic: &Traffic) -> bool {
        let under_way = (self.begun - self.answered) as usize;
        under_way < self.open.len().min(traffic.depth)
    }

    /// Writes the next bytes to send into `out`, of as many messages as fit; says how many bytes.
    /// Messages whose first byte is among them are submitted at `now`.
    pub fn write(&mut self, traffic: &Traffic, out: &mut [u8], now: Nanos) -> usize {
        assert!(self.wants_to_send(traffic), "one send in flight per connection");
        self.sending = true;
        let mut written = 0;
        while written < out.len() && self.may_begin(traffic) {
            let size = traffic.sizes.of(self.payload.draw(self.begun));
            let len = (out.len() - written).min((size - self.gone) as usize);
            self.payload
                .fill(self.begun, self.gone, &mut out[written..written + len]);
            if self.gone == 0 {
                self.open[(self.begun - self.answered) as usize].submitted = now;
            }
            written += len;
            self.gone += len as u64;
            if self.gone == size {
                (self.begun, self.gone) = (self.begun + 1, 0);
            }
        }
        written
    }

    /// The send has ended, all of it gone.
    pub fn sent(&mut self) {
        assert!(self.sending, "a send ended that was never begun");
        self.sending = false;
    }

    /// Bytes came back. Each message they complete goes to `answer`.
    pub fn received(
        &mut self,
        traffic: &Traffic,
        mut bytes: &[u8],
        mut answer: impl FnMut(Message),
    ) -> Result<(), Wrong> {
        while !bytes.is_empty() {
            let size = traffic.sizes.of(self.payload.draw(self.answered));
            let sent = if self.answered < self.begun { size } else { self.gone };
            let len = bytes.len().min((sent - self.returned) as usize);
            if len == 0 {
                return Err(Wrong::Excess {
                    message: self.answered,
                    bytes: bytes.len(),
                });
            }
            if traffic.verify {
                self.payload
                    .check(self.answered, self.returned, &bytes[..len])
                    .map_err(|mismatch| Wrong::Byte {
                        message: self.answered,
                        mismatch,
                    })?;
            }
            bytes = &bytes[len..];
            self.returned += len as u64;
            if self.returned == size {
                (self.answered, self.returned) = (self.answered + 1, 0);
                answer(self.open.pop_front().expect("an answer to what was asked"));
            }
        }
        Ok(())
    }

    /// Messages asked for and not answered, oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Message> {
        self.open.iter()
    }

    /// True when every message asked for has come back.
    pub fn is_quiet(&self) -> bool {
        self.open.is_empty()
    }

    /// True while a send is in the kernel.
    pub fn is_sending(&self) -> bool {
        self.sending
    }
}

#[cfg(test)]
mod model;
