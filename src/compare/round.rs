//! One restart: all candidates started afresh, loaded in turns, ended.
//!
//! Every block gives each candidate two slices: in an order drawn by lot, and then in the reverse order, so that a
//! machine that gets steadily slower or faster favours nobody (ABBA).

use crate::clock::{self, Nanos};
use crate::compare::comparison::BlockFigures;
use crate::compare::{Candidate, Server};
use crate::error::{Error, Result};
use crate::histogram::Recorder;
use crate::load::{Plan, Session, Slice, Workload};
use crate::random::Random;
use crate::sys::disturbance::{Disturbance, Snapshot};
use crate::sys::signal::Stop;
use crate::sys::usage;

/// What all candidates are put through alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// The loads, in turn, at least one. Their warm-up and duration are those
    /// of a slice. Each has connections of its own.
    pub loads: Vec<Workload>,
    /// CPUs of each server; all, if empty.
    pub server_cpus: Vec<usize>,
    /// Blocks of each load in each restart, spread evenly over it.
    pub blocks: Vec<usize>,
    /// True to hold the connections to all candidates at once; false to open them for each slice, where they do not fit.
    pub at_once: bool,
}

/// What one restart found of one candidate: by loads, what each block did.
pub type Found = Vec<Vec<BlockFigures>>;

/// A candidate's part in a restart.
struct Seat<'a> {
    candidate: &'a Candidate,
    number: usize,
    server: Option<Server>,
    /// By loads.
    sessions: Vec<Option<Session>>,
    found: Found,
    failure: Option<Error>,
    /// Resident memory of the server before its connections were opened.
    memory: Option<u64>,
}

/// Holds one restart. For each candidate, in their order: what was found, or why there is nothing.
///
/// Ends early when `stop` fires: whole blocks only are given then.
pub(super) fn restart(
    candidates: &[&Candidate],
    terms: &Terms,
    random: &mut Random,
    stop: &Stop,
) -> Vec<Result<Found>> {
    let seat = |(number, candidate)| Seat::of(number, candidate, terms.loads.len());
    let mut seats: Vec<Seat<'_>> = candidates.iter().copied().enumerate().map(seat).collect();
    random.shuffle(&mut seats);
    for seat in &mut seats {
        seat.attempt(|seat| seat.arrive(terms));
    }
    let rounds = terms.blocks.iter().copied().max().unwrap_or(0);
    for round in 0..rounds {
        for (load, &blocks) in terms.blocks.iter().enumerate() {
            let has_its_turn = (round + 1) * blocks / rounds > round * blocks / rounds;
            if has_its_turn && stop.signal().is_none() {
                block(&mut seats, terms, load, random);
            }
        }
    }
    seats.sort_by_key(|seat| seat.number);
    seats.into_iter().map(Seat::leave).collect()
}

