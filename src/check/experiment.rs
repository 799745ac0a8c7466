//! A check, carried out: the base tried once, then restarts of both sides until it is decided, or the budget is over.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::check::baseline::{Run, Solo};
use crate::check::decision::FIRST_LOOK;
use crate::check::metric::Profile;
use crate::check::record::{Block, Ended, Failure, Load, Record, Restart, Side, Terms};
use crate::check::time_budget::{self, Left, Work};
use crate::check::verdict;
use crate::clock::{self, Nanos};
use crate::compare::{self, Candidate, Entry, Found};
use crate::error::{Error, Result};
use crate::load::schedule::{Arrivals, Pace, Rate};
use crate::load::{self, Workload};
use crate::report::{Environment, PlanSummary};
use crate::sys::signal::Stop;

/// How long the base is tried in each of four slices: to see what it can do within some percent, no more is needed.
const TRY: Nanos = Nanos(200_000_000);

/// What to check, and how.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// What head is measured against.
    pub base: Candidate,
    /// What may have become worse.
    pub head: Candidate,
    /// The load, as a closed loop. How long a slice is, is said below.
    pub load: Workload,
    /// Blocks in a restart, of the load that has more; none: as many as do some good and fit the budget.
    pub blocks: Option<usize>,
    /// How long a slice is measured; none: long enough for its messages.
    pub slice: Option<Nanos>,
    /// Which loads.
    pub profiles: Vec<Profile>,
    /// Messages of the open loop.
    pub offered: Offered,
    /// All else that is agreed beforehand. Loads, and whether connections are held, are filled in here.
    pub terms: Terms,
}

/// How many messages the open loop has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Offered {
    /// A share of what the base can do.
    Share(f64),
    /// So many a second.
    Rate(f64),
}

impl Offered {
    fn of(self, capacity: f64) -> f64 {
        match self {
            Offered::Share(share) => rounded(share * capacity),
            Offered::Rate(rate) => rate,
        }
    }
}

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The restart that begins, from 1; 0 for the try before them.
    pub restart: usize,
    /// Restarts at most.
    pub of: usize,
}

impl Experiment {
    /// Carries it out. `news` is told before each restart.
    ///
    /// Call from the main thread, which the servers are tied to. Never fails: a server that does is part of the record.
    pub fn run(&self, environment: &Environment, stop: &Stop, news: &mut dyn FnMut(Progress)) -> Record {
        let begin = clock::now();
        let of = self.terms.restarts;
        let mut record = self.blank(environment);
        news(Progress { restart: 0, of });
        let Some(terms) = self.prepare(&mut record, begin, 2, stop) else {
            record.elapsed_ns = (clock::now() - begin).0;
            return record;
        };
        let mut left = Left::new(clock::now(), begin + Nanos(record.terms.budget_ns));
        let mut ended = Ended::Restarts;
        let candidates = [self.base.clone(), self.head.clone()];
        let entries = compare::run(&candidates, &terms, stop, &mut |restart, entries| {
            let fits = left.takes_another(clock::now());
            record.fill(entries);
            let over = record.over(restart, entries, fits);
            match over {
                Some(over) => ended = over,
                None => news(Progress { restart, of }),
            }
            over.is_none()
        });
        record.fill(&entries);
        record.ended = if stop.signal().is_some() {
            Ended::Interrupted
        } else {
            ended
        };
        record.elapsed_ns = (clock::now() - begin).0;
        record
    }

