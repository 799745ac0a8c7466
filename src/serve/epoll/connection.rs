//! One connection of the epoll worker: read into the worker's buffer, write back at once, keep only what the socket did
//! not take.
//!
//! Events are edges (epoll(7)): one reports that something has changed, and no other follows until it changes again. So
//! a connection counts as readable from an event until a short read. At a short read the receive queue was empty, and
//! what arrives later is an edge of its own. A FIN or out-of-band data shortens a read as well: after such an event the
//! connection reads until the socket has nothing (EAGAIN).

use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use mio::event::Event;
use mio::net::TcpStream;

use crate::clock::Nanos;
use crate::serve::counters::{Counters, Operation};
use crate::sys::socket;

/// Bytes that one connection may receive in a turn: 256 KiB, about 50 µs of copying.
const TURN: usize = 262_144;

/// Bytes that one worker keeps for peers that do not read. As this fills up, reads become smaller: each takes at most a
/// 256th of what is left, but never less than `READ_MIN`, so that every connection makes progress.
pub(in crate::serve) const KEPT_MAX: usize = 64 << 20;
const READ_SHARE: usize = 256;
pub(in crate::serve) const READ_MIN: usize = 1024;

/// Empty tails kept for reuse: peers with large messages need one all the time.
const SPARE_MAX: usize = 16;

/// What the connections of a worker share and use one at a time.
pub(super) struct IoScratch {
    /// Every read goes here.
    buffer: Vec<u8>,
    /// Capacity of the tails of all connections, in bytes.
    kept: usize,
    /// Empty tails with capacity.
    spare: Vec<Vec<u8>>,
    pub(super) counters: Counters,
}

/// What the worker must do with a connection after its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for the next event.
    Wait,
    /// Give it another turn after the others: there may be more to read.
    Continue,
    /// Close it.
    Close,
}

pub(super) struct Connection {
    stream: TcpStream,
    /// What was read and not taken by the socket. While there is any, nothing more is read.
    tail: Vec<u8>,
    /// Bytes of the tail that have been sent.
    tail_sent: usize,
    /// True from an event to a short read.
    readable: bool,
    /// True while a short read does not mean that the receive queue was empty.
    read_until_empty: bool,
    /// True while it is queued for another turn.
    pub(super) unfinished: bool,
    /// True if something was received or sent since the last sweep of the drain.
    busy: bool,
    /// When an event came last, as far as the worker takes the time.
    active_at: Nanos,
    /// True once our FIN is out: what still arrives is read and dropped, so that close(2) sends no RST.
    fin_sent: bool,
    /// Bytes to receive before FIN is sent, whatever arrives after them; none if FIN waits until the connection is
    /// idle.
    last_bytes: Option<usize>,
}

impl IoScratch {
    /// With a buffer of `size` bytes.
    pub(super) fn new(size: usize) -> IoScratch {
        IoScratch {
            buffer: vec![0; size],
            kept: 0,
            spare: Vec::with_capacity(SPARE_MAX),
            counters: Counters::default(),
        }
    }

    /// An error has ended a connection.
    fn failed(&mut self, operation: Operation, cause: io::Error) {
        self.counters.error(operation, cause.into());
        self.counters.failed += 1;
    }

    /// How much may be read at once: all of it may have to be kept.
    fn read_limit(&self) -> usize {
        let share = KEPT_MAX.saturating_sub(self.kept) / READ_SHARE;
        share.max(READ_MIN).min(self.buffer.len())
    }

    /// Copies part of the buffer into a tail.
    fn keep(&mut self, from: usize, to: usize) -> Vec<u8> {
        // A large one for a few bytes would hold memory that is not counted on.
        let fits = |spare: &mut Vec<u8>| spare.capacity() <= 4 * (to - from);
        let mut tail = self.spare.pop_if(fits).unwrap_or_default();
        tail.extend_from_slice(&self.buffer[from..to]);
        self.kept += tail.capacity();
        tail
    }

    fn recycle(&mut self, mut tail: Vec<u8>) {
        self.kept -= tail.capacity();
        if self.spare.len() < SPARE_MAX {
            tail.clear();
            self.spare.push(tail);
        }
    }
}

