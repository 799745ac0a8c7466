//! What a caller can watch of a run while it goes on.

use crate::clock::{Nanos, WallTime};
use crate::load::interval::Interval;

/// Receives what happens, on a thread of its own: whatever it takes its time for, the run goes on.
pub trait Observer: Send {
    /// Measuring has begun, at this time. Comes before the first interval.
    fn measuring(&mut self, _began: WallTime) {}

    /// How far the run is, 4 times a second.
    fn progress(&mut self, _progress: Progress) {}

    /// One second is over, or several: those that ended while the observer was behind come as one interval. All workers
    /// together. The last one may be shorter, and its counts include the drain.
    fn interval(&mut self, _interval: &Interval) {}
}

impl Observer for () {}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Connections opened so far.
    pub opened: u64,
    /// Messages completed so far, those of the warm-up not counted.
    pub completed: u64,
    /// Time since measuring began; zero before.
    pub elapsed: Nanos,
}
