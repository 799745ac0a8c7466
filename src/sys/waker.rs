//! Waking threads that wait for descriptors: an eventfd(2), for rings and pollers that see edges, as mio's and tokio's.
//!
//! Every ring is an edge of its own, also while the last one has not been looked at, so nobody ever reads it.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::{Error, Result};

/// Something that can be rung again and again. Whoever watches it wakes up at every ring.
#[derive(Debug)]
pub struct Waker(EventFd);

impl Waker {
    /// Silent. Errors: [`Error::Machine`] when descriptors have run out.
    pub fn new() -> Result<Waker> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags)
            .map_err(|errno| Error::Machine(format!("cannot make an eventfd: {errno}. Raise `ulimit -n`")))?;
        Ok(Waker(event))
    }

    /// Wakes everybody who watches.
    pub fn wake(&self) {
        let _ = self.0.write(1); // Full means rung 2^64 times: they are awake.
    }
}

impl AsFd for Waker {
    /// Readable since the first ring.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
