//! The worker of a model world: hands completions to the connections, and does what they say.

use super::*;

/// The worker: hands completions over in order and does what `Next` says.
impl World {
    pub(super) fn worker_handles(&mut self) {
        let Some((index, answer)) = self.answers.pop_front() else {
            return;
        };
        let cap = self.cap();
        let connection = &mut self.connections[index];
        assert!(!connection.closed, "a completion for a connection that has left");
        let next = match answer {
            Answer::Received { what, more } => {
                connection.armed = more;
                connection.ending &= more;
                connection.held += usize::from(matches!(what, Received::Data(_)));
                connection.told_gone |= matches!(what, Received::Failed(_));
                connection.hungry |= matches!(what, Received::Starved);
                connection.echo.received(what, more, cap, &mut self.links)
            }
            Answer::Sent { delivered, rest } => {
                connection.sending = false;
                connection.told_gone |= !delivered;
                connection.echo.sent(delivered, rest, cap, &mut self.links)
            }
            Answer::Cancelled => {
                connection.cancelling = false;
                connection.echo.cancelled(cap)
            }
        };
        self.apply(index, next);
        self.check_cap(index, cap);
    }

    pub(super) fn worker_feeds(&mut self) {
        for _ in 0..self.offered.len() {
            let Some(index) = self.starved.pop_front() else {
                return;
            };
            if !self.connections[index].closed {
                let cap = self.cap();
                self.connections[index].hungry = false;
                let next = self.connections[index].echo.fed(cap);
                self.apply(index, next);
            }
        }
    }

    /// It does so when buffers are scarce.
    pub(super) fn worker_renews(&mut self, index: usize) {
        if self.scarce && !self.connections[index].closed && self.dice.one_in(4) {
            let next = self.connections[index].echo.renew();
            self.apply(index, next);
        }
    }

    pub(super) fn worker_leaves(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let leaves = matches!(self.ends, Ends::InFarewell | Ends::InBoth);
        if leaves && connection.farewell.is_none() && !connection.closed {
            connection.left = true;
            let cap = self.cap();
            let next = self.connections[index].echo.leave(cap);
            self.apply(index, next);
        }
    }

    /// It shrinks and grows with the number of connections.
    pub(super) fn cap(&mut self) -> usize {
        self.dice.some(self.cap)
    }

    pub(super) fn apply(&mut self, index: usize, next: Next) {
        let Next {
            mut give_back,
            send,
            receive,
            finish,
            close,
        } = next;
        while let Some(chunk) = give_back.pop(&self.links) {
            let range = self.come_home(index, fake::buffer(&chunk));
            let connection = &self.connections[index];
            let late = connection.farewell.is_some_and(|before| range.start >= before);
            assert!(connection.told_gone || late, "bytes {range:?} are still wanted");
        }
        let connection = &mut self.connections[index];
        assert!(!connection.closed, "a connection closes once, and last");
        if !send.is_empty() {
            assert!(!connection.told_gone, "nobody is there to get it");
            assert!(!connection.sending, "one send in flight per connection");
            connection.sending = true;
            connection.outgoing = Some(send);
        }
        match receive {
            Receive::Keep => {}
            Receive::Arm => {
                assert!(!connection.armed, "one receive in flight per connection");
                assert!(!connection.cancelling, "a cancel would hit the new receive");
                assert!(!connection.hungry, "an empty pool would refuse it at once");
                connection.armed = true;
                connection.receiving = true;
            }
            Receive::Starve => {
                assert!(!connection.armed && !connection.told_gone);
                assert!(!self.starved.contains(&index), "one place in the queue");
                connection.hungry = true;
                self.starved.push_back(index);
            }
            Receive::Cancel => {
                assert!(connection.armed && !connection.ending && !connection.cancelling);
                connection.ending = true;
                connection.cancelling = true;
                connection.cancel = true;
            }
        }
        self.end(index, finish, close);
    }

    pub(super) fn end(&mut self, index: usize, finish: bool, close: bool) {
        let connection = &mut self.connections[index];
        if finish && connection.unread() == 0 {
            assert!(connection.left && connection.farewell.is_none());
            if !connection.reset {
                assert_eq!(connection.echoed, connection.taken, "a farewell before the echo");
            }
            connection.farewell = Some(connection.written);
            connection.echo.farewell();
        }
        if close {
            let kernel = connection.sending || connection.armed || connection.cancelling;
            assert!(!kernel, "something is still in the kernel");
            assert_eq!(connection.held, 0, "a close loses buffers");
            if !connection.told_gone {
                assert!(connection.fin && connection.unread() == 0);
                let owed = connection.farewell.unwrap_or(connection.taken);
                assert_eq!(connection.echoed, owed, "closed before the echo was complete");
            }
            connection.closed = true;
        }
    }

    /// At the cap no receive stays armed; what it had already taken may still come.
    pub(super) fn check_cap(&self, index: usize, cap: usize) {
        let connection = &self.connections[index];
        if connection.armed && !connection.ending {
            let held = connection.held;
            assert!(held < cap, "{held} chunks held at a cap of {cap}, and receiving");
        }
    }
}

impl Connection {
    pub(super) fn new(echo: Echo, plan: usize) -> Connection {
        Connection {
            echo,
            plan,
            written: 0,
            fin: false,
            reset: false,
            mute: false,
            taken: 0,
            echoed: 0,
            room: 0,
            outgoing: None,
            skip: 0,
            receiving: false,
            cancel: false,
            armed: false,
            sending: false,
            cancelling: false,
            ending: false,
            held: 0,
            hungry: false,
            left: false,
            farewell: None,
            told_gone: false,
            closed: false,
        }
    }
}
