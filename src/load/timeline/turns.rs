//! Which connection of a closed loop begins its next message when another one has completed.

use std::collections::VecDeque;

use crate::slab::Key;

/// Connections that wait to send.
#[derive(Debug)]
pub(super) struct Turns {
    /// First come, first served. Where connections take turns, once for each message that they may have in flight.
    waiting: VecDeque<Key>,
    /// True if connections take turns, because not all of them may have messages in flight at once.
    pub(super) are_taken: bool,
    /// Turns so far: the next slice goes on where the last one ended.
    taken: usize,
}

impl Turns {
    pub(super) fn new(are_taken: bool) -> Turns {
        Turns {
            waiting: VecDeque::new(),
            are_taken,
            taken: 0,
        }
    }

    /// All connections wait, each of which may have `depth` messages in flight.
    pub(super) fn begin(&mut self, connections: &[Key], depth: usize) {
        let (done, next) = match self.are_taken {
            true => connections.split_at(self.taken % connections.len().max(1)),
            false => (&[][..], connections),
        };
        for _ in 0..if self.are_taken { depth } else { 1 } {
            self.waiting.extend(next.iter().chain(done));
        }
    }

    /// The connection that sends when `key` has completed a message: itself, or the one that has waited longest.
    pub(super) fn after(&mut self, key: Key) -> Option<Key> {
        if !self.are_taken {
            return Some(key);
        }
        self.waiting.push_back(key);
        self.next()
    }

    /// How many messages a connection that has waited issues, if it may have `depth` in flight.
    pub(super) fn messages(&self, depth: usize) -> usize {
        if self.are_taken { 1 } else { depth }
    }

    pub(super) fn next(&mut self) -> Option<Key> {
        self.taken = self.taken.wrapping_add(1);
        self.waiting.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}
