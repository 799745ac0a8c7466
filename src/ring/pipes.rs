//! Pipes for peers that stream: splice(2) moves the pages of a socket into a pipe and on into the socket, so that no
//! byte is copied here.
//!
//! To a connection a pipe is another kind of buffer: it is filled, queued as a chunk, sent, and given back. io_uring
//! has an operation for it, but always runs that on a worker thread of the kernel. So a ring waits until the socket is
//! ready, and calls splice(2) itself. That call must never wait: one peer would stop all others of the worker.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::pipe::{self, PipeFlags, SpliceFlags};

use crate::error::Errno;

/// Most bytes that a pipe takes at once. It has 16 slots for pages, so that it may be full with less.
pub const PIPE_BYTES: u32 = 65_536;

/// The pipes of a pool, made when they are first used.
#[derive(Debug)]
pub(super) struct Pipes {
    /// Number of the first one within the pool.
    first: u16,
    pipes: Box<[Option<Pipe>]>,
    /// Numbers of the empty ones.
    free: Vec<u16>,
    in_use: usize,
}

#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    /// What is in it.
    bytes: u32,
}

impl Pipes {
    /// None is made yet. There is none where splice(2) may wait.
    pub(super) fn new(first: u16, count: u16) -> Pipes {
        let count = if count > 0 && splice_never_waits() { count } else { 0 };
        Pipes {
            first,
            pipes: (0..count).map(|_| None).collect(),
            free: (first..first + count).rev().collect(),
            in_use: 0,
        }
    }

    /// Moves what a socket holds into an empty pipe. Returns the pipe and the number of bytes. Errors: ENOBUFS if every
    /// pipe is in use; EAGAIN if the socket holds nothing that can be spliced, or no pipe can be made; otherwise as
    /// splice(2).
    pub(super) fn splice_in(&mut self, socket: BorrowedFd<'_>) -> Result<(u16, u32), Errno> {
        let number = *self.free.last().ok_or(Errno(libc::ENOBUFS))?;
        let Ok(pipe) = self.pipe(number) else {
            // Out of descriptors, although a reserve is kept: this stream goes back to buffers, and may try again.
            return Err(Errno(libc::EAGAIN));
        };
        match pipe.splice_from(socket)? {
            // FIN, or urgent data before it: only a receive tells them apart.
            0 => Err(Errno(libc::EAGAIN)),
            len => {
                self.free.pop();
                self.in_use += 1;
                Ok((number, len))
            }
        }
    }

    /// Moves what a pipe holds into a socket. Returns how many bytes that took. Errors: EAGAIN if there is no room for
    /// any; otherwise as splice(2).
    pub(super) fn splice_out(&mut self, number: u16, socket: BorrowedFd<'_>) -> Result<u32, Errno> {
        self.pipe(number)?.splice_into(socket)
    }

    pub(super) fn give_back(&mut self, number: u16) {
        self.in_use -= 1;
        self.free.push(number);
        let pipe = &mut self.pipes[usize::from(number - self.first)];
        *pipe = pipe.take().filter(|pipe| pipe.bytes == 0); // What a peer did not take goes with its pipe.
    }

    /// Number of empty pipes.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Number of chunks that exist.
    pub(super) fn in_use(&self) -> usize {
        self.in_use
    }

    /// Errors: EMFILE or ENFILE, if it is not made yet.
    fn pipe(&mut self, number: u16) -> io::Result<&mut Pipe> {
        match &mut self.pipes[usize::from(number - self.first)] {
            Some(pipe) => Ok(pipe),
            none => Ok(none.insert(Pipe::new()?)),
        }
    }
}

impl Pipe {
    fn new() -> io::Result<Pipe> {
        let (reader, writer) = pipe::pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Pipe {
            reader,
            writer,
            bytes: 0,
        })
    }

    fn splice_from(&mut self, socket: BorrowedFd<'_>) -> Result<u32, Errno> {
        let len = without_blocking(socket, || splice(socket, self.writer.as_fd(), PIPE_BYTES))?;
        self.bytes += len;
        Ok(len)
    }

    fn splice_into(&mut self, socket: BorrowedFd<'_>) -> Result<u32, Errno> {
        let len = without_blocking(socket, || splice(self.reader.as_fd(), socket, self.bytes))?;
        self.bytes -= len;
        Ok(len)
    }
}

fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: u32) -> Result<u32, Errno> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let moved = pipe::splice(from, None, to, None, len as usize, flags);
    moved
        .map(|moved| moved as u32)
        .map_err(|errno| Errno(errno.raw_os_error()))
}

/// SPLICE_F_NONBLOCK is only about the pipe, so the socket must not block meanwhile. Before and after it must:
/// operations of io_uring would fail with EAGAIN instead of waiting.
fn without_blocking<T>(socket: BorrowedFd<'_>, call: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    let set = |nonblocking| rustix::io::ioctl_fionbio(socket, nonblocking).map_err(|errno| Errno(errno.raw_os_error()));
    set(true)?;
    let result = call();
    set(false)?;
    result
}

