//! Buffers of one size: which the kernel may fill, which somebody holds, and how many circulate.
//!
//! Every buffer is *offered* (the kernel may fill it), *lent* (a chunk exists) or *spare*:
//! `offered + lent + spare == total`. The kernel takes offered buffers first-in first-out, so what circulates
//! *is* the cache footprint: only `hot` buffers do, beside those that slow peers keep for longer than a turn.
//! Layout of the shared ring: io_uring_register_buf_ring(3).

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use super::memory::Memory;

/// From which buffers a receive takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeClass {
    /// For messages.
    Small,
    /// For streams.
    Large,
}

impl SizeClass {
    /// The buffer group of this number in the kernel.
    pub(super) fn group(self) -> u16 {
        match self {
            SizeClass::Small => 0,
            SizeClass::Large => 1,
        }
    }
}

/// How a group is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupLayout {
    /// The number of its first buffer. Numbers are of the whole pool.
    pub(super) first: u16,
    /// Buffers that circulate while no peer is slow. 1 to `total`.
    pub(super) hot: u16,
    /// All buffers. At most 32,768.
    pub(super) total: u16,
    /// Bytes in each.
    pub(super) size: u32,
}

#[derive(Debug)]
pub(super) struct Group {
    first: u16,
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
}

impl Group {
    /// Maps the buffers and lets the kernel know them as group `id`.
    /// Errors: as io_uring_register_buf_ring(3), mmap(2).
    pub(super) fn register(submitter: &Submitter<'_>, id: u16, plan: GroupLayout) -> io::Result<Group> {
        assert!((1..=plan.total).contains(&plan.hot) && plan.total <= 1 << 15 && plan.size > 0);
        let slots = plan.total.next_power_of_two();
        let mut group = Group {
            first: plan.first,
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
            spare: (plan.first..plan.first + plan.total).rev().collect(),
        };
        let address = group.entries.at(0) as u64;
        // SAFETY: the entries live in `group.entries`, which is unmapped only after the ring is closed.
        unsafe { submitter.register_buf_ring_with_flags(address, slots, id, 0) }?;
        group.settle(0);
        Ok(group)
    }

    /// The kernel has put `len` bytes into a buffer that it was offered: it is lent now.
    pub(super) fn filled(&mut self, len: u32) {
        assert!(
            len <= self.size && self.offered > 0,
            "the kernel fills what it was offered"
        );
        self.offered -= 1;
        self.lent += 1;
    }

    /// Lends an empty buffer to fill and send; none when all are lent or offered.
    pub(super) fn lease(&mut self) -> Option<u16> {
        let buffer = self.spare.pop()?;
        self.lent += 1;
        Some(buffer)
    }

    pub(super) fn give_back(&mut self, buffer: u16) {
        self.lent -= 1;
        if self.circulating() < self.hot {
            self.offer(buffer);
        } else {
            self.spare.push(buffer);
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

    /// Where byte `offset` of a buffer is, for entries that the kernel reads.
    pub(super) fn address(&self, buffer: u16, offset: u32) -> *mut u8 {
        assert!(offset < self.size);
        let index = (buffer - self.first) as usize;
        self.bytes.at(index * self.size as usize + offset as usize)
    }

    /// Leaves the buffers mapped for good: operations that never completed may still reach them.
    pub(super) fn leak(&mut self) {
        self.bytes.leak();
    }

    /// True while there are buffers that neither the kernel nor anybody else has.
    pub(super) fn has_spare(&self) -> bool {
        !self.spare.is_empty()
    }

    /// How many buffers the kernel may still fill.
    pub(super) fn offered(&self) -> usize {
        self.offered
    }

    /// How many chunks exist.
    pub(super) fn lent(&self) -> usize {
        self.lent
    }

    /// Bytes in each buffer.
    pub(super) fn size(&self) -> u32 {
        self.size
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
