//! `urecho serve`.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cli::addresses::{self, Listen};
use crate::cli::uring_flags::{UringFlags, buffer_size};
use crate::cli::values;
use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::output::written::Written;
use crate::output::{console, log};
use crate::serve::admission::{self, AtLimit, Limits};
use crate::serve::counters::Counters;
use crate::serve::engine::Engine;
use crate::serve::memory_bound::MemoryBound;
use crate::serve::service::{self, Service};
use crate::serve::{self, EnginePlan, Listening, Plan, Sandbox};
use crate::sys::signal::Stop;
use crate::sys::successor::Inherited;
use crate::sys::{affinity, limits, privileges, socket};
use crate::units::{self, show_count};

#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Address to listen on: ADDRESS:PORT, NAME:PORT, or :PORT for all addresses; port 0 takes a free one; repeatable
    ///
    /// Of the addresses of a name the first that this machine has is used, IPv4 before IPv6; the line `listening on`
    /// says which. Loopback by default: open echo services get abused.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7007", value_parser = addresses::listen)]
    listen: Vec<Listen>,
    /// I/O engine: uring, tokio-uring or epoll. No fallback: it fails if unavailable
    #[arg(long, value_name = "NAME", default_value = "uring")]
    engine: Engine,
    /// Threads, each with its own ring or epoll instance [default: as many as this process may use CPUs]
    ///
    /// A CPU quota of its control group counts. More where --max-connections needs more rings.
    #[arg(long, value_name = "N", value_parser = values::threads)]
    workers: Option<u32>,
    /// Connections that may wait to be accepted (capped by net.core.somaxconn)
    #[arg(long, value_name = "N", default_value = "4096", value_parser = values::at_least_one)]
    backlog: u32,
    /// Congestion control of every connection [default: the system's]
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// Leave Nagle's algorithm enabled (no TCP_NODELAY)
    #[arg(long)]
    no_nodelay: bool,
    /// Pin each worker to one of the CPUs that this process may use
    #[arg(long = "pin-workers")]
    pin: bool,
    /// Graceful-shutdown timeout; connections still open after it are aborted
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::duration)]
    drain_timeout: Nanos,
    /// Maximum open connections [default: what `ulimit -n` allows, minus a reserve]
    ///
    /// With uring it may be more: connections are direct descriptors then, of which each worker may have as many as
    /// `ulimit -n` allows.
    #[arg(long, value_name = "N", value_parser = values::at_least_one)]
    max_connections: Option<u32>,
    /// What happens to connections beyond --max-connections
    #[arg(long, value_name = "WHAT", default_value = "wait")]
    at_limit: AtLimitFlag,
    /// Maximum open connections per IP address; excess ones are accepted and closed [default: no limit]
    #[arg(long, value_name = "N", value_parser = values::at_least_one)]
    max_per_ip: Option<u32>,
    /// Close connections that had no traffic for this long; 0s for never
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = units::duration)]
    idle_timeout: Nanos,
    /// Send TCP keep-alive probes after this much silence; 0s for never [default: 60s; never with direct descriptors]
    ///
    /// Six probes, a sixth of this time apart. If the peer answers none, the connection is closed after --user-timeout
    /// (after the sixth probe, if that is 0s). The kernel probes all peers that fell silent within seconds of each
    /// other at once: thousands of probes are more than some queues hold.
    #[arg(long, value_name = "TIME", value_parser = units::duration, hide_short_help = true)]
    keepalive: Option<Nanos>,
    /// Close connections whose peer leaves sent data unacknowledged or unread for this long; 0s for never
    ///
    /// See TCP_USER_TIMEOUT in tcp(7). It ends a peer that vanished while an echo was under way, and one that stopped
    /// reading. It also ends a silent connection that --keepalive has probed: with less than twice --keepalive after
    /// fewer than six probes.
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = units::duration, hide_short_help = true)]
    user_timeout: Nanos,
    /// Bytes that one connection may hold in this process before its peer must read
    ///
    /// A batch of receives that is under way may add up to 32 buffers. Not less than two buffers of --engine uring.
    #[arg(long, value_name = "SIZE", default_value = "256KiB", value_parser = buffer_limit, hide_short_help = true)]
    buffer_limit: u64,
    /// Bytes of each socket's send and receive buffer, which the kernel doubles [default: grow as needed]
    #[arg(long, value_name = "SIZE", value_parser = socket_buffer, hide_short_help = true)]
    socket_buffer: Option<u32>,
    /// Address of an HTTP endpoint with metrics in the OpenMetrics format, at /metrics [default: none]
    ///
    /// On the loopback interface only, unless --metrics-public is given.
    #[arg(long, value_name = "ADDR", value_parser = addresses::listen)]
    metrics: Option<Listen>,
    /// Let --metrics be an address that other hosts can reach
    #[arg(long, requires = "metrics", hide_short_help = true)]
    metrics_public: bool,
    /// Drop root privileges to this user after binding; a name or a number
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Do not confine the workers: let them make all system calls and open files
    ///
    /// Once it accepts connections, a worker can only use the sockets and rings that it has: seccomp(2), landlock(7),
    /// and restrictions of its ring.
    #[arg(long, hide_short_help = true)]
    no_sandbox: bool,
    /// Format of what it reports on stderr while it runs: pauses, refusals, starvation; each kind at most once a
    /// second
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log: LogFormat,
    /// Print the limits and the most memory that this server takes, and log normal events as well
    #[arg(long, short)]
    verbose: bool,
    /// Let every worker try to escape from its confinement before it serves
    #[arg(long, hide = true)]
    test_sandbox: bool,
    /// Bytes in each receive buffer: one per connection with tokio-uring, one per worker with epoll [default: 4KiB;
    /// epoll: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = buffer_size, hide_short_help = true)]
    buffer_size: Option<u32>,
    #[command(flatten)]
    uring: UringFlags,
}

