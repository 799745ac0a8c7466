//! Which connections get buffers when there are not enough for all.

use std::collections::VecDeque;

use crate::clock::Nanos;
use crate::ring::SizeClass;
use crate::serve::uring::echo::BufferAllowance;
use crate::slab::Key;

/// The least that a connection may hold unless buffers are low. With one, every connection that sends a message and
/// waits for its echo would have its receive cancelled and armed again each time: with 10,000 connections that is more
/// than half of the pool.
const HELD_MIN: usize = 2;

/// How long streams wait for a large buffer before they receive into small ones.
const LARGE_TIMEOUT: Nanos = Nanos(50_000_000);

/// How long starved connections wait for buffers that may be on their way back.
const SMALL_RETRY: Nanos = Nanos(1_000_000);

/// How long connections may wait for a small buffer while peers that do not read hold them all.
const EXHAUSTED_MAX: Nanos = Nanos::SECOND;

/// Buffers of a ring at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct BufferLevels {
    /// Small buffers that the kernel may fill.
    pub(super) small: usize,
    /// Large buffers that the kernel may fill.
    pub(super) large: usize,
    /// True if the next pass may offer more small buffers.
    pub(super) has_spare: bool,
}

/// Shares the buffers of one worker among its connections, and queues those that wait for one.
#[derive(Debug)]
pub(super) struct BufferShares {
    /// Small buffers of the ring, and bytes in each.
    total: usize,
    size: usize,
    /// Small buffers that one connection may hold, queued or being sent, before its peer must read.
    held_max: usize,
    /// Connections whose receive found no small buffer, longest waiting first.
    starved_small: VecDeque<Key>,
    /// Streams whose receive found no large buffer, longest waiting first.
    starved_large: VecDeque<Key>,
    /// When the starved streams get small buffers instead.
    large_deadline: Nanos,
    /// True while peers that do not read hold most of the small buffers: see [`BufferShares::becomes_low`].
    low: bool,
    /// When the wait of starved connections for a small buffer has been too long; never while there are some.
    overdue_at: Nanos,
}

impl BufferShares {
    /// For a ring with `total` small buffers of `size` bytes. A connection may hold `limit` bytes: with 64 KiB instead
    /// of 256, one bulk stream was about 10 % slower, because receiving waited for sending.
    pub(super) fn new(total: usize, size: usize, limit: u64) -> BufferShares {
        let held_max = usize::try_from(limit).unwrap_or(usize::MAX) / size;
        BufferShares {
            total,
            size,
            held_max: held_max.max(HELD_MIN),
            starved_small: VecDeque::new(),
            starved_large: VecDeque::new(),
            large_deadline: Nanos::NEVER,
            low: false,
            overdue_at: Nanos::NEVER,
        }
    }

    /// What one of `connections` may use. Its share shrinks as they become more, so that slow readers cannot take all.
    pub(super) fn allowance(&self, connections: usize, large_offered: usize) -> BufferAllowance {
        let (shared, least) = if self.low {
            (self.total / 4, 1)
        } else {
            (self.total, HELD_MIN)
        };
        BufferAllowance {
            cap: (shared / connections.max(1)).clamp(least, self.held_max),
            small: self.size,
            large_free: large_offered > 0 && !self.low,
        }
    }

    /// True while buffers are low: then every receive should take one buffer only.
    pub(super) fn is_low(&self) -> bool {
        self.low
    }

    /// True if buffers have just become low, with `in_use` small ones in use: then every armed receive must be renewed.
    ///
    /// A multishot receive takes a whole batch of buffers before it can be cancelled, and a peer that does not read
    /// keeps them: enough such peers would starve all others permanently. So once half of the pool is in use, every
    /// receive takes one buffer, and all shares together are a quarter of the pool. The last quarter is for
    /// receives under way.
    pub(super) fn becomes_low(&mut self, in_use: usize) -> bool {
        let was_low = self.low;
        self.low = if was_low {
            in_use >= self.total / 4
        } else {
            in_use > self.total / 2
        };
        self.low && !was_low
    }

    /// Queues a connection for a buffer.
    pub(super) fn starve(&mut self, key: Key, class: SizeClass) {
        match class {
            SizeClass::Small => self.starved_small.push_back(key),
            SizeClass::Large => self.starved_large.push_back(key),
        }
    }

    /// The connection that has waited longest for a small buffer.
    pub(super) fn next_small(&mut self) -> Option<Key> {
        self.starved_small.pop_front()
    }

    /// The stream that has waited longest for a large buffer.
    pub(super) fn next_large(&mut self) -> Option<Key> {
        self.starved_large.pop_front()
    }

    /// What to give the starved streams, while `offered` large buffers are free.
    pub(super) fn large_share(&mut self, offered: usize, now: impl FnOnce() -> Nanos) -> LargeShare {
        if self.starved_large.is_empty() {
            self.large_deadline = Nanos::NEVER;
            return LargeShare::Buffers(0);
        }
        let now = now();
        if offered > 0 || self.large_deadline == Nanos::NEVER {
            self.large_deadline = now + LARGE_TIMEOUT;
        }
        if now >= self.large_deadline {
            LargeShare::TimedOut(self.starved_large.len())
        } else {
            LargeShare::Buffers(offered)
        }
    }

    /// Number of connections that have waited for a small buffer for too long, while there was none. Each time is the
    /// beginning of another wait.
    pub(super) fn overdue(&mut self, levels: BufferLevels, now: impl FnOnce() -> Nanos) -> usize {
        if self.starved_small.is_empty() || levels.small > 0 || levels.has_spare {
            self.overdue_at = Nanos::NEVER;
            return 0;
        }
        let now = now();
        let is_overdue = self.overdue_at <= now;
        if is_overdue || self.overdue_at == Nanos::NEVER {
            self.overdue_at = now + EXHAUSTED_MAX;
        }
        if is_overdue { self.starved_small.len() } else { 0 }
    }

