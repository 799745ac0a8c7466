//! The drain of a worker: from the stop to its end, in the same way for every engine.
//!
//! A stop gives every idle connection FIN, sweeping over all of them again and again. A connection is idle if nothing
//! was received or sent on it since the last sweep. After half of the drain timeout those in use get FIN as well, each
//! after the echo of what has arrived by then: a client in a closed loop is never idle. The end of the timeout cuts the
//! rest.

use crate::clock::Nanos;
use crate::slab::{Key, Slab};

/// Time between sweeps. Within a stream the socket is empty for a moment too: for as long as pacing or a delayed ACK
/// (40 ms) takes.
const SWEEP: Nanos = Nanos(100_000_000);

/// State of the drain of one worker.
#[derive(Debug)]
pub(super) struct Drain {
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Serving,
    Draining {
        /// When the remaining connections are cut.
        end: Nanos,
        next_sweep: Nanos,
        /// Time between sweeps. Short drains get a few as well.
        interval: Nanos,
        /// From when on connections in use are ended, too.
        end_busy_from: Nanos,
    },
}

/// What a connection did since the last sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// Nothing.
    Idle,
    /// Something was received or sent.
    Busy,
}

impl Drain {
    /// Not begun.
    pub(super) fn new() -> Drain {
        Drain { state: State::Serving }
    }

    /// Begins the drain, which ends after `timeout`; false if it had begun before. `take_had_io` resets a connection's
    /// busy mark and returns what it was: idle time counts from here on.
    pub(super) fn begin<C>(
        &mut self,
        now: Nanos,
        timeout: Nanos,
        connections: &mut Slab<C>,
        take_had_io: impl Fn(&mut C) -> bool,
    ) -> bool {
        if self.has_begun() {
            return false;
        }
        let interval = SWEEP.min(Nanos(timeout.0 / 4));
        self.state = State::Draining {
            end: now + timeout,
            next_sweep: now + interval,
            interval,
            end_busy_from: now + Nanos(timeout.0 / 2),
        };
        connections.values_mut().for_each(|connection| {
            take_had_io(connection);
        });
        true
    }

    /// Connections to end: those that have been idle since the last sweep, and later all. None unless a sweep is due.
    pub(super) fn sweep<C>(
        &mut self,
        now: impl FnOnce() -> Nanos,
        connections: &mut Slab<C>,
        take_had_io: impl Fn(&mut C) -> bool,
    ) -> Vec<(Key, Activity)> {
        let State::Draining {
            next_sweep,
            interval,
            end_busy_from,
            ..
        } = &mut self.state
        else {
            return Vec::new();
        };
        let now = now();
        if now < *next_sweep {
            return Vec::new();
        }
        // As late as this, the machine was stopped or busy, and peers had no time to send either.
        let is_late = now - *next_sweep > *interval;
        *next_sweep = now + *interval;
        if is_late && now < *end_busy_from {
            return Vec::new();
        }
        let ends_busy = now >= *end_busy_from;
        connections
            .iter_mut()
            .filter_map(|(key, connection)| match take_had_io(connection) {
                true => ends_busy.then_some((key, Activity::Busy)),
                false => Some((key, Activity::Idle)),
            })
            .collect()
    }

    pub(super) fn has_begun(&self) -> bool {
        matches!(self.state, State::Draining { .. })
    }

    /// True once the remaining connections are to be cut.
    pub(super) fn is_over(&self, now: impl FnOnce() -> Nanos) -> bool {
        matches!(self.state, State::Draining { end, .. } if now() >= end)
    }

    /// When the worker must wake up for the drain.
    pub(super) fn deadline(&self) -> Nanos {
        match self.state {
            State::Serving => Nanos::NEVER,
            State::Draining { end, next_sweep, .. } => end.min(next_sweep),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = Nanos::SECOND;

    /// Three connections with their busy marks.
    fn connections() -> Slab<bool> {
        let mut connections = Slab::with_capacity(3);
        for busy in [true, false, true] {
            connections.insert(busy);
        }
        connections
    }

    fn slots(swept: &[(Key, Activity)]) -> Vec<u32> {
        swept.iter().map(|(key, _)| key.slot).collect()
    }

    #[test]
    fn a_serving_worker_is_never_swept_and_never_over() {
        let mut drain = Drain::new();
        assert!(
            drain
                .sweep(|| Nanos::NEVER, &mut connections(), std::mem::take)
                .is_empty()
        );
        assert!(!drain.is_over(|| Nanos::NEVER));
        assert_eq!(drain.deadline(), Nanos::NEVER);
    }

    #[test]
    fn a_sweep_finds_the_connections_that_were_idle_since_the_last_one() {
        let (mut drain, mut connections) = (Drain::new(), connections());
        assert!(drain.begin(SECOND, SECOND, &mut connections, std::mem::take));
        *connections.values_mut().next().unwrap() = true;
        let mut sweep = |now| drain.sweep(|| now, &mut connections, std::mem::take);
        assert!(sweep(SECOND + SWEEP - Nanos(1)).is_empty(), "not due yet");
        assert_eq!(
            slots(&sweep(SECOND + SWEEP)),
            [1, 2],
            "busy before the drain does not count"
        );
        assert_eq!(slots(&sweep(SECOND + SWEEP + SWEEP)), [0, 1, 2]);
    }

    #[test]
    fn a_sweep_that_comes_late_ends_no_connection_unless_the_time_is_short() {
        let (mut drain, mut connections) = (Drain::new(), connections());
        drain.begin(Nanos(0), Nanos(20 * SWEEP.0), &mut connections, std::mem::take);
        let mut swept_at = |sweeps: u64| {
            let swept = drain.sweep(|| Nanos(sweeps * SWEEP.0), &mut connections, std::mem::take);
            swept.len()
        };
        // Due after 1, 5, 6 and 7 intervals; the last is late as well, and half of the time is over.
        assert_eq!([4, 5, 6, 15].map(&mut swept_at), [0, 3, 3, 3]);
    }

    #[test]
    fn connections_in_use_are_ended_after_half_of_the_timeout() {
        let (mut drain, mut connections) = (Drain::new(), connections());
        drain.begin(Nanos(0), SECOND, &mut connections, std::mem::take);
        let mut busy_at = |now: u64| {
            connections.values_mut().for_each(|busy| *busy = true);
            let swept = drain.sweep(|| Nanos(now), &mut connections, std::mem::take);
            swept.iter().filter(|(_, activity)| *activity == Activity::Busy).count()
        };
        assert_eq!([400_000_000, 500_000_000, 600_000_000].map(&mut busy_at), [0, 3, 3]);
    }

    #[test]
    fn a_drain_begins_once_and_is_over_after_its_timeout() {
        let mut drain = Drain::new();
        assert!(drain.begin(Nanos(7), SECOND, &mut connections(), std::mem::take));
        assert!(!drain.begin(Nanos(9), SECOND, &mut connections(), std::mem::take));
        assert!(!drain.is_over(|| SECOND));
        assert!(drain.is_over(|| SECOND + Nanos(7)));
    }

    #[test]
    fn a_short_drain_is_swept_before_it_is_over() {
        let mut drain = Drain::new();
        drain.begin(Nanos(0), Nanos(8), &mut connections(), std::mem::take);
        assert_eq!(drain.deadline(), Nanos(2));
    }
}
