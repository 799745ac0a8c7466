//! Readers that others wrote agree with what we write: `.hlog` with Python and JavaScript, `.hgrm` as its plotters do.
//!
//! `tests/it/readers/install` puts the packages into `target/readers`; failing that, those of the system are tried.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};
use std::{env, fs};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use urecho::clock::Nanos;
use urecho::histogram::{Hlog, Recorder, hgrm};

/// What a reader says of all intervals of a tag together. In ns.
#[derive(Debug, Deserialize)]
struct Facts {
    count: u64,
    /// Begin and end in milliseconds since 1970, and the count.
    intervals_ms: Vec<(u64, u64, u64)>,
    max: u64,
    mean: f64,
    /// Value, share and samples up to it: the reader's own percentile distribution. Empty if it has not Java's ticks.
    #[serde(default)]
    rows: Vec<(u64, f64, u64)>,
    #[serde(flatten)]
    percentiles: BTreeMap<String, u64>,
}

const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)];

/// The script's exit code for a missing package.
const MISSING: i32 = 77;

#[test]
fn independent_readers_of_an_interval_log_agree_with_our_recorder() {
    let run = Run::new();
    for (reader, tags) in read_by_all(&run.log) {
        for (tag, recorder) in [("service", &run.service), ("response", &run.response)] {
            let facts = &tags[tag];
            let what = format!("{reader}, {tag}");
            assert_eq!(facts.count, recorder.count(), "{what}");
            for (name, q) in PERCENTILES {
                // Their bucket edges are not cut at the exact maximum.
                let theirs = facts.percentiles[name].min(max(recorder));
                assert_eq!(theirs, value(recorder, q), "{what}, {name}");
            }
            near(facts.max, max(recorder), &what);
            near(facts.mean as u64, recorder.mean().unwrap().value.0, &what);
        }
        let seconds: Vec<_> = (0..4)
            .map(|k| (START_MS + k * 1_000, START_MS + (k + 1) * 1_000))
            .collect();
        let read = tags["service"].intervals_ms.iter().map(|&(from, to, _)| (from, to));
        assert_eq!(read.collect::<Vec<_>>(), seconds, "{reader}");
    }
}

#[test]
fn our_percentile_distribution_is_row_by_row_that_of_an_independent_reader() {
    let run = Run::new();
    let text = fs::read_to_string(&run.distribution).unwrap();
    let ours = rows(&text);
    for (reader, tags) in read_by_all(&run.log) {
        let theirs = &tags["response"].rows;
        if theirs.is_empty() {
            continue;
        }
        assert_eq!(ours.len(), theirs.len(), "{reader}");
        for (ours, theirs) in ours.iter().zip(theirs) {
            let cut = theirs.0.min(max(&run.response));
            assert_eq!((ours.0, ours.2), (cut, theirs.2), "{reader}: {ours:?} {theirs:?}");
            assert!((ours.1 - theirs.1).abs() < 1e-11, "{reader}: {ours:?} {theirs:?}");
        }
    }
}

#[test]
fn a_plotter_finds_our_percentiles_in_the_distribution() {
    let run = Run::new();
    let text = fs::read_to_string(&run.distribution).unwrap();
    for (_, q) in PERCENTILES {
        bracketed(&plotted(&text), q, value(&run.response, q));
    }
    // What is written as `inf` or with four columns at 100 % would spoil the axis.
    assert!(plotted(&text).iter().all(|point| point.0.is_finite()));
    assert!(text.contains(&format!(
        "{:.6}, Total count    = {:>12}",
        max(&run.response) as f64 / 1e6,
        run.response.count()
    )));
}

#[test]
fn the_three_files_of_a_run_agree() {
    let run = Run::new();
    agree(&run.report, &run.log, &run.distribution, "response");
}

#[test]
fn an_interval_in_which_nothing_came_is_read_as_empty() {
    let run = Run::new();
    for (reader, tags) in read_by_all(&run.log) {
        assert_eq!(tags["response"].intervals_ms[2].2, 0, "{reader}");
    }
}