/// See [`log::Format`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// See [`AtLimit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AtLimitFlag {
    /// They wait in the queue of the listener until another one closes
    Wait,
    /// They are accepted and closed
    Refuse,
}

fn socket_buffer(text: &str) -> std::result::Result<u32, String> {
    match units::size(text)? {
        size @ 1024..=1_073_741_824 => Ok(size as u32),
        size => Err(format!("{} is not between 1 KiB and 1 GiB", units::show_size(size))),
    }
}

fn buffer_limit(text: &str) -> std::result::Result<u64, String> {
    match units::size(text)? {
        size @ 4096..=1_073_741_824 => Ok(size),
        size => Err(format!("{} is not between 4 KiB and 1 GiB", units::show_size(size))),
    }
}

/// None for zero.
fn some_time(time: Nanos) -> Option<Nanos> {
    (time != Nanos(0)).then_some(time)
}

impl Flags {
    /// Errors: a flag that does not apply to the engine.
    fn engine(&self) -> Result<EnginePlan> {
        let mut plan = EnginePlan::of(self.engine);
        match &mut plan {
            EnginePlan::Uring(plan) => *plan = self.uring.plan(self.buffer_size),
            EnginePlan::TokioUring { buffer_size } | EnginePlan::Epoll { buffer_size } => {
                self.uring.refuse()?;
                *buffer_size = self.buffer_size.unwrap_or(*buffer_size);
            }
        }
        Ok(plan)
    }

    /// The engine, with direct descriptors where there are not enough others, and its threads. Errors: a flag that does
    /// not apply to it.
    fn engine_and_workers(&self) -> Result<(EnginePlan, usize)> {
        let mut engine = self.engine()?;
        let mut workers = self
            .workers
            .map_or_else(affinity::parallelism, |workers| workers as usize);
        if let (EnginePlan::Uring(uring), Some(max)) = (&mut engine, self.max_connections) {
            uring.direct |= !admission::has_descriptors(max, workers);
            if uring.direct && self.workers.is_none() {
                let needed = max.div_ceil(limits::ring_entries()) as usize;
                workers = workers.max(needed.min(admission::most_workers()));
            }
        }
        if let EnginePlan::Uring(uring) = &mut engine
            && uring.direct
            && !self.uring.sets_buffers()
        {
            *uring = uring.sharing(workers, affinity::allowed().len());
        }
        Ok((engine, workers))
    }

    fn plan(&self, stop: &Stop) -> Result<Plan> {
        let cpus = affinity::allowed();
        let (engine, workers) = self.engine_and_workers()?;
        let keepalive = match (self.keepalive, &engine) {
            (Some(time), _) => some_time(time),
            (None, EnginePlan::Uring(uring)) if uring.direct => None,
            (None, _) => socket::Options::server().keepalive,
        };
        Ok(Plan {
            engine,
            listen: self
                .listen
                .iter()
                .map(|listen| listen.addresses(stop))
                .collect::<Result<_>>()?,
            workers,
            backlog: self.backlog,
            options: socket::Options {
                nodelay: !self.no_nodelay,
                congestion: self.congestion.clone(),
                keepalive,
                user_timeout: some_time(self.user_timeout),
                buffer: self.socket_buffer,
            },
            limits: Limits {
                connections: self.max_connections,
                at_limit: match self.at_limit {
                    AtLimitFlag::Wait => AtLimit::Wait,
                    AtLimitFlag::Refuse => AtLimit::Refuse,
                },
                per_address: self.max_per_ip,
            },
            buffer_limit: self.buffer_limit,
            idle_timeout: some_time(self.idle_timeout),
            sandbox: match (self.no_sandbox, self.test_sandbox) {
                (false, false) => Sandbox::On,
                (false, true) => Sandbox::Tested,
                (true, false) => Sandbox::Off,
                (true, true) => Sandbox::TestedOff,
            },
            cpus: if self.pin { cpus } else { Vec::new() },
            drain_timeout: self.drain_timeout,
        })
    }
}

