//! Whether io_uring works for this process: a new ring receives one byte, which no version number proves.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use io_uring::opcode;
use io_uring::types::Fd;

use super::{Buffers, Completion, Event, Queues, Received, Ring, RingPlan, Role, Socket, TIMEOUT};
use crate::clock;
use crate::error::Result;
use crate::slab::Key;

/// The smallest ring there is.
pub(super) const SMALLEST: RingPlan = RingPlan {
    role: Role::Server,
    queues: Queues {
        submissions: 8,
        completions: 8,
    },
    buffers: Buffers {
        circulating: 1,
        total: 1,
        size: 64,
        pipes: 0,
    },
    entries: 0,
};

/// Checks that this process can have a ring at all, the smallest there is, as one of `rings`. Errors:
/// [`Error::Machine`](crate::error::Error::Machine) with advice.
pub fn probe(rings: usize) -> Result<()> {
    Ring::new(SMALLEST, rings).map(drop)
}

impl Ring {
    /// Receives one byte from a socket pair through this ring.
    pub(super) fn self_test(&mut self) -> io::Result<()> {
        let (ours, mut theirs) = UnixStream::pair()?;
        theirs.write_all(b"?")?;
        drop(theirs);
        self.receive(Key { slot: 0, generation: 0 }, ours.as_fd());
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
                        self.receive(completion.key, ours.as_fd());
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

    /// Closes an entry of the table while a receive waits on another one, and checks that its peer notices. Before
    /// per-file nodes (Linux 6.13), the kernel keeps a closed entry until every older receive of the ring has
    /// ended. Errors: EOPNOTSUPP then.
    pub(super) fn test_table(&mut self) -> io::Result<()> {
        let [(idle, idle_peer), (closed, mut closed_peer)] = [UnixStream::pair()?, UnixStream::pair()?];
        let keys = [0, 1].map(|slot| Key { slot, generation: 0 });
        let mut sockets = [Socket::from(OwnedFd::from(idle)), Socket::from(OwnedFd::from(closed))];
        for (key, socket) in keys.into_iter().zip(&mut sockets) {
            self.make_direct(key, socket);
        }
        let [idle, closed] = sockets;
        self.receive(keys[0], &idle);
        self.submit();
        let installed = self.descriptor(&closed);
        drop(installed.map_err(|errno| io::Error::from_raw_os_error(errno.0))?);
        self.close(closed);
        self.submit();
        closed_peer.set_read_timeout(Some(TIMEOUT.into()))?;
        let ended = closed_peer.read_to_end(&mut Vec::new()); // Tried again after EINTR.
        drop(idle_peer);
        self.await_end()?;
        self.close(idle);
        match ended {
            Ok(_) => Ok(()),
            Err(late) if late.kind() == io::ErrorKind::WouldBlock => {
                Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
            }
            Err(cause) => Err(cause),
        }
    }

    /// Waits until a receive has ended.
    fn await_end(&mut self) -> io::Result<()> {
        let (deadline, mut completions) = (clock::now() + TIMEOUT, Vec::new());
        while clock::now() < deadline {
            self.submit_and_wait(deadline, &mut completions)
                .map_err(io::Error::other)?;
            let is_end = |completion: &Completion| matches!(completion.event, Event::Received(Received::End));
            if completions.drain(..).any(|completion| is_end(&completion)) {
                return Ok(());
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
            let mut ring = Ring::new(RingPlan { role, ..SMALLEST }, 1).unwrap();
            assert!(ring.refuses_to_open_files(), "{role:?}");
        }
    }
}
