//! How connections come into a worker: the first one accepts for all, and hands each to the worker that has the fewest.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::echo::Echo;
use super::{Connection, Worker, listener_key};
use crate::clock;
use crate::error::Errno;
use crate::serve::accept::Accepting;
use crate::serve::admission::{Headroom, Place};
use crate::serve::counters::Operation;
use crate::serve::notices::Notice;
use crate::sys::socket;

/// How this worker accepts.
#[derive(Debug)]
pub(super) struct Acceptor {
    pub(super) state: Accepting,
    /// What is in the kernel for each listener.
    armed: Vec<Armed>,
    /// Accepted where there was no room any more: by a multishot accept, or on another listener.
    held: VecDeque<OwnedFd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Armed {
    /// Nothing.
    No,
    /// An accept.
    Accept,
    /// An accept that has been cancelled.
    Cancelled,
}

impl Acceptor {
    /// For worker `index` of a server with this many listeners.
    pub(super) fn new(index: usize, listeners: usize) -> Acceptor {
        Acceptor {
            state: Accepting::at_start(index),
            armed: vec![Armed::No; listeners],
            held: VecDeque::new(),
        }
    }

    /// Connections that were accepted and wait for room.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }
}

impl Worker<'_> {
    /// Accepts on every listener: connections as they come, or one by one where each may be the last that there is room
    /// for.
    pub(super) fn arm_accepts(&mut self) {
        for index in 0..self.acceptor.armed.len() {
            if self.acceptor.state.is_on() && self.acceptor.armed[index] == Armed::No {
                self.arm_accept(index);
            }
        }
    }

    fn arm_accept(&mut self, index: usize) {
        let listener = self.shared.listeners[index].as_fd();
        match self.shared.headroom() {
            Headroom::Full => return self.wait_for_room(),
            Headroom::Tight => self.ring.accept_once(listener_key(index), listener),
            Headroom::Ample => self.ring.accept(listener_key(index), listener),
        }
        self.acceptor.armed[index] = Armed::Accept;
    }

    /// A connection of this server has closed, a pause is over, or the drain begins. A drain serves what was accepted
    /// already, because nothing may be closed before.
    pub(super) fn resume_accepting(&mut self) {
        while self.drain.has_begun() || self.shared.headroom() != Headroom::Full {
            let Some(socket) = self.acceptor.held.pop_front() else {
                break;
            };
            self.place(socket);
        }
        if self.drain.has_begun() {
            self.accept_waiting();
        } else {
            self.arm_accepts();
        }
    }

    pub(super) fn accepted(&mut self, index: usize, result: std::result::Result<OwnedFd, Errno>, more: bool) {
        let armed = self.acceptor.armed[index];
        if !more {
            self.acceptor.armed[index] = Armed::No;
        }
        match result {
            Ok(socket) => {
                self.counters.accepted += 1;
                self.take_in(socket);
            }
            Err(_) if self.acceptor.state.is_off() || armed == Armed::Cancelled => {} // We have ended it.
            Err(errno) if more => self.counters.error(Operation::Accept, errno),
            Err(errno) => self.pause(errno),
        }
        if self.drain.has_begun() && self.acceptor.state.is_on() && !more {
            return self.accept_waiting(); // It may have been the last accept in the kernel.
        }
        if self.acceptor.state.is_on() && !self.drain.has_begun() {
            match self.acceptor.armed[index] {
                Armed::No => self.arm_accept(index),
                Armed::Accept if more && self.shared.headroom() != Headroom::Ample => {
                    self.acceptor.armed[index] = Armed::Cancelled;
                    self.ring.cancel_accept(listener_key(index));
                }
                Armed::Accept | Armed::Cancelled => {}
            }
        }
        self.announce_end_of_accepting();
    }

    fn take_in(&mut self, socket: OwnedFd) {
        if self.shared.headroom() == Headroom::Full && !self.drain.has_begun() {
            self.acceptor.held.push_back(socket);
            self.wait_for_room();
        } else {
            self.place(socket);
        }
    }

    /// Gives a new connection to the worker that has the fewest, or refuses it.
    fn place(&mut self, socket: OwnedFd) {
        match self.shared.place(&socket, || socket::peer_ip(socket.as_fd())) {
            Ok(index) if index == self.index => self.open(socket),
            Ok(index) => {
                let mailbox = self.shared.handoffs()[index].mailbox();
                self.ring.post(mailbox, index as u32, socket);
            }
            Err(refusal) => {
                self.counters.refuse(refusal);
                self.notices.report(Notice::Refused(refusal));
            }
        }
    }

