//! Value parsers for clap. An error is one line that says what is wrong and what to write instead.

use std::fs;
use std::ops::RangeInclusive;

use crate::clock::Nanos;
use crate::load::schedule::Rate;
use crate::load::sizes::{Sizes, Weight};
use crate::random::SEED_MAX;
use crate::sys::affinity;
use crate::units::{self, show_count, show_size};

/// The largest message. Payload is made and verified piece by piece, so what this limits is the length of a run.
const MESSAGE_MAX: u64 = 1 << 30;

pub(super) type Parsed<T> = Result<T, String>;

/// CPUs, as in `0-3,8`. A type of its own, because clap takes a `Vec` for a repeated flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cpus(Vec<usize>);

impl Cpus {
    /// Those of a flag that may be repeated.
    pub(super) fn all(lists: &[Cpus]) -> Vec<usize> {
        lists.iter().flat_map(|list| list.0.iter().copied()).collect()
    }
}

pub(super) fn cpus(text: &str) -> Parsed<Cpus> {
    affinity::parse(text).map(Cpus)
}

pub(super) fn seed(text: &str) -> Parsed<u64> {
    let seed = units::count(text)?;
    if seed > SEED_MAX {
        return Err(format!("the largest seed is {SEED_MAX}"));
    }
    Ok(seed)
}

pub(super) fn repeats(text: &str) -> Parsed<u32> {
    between(text, 2..=100)
}

/// A port of TCP.
pub(super) fn port(text: &str) -> Parsed<u16> {
    let port = text.parse().ok().filter(|&port| port > 0);
    port.ok_or_else(|| format!("`{text}` is no port: write a number from 1 to 65535"))
}

pub(super) fn at_least_one(text: &str) -> Parsed<u32> {
    if text.len() == 3 && text.starts_with('0') {
        // What is left of `10,000` where values are separated by commas.
        return Err("`,` separates values here: write `10000` or `10k`".into());
    }
    let count = units::count(text)?;
    match u32::try_from(count) {
        Ok(0) => Err("must be at least 1".into()),
        Ok(count) => Ok(count),
        Err(_) => Err(format!("{count} is more than the maximum of {}", u32::MAX)),
    }
}

pub(super) fn threads(text: &str) -> Parsed<u32> {
    between(text, 1..=1024)
}

pub(super) fn pipeline(text: &str) -> Parsed<u32> {
    between(text, 1..=65_536)
}

fn between(text: &str, range: RangeInclusive<u64>) -> Parsed<u32> {
    match units::count(text)? {
        count if range.contains(&count) => Ok(count as u32),
        count => Err(format!(
            "{count} is not between {} and {}",
            range.start(),
            show_count(*range.end())
        )),
    }
}

/// A duration above zero.
pub(super) fn duration(text: &str) -> Parsed<Nanos> {
    match units::duration(text)? {
        Nanos(0) => Err("the duration must be greater than 0, as in `10s`".into()),
        duration => Ok(duration),
    }
}

/// One rate, or a ramp: `1k/s..50k/s`.
pub(super) fn rate(text: &str) -> Parsed<Rate> {
    let positive = |text: &str| match units::rate(text)? {
        rate if rate > 0.0 => Ok(rate),
        _ => Err("the rate must be greater than 0, as in `50k/s`".to_owned()),
    };
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    Ok(Rate {
        from: positive(from)?,
        to: positive(to)?,
    })
}

fn message_size(text: &str) -> Parsed<u64> {
    match units::size(text)? {
        0 => Err("the size must be at least 1 byte, as in `64B`".into()),
        size @ ..=MESSAGE_MAX => Ok(size),
        size => Err(format!("{} is more than {}", show_size(size), show_size(MESSAGE_MAX))),
    }
}

/// `64B`, `uniform:64B..4KiB` or `file:PATH`.
pub(super) fn sizes(text: &str) -> Parsed<Sizes> {
    if let Some(range) = text.strip_prefix("uniform:") {
        return uniform(range);
    }
    if let Some(path) = text.strip_prefix("file:") {
        let text = fs::read_to_string(path).map_err(|cause| format!("cannot read {path}: {cause}"))?;
        return weights(&text).map_err(|wrong| format!("{path}: {wrong}"));
    }
    message_size(text).map(Sizes::Fixed)
}

fn uniform(range: &str) -> Parsed<Sizes> {
    let (least, most) = range
        .split_once("..")
        .ok_or("missing `..`: write a range as `uniform:64B..4KiB`")?;
    let (least, most) = (message_size(least)?, message_size(most)?);
    if least <= most {
        Ok(Sizes::Uniform { least, most })
    } else {
        let [least, most] = [least, most].map(show_size);
        Err(format!("{least} is more than {most}: write the smaller end first"))
    }
}

/// Lines of `SIZE WEIGHT`; blank lines and lines that start with `#` are ignored.
fn weights(text: &str) -> Parsed<Sizes> {
    let lines = text.lines().zip(1..).map(|(line, number)| (line.trim(), number));
    let weights = lines
        .filter(|(line, _)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, number)| weight(line).map_err(|wrong| format!("line {number}: {wrong}")));
    Sizes::weighted(&weights.collect::<Parsed<Vec<Weight>>>()?)
}

fn weight(line: &str) -> Parsed<Weight> {
    let (size, weight) = line.split_once(char::is_whitespace).ok_or("write `64B 90`")?;
    let weight = weight.trim();
    Ok(Weight {
        size: message_size(size)?,
        weight: weight
            .parse()
            .map_err(|_| format!("`{weight}` is not a whole number: write `64B 90`"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_fixed_a_range_or_weighted() {
        assert_eq!(sizes("4KiB"), Ok(Sizes::Fixed(4096)));
        assert_eq!(sizes("uniform:64B..4KiB"), Ok(Sizes::Uniform { least: 64, most: 4096 }));
        let [small, large] = [(64, 90), (4096, 10)].map(|(size, weight)| Weight { size, weight });
        assert_eq!(weights("# mix\n64B 90\n\n4KiB  10\n"), Sizes::weighted(&[small, large]));
    }

    #[test]
    fn the_error_for_an_invalid_size_shows_a_valid_one() {
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
    fn a_rate_is_constant_or_a_ramp() {
        let ramp = |from, to| Ok(Rate { from, to });
        assert_eq!(rate("50k/s"), ramp(50_000.0, 50_000.0));
        assert_eq!(rate("1k/s..2k/s"), ramp(1000.0, 2000.0));
        assert!(rate("50k").unwrap_err().contains("/s"));
        assert!(rate("0/s").is_err());
    }
}
