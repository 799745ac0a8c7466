//! Checks of the JSON reports: by their schemas, and by sums and orders that a schema cannot express.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

/// A number in a report, by its path: `/messages/sent`.
pub(crate) fn number(report: &Value, path: &str) -> u64 {
    let value = report.pointer(path).and_then(Value::as_u64);
    value.unwrap_or_else(|| panic!("no number at {path} of {report:#}"))
}

/// What the schema finds wrong with a comparison.
pub(crate) fn complaints_of_comparison(report: &Value) -> Vec<String> {
    complaints_by(urecho::compare::comparison::SCHEMA, report)
}

/// What the schema finds wrong with a check.
pub(crate) fn complaints_of_check(report: &Value) -> Vec<String> {
    complaints_by(urecho::check::output::json::SCHEMA, report)
}

/// The name of the lines of `--jsonl`, which do not carry it.
pub(crate) const INTERVAL: &str = "interval";

/// The schemas of all documents and lines but the report of a run, by their names.
static VALIDATORS: LazyLock<BTreeMap<&str, Validator>> = LazyLock::new(|| {
    let all = [
        (
            urecho::compare::comparison::SCHEMA,
            urecho::compare::comparison::COMPARE_SCHEMA,
        ),
        (
            urecho::check::output::json::SCHEMA,
            urecho::check::output::json::CHECK_SCHEMA,
        ),
        (
            urecho::find_max::curve::SCHEMA,
            urecho::find_max::curve::FIND_MAX_SCHEMA,
        ),
        (urecho::report::repeat::SCHEMA, urecho::report::repeat::REPEAT_SCHEMA),
        (urecho::doctor::SCHEMA, urecho::doctor::DOCTOR_SCHEMA),
        (urecho::sockets::SCHEMA, urecho::sockets::SOCKETS_SCHEMA),
        (
            urecho::check::baseline::SCHEMA,
            urecho::check::baseline::BASELINE_SCHEMA,
        ),
        (urecho::check::history::SCHEMA, urecho::check::history::HISTORY_SCHEMA),
        (
            urecho::check::history::REPORT_SCHEMA,
            urecho::check::history::HISTORY_REPORT_SCHEMA,
        ),
        (INTERVAL, urecho::report::intervals::INTERVAL_SCHEMA),
    ];
    all.map(|(name, schema)| (name, validator(schema))).into()
});

fn validator(schema: &str) -> Validator {
    let schema = serde_json::from_str(schema).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

/// What the schema of this name finds wrong.
pub(crate) fn complaints_by(name: &str, value: &Value) -> Vec<String> {
    complaints_of(&VALIDATORS[name], value)
}

fn complaints_of(schema: &Validator, value: &Value) -> Vec<String> {
    let errors = schema.iter_errors(value);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

/// What is wrong with a report of any command: by its schema, and for a run by rules that a schema cannot express.
pub(crate) fn complaints(report: &Value) -> Vec<String> {
    let name = report["schema"].as_str().unwrap_or_default();
    if VALIDATORS.contains_key(name) {
        return complaints_by(name, report);
    }
    static SCHEMA: LazyLock<Validator> = LazyLock::new(|| validator(urecho::report::LOAD_SCHEMA));
    let complaints = complaints_of(&SCHEMA, report);
    if !complaints.is_empty() {
        return complaints;
    }
    let mut complaints = sums(report);
    for path in DISTRIBUTIONS {
        let distribution = report.pointer(path).unwrap();
        if !distribution.is_null() {
            complaints.extend(disorder(path, distribution));
        }
    }
    complaints
}

/// All distributions of a report; null where one does not apply.
const DISTRIBUTIONS: [&str; 8] = [
    "/connect",
    "/ramp_up",
    "/first_byte",
    "/close",
    "/send_lag",
    "/smoothed_rtt",
    "/latency/service",
    "/latency/response",
];

/// Sums that must hold in every report.
fn sums(report: &Value) -> Vec<String> {
    let at = |path: &str| number(report, path);
    let total = |path| -> u64 {
        let kinds = report.pointer(path).and_then(Value::as_object).unwrap();
        kinds.values().filter_map(Value::as_u64).sum()
    };
    let [sent, completed, failed, missing] =
        ["sent", "completed", "failed", "missing"].map(|name| at(&format!("/messages/{name}")));
    let whole = report["partial"] == false;
    // A message that was due but never sent has a response time and no service time.
    let open = report["plan"]["pace"]["mode"] == "open";
    let latency = if open { "/latency/response" } else { "/latency/service" };
    let dialed = ["opened", "failed", "unfinished"].map(|name| at(&format!("/connections/{name}")));
    let dialed: u64 = dialed.iter().sum();
    let ramp_up = if report["ramp_up"].is_null() {
        "/connect"
    } else {
        "/ramp_up"
    };
    let initial = at("/connections/requested");
    let rules = [
        (
            sent == completed + failed + missing,
            "sent is not completed + failed + missing",
        ),
        (
            at(&format!("{latency}/count")) == completed + failed + missing,
            "samples are not completed + failed + missing",
        ),
        (
            at(&format!("{latency}/censored")) == failed + missing,
            "censored samples are not the failed and missing messages",
        ),
        (
            at("/connections/failed") == total("/connections/failures"),
            "failed connections are not the sum of failures",
        ),
        (
            total("/connections/lost") <= at("/connections/opened"),
            "more connections lost than opened",
        ),
        (
            !whole || !report["plan"]["churn"].is_null() || dialed == initial,
            "opened + failed + unfinished is not requested",
        ),
        (
            !whole || at(&format!("{ramp_up}/count")) == initial,
            "not every connection of the plan has a time to connect",
        ),
    ];
    rules
        .into_iter()
        .filter(|(holds, _)| !holds)
        .map(|(_, what)| what.to_owned())
        .collect()
}

/// Figures of a distribution that do not ascend, or exist without samples.
fn disorder(path: &str, distribution: &Value) -> Vec<String> {
    let names = [
        "min_ns",
        "p50_ns",
        "p75_ns",
        "p90_ns",
        "p95_ns",
        "p99_ns",
        "p99_9_ns",
        "p99_99_ns",
        "p99_999_ns",
        "max_ns",
    ];
    let known: Vec<u64> = names.iter().filter_map(|name| distribution[*name].as_u64()).collect();
    let empty = distribution["count"] == 0;
    let mut complaints = Vec::new();
    // A value is read at the upper edge of its bucket, a lower bound at the lower edge: 0.1 % less in the same bucket.
    let ascend = |a: &u64, b: &u64| *b as f64 >= *a as f64 * 0.998;
    if !known.is_sorted_by(ascend) {
        complaints.push(format!("{path}: {known:?} do not ascend"));
    }
    if empty != known.is_empty() {
        complaints.push(format!("{path}: figures without samples, or samples without figures"));
    }
    complaints
}
