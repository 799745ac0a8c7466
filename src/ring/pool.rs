//! All that a ring receives into: buffers for messages, and pipes for peers that stream.
//!
//! A buffer holds a message; many of them serve many connections at once. A stream would need an operation and two
//! copies for every few KiB in buffers. So every receive names what it uses. Buffers and pipes are numbered across the
//! pool: buffers first.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;

use super::chunk::{Chunk, ChunkQueue, ChunkTable, Store};
use super::group::{Group, GroupLayout};
use super::memory::Memory;
use super::pipes::Pipes;
use crate::error::Errno;

/// The one group of buffers in the kernel.
pub(super) const GROUP: u16 = 0;

/// What a pool has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// Buffers in circulation while no peer is slow. 1 to `total`.
    pub circulating: u16,
    /// All buffers, including those that replace buffers held by slow peers. At most 32,768.
    pub total: u16,
    /// Bytes in each buffer.
    pub size: u32,
    /// Pipes for peers that stream. At most 32,767.
    pub pipes: u16,
}

impl Buffers {
    /// About half of the memory: first the spare buffers are halved, then those that circulate. None if there are as
    /// few as there may be.
    pub(super) fn halved(self) -> Option<Buffers> {
        // At least one more than circulate, if there was: a load sends from those.
        let least = |circulating: u16| circulating + u16::from(self.total > self.circulating);
        let circulating = if self.total / 2 >= least(self.circulating) {
            self.circulating
        } else {
            self.circulating / 2
        };
        let half = Buffers {
            circulating,
            total: (self.total / 2).max(least(circulating)),
            ..self
        };
        (circulating >= CIRCULATING_MIN).then_some(half)
    }

    /// Address space that the buffers take.
    pub fn bytes(self) -> usize {
        self.total as usize * self.size as usize
    }
}

/// Fewest buffers in circulation.
const CIRCULATING_MIN: u16 = 4;

/// Address space that buffers of more than this leave to others, such as the stacks of threads that are started later.
/// Where it is limited, fewer buffers are better than a thread that does not start.
const LEFT_FREE: usize = 32 << 20;

#[derive(Debug)]
pub(super) struct Pool {
    buffers: Group,
    pipes: Pipes,
    pub(super) chunk_table: ChunkTable,
}

impl Pool {
    /// Maps the buffers. Errors: as mmap(2).
    pub(super) fn map(plan: Buffers) -> io::Result<Pool> {
        static RINGS: AtomicU16 = AtomicU16::new(0);
        let layout = GroupLayout {
            circulating: plan.circulating,
            total: plan.total,
            size: plan.size,
        };
        let pool = Pool {
            buffers: Group::map(layout)?,
            pipes: Pipes::new(plan.total, plan.pipes),
            chunk_table: ChunkTable::new(plan.total, plan.pipes, RINGS.fetch_add(1, Ordering::Relaxed)),
        };
        if plan.bytes() > LEFT_FREE {
            drop(Memory::map(LEFT_FREE)?); // Just to see that it could be done.
        }
        Ok(pool)
    }

