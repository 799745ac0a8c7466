//! How connections come into a worker: the first one accepts for all, and hands each to the worker that has the fewest.

use std::os::fd::{AsFd, OwnedFd};

use super::{LISTENER, Worker};
use crate::clock;
use crate::error::Errno;
use crate::serve::counters::Operation;
use crate::serve::handoff;
use crate::sys::socket;

impl Worker<'_> {
    pub(super) fn arm_accept(&mut self) {
        self.accept_armed = true;
        self.ring.accept(LISTENER, self.shared.listener.as_fd());
    }

    pub(super) fn resume_accepting(&mut self) {
        if self.drain.has_begun() {
            self.accept_waiting();
        } else {
            self.arm_accept();
        }
    }

    pub(super) fn accepted(&mut self, result: std::result::Result<OwnedFd, Errno>, more: bool) {
        self.accept_armed = more;
        match result {
            Ok(socket) => {
                self.counters.accepted += 1;
                self.hand_over(socket);
                if !more && !self.drain.has_begun() {
                    self.arm_accept();
                }
            }
            Err(_) if self.accepting.is_off() => {} // We shut the listener down.
            Err(errno) => {
                self.counters.error(Operation::Accept, errno);
                if !more {
                    self.counters.accept_pauses += 1;
                    self.accepting.pause(clock::now());
                }
            }
        }
        self.announce_end_of_accepting();
    }

    /// Gives a new connection to the worker that has the fewest.
    fn hand_over(&mut self, socket: OwnedFd) {
        let handoffs = self.shared.handoffs();
        let index = handoff::choose(handoffs);
        if index == self.index {
            self.open(socket);
        } else {
            self.ring.post(handoffs[index].mailbox(), socket);
        }
    }

    /// Accepts what waits in the queue of the listener, then refuses new connections.
    pub(super) fn accept_waiting(&mut self) {
        while self.accepting.is_on() {
            match socket::accept_waiting(self.shared.listener.as_fd()) {
                Ok(Some(socket)) => {
                    self.counters.accepted += 1;
                    self.accepting.accepted();
                    self.hand_over(socket);
                }
                Ok(None) => self.accepting.end(),
                Err(cause) => {
                    self.counters.error(Operation::Accept, cause.into());
                    self.counters.accept_pauses += 1;
                    self.accepting.pause(clock::now());
                }
            }
        }
        if self.accepting.is_off() {
            self.end_accepting();
        }
    }

    pub(super) fn end_accepting(&mut self) {
        self.accepting.end();
        // Refuses new connections, and completes an armed accept.
        socket::shutdown_both(self.shared.listener.as_fd());
        self.announce_end_of_accepting();
    }

    /// Lets the other workers end, once nothing more can be handed over to them.
    fn announce_end_of_accepting(&mut self) {
        if self.accepting.is_off() && !self.accept_armed {
            // What was handed over must be in the other rings before their workers may end.
            self.ring.submit();
            self.shared.accept_ended.fire();
        }
    }
}
