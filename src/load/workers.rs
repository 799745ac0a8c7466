//! All workers of one plan, and what they and the thread that watches them see of each other.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use crate::clock::{self, Nanos};
use crate::error::Result;
use crate::load::interval::{IntervalMerger, IntervalWriter};
use crate::load::phases::Phases;
use crate::load::result::WorkerStats;
use crate::load::worker::Worker;
use crate::load::{Plan, Progress, capacity, monitor, preflight};
use crate::sys::signal::Stop;
use crate::sys::waker::Waker;
use crate::sys::{timer, usage, workers};

/// How much notice workers get of the start: enough for each to see it in time, however it sleeps.
const NOTICE: Nanos = Nanos(5_000_000);

/// Workers that are at work, and the watcher's end of what they write.
pub(super) struct Workers {
    pub(super) shared: Arc<Shared>,
    pub(super) ledger: IntervalMerger,
    /// The process that listens at the first target, if it is local and ours to see.
    pub(super) server: Option<i32>,
    threads: workers::Workers<WorkerStats>,
}

/// What all workers and the thread that watches them see.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) stop: Stop,
    /// For runs that are made of slices: how a worker learns that one begins, and where it then leaves what it found.
    pub(super) baton: Option<SliceControl>,
    /// Workers that still open connections.
    pub(super) ramping: AtomicUsize,
    /// When messages begin, in nanoseconds of the clock; `NEVER` until all workers have opened their connections.
    /// Another instant for every slice.
    pub(super) start: AtomicU64,
    boards: Vec<Board>,
}

/// Between a conductor and its workers.
pub(super) struct SliceControl {
    pub(super) waker: Waker,
    pub(super) slices: Sender<WorkerStats>,
}

/// What one worker shows of itself. A cache line of its own: nobody else writes there.
#[derive(Default)]
#[repr(align(128))]
struct Board {
    opened: AtomicU64,
    ok: AtomicU64,
}

impl Workers {
    /// Checks that the plan fits and that there is an echo server, and sets the workers to opening connections.
    pub(super) fn gather(mut plan: Plan, stop: &Stop, baton: Option<SliceControl>) -> Result<Workers> {
        capacity::Capacity::look().check(&plan)?;
        let proven = preflight::prove(&plan)?;
        let server = usage::listener_of(plan.targets[0]);
        plan.spin &= monitor::has_spare_cpu(&plan, server, 1);
        let threads = plan.threads as usize;
        let shared = Arc::new(Shared {
            plan,
            stop: stop.clone(),
            baton,
            ramping: AtomicUsize::new(threads),
            start: AtomicU64::new(Nanos::NEVER.0),
            boards: (0..threads).map(|_| Board::default()).collect(),
        });
        let (ledger, desks) = IntervalMerger::with_desks(threads);
        let threads = workers::Workers::new("load", &shared.plan.cpus, stop);
        let mut team = Workers {
            shared,
            ledger,
            server,
            threads,
        };
        let mut first = Some((OwnedFd::from(proven.stream), proven.connect));
        for (index, desk) in desks.into_iter().enumerate() {
            team.spawn(index, desk, first.take())?;
        }
        Ok(team)
    }

    fn spawn(&mut self, index: usize, desk: IntervalWriter, first: Option<(OwnedFd, Nanos)>) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        self.threads.spawn(move || work(index, &shared, desk, first))
    }

    /// True while every worker is at work.
    pub(super) fn is_whole(&self) -> bool {
        self.threads.all_running()
    }

    /// Waits for all workers to leave, and puts together what they have found. Errors: the first of theirs.
    pub(super) fn disband(&mut self) -> Result<WorkerStats> {
        let mut found = WorkerStats::default();
        for stats in self.threads.join()? {
            found.merge(&stats);
        }
        Ok(found)
    }
}

impl Shared {
    pub(super) fn show(&self, index: usize, opened: u64, ok: u64) {
        self.boards[index].opened.store(opened, Ordering::Relaxed);
        self.boards[index].ok.store(ok, Ordering::Relaxed);
    }

    /// One more worker has opened its connections. The last one says when messages begin, unless somebody conducts.
    pub(super) fn arrive(&self, now: Nanos) {
        if self.ramping.fetch_sub(1, Ordering::AcqRel) == 1 && self.baton.is_none() {
            self.start.store((now + NOTICE).0, Ordering::Release);
        }
    }

    /// When messages begin, or did.
    pub(super) fn start(&self) -> Nanos {
        Nanos(self.start.load(Ordering::Acquire))
    }

    pub(super) fn phases(&self) -> Option<Phases> {
        let start = self.start();
        (start != Nanos::NEVER).then(|| Phases::of(&self.plan, start))
    }

    pub(super) fn news(&self) -> Progress {
        let sum =
            |of: fn(&Board) -> &AtomicU64| self.boards.iter().map(|board| of(board).load(Ordering::Relaxed)).sum();
        let elapsed = self
            .phases()
            .map_or(Nanos(0), |phases| clock::now().min(phases.end) - phases.measure);
        Progress {
            opened: sum(|board| &board.opened),
            ok: sum(|board| &board.ok),
            elapsed,
        }
    }
}

/// A worker's thread. Its end, however it comes, drops its desk.
fn work(index: usize, shared: &Shared, desk: IntervalWriter, first: Option<(OwnedFd, Nanos)>) -> Result<WorkerStats> {
    timer::minimise_timer_slack();
    Worker::new(index, shared, desk, first)?.run()
}
