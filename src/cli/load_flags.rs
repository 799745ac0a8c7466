//! The flags that describe a load, declared once for all commands, and the workload they mean.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};

use super::addresses::{self, Sources};
use super::values::{self, Cpus};
use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::load::schedule::{Arrivals, Pace, Rate};
use crate::load::sizes::Sizes;
use crate::load::{self, Churn, Close, Io, Plan, Target, Traffic, Workload};
use crate::random::Random;
use crate::sys::signal::Stop;
use crate::sys::socket::Options;
use crate::units;

/// How long `load` measures: six times the longest level that confidence intervals are made for (`stats::batch_means`).
const DURATION: Nanos = Nanos(30_000_000_000);

/// The servers under load.
#[derive(Debug, Args)]
pub(super) struct TargetFlags {
    /// Echo servers, as ADDRESS:PORT or NAME:PORT; connections take them in turn
    ///
    /// The addresses of a name are tried in order, and the first that echoes is used. An IPv6 address may have an
    /// interface, as in `[fe80::1%eth0]:7007`.
    #[arg(value_name = "TARGET", default_value = "127.0.0.1:7007", value_parser = addresses::target)]
    targets: Vec<String>,
}

impl TargetFlags {
    /// All targets with their addresses, and the addresses to connect from in `workload`. Errors: [`Error::Target`] for
    /// a name that does not resolve.
    pub(super) fn resolve(
        &self,
        generator: &GeneratorFlags,
        workload: &mut Workload,
        stop: &Stop,
    ) -> Result<Vec<Target>> {
        let retry_time = generator.preflight_timeout;
        let targets = self.targets.iter().map(|name| Target::resolve(name, retry_time, stop));
        let mut targets = targets.collect::<Result<Vec<_>>>()?;
        generator.connect_from(&mut targets, workload, stop)?;
        Ok(targets)
    }
}

/// A complete load.
#[derive(Debug, Args)]
pub(super) struct LoadFlags {
    #[command(flatten)]
    pub(super) workload: WorkloadFlags,
    #[command(flatten)]
    pace: PaceFlags,
    #[command(flatten)]
    churn: ChurnFlags,
    #[command(flatten)]
    run: RunFlags,
}

/// Connections and messages.
#[derive(Debug, Args)]
pub(super) struct WorkloadFlags {
    /// Connections, all open at once
    #[arg(short, long, value_name = "N", default_value = "50", value_parser = values::at_least_one)]
    pub(super) connections: u32,
    /// Message size: `64B`, `uniform:64B..4KiB`, or `file:PATH`
    ///
    /// A file has lines of SIZE WEIGHT; every message draws its size from them.
    #[arg(short, long, value_name = "SIZE", default_value = "64B", value_parser = values::sizes)]
    pub(super) size: Sizes,
    /// Messages in flight per connection
    #[arg(long, value_name = "N", default_value = "1", value_parser = values::pipeline)]
    pub(super) pipeline: u32,
    #[command(flatten)]
    pub(super) generator: GeneratorFlags,
}

/// The generator itself.
#[derive(Debug, Args)]
pub(super) struct GeneratorFlags {
    /// Threads that generate load, each with its own ring or epoll instance
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = values::threads)]
    threads: u32,
    /// Keep connections in the tables of rings (direct descriptors) [default: where `ulimit -n` does not allow all]
    ///
    /// Each ring may have as many as `ulimit -n` allows. A thread has as many rings as its connections need.
    #[arg(long, hide_short_help = true)]
    direct_descriptors: bool,
    /// How the generator sends and receives: uring or epoll. No fallback: it fails if unavailable
    ///
    /// The load is the same. epoll runs where io_uring is blocked, as in containers; every report names it.
    #[arg(long, value_name = "NAME", default_value = "uring")]
    io: IoFlag,
    /// Pin the threads to these CPUs, in turn, as in `0-3,8`
    ///
    /// By default `load` and `find-max` do not pin; commands that start servers give the generator the last CPUs, one
    /// per thread, and the servers the others.
    #[arg(long, value_name = "CPUS", value_parser = values::cpus)]
    pin: Vec<Cpus>,
    /// Source addresses, taken in turn, as in 127.0.1.0/24 [default: chosen by the kernel; on loopback as many as the
    /// connections need]
    ///
    /// One source address allows 28,232 connections to one target, and connecting is slow from half of that on;
    /// connections that --churn has closed by FIN count for a minute. A name stands for its addresses.
    #[arg(long, value_name = "CIDR", value_parser = addresses::sources)]
    source: Option<Sources>,
    /// How long a target may take to connect, and to echo a first message
    ///
    /// Before a run every target has to echo one message. It fails after this time without a byte sent or received, so
    /// a large message may take longer. 5 s outlast two lost SYN.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = values::duration)]
    preflight_timeout: Nanos,
    /// Congestion control of every connection [default: the system's]
    #[arg(long, value_name = "NAME")]
    pub(super) congestion: Option<String>,
    /// Seed for payloads, sizes, arrival times and connection choice [default: random, printed]
    ///
    /// Below 2^53, so that every reader of JSON gets it exactly.
    #[arg(long, value_name = "N", value_parser = values::seed)]
    seed: Option<u64>,
}

