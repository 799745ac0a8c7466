//! Wakes threads that wait for descriptors: an eventfd(2).

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::{Error, Result};

/// Wakes every thread that watches its descriptor, for rings and edge-triggered pollers such as those of mio and tokio.
///
/// Every [`wake`](Waker::wake) is an edge of its own, even if the last one has not been handled, so nothing ever reads it.
#[derive(Debug)]
pub struct Waker(EventFd);

impl Waker {
    /// A waker that has not been used. Errors: [`Error::Machine`] when descriptors have run out.
    pub fn new() -> Result<Waker> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags).map_err(|errno| {
            Error::Machine(format!(
                "cannot create an eventfd: {errno}. Raise the limit with `ulimit -n`"
            ))
        })?;
        Ok(Waker(event))
    }

    /// Wakes all threads that watch.
    pub fn wake(&self) {
        let _ = self.0.write(1); // Fails only if the counter of 2^64 is full: it is readable then.
    }
}

impl AsFd for Waker {
    /// Readable from the first wake on.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
