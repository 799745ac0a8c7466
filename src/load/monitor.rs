//! The thread that watches a run from outside: puts its seconds together, and looks at server and machine.

use crate::clock::{self, Nanos};
use crate::histogram::{BlockSeries, Recorder};
use crate::load::interval::{Interval, IntervalMerger};
use crate::load::result::{Messages, WorkerStats};
use crate::load::workers::Shared;
use crate::load::{Observer, Plan};
use crate::sys::disturbance::{Disturbance, Snapshot};
use crate::sys::netstat::Netstat;
use crate::sys::{affinity, netstat, usage};

/// How often whoever watches hears of the run: 4 times a second.
const NEWS: Nanos = Nanos(250_000_000);

/// How often to look whether messages have begun: workers give 5 ms of notice.
const GLANCE: Nanos = Nanos(2_000_000);

/// What a run has found, and in what surroundings.
#[derive(Debug, Clone)]
pub struct RunResult {
    /// What was asked for, as it was carried out.
    pub plan: Plan,
    /// What the workers have found besides latencies.
    pub found: WorkerStats,
    /// What became of the messages.
    pub messages: Messages,
    /// Latencies from the submit, and from the planned instant (empty in a closed loop).
    pub service: Recorder,
    /// See `service`.
    pub response: Recorder,
    /// The same by seconds, for intervals.
    pub service_blocks: BlockSeries,
    /// See `service_blocks`.
    pub response_blocks: BlockSeries,
    /// What the server used while measuring, if it is local and its process can be seen.
    pub server: Option<ServerUse>,
    /// True if every thread of the generator could have a CPU that the server did not need.
    pub spare_cpu: bool,
    /// What else happened on this machine while measuring.
    pub surroundings: Surroundings,
    /// The signal that cut the run short, if one did.
    pub interrupted: Option<i32>,
}

/// What the server's process used while measuring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUse {
    /// CPU time.
    pub cpu: Nanos,
    /// Times one of its threads went to sleep, and was made to wait.
    pub switches_voluntary: u64,
    /// See `switches_voluntary`.
    pub switches_involuntary: u64,
    /// Resident memory at the end, in bytes, with all connections open.
    pub resident: u64,
    /// How many of its threads could run at once, by their number and the CPUs they may use.
    pub threads_at_once: usize,
}

/// What else happened on this machine while measuring. `None` where the kernel does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// CPU time that others took.
    pub disturbance: Disturbance,
    /// Counters of the network stack, of the whole network namespace, since before the first connect.
    pub network: Option<Netstat>,
}

/// True if every thread of the generator can have a CPU that the server does not need. `needed` is how many the
/// server needs, of those it may use.
pub(super) fn has_spare_cpu(plan: &Plan, server: Option<i32>, needed: usize) -> bool {
    let threads = plan.threads as usize;
    let mut cpus = match plan.cpus.as_slice() {
        [] => affinity::allowed(),
        pinned => pinned[..threads.min(pinned.len())].to_vec(),
    };
    let theirs = server.and_then(usage::cpus_of);
    let others = if theirs.is_some() { needed } else { 0 }; // A server elsewhere takes none of ours.
    cpus.extend(theirs.unwrap_or_default());
    cpus.sort_unstable();
    cpus.dedup();
    cpus.len() >= threads + others
}

/// Watches until all workers have left. The outcome's plan and findings are for the caller to fill in.
pub(super) fn attend(
    shared: &Shared,
    server: Option<i32>,
    ledger: &mut IntervalMerger,
    watch: &mut dyn Observer,
) -> RunResult {
    let mut outcome = RunResult::blank(shared.plan.clone());
    let mut witness = Witness {
        server,
        network: netstat::read(),
        before: None,
        done: false,
    };
    let mut news_due = clock::now() + NEWS;
    loop {
        let now = clock::now();
        let phases = shared.phases();
        if let Some(phases) = phases {
            if now >= phases.measure && witness.before.is_none() && !witness.done {
                witness.before = Some(Look::at(server));
            }
            if now >= phases.end || shared.stop.signal().is_some() {
                witness.testify(&mut outcome);
            }
        }
        if now >= news_due {
            watch.news(shared.news());
            news_due = now + NEWS;
        }
        let change = phases.map_or(now + GLANCE, |phases| phases.next_change(now));
        let working = ledger.wait(change.min(news_due) - now);
        while let Some(second) = ledger.next_whole(!working) {
            outcome.enter(&second);
            watch.second(&second);
        }
        if !working {
            witness.testify(&mut outcome); // Cut short: the end was not seen.
            return outcome;
        }
    }
}

impl RunResult {
    fn blank(plan: Plan) -> RunResult {
        RunResult {
            plan,
            found: WorkerStats::default(),
            messages: Messages::default(),
            service: Recorder::new(),
            response: Recorder::new(),
            service_blocks: BlockSeries::new(),
            response_blocks: BlockSeries::new(),
            server: None,
            spare_cpu: true,
            surroundings: Surroundings::default(),
            interrupted: None,
        }
    }

    fn enter(&mut self, second: &Interval) {
        self.messages.merge(&second.messages);
        self.service.merge(&second.service);
        self.service_blocks.push(&second.service);
        if self.plan.pace.is_open() {
            self.response.merge(&second.response);
            self.response_blocks.push(&second.response);
        }
    }
}

/// Looks at server and machine when measuring begins, and says at the end what has changed.
struct Witness {
    server: Option<i32>,
    /// Before the first connect: accept queues overflow while connections open.
    network: Option<Netstat>,
    before: Option<Look>,
    done: bool,
}

/// What there is to see at one instant.
struct Look {
    cpu: Option<Nanos>,
    switches: Option<(u64, u64)>,
    machine: Snapshot,
}

impl Look {
    fn at(server: Option<i32>) -> Look {
        Look {
            cpu: server.and_then(usage::process_cpu),
            switches: server.and_then(usage::context_switches),
            machine: Snapshot::read(),
        }
    }
}

impl Witness {
    /// Once: a second look would count the drain as well.
    fn testify(&mut self, outcome: &mut RunResult) {
        let Some(before) = self.before.take() else {
            return;
        };
        self.done = true;
        let after = Look::at(self.server);
        outcome.surroundings = Surroundings {
            disturbance: after.machine.since(&before.machine),
            network: netstat::read()
                .zip(self.network)
                .map(|(after, before)| after.since(&before)),
        };
        outcome.spare_cpu = has_spare_cpu(
            &outcome.plan,
            self.server,
            self.server.and_then(usage::parallelism_of).unwrap_or(1),
        );
        outcome.server = self.server.and_then(|server| {
            let (cpu, switches) = (after.cpu.zip(before.cpu)?, after.switches.zip(before.switches)?);
            Some(ServerUse {
                cpu: cpu.0 - cpu.1,
                switches_voluntary: switches.0.0.saturating_sub(switches.1.0),
                switches_involuntary: switches.0.1.saturating_sub(switches.1.1),
                resident: usage::resident(server)?,
                threads_at_once: usage::parallelism_of(server)?,
            })
        });
    }
}