    /// Takes over a connection that was placed on this worker.
    pub(super) fn open(&mut self, socket: OwnedFd) {
        self.counters.connections += 1;
        let descriptor = Place::Descriptor(socket.as_raw_fd());
        let (echo, next) = Echo::new(self.allowance());
        let key = self.connections.insert(Connection {
            socket: socket.into(),
            echo,
            busy: true,
            failed: false,
            active_at: self.now,
        });
        if let Some(connection) = self.connections.get_mut(key) {
            self.ring.make_direct(key, &mut connection.socket);
            let place = connection.place(self.index);
            if place != descriptor {
                // Before its descriptor is closed, by the next submission: its number may be another one's then.
                self.shared.admission.moves(descriptor, place);
            }
        }
        self.idle.watch(key, self.now);
        self.apply(key, next);
    }

    fn wait_for_room(&mut self) {
        if self.acceptor.state.is_on() {
            self.counters.limit_pauses += 1;
            self.notices.report(Notice::AtLimit);
            self.acceptor.state.wait_for_room();
        }
    }

    fn pause(&mut self, errno: Errno) {
        self.counters.error(Operation::Accept, errno);
        self.counters.accept_pauses += 1;
        self.notices.report(Notice::AcceptFailed(errno));
        self.shared.admission.wait_for_close();
        self.acceptor.state.pause(clock::now());
    }

    /// Accepts what waits in the queues of the listeners, then refuses new connections, or leaves them to the
    /// successor.
    ///
    /// An accept in the kernel waits exclusively: a connection wakes one of those that wait for it. One that is
    /// cancelled after it was woken leaves the connection in the queue, and the successor is not woken for it. So with
    /// a successor the accepts end first, and what is in the queues then is accepted here.
    pub(super) fn accept_waiting(&mut self) {
        if self.shared.is_handed_over() && self.acceptor.state.is_on() {
            self.cancel_accepts();
            if self.acceptor.armed.iter().any(|&armed| armed != Armed::No) {
                return; // The end of each comes back here.
            }
        }
        for index in 0..self.shared.listeners.len() {
            if !self.empty_queue(index) {
                return;
            }
        }
        self.end_accepting();
    }

    /// True once the queue is empty, or as many were accepted as can have waited.
    fn empty_queue(&mut self, index: usize) -> bool {
        if self.acceptor.state.is_on() {
            // From here on only accept4(2) is used. An accept in the kernel is not affected by this.
            let _ = socket::set_nonblocking(self.shared.listeners[index].as_fd(), true); // Cannot fail for a socket.
        }
        let is_empty = self.accept_until_empty(index);
        if self.shared.is_handed_over() {
            // The successor has the same open file, and io_uring does not wait on one that does not block.
            let _ = socket::set_nonblocking(self.shared.listeners[index].as_fd(), false); // As above.
        }
        is_empty
    }

    fn accept_until_empty(&mut self, index: usize) -> bool {
        while self.acceptor.state.is_on() {
            if self.shared.headroom() == Headroom::Full {
                self.wait_for_room();
                break;
            }
            match socket::accept_waiting(self.shared.listeners[index].as_fd()) {
                Ok(Some(socket)) => {
                    self.counters.accepted += 1;
                    self.acceptor.state.accepted();
                    self.place(socket);
                }
                Ok(None) => return true,
                Err(cause) => self.pause(cause.into()),
            }
        }
        self.acceptor.state.is_off()
    }

    pub(super) fn end_accepting(&mut self) {
        self.acceptor.state.end();
        // Refuses new connections, and completes the armed accepts, unless there is a successor.
        self.shared.shut_listeners_down();
        if self.shared.is_handed_over() {
            self.cancel_accepts();
        }
        self.announce_end_of_accepting();
    }

    fn cancel_accepts(&mut self) {
        for index in 0..self.acceptor.armed.len() {
            if self.acceptor.armed[index] == Armed::Accept {
                self.acceptor.armed[index] = Armed::Cancelled;
                self.ring.cancel_accept(listener_key(index));
            }
        }
    }

    /// Lets the other workers end, once nothing more can be handed over to them.
    fn announce_end_of_accepting(&mut self) {
        let is_idle = self.acceptor.armed.iter().all(|&armed| armed == Armed::No);
        if self.acceptor.state.is_off() && is_idle {
            // What was handed over must be in the other rings before their workers may end.
            self.ring.submit();
            self.shared.accept_ended.fire();
        }
    }
}
