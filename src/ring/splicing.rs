//! Receives into pipes, and sends from them: io_uring waits until the socket is ready, and splice(2) moves the bytes.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use io_uring::opcode;
use io_uring::types::{Fd, Timespec};

use super::Ring;
use super::completion::{Completion, Received};
use super::socket::SocketRef;
use super::token::Op;
use crate::error::Errno;
use crate::slab::Key;

/// Between two attempts to send while TCP memory is short.
static PAUSE: Timespec = Timespec::new().nsec(1_000_000);

impl Ring {
    /// Receives into one pipe, once ([`Event::Received`](super::Event::Received)). Only of a socket that is a
    /// descriptor.
    pub fn receive_into_pipe<'a>(&mut self, key: Key, socket: impl Into<SocketRef<'a>>) {
        let socket = socket.into();
        self.set_spliced(key, socket);
        let events = libc::POLLIN | libc::POLLRDHUP;
        let entry = opcode::PollAdd::new(socket.number(), events as u32);
        self.push(entry.build(), Op::Receive, key);
    }

    /// The socket of a receive into a pipe is ready.
    pub(super) fn splice_in(&mut self, key: Key) -> Received {
        match self.pool.splice_in(borrowed(self.spliced[key.slot as usize])) {
            Ok(chunk) => Received::Data(chunk),
            Err(Errno(libc::ENOBUFS)) => Received::Starved,
            Err(Errno(libc::EAGAIN)) => Received::NotForPipe,
            Err(errno) => Received::Failed(errno),
        }
    }

    /// Sends from a pipe, or waits until the socket has room. `is_ready` if poll(2) says that it has: then this host is
    /// short of TCP memory, and polling again would never sleep.
    pub(super) fn splice_out(&mut self, key: Key, pipe: u16, is_ready: bool) {
        let socket = self.spliced[key.slot as usize];
        match self.pool.splice_out(pipe, borrowed(socket)) {
            Err(Errno(libc::EAGAIN)) => {
                let entry = match is_ready {
                    false => opcode::PollAdd::new(Fd(socket), libc::POLLOUT as u32).build(),
                    true => opcode::Timeout::new(&PAUSE).build(),
                };
                self.push(entry, Op::Send, key);
            }
            result => {
                let event = self.sent(key, result);
                self.done.push(Completion {
                    key,
                    more: false,
                    event,
                });
            }
        }
    }

    pub(super) fn set_spliced(&mut self, key: Key, socket: SocketRef<'_>) {
        let SocketRef::Descriptor(descriptor) = socket else {
            unreachable!("splice(2) does not know direct descriptors");
        };
        let slot = key.slot as usize;
        if slot >= self.spliced.len() {
            self.spliced.resize(slot + 1, -1);
        }
        self.spliced[slot] = descriptor.as_raw_fd();
    }

    /// The pipe that what is being sent begins with.
    pub(super) fn pipe_to_send(&self, key: Key) -> Option<u16> {
        self.outgoing[key.slot as usize].first_pipe(&self.pool.chunk_table)
    }
}

fn borrowed<'a>(socket: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the caller of a ring keeps a socket open until its operations have completed.
    unsafe { BorrowedFd::borrow_raw(socket) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::thread;

    use super::super::probe::SMALLEST;
    use super::super::{Buffers, ChunkQueue, Event, RingPlan, Store};
    use super::*;
    use crate::clock::Nanos;

    const KEY: Key = Key { slot: 3, generation: 1 };

    fn ring_with_pipe() -> Ring {
        let buffers = Buffers {
            pipes: 1,
            ..SMALLEST.buffers
        };
        Ring::new(RingPlan { buffers, ..SMALLEST }, 1).unwrap()
    }

    fn next_event(ring: &mut Ring) -> Event {
        let mut completions = Vec::new();
        while completions.is_empty() {
            ring.submit_and_wait(Nanos::NEVER, &mut completions).unwrap();
        }
        completions.pop().unwrap().event
    }

    /// A pipe with seven bytes is sent into a socket that is full, and read afterwards.
    fn sends_once_there_is_room(is_ready: bool) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut ring = ring_with_pipe();
        client.write_all(b"at last").unwrap();
        ring.receive_into_pipe(KEY, server.as_fd());
        let Event::Received(Received::Data(chunk)) = next_event(&mut ring) else {
            panic!("nothing was received");
        };
        server.set_nonblocking(true).unwrap();
        let mut before = 0;
        while let Ok(written) = server.write(&[0; 65_536]) {
            before += written;
        }
        server.set_nonblocking(false).unwrap();
        let queue = ChunkQueue::of(chunk, ring.chunk_table());
        ring.outgoing.resize_with(4, ChunkQueue::default);
        ring.outgoing[3] = queue;
        let pipe = ring.pipe_to_send(KEY).unwrap();
        ring.splice_out(KEY, pipe, is_ready);
        let reading = thread::spawn(move || {
            let mut got = vec![0; before + 7];
            client.read_exact(&mut got).unwrap();
            got.split_off(before)
        });
        assert!(matches!(next_event(&mut ring), Event::Sent { sent: Ok(7), .. }));
        assert_eq!(reading.join().unwrap(), b"at last");
        assert_eq!(ring.in_use(Store::Pipe), 0);
    }

    #[test]
    fn a_send_from_a_pipe_waits_until_the_socket_has_room() {
        sends_once_there_is_room(false);
    }

    #[test]
    fn a_send_that_finds_no_room_although_poll_says_so_is_tried_again() {
        sends_once_there_is_room(true);
    }
}
