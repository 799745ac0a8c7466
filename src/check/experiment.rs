//! Carrying out a check: base alone to measure its capacity, then restarts of both sides until the verdict is clear or
//! the budget is over.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::check::baseline::{Run, SingleRestart};
use crate::check::judge::sample::Sample;
use crate::check::judge::verdict;
use crate::check::judge::{Metric, Profile};
use crate::check::record::{
    Block, ComparedServer, Failure, Load, LoadPair, Record, Restart, Settings, Setup, StopReason,
};
use crate::check::time_budget::{self, Demand, RemainingTime};
use crate::clock::{self, Nanos};
use crate::compare::{self, Candidate, CandidateFigures, LoadFigures, Protocol, ProtocolLoad};
use crate::error::{Error, Result};
use crate::load::schedule::{Arrivals, Pace, Rate};
use crate::load::{self, Workload};
use crate::report::{Environment, PlanSummary};
use crate::stats::order_statistics;
use crate::sys::signal::Stop;

/// Length of each of the four slices of a capacity run, enough to measure capacity within a few percent.
const CAPACITY_SLICE: Nanos = Nanos(200_000_000);

/// A message is a spike if it takes this many times as long as one of the capacity run, and at least this long. What a
/// virtual machine does to a server by itself mostly lasts one to three milliseconds: in 67 restarts of two equal
/// servers on two CPUs, 9 % of the blocks had a message of more than 4 ms. A stall of 5 ms in each second added 12 %
/// (66 restarts).
const SPIKE: f64 = 8.0;
const SPIKE_MIN: Nanos = Nanos(4_000_000);

/// How many times the messages that a percentile needs must be due in a block on average, so that every block has
/// enough.
const SAMPLES_RESERVE: f64 = 1.25;

/// What to check, and how.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// The load of both profiles, as a closed loop. The length of a slice is determined separately.
    pub workload: Workload,
    /// Blocks per restart, of the load that has more; none: as many as are useful and fit into the budget.
    pub blocks: Option<usize>,
    /// Length of a slice; none: long enough for its messages.
    pub slice: Option<Nanos>,
    /// The loads to run.
    pub profiles: Vec<Profile>,
    /// The rate of the open loop.
    pub offered: Offered,
    /// Everything else that is fixed in advance.
    pub settings: Settings,
    /// True if a gating metric that the load cannot measure is left out; false if the user named it.
    pub gate_what_is_measured: bool,
}

/// The rate of the open loop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Offered {
    /// A share of base's capacity.
    Utilization(f64),
    /// Messages per second.
    Rate(f64),
}

impl Offered {
    fn rate(self, capacity: f64) -> f64 {
        match self {
            Offered::Utilization(share) => round_to_three_digits(share * capacity),
            Offered::Rate(rate) => rate,
        }
    }
}

/// How a check is stopped and observed while it runs.
pub struct Control<'a> {
    /// Ends it early.
    pub stop: &'a Stop,
    /// Called before each restart with its number, from 1, or 0 for the capacity run.
    pub on_restart: &'a mut dyn FnMut(usize),
}

/// What is fixed once the capacity of base is known.
struct Arrangement {
    /// With the gate of this load.
    settings: Settings,
    setup: Setup,
    protocol: Protocol,
}

/// The result of a capacity run.
struct Capacity {
    /// Messages per second in a closed loop.
    per_s: f64,
    /// Time of a restart apart from slices: to start a server, connect, and stop it.
    overhead: Nanos,
}

