//! Whether a worker accepts connections, in the same way for every engine.
//!
//! When descriptors or memory run out, accepting again at once would fail again and spin. So accepting pauses until a
//! connection of this server closes, and for 100 ms at most: another process may have freed what was missing. Where
//! there is no room for another connection (`admission`), it pauses until one closes.
//!
//! A listener that is shut down resets every connection in its queue, whose peers may have sent bytes already. So a
//! drain first accepts what waits there.

use crate::clock::Nanos;

/// Longest pause after a failed accept.
const PAUSE: Nanos = Nanos(100_000_000);

/// State of accepting in one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepting {
    state: State,
    /// In a drain, the number of connections that can have waited in the queue and were not accepted yet.
    remaining: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Another worker accepts, or the drain has ended it.
    Off,
    /// New connections are accepted.
    On,
    /// The last accept failed, or there is no room for another connection.
    Paused {
        /// When to try again, unless a connection closes before.
        until: Nanos,
    },
}

impl Accepting {
    /// At the start of worker `index`: the first one accepts for all.
    pub(super) fn at_start(index: usize) -> Accepting {
        Accepting {
            state: if index == 0 { State::On } else { State::Off },
            remaining: None,
        }
    }

    /// True if connections are accepted now.
    pub(super) fn is_on(self) -> bool {
        self.state == State::On
    }

    /// True if none will be accepted any more.
    pub(super) fn is_off(self) -> bool {
        self.state == State::Off
    }

    /// An accept failed at `now`.
    pub(super) fn pause(&mut self, now: Nanos) {
        self.state = State::Paused { until: now + PAUSE };
    }

    /// There is no room for another connection.
    pub(super) fn wait_for_room(&mut self) {
        self.state = State::Paused { until: Nanos::NEVER };
    }

    /// A connection of this server closed. True if accepting resumes with that.
    pub(super) fn connection_closed(&mut self) -> bool {
        self.resume_if(|_| true)
    }

    /// True if a pause is over at `now` and accepting resumes with that.
    pub(super) fn pause_is_over(&mut self, now: impl FnOnce() -> Nanos) -> bool {
        self.resume_if(|until| now() >= until)
    }

    /// When the pause ends; never if there is none.
    pub(super) fn deadline(self) -> Nanos {
        match self.state {
            State::Paused { until } => until,
            State::On | State::Off => Nanos::NEVER,
        }
    }

    /// Only what can have waited is still accepted: at most `queued` connections.
    pub(super) fn begin_drain(&mut self, queued: u32) {
        self.remaining = Some(queued);
    }

    /// A connection was accepted. Those that arrive in a drain must not prolong it.
    pub(super) fn accepted(&mut self) {
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(1); // One may have been accepted just before it ended.
            if *remaining == 0 {
                self.end();
            }
        }
    }

    /// None is accepted any more.
    pub(super) fn end(&mut self) {
        self.state = State::Off;
    }

    fn resume_if(&mut self, condition: impl FnOnce(Nanos) -> bool) -> bool {
        let resumes = matches!(self.state, State::Paused { until } if condition(until));
        if resumes {
            self.state = State::On;
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
            [0, 1, 2].map(|index| Accepting::at_start(index).is_on()),
            [true, false, false]
        );
    }

    #[test]
    fn a_pause_ends_after_its_time() {
        let mut accepting = paused_at(Nanos(5));
        let end = accepting.deadline();
        assert!(!accepting.pause_is_over(|| end - Nanos(1)));
        assert!(accepting.pause_is_over(|| end));
        assert_eq!((accepting.is_on(), accepting.deadline()), (true, Nanos::NEVER));
    }

    #[test]
    fn without_room_only_a_close_ends_a_pause() {
        let mut accepting = Accepting::at_start(0);
        accepting.wait_for_room();
        assert!(accepting.deadline() == Nanos::NEVER && !accepting.pause_is_over(|| Nanos(u64::MAX - 1)));
        assert!(accepting.connection_closed() && accepting.is_on());
    }

    #[test]
    fn a_pause_ends_when_a_connection_closes() {
        let mut accepting = paused_at(Nanos(5));
        assert!(accepting.connection_closed());
        assert!(!accepting.connection_closed(), "it has resumed already");
    }

    #[test]
    fn accepting_that_is_off_stays_off() {
        let mut accepting = Accepting::at_start(1);
        assert!(!accepting.connection_closed() && !accepting.pause_is_over(|| Nanos::NEVER));
        assert!(accepting.is_off());
    }

    #[test]
    fn a_drain_accepts_as_many_as_can_have_waited() {
        let mut accepting = Accepting::at_start(0);
        accepting.accepted();
        accepting.begin_drain(3);
        let on: Vec<bool> = (0..3)
            .map(|_| {
                accepting.accepted();
                accepting.is_on()
            })
            .collect();
        assert_eq!(on, [true, true, false]);
        assert!(accepting.is_off());
    }
}
