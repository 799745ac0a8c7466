//! One restart: all candidates are started, loaded in turn, and ended.
//!
//! Every block gives each candidate two slices, in random order and then in the reverse order (ABBA), so that a linear
//! drift of the machine's speed favours none.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::{self, Nanos};
use crate::compare::block::{BlockAccumulator, BlockContext, BlockFigures};
use crate::compare::pooled::{PoolAccumulator, PooledFigures};
use crate::compare::{Candidate, Server};
use crate::error::{Error, Result};
use crate::load::{Plan, Session, Workload};
use crate::random::Random;
use crate::sys::disturbance::Snapshot;
use crate::sys::signal::Stop;
use crate::sys::throttling::Throttling;
use crate::sys::usage;

/// How long the last replies of a slice are waited for. A server that stalls for longer has failed.
pub const SLICE_DRAIN: Nanos = Nanos(5_000_000_000);

/// How every restart is carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Protocol {
    /// The loads, at least one. Their warm-up and duration are those of a slice. Each has its own connections.
    pub loads: Vec<ProtocolLoad>,
    /// CPUs of each server; all, if empty.
    pub server_cpus: Vec<usize>,
    /// True to keep connections to all candidates open; false to open them for each slice, if they do not fit.
    pub connected_at_once: bool,
    /// How long each candidate has the first load after its start before anything counts, for servers that get faster
    /// while they run (just-in-time compilers, lazily filled pools).
    pub settle: Nanos,
}

/// A load of the protocol, and how often it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct ProtocolLoad {
    /// The load of a slice.
    pub workload: Workload,
    /// Blocks in each restart. Those of several loads are spread evenly.
    pub blocks: usize,
}

/// The blocks of one server in one restart under one load, and what all of them are together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LoadFigures {
    /// Block by block.
    pub blocks: Vec<BlockFigures>,
    /// All blocks together.
    pub pooled: PooledFigures,
}

/// Length of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceLength {
    /// Time in which messages count.
    pub measured: Nanos,
    /// Time before that.
    pub warmup: Nanos,
}

impl SliceLength {
    /// Longer for more connections: each has to be busy before and while it is measured.
    pub fn default_for(connections: u32) -> SliceLength {
        let scaled = |fixed: u64, per_connection: u64| Nanos(fixed + per_connection * u64::from(connections));
        SliceLength {
            measured: scaled(250_000_000, 40_000),
            warmup: scaled(50_000_000, 20_000),
        }
    }
}

/// Carries out one restart. For each candidate, in their order: its figures by load, or the error that prevented them.
///
/// Ends early when `stop` fires, and then returns the blocks completed so far.
pub(super) fn restart(
    candidates: &[&Candidate],
    protocol: &Protocol,
    random: &mut Random,
    stop: &Stop,
) -> Vec<Result<Vec<LoadFigures>>> {
    let participant = |(number, candidate)| Participant::new(number, candidate, protocol.loads.len());
    let mut participants: Vec<Participant<'_>> = candidates.iter().copied().enumerate().map(participant).collect();
    random.shuffle(&mut participants);
    for participant in &mut participants {
        participant.attempt(stop, |participant| participant.start(protocol, stop));
    }
    for participant in &mut participants {
        let seed = random.bits();
        participant.attempt(stop, |participant| participant.settle(protocol, seed, stop));
    }
    let passes = protocol.loads.iter().map(|load| load.blocks).max().unwrap_or(0);
    for pass in 0..passes {
        for (load, ProtocolLoad { blocks, .. }) in protocol.loads.iter().enumerate() {
            let is_due = (pass + 1) * blocks / passes > pass * blocks / passes;
            if is_due && !stop.has_fired() {
                block(&mut participants, protocol, load, random, stop);
            }
        }
    }
    participants.sort_by_key(|participant| participant.number);
    let servers = participants.iter_mut().filter_map(Participant::disconnect).collect();
    Server::terminate(servers, stop);
    participants.into_iter().map(Participant::finish).collect()
}

/// Gives each participant its two slices of one load. A block that is interrupted does not count.
fn block(participants: &mut [Participant<'_>], protocol: &Protocol, load: usize, random: &mut Random, stop: &Stop) {
    random.shuffle(participants);
    let mut accumulators: Vec<BlockAccumulator> = participants.iter().map(|_| BlockAccumulator::new()).collect();
    let (snapshot, throttling) = (Snapshot::read(), Throttling::read());
    let before: Vec<Usage> = participants.iter().map(Participant::usage).collect();
    let there_and_back = [
        (0..participants.len()).collect(),
        (0..participants.len()).rev().collect::<Vec<usize>>(),
    ];
    for indices in there_and_back {
        let seed = random.bits(); // The same arrivals for all, and others next time.
        for index in indices {
            let accumulator = &mut accumulators[index];
            participants[index].attempt(stop, |participant| {
                participant.run_slice(protocol, load, seed, accumulator, stop)
            });
        }
    }
    if stop.has_fired() {
        return;
    }
    let disturbance = Snapshot::read().since(&snapshot);
    let throttling = Throttling::between(throttling, Throttling::read());
    for ((participant, accumulator), before) in participants.iter_mut().zip(&accumulators).zip(before) {
        let after = participant.usage();
        let whole_block = || after.cpu.zip(before.cpu).map(|(after, before)| after - before);
        let context = BlockContext {
            connections: protocol.connections(load),
            resident_before: participant.resident_before,
            server_cpu: protocol.connected_at_once.then(whole_block).flatten(),
            disturbance,
            throttling,
            server_throttling: Throttling::between(before.throttling, after.throttling),
        };
        participant.blocks[load].push(accumulator.figures(&context));
        accumulator.add_to(&mut participant.pools[load], &context);
    }
}

impl Protocol {
    /// Connections that a server has during slices of a load.
    fn connections(&self, load: usize) -> u32 {
        if self.connected_at_once {
            self.loads.iter().map(|load| load.workload.connections).sum()
        } else {
            self.loads[load].workload.connections
        }
    }
}

/// What a server has used so far.
struct Usage {
    cpu: Option<Nanos>,
    /// By the quotas of control groups that it is in and the generator is not.
    throttling: Option<Throttling>,
}

/// A candidate in one restart.
struct Participant<'a> {
    candidate: &'a Candidate,
    number: usize,
    server: Option<Server>,
    /// By load.
    sessions: Vec<Option<Session>>,
    blocks: Vec<Vec<BlockFigures>>,
    pools: Vec<PoolAccumulator>,
    failure: Option<Error>,
    /// Resident memory of the server before its connections were opened.
    resident_before: Option<u64>,
}

