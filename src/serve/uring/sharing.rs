//! Who gets buffers when there are not enough for all.

use std::collections::VecDeque;

use super::Worker;
use crate::clock::{self, Nanos};
use crate::ring::SizeClass;
use crate::slab::Key;

/// Buffers that one connection may hold, queued or being sent, before its peer must read: 64 × 4 KiB. With 16,
/// one bulk stream was some 10 % slower, because receiving waited for sending.
const HOLD: usize = 64;

/// How long streams wait for a large buffer before they take small ones.
const PATIENCE: Nanos = Nanos(50_000_000);

/// The least that a connection may hold while there are enough. With one, the receive of everybody who sends a message
/// and waits for it would be cancelled and armed again each time: 10,000 connections are more than half of the pool.
const LEAST: usize = 2;

/// How long the starved wait for buffers that are on their way back.
const REFILL: Nanos = Nanos(1_000_000);

impl Worker<'_> {
    /// True while those that wait for a buffer can have one.
    pub(super) fn can_feed(&self) -> bool {
        let can = |queue: &VecDeque<Key>, class| !queue.is_empty() && self.ring.offered(class) > 0;
        can(&self.starved, SizeClass::Small) || can(&self.hungry, SizeClass::Large)
    }

    /// When the pool should be looked at again though nothing completes. What one turn has lent counts as on its way back
    /// until the next one; if it all stays with peers that do not read, only another turn finds that out.
    pub(super) fn refill(&self) -> Nanos {
        if self.starved.is_empty() || !self.ring.has_spare() {
            return Nanos::NEVER;
        }
        clock::now() + REFILL
    }

    /// Serves starved connections in order, as many as there are buffers for.
    pub(super) fn feed(&mut self) {
        for _ in 0..self.ring.offered(SizeClass::Small) {
            let Some(key) = self.starved.pop_front() else {
                return;
            };
            // A connection may have died in the queue.
            if self.connections.get_mut(key).is_some() {
                self.update(key, |echo, cap| echo.fed(cap));
            }
        }
    }

    /// Serves hungry streams in order, as many as there are large buffers for. If none comes back for a while, peers that
    /// do not read have them all: then small ones must do.
    pub(super) fn feed_hungry(&mut self) {
        if self.hungry.is_empty() {
            self.patience = Nanos::NEVER;
            return;
        }
        let meals = self.ring.offered(SizeClass::Large);
        if meals > 0 || self.patience == Nanos::NEVER {
            self.patience = clock::now() + PATIENCE;
        }
        let none_comes = clock::now() >= self.patience;
        let served = if none_comes { self.hungry.len() } else { meals };
        for _ in 0..served {
            let Some(key) = self.hungry.pop_front() else {
                return;
            };
            let Some(connection) = self.connections.get_mut(key) else {
                continue; // It has died in the queue.
            };
            if none_comes && connection.flow.shrink() {
                self.mind_stream(key);
            }
            self.update(key, |echo, cap| echo.fed(cap));
        }
    }

    /// A connection has begun or ceased to stream.
    pub(super) fn mind_stream(&mut self, key: Key) {
        let connection = self.connections.get_mut(key);
        match connection.map(|connection| connection.flow.class()) {
            Some(SizeClass::Large) => self.streams += 1,
            _ => self.streams -= 1,
        }
    }

    /// A multishot receive takes a whole batch of buffers before it can be cancelled, and a peer that does not
    /// read keeps them: enough such peers would starve everybody for good. So from half of the pool on, every
    /// receive takes one buffer only, and all shares together are a quarter of the pool. The other quarter is
    /// for what was under way.
    pub(super) fn ration(&mut self) {
        let (lent, total) = (
            self.ring.lent(SizeClass::Small),
            self.shared.plan.buffers.total as usize,
        );
        if self.scarce {
            self.scarce = lent >= total / 4;
        } else if lent > total / 2 {
            self.scarce = true;
            let keys: Vec<Key> = self.connections.keys().collect();
            for key in keys {
                self.update(key, |echo, _| echo.renew());
            }
        }
    }

    /// Buffers that a connection may hold: less when there are many, so that slow readers cannot take all.
    pub(super) fn cap(&self) -> usize {
        let total = self.shared.plan.buffers.total as usize;
        let (shared, least) = if self.scarce { (total / 4, 1) } else { (total, LEAST) };
        (shared / self.connections.len().max(1)).clamp(least, HOLD)
    }
}
