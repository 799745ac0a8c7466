//! One connection of the server as a pure state machine: an event goes in, plain data says what to do next.
//!
//! RFC 862: send back what was received, in order. Everything received is echoed before the connection ends.
//! It knows no io_uring, no clock and no thread; the worker applies [`Next`] and reports the completions.

use crate::ring::{Chunk, ChunkQueue, ChunkTable, Received, Store};
use crate::serve::uring::stream_detector::StreamDetector;

#[cfg(any(test, fuzzing))]
pub mod model;

/// What the worker must do now: all of it, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Next {
    /// Buffers to give back to the kernel.
    pub give_back: ChunkQueue,
    /// What to send; empty for nothing. The completion goes to [`Echo::sent`].
    pub send: ChunkQueue,
    /// Send FIN, under this condition; then call [`Echo::fin_sent`]. Unread bytes are those that wait in the socket.
    pub fin: Option<SendFin>,
    /// What to do about receiving.
    pub receive: Receive,
    /// Set when the connection begins (`Pipe`) or ceases (`Buffer`) to stream.
    pub switched: Option<Store>,
    /// Close the connection: nothing of it is in the kernel, and its echo is complete or undeliverable.
    pub close: bool,
}

/// When to send FIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendFin {
    /// If there are no unread bytes.
    IfNothingArrived,
    /// If there are no unread bytes. Otherwise call [`Echo::fin_after`] with their number.
    AfterUnread,
    /// Even if there are unread bytes: they are dropped.
    Now,
}

/// What to do about receiving.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Receive {
    /// Nothing.
    #[default]
    Keep,
    /// Arm a receive into this; its completions go to [`Echo::received`].
    Arm(Store),
    /// Queue the connection until one of these is free, then call [`Echo::available`].
    Starve(Store),
    /// Cancel the receive; the completion of the cancel goes to [`Echo::cancelled`].
    Cancel,
}

/// The buffers that a worker can spare for one connection at the moment of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferAllowance {
    /// Buffers that the connection may hold. Receiving pauses at this number and resumes at half of it.
    pub cap: usize,
    /// Bytes in a buffer.
    pub buffer_size: usize,
    /// True if the connection may begin to stream through pipes.
    pub pipe_free: bool,
}

/// One connection. All of its buffers are in `queued` or in the kernel.
#[derive(Debug)]
pub struct Echo {
    /// Received while a send is in flight; goes out together when it ends.
    queued: ChunkQueue,
    receiving: Receiving,
    peer: Peer,
    fin: Fin,
    /// Buffers in the send that is in flight; zero from its completion on.
    sending: usize,
    /// True from a cancel to its completion.
    cancelling: bool,
    detector: StreamDetector,
    /// What the worker knows about, from the last [`Next::switched`].
    reported: Store,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    /// No receive is in the kernel.
    Idle,
    /// No receive is in the kernel, and the connection is queued for a buffer.
    Starved,
    /// From arming to the last completion, into this.
    Armed(Store),
    /// Still armed, and a cancel has been sent after it.
    Cancelling,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// May send more.
    Open,
    /// Has sent FIN and still expects its echo.
    Finished,
    /// Is gone or unreachable: an echo cannot be delivered.
    Gone,
}

/// Our FIN, which only a drain sends before the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fin {
    /// Not wanted.
    Unsent,
    /// To be sent as soon as no receive is armed, unless bytes arrive before.
    Due,
    /// To be sent after the echo of all that has arrived, even if more arrives meanwhile.
    Last {
        /// How much of it has not been received. Known once no receive is armed: until then, some of it may be in
        /// completions.
        unread: Option<usize>,
    },
    /// Sent. What still arrives is dropped, so that close(2) sends no RST.
    Sent,
}

impl Echo {
    /// A new connection; the first [`Next`] arms its receive.
    pub fn new(allowance: BufferAllowance) -> (Echo, Next) {
        let mut echo = Echo {
            queued: ChunkQueue::default(),
            receiving: Receiving::Idle,
            peer: Peer::Open,
            fin: Fin::Unsent,
            sending: 0,
            cancelling: false,
            detector: StreamDetector::default(),
            reported: Store::Buffer,
        };
        let next = echo.next(allowance);
        (echo, next)
    }

    /// The receive has completed; `more` if it is still armed.
    pub fn received(&mut self, what: Received, more: bool, allowance: BufferAllowance, table: &mut ChunkTable) -> Next {
        if !more {
            self.receiving = Receiving::Idle;
        }
        let mut unwanted = ChunkQueue::default();
        match what {
            Received::Data(chunk) => {
                let store = table.store(&chunk);
                self.detector
                    .observe(chunk.len(), store, allowance.buffer_size, allowance.pipe_free);
                self.data(chunk, &mut unwanted, table);
            }
            Received::End if self.peer == Peer::Open => self.peer = Peer::Finished,
            Received::End | Received::Cancelled => {}
            Received::Starved => self.receiving = Receiving::Starved,
            Received::NotForPipe => self.detector.reset(),
            Received::Failed(_) => self.peer = Peer::Gone,
        }
        let mut next = self.next(allowance);
        if self.receiving == Receiving::Starved {
            next.receive = Receive::Starve(self.detector.store());
        }
        next.give_back.append(unwanted, table);
        next
    }

    fn data(&mut self, chunk: Chunk, unwanted: &mut ChunkQueue, table: &mut ChunkTable) {
        match &mut self.fin {
            Fin::Sent => return unwanted.push(chunk, table),
            Fin::Last { unread } => *unread = unread.map(|unread| unread.saturating_sub(chunk.len())),
            fin => *fin = Fin::Unsent,
        }
        self.queued.push(chunk, table);
    }

