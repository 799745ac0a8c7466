//! One owned region of pages that the kernel may write to at any moment.
//!
//! Anonymous mmap(2): page-aligned, zeroed, and not resident until touched, so an unused part of a large pool costs
//! only address space.

use std::io;
use std::ptr::NonNull;

/// A private mapping. No references into it are kept: readers and writers borrow through the pool.
#[derive(Debug)]
pub(super) struct Memory {
    base: NonNull<u8>,
    len: usize,
}

impl Memory {
    /// Maps `len` bytes (at least 1). Errors: ENOMEM.
    pub(super) fn map(len: usize) -> io::Result<Memory> {
        assert!(len > 0, "an empty region has no address");
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping at an address chosen by the kernel overlaps no existing one.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).expect("mmap(2) never chooses address zero");
        Ok(Memory { base, len })
    }

    /// Leaves the pages mapped when this is dropped: the kernel may still write to them.
    pub(super) fn leak(&mut self) {
        self.len = 0;
    }

    /// The address of byte `offset`. Panics outside of the region.
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.len, "offset {offset} of {}", self.len);
        // SAFETY: the offset was just checked to lie inside this mapping.
        unsafe { self.base.as_ptr().add(offset) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        // SAFETY: base and len are those of the mapping. The ring is dropped first and has reaped its last completion.
        let failed = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert_eq!(failed, 0);
    }
}
