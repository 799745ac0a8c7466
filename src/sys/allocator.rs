//! The allocator of the binary, and what happens when it has no memory left: an exit with the true reason, where the
//! standard library would abort.

use std::alloc::{GlobalAlloc, Layout};

use mimalloc::MiMalloc;

/// mimalloc; ends the process when memory runs out.
#[derive(Debug)]
pub struct Allocator;

/// The exit code of [`Error::Machine`](crate::error::Error::Machine), for a path that must not allocate.
const MACHINE: i32 = 4;

// SAFETY: passes everything to MiMalloc, and never returns when that returns null.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is MiMalloc's.
        checked(unsafe { MiMalloc.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        checked(unsafe { MiMalloc.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        checked(unsafe { MiMalloc.realloc(block, layout, size) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(block, layout) }
    }
}

/// Has all threads share one arena of the C library's allocator. It is hardly used, and each thread would reserve 64 to
/// 128 MiB of address space for its own, which may be limited. mallopt(3).
pub fn share_one_arena() {
    // SAFETY: sets an integer of glibc, before there are other threads. Elsewhere there are no arenas.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

#[inline]
fn checked(block: *mut u8) -> *mut u8 {
    if block.is_null() {
        exhausted();
    }
    block
}

/// Says what ran out and exits, without allocating. Children are killed: no destructor runs.
#[cold]
fn exhausted() -> ! {
    const LIMITED: &str =
        "urecho: out of memory: the address space of this process is limited: raise it with `ulimit -v unlimited`\n";
    const SHORT: &str = "urecho: out of memory: this machine, or the control group of this process, has none left\n";
    const DATA: &str =
        "urecho: out of memory: the data of this process is limited: raise it with `ulimit -d unlimited`\n";
    let text = match (super::shortage::address_space(), super::shortage::data()) {
        (Some(_), _) => LIMITED,
        (None, Some(_)) => DATA,
        (None, None) => SHORT,
    };
    // SAFETY: writes bytes of a static text. An error is ignored: nothing else can be said.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
    super::child::kill_groups();
    // SAFETY: _exit(2) ends the process and touches no memory.
    unsafe { libc::_exit(MACHINE) }
}
