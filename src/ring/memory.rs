//! Pages that the kernel may write to at any moment, as one owned region.
//!
//! Anonymous mmap(2): page-aligned, zeroed, and not resident until touched, so a large pool costs
//! address space only until somebody needs it.

use std::io;
use std::ptr::NonNull;

/// A private mapping. Nobody holds references into it: readers and writers borrow through the pool.
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
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing of ours.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).expect("mmap never maps page zero unasked");
        Ok(Memory { base, len })
    }

    /// Gives the mapping up without unmapping it: the kernel may still write there.
    pub(super) fn leak(&mut self) {
        self.len = 0;
    }

    /// The address of byte `offset`. Panics outside the region.
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
        // SAFETY: base and len are what mmap returned. The ring's drop has seen its last completion before.
        let failed = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert_eq!(failed, 0);
    }
}
