//! How many connections a server lets in: in total, and from one address.
//!
//! At the limit of all, the acceptor stops accepting, and further connections wait in the queue of the listener until
//! one closes on any worker; or it accepts and closes them ([`AtLimit`]). Beyond the limit of an address they are
//! always closed: one that waits at the head of the queue would keep those of all other addresses waiting.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::sys::limits;
use crate::sys::waker::Waker;

/// Descriptors that connections leave free, as a share of the limit and at most: half of them for pipes, the others for
/// a log, a resolver, or a second listener.
const RESERVE_SHARE: u64 = 64;
const RESERVE_MAX: u64 = 4096;

/// Limits on the connections of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Open connections of all workers together; none for as many as the descriptors allow.
    pub connections: Option<u32>,
    /// What happens to connections beyond that.
    pub at_limit: AtLimit,
    /// Open connections from one IP address; none for no limit.
    pub per_address: Option<u32>,
}

/// What happens to a connection that there is no room for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AtLimit {
    /// It waits in the queue of the listener until another one closes.
    #[default]
    Wait,
    /// It is accepted and closed.
    Refuse,
}

/// How many further connections there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Headroom {
    /// None.
    Full,
    /// Fewer than may wait: they must be accepted one by one.
    Tight,
    /// More than may wait.
    Ample,
}

/// Why a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// All of them together have reached their limit.
    Total,
    /// Those from its address have.
    Address,
}

/// Admits connections as long as the limits allow. All workers share it.
#[derive(Debug)]
pub(super) struct Admission {
    /// Open connections of all workers together, at most.
    max: AtomicUsize,
    at_limit: AtLimit,
    addresses: Option<Mutex<Addresses>>,
    /// True while the acceptor waits for a connection to close.
    acceptor_waits: AtomicBool,
    closed: Waker,
}

/// Open connections by address.
#[derive(Debug, Default)]
struct Addresses {
    max: u32,
    open: HashMap<IpAddr, u32>,
    /// A socket whose peer has reset it has no address any more, so each is kept with its place.
    by_place: HashMap<Place, IpAddr>,
}

/// What identifies the socket of an open connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// A descriptor of this process.
    Descriptor(RawFd),
    /// An entry in the table of a worker's ring.
    Entry {
        /// Index of the worker.
        worker: usize,
        /// Number of the entry.
        slot: u32,
    },
}

/// Descriptors that connections leave free where a process may have `limit`.
pub fn reserve(limit: u64) -> u64 {
    (limit / RESERVE_SHARE).min(RESERVE_MAX)
}

/// Pipes that each of `workers` may have where a process may have `limit` descriptors.
pub(super) fn pipes(limit: u64, workers: usize) -> u64 {
    const DESCRIPTORS_OF_A_PIPE: u64 = 2;
    reserve(limit) / 2 / DESCRIPTORS_OF_A_PIPE / workers.max(1) as u64
}

/// Descriptors of each worker, and of the others; estimated.
const PER_WORKER: u64 = 4;
const OTHERS: u64 = 16;

/// True if a server with this many workers may have a descriptor for each of `connections`.
pub fn has_descriptors(connections: u32, workers: usize) -> bool {
    let own = OTHERS + PER_WORKER * workers as u64;
    u64::from(connections) + own <= free_descriptors()
}

/// Workers that a server has by itself at most, to hold its connections.
pub fn most_workers() -> usize {
    const MOST: u64 = 1024;
    (free_descriptors().saturating_sub(OTHERS) / PER_WORKER).clamp(1, MOST) as usize
}

fn free_descriptors() -> u64 {
    let limit = limits::descriptors().soft;
    limit.saturating_sub(limits::open_descriptors() as u64 + reserve(limit))
}

impl Admission {
    /// Errors: [`Error::Machine`] when descriptors have run out.
    pub(super) fn new(limits: Limits) -> Result<Admission> {
        Ok(Admission {
            max: AtomicUsize::new(limits.connections.map_or(usize::MAX, |max| max as usize)),
            at_limit: limits.at_limit,
            addresses: limits.per_address.map(|max| {
                Mutex::new(Addresses {
                    max,
                    ..Addresses::default()
                })
            }),
            acceptor_waits: AtomicBool::new(false),
            closed: Waker::new()?,
        })
    }

    /// Lowers the limit to what the descriptors allow, now that everything but connections has taken its own; or to
    /// `entries`, if connections do not keep their descriptors. Returns the limit. Errors: [`Error::Machine`] if there
    /// is no descriptor for a connection.
    pub(super) fn fit_descriptors(&self, entries: Option<u64>) -> Result<usize> {
        let limit = limits::descriptors().soft;
        let free = limit.saturating_sub(limits::open_descriptors() as u64 + reserve(limit));
        if free == 0 {
            return Err(Error::Machine(format!(
                "the limit of {limit} descriptors leaves none for a connection: raise it with `ulimit -n`, or use fewer workers"
            )));
        }
        let max = self
            .max
            .load(Ordering::Relaxed)
            .min(usize::try_from(entries.unwrap_or(free)).unwrap_or(usize::MAX));
        self.max.store(max, Ordering::Relaxed);
        Ok(max)
    }

