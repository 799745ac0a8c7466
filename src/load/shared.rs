//! What all workers of a run and the thread that watches them share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use crate::clock::{self, Nanos};
use crate::load::observer::Progress;
use crate::load::phases::Phases;
use crate::load::rate_control::RateControl;
use crate::load::result::WorkerStats;
use crate::load::workload::Plan;
use crate::sys::signal::Stop;
use crate::sys::waker::Waker;

/// From the moment the last worker is ready to the start of a run: enough for every worker to see it in time, however
/// it sleeps.
const START_DELAY: Nanos = Nanos(5_000_000);

/// One per run, read by all of its threads.
pub(super) struct Shared {
    pub(super) plan: Plan,
    /// True if workers busy-poll before they sleep.
    pub(super) spin: bool,
    pub(super) stop: Stop,
    /// The rate of an open loop, if it was changed by hand.
    pub(super) rate: RateControl,
    /// For runs that consist of slices.
    pub(super) slices: Option<SliceControl>,
    /// Workers that are still opening connections.
    opening: AtomicUsize,
    /// Workers that still have connections.
    with_connections: AtomicUsize,
    /// When messages begin, in nanoseconds of the clock; `NEVER` until it is known. Set again for every slice.
    start: AtomicU64,
    /// Draws the arrivals of the current run or slice. Set before the start.
    seed: AtomicU64,
    workers: Vec<WorkerProgress>,
}

/// How a session starts slices and gets their results.
pub(super) struct SliceControl {
    /// Wakes all workers: a new start has been set.
    pub(super) waker: Waker,
    /// Where each worker sends what it counted in a slice.
    pub(super) results: Sender<WorkerStats>,
}

/// The progress of one worker, which alone writes it. On a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct WorkerProgress {
    opened: AtomicU64,
    completed: AtomicU64,
}

impl Shared {
    pub(super) fn new(plan: Plan, spin: bool, stop: Stop, rate: RateControl, slices: Option<SliceControl>) -> Shared {
        let (workers, seed) = (plan.workload.threads as usize, plan.workload.seed);
        Shared {
            plan,
            spin,
            stop,
            rate,
            slices,
            opening: AtomicUsize::new(workers),
            with_connections: AtomicUsize::new(workers),
            start: AtomicU64::new(Nanos::NEVER.0),
            seed: AtomicU64::new(seed),
            workers: (0..workers).map(|_| WorkerProgress::default()).collect(),
        }
    }

    /// Publishes the progress of a worker.
    pub(super) fn publish(&self, worker: usize, opened: u64, completed: u64) {
        let progress = &self.workers[worker];
        progress.opened.store(opened, Ordering::Relaxed);
        progress.completed.store(completed, Ordering::Relaxed);
    }

    /// One more worker has opened its connections. The last one sets the start, unless a session does.
    pub(super) fn worker_ready(&self, now: Nanos) {
        if self.opening.fetch_sub(1, Ordering::AcqRel) == 1 && self.slices.is_none() {
            self.set_start(now + START_DELAY);
        }
    }

    /// True once all workers have opened their connections, or failed to.
    pub(super) fn all_ready(&self) -> bool {
        self.opening.load(Ordering::Acquire) == 0
    }

    /// One more worker has lost all of its connections.
    pub(super) fn worker_lost_all_connections(&self) {
        self.with_connections.fetch_sub(1, Ordering::AcqRel);
    }

    /// True once no worker has a connection any more.
    pub(super) fn all_without_connections(&self) -> bool {
        self.with_connections.load(Ordering::Acquire) == 0
    }

    /// Draws the arrivals of the next slice from `seed`. Call before its start is set.
    pub(super) fn set_seed(&self, seed: u64) {
        self.seed.store(seed, Ordering::Relaxed);
    }

    /// What the arrivals of the run or slice are drawn from.
    pub(super) fn seed(&self) -> u64 {
        self.seed.load(Ordering::Relaxed)
    }

    pub(super) fn set_start(&self, start: Nanos) {
        self.start.store(start.0, Ordering::Release);
    }

    /// When messages begin, or began; `NEVER` if that is not known yet.
    pub(super) fn start(&self) -> Nanos {
        Nanos(self.start.load(Ordering::Acquire))
    }

    /// The phases that follow from the start, once it is known.
    pub(super) fn phases(&self) -> Option<Phases> {
        let start = self.start();
        (start != Nanos::NEVER).then(|| Phases::of(&self.plan.workload, start))
    }

    /// How far all workers together have come.
    pub(super) fn progress(&self) -> Progress {
        let sum = |counter: fn(&WorkerProgress) -> &AtomicU64| {
            let counts = self
                .workers
                .iter()
                .map(|worker| counter(worker).load(Ordering::Relaxed));
            counts.sum()
        };
        let measuring = |phases: Phases| clock::now().min(phases.end) - phases.measure;
        Progress {
            opened: sum(|worker| &worker.opened),
            completed: sum(|worker| &worker.completed),
            elapsed: self.phases().map_or(Nanos(0), measuring),
        }
    }
}
