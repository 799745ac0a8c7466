//! The worker of a model world: hands completions to the connections, and applies what they say.

use super::*;
use crate::serve::uring::echo::SendFin;

impl World {
    pub(super) fn worker_handles(&mut self) {
        let Some((index, report)) = self.reports.pop_front() else {
            return;
        };
        let allowance = self.allowance();
        let connection = &mut self.connections[index];
        assert!(!connection.closed, "a completion for a connection that has been closed");
        let next = match report {
            Report::Received { what, more } => {
                connection.armed = more;
                connection.ending &= more;
                connection.held += usize::from(matches!(what, Received::Data(_)));
                connection.gone |= matches!(what, Received::Failed(_));
                connection.starved |= matches!(what, Received::Starved);
                connection.echo.received(what, more, allowance, &mut self.table)
            }
            Report::Sent { delivered, rest } => {
                connection.sending = false;
                connection.gone |= !delivered;
                connection.echo.sent(delivered, rest, allowance, &mut self.table)
            }
            Report::Cancelled => {
                connection.cancelling = false;
                connection.echo.cancelled(allowance)
            }
        };
        self.apply(index, next);
        self.check_receive(index, allowance.cap);
    }

    pub(super) fn worker_serves_starved(&mut self) {
        for store in [Store::Buffer, Store::Pipe] {
            for _ in 0..self.supply(store).offered.len() {
                self.serve_next_starved(store, Echo::available);
            }
        }
    }

    pub(super) fn worker_times_out_streams(&mut self) {
        for _ in 0..self.pipes.starved.len() {
            self.serve_next_starved(Store::Pipe, Echo::no_pipe);
        }
    }

    fn serve_next_starved(&mut self, store: Store, event: fn(&mut Echo, BufferAllowance) -> Next) {
        let Some(index) = self.supply(store).starved.pop_front() else {
            return;
        };
        let allowance = self.allowance();
        let connection = &mut self.connections[index];
        if !connection.closed {
            connection.starved = false;
            let next = event(&mut connection.echo, allowance);
            self.apply(index, next);
        }
    }

    /// As a worker does when buffers become low.
    pub(super) fn renew_receive(&mut self, index: usize) {
        if self.renews && !self.connections[index].closed && self.one_in(4) {
            let next = self.connections[index].echo.renew();
            self.apply(index, next);
        }
    }

    pub(super) fn worker_closes_idle(&mut self, index: usize) {
        let allowance = self.allowance();
        let connection = &mut self.connections[index];
        let drains = matches!(self.ending, Ending::Drain | Ending::DrainAndReset);
        if drains && connection.fin_sent_at.is_none() && !connection.closed {
            connection.draining = true;
            let busy = self.random.below(4) == 0;
            let connection = &mut self.connections[index];
            let next = if busy {
                connection.arrived = connection.arrived.or(Some(connection.written));
                connection.echo.close_busy(allowance)
            } else {
                connection.echo.close_idle(allowance)
            };
            self.apply(index, next);
        }
    }

    /// The cap changes with the number of connections.
    pub(super) fn allowance(&mut self) -> BufferAllowance {
        BufferAllowance {
            cap: self.some(self.cap),
            buffer_size: self.buffers.size,
            pipe_free: !self.pipes.offered.is_empty(),
        }
    }

    pub(super) fn apply(&mut self, index: usize, next: Next) {
        let Next {
            mut give_back,
            send,
            fin,
            receive,
            switched,
            close,
        } = next;
        while let Some(chunk) = give_back.pop(&self.table) {
            let range = self.given_back(index, fake::buffer(&chunk));
            let connection = &self.connections[index];
            let late = connection.fin_sent_at.is_some_and(|before| range.start >= before);
            assert!(connection.gone || late, "bytes {range:?} were not echoed");
        }
        let connection = &mut self.connections[index];
        assert!(!connection.closed, "a connection closes once, and last");
        if !send.is_empty() {
            assert!(!connection.gone, "a send to a peer that is gone");
            assert!(!connection.sending, "one send in flight per connection");
            connection.sending = true;
            connection.outgoing = Some(send);
        }
        self.apply_fin(index, fin);
        self.apply_receive(index, receive);
        self.apply_switch(index, switched);
        if close {
            self.apply_close(index);
        }
    }