    /// The send has completed; `rest` is what the socket did not take.
    pub fn sent(
        &mut self,
        delivered: bool,
        mut rest: ChunkQueue,
        allowance: BufferAllowance,
        table: &mut ChunkTable,
    ) -> Next {
        assert!(self.sending > 0, "a send completed that was never started");
        self.sending = 0;
        if !delivered {
            self.peer = Peer::Gone;
        }
        rest.append(std::mem::take(&mut self.queued), table);
        self.queued = rest;
        self.next(allowance)
    }

    /// The cancel has completed.
    pub fn cancelled(&mut self, allowance: BufferAllowance) -> Next {
        self.cancelling = false;
        self.next(allowance)
    }

    /// What this starved connection waits for is free.
    pub fn available(&mut self, allowance: BufferAllowance) -> Next {
        if self.receiving == Receiving::Starved {
            self.receiving = Receiving::Idle;
        }
        self.next(allowance)
    }

    /// No pipe is free for this starved stream: it receives into buffers from now on.
    pub fn no_pipe(&mut self, allowance: BufferAllowance) -> Next {
        self.detector.reset();
        self.available(allowance)
    }

    /// Ends the armed receive. The next one is armed when it has ended, as far as the cap allows.
    pub fn renew(&mut self) -> Next {
        let receive = match self.receiving {
            Receiving::Armed(_) => self.cancel(),
            _ => Receive::Keep,
        };
        Next {
            receive,
            ..Next::default()
        }
    }

    /// The server drains, and this connection has been idle: send FIN unless bytes arrive first. If they do, call this
    /// again when the connection is idle again.
    pub fn close_idle(&mut self, allowance: BufferAllowance) -> Next {
        if matches!(self.fin, Fin::Unsent | Fin::Due) {
            self.fin = if self.is_echoed() { Fin::Due } else { Fin::Unsent };
        }
        self.next(allowance)
    }

    /// The server drains, and waits no longer for this connection to be idle: send FIN after the echo of all that has
    /// arrived so far.
    pub fn close_busy(&mut self, allowance: BufferAllowance) -> Next {
        if matches!(self.fin, Fin::Unsent | Fin::Due) {
            self.fin = Fin::Last { unread: None };
        }
        self.next(allowance)
    }

    /// This many bytes were unread when [`SendFin::AfterUnread`] was demanded: FIN follows their echo.
    pub fn fin_after(&mut self, unread: usize) {
        self.fin = Fin::Last { unread: Some(unread) };
    }

    /// FIN has been sent, as [`Next::fin`] demanded.
    pub fn fin_sent(&mut self) {
        self.fin = Fin::Sent;
    }

    /// True once our FIN is out and what arrives is dropped.
    pub fn is_fin_sent(&self) -> bool {
        self.fin == Fin::Sent
    }

    /// Number of buffers that it holds: queued, or being sent.
    pub fn held(&self) -> usize {
        self.sending + self.queued.count()
    }

    fn next(&mut self, allowance: BufferAllowance) -> Next {
        let mut next = Next::default();
        if self.peer == Peer::Gone {
            next.give_back = std::mem::take(&mut self.queued);
        } else if self.sending == 0 && !self.queued.is_empty() {
            next.send = std::mem::take(&mut self.queued);
            self.sending = next.send.count();
        }
        let fin = self.fin_due();
        next.receive = self.next_receive(allowance.cap, fin.is_some());
        // Only between two receives is everything that arrived either echoed or still in the socket.
        next.fin = fin.filter(|_| matches!(next.receive, Receive::Arm(_)));
        next.close = self.peer != Peer::Open && self.is_echoed() && self.is_out_of_kernel();
        if next.close {
            self.detector.reset();
        }
        next.switched = self.switched();
        next
    }

    fn fin_due(&self) -> Option<SendFin> {
        match self.fin {
            _ if self.peer != Peer::Open => None,
            Fin::Due => Some(SendFin::IfNothingArrived),
            Fin::Last { unread: None } => Some(SendFin::AfterUnread),
            Fin::Last { unread: Some(0) } => Some(SendFin::Now),
            Fin::Unsent | Fin::Last { .. } | Fin::Sent => None,
        }
    }

    fn next_receive(&mut self, cap: usize, fin_due: bool) -> Receive {
        let (store, cap) = (self.detector.store(), self.detector.cap(cap));
        let held = self.held();
        match self.receiving {
            Receiving::Armed(armed) if self.peer == Peer::Gone || held >= cap || fin_due || armed != store => {
                self.cancel()
            }
            // FIN comes first, and the echo before it.
            Receiving::Idle if fin_due && held > 0 => Receive::Keep,
            Receiving::Idle if self.peer == Peer::Open && held <= cap / 2 && !self.cancelling => {
                self.receiving = Receiving::Armed(store);
                Receive::Arm(store)
            }
            Receiving::Starved if self.peer != Peer::Open => {
                self.receiving = Receiving::Idle;
                Receive::Keep
            }
            _ => Receive::Keep,
        }
    }

    fn cancel(&mut self) -> Receive {
        self.receiving = Receiving::Cancelling;
        self.cancelling = true;
        Receive::Cancel
    }

    fn switched(&mut self) -> Option<Store> {
        let store = self.detector.store();
        let switched = store != self.reported;
        self.reported = store;
        switched.then_some(store)
    }

    fn is_echoed(&self) -> bool {
        self.sending == 0 && self.queued.is_empty()
    }

    fn is_out_of_kernel(&self) -> bool {
        !self.cancelling && matches!(self.receiving, Receiving::Idle | Receiving::Starved)
    }
}