    /// When a worker must serve the starved although nothing completes.
    pub(super) fn deadline(&self, levels: BufferLevels, now: impl FnOnce() -> Nanos) -> Nanos {
        let (small, large) = (!self.starved_small.is_empty(), !self.starved_large.is_empty());
        if (small && levels.small > 0) || (large && levels.large > 0) {
            // At once: the connections served last may have nothing to receive, and then no completion would follow.
            return now();
        }
        if small && levels.has_spare {
            // Buffers taken in one pass count as on their way back until the next. If peers that do not read have kept
            // them all, only another pass finds that out and offers spare ones.
            return self.large_deadline.min(now() + SMALL_RETRY);
        }
        self.large_deadline.min(self.overdue_at)
    }
}

/// What the starved streams get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LargeShare {
    /// The first ones get this many large buffers.
    Buffers(usize),
    /// All of this many get small buffers: peers that do not read have kept every large one for too long.
    TimedOut(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: BufferLevels = BufferLevels {
        small: 0,
        large: 0,
        has_spare: false,
    };

    fn shares() -> BufferShares {
        BufferShares::new(1024, 4096, 262_144)
    }

    #[test]
    fn a_share_shrinks_with_the_number_of_connections() {
        let cap = |connections| shares().allowance(connections, 0).cap;
        assert_eq!([0, 1, 16, 32, 10_000].map(cap), [64, 64, 64, 32, HELD_MIN]);
    }

    #[test]
    fn buffers_are_low_from_half_of_them_lent_until_less_than_a_quarter_is() {
        let mut shares = shares();
        assert!(!shares.becomes_low(512));
        assert!(shares.becomes_low(513));
        assert!(!shares.becomes_low(1024), "it was low already");
        assert!(shares.is_low() && !shares.becomes_low(256) && shares.is_low());
        shares.becomes_low(255);
        assert!(!shares.is_low());
    }

    #[test]
    fn low_buffers_mean_smaller_shares_and_no_new_streams() {
        let mut shares = shares();
        assert!(shares.allowance(64, 1).large_free && !shares.allowance(64, 0).large_free);
        shares.becomes_low(1000);
        assert_eq!(shares.allowance(64, 1).cap, 4);
        assert_eq!(shares.allowance(10_000, 1).cap, 1);
        assert!(!shares.allowance(64, 1).large_free);
    }

    #[test]
    fn streams_get_small_buffers_once_no_large_one_was_free_for_a_while() {
        let mut shares = shares();
        shares.starve(Key::reserved(0), SizeClass::Large);
        assert_eq!(shares.large_share(0, || Nanos(1)), LargeShare::Buffers(0));
        assert_eq!(shares.deadline(EMPTY, || Nanos(1)), LARGE_TIMEOUT + Nanos(1));
        assert_eq!(
            shares.large_share(2, || Nanos(5)),
            LargeShare::Buffers(2),
            "a free one resets the time"
        );
        assert_eq!(
            shares.large_share(0, || LARGE_TIMEOUT + Nanos(1)),
            LargeShare::Buffers(0)
        );
        assert_eq!(
            shares.large_share(0, || LARGE_TIMEOUT + Nanos(5)),
            LargeShare::TimedOut(1)
        );
        assert_eq!(shares.next_large(), Some(Key::reserved(0)));
        assert_eq!(shares.large_share(0, || Nanos(9)), LargeShare::Buffers(0));
        assert_eq!(shares.deadline(EMPTY, || Nanos(9)), Nanos::NEVER);
    }

    #[test]
    fn a_wait_for_buffers_that_do_not_come_is_overdue_after_a_second() {
        let mut shares = shares();
        assert_eq!(shares.overdue(EMPTY, || Nanos(1)), 0, "none waits");
        shares.starve(Key::reserved(0), SizeClass::Small);
        assert_eq!(shares.overdue(EMPTY, || Nanos(1)), 0);
        assert_eq!(shares.deadline(EMPTY, || Nanos(1)), EXHAUSTED_MAX + Nanos(1));
        assert_eq!(shares.overdue(EMPTY, || EXHAUSTED_MAX + Nanos(1)), 1);
        assert_eq!(
            shares.overdue(EMPTY, || EXHAUSTED_MAX + Nanos(2)),
            0,
            "the next wait has begun"
        );
        let free = BufferLevels { small: 1, ..EMPTY };
        assert_eq!(shares.overdue(free, || EXHAUSTED_MAX + EXHAUSTED_MAX + Nanos(2)), 0);
        assert_eq!(
            shares.overdue(EMPTY, || EXHAUSTED_MAX + EXHAUSTED_MAX + Nanos(3)),
            0,
            "the next wait begins later"
        );
    }

    #[test]
    fn starved_connections_are_served_at_once_if_buffers_are_free_and_soon_if_some_may_come() {
        let mut shares = shares();
        shares.starve(Key::reserved(0), SizeClass::Small);
        assert_eq!(shares.deadline(EMPTY, || Nanos(7)), Nanos::NEVER);
        let spare = BufferLevels {
            has_spare: true,
            ..EMPTY
        };
        assert_eq!(shares.deadline(spare, || Nanos(7)), Nanos(7) + SMALL_RETRY);
        let free = BufferLevels { small: 1, ..EMPTY };
        assert_eq!(shares.deadline(free, || Nanos(7)), Nanos(7));
        assert_eq!(shares.next_small(), Some(Key::reserved(0)));
        assert_eq!(shares.next_small(), None);
    }
}