    /// Connections that are let in at once.
    pub(super) fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// The headroom beside `open` connections, while up to `waiting` more may wait in the queue of the listener.
    pub(super) fn headroom(&self, open: usize, waiting: usize) -> Headroom {
        match self.max.load(Ordering::Relaxed).saturating_sub(open) {
            _ if self.at_limit == AtLimit::Refuse => Headroom::Ample,
            0 => Headroom::Full,
            free if free <= waiting => Headroom::Tight,
            _ => Headroom::Ample,
        }
    }

    /// Lets a connection in beside `open` others, or says why not. `peer` is its address, if it still has one: a peer
    /// that has reset its connection is not counted, and closes at once.
    pub(super) fn admit(
        &self,
        connection: &impl AsRawFd,
        peer: impl FnOnce() -> Option<IpAddr>,
        open: usize,
    ) -> std::result::Result<(), Refusal> {
        if self.at_limit == AtLimit::Refuse && open >= self.max.load(Ordering::Relaxed) {
            return Err(Refusal::Total);
        }
        match self.addresses.as_ref().and_then(|addresses| Some((addresses, peer()?))) {
            Some((addresses, peer)) => {
                let place = Place::Descriptor(connection.as_raw_fd());
                lock(addresses).admit(place, peer.to_canonical())
            }
            None => Ok(()),
        }
    }

    /// The socket of a connection that was admitted is about to move.
    pub(super) fn moves(&self, from: Place, to: Place) {
        if let Some(addresses) = &self.addresses {
            lock(addresses).moves(from, to);
        }
    }

    /// A connection that was admitted is about to be closed.
    pub(super) fn release(&self, place: Place) {
        if let Some(addresses) = &self.addresses {
            lock(addresses).release(place);
        }
    }

    /// The acceptor waits for a connection to close; the next one wakes it. It must look for room once more after this
    /// call.
    pub(super) fn wait_for_close(&self) {
        self.acceptor_waits.store(true, Ordering::SeqCst);
    }

    /// A connection has been closed: wakes the acceptor if it waits for that.
    pub(super) fn connection_closed(&self) {
        if self.acceptor_waits.load(Ordering::SeqCst) && self.acceptor_waits.swap(false, Ordering::SeqCst) {
            self.closed.wake();
        }
    }
}

impl AsFd for Admission {
    /// Signals an edge when a connection has closed for which the acceptor waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.closed.as_fd()
    }
}

impl Addresses {
    fn admit(&mut self, place: Place, peer: IpAddr) -> std::result::Result<(), Refusal> {
        let open = self.open.entry(peer).or_default();
        if *open >= self.max {
            return Err(Refusal::Address);
        }
        *open += 1;
        self.by_place.insert(place, peer);
        Ok(())
    }

    fn moves(&mut self, from: Place, to: Place) {
        if let Some(peer) = self.by_place.remove(&from) {
            self.by_place.insert(to, peer);
        }
    }

    fn release(&mut self, place: Place) {
        let Some(peer) = self.by_place.remove(&place) else {
            return;
        };
        if let Some(open) = self.open.get_mut(&peer) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&peer);
            }
        }
    }
}

fn lock(addresses: &Mutex<Addresses>) -> MutexGuard<'_, Addresses> {
    // A panic elsewhere cannot leave the counts half-changed.
    addresses.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: u32, at_limit: AtLimit) -> Admission {
        Admission::new(Limits {
            connections: Some(connections),
            at_limit,
            per_address: None,
        })
        .unwrap()
    }

    #[test]
    fn room_shrinks_until_connections_must_wait() {
        let admission = admission(10, AtLimit::Wait);
        assert_eq!(
            [0, 5, 6, 9, 10, 11].map(|open| admission.headroom(open, 4)),
            [
                Headroom::Ample,
                Headroom::Ample,
                Headroom::Tight,
                Headroom::Tight,
                Headroom::Full,
                Headroom::Full
            ]
        );
    }

    #[test]
    fn a_server_that_refuses_always_accepts() {
        let admission = admission(10, AtLimit::Refuse);
        assert_eq!(admission.headroom(11, 4), Headroom::Ample);
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let admit = |open| admission.admit(&socket, || None, open);
        assert_eq!([9, 10].map(admit), [Ok(()), Err(Refusal::Total)]);
    }

    #[test]
    fn addresses_are_counted_until_their_connections_close() {
        let mut addresses = Addresses {
            max: 2,
            ..Addresses::default()
        };
        let [one, other] = ["192.0.2.1", "2001:db8::1"].map(|address| address.parse::<IpAddr>().unwrap());
        let at = Place::Descriptor;
        assert_eq!([3, 4].map(|fd| addresses.admit(at(fd), one)), [Ok(()); 2]);
        assert_eq!(addresses.admit(at(5), one), Err(Refusal::Address));
        assert_eq!(addresses.admit(at(5), other), Ok(()));
        let entry = Place::Entry { worker: 1, slot: 4 };
        addresses.moves(at(3), entry);
        addresses.release(at(3));
        assert_eq!(addresses.admit(at(3), one), Err(Refusal::Address), "it has only moved");
        addresses.release(entry);
        addresses.release(entry);
        assert_eq!(
            [6, 7].map(|fd| addresses.admit(at(fd), one)),
            [Ok(()), Err(Refusal::Address)]
        );
        (4..=6).for_each(|fd| addresses.release(at(fd)));
        assert!(addresses.open.is_empty() && addresses.by_place.is_empty());
    }
}
