//! One connection of the epoll worker: read into the worker's buffer, write it back at once, keep only what the
//! socket would not take.
//!
//! Events come as edges (epoll(7)): one tells that something has changed, and nothing more until it changes again. So
//! a connection remembers that there was something to read until a read has come back short. Then the queue was
//! empty at that moment, and what comes later is an edge of its own. A FIN or a byte out of band ends a read early
//! too; these are read on until the socket says that there is nothing.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use mio::event::Event;
use mio::net::TcpStream;

use crate::serve::counters::{Counters, Doing};
use crate::sys::socket;

/// Bytes that one connection may receive before the others get their turn: 256 KiB, some 50 µs of copying.
const TURN: usize = 262_144;

/// Bytes that peers which do not read may make one worker keep. As this fills up, less is read at once: each read takes
/// at most a 256th of what is left, but always this many bytes of the least, so that everybody moves.
const KEPT: usize = 64 << 20;
const SHARE: usize = 256;
const LEAST: usize = 1024;

/// Buffers to keep for the next connection that gets stuck: peers with large messages do all the time.
const SPARE: usize = 16;

/// What all connections of a worker use in turn.
pub(super) struct Desk {
    /// Where everything is read to.
    buffer: Vec<u8>,
    /// Bytes in the tails of all connections.
    kept: usize,
    /// Empty, with room.
    spare: Vec<Vec<u8>>,
    pub(super) counters: Counters,
}

/// What a worker does about a connection that had its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// An event will say when there is something to do.
    Wait,
    /// There may be more: another turn, after the others.
    GoOn,
    /// It is over.
    Close,
}

pub(super) struct Connection {
    stream: TcpStream,
    /// What was read and not taken by the socket. While there is any, nothing more is read.
    tail: Vec<u8>,
    /// How much of the tail has gone out.
    gone: usize,
    /// True from an event to a short read.
    readable: bool,
    /// True while a short read does not mean that nothing more is there.
    thorough: bool,
    /// True while it waits for another turn.
    pub(super) queued: bool,
    /// True when something was received or sent since the last sweep.
    pub(super) busy: bool,
    /// True once our FIN is out: what still comes is read and dropped, so that close sends no RST.
    finished: bool,
}

impl Desk {
    /// With a buffer of `size` bytes.
    pub(super) fn new(size: usize) -> Desk {
        Desk {
            buffer: vec![0; size],
            kept: 0,
            spare: Vec::with_capacity(SPARE),
            counters: Counters::default(),
        }
    }

    /// How much may be read at once, since all of it may have to be kept.
    fn limit(&self) -> usize {
        let share = KEPT.saturating_sub(self.kept) / SHARE;
        share.max(LEAST).min(self.buffer.len())
    }

    /// Copies out of the buffer what has to wait.
    fn keep(&mut self, from: usize, to: usize) -> Vec<u8> {
        let mut tail = self.spare.pop().unwrap_or_default();
        tail.extend_from_slice(&self.buffer[from..to]);
        self.kept += tail.len();
        tail
    }

