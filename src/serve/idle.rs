//! Connections without traffic: when each has to be looked at again, in the same way for every engine.
//!
//! A message only notes its time. A connection is looked at when it would have been idle for long enough if nothing had
//! come since the last look, so there is one entry of the heap per connection, however many messages it carries.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Nanos;
use crate::slab::{Key, Slab};

/// Deadlines are rounded up to this, so that connections that were opened together cause one wake-up.
const GRANULARITY: u64 = 50_000_000;

/// The idle timeout of the connections of one worker.
#[derive(Debug)]
pub(super) struct IdleTimeout {
    /// None for no timeout.
    timeout: Option<Nanos>,
    /// When to look at a connection, earliest first: its slot and generation.
    checks: BinaryHeap<Reverse<(Nanos, u32, u32)>>,
}

impl IdleTimeout {
    pub(super) fn new(timeout: Option<Nanos>) -> IdleTimeout {
        IdleTimeout {
            timeout,
            checks: BinaryHeap::new(),
        }
    }

    /// True if connections need the time of their last traffic.
    pub(super) fn is_on(&self) -> bool {
        self.timeout.is_some()
    }

    /// A connection had its first or last traffic at `active_at`.
    pub(super) fn watch(&mut self, key: Key, active_at: Nanos) {
        if let Some(timeout) = self.timeout {
            let due = (active_at + timeout).0.div_ceil(GRANULARITY) * GRANULARITY;
            self.checks.push(Reverse((Nanos(due), key.slot, key.generation)));
        }
    }

    /// When the next connection has to be looked at.
    pub(super) fn deadline(&self) -> Nanos {
        self.checks.peek().map_or(Nanos::NEVER, |&Reverse((due, ..))| due)
    }

    /// The connections that have had no traffic for the timeout. Each is returned again after another one.
    pub(super) fn expired<C>(
        &mut self,
        now: impl FnOnce() -> Nanos,
        connections: &mut Slab<C>,
        active_at: impl Fn(&C) -> Nanos,
    ) -> Vec<Key> {
        let (Some(timeout), false) = (self.timeout, self.checks.is_empty()) else {
            return Vec::new();
        };
        let now = now();
        let mut expired = Vec::new();
        while self.deadline() <= now {
            let Some(Reverse((_, slot, generation))) = self.checks.pop() else {
                break;
            };
            let key = Key { slot, generation };
            let Some(connection) = connections.get_mut(key) else {
                continue; // It has closed.
            };
            let mut last = active_at(connection);
            if last + timeout <= now {
                expired.push(key);
                last = now;
            }
            self.watch(key, last);
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = Nanos::SECOND;

    #[test]
    fn connections_expire_when_they_were_idle_for_the_timeout() {
        let mut connections = Slab::with_capacity(2);
        let mut idle = IdleTimeout::new(Some(SECOND));
        let [quiet, active] = [Nanos(0), Nanos(0)].map(|at| connections.insert(at));
        idle.watch(quiet, Nanos(0));
        idle.watch(active, Nanos(0));
        *connections.get_mut(active).unwrap() = Nanos(600_000_000);
        let mut expired = |now| idle.expired(|| Nanos(now), &mut connections, |&at| at);
        assert_eq!(expired(999_999_999), []);
        assert_eq!(expired(1_000_000_000), [quiet]);
        assert_eq!(expired(1_599_999_999), []);
        assert_eq!(expired(1_600_000_000), [active]);
        assert_eq!(expired(2_000_000_000), [quiet], "once more if it is still there");
    }

    #[test]
    fn a_connection_that_has_closed_is_forgotten() {
        let mut connections = Slab::with_capacity(1);
        let mut idle = IdleTimeout::new(Some(SECOND));
        let key = connections.insert(Nanos(0));
        idle.watch(key, Nanos(0));
        connections.remove(key);
        assert_eq!(idle.deadline(), SECOND);
        assert_eq!(idle.expired(|| SECOND, &mut connections, |&at| at), []);
        assert_eq!(idle.deadline(), Nanos::NEVER);
    }

    #[test]
    fn without_a_timeout_nothing_is_watched() {
        let mut idle = IdleTimeout::new(None);
        idle.watch(Key { slot: 0, generation: 0 }, Nanos(0));
        assert_eq!((idle.is_on(), idle.deadline()), (false, Nanos::NEVER));
    }
}
