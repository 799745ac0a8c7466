//! The counters of a running server: every worker copies its own when it is asked to.
//!
//! A worker answers between two passes, so one that does not answer is stuck: this is the liveness check, too.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::serve::counters::Counters;
use crate::sys::waker::Waker;

/// Requests for the counters of all workers, and their answers.
#[derive(Debug)]
pub(super) struct Snapshots {
    request: Waker,
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Debug)]
struct State {
    /// Number of requests so far.
    requests: u64,
    /// For each worker the request that it has answered last, and its answer.
    answers: Vec<(u64, Counters)>,
}

/// The answer of a worker that has ended is its last.
const ENDED: u64 = u64::MAX;

impl Snapshots {
    /// Errors: [`Error::Machine`](crate::error::Error::Machine) when descriptors have run out.
    pub(super) fn new(workers: usize) -> Result<Snapshots> {
        Ok(Snapshots {
            request: Waker::new()?,
            state: Mutex::new(State {
                requests: 0,
                answers: vec![(0, Counters::default()); workers],
            }),
            answered: Condvar::new(),
        })
    }

    /// The counters of all workers. None if one of them has not answered within `timeout`.
    pub(super) fn request(&self, timeout: Duration) -> Option<Vec<Counters>> {
        let mut state = self.lock();
        state.requests += 1;
        let request = state.requests;
        self.request.wake();
        let is_missing = |state: &mut State| state.answers.iter().any(|&(answered, _)| answered < request);
        let (state, waited) = self
            .answered
            .wait_timeout_while(state, timeout, is_missing)
            .unwrap_or_else(PoisonError::into_inner);
        let counters = state.answers.iter().map(|(_, counters)| counters.clone());
        (!waited.timed_out()).then(|| counters.collect())
    }

    /// Answers all requests so far for worker `index`.
    pub(super) fn answer(&self, index: usize, counters: Counters) {
        let mut state = self.lock();
        state.answers[index] = (state.requests, counters);
        self.answered.notify_all();
    }

    /// Worker `index` has ended with these counters.
    pub(super) fn end(&self, index: usize, counters: Counters) {
        self.lock().answers[index] = (ENDED, counters);
        self.answered.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave an answer half-written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Snapshots {
    /// Signals an edge for every request.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.request.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_by_all_workers_or_by_none() {
        let snapshots = Snapshots::new(2).unwrap();
        let accepted = |accepted| Counters {
            accepted,
            ..Counters::default()
        };
        assert_eq!(snapshots.request(Duration::ZERO), None);
        snapshots.answer(0, accepted(1));
        snapshots.end(1, accepted(2));
        assert_eq!(
            snapshots.request(Duration::ZERO),
            None,
            "it was the answer to the request before"
        );
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while snapshots.lock().requests < 3 {
                    std::thread::yield_now();
                }
                snapshots.answer(0, accepted(3));
            });
            let counters = snapshots.request(Duration::from_secs(60)).unwrap();
            assert_eq!(counters, [accepted(3), accepted(2)]);
        });
    }
}