    fn apply_receive(&mut self, index: usize, receive: Receive) {
        let connection = &mut self.connections[index];
        match receive {
            Receive::Keep => {}
            Receive::Arm(store) => {
                assert!(!connection.armed, "one receive in flight per connection");
                assert!(!connection.cancelling, "a cancel would hit the new receive");
                assert!(!connection.starved, "an empty pool would refuse it at once");
                connection.armed = true;
                connection.store = store;
                connection.receiving = Some(store);
            }
            Receive::Starve(store) => {
                assert!(!connection.armed && !connection.gone);
                let queues = [&self.buffers.starved, &self.pipes.starved];
                assert!(!queues.iter().any(|queue| queue.contains(&index)), "queued once");
                connection.starved = true;
                self.supply(store).starved.push_back(index);
            }
            Receive::Cancel => {
                assert!(connection.armed && !connection.ending && !connection.cancelling);
                connection.ending = true;
                connection.cancelling = true;
                connection.cancel = true;
            }
        }
    }

    fn apply_switch(&mut self, index: usize, switched: Option<Store>) {
        let connection = &mut self.connections[index];
        let Some(store) = switched else {
            return;
        };
        let streams = store == Store::Pipe;
        assert_ne!(connection.streams, streams, "a switch that changes nothing");
        connection.streams = streams;
        if streams {
            self.streams += 1;
            self.streams_begun += 1;
        } else {
            self.streams -= 1;
        }
    }

    fn apply_fin(&mut self, index: usize, fin: Option<SendFin>) {
        let connection = &mut self.connections[index];
        if fin == Some(SendFin::AfterUnread) && connection.unread() > 0 {
            connection.echo.fin_after(connection.unread());
        }
        if fin == Some(SendFin::Now) || fin.is_some() && connection.unread() == 0 {
            assert!(connection.draining && connection.fin_sent_at.is_none());
            if !connection.reset {
                assert_eq!(connection.echoed, connection.taken, "FIN before the echo");
                let arrived = connection.arrived.unwrap_or(connection.written);
                assert!(connection.taken >= arrived, "FIN before the echo of what had arrived");
            }
            connection.fin_sent_at = Some(connection.taken);
            connection.echo.fin_sent();
        }
    }

    fn apply_close(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let in_kernel = connection.sending || connection.armed || connection.cancelling;
        assert!(!in_kernel, "something is still in the kernel");
        assert_eq!(connection.held, 0, "a close loses buffers");
        assert!(!connection.streams, "a closed connection does not stream");
        if !connection.gone {
            assert!(connection.fin && connection.unread() == 0);
            let owed = connection.fin_sent_at.unwrap_or(connection.taken);
            assert_eq!(connection.echoed, owed, "closed before the echo was complete");
        }
        connection.closed = true;
    }

    /// No receive stays armed at the cap or for the wrong buffers; what it had already taken may still arrive.
    fn check_receive(&self, index: usize, cap: usize) {
        let connection = &self.connections[index];
        if connection.armed && !connection.ending {
            let held = connection.held;
            assert!(held < cap, "{held} chunks held at a cap of {cap}, and receiving");
            assert_eq!(
                connection.store == Store::Pipe,
                connection.streams,
                "receiving into the wrong buffers"
            );
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
            silent: false,
            taken: 0,
            echoed: 0,
            room: 0,
            outgoing: None,
            skip: 0,
            receiving: None,
            cancel: false,
            armed: false,
            store: Store::Buffer,
            sending: false,
            cancelling: false,
            ending: false,
            held: 0,
            starved: false,
            streams: false,
            draining: false,
            arrived: None,
            fin_sent_at: None,
            gone: false,
            closed: false,
        }
    }
}