impl Experiment {
    /// Compares `head` with `base`.
    ///
    /// Call from the main thread, as [`compare::run`]. Never fails: a server's failure is part of the record.
    pub fn run(
        &self,
        base: &Candidate,
        head: &Candidate,
        environment: Environment,
        control: &mut Control<'_>,
    ) -> Record {
        let begin = clock::now();
        let deadline = begin + Nanos(self.settings.budget_ns);
        (control.on_restart)(0);
        let (settings, setup, pairs) = match self.measure_capacity(base, control.stop) {
            Ok(capacity) => {
                let arrangement = self.arrange(&capacity, 2, deadline);
                let pairs = self.run_pairs([base, head], &arrangement, &environment, deadline, control);
                (arrangement.settings, Some(arrangement.setup), pairs)
            }
            Err(failure) => (self.settings.clone(), None, Pairs::without_capacity(failure)),
        };
        let [base_failure, head_failure] = pairs.failures;
        let side = |candidate: &Candidate, failure| ComparedServer {
            command: candidate.command(),
            failure,
        };
        Record {
            environment,
            base: side(base, base_failure),
            head: side(head, head_failure),
            settings,
            setup,
            stop_reason: if control.stop.signal().is_some() {
                StopReason::Interrupted
            } else {
                pairs.stop_reason
            },
            elapsed_ns: (clock::now() - begin).0,
            restarts: pairs.restarts,
        }
    }

    /// Measures one server alone, to compare it with itself at another time. Errors: the server's failure.
    pub fn run_alone(&self, server: &Candidate, environment: Environment, control: &mut Control<'_>) -> Result<Run> {
        let (begin, began_s) = (clock::now(), seconds_since_1970());
        let deadline = begin + Nanos(self.settings.budget_ns);
        (control.on_restart)(0);
        let capacity = self.measure_capacity(server, control.stop).map_err(into_error)?;
        let Arrangement {
            settings,
            setup,
            protocol,
        } = self.arrange(&capacity, 1, deadline);
        let mut remaining = RemainingTime::new(clock::now(), deadline);
        let candidates = std::slice::from_ref(server);
        let mut results = compare::run(candidates, &protocol, control.stop, &mut |restart, results| {
            let fits = remaining.fits_another(clock::now()) || restart == 1;
            let more = restart <= self.settings.restarts && fits && results[0].failure.is_none();
            if more {
                (control.on_restart)(restart);
            }
            more
        });
        let result = results.remove(0);
        if let Some(failure) = result.failure {
            return Err(failure.error);
        }
        let single = |figures: Vec<LoadFigures>| {
            let mut single = SingleRestart::default();
            for (load, figures) in setup.loads.iter().zip(figures) {
                *single.load_mut(load.profile) = Some(figures);
            }
            single
        };
        Ok(Run {
            command: server.command(),
            began_s,
            elapsed_ns: (clock::now() - begin).0,
            environment,
            settings,
            restarts: result.restarts.into_iter().map(single).collect(),
            setup,
        })
    }

    /// Restarts both sides until the interim analysis is conclusive, all restarts are done, or the budget is over.
    fn run_pairs(
        &self,
        sides: [&Candidate; 2],
        Arrangement {
            settings,
            setup,
            protocol,
        }: &Arrangement,
        environment: &Environment,
        deadline: Nanos,
        control: &mut Control<'_>,
    ) -> Pairs {
        let is_conclusive = |results: &[CandidateFigures]| {
            let restarts = pair(setup, &results[0], &results[1]);
            verdict::can_stop_early(Sample::new(settings, Some(setup), environment, &restarts))
        };
        let mut remaining = RemainingTime::new(clock::now(), deadline);
        let mut stop_reason = StopReason::Restarts;
        let candidates = sides.map(Clone::clone);
        let results = compare::run(&candidates, protocol, control.stop, &mut |restart, results| {
            let fits = remaining.fits_another(clock::now());
            let over = if results.iter().any(|result| result.failure.is_some()) {
                Some(StopReason::Failed)
            } else if restart > settings.restarts {
                Some(StopReason::Restarts)
            } else if restart == settings.interim_restarts + 1 && is_conclusive(results) {
                Some(StopReason::Decided)
            } else {
                (restart > 1 && !fits).then_some(StopReason::Budget)
            };
            match over {
                Some(reason) => stop_reason = reason,
                None => (control.on_restart)(restart),
            }
            over.is_none()
        });
        let [base, head] = [&results[0], &results[1]];
        Pairs {
            restarts: pair(setup, base, head),
            failures: [base, head].map(failure),
            stop_reason,
        }
    }

