//! Which connections get buffers when there are not enough for all.

use std::collections::VecDeque;

use crate::clock::Nanos;
use crate::ring::Store;
use crate::serve::uring::echo::BufferAllowance;
use crate::slab::Key;

/// The least that a connection may hold unless buffers are low. With one, every connection that sends a message and
/// waits for its echo would have its receive cancelled and armed again each time: with 10,000 connections that is more
/// than half of the pool.
const HELD_MIN: usize = 2;

/// How long streams wait for a pipe before they receive into buffers.
const PIPE_TIMEOUT: Nanos = Nanos(50_000_000);

/// How long starved connections wait for buffers that may be on their way back.
const BUFFER_RETRY: Nanos = Nanos(1_000_000);

/// How long connections may wait for a buffer while peers that do not read hold them all.
const EXHAUSTED_MAX: Nanos = Nanos::SECOND;

/// Buffers of a ring at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct BufferLevels {
    /// Buffers that the kernel may fill.
    pub(super) buffers: usize,
    /// Empty pipes.
    pub(super) pipes: usize,
    /// True if the next pass may offer more buffers.
    pub(super) has_spare: bool,
}

/// Shares the buffers of one worker among its connections, and queues those that wait for one.
#[derive(Debug)]
pub(super) struct BufferShares {
    /// Buffers of the ring, and bytes in each.
    total: usize,
    size: usize,
    /// Buffers that one connection may hold, queued or being sent, before its peer must read.
    held_max: usize,
    /// Connections whose receive found no buffer, longest waiting first.
    starved_of_buffers: VecDeque<Key>,
    /// Streams whose receive found no pipe, longest waiting first.
    starved_of_pipes: VecDeque<Key>,
    /// When the starved streams get buffers instead.
    pipe_deadline: Nanos,
    /// True while peers that do not read hold most of the buffers: see [`BufferShares::becomes_low`].
    low: bool,
    /// When the wait of starved connections for a buffer has been too long; never while there are some.
    overdue_at: Nanos,
}

impl BufferShares {
    /// For a ring with `total` buffers of `size` bytes. A connection may hold `limit` bytes: with 64 KiB instead
    /// of 256, one bulk stream was about 10 % slower, because receiving waited for sending.
    pub(super) fn new(total: usize, size: usize, limit: u64) -> BufferShares {
        let held_max = usize::try_from(limit).unwrap_or(usize::MAX) / size;
        BufferShares {
            total,
            size,
            held_max: held_max.max(HELD_MIN),
            starved_of_buffers: VecDeque::new(),
            starved_of_pipes: VecDeque::new(),
            pipe_deadline: Nanos::NEVER,
            low: false,
            overdue_at: Nanos::NEVER,
        }
    }

    /// What one of `connections` may use. Its share shrinks as they become more, so that slow readers cannot take all.
    pub(super) fn allowance(&self, connections: usize, free_pipes: usize) -> BufferAllowance {
        let (shared, least) = if self.low {
            (self.total / 4, 1)
        } else {
            (self.total, HELD_MIN)
        };
        BufferAllowance {
            cap: (shared / connections.max(1)).clamp(least, self.held_max),
            buffer_size: self.size,
            pipe_free: free_pipes > 0 && !self.low,
        }
    }

    /// True while buffers are low: then every receive should take one buffer only.
    pub(super) fn is_low(&self) -> bool {
        self.low
    }

    /// True if buffers have just become low, with `in_use` of them in use: then every armed receive must be renewed.
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
    pub(super) fn starve(&mut self, key: Key, store: Store) {
        match store {
            Store::Buffer => self.starved_of_buffers.push_back(key),
            Store::Pipe => self.starved_of_pipes.push_back(key),
        }
    }

    /// The connection that has waited longest for a buffer.
    pub(super) fn next_for_buffer(&mut self) -> Option<Key> {
        self.starved_of_buffers.pop_front()
    }

    /// The stream that has waited longest for a pipe.
    pub(super) fn next_for_pipe(&mut self) -> Option<Key> {
        self.starved_of_pipes.pop_front()
    }

    /// What to give the starved streams, while `free` pipes are empty.
    pub(super) fn pipe_share(&mut self, free: usize, now: impl FnOnce() -> Nanos) -> PipeShare {
        if self.starved_of_pipes.is_empty() {
            self.pipe_deadline = Nanos::NEVER;
            return PipeShare::Pipes(0);
        }
        let now = now();
        if free > 0 || self.pipe_deadline == Nanos::NEVER {
            self.pipe_deadline = now + PIPE_TIMEOUT;
        }
        if now >= self.pipe_deadline {
            PipeShare::TimedOut(self.starved_of_pipes.len())
        } else {
            PipeShare::Pipes(free)
        }
    }