/// Gives each seat its two slices of one load.
fn block(seats: &mut [Seat<'_>], terms: &Terms, load: usize, random: &mut Random) {
    random.shuffle(seats);
    let mut piles: Vec<Pile> = seats.iter().map(|_| Pile::new()).collect();
    let snapshot = Snapshot::read();
    let before: Vec<Option<Nanos>> = seats.iter().map(Seat::cpu).collect();
    let there_and_back = (0..seats.len()).chain((0..seats.len()).rev());
    for index in there_and_back {
        seats[index].attempt(|seat| seat.perform(terms, load, &mut piles[index]));
    }
    let disturbance = Snapshot::read().since(&snapshot);
    let connections = if terms.at_once {
        terms.loads.iter().map(|load| load.connections).sum()
    } else {
        terms.loads[load].connections
    };
    for ((seat, pile), before) in seats.iter_mut().zip(&piles).zip(before) {
        let mut figures = pile.figures(connections, seat.memory, disturbance);
        if terms.at_once {
            let all = seat.cpu().zip(before).map(|(after, before)| after - before);
            figures.idle_cpu_ratio = pile.idle(all, disturbance.span);
        }
        seat.found[load].push(figures);
    }
}

impl<'a> Seat<'a> {
    fn of(number: usize, candidate: &'a Candidate, loads: usize) -> Seat<'a> {
        Seat {
            candidate,
            number,
            server: None,
            sessions: (0..loads).map(|_| None).collect(),
            found: vec![Vec::new(); loads],
            failure: None,
            memory: None,
        }
    }

    /// Does something, unless this candidate has failed already. A server that died explains every other failure.
    fn attempt(&mut self, what: impl FnOnce(&mut Self) -> Result<()>) {
        if self.failure.is_some() {
            return;
        }
        let Err(error) = what(self) else {
            return;
        };
        let dead = self.server.as_mut().map(Server::check_closely);
        self.failure = Some(match dead {
            Some(Err(death)) => death,
            _ => error,
        });
        self.sessions.fill_with(|| None);
        self.server = None; // Whatever it still does must not disturb the others.
    }

    fn arrive(&mut self, terms: &Terms) -> Result<()> {
        let server = self.server.insert(Server::launch(self.candidate, &terms.server_cpus)?);
        self.memory = resident(&server.processes());
        if terms.at_once {
            for (load, plan) in terms.loads.iter().enumerate() {
                self.sessions[load] = Some(self.connect(plan)?);
            }
        }
        Ok(())
    }

    fn connect(&self, load: &Workload) -> Result<Session> {
        let server = self.server.as_ref().expect("it has arrived");
        Session::open(&Plan {
            targets: vec![server.address()],
            workload: load.clone(),
        })
    }

    /// One slice of a load.
    fn perform(&mut self, terms: &Terms, load: usize, pile: &mut Pile) -> Result<()> {
        let mut session = match self.sessions[load].take() {
            Some(session) => session,
            None => self.connect(&terms.loads[load])?,
        };
        if let Some(server) = &self.server {
            session.set_processes(server.processes()); // Some servers start one for each connection.
        }
        let begin = clock::now();
        let slice = session.slice()?;
        pile.busy = pile.busy + (clock::now() - begin);
        pile.add(&slice, resident(session.processes()));
        if terms.at_once {
            self.sessions[load] = Some(session);
        } else {
            session.close()?;
        }
        Ok(())
    }

    /// CPU time of all its processes so far.
    fn cpu(&self) -> Option<Nanos> {
        let pids = self.server.as_ref()?.processes();
        let times = pids.into_iter().filter_map(usage::process_cpu);
        times.reduce(|sum, time| sum + time)
    }

    fn leave(mut self) -> Result<Found> {
        for session in self.sessions.drain(..).flatten() {
            let _ = session.close(); // Its slices are over, and were right.
        }
        if let Some(server) = self.server.take() {
            server.dismiss();
        }
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.found),
        }
    }
}

/// The slices of one candidate in one block.
#[derive(Default)]
struct Pile {
    latency: Recorder,
    lag: Recorder,
    returned: u64,
    span: Nanos,
    /// How long its slices took, with all that belongs to them.
    busy: Nanos,
    echoed: u64,
    /// CPU time of the server, as long as every slice could see it.
    server: Option<Nanos>,
    resident: Option<u64>,
}

impl Pile {
    fn new() -> Pile {
        Pile {
            server: Some(Nanos(0)),
            ..Pile::default()
        }
    }

    fn add(&mut self, slice: &Slice, resident: Option<u64>) {
        // An open loop is judged by what its users would have waited.
        let response = slice.latencies.response.count() > 0;
        self.latency.merge(if response {
            &slice.latencies.response
        } else {
            &slice.latencies.service
        });
        self.lag.merge(&slice.stats.send_lag);
        self.returned += slice.stats.achieved;
        self.span = self.span + slice.stats.elapsed();
        self.echoed += slice.stats.echoed;
        self.server = self.server.zip(slice.server_cpu).map(|(sum, more)| sum + more);
        self.resident = resident;
    }

    /// The share of a CPU that was used outside of these slices, of `all` CPU time used in a block that took `span`. None
    /// if there was no such time: the candidate is alone.
    fn idle(&self, all: Option<Nanos>, span: Nanos) -> Option<f64> {
        let others = span - self.busy;
        let used = all? - self.server?;
        (others > Nanos(span.0 / 10)).then(|| used.as_secs() / others.as_secs())
    }

    fn figures(&self, connections: u32, memory: Option<u64>, disturbed: Disturbance) -> BlockFigures {
        let quantile = |recorder: &Recorder, q| Some(recorder.quantile(q)?.value.0);
        let grown = self
            .resident
            .zip(memory)
            .map(|(now, before)| now as f64 - before as f64);
        BlockFigures {
            messages: self.returned,
            rate_per_s: self.returned as f64 / self.span.as_secs(),
            p50_ns: quantile(&self.latency, 0.5),
            p90_ns: quantile(&self.latency, 0.9),
            p99_ns: quantile(&self.latency, 0.99),
            p99_9_ns: quantile(&self.latency, 0.999),
            cpu_ns_per_message: self
                .server
                .filter(|_| self.echoed > 0)
                .map(|cpu| cpu.0 as f64 / self.echoed as f64),
            resident_bytes_per_connection: grown.map(|bytes| bytes / f64::from(connections)),
            send_lag_p99_ns: quantile(&self.lag, 0.99),
            idle_cpu_ratio: None,
            disturbance: disturbed,
        }
    }
}

fn resident(pids: &[i32]) -> Option<u64> {
    pids.iter().map(|&pid| usage::resident(pid)).sum()
}