    /// Measures capacity, and the time of a restart. Errors: the server failed; none if interrupted.
    fn measure_capacity(&self, base: &Candidate, stop: &Stop) -> std::result::Result<Capacity, Option<Failure>> {
        let begin = clock::now();
        let mut workload = self.workload.clone();
        workload.duration = CAPACITY_SLICE;
        let protocol = Protocol {
            loads: vec![ProtocolLoad { workload, blocks: 2 }],
            server_cpus: self.settings.server_cpus.clone(),
            connected_at_once: load::fits_at_once(&self.workload, 1),
            settle: Nanos(self.settings.settle_ns),
        };
        let results = compare::run(std::slice::from_ref(base), &protocol, stop, &mut |number, _| {
            number == 1
        });
        let failure = failure(&results[0]).map(|failure| Failure { restart: 0, ..failure });
        let blocks = match results[0].restarts.first() {
            Some(loads) if failure.is_none() && stop.signal().is_none() => &loads[0].blocks,
            _ => return Err(failure),
        };
        let rates: f64 = blocks.iter().map(|block| block.completed_per_s).sum();
        let slices = Nanos(4 * (CAPACITY_SLICE + self.workload.warmup).0);
        Ok(Capacity {
            per_s: rates / blocks.len() as f64,
            overhead: clock::now() - begin - slices,
        })
    }

    /// Divides the time until the deadline into blocks and slices for `sides` servers.
    fn arrange(&self, capacity: &Capacity, sides: usize, deadline: Nanos) -> Arrangement {
        let offered = self.offered.rate(capacity.per_s);
        let layout = Demand {
            restarts: self.settings.restarts.min(time_budget::PLANNED_RESTARTS),
            sides,
            loads: self.profiles.len(),
            warmup: self.workload.warmup,
            // Each server is started once and connected once per load. The capacity run measured one of each without
            // telling them apart, so each is taken as half of it.
            overhead: Nanos(capacity.overhead.0 * (sides * (self.profiles.len() + 1)) as u64 / 2),
            connections: self.workload.connections,
            rate: if self.profiles.contains(&Profile::Open) {
                offered
            } else {
                capacity.per_s
            },
        }
        .divide(deadline - clock::now(), self.blocks, self.slice);
        let load = |&profile: &Profile| ProtocolLoad {
            workload: self.slice_load(profile, layout.slice, offered),
            blocks: layout.blocks,
        };
        let loads: Vec<ProtocolLoad> = self.profiles.iter().map(load).collect();
        let connected_at_once = load::fits_at_once(&self.workload, sides * loads.len());
        let summary = |(&profile, load): (&Profile, &ProtocolLoad)| Load {
            profile,
            connections: load.workload.connections,
            blocks: load.blocks,
            plan: PlanSummary::of(&[], &load.workload),
        };
        let setup = Setup {
            capacity_per_s: capacity.per_s,
            spike_limit_ns: self.spike_limit(capacity.per_s).0,
            loads: self.profiles.iter().zip(&loads).map(summary).collect(),
            connected_at_once,
        };
        let protocol = Protocol {
            loads,
            server_cpus: self.settings.server_cpus.clone(),
            connected_at_once,
            settle: Nanos(self.settings.settle_ns),
        };
        let mut settings = self.settings.clone();
        if self.gate_what_is_measured {
            let samples = offered * 2.0 * layout.slice.as_secs(); // In a block.
            keep_what_is_measured(&mut settings.gate, samples, sides > 1, connected_at_once);
        }
        Arrangement {
            settings,
            setup,
            protocol,
        }
    }

    /// A message of the closed loop takes as long as the server needs for all that are in flight (Little's law).
    fn spike_limit(&self, capacity_per_s: f64) -> Nanos {
        let in_flight = f64::from(self.workload.connections) * self.workload.traffic.depth as f64;
        let typical = in_flight / capacity_per_s;
        SPIKE_MIN.max(Nanos::from_secs(SPIKE * typical))
    }

    fn slice_load(&self, profile: Profile, slice: Nanos, offered: f64) -> Workload {
        let pace = match profile {
            Profile::Closed => self.workload.pace,
            Profile::Open => Pace::Open {
                rate: Rate {
                    from: offered,
                    to: offered,
                },
                arrivals: Arrivals::Poisson,
            },
        };
        Workload {
            duration: slice,
            pace,
            ..self.workload.clone()
        }
    }
}

