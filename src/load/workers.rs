//! Starts and joins the workers of a run.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::clock::Nanos;
use crate::error::Result;
use crate::load::capacity::{self, ProcessLimits};
use crate::load::interval::{IntervalMerger, IntervalWriter};
use crate::load::preflight;
use crate::load::rate_control::RateControl;
use crate::load::result::WorkerStats;
use crate::load::servers::Servers;
use crate::load::shared::{Shared, SliceControl};
use crate::load::target::Target;
use crate::load::worker::Worker;
use crate::load::workload::{Io, Plan};
use crate::ring::{Poller, Ring, RingSet};
use crate::sys::prctl;
use crate::sys::signal::Stop;
use crate::sys::threads::ThreadGroup;

/// Running workers, and the receiving end of their intervals.
pub(super) struct Workers {
    pub(super) shared: Arc<Shared>,
    pub(super) intervals: IntervalMerger,
    pub(super) servers: Servers,
    threads: ThreadGroup<WorkerStats>,
}

impl Workers {
    /// Checks that the plan fits this machine and that the targets echo, then starts the workers. They open their
    /// connections. Errors: as [`load::run`](crate::load::run).
    pub(super) fn start(plan: Plan, stop: &Stop, rate: RateControl, slices: Option<SliceControl>) -> Result<Workers> {
        ProcessLimits::of_this_process().check(&plan)?;
        let (plan, first) = preflight::check(&plan, stop)?;
        let workload = &plan.workload;
        let addresses: Vec<_> = plan.targets.iter().map(Target::address).collect();
        let servers = Servers::find(&addresses);
        // Several rings of a thread cannot be busy-polled: `RingSet`.
        let spin = workload.spin && workload.rings_of(0) == 1 && capacity::has_spare_cpu(workload, servers.pids(), 1);
        let (intervals, writers) = IntervalMerger::new(workload.threads as usize);
        let threads = ThreadGroup::new("load", &workload.cpus, stop);
        let mut workers = Workers {
            shared: Arc::new(Shared::new(plan, spin, stop.clone(), rate, slices)),
            intervals,
            servers,
            threads,
        };
        let mut first = Some((OwnedFd::from(first.stream), first.connect));
        for (index, writer) in writers.into_iter().enumerate() {
            workers.spawn(index, writer, first.take())?;
        }
        Ok(workers)
    }

    fn spawn(&mut self, index: usize, writer: IntervalWriter, first: Option<(OwnedFd, Nanos)>) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        self.threads.spawn(move || {
            prctl::minimise_timer_slack();
            let workload = &shared.plan.workload;
            match workload.io {
                Io::Uring if workload.rings_of(index) > 1 => {
                    Worker::<RingSet>::new(index, &shared, writer, first)?.run()
                }
                Io::Uring => Worker::<Ring>::new(index, &shared, writer, first)?.run(),
                Io::Epoll => Worker::<Poller>::new(index, &shared, writer, first)?.run(),
            }
        })
    }

    /// True while no worker has returned.
    pub(super) fn all_running(&self) -> bool {
        self.threads.all_running()
    }

    /// Waits for all workers and merges what they counted. Errors: the first of theirs.
    pub(super) fn join(&mut self) -> Result<WorkerStats> {
        let mut sum = WorkerStats::default();
        for stats in self.threads.join()? {
            sum.merge(&stats);
        }
        Ok(sum)
    }
}