    fn take_back(&mut self, mut tail: Vec<u8>) {
        self.kept -= tail.len();
        if self.spare.len() < SPARE {
            tail.clear();
            self.spare.push(tail);
        }
    }
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            tail: Vec::new(),
            gone: 0,
            readable: false,
            thorough: false,
            queued: false,
            busy: true,
            finished: false,
        }
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Remembers what an event says about reading. Whether it can write is found out by writing.
    pub(super) fn hear(&mut self, event: &Event) {
        let unusual = event.is_read_closed() || event.is_priority() || event.is_error();
        self.readable |= event.is_readable() || unusual;
        self.thorough |= unusual;
    }

    /// Echoes what is there, up to the bounds of a turn.
    pub(super) fn turn(&mut self, desk: &mut Desk) -> After {
        if let Some(after) = self.flush(desk) {
            return after;
        }
        let mut left = TURN;
        while self.readable {
            if left == 0 {
                return After::GoOn;
            }
            let limit = desk.limit();
            match (&self.stream).read(&mut desk.buffer[..limit]) {
                // The peer has finished, and has its echo.
                Ok(0) => return After::Close,
                Ok(read) => {
                    self.readable = read == limit || self.thorough;
                    left = left.saturating_sub(read);
                    if let Some(after) = self.received(read, desk) {
                        return after;
                    }
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    self.thorough = false;
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => {
                    desk.counters.error(Doing::Receive, cause.into());
                    return After::Close;
                }
            }
        }
        After::Wait
    }

    /// Writes back what is in the buffer. Says what to do if the turn ends with that.
    fn received(&mut self, read: usize, desk: &mut Desk) -> Option<After> {
        self.busy = true;
        desk.counters.bytes_in += read as u64;
        if self.finished {
            desk.counters.discarded += read as u64;
            return None;
        }
        let sent = match send(&self.stream, &desk.buffer[..read]) {
            Ok(sent) => sent,
            Err(cause) => {
                desk.counters.error(Doing::Send, cause.into());
                return Some(After::Close);
            }
        };
        desk.counters.bytes_out += sent as u64;
        if sent == read {
            return None;
        }
        // A short write has met a full socket, and there will be an event when it is not full any more.
        self.tail = desk.keep(sent, read);
        self.gone = 0;
        Some(After::Wait)
    }

    /// Writes more of the tail. Says what to do if the turn ends with that.
    fn flush(&mut self, desk: &mut Desk) -> Option<After> {
        if self.is_echoed() {
            return None;
        }
        match send(&self.stream, &self.tail[self.gone..]) {
            Ok(sent) => {
                self.busy |= sent > 0;
                self.gone += sent;
                desk.counters.bytes_out += sent as u64;
            }
            Err(cause) => {
                desk.counters.error(Doing::Send, cause.into());
                return Some(After::Close);
            }
        }
        if self.gone < self.tail.len() {
            return Some(After::Wait);
        }
        self.gone = 0;
        desk.take_back(std::mem::take(&mut self.tail));
        None
    }

    fn is_echoed(&self) -> bool {
        self.tail.is_empty()
    }

    /// The server wants to end, and this peer has been quiet: it gets FIN, unless there are bytes after all.
    pub(super) fn leave(&mut self) {
        let stream = self.stream.as_fd();
        if self.is_echoed() && !self.finished && socket::readable_bytes(stream) == 0 {
            // The peer may be gone already; then an event says so.
            let _ = socket::shutdown_write(stream);
            self.finished = true;
        }
    }

    /// Closes it.
    pub(super) fn end(self, desk: &mut Desk) {
        if !self.is_echoed() {
            desk.take_back(self.tail);
        }
    }

    /// Closes it though it is not over.
    pub(super) fn cut(self) {
        socket::shutdown_both(self.stream.as_fd());
    }
}

/// Sends as much as fits: zero if nothing does.
fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match stream.write(bytes) {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_is_kept_the_less_is_read_at_once_but_never_nothing() {
        let mut desk = Desk::new(65_536);
        assert_eq!(desk.limit(), 65_536);
        desk.kept = KEPT - (1 << 20);
        assert_eq!(desk.limit(), 4096);
        desk.kept = KEPT + 1;
        assert_eq!(desk.limit(), LEAST);
        assert_eq!(Desk::new(64).limit(), 64, "a small buffer is a limit too");
    }

    #[test]
    fn what_is_kept_is_counted_until_it_has_gone() {
        let mut desk = Desk::new(100);
        let (one, two) = (desk.keep(0, 100), desk.keep(50, 100));
        assert_eq!((one.len(), two.len(), desk.kept), (100, 50, 150));
        desk.take_back(one);
        desk.take_back(two);
        assert_eq!((desk.kept, desk.spare.len()), (0, 2));
        assert!(desk.spare.iter().all(Vec::is_empty));
    }
}
