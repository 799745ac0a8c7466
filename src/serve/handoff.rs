//! Handoff: how an accepted connection gets to the worker that serves it.
//!
//! The first worker accepts and gives each connection to the worker that has the fewest. A connection in transit always
//! has an owner: a ring that takes it as a completion, or an inbox. No worker ends before the acceptor has ended
//! accepting (`Shared::accept_ended`), and what it handed over by then is served or cut like any other connection.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::ring::Mailbox;
use crate::sys::waker::Waker;

/// The handoff to one worker, and the number of its connections. On cache lines of its own: each close writes to it.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Handoff {
    channel: Channel,
    connections: AtomicUsize,
}

/// What carries a connection from one thread to another.
#[derive(Debug)]
pub(super) enum Channel {
    /// The kernel, from one ring to another.
    Ring(Mailbox),
    /// A list under a lock, which is taken for new connections only.
    Inbox(Inbox),
}

impl Handoff {
    pub(super) fn new(channel: Channel) -> Handoff {
        Handoff {
            channel,
            connections: AtomicUsize::new(0),
        }
    }

    /// The mailbox of a worker on `ring::Ring`.
    pub(super) fn mailbox(&self) -> &Mailbox {
        match &self.channel {
            Channel::Ring(mailbox) => mailbox,
            Channel::Inbox(_) => unreachable!("all workers of a server have the same engine"),
        }
    }

    /// The inbox of a worker of any other engine.
    pub(super) fn inbox(&self) -> &Inbox {
        match &self.channel {
            Channel::Inbox(inbox) => inbox,
            Channel::Ring(_) => unreachable!("all workers of a server have the same engine"),
        }
    }

    /// The worker has one connection more without [`choose`].
    pub(super) fn connection_added(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// The worker has one connection less.
    pub(super) fn connection_removed(&self) {
        // In one order with the acceptor, which looks for room after it has asked to be woken.
        self.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Index of the worker with the fewest connections. One connection is added to it.
pub(super) fn choose(handoffs: &[Handoff]) -> usize {
    let fewest = (0..handoffs.len()).min_by_key(|&index| handoffs[index].connections.load(Ordering::Relaxed));
    let index = fewest.expect("a server has at least one worker");
    handoffs[index].connection_added();
    index
}

/// Number of open connections of all workers.
pub(super) fn open(handoffs: &[Handoff]) -> usize {
    let numbers = handoffs
        .iter()
        .map(|handoff| handoff.connections.load(Ordering::SeqCst));
    numbers.sum()
}

/// Connections handed to a worker that it has not taken yet.
#[derive(Debug)]
pub(super) struct Inbox {
    /// None once the worker has ended.
    waiting: Mutex<Option<Vec<OwnedFd>>>,
    waker: Waker,
}

impl Inbox {
    /// An empty inbox. Errors: [`Error::Machine`](crate::error::Error::Machine) when descriptors have run out.
    pub(super) fn new() -> Result<Inbox> {
        Ok(Inbox {
            waiting: Mutex::new(Some(Vec::new())),
            waker: Waker::new()?,
        })
    }

    /// Adds a connection and wakes the worker. Errors: the connection, if the worker has ended.
    pub(super) fn push(&self, connection: OwnedFd) -> std::result::Result<(), OwnedFd> {
        let mut waiting = self.lock();
        let Some(list) = waiting.as_mut() else {
            return Err(connection);
        };
        list.push(connection);
        drop(waiting);
        self.waker.wake();
        Ok(())
    }

    /// Takes all connections out.
    pub(super) fn take(&self) -> Vec<OwnedFd> {
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Refuses connections from now on. Closes those that were not taken, and returns their number.
    pub(super) fn close(&self) -> u64 {
        self.lock().take().unwrap_or_default().len() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<OwnedFd>>> {
        // A panic elsewhere cannot leave the list half-changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Inbox {
    /// Signals an edge for every connection added.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn handoff() -> Handoff {
        Handoff::new(Channel::Inbox(Inbox::new().unwrap()))
    }

    #[test]
    fn a_connection_goes_to_the_worker_with_the_fewest() {
        let handoffs = [handoff(), handoff(), handoff()];
        let chosen: Vec<usize> = (0..6).map(|_| choose(&handoffs)).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
        handoffs[1].connection_removed();
        assert_eq!(open(&handoffs), 5);
        assert_eq!(choose(&handoffs), 1);
    }

    #[test]
    fn the_inbox_of_a_worker_that_has_ended_refuses_connections() {
        let inbox = Inbox::new().unwrap();
        let socket = || OwnedFd::from(UnixStream::pair().unwrap().0);
        assert!(inbox.push(socket()).is_ok() && inbox.push(socket()).is_ok());
        assert_eq!(inbox.take().len(), 2);
        assert!(inbox.push(socket()).is_ok());
        assert_eq!(inbox.close(), 1, "it was not taken in time");
        assert!(inbox.push(socket()).is_err());
        assert!(inbox.take().is_empty());
    }
}
