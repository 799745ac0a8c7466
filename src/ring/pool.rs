//! Which buffers the kernel may fill, who holds the others, and how many circulate.
//!
//! Every buffer is *offered* (the kernel may fill it), *lent* (a [`Chunk`] exists) or *spare*:
//! `offered + lent + spare == total`. The kernel takes offered buffers first-in first-out, so what circulates
//! *is* the cache footprint: only `hot` buffers do, beside those that slow peers keep for longer than a turn.
//! Layout of the shared ring: io_uring_register_buf_ring(3).

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use super::chain::{Chunk, Links};
use super::memory::Memory;

/// The one buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// How a pool is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// Buffers that circulate between kernel and us when no peer is slow. 1 to `total`.
    pub hot: u16,
    /// All buffers, those included that come into use when slow peers hold others. At most 32,768.
    pub total: u16,
    /// Bytes in each.
    pub size: u32,
}

#[derive(Debug)]
pub(super) struct Pool {
    bytes: Memory,
    entries: Memory,
    mask: u16,
    /// Entries ever offered, modulo 2^16: the tail that the kernel sees.
    tail: u16,
    size: u32,
    hot: usize,
    offered: usize,
    lent: usize,
    /// Lent for longer than a turn, by the last count: peers that do not read.
    stuck: usize,
    spare: Vec<u16>,
    pub(super) links: Links,
}

impl Pool {
    /// Maps the buffers and lets the kernel know them. Errors: as io_uring_register_buf_ring(3), mmap(2).
    pub(super) fn register(submitter: &Submitter<'_>, plan: Buffers) -> io::Result<Pool> {
        assert!((1..=plan.total).contains(&plan.hot) && plan.total <= 1 << 15 && plan.size > 0);
        static RINGS: AtomicU16 = AtomicU16::new(0);
        let slots = plan.total.next_power_of_two();
        let mut pool = Pool {
            bytes: Memory::map(plan.total as usize * plan.size as usize)?,
            entries: Memory::map(slots as usize * size_of::<BufRingEntry>())?,
            mask: slots - 1,
            tail: 0,
            size: plan.size,
            hot: plan.hot as usize,
            offered: 0,
            lent: 0,
            stuck: 0,
            // Reversed, so that the low buffers are the ones in use.
            spare: (0..plan.total).rev().collect(),
            links: Links::new(plan.total as usize, RINGS.fetch_add(1, Ordering::Relaxed)),
        };
        let address = pool.entries.at(0) as u64;
        // SAFETY: the entries live in `pool.entries`, which is unmapped only after the ring is closed.
        unsafe { submitter.register_buf_ring_with_flags(address, slots, GROUP, 0) }?;
        pool.settle(0);
        Ok(pool)
    }

    /// The chunk for a buffer that the kernel has filled with `len` bytes.
    pub(super) fn filled(&mut self, buffer: u16, len: u32) -> Chunk {
        assert!(
            len <= self.size && self.offered > 0,
            "the kernel fills what it was offered"
        );
        self.offered -= 1;
        self.lent += 1;
        Chunk {
            buffer,
            ring: self.links.ring(),
            len,
        }
    }

    /// An empty buffer to fill and send; none when all are lent or offered.
    pub(super) fn lease(&mut self) -> Option<Chunk> {
        let buffer = self.spare.pop()?;
        self.lent += 1;
        Some(Chunk {
            buffer,
            ring: self.links.ring(),
            len: 0,
        })
    }

    pub(super) fn give_back(&mut self, chunk: Chunk) {
        self.links.check(chunk.ring);
        self.lent -= 1;
        if self.circulating() < self.hot {
            self.offer(chunk.buffer);
        } else {
            self.spare.push(chunk.buffer);
        }
    }

    /// Counts anew what slow peers hold, and makes up for it from the spare ones.
    /// Called once a turn, when `fresh` of the lent chunks came with this very turn.
    pub(super) fn settle(&mut self, fresh: usize) {
        self.stuck = self.lent - fresh;
        while self.circulating() < self.hot {
            let Some(buffer) = self.spare.pop() else {
                return;
            };
            self.offer(buffer);
        }
    }

    pub(super) fn bytes(&self, chunk: &Chunk) -> &[u8] {
        self.links.check(chunk.ring);
        // SAFETY: the chunk proves that its buffer is lent, so nobody writes to it while we borrow both.
        unsafe { std::slice::from_raw_parts(self.address(chunk.buffer, 0), chunk.len as usize) }
    }

    /// The whole buffer behind a lease; `fill` says how many bytes it wrote.
    pub(super) fn write(&mut self, chunk: &mut Chunk, fill: impl FnOnce(&mut [u8]) -> usize) {
        self.links.check(chunk.ring);
        let (start, size) = (self.address(chunk.buffer, 0), self.size as usize);
        // SAFETY: the chunk proves that its buffer is lent, and `&mut self` that nobody else reads it.
        let written = fill(unsafe { std::slice::from_raw_parts_mut(start, size) });
        assert!(written <= size);
        chunk.len = written as u32;
    }

    /// Where byte `offset` of a buffer is, for entries that the kernel reads.
    pub(super) fn address(&self, buffer: u16, offset: u32) -> *mut u8 {
        assert!(offset < self.size);
        self.bytes
            .at(buffer as usize * self.size as usize + offset as usize)
    }

    /// Leaves the buffers mapped for good: operations that never completed may still reach them.
    pub(super) fn leak(&mut self) {
        self.bytes.leak();
    }

    /// How many buffers the kernel may still fill.
    pub(super) fn offered(&self) -> usize {
        self.offered
    }

    /// How many chunks exist.
    pub(super) fn lent(&self) -> usize {
        self.lent
    }

    fn circulating(&self) -> usize {
        // Chunks move from stuck to given back between two counts; a moment's surplus does no harm.
        self.offered + self.lent.saturating_sub(self.stuck)
    }

    fn offer(&mut self, buffer: u16) {
        let index = (self.tail & self.mask) as usize;
        let entry = self
            .entries
            .at(index * size_of::<BufRingEntry>())
            .cast::<BufRingEntry>();
        let address = self.address(buffer, 0) as u64;
        // SAFETY: inside the mapping, aligned to 16 by its page; the kernel reads entries only below the tail.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(self.size);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        self.offered += 1;
        self.publish();
    }

    fn publish(&self) {
        let first = self.entries.at(0).cast::<BufRingEntry>().cast_const();
        // SAFETY: the first entry of the registered ring; the tail overlays its reserved field.
        let tail = unsafe { BufRingEntry::tail(first) };
        // SAFETY: aligned for u16 and mapped as long as `self`; we and the kernel touch it atomically only.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}
