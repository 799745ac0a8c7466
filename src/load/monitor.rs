//! The thread that watches a run: merges its intervals, reports progress, samples server and machine.

use std::thread;

use crate::clock::{self, Nanos, WallTime};
use crate::error::Result;
use crate::histogram::BatchSeries;
use crate::load::capacity;
use crate::load::interval::{Interval, IntervalMerger};
use crate::load::observer::Observer;
use crate::load::outbox::{self, Outbox};
use crate::load::over_time::{Column, Meter};
use crate::load::phases::Phases;
use crate::load::result::{HostActivity, Latencies, Messages, ServerUsage};
use crate::load::servers::{self, Servers};
use crate::load::shared::Shared;
use crate::load::workload::Workload;
use crate::stats::batch_means::Batch;
use crate::stats::bounded_series::BoundedSeries;
use crate::sys::disturbance::Snapshot;
use crate::sys::netstat::{self, Netstat};
use crate::sys::threads;
use crate::sys::throttling::Throttling;
use crate::sys::usage;

/// How often an observer gets the progress of a run: 4 times a second.
const PROGRESS_PERIOD: Nanos = Nanos(250_000_000);

/// How often to check whether the start of a run is known: less than the 5 ms from there to the start.
const POLL_INTERVAL: Nanos = Nanos(2_000_000);

/// What was observed of a whole run.
pub(super) struct Observed {
    /// When measuring began, if it did.
    pub(super) began: Option<WallTime>,
    pub(super) totals: Totals,
    pub(super) usage: Usage,
    /// Intervals that the observer got merged with others.
    pub(super) merged_intervals: u64,
}

/// The sum of all intervals.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) messages: Messages,
    pub(super) latencies: Latencies,
    pub(super) series: Latencies<BatchSeries>,
    pub(super) connect: BatchSeries,
    pub(super) send_lag: BatchSeries,
    pub(super) rates: BoundedSeries<Batch>,
    pub(super) over_time: BoundedSeries<Column>,
}

/// What happened outside of the generator while it measured. Empty if it never did.
pub(super) struct Usage {
    /// Or why it is not known.
    pub(super) server: std::result::Result<ServerUsage, String>,
    /// True if the server and a thread of the generator had to share a CPU.
    pub(super) shares_cpu: bool,
    pub(super) host: HostActivity,
}

/// Watches until all workers have returned. Errors: [`Error::Machine`](crate::error::Error::Machine) if no thread can
/// be started.
pub(super) fn watch(
    shared: &Shared,
    servers: &Servers,
    intervals: &mut IntervalMerger,
    observer: &mut dyn Observer,
) -> Result<Observed> {
    thread::scope(|scope| {
        let (outbox, events) = Outbox::new();
        threads::scoped(scope, move || outbox::deliver(events, observer))?;
        Ok(observe(shared, servers, intervals, outbox))
    })
}

fn observe(shared: &Shared, servers: &Servers, intervals: &mut IntervalMerger, mut outbox: Outbox) -> Observed {
    let workload = &shared.plan.workload;
    let mut totals = Totals::default();
    let mut sampler = Sampler::new(servers);
    let mut progress_due = clock::now() + PROGRESS_PERIOD;
    let (mut began, mut last, mut meter) = (None, None, None);
    loop {
        let now = clock::now();
        let phases = shared.phases();
        if let Some(phases) = phases {
            sampler.advance(now, &phases, shared.stop.has_fired(), workload);
        }
        if now >= progress_due {
            outbox.progress(shared.progress());
            progress_due = now + PROGRESS_PERIOD;
        }
        let change = phases.map_or(now + POLL_INTERVAL, |phases| phases.next_change(now));
        let running = intervals.wait(change.min(progress_due) - now);
        if let (None, Some(Phases { measure, .. })) = (began, phases)
            && measure <= clock::now()
        {
            let at = WallTime::at(measure);
            outbox.measuring(at);
            began = Some(at);
            meter = Some(Meter::start(sampler.server_pids()));
        }
        while let Some(interval) = intervals.next_complete(!running) {
            totals.add(&interval, workload);
            if let Some(meter) = &mut meter {
                let column = Column::of(&interval, workload.pace.is_open(), meter.read());
                totals.over_time.push(column);
            }
            // Once the run is cut short, an interval waits until it is clear whether it is the last.
            let complete = match shared.stop.has_fired() {
                false => Some(interval),
                true => last.replace(interval),
            };
            complete.into_iter().for_each(|interval| outbox.interval(interval));
        }
        if !running {
            if let Some(last) = last {
                outbox.interval(Interval { is_cut: true, ..last });
            }
            sampler.finish(workload); // A run that was cut short: its end was not seen.
            let usage = sampler.into_usage();
            return Observed {
                began,
                totals,
                usage,
                merged_intervals: outbox.close(),
            };
        }
    }
}

