//! How a new connection gets to its worker: one handoff each, where others hand connections in.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::ring::Mailbox;
use crate::sys::waker::Waker;

/// One worker's handoff, and how many connections it has.
#[derive(Debug)]
pub(super) struct Handoff {
    way: Way,
    open: AtomicUsize,
}

/// What takes a connection from one thread to another.
#[derive(Debug)]
pub(super) enum Way {
    /// The kernel, from ring to ring.
    Ring(Mailbox),
    /// A list under a lock, taken for new connections only.
    Inbox(Inbox),
}

impl Handoff {
    pub(super) fn new(way: Way) -> Handoff {
        Handoff {
            way,
            open: AtomicUsize::new(0),
        }
    }

    /// The mailbox of a worker with a ring of ours.
    pub(super) fn mailbox(&self) -> &Mailbox {
        match &self.way {
            Way::Ring(mailbox) => mailbox,
            Way::Inbox(_) => unreachable!("all workers of a server have one engine"),
        }
    }

    /// The inbox of a worker without one.
    pub(super) fn inbox(&self) -> &Inbox {
        match &self.way {
            Way::Inbox(inbox) => inbox,
            Way::Ring(_) => unreachable!("all workers of a server have one engine"),
        }
    }

    /// One connection more, that [`choose`] did not choose.
    pub(super) fn entered(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// One connection less.
    pub(super) fn left(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The handoff with the fewest connections behind it; there is one more from now on.
pub(super) fn choose(handoffs: &[Handoff]) -> usize {
    let fewest = (0..handoffs.len()).min_by_key(|&index| handoffs[index].open.load(Ordering::Relaxed));
    let index = fewest.expect("a server has a worker");
    handoffs[index].open.fetch_add(1, Ordering::Relaxed);
    index
}

/// Connections that wait for their worker.
#[derive(Debug)]
pub(super) struct Inbox {
    /// None once the worker has ended.
    waiting: Mutex<Option<Vec<OwnedFd>>>,
    waker: Waker,
}

impl Inbox {
    /// Empty. Errors: descriptors have run out.
    pub(super) fn new() -> Result<Inbox> {
        Ok(Inbox {
            waiting: Mutex::new(Some(Vec::new())),
            waker: Waker::new()?,
        })
    }

    /// Hands a connection in. False, and it is closed, if the worker has ended.
    pub(super) fn push(&self, connection: OwnedFd) -> bool {
        let mut waiting = self.lock();
        let Some(list) = waiting.as_mut() else {
            return false;
        };
        list.push(connection);
        drop(waiting);
        self.waker.wake();
        true
    }

    /// Takes what has been handed in.
    pub(super) fn take(&self) -> Vec<OwnedFd> {
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes no more; returns how many had come too late, and closes them.
    pub(super) fn close(&self) -> u64 {
        self.lock().take().unwrap_or_default().len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<OwnedFd>>> {
        // A list is whole whatever its last user was doing.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Inbox {
    /// An edge for every connection handed in.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn handoff() -> Handoff {
        Handoff::new(Way::Inbox(Inbox::new().unwrap()))
    }

    #[test]
    fn the_next_connection_goes_where_fewest_are() {
        let handoffs = [handoff(), handoff(), handoff()];
        let chosen: Vec<usize> = (0..6).map(|_| choose(&handoffs)).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
        handoffs[1].left();
        assert_eq!(choose(&handoffs), 1);
    }

    #[test]
    fn an_inbox_whose_worker_has_ended_takes_nothing_and_says_so() {
        let inbox = Inbox::new().unwrap();
        let socket = || OwnedFd::from(UnixStream::pair().unwrap().0);
        assert!(inbox.push(socket()) && inbox.push(socket()));
        assert_eq!(inbox.take().len(), 2);
        assert!(inbox.push(socket()));
        assert_eq!(inbox.close(), 1, "one had come too late");
        assert!(!inbox.push(socket()));
        assert!(inbox.take().is_empty());
    }
}
