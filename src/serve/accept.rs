//! Whether a worker accepts connections, in the same way for every engine.
//!
//! When descriptors or memory run out, accepting again at once would fail again and spin. So accepting pauses until a
//! connection of this worker closes, and for 100 ms at most: another process may have freed what was missing.

use crate::clock::Nanos;

/// Longest pause after a failed accept.
const PAUSE: Nanos = Nanos(100_000_000);

/// State of accepting in one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepting {
    /// Another worker accepts, or the drain has ended it.
    Off,
    /// New connections are accepted.
    On,
    /// The last accept failed.
    Paused {
        /// When to try again, unless a connection closes before.
        until: Nanos,
    },
}

impl Accepting {
    /// At the start of worker `index`: the first one accepts for all.
    pub(super) fn at_start(index: usize) -> Accepting {
        if index == 0 { Accepting::On } else { Accepting::Off }
    }

    /// An accept failed at `now`.
    pub(super) fn pause(&mut self, now: Nanos) {
        *self = Accepting::Paused { until: now + PAUSE };
    }

    /// A connection of this worker closed, which freed its descriptor. True if accepting resumes with that.
    pub(super) fn connection_closed(&mut self) -> bool {
        self.resume_if(|_| true)
    }

    /// True if a pause is over at `now` and accepting resumes with that.
    pub(super) fn pause_is_over(&mut self, now: impl FnOnce() -> Nanos) -> bool {
        self.resume_if(|until| now() >= until)
    }

    /// When the pause ends; never if there is none.
    pub(super) fn deadline(self) -> Nanos {
        match self {
            Accepting::Paused { until } => until,
            Accepting::On | Accepting::Off => Nanos::NEVER,
        }
    }

    fn resume_if(&mut self, condition: impl FnOnce(Nanos) -> bool) -> bool {
        let resumes = matches!(*self, Accepting::Paused { until } if condition(until));
        if resumes {
            *self = Accepting::On;
        }
        resumes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paused_at(now: Nanos) -> Accepting {
        let mut accepting = Accepting::at_start(0);
        accepting.pause(now);
        accepting
    }

    #[test]
    fn only_the_first_worker_accepts() {
        assert_eq!(
            [0, 1, 2].map(Accepting::at_start),
            [Accepting::On, Accepting::Off, Accepting::Off]
        );
    }

    #[test]
    fn a_pause_ends_after_its_time() {
        let mut accepting = paused_at(Nanos(5));
        let end = accepting.deadline();
        assert!(!accepting.pause_is_over(|| end - Nanos(1)));
        assert!(accepting.pause_is_over(|| end));
        assert_eq!((accepting, accepting.deadline()), (Accepting::On, Nanos::NEVER));
    }

    #[test]
    fn a_pause_ends_when_a_connection_closes() {
        let mut accepting = paused_at(Nanos(5));
        assert!(accepting.connection_closed());
        assert!(!accepting.connection_closed(), "it has resumed already");
    }

    #[test]
    fn accepting_that_is_off_stays_off() {
        let mut accepting = Accepting::Off;
        assert!(!accepting.connection_closed() && !accepting.pause_is_over(|| Nanos::NEVER));
        assert_eq!(accepting, Accepting::Off);
    }
}
