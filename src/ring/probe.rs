//! Whether io_uring works for this process: a new ring receives one byte, which no version number proves.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use io_uring::opcode;
use io_uring::types::Fd;

use super::{Buffers, Event, Queues, Received, Ring, Role, SizeClass, TIMEOUT};
use crate::clock;
use crate::error::Result;
use crate::slab::Key;

/// The smallest ring there is.
pub(super) const QUEUES: Queues = Queues {
    submissions: 8,
    completions: 8,
};
pub(super) const BUFFERS: Buffers = Buffers {
    circulating: 1,
    total: 1,
    size: 64,
    large: None,
};

/// Checks that this process can have a ring at all, the smallest there is, as one of `rings`. Errors:
/// [`Error::Machine`](crate::error::Error::Machine) with advice.
pub fn probe(rings: usize) -> Result<()> {
    Ring::new(Role::Server, QUEUES, BUFFERS, rings).map(drop)
}

impl Ring {
    /// Receives one byte from a socket pair through this ring.
    pub(super) fn self_test(&mut self) -> io::Result<()> {
        let (ours, mut theirs) = UnixStream::pair()?;
        theirs.write_all(b"?")?;
        drop(theirs);
        self.receive(Key { slot: 0, generation: 0 }, ours.as_fd(), SizeClass::Small);
        let deadline = clock::now() + TIMEOUT;
        let (mut bytes, mut completions) = (0, Vec::new());
        while clock::now() < deadline {
            let waited = self.submit_and_wait(deadline, &mut completions);
            waited.map_err(|_| io::Error::from_raw_os_error(self.broken.map_or(0, |errno| errno.0)))?;
            for completion in completions.drain(..) {
                match completion.event {
                    Event::Received(Received::Data(chunk)) => {
                        bytes += chunk.len();
                        self.give_back(chunk);
                    }
                    Event::Received(Received::End) if bytes == 1 => return Ok(()),
                    Event::Received(Received::Starved) => {
                        self.receive(completion.key, ours.as_fd(), SizeClass::Small);
                    }
                    Event::Received(Received::Failed(errno)) => {
                        return Err(io::Error::from_raw_os_error(errno.0));
                    }
                    other => return Err(io::Error::other(format!("unexpected completion: {other:?}"))),
                }
            }
        }
        Err(io::Error::from_raw_os_error(libc::ETIMEDOUT))
    }

    /// Tries an operation that no ring of this program needs, on a ring that nothing was submitted to yet. True if the
    /// kernel has refused it, as it must.
    pub fn refuses_to_open_files(&mut self) -> bool {
        let path = c"/etc/passwd";
        let entry = opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr()).build();
        // SAFETY: the path is static.
        let pushed = unsafe { self.uring.submission().push(&entry) };
        let submitted = pushed.is_ok() && self.uring.submit_and_wait(1).is_ok();
        let result = self.uring.completion().next().map(|entry| entry.result());
        submitted && result == Some(-libc::EACCES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_refuses_operations_that_it_is_not_for() {
        for role in [Role::Server, Role::Client] {
            let mut ring = Ring::new(role, QUEUES, BUFFERS, 1).unwrap();
            assert!(ring.refuses_to_open_files(), "{role:?}");
        }
    }
}