/// Checks that three files of one run tell the same of one latency (`service` or `response`): the JSON report, the
/// interval log as each independent reader reads it, and the percentile distribution as a plotter does.
/// Percentiles to bucket precision, 0.1 %; those that the report has no number for are not compared.
pub(crate) fn agree(report: &Path, log: &Path, distribution: &Path, latency: &str) {
    let said = log_agrees(report, log, latency);
    let text = fs::read_to_string(distribution).unwrap();
    let count = said["count"].as_u64().unwrap();
    assert_eq!(rows(&text).last().map_or(0, |row| row.2), count);
    for (name, q) in PERCENTILES {
        if let Some(value) = said[name].as_u64() {
            bracketed(&plotted(&text), q, value);
        }
    }
}

/// Checks that report and interval log tell the same of one latency; returns what the report says of it.
pub(crate) fn log_agrees(report: &Path, log: &Path, latency: &str) -> Value {
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let said = report["latency_ns"][latency].clone();
    let count = said["count"].as_u64().unwrap();

    for (reader, tags) in read_by_all(log) {
        let facts = &tags[latency];
        assert_eq!(facts.count, count, "{reader}");
        for (name, _) in PERCENTILES {
            if let Some(value) = said[name].as_u64() {
                near(facts.percentiles[name], value, &format!("{reader}, {name}"));
            }
        }
        // The log cannot hold more than a minute, the report can.
        let max = said["max"].as_u64().unwrap_or(0).min(60_000_000_000);
        near(facts.max, max, &format!("{reader}, max"));
    }
    said
}

/// What every installed reader reads in a log: by its name, facts by tag.
fn read_by_all(log: &Path) -> Vec<(&'static str, BTreeMap<String, Facts>)> {
    let readers = [
        ("python: hdrhistogram", python(), "read_hlog.py"),
        ("node: hdr-histogram-js", PathBuf::from("node"), "read_hlog.mjs"),
    ];
    readers
        .into_iter()
        .filter_map(|(name, program, script)| Some((name, asked(name, &program, script, log)?)))
        .collect()
}

/// The Python that has the packages, or failing that the system's.
pub(crate) fn python() -> PathBuf {
    let python = installed().join("venv/bin/python");
    if python.exists() {
        python
    } else {
        PathBuf::from("python3")
    }
}

/// What a script next to this file says of another file. None, and a loud word, if its package is not installed.
pub(crate) fn asked<T: DeserializeOwned>(name: &str, program: &Path, script: &str, file: &Path) -> Option<T> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/readers")
        .join(script);
    let packages = [installed().join("node_modules").into_os_string()];
    let packages = env::join_paths(packages.into_iter().chain(env::var_os("NODE_PATH")));
    let output = Command::new(program)
        .arg(script)
        .arg(file)
        .env("NODE_PATH", packages.unwrap())
        .output();
    let missing = match &output {
        Ok(output) => output.status.code() == Some(MISSING),
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    if missing {
        eprintln!("SKIPPED: needs the package of {name} (run tests/it/readers/install)");
        return None;
    }
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Where tests/it/readers/install puts the packages.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/readers")
}

/// What hdrhistogram.github.io/HdrHistogram/plotFiles.html draws: 1/(1 - percentile) across, milliseconds up.
fn plotted(text: &str) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for line in text.split('\n') {
        let values: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with('#') || values.len() != 4 {
            continue;
        }
        // The heading is no number.
        if let (Ok(y), Ok(x)) = (values[0].parse(), values[3].parse()) {
            points.push((x, y));
        }
    }
    points
}

/// All rows of the distribution, the last included: value in ns, share, samples up to it.
fn rows(text: &str) -> Vec<(u64, f64, u64)> {
    let lines = text.lines().skip(2).take_while(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let values: Vec<&str> = line.split_whitespace().collect();
            let ms: f64 = values[0].parse().unwrap();
            (
                (ms * 1e6).round() as u64,
                values[1].parse().unwrap(),
                values[2].parse().unwrap(),
            )
        })
        .collect()
}