    /// Measures head alone, for comparing it with itself as it was stored. An error if it fails.
    pub fn run_alone(&self, environment: &Environment, stop: &Stop, news: &mut dyn FnMut(Progress)) -> Result<Run> {
        let begin = clock::now();
        let nothing = self.nothing(environment);
        let of = self.terms.restarts;
        let mut record = self.blank(environment);
        news(Progress { restart: 0, of });
        let Some(terms) = self.prepare(&mut record, begin, 1, stop) else {
            return Err(classed(record.base.failure));
        };
        let mut left = Left::new(clock::now(), begin + Nanos(self.terms.budget_ns));
        let candidates = [self.head.clone()];
        let mut entries = compare::run(&candidates, &terms, stop, &mut |restart, entries| {
            let fits = left.takes_another(clock::now()) || restart == 1;
            let more = restart <= of && fits && entries[0].failure.is_none();
            if more {
                news(Progress { restart, of });
            }
            more
        });
        let entry = entries.remove(0);
        if let Some(failure) = entry.failure {
            return Err(failure.error);
        }
        Ok(Run {
            elapsed_ns: (clock::now() - begin).0,
            terms: record.terms,
            restarts: entry.restarts.into_iter().map(|restart| self.solo(restart)).collect(),
            ..nothing
        })
    }

    /// A run in which nothing was measured.
    pub fn nothing(&self, environment: &Environment) -> Run {
        let record = self.blank(environment);
        Run {
            command: record.head.command,
            began_s: seconds_since_1970(),
            elapsed_ns: 0,
            environment: record.environment,
            terms: record.terms,
            restarts: Vec::new(),
        }
    }

    fn solo(&self, restart: Found) -> Solo {
        let mut solo = Solo::default();
        for (&profile, blocks) in self.profiles.iter().zip(restart) {
            match profile {
                Profile::Closed => solo.closed = blocks,
                Profile::Open => solo.open = blocks,
            }
        }
        solo
    }

    /// Tries the base and fixes the loads for so many sides. None if it failed, or somebody stopped us.
    fn prepare(&self, record: &mut Record, begin: Nanos, sides: usize, stop: &Stop) -> Option<compare::Terms> {
        let tried = self.try_base(record, stop)?;
        let left = Nanos(record.terms.budget_ns) - (clock::now() - begin);
        Some(self.arrange(record, sides, tried, left))
    }

    fn blank(&self, environment: &Environment) -> Record {
        let side = |candidate: &Candidate| Side {
            command: candidate.command(),
            ready: candidate.ready().map(ToString::to_string),
            failure: None,
        };
        Record {
            environment: value(environment),
            base: side(&self.base),
            head: side(&self.head),
            terms: self.terms.clone(),
            capacity_per_s: None,
            ended: Ended::Failed,
            elapsed_ns: 0,
            restarts: Vec::new(),
        }
    }

    /// What the base can do, and what a restart takes besides slices. None if it failed, or somebody stopped us.
    fn try_base(&self, record: &mut Record, stop: &Stop) -> Option<Nanos> {
        let begin = clock::now();
        let mut load = self.load.clone();
        load.duration = TRY;
        let terms = compare::Terms {
            loads: vec![load],
            server_cpus: self.terms.server_cpus.clone(),
            blocks: vec![2],
            at_once: load::fits_at_once(&self.load, 1),
        };
        let candidates = [self.base.clone()];
        let entries = compare::run(&candidates, &terms, stop, &mut |number, _| number == 1);
        record.base.failure = failure(&entries[0]).map(|failure| Failure { restart: 0, ..failure });
        if stop.signal().is_some() {
            record.ended = Ended::Interrupted;
            return None;
        }
        let blocks = &entries[0].restarts.first()?[0];
        let rate = blocks.iter().map(|block| block.rate_per_s).sum::<f64>() / blocks.len() as f64;
        record.capacity_per_s = Some(rate);
        let slices = Nanos(4 * (TRY + self.load.warmup).0);
        Some(clock::now() - begin - slices)
    }

