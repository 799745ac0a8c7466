//! A minimal echo on io_uring, without state per connection: to measure servers by, not to run.
//!
//! One thread, one ring, one multishot accept, one multishot receive per connection, one ring of provided buffers, and
//! a send from the buffer that was received into. There is no state per connection, so it is wrong in ways that a
//! server must not be: the tail of a short send is lost; two sends in flight on one connection may change places; a
//! connection whose peer never reads keeps its buffers, and enough of those stop all others; a stale completion may
//! meet a new connection with the same descriptor. Ping-pong of messages that fit into a buffer meets none of these.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use urecho_peers::{Options, no_ring};

/// Entries of the submission queue; the completion queue has room for a burst of all connections of a benchmark.
const ENTRIES: u32 = 1024;
const COMPLETIONS: u32 = 32_768;

/// Buffers, a power of two.
const BUFFERS: u16 = 256;

/// The one group of provided buffers.
const GROUP: u16 = 0;

/// What completed: the upper half of `user_data`, above the descriptor. A send has the buffer's number there too.
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
const CLOSE: u64 = 3;

fn main() -> ExitCode {
    urecho_peers::run("minimal-uring", serve)
}

fn serve(options: Options) -> io::Result<()> {
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_cqsize(COMPLETIONS)
        .build(ENTRIES)
        .map_err(no_ring)?;
    let buffers = Buffers::register(&ring, options.buffer_size())?;
    let listener = options.listen()?;
    Echo { ring, buffers }.run(&listener, &options)
}

struct Echo {
    ring: IoUring,
    buffers: Buffers,
}

impl Echo {
    fn run(&mut self, listener: &TcpListener, options: &Options) -> io::Result<()> {
        let accept = || {
            let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build();
            accept.user_data(ACCEPT << 32)
        };
        self.push(&accept())?;
        let mut completions = Vec::with_capacity(COMPLETIONS as usize);
        loop {
            match self.ring.submit_and_wait(1) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            completions.extend(self.ring.completion());
            for completion in completions.drain(..) {
                let (what, fd) = (completion.user_data() >> 32, completion.user_data() as u32 as RawFd);
                match what & 0xff {
                    ACCEPT => {
                        match completion.result() {
                            fd @ 0.. => self.receive(fd)?,
                            error => options.not_accepted(io::Error::from_raw_os_error(-error)),
                        }
                        if !cqueue::more(completion.flags()) {
                            self.push(&accept())?;
                        }
                    }
                    RECEIVE => self.received(fd, &completion)?,
                    SEND => self.buffers.give_back((what >> 8) as u16),
                    _ => {} // A close.
                }
            }
            self.buffers.publish();
        }
    }

    fn receive(&mut self, fd: RawFd) -> io::Result<()> {
        let receive = opcode::RecvMulti::new(Fd(fd), GROUP).build();
        self.push(&receive.user_data(RECEIVE << 32 | fd as u64))
    }

    fn received(&mut self, fd: RawFd, completion: &cqueue::Entry) -> io::Result<()> {
        let ended = !cqueue::more(completion.flags());
        match (completion.result(), cqueue::buffer_select(completion.flags())) {
            (length @ 1.., Some(buffer)) => {
                let send = opcode::Send::new(Fd(fd), self.buffers.at(buffer), length as u32).build();
                self.push(&send.user_data((SEND | u64::from(buffer) << 8) << 32 | fd as u64))?;
                if ended { self.receive(fd) } else { Ok(()) }
            }
            (error, _) if -error == nix::errno::Errno::ENOBUFS as i32 => self.receive(fd),
            // In the ring, after the sends before it.
            _ => self.push(&opcode::Close::new(Fd(fd)).build().user_data(CLOSE << 32)),
        }
    }

    #[allow(unsafe_code)]
    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the only memory that entries point to is that of the buffers, which lives as long as the ring.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }
}

/// Provided buffers, never freed.
struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    size: usize,
    /// How many were ever given to the kernel.
    given: u16,
}

impl Buffers {
    #[allow(unsafe_code)]
    fn register(ring: &IoUring, size: usize) -> io::Result<Buffers> {
        let pages = |bytes: usize| -> io::Result<NonNull<u8>> {
            let length = bytes.next_multiple_of(4096).try_into().map_err(io::Error::other)?;
            let protection = nix::sys::mman::ProtFlags::PROT_READ | nix::sys::mman::ProtFlags::PROT_WRITE;
            let flags = nix::sys::mman::MapFlags::MAP_PRIVATE;
            // SAFETY: a new mapping, which nothing else knows.
            let mapping = unsafe { nix::sys::mman::mmap_anonymous(None, length, protection, flags) };
            Ok(mapping?.cast())
        };
        let entries: NonNull<BufRingEntry> = pages(usize::from(BUFFERS) * size_of::<BufRingEntry>())?.cast();
        let memory = pages(usize::from(BUFFERS) * size)?;
        // SAFETY: the entries are page-aligned, there are as many as are registered, and they are never unmapped.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(entries.as_ptr() as u64, BUFFERS, GROUP, 0)?
        };
        let mut buffers = Buffers {
            entries,
            memory,
            size,
            given: 0,
        };
        (0..BUFFERS).for_each(|buffer| buffers.give_back(buffer));
        buffers.publish();
        Ok(buffers)
    }

    fn at(&self, buffer: u16) -> *mut u8 {
        self.memory.as_ptr().wrapping_add(usize::from(buffer) * self.size)
    }

    /// The kernel may use it again, from the next [`publish`](Buffers::publish) on.
    #[allow(unsafe_code)]
    fn give_back(&mut self, buffer: u16) {
        let (address, length) = (self.at(buffer) as u64, self.size as u32);
        // SAFETY: the index is within the ring, and the kernel reads an entry only once the tail has passed it.
        let entry = unsafe { self.entries.add(usize::from(self.given % BUFFERS)).as_mut() };
        entry.set_addr(address);
        entry.set_len(length);
        entry.set_bid(buffer);
        self.given = self.given.wrapping_add(1);
    }

    #[allow(unsafe_code)]
    fn publish(&self) {
        // SAFETY: the tail is within the first entry, is aligned, and is only written here.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.as_ptr()).cast_mut()) };
        tail.store(self.given, Ordering::Release);
    }
}