impl<'a> Participant<'a> {
    fn new(number: usize, candidate: &'a Candidate, loads: usize) -> Participant<'a> {
        Participant {
            candidate,
            number,
            server: None,
            sessions: (0..loads).map(|_| None).collect(),
            blocks: vec![Vec::new(); loads],
            pools: (0..loads).map(|_| PoolAccumulator::default()).collect(),
            failure: None,
            resident_before: None,
        }
    }

    /// Runs `step` unless this candidate has failed, or `stop` has fired: then an error is no failure. A program that
    /// has changed is the cause of every other failure, and then a server that crashed.
    fn attempt(&mut self, stop: &Stop, step: impl FnOnce(&mut Self) -> Result<()>) {
        if self.failure.is_some() || stop.has_fired() {
            return;
        }
        let Err(error) = step(self) else {
            return;
        };
        if stop.has_fired() {
            return;
        }
        let crash = self.server.as_mut().map(Server::check_for_crash);
        let crash = crash.and_then(Result::err);
        let change = self.candidate.check_program().err();
        self.failure = Some(change.or(crash).unwrap_or(error));
        self.sessions.fill_with(|| None);
        self.server = None; // Killed, so that it cannot disturb the others.
    }

    fn start(&mut self, protocol: &Protocol, stop: &Stop) -> Result<()> {
        let server = Server::launch(self.candidate, &protocol.server_cpus, stop)?;
        let server = self.server.insert(server);
        self.candidate.check_program()?; // It may have changed just before.
        self.resident_before = resident(&server.processes());
        if protocol.connected_at_once {
            for (load, ProtocolLoad { workload, .. }) in protocol.loads.iter().enumerate() {
                self.sessions[load] = Some(self.connect(workload, stop)?);
            }
        }
        Ok(())
    }

    fn connect(&self, workload: &Workload, stop: &Stop) -> Result<Session> {
        let server = self.server.as_ref().expect("it has been started");
        let plan = Plan {
            targets: vec![server.address().into()],
            workload: workload.clone(),
        };
        let session = Session::open_until(&plan, stop)?;
        server.check_owner()?; // Another may have joined it by SO_REUSEPORT.
        Ok(session)
    }

    /// Runs slices of the first load for the settling time.
    fn settle(&mut self, protocol: &Protocol, seed: u64, stop: &Stop) -> Result<()> {
        let until = clock::now() + protocol.settle;
        while clock::now() < until && !stop.has_fired() {
            self.run_slice(protocol, 0, seed, &mut BlockAccumulator::new(), stop)?;
        }
        Ok(())
    }

    fn run_slice(
        &mut self,
        protocol: &Protocol,
        load: usize,
        seed: u64,
        accumulator: &mut BlockAccumulator,
        stop: &Stop,
    ) -> Result<()> {
        let mut session = match self.sessions[load].take() {
            Some(session) => session,
            None => self.connect(&protocol.loads[load].workload, stop)?,
        };
        if let Some(server) = &self.server {
            session.set_processes(server.processes()); // Some servers start a process per connection.
        }
        let begin = clock::now();
        let slice = session.slice(seed)?;
        accumulator.add(&slice, clock::now() - begin, resident(session.processes()));
        if protocol.connected_at_once {
            self.sessions[load] = Some(session);
        } else {
            session.close()?;
        }
        Ok(())
    }

    /// Of all its processes so far.
    fn usage(&self) -> Usage {
        let pids = self.server.as_ref().map(Server::processes).unwrap_or_default();
        let times = pids.iter().filter_map(|&pid| usage::process_cpu(pid));
        Usage {
            cpu: times.reduce(|sum, time| sum + time),
            throttling: Throttling::of_others(&pids),
        }
    }

    /// Closes its connections. Returns its server, which still runs.
    fn disconnect(&mut self) -> Option<Server> {
        for session in self.sessions.drain(..).flatten() {
            let _ = session.close(); // All slices are complete; a failure now changes no figure.
        }
        self.server.take()
    }

    fn finish(self) -> Result<Vec<LoadFigures>> {
        match self.failure {
            Some(failure) => Err(failure),
            None => {
                let loads = self.blocks.into_iter().zip(&self.pools);
                Ok(loads
                    .map(|(blocks, pool)| LoadFigures {
                        blocks,
                        pooled: pool.figures(),
                    })
                    .collect())
            }
        }
    }
}

fn resident(pids: &[i32]) -> Option<u64> {
    pids.iter().map(|&pid| usage::resident(pid)).sum()
}