/// True if splice(2) into a socket that is full returns at once. Kernels with the splice(2) of Linux 6.5 but without
/// its commit 0f0fa27b871b ignore O_NONBLOCK there.
fn splice_never_waits() -> bool {
    static NEVER_WAITS: OnceLock<bool> = OnceLock::new();
    // One attempt may be slow because this thread has to wait for its CPU.
    *NEVER_WAITS.get_or_init(|| (0..3).any(|_| fails_at_once().unwrap_or(false)))
}

/// Whether it failed before the time-out of the socket.
fn fails_at_once() -> io::Result<bool> {
    const TIMEOUT: Duration = Duration::from_millis(100);
    let (mut socket, _peer) = UnixStream::pair()?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    fill(&mut socket)?;
    let mut pipe = Pipe::new()?;
    pipe.bytes = rustix::io::write(&pipe.writer, b"?")? as u32;
    let begin = Instant::now();
    let result = pipe.splice_into(socket.as_fd());
    Ok(result == Err(Errno(libc::EAGAIN)) && begin.elapsed() < TIMEOUT / 2)
}

/// Writes until the socket is full.
fn fill(socket: &mut UnixStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    loop {
        match socket.write(&[0; 4096]) {
            Ok(_) => {}
            Err(full) if full.kind() == io::ErrorKind::WouldBlock => return socket.set_nonblocking(false),
            Err(cause) => return Err(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    /// The first number is that of the first pipe.
    const FIRST: u16 = 100;

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// Splices what `socket` holds into a pipe, once something has arrived.
    fn splice_in(pipes: &mut Pipes, socket: &TcpStream) -> Result<(u16, u32), Errno> {
        socket.peek(&mut [0]).unwrap();
        pipes.splice_in(socket.as_fd())
    }

    #[test]
    fn bytes_go_through_a_pipe_back_to_their_sender() {
        let mut pipes = Pipes::new(FIRST, 2);
        let (mut client, server) = connected();
        client.write_all(b"through a pipe").unwrap();
        let (pipe, len) = splice_in(&mut pipes, &server).unwrap();
        assert_eq!((pipe, len), (FIRST, 14));
        assert_eq!((pipes.in_use(), pipes.free()), (1, 1));
        assert_eq!(pipes.splice_out(pipe, server.as_fd()), Ok(14));
        pipes.give_back(pipe);
        assert_eq!((pipes.in_use(), pipes.free()), (0, 2));
        let mut echo = [0; 14];
        client.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"through a pipe");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(splice_in(&mut pipes, &server), Err(Errno(libc::EAGAIN)));
    }

    #[test]
    fn what_is_left_in_a_pipe_goes_to_no_other_peer() {
        let mut pipes = Pipes::new(FIRST, 1);
        let [(mut one, server_of_one), (mut other, server_of_other)] = [connected(), connected()];
        one.write_all(b"secret").unwrap();
        let (pipe, _) = splice_in(&mut pipes, &server_of_one).unwrap();
        other.write_all(b"other").unwrap();
        assert_eq!(splice_in(&mut pipes, &server_of_other), Err(Errno(libc::ENOBUFS)));
        pipes.give_back(pipe);
        let (pipe, _) = splice_in(&mut pipes, &server_of_other).unwrap();
        assert_eq!(pipes.splice_out(pipe, server_of_other.as_fd()), Ok(5));
        let mut echo = [0; 5];
        other.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"other");
    }

    #[test]
    fn splicing_into_a_full_socket_fails_at_once() {
        assert!(splice_never_waits());
        let mut pipes = Pipes::new(FIRST, 1);
        let (mut client, server) = connected();
        client.write_all(b"?").unwrap();
        let (pipe, _) = splice_in(&mut pipes, &server).unwrap();
        server.set_nonblocking(true).unwrap();
        while (&server).write(&[0; 65_536]).is_ok() {}
        assert_eq!(pipes.splice_out(pipe, server.as_fd()), Err(Errno(libc::EAGAIN)));
    }

    #[test]
    fn splicing_from_an_empty_socket_fails_at_once() {
        let mut pipes = Pipes::new(FIRST, 1);
        let (_client, server) = connected();
        assert_eq!(pipes.splice_in(server.as_fd()), Err(Errno(libc::EAGAIN)));
    }

    #[test]
    fn a_connection_that_was_reset_is_an_error() {
        let mut pipes = Pipes::new(FIRST, 1);
        let (mut client, server) = connected();
        client.write_all(b"?").unwrap();
        let (pipe, _) = splice_in(&mut pipes, &server).unwrap();
        (&server).write_all(b"unread").unwrap();
        client.peek(&mut [0]).unwrap();
        drop(client); // With unread bytes: RST.
        let reset = (&server).read(&mut [0]).unwrap_err();
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(pipes.splice_out(pipe, server.as_fd()), Err(Errno(libc::EPIPE)));
    }
}