/// How connections end.
#[derive(Debug, Args)]
pub(super) struct ChurnFlags {
    /// Close each connection after N messages and open another (closed loop)
    #[arg(long, value_name = "N", value_parser = values::at_least_one, conflicts_with = "rate")]
    churn: Option<u32>,
    /// How --churn closes
    #[arg(long, value_name = "HOW", default_value = "fin", requires = "churn")]
    close: CloseFlag,
}

/// When messages are sent.
#[derive(Debug, Args)]
struct PaceFlags {
    /// Open loop: send at RATE over all connections, regardless of replies
    ///
    /// As in `50k/s`; `10k/s..50k/s` changes linearly. By default the loop is closed: a connection sends its next
    /// message when the previous reply has arrived.
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    rate: Option<Rate>,
    /// Arrival process of the open loop
    #[arg(long, value_name = "HOW", default_value = "poisson", requires = "rate")]
    arrivals: ArrivalsFlag,
    /// Closed loop: pause between a reply and the next message
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = units::duration, conflicts_with = "rate")]
    think: Nanos,
}

/// How long a run takes, and what it checks.
#[derive(Debug, Args)]
pub(super) struct RunFlags {
    /// How long to measure [default: 30s; of find-max: 10s for each run]
    ///
    /// Where latency shifts between levels that last up to 5 s, confidence intervals need 30 s. A run that is too
    /// short for an interval says so.
    #[arg(short, long, value_name = "TIME", value_parser = values::duration)]
    duration: Option<Nanos>,
    /// Warm-up time before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    warmup: Nanos,
    /// How long to wait for outstanding replies at the end
    ///
    /// A message that is partly sent or received may take longer, until none of its bytes has moved for this time.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    drain: Nanos,
    /// Count the bytes of replies instead of comparing them; the report says so
    #[arg(long)]
    no_verify: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ArrivalsFlag {
    /// Independent arrivals (exponential gaps), as from many users
    Poisson,
    /// Equal gaps
    Constant,
}

/// How the generator sends and receives.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum IoFlag {
    /// io_uring
    Uring,
    /// epoll
    Epoll,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CloseFlag {
    /// Graceful: FIN, then wait for the peer's
    Fin,
    /// Abortive: RST
    Rst,
}

impl From<ArrivalsFlag> for Arrivals {
    fn from(flag: ArrivalsFlag) -> Arrivals {
        match flag {
            ArrivalsFlag::Poisson => Arrivals::Poisson,
            ArrivalsFlag::Constant => Arrivals::Constant,
        }
    }
}

impl LoadFlags {
    /// The workload on these CPUs.
    pub(super) fn workload(&self, cpus: Vec<usize>) -> Workload {
        let (pace, generator, workload) = (self.pace.pace(), &self.workload.generator, self.workload.workload(cpus));
        let workload = Workload {
            pace,
            churn: self.churn.churn(),
            // Connections that are being replaced are descriptors.
            direct: workload.direct && (self.churn.churn().is_none() || generator.direct_descriptors),
            ..workload
        };
        self.run.apply(workload, DURATION)
    }
}

impl WorkloadFlags {
    /// The workload of these flags on these CPUs; the rest as by default.
    pub(super) fn workload(&self, cpus: Vec<usize>) -> Workload {
        Workload {
            traffic: Traffic {
                sizes: self.size.clone(),
                depth: self.pipeline as usize,
                verify: true,
            },
            ..self.generator.workload(self.connections, cpus, self.generator.seed())
        }
    }
}

impl GeneratorFlags {
    /// The seed given, or a random one: resolve it once per command.
    pub(super) fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(Random::seed_from_os)
    }

