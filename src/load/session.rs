//! A plan that runs slice by slice: connections stay open, and messages are sent only during slices.
//!
//! This is how servers are compared: one session with each, one of them at a time under load. A slice ends once every
//! message has been answered; a session in which that does not happen is over, because a late reply would disturb the
//! slice of another server.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::error::{Error, Result};
use crate::load::interval::Interval;
use crate::load::preflight;
use crate::load::rate_control::RateControl;
use crate::load::result::{Latencies, Loss, Messages, WorkerStats};
use crate::load::shared::SliceControl;
use crate::load::workers::Workers;
use crate::load::workload::Plan;
use crate::sys::signal::Stop;
use crate::sys::usage;
use crate::sys::waker::Waker;

/// How often to check whether all connections are open, or a worker has failed.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// How long a server may take to go to sleep after its last reply, so that all of its CPU time has been counted.
const SETTLE_TIME: Duration = Duration::from_millis(1);

/// From waking the workers to the start of a slice.
const START_DELAY: Nanos = Nanos(1_000_000);

/// Connections to one server (or several, as one), open until [`Session::close`].
pub struct Session {
    workers: Workers,
    results: Receiver<WorkerStats>,
    /// Processes whose CPU time is counted.
    processes: Vec<i32>,
}

/// The result of one slice.
#[derive(Debug, Clone)]
pub struct Slice {
    /// What became of the messages that count.
    pub messages: Messages,
    /// Their latencies.
    pub latencies: Latencies,
    /// What all workers counted.
    pub stats: WorkerStats,
    /// CPU time of the server from before the first message to after the last reply, warm-up included. `None` if none
    /// of its processes is visible.
    pub server_cpu: Option<Nanos>,
}

impl Session {
    /// Opens all connections and has each echo once. Each slice takes the plan's warm-up and duration.
    ///
    /// Errors: as for [`run`](crate::load::run); and [`Error::Target`] if a connection does not open.
    pub fn open(plan: &Plan) -> Result<Session> {
        Session::open_until(plan, &Stop::new()?)
    }

    /// The same; once `stop` fires, this and every slice end within a second, with an error.
    pub fn open_until(plan: &Plan, stop: &Stop) -> Result<Session> {
        let (sender, results) = mpsc::channel();
        let control = SliceControl {
            waker: Waker::new()?,
            results: sender,
        };
        let workers = Workers::start(plan.clone(), &stop.child()?, RateControl::default(), Some(control))?;
        let mut session = Session {
            processes: workers.servers.pids().to_vec(),
            workers,
            results,
        };
        while !session.workers.shared.all_ready() {
            if !session.workers.all_running() {
                return Err(session.failure());
            }
            thread::sleep(POLL_INTERVAL);
        }
        let (opened, all) = (
            session.workers.shared.progress().opened,
            u64::from(plan.workload.connections),
        );
        if opened < all {
            return Err(session.unopened(all - opened));
        }
        Ok(session)
    }

    /// From now on counts the CPU time of these processes as the server's, instead of that of the one that listens.
    pub fn set_processes(&mut self, processes: Vec<i32>) {
        self.processes = processes;
    }

    /// The processes whose CPU time is counted.
    pub fn processes(&self) -> &[i32] {
        &self.processes
    }

    /// Sends messages for the plan's warm-up and duration, and waits for all replies. `seed` draws the arrivals.
    ///
    /// The plan of an open loop goes on until every message that was due in the slice has come back; the messages that
    /// are due meanwhile count as well, so a stall is met by as many messages as it delays.
    ///
    /// Errors: [`Error::Data`] for wrong bytes, [`Error::Target`] for a server that closes connections or leaves
    /// messages unanswered. The session cannot be used any further then.
    pub fn slice(&mut self, seed: u64) -> Result<Slice> {
        let before = self.cpu_times();
        self.begin(seed);
        let mut stats = WorkerStats::default();
        for _ in 0..self.workers.shared.plan.workload.threads {
            stats.merge(&self.next_result()?);
        }
        thread::sleep(SETTLE_TIME);
        let server_cpu = used(&before, &self.cpu_times());
        let interval = self.interval();
        if let Some(what) = stats.wrong_data {
            return Err(Error::Data(what));
        }
        if interval.lost > 0 {
            return Err(connections_closed(&stats));
        }
        Ok(Slice {
            messages: interval.messages,
            latencies: interval.latencies,
            stats,
            server_cpu,
        })
    }

