//! Interval logs and percentile distributions, read back with the readers of other projects.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use urecho::clock::Nanos;
use urecho::histogram::{Hlog, Recorder, hgrm};

use crate::support::readers::{PERCENTILES, assert_files_agree, assert_near, assert_on_curve, plotted, read_log, rows};

#[test]
fn independent_readers_of_an_interval_log_agree_with_our_recorder() {
    let run = Run::new();
    for (reader, tags) in read_log(&run.log) {
        for (name, recorder) in [("service", &run.service), ("response", &run.response)] {
            let tag = &tags[name];
            let what = format!("{reader}, {name}");
            assert_eq!(tag.count, recorder.count(), "{what}");
            for (name, q) in PERCENTILES {
                // Their bucket edges are not cut at the exact maximum.
                let theirs = tag.percentiles[name].min(max(recorder));
                assert_eq!(theirs, value(recorder, q), "{what}, {name}");
            }
            assert_near(tag.max, max(recorder), &what);
            assert_near(tag.mean as u64, recorder.mean().unwrap().value.0, &what);
        }
        let seconds: Vec<_> = (0..4)
            .map(|k| (START_MS + k * 1_000, START_MS + (k + 1) * 1_000))
            .collect();
        let read = tags["service"].intervals_ms.iter().map(|&(from, to, _)| (from, to));
        assert_eq!(read.collect::<Vec<_>>(), seconds, "{reader}");
    }
}

#[test]
fn our_percentile_distribution_equals_that_of_an_independent_reader_row_by_row() {
    let run = Run::new();
    let text = fs::read_to_string(&run.distribution).unwrap();
    let ours = rows(&text);
    for (reader, tags) in read_log(&run.log) {
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
        assert_on_curve(&plotted(&text), q, value(&run.response, q));
    }
    // A value of `inf`, or four columns at 100 %, would spoil the plotter's axis.
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
    assert_files_agree(&run.report, &run.log, &run.distribution, "response");
}

#[test]
fn an_interval_without_samples_is_read_as_empty() {
    let run = Run::new();
    for (reader, tags) in read_log(&run.log) {
        assert_eq!(tags["response"].intervals_ms[2].2, 0, "{reader}");
    }
}

fn value(recorder: &Recorder, q: f64) -> u64 {
    recorder.quantile(q).expect("enough samples").value.0
}

fn max(recorder: &Recorder) -> u64 {
    recorder.max().map_or(0, |figure| figure.value.0)
}

const START_MS: u64 = 1_700_000_000_250;

/// Four seconds of two latencies, from 1 ns to more than 50 s, and the files that a run would write for them.
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
        let latencies = json!({ "service": summary(&service), "response": summary(&response) });
        fs::write(&report, json!({ "latency": latencies }).to_string()).unwrap();
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

/// The distribution in the shape of the JSON report.
fn summary(recorder: &Recorder) -> Value {
    let mut summary = json!({ "count": recorder.count(), "max_ns": max(recorder) });
    for (name, q) in PERCENTILES {
        summary[name] = json!(value(recorder, q));
    }
    summary
}

/// Writes a log of four seconds and returns the service and response latencies in it.
fn write_log(path: &Path) -> (Recorder, Recorder) {
    let start = UNIX_EPOCH + Duration::from_millis(START_MS);
    let file = fs::File::create(path).unwrap();
    let mut log = Hlog::begin(file, start, "urecho load\n--rate 5k/s").unwrap();
    let (mut service, mut response) = (Recorder::new(), Recorder::new());
    for second in 0..4 {
        let (from, to) = (Nanos(second * Nanos::SECOND.0), Nanos((second + 1) * Nanos::SECOND.0));
        for (tag, total) in [("service", &mut service), ("response", &mut response)] {
            // The third second has no response time.
            let samples = if second == 2 && tag == "response" { 0 } else { 5_000 };
            let recorder = recorded(second, samples, tag == "response");
            log.interval(tag, from, to, &recorder).unwrap();
            total.merge(&recorder);
        }
    }
    log.finish().unwrap();
    (service, response)
}

/// Latencies that grow by powers over the second. With `stalled`, one missing reply is censored at 50 s.
fn recorded(second: u64, samples: u64, stalled: bool) -> Recorder {
    let mut recorder = Recorder::new();
    for k in 0..samples {
        let share = k as f64 / samples as f64;
        let ns = 20_000.0 + 1e5 * (second as f64 + 1.0) * share.powi(8) + k as f64;
        recorder.record(Nanos(if k == 0 { 1 } else { ns as u64 }));
    }
    if stalled && samples > 0 {
        recorder.record_censored(Nanos(50_123_456_789));
    }
    recorder
}
