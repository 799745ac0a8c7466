//! What a load is like: the flags that `load` and `bench` share, and the workload they mean.

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

/// The largest message. Its bytes are made and checked in pieces, so this bounds only patience.
const MESSAGE_MAX: u64 = 1 << 30;

/// The most source addresses that are taken from a range: with 28,232 ports each, nobody needs more.
const SOURCES_MAX: u128 = 1024;

pub(super) type Parsed<T> = std::result::Result<T, String>;

#[derive(Debug, Args)]
pub(super) struct WorkloadFlags {
    /// Connections, all open at once
    #[arg(short, long, value_name = "N", default_value = "50", value_parser = super::at_least_one)]
    connections: u32,
    /// How long to measure
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = some_time)]
    duration: Nanos,
    /// Message size: `64B`, `uniform:64B..4KiB`, or `file:PATH` with lines of SIZE WEIGHT
    #[arg(short, long, value_name = "SIZE", default_value = "64B", value_parser = sizes)]
    size: Sizes,
    /// Open loop: messages at planned instants, RATE of them over all connections, as in `50k/s`; `10k/s..50k/s`
    /// goes from one rate to the other [default: closed loop, the next message when the last has come back]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<Rate>,
    /// How planned instants are spread
    #[arg(long, value_name = "HOW", default_value = "poisson", requires = "rate")]
    arrivals: ArrivalsFlag,
    /// Messages that one connection may have unanswered at once
    #[arg(long, value_name = "N", default_value = "1", value_parser = depth)]
    pipeline: u32,
    /// Closed loop: the pause between an answer and the next message
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = units::duration, conflicts_with = "rate")]
    think: Nanos,
    /// Closed loop: close each connection after N messages and open another
    #[arg(long, value_name = "N", value_parser = super::at_least_one, conflicts_with = "rate")]
    churn: Option<u32>,
    /// How --churn closes
    #[arg(long, value_name = "HOW", default_value = "fin", requires = "churn")]
    close: CloseFlag,
    /// Threads that generate load, each with its own ring
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = super::threads)]
    threads: u32,
    /// Keep the threads on these CPUs, in turn
    #[arg(long, value_name = "CPU", value_delimiter = ',')]
    pin: Vec<usize>,
    /// Connect from these addresses in turn, as in 127.0.1.0/24: 28,232 connections fit on each [default: any]
    #[arg(long, value_name = "CIDR", value_parser = sources)]
    source: Option<Sources>,
    /// Congestion control of every connection [default: the system's]
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// How long messages go before they count
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    warmup: Nanos,
    /// How long answers are waited for at the end
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    drain: Nanos,
    /// From which payloads, sizes, arrivals and choices are made [default: random, printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Count the bytes that come back instead of comparing them; the report says so
    #[arg(long)]
    no_verify: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ArrivalsFlag {
    /// Independent of each other, as from many users
    Poisson,
    /// As even as the rate allows
    Constant,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum CloseFlag {
    /// In order, waiting for the target's end
    Fin,
    /// By abort
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

impl From<CloseFlag> for Close {
    fn from(flag: CloseFlag) -> Close {
        match flag {
            CloseFlag::Fin => Close::Fin,
            CloseFlag::Rst => Close::Rst,
        }
    }
}

/// Addresses to connect from. A type of its own, because clap takes a `Vec` for a repeated flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources(pub(super) Vec<IpAddr>);

impl WorkloadFlags {
    /// Errors: [`Error::Usage`] where targets and sources are of different address families.
    pub(super) fn check_targets(&self, targets: &[SocketAddr]) -> Result<()> {
        let sources = self.source.as_ref().map_or(&[][..], |sources| &sources.0);
        match targets
            .iter()
            .find(|target| sources.iter().any(|ip| ip.is_ipv4() != target.is_ipv4()))
        {
            Some(target) => Err(Error::Usage(format!(
                "--source and target {target} are of different families: give both as IPv4, or both as IPv6"
            ))),
            None => Ok(()),
        }
    }

    /// The workload that is meant, on these CPUs.
    pub(super) fn workload(&self, cpus: Vec<usize>) -> Workload {
        Workload {
            sources: self.source.clone().map_or(Vec::new(), |sources| sources.0),
            connections: self.connections,
            churn: self.churn.map(|messages| Churn {
                messages: messages.into(),
                close: self.close.into(),
            }),
            traffic: Traffic {
                sizes: self.size.clone(),
                depth: self.pipeline as usize,
                verify: !self.no_verify,
            },
            pace: self.pace(),
            duration: self.duration,
            warmup: self.warmup,
            drain: self.drain,
            // More threads than connections would have nothing to do.
            threads: self.threads.min(self.connections),
            // 32 random bits: enough to differ, short enough to type.
            seed: self.seed.unwrap_or_else(Random::seed_from_os),
            cpus,
            spin: true,
            options: Options {
                nodelay: true,
                congestion: self.congestion.clone(),
            },
        }
    }

    fn pace(&self) -> Pace {
        match self.rate {
            None => Pace::Closed { think: self.think },
            Some(rate) => Pace::Open {
                rate,
                arrivals: self.arrivals.into(),
            },
        }
    }

    pub(super) fn threads(&self) -> usize {
        self.threads as usize
    }

    /// The CPUs that were asked for.
    pub(super) fn cpus(&self) -> &[usize] {
        &self.pin
    }
}

pub(super) fn some_time(text: &str) -> Parsed<Nanos> {
    match units::duration(text)? {
        Nanos(0) => Err("nothing can be measured in no time: write `10s`".into()),
        duration => Ok(duration),
    }
}

pub(super) fn depth(text: &str) -> Parsed<u32> {
    super::between(text, 1..=65_536)
}

fn message_size(text: &str) -> Parsed<u64> {
    match units::size(text)? {
        0 => Err("an empty message has no echo: write `64B`".into()),
        size @ ..=MESSAGE_MAX => Ok(size),
        size => Err(format!("{} is more than {}", show_size(size), show_size(MESSAGE_MAX))),
    }
}

pub(super) fn sizes(text: &str) -> Parsed<Sizes> {
    if let Some(range) = text.strip_prefix("uniform:") {
        let (least, most) = range
            .split_once("..")
            .ok_or("a range has two ends: write `uniform:64B..4KiB`")?;
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

/// Lines of `SIZE WEIGHT`; empty ones and those that begin with `#` say nothing.
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
    let some = |text: &str| match units::rate(text)? {
        rate if rate > 0.0 => Ok(rate),
        _ => Err("nothing can be measured at a rate of 0: write `50k/s`".to_owned()),
    };
    match text.split_once("..") {
        None => some(text).map(|rate| Rate { from: rate, to: rate }),
        Some((from, to)) => Ok(Rate {
            from: some(from)?,
            to: some(to)?,
        }),
    }
}

pub(super) fn sources(text: &str) -> Parsed<Sources> {
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

/// The addresses of a network with so many host bits, without its own and its broadcast address where it has them.
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
    fn wrong_sizes_are_told_how_to_write_them() {
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
    fn a_rate_may_go_from_one_to_another() {
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
    fn a_network_is_its_hosts() {
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