/// Checks that the drawn line passes the percentile at its value: from the point before to the point at or after it.
fn bracketed(points: &[(f64, f64)], q: f64, ns: u64) {
    // Points have two decimals.
    let odds = 1.0 / (1.0 - q);
    let after = points.iter().position(|point| point.0 >= odds - 0.01);
    let low = after
        .map_or(points.len(), |k| k)
        .checked_sub(1)
        .map_or(0.0, |k| points[k].1);
    let high = after.map_or(f64::INFINITY, |k| points[k].1);
    let ms = ns as f64 / 1e6;
    assert!(
        low * 0.999 <= ms && ms <= high * 1.001,
        "{q}: {ms} ms is not within {low}..{high}"
    );
}

/// Checks to the histogram's precision of 0.1 %.
fn near(theirs: u64, ours: u64, what: &str) {
    assert!(
        theirs.abs_diff(ours) as f64 <= ours as f64 / 1_000.0 + 1.0,
        "{what}: {theirs}, not {ours}"
    );
}

fn value(recorder: &Recorder, q: f64) -> u64 {
    recorder.quantile(q).expect("enough samples").value.0
}

fn max(recorder: &Recorder) -> u64 {
    recorder.max().map_or(0, |figure| figure.value.0)
}

const START_MS: u64 = 1_700_000_000_250;

/// Four seconds of two latencies, from 1 ns to beyond 50 s, and the files that a run would write of them.
struct Run {
    service: Recorder,
    response: Recorder,
    report: PathBuf,
    log: PathBuf,
    distribution: PathBuf,
    _directory: tempfile::TempDir,
}

impl Run {
    fn new() -> Run {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (report, log, distribution) = (path("r.json"), path("r.hlog"), path("r.hgrm"));
        let (service, response) = write_log(&log);
        fs::write(&distribution, hgrm(&response)).unwrap();
        let latencies = json!({ "service": said(&service), "response": said(&response) });
        fs::write(&report, json!({ "latency_ns": latencies }).to_string()).unwrap();
        Run {
            service,
            response,
            report,
            log,
            distribution,
            _directory: directory,
        }
    }
}

/// The distribution as the report has it.
fn said(recorder: &Recorder) -> Value {
    let mut said = json!({ "count": recorder.count(), "max": max(recorder) });
    for (name, q) in PERCENTILES {
        said[name] = json!(value(recorder, q));
    }
    said
}

/// Writes a log of four seconds and gives back what it holds: service and response latencies.
fn write_log(path: &Path) -> (Recorder, Recorder) {
    let start = UNIX_EPOCH + Duration::from_millis(START_MS);
    let file = fs::File::create(path).unwrap();
    let mut log = Hlog::begin(file, start, "urecho load\n--rate 5k/s").unwrap();
    let (mut service, mut response) = (Recorder::new(), Recorder::new());
    for second in 0..4 {
        let (from, to) = (Nanos(second * Nanos::SECOND.0), Nanos((second + 1) * Nanos::SECOND.0));
        for (tag, all) in [("service", &mut service), ("response", &mut response)] {
            // In the third second nothing came back, counted from the plan.
            let samples = if second == 2 && tag == "response" { 0 } else { 5_000 };
            let recorder = recorded(second, samples, tag == "response");
            log.interval(tag, from, to, &recorder).unwrap();
            all.merge(&recorder);
        }
    }
    log.finish().unwrap();
    (service, response)
}

/// Latencies that grow by powers over the second, the slowest of them far out: to 50 s where `stalled`.
fn recorded(second: u64, samples: u64, stalled: bool) -> Recorder {
    let mut recorder = Recorder::new();
    for k in 0..samples {
        let share = k as f64 / samples as f64;
        let ns = 20_000.0 + 1e5 * (second as f64 + 1.0) * share.powi(8) + k as f64;
        recorder.record(Nanos(if k == 0 { 1 } else { ns as u64 }));
    }
    if stalled && samples > 0 {
        recorder.record_missing(Nanos(50_123_456_789));
    }
    recorder
}