/// Clients of the metrics that may wait for their turn.
const METRICS_BACKLOG: u32 = 16;

pub(super) fn run(flags: Flags) -> Result<ExitCode> {
    flags.engine()?;
    let service = Service::prepare()?; // Before the thread that waits for signals is started.
    let stop = Stop::on_signals()?;
    limits::raise_descriptors();
    let plan = flags.plan(&stop)?;
    let mut inherited = Inherited::take()?;
    let metrics = flags.metrics(inherited.as_mut(), &stop)?;
    let listeners = flags.listeners(inherited.as_mut(), &plan)?;
    if let Some(user) = &flags.user {
        privileges::become_user(user)?;
    }
    let mut written = Written::All;
    let mut begun = None;
    let format = match flags.log {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    log::begin(format, flags.verbose);
    let running = plan.clone();
    let served = serve::run(plan, listeners, &stop, |listening, control| {
        flags.warn(listening, &running);
        if flags.verbose {
            console::note(MemoryBound::of(&running, listening.connections_max));
            console::note(format_args!(
                "queue: {} connections may wait to be accepted (--backlog {}, net.core.somaxconn {})",
                flags.backlog.min(limits::somaxconn()),
                flags.backlog,
                limits::somaxconn()
            ));
        }
        let result = service.begin(control.clone(), &stop, inherited, metrics);
        match result {
            Ok(()) => written = announce(listening, &stop),
            Err(_) => stop.fire(),
        }
        begun = Some(result.map(|()| control));
    })?;
    if let Some(control) = begun {
        service::report_stopping(&control?);
    }
    match served.failure {
        Some(failure) => {
            let others = Counters::sum(&served.workers);
            Err(failure.with(&format!("; counted by the other workers: {others}")))
        }
        None => {
            console::note(Counters::total(&served.workers)?);
            Ok(ExitCode::from(written.exit_code(0)))
        }
    }
}

impl Flags {
    /// The listeners of the plan, or those that another process has passed instead.
    fn listeners(&self, inherited: Option<&mut Inherited>, plan: &Plan) -> Result<Vec<OwnedFd>> {
        let Some(inherited) = inherited else {
            return serve::listen(plan);
        };
        let listeners = std::mem::take(&mut inherited.descriptors);
        for listener in &listeners {
            socket::prepare_inherited(listener, &plan.options)?;
        }
        Ok(listeners)
    }

    /// The listener for metrics. The process that this one replaces has passed it after the others.
    fn metrics(&self, inherited: Option<&mut Inherited>, stop: &Stop) -> Result<Option<TcpListener>> {
        let Some(address) = &self.metrics else {
            return Ok(None);
        };
        if let Some(inherited) = inherited.filter(|inherited| inherited.replaces()) {
            return Ok(inherited.descriptors.pop().map(TcpListener::from));
        }
        let addresses = address.addresses(stop)?;
        let public = addresses
            .iter()
            .find(|address| !address.ip().to_canonical().is_loopback());
        if let Some(public) = public.filter(|_| !self.metrics_public) {
            return Err(Error::Usage(format!(
                "--metrics {public} can be reached from other hosts: choose an address of the loopback interface, or give \
                 --metrics-public"
            )));
        }
        let listener = socket::listen(&addresses, METRICS_BACKLOG, &socket::Options::server())?;
        Ok(Some(TcpListener::from(listener)))
    }

    fn warn(&self, listening: &Listening, plan: &Plan) {
        if let Some(max) = self.max_connections
            && listening.connections_max < max as usize
        {
            console::note(format_args!(
                "warning: descriptors allow {} connections, fewer than --max-connections {}: raise `ulimit -n`{}",
                show_count(listening.connections_max as u64),
                show_count(max.into()),
                if self.workers.is_some() && self.engine == Engine::Uring {
                    ", or leave out --workers"
                } else {
                    ""
                }
            ));
        }
        if let (Some(asked), EnginePlan::Uring(uring)) = (self.uring.pipes(), &plan.engine)
            && let pipes = uring.within(plan).buffers.pipes
            && pipes < asked
        {
            console::note(format_args!(
                "warning: a worker has {pipes} pipes, fewer than --pipes {asked}: `ulimit -n`, --buffer-limit or direct \
                 descriptors allow no more"
            ));
        }
        for address in &listening.addresses {
            if !address.ip().to_canonical().is_loopback() {
                console::note(format_args!(
                    "warning: {address} can be reached from other hosts: an echo server reflects whatever they send"
                ));
            }
        }
    }
}

/// Prints the lines that scripts wait for. Clients are served meanwhile, and a stop does not wait for the lines to be
/// read.
fn announce(listening: &Listening, stop: &Stop) -> Written {
    let Listening { engine, workers, .. } = listening;
    let lines = listening.addresses.iter().map(|address| {
        let line = format!("listening on {address} engine={engine} workers={workers}");
        console::announce(line, stop)
    });
    lines.fold(Written::All, Written::and)
}
