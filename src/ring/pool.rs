//! All buffers of a ring: many small ones, and a few large ones for peers that stream.
//!
//! A small buffer holds a message; many of them serve many connections at once. A stream in small buffers costs an
//! operation for every few KiB, and large ones in the same number would not fit into the cache. So there are two
//! groups, and every receive says from which it takes. Numbers of buffers are of the whole pool: small ones first.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;

use super::chain::{Chunk, Links};
use super::group::{Group, GroupLayout, SizeClass};

/// How a pool is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// Buffers that circulate between kernel and us when no peer is slow. 1 to `total`.
    pub hot: u16,
    /// All buffers, those included that come into use when slow peers hold others. At most 32,768.
    pub total: u16,
    /// Bytes in each.
    pub size: u32,
    /// Buffers for peers that stream. All of them circulate.
    pub large: Option<Large>,
}

/// Large buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Large {
    /// How many. 1 to 32,768.
    pub count: u16,
    /// Bytes in each.
    pub size: u32,
}

#[derive(Debug)]
pub(super) struct Pool {
    small: Group,
    large: Option<Group>,
    pub(super) links: Links,
}

impl Pool {
    /// Maps the buffers and lets the kernel know them. Errors: as io_uring_register_buf_ring(3), mmap(2).
    pub(super) fn register(submitter: &Submitter<'_>, plan: Buffers) -> io::Result<Pool> {
        static RINGS: AtomicU16 = AtomicU16::new(0);
        let small = GroupLayout {
            first: 0,
            hot: plan.hot,
            total: plan.total,
            size: plan.size,
        };
        let large = plan.large.map(|large| GroupLayout {
            first: plan.total,
            hot: large.count,
            total: large.count,
            size: large.size,
        });
        let buffers = plan.total as usize + large.map_or(0, |cut| cut.total as usize);
        let register = |class: SizeClass, cut| Group::register(submitter, class.group(), cut);
        Ok(Pool {
            small: register(SizeClass::Small, small)?,
            large: large.map(|cut| register(SizeClass::Large, cut)).transpose()?,
            links: Links::new(buffers, plan.total, RINGS.fetch_add(1, Ordering::Relaxed)),
        })
    }

    /// The chunk for a buffer that the kernel has filled with `len` bytes.
    pub(super) fn filled(&mut self, buffer: u16, len: u32) -> Chunk {
        self.home_mut(buffer).filled(len);
        Chunk {
            buffer,
            ring: self.links.ring(),
            len,
        }
    }

    /// An empty small buffer to fill and send; none when all are lent or offered.
    pub(super) fn lease(&mut self) -> Option<Chunk> {
        Some(Chunk {
            buffer: self.small.lease()?,
            ring: self.links.ring(),
            len: 0,
        })
    }

    pub(super) fn give_back(&mut self, chunk: Chunk) {
        self.links.check(chunk.ring);
        self.home_mut(chunk.buffer).give_back(chunk.buffer);
    }

    /// Makes up for what slow peers hold. Called once a turn, when `fresh` of the lent small buffers came with this very
    /// turn.
    pub(super) fn settle(&mut self, fresh: usize) {
        self.small.settle(fresh);
    }

    pub(super) fn bytes(&self, chunk: &Chunk) -> &[u8] {
        self.links.check(chunk.ring);
        // SAFETY: the chunk proves that its buffer is lent, so nobody writes to it while we borrow both.
        unsafe { std::slice::from_raw_parts(self.address(chunk.buffer, 0), chunk.len as usize) }
    }

    /// The whole buffer behind a lease; `fill` says how many bytes it wrote.
    pub(super) fn write(&mut self, chunk: &mut Chunk, fill: impl FnOnce(&mut [u8]) -> usize) {
        self.links.check(chunk.ring);
        let size = self.home(chunk.buffer).size() as usize;
        let start = self.address(chunk.buffer, 0);
        // SAFETY: the chunk proves that its buffer is lent, and `&mut self` that nobody else reads it.
        let written = fill(unsafe { std::slice::from_raw_parts_mut(start, size) });
        assert!(written <= size);
        chunk.len = written as u32;
    }

    /// Where byte `offset` of a buffer is, for entries that the kernel reads.
    pub(super) fn address(&self, buffer: u16, offset: u32) -> *mut u8 {
        self.home(buffer).address(buffer, offset)
    }

    /// Leaves the buffers mapped for good: operations that never completed may still reach them.
    pub(super) fn leak(&mut self) {
        self.small.leak();
        if let Some(large) = &mut self.large {
            large.leak();
        }
    }

    /// True while the next turn may offer more small buffers than there are now.
    pub(super) fn has_spare(&self) -> bool {
        self.small.has_spare()
    }

    /// How many buffers the kernel may still fill.
    pub(super) fn offered(&self, class: SizeClass) -> usize {
        match class {
            SizeClass::Small => self.small.offered(),
            SizeClass::Large => self.large.as_ref().map_or(0, Group::offered),
        }
    }

    /// How many chunks exist.
    pub(super) fn lent(&self, class: SizeClass) -> usize {
        match class {
            SizeClass::Small => self.small.lent(),
            SizeClass::Large => self.large.as_ref().map_or(0, Group::lent),
        }
    }

    fn home(&self, buffer: u16) -> &Group {
        match (&self.large, self.links.class_of(buffer)) {
            (Some(large), SizeClass::Large) => large,
            _ => &self.small,
        }
    }

    fn home_mut(&mut self, buffer: u16) -> &mut Group {
        match (self.links.class_of(buffer), &mut self.large) {
            (SizeClass::Large, Some(large)) => large,
            _ => &mut self.small,
        }
    }
}