    /// Number of connections that have waited for a buffer for too long, while there was none. Each time is the
    /// beginning of another wait.
    pub(super) fn overdue(&mut self, levels: BufferLevels, now: impl FnOnce() -> Nanos) -> usize {
        if self.starved_of_buffers.is_empty() || levels.buffers > 0 || levels.has_spare {
            self.overdue_at = Nanos::NEVER;
            return 0;
        }
        let now = now();
        let is_overdue = self.overdue_at <= now;
        if is_overdue || self.overdue_at == Nanos::NEVER {
            self.overdue_at = now + EXHAUSTED_MAX;
        }
        if is_overdue { self.starved_of_buffers.len() } else { 0 }
    }

    /// When a worker must serve the starved although nothing completes.
    pub(super) fn deadline(&self, levels: BufferLevels, now: impl FnOnce() -> Nanos) -> Nanos {
        let wanted = !self.starved_of_buffers.is_empty();
        if (wanted && levels.buffers > 0) || (!self.starved_of_pipes.is_empty() && levels.pipes > 0) {
            // At once: the connections served last may have nothing to receive, and then no completion would follow.
            return now();
        }
        if wanted && levels.has_spare {
            // Buffers taken in one pass count as on their way back until the next. If peers that do not read have kept
            // them all, only another pass finds that out and offers spare ones.
            return self.pipe_deadline.min(now() + BUFFER_RETRY);
        }
        self.pipe_deadline.min(self.overdue_at)
    }
}

/// What the starved streams get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PipeShare {
    /// The first ones get this many pipes.
    Pipes(usize),
    /// All of this many get buffers: peers that do not read have kept every pipe for too long.
    TimedOut(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: BufferLevels = BufferLevels {
        buffers: 0,
        pipes: 0,
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
        assert!(shares.allowance(64, 1).pipe_free && !shares.allowance(64, 0).pipe_free);
        shares.becomes_low(1000);
        assert_eq!(shares.allowance(64, 1).cap, 4);
        assert_eq!(shares.allowance(10_000, 1).cap, 1);
        assert!(!shares.allowance(64, 1).pipe_free);
    }

    #[test]
    fn streams_get_buffers_once_no_pipe_was_free_for_a_while() {
        let mut shares = shares();
        shares.starve(Key::reserved(0), Store::Pipe);
        assert_eq!(shares.pipe_share(0, || Nanos(1)), PipeShare::Pipes(0));
        assert_eq!(shares.deadline(EMPTY, || Nanos(1)), PIPE_TIMEOUT + Nanos(1));
        assert_eq!(
            shares.pipe_share(2, || Nanos(5)),
            PipeShare::Pipes(2),
            "a free one resets the time"
        );
        assert_eq!(shares.pipe_share(0, || PIPE_TIMEOUT + Nanos(1)), PipeShare::Pipes(0));
        assert_eq!(shares.pipe_share(0, || PIPE_TIMEOUT + Nanos(5)), PipeShare::TimedOut(1));
        assert_eq!(shares.next_for_pipe(), Some(Key::reserved(0)));
        assert_eq!(shares.pipe_share(0, || Nanos(9)), PipeShare::Pipes(0));
        assert_eq!(shares.deadline(EMPTY, || Nanos(9)), Nanos::NEVER);
    }

    #[test]
    fn a_wait_for_buffers_that_do_not_come_is_overdue_after_a_second() {
        let mut shares = shares();
        assert_eq!(shares.overdue(EMPTY, || Nanos(1)), 0, "none waits");
        shares.starve(Key::reserved(0), Store::Buffer);
        assert_eq!(shares.overdue(EMPTY, || Nanos(1)), 0);
        assert_eq!(shares.deadline(EMPTY, || Nanos(1)), EXHAUSTED_MAX + Nanos(1));
        assert_eq!(shares.overdue(EMPTY, || EXHAUSTED_MAX + Nanos(1)), 1);
        assert_eq!(
            shares.overdue(EMPTY, || EXHAUSTED_MAX + Nanos(2)),
            0,
            "the next wait has begun"
        );
        let free = BufferLevels { buffers: 1, ..EMPTY };
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
        shares.starve(Key::reserved(0), Store::Buffer);
        assert_eq!(shares.deadline(EMPTY, || Nanos(7)), Nanos::NEVER);
        let spare = BufferLevels {
            has_spare: true,
            ..EMPTY
        };
        assert_eq!(shares.deadline(spare, || Nanos(7)), Nanos(7) + BUFFER_RETRY);
        let free = BufferLevels { buffers: 1, ..EMPTY };
        assert_eq!(shares.deadline(free, || Nanos(7)), Nanos(7));
        assert_eq!(shares.next_for_buffer(), Some(Key::reserved(0)));
        assert_eq!(shares.next_for_buffer(), None);
    }
}
