//! Wakes threads that wait for descriptors: an eventfd(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::error::{Error, Result};
use crate::sys::shortage;

/// Wakes every thread that watches its descriptor, for rings and edge-triggered pollers such as those of mio and tokio.
///
/// Every [`wake`](Waker::wake) is an edge of its own, even if the last one has not been handled, so nothing ever reads
/// it.
#[derive(Debug)]
pub struct Waker(EventFd);

impl Waker {
    /// A waker that has not been used. Errors: [`Error::Machine`] when descriptors have run out.
    pub fn new() -> Result<Waker> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = EventFd::from_value_and_flags(0, flags).map_err(|errno| {
            let cause = io::Error::from(errno);
            let why = shortage::of_files(&cause).unwrap_or_default();
            Error::Machine(format!("cannot create an eventfd: {cause}. {why}"))
        })?;
        Ok(Waker(event))
    }

    /// Wakes all threads that watch.
    pub fn wake(&self) {
        // Any other failure is a counter of 2^64 that is full: it is readable then.
        while self.0.write(1) == Err(Errno::EINTR) {}
    }
}

impl AsFd for Waker {
    /// Readable from the first wake on.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
