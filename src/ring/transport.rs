//! What a load needs of the kernel: connections, bytes, and waiting. By io_uring ([`Ring`]) or by epoll ([`Poller`]).
//!
//! The load is generic over it, so that both generators are one code, and no operation has a dynamic dispatch. The
//! methods are those of a ring.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use super::{Buffers, Chunk, ChunkQueue, ChunkTable, Completion, Counts, Poller, Queues, Ring, Role, SizeClass, Spin};
use crate::clock::Nanos;
use crate::error::Result;
use crate::slab::Key;

/// A ring of a client, or what stands for one. For one thread.
pub trait Transport: Sized {
    /// As [`Ring::new`].
    fn open(queues: Queues, buffers: Buffers, rings: usize) -> Result<Self>;
    /// As [`Ring::counts`].
    fn counts(&self) -> Counts;
    /// As [`Ring::submitted`].
    fn submitted(&self) -> Option<Nanos>;
    /// As [`Ring::set_spin`].
    fn set_spin(&mut self, spin: Spin);
    /// As [`Ring::watch`].
    fn watch(&mut self, key: Key, readable: BorrowedFd<'_>);
    /// As [`Ring::connect`].
    fn connect(&mut self, key: Key, socket: BorrowedFd<'_>, target: SocketAddr);
    /// As [`Ring::receive`], into small buffers.
    fn receive(&mut self, key: Key, socket: BorrowedFd<'_>);
    /// As [`Ring::send`].
    fn send(&mut self, key: Key, socket: BorrowedFd<'_>, chunks: ChunkQueue);
    /// As [`Ring::cancel_receive`].
    fn cancel_receive(&mut self, key: Key);
    /// As [`Ring::cancel_connect`].
    fn cancel_connect(&mut self, key: Key);
    /// As [`Ring::submit_and_wait`].
    fn submit_and_wait(&mut self, until: Nanos, out: &mut Vec<Completion>) -> Result<()>;
    /// As [`Ring::bytes`].
    fn bytes(&self, chunk: &Chunk) -> &[u8];
    /// As [`Ring::lease`].
    fn lease(&mut self) -> Option<Chunk>;
    /// As [`Ring::fill`].
    fn fill(&mut self, chunk: &mut Chunk, fill: impl FnOnce(&mut [u8]) -> usize);
    /// As [`Ring::give_back`].
    fn give_back(&mut self, chunk: Chunk);
    /// As [`Ring::give_back_all`].
    fn give_back_all(&mut self, chunks: ChunkQueue);
    /// As [`Ring::chunk_table`].
    fn chunk_table(&mut self) -> &mut ChunkTable;
    /// Number of small buffers that can be received into.
    fn offered(&self) -> usize;
}

/// The methods that both have under the same name.
macro_rules! forward {
    () => {
        fn counts(&self) -> Counts {
            self.counts()
        }
        fn submitted(&self) -> Option<Nanos> {
            self.submitted()
        }
        fn set_spin(&mut self, spin: Spin) {
            self.set_spin(spin);
        }
        fn watch(&mut self, key: Key, readable: BorrowedFd<'_>) {
            self.watch(key, readable);
        }
        fn connect(&mut self, key: Key, socket: BorrowedFd<'_>, target: SocketAddr) {
            self.connect(key, socket, target);
        }
        fn send(&mut self, key: Key, socket: BorrowedFd<'_>, chunks: ChunkQueue) {
            self.send(key, socket, chunks);
        }
        fn cancel_receive(&mut self, key: Key) {
            self.cancel_receive(key);
        }
        fn cancel_connect(&mut self, key: Key) {
            self.cancel_connect(key);
        }
        fn submit_and_wait(&mut self, until: Nanos, out: &mut Vec<Completion>) -> Result<()> {
            self.submit_and_wait(until, out)
        }
        fn bytes(&self, chunk: &Chunk) -> &[u8] {
            self.bytes(chunk)
        }
        fn lease(&mut self) -> Option<Chunk> {
            self.lease()
        }
        fn fill(&mut self, chunk: &mut Chunk, fill: impl FnOnce(&mut [u8]) -> usize) {
            self.fill(chunk, fill);
        }
        fn give_back(&mut self, chunk: Chunk) {
            self.give_back(chunk);
        }
        fn give_back_all(&mut self, chunks: ChunkQueue) {
            self.give_back_all(chunks);
        }
        fn chunk_table(&mut self) -> &mut ChunkTable {
            self.chunk_table()
        }
        fn offered(&self) -> usize {
            self.offered(SizeClass::Small)
        }
    };
}

impl Transport for Ring {
    fn open(queues: Queues, buffers: Buffers, rings: usize) -> Result<Ring> {
        Ring::new(Role::Client, queues, buffers, rings)
    }

    fn receive(&mut self, key: Key, socket: BorrowedFd<'_>) {
        self.receive(key, socket, SizeClass::Small);
    }

    forward!();
}

impl Transport for Poller {
    fn open(_: Queues, buffers: Buffers, _: usize) -> Result<Poller> {
        Poller::new(buffers)
    }

    fn receive(&mut self, key: Key, socket: BorrowedFd<'_>) {
        self.receive(key, socket);
    }

    forward!();
}