    /// Fixes the loads, now that the base is known.
    fn arrange(&self, record: &mut Record, sides: usize, tried: Nanos, left: Nanos) -> compare::Terms {
        let loads = self.profiles.len();
        let capacity = record.capacity_per_s.unwrap_or(0.0);
        let offered = self.offered.of(capacity);
        let work = Work {
            restarts: self.terms.restarts.min(time_budget::PLANNED),
            sides,
            profiles: &self.profiles,
            guard: self.load.warmup,
            // As many servers, each started once, with connections for each load: of the two, nobody knows which takes
            // longer.
            overhead: Nanos(tried.0 * (sides * (loads + 1)) as u64 / 2),
            connections: self.load.connections,
            rate: if self.profiles.contains(&Profile::Open) {
                offered
            } else {
                capacity
            },
        };
        let grain = work.divide(left, self.blocks, self.slice);
        let plan = |&profile: &Profile| {
            let mut plan = self.load.clone();
            plan.duration = grain.slice;
            if profile == Profile::Open {
                let rate = Rate {
                    from: offered,
                    to: offered,
                };
                let arrivals = Arrivals::Poisson;
                plan.pace = Pace::Open { rate, arrivals };
            }
            plan
        };
        let plans: Vec<Workload> = self.profiles.iter().map(plan).collect();
        let at_once = load::fits_at_once(&self.load, sides * loads);
        let facts = |(profile, plan): (&Profile, &Workload)| Load {
            profile: *profile,
            connections: plan.connections,
            blocks: time_budget::blocks_of(*profile, &self.profiles, grain.blocks),
            plan: value(&PlanSummary::of(&[], plan)),
        };
        record.terms.loads = self.profiles.iter().zip(&plans).map(facts).collect();
        record.terms.connected_at_once = at_once;
        compare::Terms {
            loads: plans,
            server_cpus: self.terms.server_cpus.clone(),
            blocks: record.terms.loads.iter().map(|load| load.blocks).collect(),
            at_once,
        }
    }
}

impl Record {
    /// Takes over what there is so far.
    fn fill(&mut self, entries: &[Entry]) {
        let [base, head] = entries else {
            unreachable!("two sides meet")
        };
        let done = self.restarts.len();
        for (base, head) in base.restarts.iter().zip(&head.restarts).skip(done) {
            let mut restart = Restart::default();
            for (index, load) in self.terms.loads.iter().enumerate() {
                let pairs = base[index].iter().zip(&head[index]);
                let blocks = pairs.map(|(&base, &head)| Block { base, head });
                restart.blocks_of(load.profile).extend(blocks);
            }
            self.restarts.push(restart);
        }
        self.base.failure = failure(base);
        self.head.failure = failure(head);
    }

    /// Why there is to be no further restart, if there is not.
    fn over(&self, restart: usize, entries: &[Entry], fits: bool) -> Option<Ended> {
        if entries.iter().any(|entry| entry.failure.is_some()) {
            Some(Ended::Failed)
        } else if restart > self.terms.restarts {
            Some(Ended::Restarts)
        } else if restart == FIRST_LOOK + 1 && verdict::is_settled(self) {
            Some(Ended::Decided)
        } else if restart > 1 && !fits {
            Some(Ended::Budget)
        } else {
            None
        }
    }
}

/// The error that a failure was; that of an interrupt is not shown to anybody.
fn classed(failure: Option<Failure>) -> Error {
    match failure {
        Some(failure) if failure.exit_code == 4 => Error::Machine(failure.what),
        Some(failure) if failure.exit_code == 6 => Error::Data(failure.what),
        Some(failure) if failure.exit_code == 70 => Error::Bug(failure.what),
        Some(failure) => Error::Target(failure.what),
        None => Error::Target("it was interrupted".into()),
    }
}

fn seconds_since_1970() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |span| span.as_secs())
}

fn failure(entry: &Entry) -> Option<Failure> {
    entry.failure.as_ref().map(|failure| Failure {
        restart: failure.restart,
        what: failure.error.to_string(),
        exit_code: failure.error.exit_code(),
    })
}

/// Three digits: nobody plans 51,273.9 messages a second.
fn rounded(rate: f64) -> f64 {
    let rate = rate.max(1.0);
    let unit = 10_f64.powf(rate.log10().floor() - 2.0);
    (rate / unit).round() * unit
}

fn value(facts: &impl serde::Serialize) -> Value {
    serde_json::to_value(facts).expect("plain data has no way to fail")
}