    /// A workload with this many connections on these CPUs; the rest as by default.
    pub(super) fn workload(&self, connections: u32, cpus: Vec<usize>, seed: u64) -> Workload {
        let threads = self.threads.min(connections); // More threads than connections would be idle.
        let has_descriptors = load::has_descriptors(connections, threads);
        Workload {
            connections,
            threads,
            direct: self.io() == Io::Uring && (self.direct_descriptors || !has_descriptors),
            cpus,
            seed,
            preflight_timeout: self.preflight_timeout,
            options: Options {
                nodelay: true,
                congestion: self.congestion.clone(),
                ..Options::default()
            },
            io: self.io(),
            ..Workload::default()
        }
    }

    /// Sets the addresses that `workload` connects from, and leaves in both only addresses of one family, if there are
    /// sources. Errors: [`Error::Usage`] if a target has none of that family, [`Error::Machine`] if the name of a
    /// source does not resolve.
    pub(super) fn connect_from(&self, targets: &mut [Target], workload: &mut Workload, stop: &Stop) -> Result<()> {
        let Some(source) = &self.source else {
            workload.sources = load::sources_on_loopback(targets, workload);
            workload.tcp_memory = load::room_in_tcp_memory(workload, targets);
            return Ok(());
        };
        let mut sources = source.addresses(stop)?;
        let is_of = |is_v6: bool| move |address: &SocketAddr| address.is_ipv6() == is_v6;
        let reaches_all = |is_v6: bool| {
            sources.iter().any(is_of(is_v6)) && targets.iter().all(|target| target.addresses.iter().any(is_of(is_v6)))
        };
        let Some(is_v6) = [false, true].into_iter().find(|&is_v6| reaches_all(is_v6)) else {
            let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
            return Err(Error::Usage(format!(
                "--source and target {} have different address families: use IPv4 for both, or IPv6 for both",
                names.join(", ")
            )));
        };
        sources.retain(is_of(is_v6));
        for target in &mut *targets {
            target.addresses.retain(is_of(is_v6));
        }
        workload.sources = sources;
        workload.tcp_memory = load::room_in_tcp_memory(workload, targets);
        Ok(())
    }

    /// The same for servers that this command starts, which listen on 127.0.0.1. Errors also if the load does not fit
    /// this machine: servers would be started in vain.
    pub(super) fn connect_locally_from(&self, workload: &mut Workload, stop: &Stop) -> Result<()> {
        let mut servers = [Target::from(SocketAddr::from(([127, 0, 0, 1], 0)))];
        self.connect_from(&mut servers, workload, stop)?;
        load::check_fits(&Plan {
            targets: servers.into(),
            workload: workload.clone(),
        })
    }

    /// How the generator sends and receives.
    pub(super) fn io(&self) -> Io {
        match self.io {
            IoFlag::Uring => Io::Uring,
            IoFlag::Epoll => Io::Epoll,
        }
    }

    /// The CPUs to pin to; empty if none were given.
    pub(super) fn pin(&self) -> Vec<usize> {
        Cpus::all(&self.pin)
    }

    /// Threads that are to have a CPU each.
    pub(super) fn threads(&self) -> usize {
        self.threads as usize
    }
}

impl ChurnFlags {
    pub(super) fn churn(&self) -> Option<Churn> {
        let close = match self.close {
            CloseFlag::Fin => Close::Fin,
            CloseFlag::Rst => Close::Rst,
        };
        self.churn.map(|messages| Churn {
            messages: messages.into(),
            close,
        })
    }
}

impl PaceFlags {
    fn pace(&self) -> Pace {
        match self.rate {
            None => Pace::Closed { think: self.think },
            Some(rate) => Pace::Open {
                rate,
                arrivals: self.arrivals.into(),
            },
        }
    }
}

impl RunFlags {
    /// `workload` with these durations.
    pub(super) fn apply(&self, workload: Workload, default_duration: Nanos) -> Workload {
        Workload {
            duration: self.duration.unwrap_or(default_duration),
            warmup: self.warmup,
            drain: self.drain,
            traffic: Traffic {
                verify: !self.no_verify,
                ..workload.traffic
            },
            ..workload
        }
    }
}