/// Leaves out the gating metrics that this load does not measure. Without enough samples in a block for p99.9, p99
/// gates.
fn keep_what_is_measured(gate: &mut Vec<Metric>, samples: f64, has_two_sides: bool, connected_at_once: bool) {
    let has = |q: f64| samples >= SAMPLES_RESERVE * order_statistics::needs(q) as f64;
    for metric in gate.iter_mut() {
        if *metric == Metric::P99_9 && !has(0.999) {
            *metric = Metric::P99;
        }
    }
    gate.retain(|metric| match metric {
        Metric::P99 => has(0.99),
        Metric::IdleCpu => has_two_sides && connected_at_once,
        _ => true,
    });
}

/// The restarts of both sides.
struct Pairs {
    restarts: Vec<Restart>,
    /// Of base and head.
    failures: [Option<Failure>; 2],
    stop_reason: StopReason,
}

impl Pairs {
    fn without_capacity(failure: Option<Failure>) -> Pairs {
        Pairs {
            restarts: Vec::new(),
            failures: [failure, None],
            stop_reason: StopReason::Failed,
        }
    }
}

/// Pairs the blocks of base and head, restart by restart.
fn pair(setup: &Setup, base: &CandidateFigures, head: &CandidateFigures) -> Vec<Restart> {
    let restart = |(base, head): (&Vec<LoadFigures>, &Vec<LoadFigures>)| {
        let mut restart = Restart::default();
        for ((load, base), head) in setup.loads.iter().zip(base).zip(head) {
            let blocks = base.blocks.iter().zip(&head.blocks);
            *restart.load_mut(load.profile) = Some(LoadPair {
                blocks: blocks.map(|(&base, &head)| Block { base, head }).collect(),
                base: base.pooled,
                head: head.pooled,
            });
        }
        restart
    };
    base.restarts.iter().zip(&head.restarts).map(restart).collect()
}

fn failure(result: &CandidateFigures) -> Option<Failure> {
    result.failure.as_ref().map(|failure| Failure {
        restart: failure.restart,
        what: failure.error.to_string(),
        exit_code: failure.error.exit_code(),
    })
}

/// The error that a failure was. That of an interruption is never shown.
fn into_error(failure: Option<Failure>) -> Error {
    match failure {
        Some(failure) if failure.exit_code == 3 => Error::ProgramChanged(failure.what),
        Some(failure) if failure.exit_code == 4 => Error::Machine(failure.what),
        Some(failure) if failure.exit_code == 6 => Error::Data(failure.what),
        Some(failure) if failure.exit_code == 70 => Error::Bug(failure.what),
        Some(failure) => Error::Target(failure.what),
        None => Error::Target("interrupted".into()),
    }
}

fn seconds_since_1970() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |span| span.as_secs())
}

/// A rate that is easy to read and type: 51,300 rather than 51,273.9.
fn round_to_three_digits(rate: f64) -> f64 {
    let rate = rate.max(1.0);
    let unit = 10_f64.powf(rate.log10().floor() - 2.0);
    (rate / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(samples: f64, has_two_sides: bool, connected_at_once: bool) -> Vec<&'static str> {
        let mut gate = Metric::DEFAULT_GATE.to_vec();
        keep_what_is_measured(&mut gate, samples, has_two_sides, connected_at_once);
        gate.into_iter().map(Metric::name).collect()
    }

    #[test]
    fn what_a_load_does_not_measure_does_not_gate() {
        let always = ["spikes", "throughput", "cpu", "memory", "stalled"];
        let with = |before: &[&'static str], after: &[&'static str]| [before, &always, after].concat();
        assert_eq!(gate(5_000.0, true, true), with(&["p50", "p99.9"], &["idle-cpu"]));
        assert_eq!(gate(4_000.0, true, false), with(&["p50", "p99"], &[]));
        assert_eq!(gate(400.0, true, true), with(&["p50"], &["idle-cpu"]));
        assert_eq!(gate(5_000.0, false, true), with(&["p50", "p99.9"], &[]));
    }
}
