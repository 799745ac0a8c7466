//! All buffers of a ring: many small ones, and a few large ones for peers that stream.
//!
//! A small buffer holds a message; many of them serve many connections at once. A stream would need an operation for
//! every few KiB in small buffers, and as many large ones would not fit into the cache. So there are two groups, and
//! every receive names the one it uses. Buffers are numbered across the pool: small ones first.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;

use super::chunk::{Chunk, ChunkQueue, ChunkTable};
use super::group::{Group, GroupLayout, SizeClass};
use super::memory::Memory;

/// Numbers and sizes of the buffers of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// Small buffers in circulation while no peer is slow. 1 to `total`.
    pub circulating: u16,
    /// All small buffers, including those that replace buffers held by slow peers. At most 32,768.
    pub total: u16,
    /// Bytes in each small buffer.
    pub size: u32,
    /// Buffers for peers that stream. All of them are in circulation.
    pub large: Option<Large>,
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
        let large = self.large.map_or(0, |large| large.count as usize * large.size as usize);
        self.total as usize * self.size as usize + large
    }
}

/// Fewest buffers in circulation.
const CIRCULATING_MIN: u16 = 4;

/// Large buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Large {
    /// Their number. 1 to 32,768.
    pub count: u16,
    /// Bytes in each.
    pub size: u32,
}

/// Address space that buffers of more than this leave to others, such as the stacks of threads that are started later.
/// Where it is limited, fewer buffers are better than a thread that does not start.
const LEFT_FREE: usize = 32 << 20;

#[derive(Debug)]
pub(super) struct Pool {
    small: Group,
    large: Option<Group>,
    pub(super) chunk_table: ChunkTable,
}

impl Pool {
    /// Maps the buffers. Errors: as mmap(2).
    pub(super) fn map(plan: Buffers) -> io::Result<Pool> {
        static RINGS: AtomicU16 = AtomicU16::new(0);
        let small = GroupLayout {
            first: 0,
            circulating: plan.circulating,
            total: plan.total,
            size: plan.size,
        };
        let large = plan.large.map(|large| GroupLayout {
            first: plan.total,
            circulating: large.count,
            total: large.count,
            size: large.size,
        });
        let buffers = plan.total as usize + large.map_or(0, |layout| layout.total as usize);
        let pool = Pool {
            small: Group::map(small)?,
            large: large.map(Group::map).transpose()?,
            chunk_table: ChunkTable::new(buffers, plan.total, RINGS.fetch_add(1, Ordering::Relaxed)),
        };
        if [Some(small), large]
            .into_iter()
            .flatten()
            .map(GroupLayout::bytes)
            .sum::<usize>()
            > LEFT_FREE
        {
            drop(Memory::map(LEFT_FREE)?); // Just to see that it could be done.
        }
        Ok(pool)
    }

    /// Registers the buffers with the kernel. Errors: as io_uring_register_buf_ring(3).
    pub(super) fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        self.small.register(submitter, SizeClass::Small.group())?;
        match &self.large {
            Some(large) => large.register(submitter, SizeClass::Large.group()),
            None => Ok(()),
        }
    }

    /// Takes a small buffer to receive into, in a pool that is not registered; none if all are in use.
    pub(super) fn take(&mut self) -> Option<Chunk> {
        Some(Chunk {
            buffer: self.small.take()?,
            ring: self.chunk_table.ring(),
            len: 0,
        })
    }

    /// The chunk for a buffer that the kernel has filled with `len` bytes.
    pub(super) fn filled(&mut self, buffer: u16, len: u32) -> Chunk {
        self.group_of_mut(buffer).filled(len);
        Chunk {
            buffer,
            ring: self.chunk_table.ring(),
            len,
        }
    }

    /// Takes an empty small buffer to fill and send; none if all are in use or offered.
    pub(super) fn lease(&mut self) -> Option<Chunk> {
        Some(Chunk {
            buffer: self.small.lease()?,
            ring: self.chunk_table.ring(),
            len: 0,
        })
    }

    pub(super) fn give_back(&mut self, chunk: Chunk) {
        self.chunk_table.check(chunk.ring);
        self.group_of_mut(chunk.buffer).give_back(chunk.buffer);
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

    /// Replaces the small buffers that slow peers hold. To be called once per pass, with the number of buffers taken
    /// in this pass.
    pub(super) fn replenish(&mut self, fresh: usize) {
        self.small.replenish(fresh);
    }

    pub(super) fn bytes(&self, chunk: &Chunk) -> &[u8] {
        self.chunk_table.check(chunk.ring);
        // SAFETY: the chunk proves that its buffer is in use, so nothing writes to it while both are borrowed.
        unsafe { std::slice::from_raw_parts(self.address(chunk.buffer, 0), chunk.len as usize) }
    }

    /// Fills the buffer of a leased chunk; `fill` returns how many bytes it wrote.
    pub(super) fn write(&mut self, chunk: &mut Chunk, fill: impl FnOnce(&mut [u8]) -> usize) {
        self.chunk_table.check(chunk.ring);
        let size = self.group_of(chunk.buffer).size() as usize;
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
        self.group_of(buffer).address(buffer, offset)
    }

    /// Leaves the buffers mapped forever: operations that never completed may still write to them.
    pub(super) fn leak(&mut self) {
        self.small.leak();
        if let Some(large) = &mut self.large {
            large.leak();
        }
    }

    /// Number of small buffers.
    pub(super) fn total(&self) -> usize {
        self.small.total()
    }

    /// True if the next pass may offer more small buffers.
    pub(super) fn has_spare(&self) -> bool {
        self.small.has_spare()
    }

    /// Number of buffers that the kernel may fill.
    pub(super) fn offered(&self, class: SizeClass) -> usize {
        match class {
            SizeClass::Small => self.small.offered(),
            SizeClass::Large => self.large.as_ref().map_or(0, Group::offered),
        }
    }

    /// Number of chunks that exist.
    pub(super) fn in_use(&self, class: SizeClass) -> usize {
        match class {
            SizeClass::Small => self.small.in_use(),
            SizeClass::Large => self.large.as_ref().map_or(0, Group::in_use),
        }
    }

    fn group_of(&self, buffer: u16) -> &Group {
        match (&self.large, self.chunk_table.class_of(buffer)) {
            (Some(large), SizeClass::Large) => large,
            _ => &self.small,
        }
    }

    fn group_of_mut(&mut self, buffer: u16) -> &mut Group {
        match (self.chunk_table.class_of(buffer), &mut self.large) {
            (SizeClass::Large, Some(large)) => large,
            _ => &mut self.small,
        }
    }
}