    /// Registers the buffers with the kernel. Errors: as io_uring_register_buf_ring(3).
    pub(super) fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        self.buffers.register(submitter, GROUP)
    }

    /// Takes a buffer to receive into, in a pool that is not registered; none if all are in use.
    pub(super) fn take(&mut self) -> Option<Chunk> {
        Some(Chunk {
            buffer: self.buffers.take()?,
            ring: self.chunk_table.ring(),
            len: 0,
        })
    }

    /// The chunk for a buffer that the kernel has filled with `len` bytes.
    pub(super) fn filled(&mut self, buffer: u16, len: u32) -> Chunk {
        self.buffers.filled(len);
        Chunk {
            buffer,
            ring: self.chunk_table.ring(),
            len,
        }
    }

    /// Moves what a socket holds into a pipe. Errors: as [`Pipes::splice_in`].
    pub(super) fn splice_in(&mut self, socket: BorrowedFd<'_>) -> Result<Chunk, Errno> {
        let (buffer, len) = self.pipes.splice_in(socket)?;
        let ring = self.chunk_table.ring();
        Ok(Chunk { buffer, ring, len })
    }

    /// Moves what pipe `number` holds into a socket. Returns how many bytes that took. Errors: EAGAIN if there is no
    /// room for any; otherwise as splice(2).
    pub(super) fn splice_out(&mut self, number: u16, socket: BorrowedFd<'_>) -> Result<u32, Errno> {
        self.pipes.splice_out(number, socket)
    }

    /// Takes an empty buffer to fill and send; none if all are in use or offered.
    pub(super) fn lease(&mut self) -> Option<Chunk> {
        Some(Chunk {
            buffer: self.buffers.lease()?,
            ring: self.chunk_table.ring(),
            len: 0,
        })
    }

    pub(super) fn give_back(&mut self, chunk: Chunk) {
        self.chunk_table.check(chunk.ring);
        match self.chunk_table.store(&chunk) {
            Store::Buffer => self.buffers.give_back(chunk.buffer),
            Store::Pipe => self.pipes.give_back(chunk.buffer),
        }
    }

    /// Returns the buffers of all chunks of a queue.
    pub(super) fn give_back_all(&mut self, mut chunks: ChunkQueue) {
        while let Some(chunk) = chunks.pop(&self.chunk_table) {
            self.give_back(chunk);
        }
    }

    /// Removes the first `sent` bytes of a queue, and returns the buffers of the chunks that end within them.
    pub(super) fn take_sent(&mut self, queue: &mut ChunkQueue, mut sent: u32) {
        while let Some(chunk) = queue.take_sent(&mut sent, &self.chunk_table) {
            self.give_back(chunk);
        }
        debug_assert_eq!(sent, 0, "the kernel sent more than the chunks hold");
    }

    /// Replaces the buffers that slow peers hold. To be called once per pass, with the number of buffers taken
    /// in this pass.
    pub(super) fn replenish(&mut self, fresh: usize) {
        self.buffers.replenish(fresh);
    }

    pub(super) fn bytes(&self, chunk: &Chunk) -> &[u8] {
        self.chunk_table.check(chunk.ring);
        // SAFETY: the chunk proves that its buffer is in use, so nothing writes to it while both are borrowed.
        unsafe { std::slice::from_raw_parts(self.address(chunk.buffer, 0), chunk.len as usize) }
    }

    /// Fills the buffer of a leased chunk; `fill` returns how many bytes it wrote.
    pub(super) fn write(&mut self, chunk: &mut Chunk, fill: impl FnOnce(&mut [u8]) -> usize) {
        self.chunk_table.check(chunk.ring);
        let size = self.buffers.size() as usize;
        let start = self.address(chunk.buffer, 0);
        // SAFETY: the chunk proves that its buffer is in use, and `&mut self` that nothing else reads it.
        let written = fill(unsafe { std::slice::from_raw_parts_mut(start, size) });
        assert!(written <= size);
        chunk.len = written as u32;
    }

    /// The unsent bytes of each chunk of a queue, in order.
    pub(super) fn slices<'a>(&'a self, queue: &'a ChunkQueue) -> impl Iterator<Item = &'a [u8]> {
        queue.parts(&self.chunk_table).map(|(buffer, offset, len)| {
            // SAFETY: the queue owns its chunks, so their buffers are in use, and nothing writes to them while both are
            // borrowed.
            unsafe { std::slice::from_raw_parts(self.address(buffer, offset), len as usize) }
        })
    }

    /// The address of byte `offset` of a buffer, for entries that the kernel reads.
    pub(super) fn address(&self, buffer: u16, offset: u32) -> *mut u8 {
        self.buffers.address(buffer, offset)
    }

    /// Leaves the buffers mapped forever: operations that never completed may still write to them.
    pub(super) fn leak(&mut self) {
        self.buffers.leak();
    }

    /// Number of buffers.
    pub(super) fn total(&self) -> usize {
        self.buffers.total()
    }

    /// True if the next pass may offer more buffers.
    pub(super) fn has_spare(&self) -> bool {
        self.buffers.has_spare()
    }

    /// Number of buffers that the kernel may fill, or of pipes that are empty.
    pub(super) fn offered(&self, store: Store) -> usize {
        match store {
            Store::Buffer => self.buffers.offered(),
            Store::Pipe => self.pipes.free(),
        }
    }

    /// Number of chunks that exist.
    pub(super) fn in_use(&self, store: Store) -> usize {
        match store {
            Store::Buffer => self.buffers.in_use(),
            Store::Pipe => self.pipes.in_use(),
        }
    }
}
