//! One connection of the server, without a kernel: events in, plain data out that says what to do next.
//!
//! RFC 862: send back what came, in order. Everything received is echoed before the connection ends.
//! It knows no io_uring, no clock and no thread; the worker does what [`Next`] says and reports back.

use crate::ring::{Chain, Chunk, Links, Received};

#[cfg(test)]
mod model;

/// What the worker must do now, all of it, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Next {
    /// Buffers that nobody needs any more.
    pub give_back: Chain,
    /// To send; its completion goes to [`Echo::sent`]. Empty: nothing to send.
    pub send: Chain,
    /// What to do about receiving.
    pub receive: Receive,
    /// Send FIN now, if nothing unread waits in the socket; then call [`Echo::farewell`].
    pub finish: bool,
    /// Nothing of this connection is in the kernel and nothing is owed: close it.
    pub close: bool,
}

/// What to do about receiving.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Receive {
    /// Nothing.
    #[default]
    Keep,
    /// Arm it; its completions go to [`Echo::received`].
    Arm,
    /// Stand in the queue of starved connections until [`Echo::fed`].
    Starve,
    /// Cancel it; the completion of the cancel goes to [`Echo::cancelled`].
    Cancel,
}

/// One connection. All of its buffers are in `queued` or in the kernel.
#[derive(Debug)]
pub struct Echo {
    /// Received while a send is in flight; goes out together when it ends.
    queued: Chain,
    receiving: Receiving,
    peer: Peer,
    /// Buffers in the send that is in flight; zero from its completion on.
    sending: usize,
    /// True from cancel to its completion.
    cancelling: bool,
    /// True from a leave until bytes come or our FIN is out.
    leaving: bool,
    /// True once our FIN is out: what still comes is read and dropped, so that close sends no RST.
    finished: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    /// No receive in the kernel.
    Idle,
    /// No receive in the kernel, and in the queue for a buffer.
    Starved,
    /// From arm to last completion.
    Armed,
    /// As armed, and a cancel has been sent after it.
    Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// May send more.
    Open,
    /// Has sent FIN: still wants its echo.
    Finished,
    /// Is gone, or cannot be reached: nobody wants an echo.
    Gone,
}

impl Echo {
    /// A new connection; the first [`Next`] arms its receive.
    pub fn new() -> (Echo, Next) {
        let mut echo = Echo {
            queued: Chain::default(),
            receiving: Receiving::Idle,
            peer: Peer::Open,
            sending: 0,
            cancelling: false,
            leaving: false,
            finished: false,
        };
        let next = echo.next(1);
        (echo, next)
    }

    /// A completion of the receive. At `cap` buffers receiving pauses, at half of that it goes on.
    pub fn received(&mut self, what: Received, more: bool, cap: usize, links: &mut Links) -> Next {
        if !more {
            self.receiving = Receiving::Idle;
        }
        let mut unwanted = Chain::default();
        match what {
            Received::Data(chunk) => self.data(chunk, &mut unwanted, links),
            Received::End if self.peer == Peer::Open => self.peer = Peer::Finished,
            Received::End | Received::Cancelled => {}
            Received::Starved => self.receiving = Receiving::Starved,
            Received::Failed(_) => self.peer = Peer::Gone,
        }
        let mut next = self.next(cap);
        if self.receiving == Receiving::Starved {
            next.receive = Receive::Starve;
        }
        next.give_back.append(unwanted, links);
        next
    }

    fn data(&mut self, chunk: Chunk, unwanted: &mut Chain, links: &mut Links) {
        self.leaving = false;
        let queue = if self.finished { unwanted } else { &mut self.queued };
        queue.push(chunk, links);
    }

    /// The send has ended; `rest` is what the socket did not take.
    pub fn sent(&mut self, delivered: bool, mut rest: Chain, cap: usize, links: &mut Links) -> Next {
        assert!(self.sending > 0, "a send ended that was never begun");
        self.sending = 0;
        if !delivered {
            self.peer = Peer::Gone;
        }
        rest.append(std::mem::take(&mut self.queued), links);
        self.queued = rest;
        self.next(cap)
    }

    /// The cancel has been looked at.
    pub fn cancelled(&mut self, cap: usize) -> Next {
        self.cancelling = false;
        self.next(cap)
    }

    /// There is a buffer for this starved connection.
    pub fn fed(&mut self, cap: usize) -> Next {
        if self.receiving == Receiving::Starved {
            self.receiving = Receiving::Idle;
        }
        self.next(cap)
    }

    /// Ends the receive that is armed; the next one is armed once it is over, as the cap allows.
    pub fn renew(&mut self) -> Next {
        let receive = match self.receiving {
            Receiving::Armed => self.cancel(),
            _ => Receive::Keep,
        };
        Next {
            receive,
            ..Next::default()
        }
    }

    /// The server wants to end, and this peer has been quiet: it gets FIN, unless there are bytes after all.
    /// Then nothing changes; ask again when it is quiet again.
    pub fn leave(&mut self, cap: usize) -> Next {
        self.leaving = self.is_echoed();
        self.next(cap)
    }

    /// FIN has been sent on behalf of [`Next::finish`].
    pub fn farewell(&mut self) {
        self.finished = true;
    }

    /// True once our FIN is out and what comes is dropped.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    fn next(&mut self, cap: usize) -> Next {
        let mut next = Next::default();
        if self.peer == Peer::Gone {
            next.give_back = std::mem::take(&mut self.queued);
        } else if self.sending == 0 && !self.queued.is_empty() {
            next.send = std::mem::take(&mut self.queued);
            self.sending = next.send.count();
        }
        let parting = self.leaving && self.peer == Peer::Open && !self.finished;
        next.receive = self.next_receive(cap, parting);
        // Only between two receives is all that has come either echoed or still in the socket.
        next.finish = parting && next.receive == Receive::Arm;
        next.close = self.peer != Peer::Open && self.is_echoed() && self.is_out_of_kernel();
        next
    }

    fn next_receive(&mut self, cap: usize, parting: bool) -> Receive {
        let held = self.sending + self.queued.count();
        match self.receiving {
            Receiving::Armed if self.peer == Peer::Gone || held >= cap || parting => self.cancel(),
            Receiving::Idle if self.peer == Peer::Open && held <= cap / 2 && !self.cancelling => {
                self.receiving = Receiving::Armed;
                Receive::Arm
            }
            Receiving::Starved if self.peer != Peer::Open => {
                self.receiving = Receiving::Idle;
                Receive::Keep
            }
            _ => Receive::Keep,
        }
    }

    fn cancel(&mut self) -> Receive {
        self.receiving = Receiving::Ending;
        self.cancelling = true;
        Receive::Cancel
    }

    fn is_echoed(&self) -> bool {
        self.sending == 0 && self.queued.is_empty()
    }

    fn is_out_of_kernel(&self) -> bool {
        !self.cancelling && matches!(self.receiving, Receiving::Idle | Receiving::Starved)
    }
}
