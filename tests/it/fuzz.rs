//! The fuzz targets of `tests/fuzz` as short tests: the same bodies, on their seeds and on mutations of them.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz values tests/fuzz/seeds/values` runs one for longer. An input that
//! fails is kept among the seeds.

use std::fs;
use std::panic;
use std::path::Path;

use urecho::check::baseline::Baseline;
use urecho::check::history;
use urecho::check::output::Check;
use urecho::random::Random;

#[path = "../fuzz/bodies.rs"]
mod bodies;

/// What mutations insert: ends of ranges, signs, units, and the marks of the languages that are read.
const TOKENS: [&str; 32] = [
    "0",
    "1",
    "-1",
    "9",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1e-308",
    "1e999",
    ".5",
    "_",
    ",",
    "µs",
    "KiB",
    "k",
    "/s",
    "%",
    " ",
    "\n",
    "\r",
    "\0",
    "\u{1b}[2J",
    "--",
    "=",
    "\"",
    "{",
    "}",
    "[",
    "]",
    "null",
    ":",
    "é",
];

#[test]
fn any_command_line_is_parsed_or_refused_in_one_line() {
    assert_holds("command_line", bodies::command_line, 4_000);
}

#[test]
fn any_value_is_read_as_it_is_shown_or_refused() {
    assert_holds("values", bodies::values, 40_000);
}

#[test]
fn any_check_is_replayed_or_refused() {
    assert_holds("check", bodies::check, 600);
}

#[test]
fn any_baseline_is_read_or_refused() {
    assert_holds("baseline", bodies::baseline, 2_000);
}

#[test]
fn any_history_is_read_or_refused() {
    assert_holds("history", bodies::history, 4_000);
}

#[test]
fn any_command_line_and_latencies_make_an_interval_log() {
    assert_holds("interval_log", bodies::interval_log, 200);
}

/// A target whose seeds are refused would test how they are refused.
#[test]
fn documents_among_the_seeds_are_read() {
    let texts = |target: &str| seeds(target).into_iter().map(|seed| String::from_utf8(seed).unwrap());
    for text in texts("check") {
        Check::replay(&text).unwrap();
    }
    for text in texts("baseline") {
        Baseline::parse(&text).unwrap();
    }
    for text in texts("history") {
        history::read(&text).unwrap();
    }
}

/// Runs a body on the seeds of its target, and on this many mutations of them.
fn assert_holds(target: &str, body: fn(&[u8]), mutations: u64) {
    let seeds = seeds(target);
    seeds.iter().for_each(|seed| assert_one(body, seed));
    for number in 0..mutations {
        let mut random = Random::new(16, number);
        assert_one(body, &mutated(&seeds, &mut random));
    }
}

fn assert_one(body: fn(&[u8]), input: &[u8]) {
    if let Err(panic) = panic::catch_unwind(|| body(input)) {
        eprintln!("failing input: {:?}", String::from_utf8_lossy(input));
        panic::resume_unwind(panic);
    }
}

/// In the order of their names.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new("tests/fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds in {}", folder.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A seed with a few changes.
fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(20)).min(input.len());
        match random.below(6) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 => drop(input.drain(at..end)),
            2 => drop(input.splice(at..at, input[at..end].to_vec())),
            3 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                drop(input.splice(at.., other[from..].iter().copied()));
            }
            _ => drop(input.splice(at..end.min(at + 3), TOKENS[random.below(TOKENS.len())].bytes())),
        }
    }
    input
}