impl Totals {
    fn add(&mut self, interval: &Interval, workload: &Workload) {
        if interval.span.length() > Nanos(0) {
            self.rates.push(Batch {
                sum: interval.achieved as f64,
                weight: interval.span.length().as_secs(),
            });
        }
        let latencies = &interval.latencies;
        self.messages.merge(&interval.messages);
        self.latencies.service.merge(&latencies.service);
        self.series.service.push(&latencies.service);
        if workload.pace.is_open() {
            self.latencies.response.merge(&latencies.response);
            self.series.response.push(&latencies.response);
            self.send_lag.push(&interval.send_lag);
        }
        if workload.churn.is_some() {
            self.connect.push(&interval.connect);
        }
    }
}

/// Samples server and machine when measuring begins and when it ends.
struct Sampler<'a> {
    servers: &'a Servers,
    /// From before the first connect: accept queues overflow while connections open.
    network: Option<Netstat>,
    state: State,
}

enum State {
    /// Measuring has not begun.
    Waiting,
    /// It has; this is from its beginning.
    Measuring(Sample),
    /// It is over. Sampling again would include the drain.
    Done(Usage),
}

/// Counters at one instant.
struct Sample {
    server: servers::Sample,
    machine: Snapshot,
    /// Of this process, and of the servers.
    throttling: [Option<Throttling>; 2],
    /// How long after measuring began all of this was read: what servers used until then is in no figure.
    late: Nanos,
}

impl<'a> Sampler<'a> {
    fn new(servers: &'a Servers) -> Sampler<'a> {
        Sampler {
            servers,
            network: netstat::read(),
            state: State::Waiting,
        }
    }

    fn advance(&mut self, now: Nanos, phases: &Phases, stopped: bool, workload: &Workload) {
        if now >= phases.measure && matches!(self.state, State::Waiting) {
            self.state = State::Measuring(Sample {
                machine: Snapshot::read(),
                throttling: self.throttling(),
                server: self.servers.sample(),
                late: clock::now() - phases.measure,
            });
        }
        if now >= phases.end || stopped {
            self.finish(workload);
        }
    }

    /// Ends measuring, if it had begun.
    fn finish(&mut self, workload: &Workload) {
        if let State::Measuring(before) = &self.state {
            self.state = State::Done(self.usage_since(before, workload));
        }
    }

    fn usage_since(&self, before: &Sample, workload: &Workload) -> Usage {
        let machine = Snapshot::read();
        let [ours, servers] = self.throttling();
        // Reading takes milliseconds. On a busy machine a run of a fraction of a second may be over by then.
        let server = match before.late > workload.duration {
            true => Err("this machine was too busy to read it before measuring was over".to_owned()),
            false => self.servers.used_since(&before.server),
        };
        let network = netstat::read().zip(self.network);
        let pids = self.servers.pids();
        let needed = usage::parallelism_of(pids).unwrap_or(1);
        Usage {
            shares_cpu: server.is_ok() && !capacity::has_spare_cpu(workload, pids, needed),
            server,
            host: HostActivity {
                disturbance: machine.since(&before.machine),
                throttling: Throttling::between(before.throttling[0], ours),
                server_throttling: Throttling::between(before.throttling[1], servers),
                network: network.map(|(after, before)| after.since(&before)),
            },
        }
    }

    /// The processes of the servers when measuring began; none before.
    fn server_pids(&self) -> Vec<i32> {
        match &self.state {
            State::Measuring(before) => before.server.pids(),
            State::Waiting | State::Done(_) => Vec::new(),
        }
    }

    fn throttling(&self) -> [Option<Throttling>; 2] {
        [Throttling::read(), Throttling::of_others(self.servers.pids())]
    }

    fn into_usage(self) -> Usage {
        match self.state {
            State::Done(usage) => usage,
            State::Waiting | State::Measuring(_) => Usage {
                server: Err("the run ended before measuring began".to_owned()),
                shares_cpu: false,
                host: HostActivity::default(),
            },
        }
    }
}