impl Connection {
    pub(super) fn new(stream: TcpStream, now: Nanos) -> Connection {
        Connection {
            stream,
            tail: Vec::new(),
            tail_sent: 0,
            readable: false,
            read_until_empty: false,
            unfinished: false,
            busy: true,
            active_at: now,
            fin_sent: false,
            last_bytes: None,
        }
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// True if something was received or sent since the last call.
    pub(super) fn take_had_io(&mut self) -> bool {
        std::mem::take(&mut self.busy)
    }

    /// When an event came last, as far as the worker takes the time.
    pub(super) fn active_at(&self) -> Nanos {
        self.active_at
    }

    /// Notes what an event says about reading. Whether the socket is writable shows when it is written to.
    pub(super) fn on_event(&mut self, event: &Event, now: Nanos) {
        self.active_at = now;
        let unusual = event.is_read_closed() || event.is_priority() || event.is_error();
        self.readable |= event.is_readable() || unusual;
        self.read_until_empty |= unusual;
    }

    /// Echoes what has arrived, within the limit of a turn.
    pub(super) fn echo_some(&mut self, scratch: &mut IoScratch) -> Next {
        if let Some(next) = self.flush(scratch) {
            return next;
        }
        let mut left = TURN;
        while self.readable {
            if left == 0 {
                return Next::Continue;
            }
            let limit = scratch.read_limit();
            match (&self.stream).read(&mut scratch.buffer[..limit]) {
                // The peer has sent FIN and has its echo.
                Ok(0) => return Next::Close,
                Ok(read) => {
                    self.readable = read == limit || self.read_until_empty;
                    left = left.saturating_sub(read);
                    if let Some(next) = self.received(read, scratch) {
                        return next;
                    }
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    self.read_until_empty = false;
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => {
                    scratch.failed(Operation::Receive, cause);
                    return Next::Close;
                }
            }
        }
        Next::Wait
    }

    /// Writes back what is in the buffer. Some if the turn ends with that.
    fn received(&mut self, read: usize, scratch: &mut IoScratch) -> Option<Next> {
        self.busy = true;
        scratch.counters.bytes_in += read as u64;
        if self.fin_sent {
            scratch.counters.discarded += read as u64;
            return None;
        }
        let sent = match send(&self.stream, &scratch.buffer[..read]) {
            Ok(sent) => sent,
            Err(cause) => {
                scratch.failed(Operation::Send, cause);
                return Some(Next::Close);
            }
        };
        scratch.counters.bytes_out += sent as u64;
        if let Some(last_bytes) = &mut self.last_bytes {
            *last_bytes = last_bytes.saturating_sub(read);
        }
        if sent == read {
            self.finish();
            return None;
        }
        // A short write means that the socket is full; an event follows when it has room again.
        self.tail = scratch.keep(sent, read);
        self.tail_sent = 0;
        Some(Next::Wait)
    }

    /// Writes more of the tail. Some if the turn ends with that.
    fn flush(&mut self, scratch: &mut IoScratch) -> Option<Next> {
        if self.is_echoed() {
            return None;
        }
        match send(&self.stream, &self.tail[self.tail_sent..]) {
            Ok(sent) => {
                self.busy |= sent > 0;
                self.tail_sent += sent;
                scratch.counters.bytes_out += sent as u64;
            }
            Err(cause) => {
                scratch.failed(Operation::Send, cause);
                return Some(Next::Close);
            }
        }
        if self.tail_sent < self.tail.len() {
            return Some(Next::Wait);
        }
        self.tail_sent = 0;
        scratch.recycle(std::mem::take(&mut self.tail));
        self.finish();
        None
    }

    fn is_echoed(&self) -> bool {
        self.tail.is_empty()
    }

    /// The server drains, and this connection has been idle: sends FIN unless bytes have arrived.
    pub(super) fn close_idle(&mut self) {
        if self.is_echoed() && socket::readable_bytes(self.stream.as_fd()) == 0 {
            self.send_fin();
        }
    }

    /// The server drains, and waits no longer for this connection to be idle: sends FIN after the echo of all that has
    /// arrived so far.
    pub(super) fn close_busy(&mut self) {
        if self.last_bytes.is_none() {
            self.last_bytes = Some(socket::readable_bytes(self.stream.as_fd()));
            self.finish();
        }
    }

    /// Sends FIN if the connection is to end and its last bytes are echoed.
    fn finish(&mut self) {
        if self.last_bytes == Some(0) && self.is_echoed() {
            self.send_fin();
        }
    }

    fn send_fin(&mut self) {
        if !self.fin_sent {
            // If the peer is gone already, an event reports it.
            let _ = socket::shutdown_write(self.stream.as_fd());
            self.fin_sent = true;
        }
    }

    /// Takes it apart; its stream is left to close.
    pub(super) fn end(self, scratch: &mut IoScratch) -> TcpStream {
        if !self.is_echoed() {
            scratch.recycle(self.tail);
        }
        self.stream
    }

    /// Shuts it down before its echo is complete.
    pub(super) fn cut(&mut self) {
        socket::shutdown_both(self.stream.as_fd());
    }
}

/// Sends as much as the socket takes; zero if it is full.
fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match stream.write(bytes) {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_become_smaller_as_more_is_kept() {
        let mut scratch = IoScratch::new(65_536);
        assert_eq!(scratch.read_limit(), 65_536);
        scratch.kept = KEPT_MAX - (1 << 20);
        assert_eq!(scratch.read_limit(), 4096);
        scratch.kept = KEPT_MAX + 1;
        assert_eq!(scratch.read_limit(), READ_MIN);
        assert_eq!(IoScratch::new(64).read_limit(), 64, "never more than the buffer holds");
    }

    #[test]
    fn kept_bytes_are_counted_until_they_are_sent() {
        let mut scratch = IoScratch::new(100);
        let (one, two) = (scratch.keep(0, 100), scratch.keep(50, 100));
        assert_eq!((one.len(), two.len()), (100, 50));
        assert_eq!(scratch.kept, one.capacity() + two.capacity());
        scratch.recycle(one);
        scratch.recycle(two);
        assert_eq!((scratch.kept, scratch.spare.len()), (0, 2));
        assert!(scratch.spare.iter().all(Vec::is_empty));
        let small = scratch.keep(0, 1);
        assert!(small.capacity() < 50, "a large spare tail is not used for a byte");
    }
}
