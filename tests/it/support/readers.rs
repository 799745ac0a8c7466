//! Readers of our files that other projects wrote: `.hlog` with Python and JavaScript, `.hgrm` as its plotters read it.
//!
//! `tests/it/readers/install` puts the packages into `target/readers`; without them, those of the system are used.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// All intervals of one tag, merged by a reader. In ns.
#[derive(Debug, Deserialize)]
pub(crate) struct Tag {
    pub(crate) count: u64,
    /// Begin and end in milliseconds since 1970, and the count.
    pub(crate) intervals_ms: Vec<(u64, u64, u64)>,
    pub(crate) max: u64,
    pub(crate) mean: f64,
    /// Value, quantile and samples up to it: the reader's own percentile distribution. Empty for a reader that does
    /// not step through the percentiles as Java's does.
    #[serde(default)]
    pub(crate) rows: Vec<(u64, f64, u64)>,
    #[serde(flatten)]
    pub(crate) percentiles: BTreeMap<String, u64>,
}

pub(crate) const PERCENTILES: [(&str, f64); 4] =
    [("p50_ns", 0.5), ("p90_ns", 0.9), ("p99_ns", 0.99), ("p99_9_ns", 0.999)];

/// Exit code of a script whose package is not installed.
const MISSING: i32 = 77;

/// Checks that three files of one run agree on one latency (`service` or `response`): the JSON report, the interval log
/// by each reader, and the percentile distribution by a plotter. Percentiles agree to bucket precision, 0.1 %; those
/// that the report leaves out are not compared.
pub(crate) fn assert_files_agree(report: &Path, log: &Path, distribution: &Path, latency: &str) {
    let reported = assert_log_agrees(report, log, latency);
    let text = fs::read_to_string(distribution).unwrap();
    let count = field(&reported, "count").unwrap();
    assert_eq!(rows(&text).last().map_or(0, |row| row.2), count);
    for (name, q) in PERCENTILES {
        if let Some(value) = field(&reported, name) {
            assert_on_curve(&plotted(&text), q, value);
        }
    }
}

/// A figure of a distribution; none if it is null. Panics if there is no such field.
fn field(distribution: &Value, name: &str) -> Option<u64> {
    let value = distribution.get(name);
    value.unwrap_or_else(|| panic!("no {name} in {distribution}")).as_u64()
}

/// Checks that report and interval log agree on one latency. Returns its part of the report.
pub(crate) fn assert_log_agrees(report: &Path, log: &Path, latency: &str) -> Value {
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let reported = report["latency"][latency].clone();
    let count = field(&reported, "count").unwrap();

    for (reader, tags) in read_log(log) {
        let tag = &tags[latency];
        assert_eq!(tag.count, count, "{reader}");
        for (name, _) in PERCENTILES {
            if let Some(value) = field(&reported, name) {
                assert_near(tag.percentiles[name], value, &format!("{reader}, {name}"));
            }
        }
        // The log holds values up to a minute, the report has no limit.
        let max = field(&reported, "max_ns").unwrap_or(0).min(60_000_000_000);
        assert_near(tag.max, max, &format!("{reader}, max"));
    }
    reported
}

/// The content of a log according to every installed reader: the reader's name, and its tags.
pub(crate) fn read_log(log: &Path) -> Vec<(&'static str, BTreeMap<String, Tag>)> {
    let readers = [
        ("python: hdrhistogram", python(), "read_hlog.py"),
        ("node: hdr-histogram-js", PathBuf::from("node"), "read_hlog.mjs"),
    ];
    readers
        .into_iter()
        .filter_map(|(name, program, script)| Some((name, run_script(name, &program, script, log)?)))
        .collect()
}

/// The Python that has the packages, otherwise the system's.
pub(crate) fn python() -> PathBuf {
    let python = installed().join("venv/bin/python");
    if python.exists() {
        python
    } else {
        PathBuf::from("python3")
    }
}

/// Runs a script of tests/it/readers on a file and returns the JSON that it prints. None, with a note on stderr, if the
/// package called `name` is not installed.
pub(crate) fn run_script<T: DeserializeOwned>(name: &str, program: &Path, script: &str, file: &Path) -> Option<T> {
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
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {stderr}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Where tests/it/readers/install puts the packages.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/readers")
}

/// The points that hdrhistogram.github.io/HdrHistogram/plotFiles.html draws: x = 1/(1 - quantile), y = milliseconds.
pub(crate) fn plotted(text: &str) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for line in text.split('\n') {
        let values: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with('#') || values.len() != 4 {
            continue;
        }
        // The heading does not parse.
        if let (Ok(y), Ok(x)) = (values[0].parse(), values[3].parse()) {
            points.push((x, y));
        }
    }
    points
}

/// All rows of a percentile distribution, the last included: value in ns, quantile, samples up to it.
pub(crate) fn rows(text: &str) -> Vec<(u64, f64, u64)> {
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

/// Checks that the plotted curve passes through a percentile: between the last point before it and the first at or
/// after it.
pub(crate) fn assert_on_curve(points: &[(f64, f64)], q: f64, ns: u64) {
    // Points have two decimals.
    let x = 1.0 / (1.0 - q);
    let after = points.iter().position(|point| point.0 >= x - 0.01);
    let before = after.unwrap_or(points.len()).checked_sub(1);
    let low = before.map_or(0.0, |index| points[index].1);
    let high = after.map_or(f64::INFINITY, |index| points[index].1);
    let ms = ns as f64 / 1e6;
    assert!(
        low * 0.999 <= ms && ms <= high * 1.001,
        "{q}: {ms} ms is not within {low}..{high}"
    );
}

/// Equal to the histogram's precision of 0.1 %.
pub(crate) fn assert_near(theirs: u64, ours: u64, what: &str) {
    assert!(
        theirs.abs_diff(ours) as f64 <= ours as f64 / 1_000.0 + 1.0,
        "{what}: {theirs}, not {ours}"
    );
}
