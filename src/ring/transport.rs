//! What a load needs of the kernel: connections, bytes, and waiting. By io_uring ([`Ring`], or several of them as a
//! [`RingSet`](super::RingSet)) or by epoll ([`Poller`]).
//!
//! The load is generic over it, so that both generators are one code, and no operation has a dynamic dispatch. The
//! methods are those of a ring.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use super::{
    Buffers, Chunk, ChunkQueue, ChunkTable, Completion, Counts, Descriptor, Poller, Queues, Ring, RingPlan, Role,
    Socket, Spin, Store,
};
use crate::clock::Nanos;
use crate::error::{Errno, Result};
use crate::slab::Key;

/// A ring of a client, or what stands for one. For one thread.
pub trait Transport: Sized {
    /// As [`Ring::new`]. Only a ring has entries.
    fn open(queues: Queues, buffers: Buffers, entries: u32, rings: usize) -> Result<Self>;
    /// As [`Ring::counts`].
    fn counts(&self) -> Counts;
    /// As [`Ring::submitted`].
    fn submitted(&self) -> Option<Nanos>;
    /// As [`Ring::set_spin`].
    fn set_spin(&mut self, spin: Spin);
    /// As [`Ring::watch`].
    fn watch(&mut self, key: Key, readable: BorrowedFd<'_>);
    /// As [`Ring::connect`].
    fn connect(&mut self, key: Key, socket: &Socket, target: SocketAddr);
    /// As [`Ring::make_direct`].
    fn make_direct(&mut self, key: Key, socket: &mut Socket);
    /// As [`Ring::close`].
    fn close(&mut self, key: Key, socket: Socket);
    /// As [`Ring::descriptor`].
    fn descriptor<'a>(&mut self, key: Key, socket: &'a Socket) -> std::result::Result<Descriptor<'a>, Errno>;
    /// As [`Ring::receive`], into small buffers.
    fn receive(&mut self, key: Key, socket: &Socket);
    /// As [`Ring::send`].
    fn send(&mut self, key: Key, socket: &Socket, chunks: ChunkQueue);
    /// As [`Ring::cancel_receive`].
    fn cancel_receive(&mut self, key: Key);
    /// As [`Ring::cancel_connect`].
    fn cancel_connect(&mut self, key: Key);
    /// As [`Ring::submit_and_wait`].
    fn submit_and_wait(&mut self, until: Nanos, out: &mut Vec<Completion>) -> Result<()>;
    /// As [`Ring::bytes`], of a chunk of this connection.
    fn bytes(&self, key: Key, chunk: &Chunk) -> &[u8];
    /// As [`Ring::lease`], for this connection.
    fn lease(&mut self, key: Key) -> Option<Chunk>;
    /// As [`Ring::fill`].
    fn fill(&mut self, key: Key, chunk: &mut Chunk, fill: impl FnOnce(&mut [u8]) -> usize);
    /// As [`Ring::give_back`].
    fn give_back(&mut self, key: Key, chunk: Chunk);
    /// As [`Ring::give_back_all`].
    fn give_back_all(&mut self, key: Key, chunks: ChunkQueue);
    /// As [`Ring::chunk_table`].
    fn chunk_table(&mut self, key: Key) -> &mut ChunkTable;
    /// Number of small buffers that this connection can receive into.
    fn offered(&self, key: Key) -> usize;
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
        fn cancel_receive(&mut self, key: Key) {
            self.cancel_receive(key);
        }
        fn cancel_connect(&mut self, key: Key) {
            self.cancel_connect(key);
        }
        fn submit_and_wait(&mut self, until: Nanos, out: &mut Vec<Completion>) -> Result<()> {
            self.submit_and_wait(until, out)
        }
        fn bytes(&self, _: Key, chunk: &Chunk) -> &[u8] {
            self.bytes(chunk)
        }
        fn lease(&mut self, _: Key) -> Option<Chunk> {
            self.lease()
        }
        fn fill(&mut self, _: Key, chunk: &mut Chunk, fill: impl FnOnce(&mut [u8]) -> usize) {
            self.fill(chunk, fill);
        }
        fn give_back(&mut self, _: Key, chunk: Chunk) {
            self.give_back(chunk);
        }
        fn give_back_all(&mut self, _: Key, chunks: ChunkQueue) {
            self.give_back_all(chunks);
        }
        fn chunk_table(&mut self, _: Key) -> &mut ChunkTable {
            self.chunk_table()
        }
        fn offered(&self, _: Key) -> usize {
            self.offered(Store::Buffer)
        }
    };
}

impl Transport for Ring {
    fn open(queues: Queues, buffers: Buffers, entries: u32, rings: usize) -> Result<Ring> {
        let plan = RingPlan {
            role: Role::Client,
            queues,
            buffers,
            entries,
        };
        Ring::new(plan, rings)
    }

    fn make_direct(&mut self, key: Key, socket: &mut Socket) {
        self.make_direct(key, socket);
    }

    fn close(&mut self, _: Key, socket: Socket) {
        self.close(socket);
    }

    fn descriptor<'a>(&mut self, _: Key, socket: &'a Socket) -> std::result::Result<Descriptor<'a>, Errno> {
        self.descriptor(socket)
    }

    fn connect(&mut self, key: Key, socket: &Socket, target: SocketAddr) {
        self.connect(key, socket, target);
    }

    fn receive(&mut self, key: Key, socket: &Socket) {
        self.receive(key, socket);
    }

    fn send(&mut self, key: Key, socket: &Socket, chunks: ChunkQueue) {
        self.send(key, socket, chunks);
    }

    forward!();
}

impl Transport for Poller {
    fn open(_: Queues, buffers: Buffers, _: u32, _: usize) -> Result<Poller> {
        Poller::new(buffers)
    }

    fn make_direct(&mut self, _: Key, _: &mut Socket) {}

    fn close(&mut self, _: Key, socket: Socket) {
        drop(socket);
    }

    fn descriptor<'a>(&mut self, _: Key, socket: &'a Socket) -> std::result::Result<Descriptor<'a>, Errno> {
        Ok(Descriptor::Own(own(socket)))
    }

    fn connect(&mut self, key: Key, socket: &Socket, target: SocketAddr) {
        self.connect(key, own(socket), target);
    }

    fn receive(&mut self, key: Key, socket: &Socket) {
        self.receive(key, own(socket));
    }

    fn send(&mut self, key: Key, socket: &Socket, chunks: ChunkQueue) {
        self.send(key, own(socket), chunks);
    }

    forward!();
}

fn own(socket: &Socket) -> BorrowedFd<'_> {
    match socket {
        Socket::Descriptor(descriptor) => descriptor.as_fd(),
        Socket::Entry(_) => unreachable!("a poller has no table"),
    }
}