    fn begin(&self, seed: u64) {
        let shared = &self.workers.shared;
        shared.set_seed(seed);
        shared.set_start(clock::now() + START_DELAY);
        if let Some(control) = &shared.slices {
            control.waker.wake();
        }
    }

    /// Waits for the next worker to reach the end of the slice.
    fn next_result(&mut self) -> Result<WorkerStats> {
        loop {
            match self.results.recv_timeout(POLL_INTERVAL) {
                Ok(stats) => return Ok(stats),
                Err(_) if self.workers.all_running() => {}
                Err(_) => return Err(self.failure()),
            }
        }
    }

    /// The interval of the slice that has just ended: each worker sends it before its result.
    fn interval(&mut self) -> Interval {
        let intervals = &mut self.workers.intervals;
        while intervals.wait(Nanos(0)) && !intervals.is_complete() {}
        intervals
            .next_complete(false)
            .expect("all workers have sent their intervals")
    }

    /// CPU time so far of each of the server's processes; `None` for one that is not visible.
    fn cpu_times(&self) -> Vec<Option<Nanos>> {
        self.processes.iter().map(|&pid| usage::process_cpu(pid)).collect()
    }

    /// Closes all connections. Returns what was counted outside of slices: how connecting went.
    pub fn close(mut self) -> Result<WorkerStats> {
        self.workers.shared.stop.fire();
        self.workers.join()
    }

    /// Why some connections did not open.
    fn unopened(&mut self, count: u64) -> Error {
        let plan = self.workers.shared.plan.clone();
        self.end(|stats| {
            if stats.without_port() > 0 {
                return preflight::no_source_port(plan.targets[0].address());
            }
            let (all, reasons) = (plan.workload.connections, reasons(&stats.unopened));
            Error::Target(format!("{count} of {all} connections did not open: {reasons}"))
        })
    }

    /// Why a worker has returned though the session is not over.
    fn failure(&mut self) -> Error {
        self.end(|stats| {
            if stats.lost.is_empty() {
                Error::Target("it did not answer every message".into())
            } else {
                connections_closed(stats)
            }
        })
    }

    /// Ends all workers. Returns their error, or wrong data, or else what `otherwise` says.
    fn end(&mut self, otherwise: impl FnOnce(&WorkerStats) -> Error) -> Error {
        self.workers.shared.stop.fire();
        match self.workers.join() {
            Err(error) => error,
            Ok(stats) => match &stats.wrong_data {
                Some(what) => Error::Data(what.clone()),
                None => otherwise(&stats),
            },
        }
    }
}

/// CPU time used between two samples by the processes present in both; `None` if there was none. A process that came
/// and went in between is missed.
fn used(before: &[Option<Nanos>], after: &[Option<Nanos>]) -> Option<Nanos> {
    let spans = before
        .iter()
        .zip(after)
        .filter_map(|(before, after)| Some((*after)? - (*before)?));
    spans.reduce(|sum, span| sum + span)
}

fn connections_closed(stats: &WorkerStats) -> Error {
    Error::Target(format!("it closed connections: {}", reasons(&stats.lost)))
}

fn reasons(losses: &BTreeMap<Loss, u64>) -> String {
    let reasons: Vec<_> = losses.iter().map(|(why, count)| format!("{count} x {why}")).collect();
    reasons.join(", ")
}
