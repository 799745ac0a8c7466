//! A plan that is carried out slice by slice: connections stay open, and messages go only while somebody says so.
//!
//! This is how several servers are compared: a session with each, and one of them at a time has traffic. A slice ends
//! quiet, or its session is over: an answer that came later would disturb somebody else's slice.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::error::{Error, Result};
use crate::histogram::Recorder;
use crate::load::Plan;
use crate::load::result::{Messages, WorkerStats};
use crate::load::workers::{SliceControl, Workers};
use crate::sys::signal::Stop;
use crate::sys::usage;
use crate::sys::waker::Waker;

/// How often to look whether all connections are open.
const GLANCE: Duration = Duration::from_millis(2);

/// How long a server may take to fall asleep after its last answer, so that all its CPU time has been counted.
const SETTLE: Duration = Duration::from_millis(1);

/// How much notice workers get of a slice: they sleep until the waker.
const NOTICE: Nanos = Nanos(1_000_000);

/// Connections to one server (or several, as one), open until [`Session::close`].
pub struct Session {
    team: Workers,
    slices: Receiver<WorkerStats>,
    /// Processes whose CPU time is counted.
    pids: Vec<i32>,
}

/// What one slice has found.
#[derive(Debug, Clone)]
pub struct Slice {
    /// What became of the messages that count.
    pub messages: Messages,
    /// Latencies from the submit, and from the planned instant (empty in a closed loop).
    pub service: Recorder,
    /// See `service`.
    pub response: Recorder,
    /// Everything else.
    pub found: WorkerStats,
    /// CPU time of the server from before the first message to after the last answer, the warm-up included.
    pub server: Option<Nanos>,
}

impl Session {
    /// Opens all connections and has each echo once. Slices then take as long as the plan says.
    ///
    /// Errors: as for [`run`](crate::load::run); and [`Error::Target`] if a connection does not open.
    pub fn open(plan: Plan) -> Result<Session> {
        let connections = u64::from(plan.connections);
        let (sender, slices) = mpsc::channel();
        let baton = SliceControl {
            waker: Waker::new()?,
            slices: sender,
        };
        let mut session = Session {
            team: Workers::gather(plan, &Stop::new()?, Some(baton))?,
            slices,
            pids: Vec::new(),
        };
        while session.team.shared.ramping.load(Ordering::Acquire) > 0 {
            if !session.team.is_whole() {
                return Err(session.last_words());
            }
            thread::sleep(GLANCE);
        }
        let opened = session.team.shared.news().opened;
        if opened < connections {
            return Err(Error::Target(format!(
                "{} of {connections} connections did not open",
                connections - opened
            )));
        }
        session.pids = session.team.server.into_iter().collect();
        Ok(session)
    }

    /// Counts the CPU time of these processes as the server's, instead of the one that listens.
    pub fn count(&mut self, pids: Vec<i32>) {
        self.pids = pids;
    }

    /// The processes whose CPU time is counted.
    pub fn processes(&self) -> &[i32] {
        &self.pids
    }

    /// Sends messages for the plan's warm-up and duration, and waits until all are back.
    ///
    /// Errors: [`Error::Data`] for wrong bytes, [`Error::Target`] for a server that closes connections or leaves
    /// messages unanswered. The session is of no use then.
    pub fn slice(&mut self) -> Result<Slice> {
        let before = self.cpu_times();
        self.begin();
        let mut found = WorkerStats::default();
        for _ in 0..self.team.shared.plan.threads {
            found.merge(&self.next_yield()?);
        }
        thread::sleep(SETTLE);
        let server = used(&before, &self.cpu_times());
        // Each worker hands its interval in before its yield.
        while self.team.ledger.wait(Nanos(0)) && !self.team.ledger.is_whole() {}
        let interval = self.team.ledger.next_whole(false);
        let interval = interval.expect("all workers have handed in their intervals");
        if interval.lost > 0 {
            return Err(closed(&found));
        }
        Ok(Slice {
            messages: interval.messages,
            service: interval.service,
            response: interval.response,
            found,
            server,
        })
    }

    /// Waits for the next worker that has come to the end of the slice.
    fn next_yield(&mut self) -> Result<WorkerStats> {
        loop {
            match self.slices.recv_timeout(GLANCE) {
                Ok(found) => return Ok(found),
                Err(_) if self.team.is_whole() => {}
                Err(_) => return Err(self.last_words()),
            }
        }
    }

    fn begin(&self) {
        let shared = &self.team.shared;
        shared.start.store((clock::now() + NOTICE).0, Ordering::Release);
        if let Some(baton) = &shared.baton {
            baton.waker.wake();
        }
    }

    /// CPU time so far of each of the server's processes that can be seen.
    fn cpu_times(&self) -> Vec<Option<Nanos>> {
        self.pids.iter().map(|&pid| usage::process_cpu(pid)).collect()
    }

    /// Ends all connections. Returns what was found outside of slices: how connecting went.
    pub fn close(mut self) -> Result<WorkerStats> {
        self.team.shared.stop.fire();
        self.team.disband()
    }

    /// A worker has left, though nobody asked: its error, or what is known without one.
    fn last_words(&mut self) -> Error {
        self.team.shared.stop.fire();
        match self.team.disband() {
            Err(error) => error,
            Ok(found) if found.lost.is_empty() => Error::Target("it left messages unanswered".into()),
            Ok(found) => closed(&found),
        }
    }
}

/// CPU time used between two looks by those that were there at both; none if nobody was. A process that came and went
/// between them is missed.
fn used(before: &[Option<Nanos>], after: &[Option<Nanos>]) -> Option<Nanos> {
    let spans = before
        .iter()
        .zip(after)
        .filter_map(|(before, after)| Some((*after)? - (*before)?));
    spans.reduce(|sum, span| sum + span)
}

fn closed(found: &WorkerStats) -> Error {
    let reasons: Vec<_> = found
        .lost
        .iter()
        .map(|(why, count)| format!("{count} x {why}"))
        .collect();
    Error::Target(format!("it closed connections: {}", reasons.join(", ")))
}
