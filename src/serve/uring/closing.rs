//! How connections end: by themselves, without traffic for too long, to free buffers, and in a drain.

use std::os::fd::AsFd;

use super::echo::{Echo, SendFin};
use super::{BufferLevels, Connection, Worker};
use crate::clock::{self, Nanos};
use crate::ring::{Ring, Store};
use crate::serve::counters::Counters;
use crate::serve::drain::Activity;
use crate::serve::notices::Notice;
use crate::slab::Key;
use crate::sys::socket;

/// A connection without progress for this long does not read, as far as its neighbours can wait to find out.
const STUCK: Nanos = Nanos::SECOND;

/// Sends FIN, under this condition. Before the next receive is in the kernel: what that takes is not unread any more.
pub(super) fn send_fin(ring: &mut Ring, connection: &mut Connection, when: SendFin) {
    let Ok(peer) = ring.descriptor(&connection.socket) else {
        return; // Out of descriptors: it is cut at the end of the drain.
    };
    match (when, socket::readable_bytes(peer.as_fd())) {
        (SendFin::Now, _) | (_, 0) => {
            // If the peer is gone already, the receive reports it.
            let _ = socket::shutdown_write(peer.as_fd());
            connection.echo.fin_sent();
        }
        (SendFin::AfterUnread, unread) => connection.echo.fin_after(unread),
        (SendFin::IfNothingArrived, _) => {}
    }
}

impl Worker<'_> {
    /// The echo is complete, so close(2) sends FIN after the last byte.
    pub(super) fn close(&mut self, key: Key) {
        if let Some(connection) = self.connections.remove(key) {
            let place = connection.place(self.index);
            self.shared
                .close_with(self.index, place, || self.ring.close(connection.socket));
            self.counters.closed += 1;
            self.counters.failed += u64::from(connection.failed);
        }
    }

    /// Closes connections that have been idle for too long.
    pub(super) fn close_expired(&mut self) {
        let active_at = |connection: &Connection| connection.active_at;
        for key in self.idle.expired(clock::now, &mut self.connections, active_at) {
            if let Some(connection) = self.connections.get_mut(key)
                && let Ok(peer) = self.ring.descriptor(&connection.socket)
                && socket::end_idle(&peer.as_fd())
            {
                self.counters.timed_out += 1;
            }
        }
    }

    /// Resets connections that hold buffers and do not read, the longest stuck first, when others have waited for a
    /// buffer for too long: as many as wait.
    pub(super) fn evict_stuck(&mut self) {
        let waiting = self.buffers.overdue(self.buffer_levels(), clock::now);
        if waiting == 0 {
            return;
        }
        let now = clock::now();
        let is_stuck = |connection: &Connection| connection.echo.held() > 0 && connection.active_at + STUCK <= now;
        let mut stuck: Vec<(Nanos, Key)> = self
            .connections
            .iter_mut()
            .filter(|(_, connection)| is_stuck(connection))
            .map(|(key, connection)| (connection.active_at, key))
            .collect();
        stuck.sort_unstable_by_key(|&(active_at, key)| (active_at, key.slot));
        stuck.truncate(waiting);
        if !stuck.is_empty() {
            self.notices.report(Notice::Evicted(stuck.len()));
        }
        for (_, key) in stuck {
            if let Some(connection) = self.connections.get_mut(key)
                && let Ok(peer) = self.ring.descriptor(&connection.socket)
            {
                // Ends the send in flight, which gives the buffers back.
                socket::reset_on_close(peer.as_fd());
                socket::shutdown_both(peer.as_fd());
                self.counters.evicted += 1;
            }
        }
    }

    pub(super) fn begin_drain(&mut self) {
        let timeout = self.shared.drain_timeout();
        let begun = self
            .drain
            .begin(clock::now(), timeout, &mut self.connections, Connection::take_had_io);
        if begun {
            self.notices.report(Notice::DrainBegan(self.connections.len()));
        }
        if begun && self.index == 0 {
            self.acceptor.state.begin_drain(self.shared.queued_max());
            if self.shared.is_handed_over() && !self.acceptor.state.is_on() {
                self.acceptor.state.end(); // There is no room here for what waits.
            }
            self.resume_accepting();
        }
    }

    pub(super) fn continue_drain(&mut self) {
        if self.drain.is_over(clock::now) && !self.acceptor.state.is_off() {
            self.end_accepting();
        }
        for (key, activity) in self
            .drain
            .sweep(clock::now, &mut self.connections, Connection::take_had_io)
        {
            match activity {
                Activity::Idle => self.update(key, Echo::close_idle),
                Activity::Busy => self.update(key, Echo::close_busy),
            }
        }
    }

    /// Cuts the connections that are left.
    pub(super) fn end(mut self) -> Counters {
        self.counters.cut = (self.connections.len() + self.acceptor.held()) as u64;
        self.notices.report(Notice::DrainEnded(self.counters.cut as usize));
        for connection in self.connections.values_mut() {
            if let Ok(peer) = self.ring.descriptor(&connection.socket) {
                socket::shutdown_both(peer.as_fd());
            }
        }
        self.counters_now()
    }

    /// Its own counters with those of the ring.
    pub(super) fn counters_now(&self) -> Counters {
        let ring = self.ring.counts();
        Counters {
            overflows: ring.overflows,
            enters: ring.enters,
            spun: ring.spun,
            in_use: (self.ring.in_use(Store::Buffer) + self.ring.in_use(Store::Pipe)) as u64,
            ..self.counters.clone()
        }
    }

    pub(super) fn buffer_levels(&self) -> BufferLevels {
        BufferLevels {
            buffers: self.ring.offered(Store::Buffer),
            pipes: self.ring.offered(Store::Pipe),
            has_spare: self.ring.has_spare(),
        }
    }
}
