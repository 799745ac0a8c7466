//! What the fuzz targets run: arbitrary bytes go in, and nothing may panic, hang or contradict itself.
//!
//! `tests/it/fuzz.rs` runs the same functions on mutated seeds under `cargo test`. The bodies of the two
//! state machines are in the library, with the model tests that they drive.

#![allow(dead_code)] // every target uses one of them

use std::fmt::Debug;
use std::time::{Duration, UNIX_EPOCH};

use urecho::check::baseline::Baseline;
use urecho::check::history::{self, HistoryReport};
use urecho::check::output::Check;
use urecho::clock::Nanos;
use urecho::histogram::{Hlog, Recorder};
use urecho::{cli, units};

/// Words are lines. A refusal is one line, and the same line every time.
pub(crate) fn command_line(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    // Weighted sizes are read while the command line is parsed, from whatever file it names.
    if text.contains("file:") {
        return;
    }
    let line = || std::iter::once("urecho").chain(text.lines());
    let parsed = cli::parse(line());
    if let Err(refusal) = &parsed {
        assert!(!refusal.is_empty() && !refusal.contains('\n'), "{refusal:?}");
    }
    assert_eq!(parsed, cli::parse(line()));
}

/// Half of the range: rounded up, the end of it would be too large.
const HALF: u64 = u64::MAX / 2;

/// Whatever is shown is read, and means the same.
pub(crate) fn values(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Some(count) = value(units::count(&text)) {
        assert_eq!(units::count(&units::show_count(count)), Ok(count));
    }
    if let Some(size @ ..=HALF) = value(units::size(&text)) {
        let shown = units::show_size(size);
        assert_near(&shown, units::size(&shown).map(|read| read as f64), size as f64, 0.05);
    }
    if let Some(Nanos(nanos @ ..=HALF)) = value(units::duration(&text)) {
        let shown = units::show_duration(Nanos(nanos));
        let read = units::duration(&shown).map(|read| read.0 as f64);
        assert_near(&shown, read, nanos as f64, 0.006);
    }
    if let Some(rate) = value(units::rate(&text)) {
        assert!(rate.is_finite() && rate >= 0.0, "{rate}");
        let shown = units::show_rate(rate);
        assert!(units::rate(&shown).is_ok(), "{shown}, of {rate}");
    }
    if let Some(share) = value(units::percent(&text)) {
        assert!(share > 0.0 && share <= 1.0, "{share}");
    }
}

/// The parsed value. A refusal is one line.
fn value<T>(parsed: Result<T, String>) -> Option<T> {
    if let Err(refusal) = &parsed {
        assert!(!refusal.is_empty(), "an empty refusal");
    }
    parsed.ok()
}

/// What was shown is read as the same value, but for what rounding may change.
fn assert_near(shown: &str, read: Result<f64, String>, value: f64, rounding: f64) {
    let read = read.unwrap_or_else(|refusal| panic!("{shown:?} is not read: {refusal}"));
    let change = (read - value).abs();
    assert!(change <= value * rounding, "{shown:?} is {read}, not {value}");
}

/// A check that is read is judged, and written and read again it is the same.
pub(crate) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(check) = Check::replay(&text) {
        let json = check.json();
        assert_same_text(&json, &Check::replay(&json).map(|again| again.json()));
    }
}

/// A baseline that is read is the same when it is written and read again.
pub(crate) fn baseline(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(baseline) = Baseline::parse(&text) {
        let json = baseline.json();
        assert_same_text(&json, &Baseline::parse(&json).map(|again| again.json()));
        let _ = baseline.describe_counted();
    }
}

/// A history that is read is judged; its lines, written and read again, are the same.
pub(crate) fn history(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(lines) = history::read(&text) {
        let report = HistoryReport::of(&lines.whole);
        assert!([0, 1, 3].contains(&report.exit_code()), "{}", report.json());
        let written: String = lines.whole.iter().map(|point| point.line()).collect();
        let again = history::read(&written).map(|lines| lines.whole.iter().map(|point| point.line()).collect());
        assert_same_text(&written, &again);
    }
}

fn assert_same_text<E: Debug>(written: &str, again: &Result<String, E>) {
    match again {
        Ok(again) => assert!(written == again, "{written}\nis read as\n{again}"),
        Err(error) => panic!("{written}\nis not read: {error:?}"),
    }
}

/// An interval log is lines of comments and of intervals, whatever the command line in it and the latencies are.
pub(crate) fn interval_log(input: &[u8]) {
    let (about, latencies) = input.split_at(input.len() / 2);
    let start = UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
    let mut log = Hlog::begin(Vec::new(), start, &String::from_utf8_lossy(about)).expect("memory takes all");
    let mut recorder = Recorder::new();
    for bytes in latencies.chunks_exact(8) {
        let latency = u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        match latency & 1 {
            0 => recorder.record(Nanos(latency >> (latency >> 1 & 63))),
            _ => recorder.record_censored(Nanos(latency >> (latency >> 1 & 63))),
        }
    }
    log.interval("service", Nanos(0), Nanos::SECOND, &recorder)
        .expect("memory takes all");
    let written = String::from_utf8(log.finish().expect("memory takes all")).expect("text");
    // Readers in Java end a line at each of these.
    let lines: Vec<&str> = written.split(['\n', '\r']).filter(|line| !line.is_empty()).collect();
    let (interval, header) = lines.split_last().expect("a log has lines");
    assert!(interval.starts_with("Tag=service,0.000,1.000,"), "{interval}");
    for line in header {
        assert!(line.starts_with("#[") || line.starts_with('"'), "{line:?}");
    }
}
