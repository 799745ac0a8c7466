//! Buffers of one size: which ones the kernel may fill, which ones are in use, and how many circulate.
//!
//! Every buffer is *offered* (the kernel may fill it), *in use* (a chunk exists) or *spare*: `offered + in_use + spare
//! == total`. The kernel takes offered buffers first-in first-out, so the buffers in circulation *are* the cache
//! footprint. `GroupLayout::circulating` of them circulate; those that slow peers hold for longer than a pass are
//! replaced from the spare ones. Layout of the shared ring: io_uring_register_buf_ring(3).

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use super::memory::Memory;

/// Numbers and size of the buffers of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupLayout {
    /// Buffers in circulation while no peer is slow. 1 to `total`.
    pub(super) circulating: u16,
    /// All buffers. At most 32,768.
    pub(super) total: u16,
    /// Bytes in each.
    pub(super) size: u32,
}

#[derive(Debug)]
pub(super) struct Group {
    bytes: Memory,
    entries: Memory,
    mask: u16,
    /// Number of buffers ever offered, modulo 2^16: the tail that the kernel sees.
    tail: u16,
    /// Number of buffers ever taken by [`Group::take`], modulo 2^16. The kernel has a head of its own.
    head: u16,
    size: u32,
    /// Buffers that should circulate.
    target: usize,
    offered: usize,
    in_use: usize,
    /// Buffers in use for longer than a pass at the last count: peers that do not read hold them.
    stuck: usize,
    spare: Vec<u16>,
}

impl Group {
    /// Maps the buffers. Errors: as mmap(2).
    pub(super) fn map(plan: GroupLayout) -> io::Result<Group> {
        assert!((1..=plan.total).contains(&plan.circulating) && plan.total <= 1 << 15 && plan.size > 0);
        // No more than circulate are ever offered. What counts towards the locked memory of the user is this ring.
        let slots = plan.circulating.next_power_of_two();
        let mut group = Group {
            bytes: Memory::map(plan.total as usize * plan.size as usize)?,
            entries: Memory::map(slots as usize * size_of::<BufRingEntry>())?,
            mask: slots - 1,
            tail: 0,
            head: 0,
            size: plan.size,
            target: plan.circulating as usize,
            offered: 0,
            in_use: 0,
            stuck: 0,
            // Reversed, so that buffers with low numbers are used first.
            spare: (0..plan.total).rev().collect(),
        };
        group.replenish(0);
        Ok(group)
    }

    /// Registers the buffers with the kernel as group `id`: it takes them from now on.
    /// Errors: as io_uring_register_buf_ring(3).
    pub(super) fn register(&self, submitter: &Submitter<'_>, id: u16) -> io::Result<()> {
        let address = self.entries.at(0) as u64;
        // SAFETY: the entries live in `self.entries`, which is unmapped only after the ring is closed.
        unsafe { submitter.register_buf_ring_with_flags(address, self.mask + 1, id, 0) }
    }

    /// Takes the offered buffer that has waited longest, as the kernel does for a group that is registered. None if
    /// none is offered.
    pub(super) fn take(&mut self) -> Option<u16> {
        if self.offered == 0 {
            return None;
        }
        let index = (self.head & self.mask) as usize;
        self.head = self.head.wrapping_add(1);
        let entry = self
            .entries
            .at(index * size_of::<BufRingEntry>())
            .cast::<BufRingEntry>();
        // SAFETY: within the mapping, aligned to 16 by its page; `offer` has written it, and no kernel shares this
        // ring.
        let buffer = unsafe { &*entry }.bid();
        self.filled(0);
        Some(buffer)
    }

    /// The kernel has filled an offered buffer with `len` bytes: it is in use now.
    pub(super) fn filled(&mut self, len: u32) {
        assert!(
            len <= self.size && self.offered > 0,
            "the kernel filled a buffer that was not offered"
        );
        self.offered -= 1;
        self.in_use += 1;
    }

    /// Takes an empty buffer to fill and send; none if all are in use or offered.
    pub(super) fn lease(&mut self) -> Option<u16> {
        let buffer = self.spare.pop()?;
        self.in_use += 1;
        Some(buffer)
    }

    pub(super) fn give_back(&mut self, buffer: u16) {
        self.in_use -= 1;
        if self.circulating() < self.target {
            self.offer(buffer);
        } else {
            self.spare.push(buffer);
        }
    }

    /// Counts the buffers that slow peers hold, and replaces them by spare ones. To be called once per pass, with the
    /// number of buffers taken in this pass.
    pub(super) fn replenish(&mut self, fresh: usize) {
        self.stuck = self.in_use - fresh;
        while self.circulating() < self.target {
            let Some(buffer) = self.spare.pop() else {
                return;
            };
            self.offer(buffer);
        }
    }

    /// The address of byte `offset` of a buffer, for entries that the kernel reads.
    pub(super) fn address(&self, buffer: u16, offset: u32) -> *mut u8 {
        assert!(offset < self.size);
        self.bytes.at(buffer as usize * self.size as usize + offset as usize)
    }

    /// Leaves the buffers mapped forever: operations that never completed may still write to them.
    pub(super) fn leak(&mut self) {
        self.bytes.leak();
    }

    /// Number of buffers.
    pub(super) fn total(&self) -> usize {
        self.offered + self.in_use + self.spare.len()
    }

    /// True if there are buffers that are neither offered nor in use.
    pub(super) fn has_spare(&self) -> bool {
        !self.spare.is_empty()
    }

    /// Number of buffers that the kernel may fill.
    pub(super) fn offered(&self) -> usize {
        self.offered
    }

    /// Number of chunks that exist.
    pub(super) fn in_use(&self) -> usize {
        self.in_use
    }

    /// Bytes in each buffer.
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    fn circulating(&self) -> usize {
        // Stuck buffers may be given back between two counts; a temporary surplus is harmless.
        self.offered + self.in_use.saturating_sub(self.stuck)
    }

    fn offer(&mut self, buffer: u16) {
        let index = (self.tail & self.mask) as usize;
        let entry = self
            .entries
            .at(index * size_of::<BufRingEntry>())
            .cast::<BufRingEntry>();
        let address = self.address(buffer, 0) as u64;
        // SAFETY: within the mapping, aligned to 16 by its page; the kernel reads only entries below the tail.
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
        // SAFETY: points to the first entry of the registered ring, whose reserved field is the tail.
        let tail = unsafe { BufRingEntry::tail(first) };
        // SAFETY: aligned for u16 and mapped as long as `self`; this process and the kernel only access it atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}
