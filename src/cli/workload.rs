//! The flags that describe a load, declared once for all commands, and the workload they mean.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use clap::{Args, ValueEnum};

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::load::schedule::{Arrivals, Pace, Rate};
use crate::load::sizes::{Sizes, Weight};
use crate::load::{Churn, Close, Traffic, Workload};
use crate::random::Random;
use crate::sys::socket::Options;
use crate::units::{self, show_size};

/// The largest message. Its bytes are generated and compared in pieces, so this bounds nothing but time.
const MESSAGE_MAX: u64 = 1 << 30;

/// Source addresses taken from a range, at most: with 28,232 ports each, that is far beyond the descriptors of a process.
const SOURCES_MAX: u128 = 1024;

pub(super) type Parsed<T> = std::result::Result<T, String>;

/// Connections and messages.
#[derive(Debug, Args)]
pub(super) struct WorkloadFlags {
    /// Connections, all open at once
    #[arg(short, long, value_name = "N", default_value = "50", value_parser = super::at_least_one)]
    pub(super) connections: u32,
    /// Message size: `64B`, `uniform:64B..4KiB`, or `file:PATH`
    ///
    /// A file has lines of SIZE WEIGHT; every message draws its size from them.
    #[arg(short, long, value_name = "SIZE", default_value = "64B", value_parser = sizes)]
    pub(super) size: Sizes,
    /// Messages in flight per connection
    #[arg(long, value_name = "N", default_value = "1", value_parser = depth)]
    pub(super) pipeline: u32,
    #[command(flatten)]
    pub(super) generator: GeneratorFlags,
}

/// The generator itself.
#[derive(Debug, Args)]
pub(super) struct GeneratorFlags {
    /// Threads that generate load, each with its own ring
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = super::threads)]
    threads: u32,
    /// Pin the threads to these CPUs, in turn
    ///
    /// By default `load` and `find-max` do not pin; commands that start servers give the generator the last CPUs, one per
    /// thread, and the servers the others.
    #[arg(long, value_name = "CPU,...", value_delimiter = ',')]
    pub(super) pin: Vec<usize>,
    /// Source addresses, taken in turn, as in 127.0.1.0/24 [default: chosen by the kernel]
    ///
    /// One source address allows 28,232 connections to one target.
    #[arg(long, value_name = "CIDR", value_parser = sources)]
    source: Option<Sources>,
    /// Congestion control of every connection [default: the system's]
    #[arg(long, value_name = "NAME")]
    pub(super) congestion: Option<String>,
    /// Seed for payloads, sizes, arrival times and connection choice [default: random, printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// How connections end.
#[derive(Debug, Args)]
pub(super) struct ChurnFlags {
    /// Close each connection after N messages and open another (closed loop)
    #[arg(long, value_name = "N", value_parser = super::at_least_one, conflicts_with = "rate")]
    churn: Option<u32>,
    /// How --churn closes
    #[arg(long, value_name = "HOW", default_value = "fin", requires = "churn")]
    close: CloseFlag,
}

/// When messages are sent.
#[derive(Debug, Args)]
pub(super) struct PaceFlags {
    /// Open loop: send at RATE over all connections, regardless of replies
    ///
    /// As in `50k/s`; `10k/s..50k/s` changes linearly. By default the loop is closed: a connection sends its next message
    /// when the previous reply has arrived.
    #[arg(long, value_name = "RATE", value_parser = rate)]
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
    /// How long to measure
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = positive_duration)]
    duration: Nanos,
    /// Warm-up time before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    warmup: Nanos,
    /// How long to wait for outstanding replies at the end
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

/// Source addresses. A newtype, because clap takes a `Vec` for a repeated flag.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sources(Vec<IpAddr>);

impl WorkloadFlags {
    /// The workload of these flags on these CPUs; the rest as by default.
    pub(super) fn workload(&self, cpus: Vec<usize>) -> Workload {
        Workload {
            traffic: Traffic {
                sizes: self.size.clone(),
                depth: self.pipeline as usize,
                verify: true,
            },
            ..self.generator.workload(self.connections, cpus)
        }
    }
}

impl GeneratorFlags {
    /// A workload with this many connections on these CPUs; the rest as by default.
    pub(super) fn workload(&self, connections: u32, cpus: Vec<usize>) -> Workload {
        Workload {
            connections,
            sources: self.source.clone().map_or(Vec::new(), |sources| sources.0),
            threads: self.threads.min(connections), // More threads than connections would be idle.
            cpus,
            seed: self.seed.unwrap_or_else(Random::seed_from_os),
            options: Options {
                nodelay: true,
                congestion: self.congestion.clone(),
            },
            ..Workload::default()
        }
    }

    /// Errors: [`Error::Usage`] if targets and sources have different address families.
    pub(super) fn check_targets(&self, targets: &[SocketAddr]) -> Result<()> {
        let sources = self.source.as_ref().map_or(&[][..], |sources| &sources.0);
        let differs = |target: &&SocketAddr| sources.iter().any(|source| source.is_ipv4() != target.is_ipv4());
        match targets.iter().find(differs) {
            Some(target) => Err(Error::Usage(format!(
                "--source and target {target} have different address families: use IPv4 for both, or IPv6 for both"
            ))),
            None => Ok(()),
        }
    }

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
    pub(super) fn pace(&self) -> Pace {
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
    pub(super) fn apply(&self, workload: Workload) -> Workload {
        Workload {
            duration: self.duration,
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

pub(super) fn positive_duration(text: &str) -> Parsed<Nanos> {
    match units::duration(text)? {
        Nanos(0) => Err("the duration must be greater than 0, as in `10s`".into()),
        duration => Ok(duration),
    }
}

pub(super) fn depth(text: &str) -> Parsed<u32> {
    super::between(text, 1..=65_536)
}

fn message_size(text: &str) -> Parsed<u64> {
    match units::size(text)? {
        0 => Err("the size must be at least 1 byte, as in `64B`".into()),
        size @ ..=MESSAGE_MAX => Ok(size),
        size => Err(format!("{} is more than {}", show_size(size), show_size(MESSAGE_MAX))),
    }
}

pub(super) fn sizes(text: &str) -> Parsed<Sizes> {
    if let Some(range) = text.strip_prefix("uniform:") {
        let (least, most) = range
            .split_once("..")
            .ok_or("missing `..`: write a range as `uniform:64B..4KiB`")?;
        let (least, most) = (message_size(least)?, message_size(most)?);
        return if least <= most {
            Ok(Sizes::Uniform { least, most })
        } else {
            Err(format!(
                "{} is more than {}: write the smaller end first",
                show_size(least),
                show_size(most)
            ))
        };
    }
    if let Some(path) = text.strip_prefix("file:") {
        let text = fs::read_to_string(path).map_err(|cause| format!("cannot read {path}: {cause}"))?;
        return weights(&text).map_err(|wrong| format!("{path}: {wrong}"));
    }
    message_size(text).map(Sizes::Fixed)
}

/// Lines of `SIZE WEIGHT`; empty lines and comments (`#`) are skipped.
fn weights(text: &str) -> Parsed<Sizes> {
    let mut table = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let entry = line
            .split_once(char::is_whitespace)
            .ok_or_else(|| "write `64B 90`".to_owned())
            .and_then(|(size, weight)| {
                let weight = weight.trim();
                let weight = weight
                    .parse()
                    .map_err(|_| format!("`{weight}` is not a whole number: write `64B 90`"))?;
                Ok(Weight {
                    size: message_size(size)?,
                    weight,
                })
            });
        table.push(entry.map_err(|wrong| format!("line {}: {wrong}", number + 1))?);
    }
    Sizes::weighted(&table)
}

pub(super) fn rate(text: &str) -> Parsed<Rate> {
    let positive = |text: &str| match units::rate(text)? {
        rate if rate > 0.0 => Ok(rate),
        _ => Err("the rate must be greater than 0, as in `50k/s`".to_owned()),
    };
    match text.split_once("..") {
        None => positive(text).map(|rate| Rate { from: rate, to: rate }),
        Some((from, to)) => Ok(Rate {
            from: positive(from)?,
            to: positive(to)?,
        }),
    }
}

fn sources(text: &str) -> Parsed<Sources> {
    let hint = "write ADDRESS or ADDRESS/PREFIX, as in 127.0.1.0/24";
    let (address, prefix) = text
        .split_once('/')
        .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("`{address}` is not an IP address; {hint}"))?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix: u32 = match prefix {
        None => bits,
        Some(prefix) => prefix
            .parse()
            .ok()
            .filter(|&prefix| prefix <= bits)
            .ok_or_else(|| format!("`{prefix}` is not a prefix length between 0 and {bits}; {hint}"))?,
    };
    Ok(Sources(hosts(address, bits - prefix)))
}

/// The host addresses of a network with this many host bits: without network and broadcast address if it has them.
fn hosts(address: IpAddr, bits: u32) -> Vec<IpAddr> {
    let (number, v4) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), true),
        IpAddr::V6(v6) => (v6.to_bits(), false),
    };
    let size = 1_u128.checked_shl(bits).unwrap_or(u128::MAX);
    let network = number & !(size - 1);
    let (first, last) = if bits < 2 { (0, size - 1) } else { (1, size - 2) };
    let count = (last - first + 1).min(SOURCES_MAX);
    let at = |host: u128| {
        let number = network + first + host;
        if v4 {
            IpAddr::V4((number as u32).into())
        } else {
            IpAddr::V6(number.into())
        }
    };
    (0..count).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_fixed_ranges_or_weights() {
        assert_eq!(sizes("4KiB"), Ok(Sizes::Fixed(4096)));
        assert_eq!(sizes("uniform:64B..4KiB"), Ok(Sizes::Uniform { least: 64, most: 4096 }));
        assert_eq!(
            weights("# mix\n64B 90\n\n4KiB  10\n"),
            Sizes::weighted(&[Weight { size: 64, weight: 90 }, Weight { size: 4096, weight: 10 }])
        );
    }

    #[test]
    fn errors_of_sizes_say_what_to_write() {
        for (text, hint) in [
            ("64k", "64KiB"),
            ("0B", "64B"),
            ("uniform:64B", "uniform:64B..4KiB"),
            ("uniform:4KiB..64B", "smaller end first"),
            ("2GiB", "1 GiB"),
            ("file:/nowhere", "cannot read /nowhere"),
        ] {
            let wrong = sizes(text).unwrap_err();
            assert!(wrong.contains(hint), "{text}: {wrong}");
        }
        assert!(weights("64B").unwrap_err().contains("line 1"));
        assert!(weights("64B 1\n64B many").unwrap_err().contains("line 2"));
    }

    #[test]
    fn a_rate_may_change_linearly() {
        assert_eq!(
            rate("50k/s"),
            Ok(Rate {
                from: 50_000.0,
                to: 50_000.0
            })
        );
        assert_eq!(
            rate("1k/s..2k/s"),
            Ok(Rate {
                from: 1000.0,
                to: 2000.0
            })
        );
        assert!(rate("50k").unwrap_err().contains("/s"));
        assert!(rate("0/s").is_err());
    }

    #[test]
    fn a_network_is_its_host_addresses() {
        let of = |text: &str| sources(text).unwrap().0;
        assert_eq!(of("127.0.0.1"), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(of("127.0.1.7/30").len(), 2);
        assert_eq!(of("127.0.1.0/24")[0], "127.0.1.1".parse::<IpAddr>().unwrap());
        assert_eq!(
            (of("127.0.0.0/8").len(), of("127.0.0.4/31").len(), of("::1").len()),
            (1024, 2, 1)
        );
        assert_eq!(of("::/0").len(), 1024);
        for wrong in ["localhost", "127.0.0.1/33", "127.0.0.1/x", ""] {
            assert!(sources(wrong).unwrap_err().contains("127.0.1.0/24"), "{wrong}");
        }
    }
}
