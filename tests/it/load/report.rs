//! The JSON report and its schema: real reports satisfy it, broken ones do not.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::support::peers::Peer;
use crate::support::reports::complaints;
use crate::support::runs::load;
use crate::support::{ServeProcess, run};

#[test]
fn what_goes_to_stdout_is_the_report_and_nothing_else() {
    let peer = Peer::honest();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.args([
        "load",
        &peer.address.to_string(),
        "-c",
        "2",
        "-d",
        "100ms",
        "--warmup",
        "0s",
        "--json",
        "-",
    ]);
    let ended = run(&mut command);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(complaints(&report), [""; 0]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn the_report_that_is_written_is_the_one_that_is_printed() {
    let measured = load(Peer::honest().address, "-c 2");
    let report = measured.report(0);
    let completed = urecho::units::show_count(report["messages"]["completed"].as_u64().unwrap());
    assert!(
        measured.stdout.contains(&format!(" {completed} completed ")),
        "{measured}"
    );
}

#[test]
fn too_few_samples_are_null_and_say_how_many_are_needed() {
    // What is asked for within a millisecond is waited for: a few messages, and all of them.
    let measured = load(Peer::honest().address, "-c 2 -s 1MiB -d 1ms");
    let service = &measured.report(0)["latency"]["service"];
    assert_eq!(service["p99_99_ns"], Value::Null);
    assert!(measured.stdout.contains("p99.99     n/a (needs 36,887)"), "{measured}");
}

#[test]
fn a_report_that_cannot_be_written_is_said_so() {
    let peer = Peer::honest();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_urecho"));
    let flags = ["-d", "50ms", "--warmup", "0s", "--json", "/nowhere/report.json"];
    let ended = run(command.args(["load", &peer.address.to_string()]).args(flags));
    assert_eq!(ended.code(), Some(4));
    assert!(
        ended.stderr.contains("cannot write /nowhere/report.json: No such file"),
        "{}",
        ended.stderr
    );
}

#[test]
fn every_missing_field_is_found() {
    let report = good();
    let paths = paths(&report);
    assert!(paths.len() > 50, "{paths:?}");
    // Percentiles have intervals where there were samples enough.
    for path in paths.into_iter().filter(|path| !path.contains("/intervals/p")) {
        assert_spoilt(&format!("without {path}"), |report| remove(report, &path));
    }
}

#[test]
fn an_unknown_field_is_found_in_every_object() {
    for path in paths(&good()).into_iter().chain([String::new()]) {
        if good().pointer(&path).is_some_and(Value::is_object) {
            assert_spoilt(&format!("more in {path}"), |report| {
                report.pointer_mut(&path).unwrap()["more"] = 1.into()
            });
        }
    }
}

#[test]
fn every_value_has_its_type() {
    for path in paths(&good()) {
        assert_spoilt(&path, |report| {
            *report.pointer_mut(&path).unwrap() = json!({ "an": "object" })
        });
        assert_spoilt(&path, |report| *report.pointer_mut(&path).unwrap() = json!(-1.5));
    }
}

#[test]
fn nanoseconds_are_whole_and_not_negative() {
    for wrong in [json!(1.5), json!(-1), json!("12"), json!(true)] {
        for path in [
            "/elapsed_ns",
            "/plan/duration_ns",
            "/latency/service/p50_ns",
            "/connect/max_ns",
        ] {
            assert_spoilt(&format!("{path} {wrong}"), |report| {
                *report.pointer_mut(path).unwrap() = wrong.clone()
            });
        }
    }
}

#[test]
fn another_version_is_another_schema() {
    assert_spoilt("version 1", |report| report["schema"] = "urecho.load/1".into());
}

#[test]
fn only_known_kinds_of_failure_pass() {
    for good_kind in ["eof", "reset", "refused", "timeout", "errno_113"] {
        let mut report = good();
        report["connections"]["lost"] = json!({ good_kind: 1 });
        assert_eq!(complaints(&report), [""; 0], "{good_kind}");
    }
    for bad_kind in ["EOF", "errno_", "errno_x", "eof2", "unknown"] {
        assert_spoilt(bad_kind, |report| {
            report["connections"]["lost"] = json!({ bad_kind: 1 })
        });
    }
}

#[test]
fn sums_that_do_not_hold_are_found() {
    assert_spoilt("sent", |report| report["messages"]["sent"] = 99.into());
    assert_spoilt("count", |report| report["latency"]["service"]["count"] = 99.into());
    assert_spoilt("censored", |report| report["latency"]["service"]["censored"] = 3.into());
    assert_spoilt("opened", |report| report["connections"]["opened"] = 1.into());
    assert_spoilt("p90 before p50", |report| {
        report["latency"]["service"]["p90_ns"] = 1.into()
    });
}

#[test]
fn the_schema_names_its_draft_and_closes_every_object() {
    let schema: Value = serde_json::from_str(urecho::report::LOAD_SCHEMA).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    jsonschema::meta::validate(&schema).unwrap();
}

/// A report that is in order: that of a real run, made once.
fn good() -> Value {
    static REPORT: LazyLock<Value> = LazyLock::new(|| {
        let server = ServeProcess::start(&["--workers", "1"]);
        load(server.address, "-c 2 -d 500ms").report(0).clone()
    });
    REPORT.clone()
}

fn assert_spoilt(what: &str, spoil: impl FnOnce(&mut Value)) {
    let mut report = good();
    spoil(&mut report);
    assert!(!complaints(&report).is_empty(), "passed: {what}");
}

/// The paths of all fields of all objects in a document.
fn paths(of: &Value) -> Vec<String> {
    let Value::Object(fields) = of else {
        return Vec::new();
    };
    let deeper = |(name, value): (&String, &Value)| {
        let below = paths(value)
            .into_iter()
            .map(|path| format!("/{name}{path}"))
            .collect::<Vec<_>>();
        std::iter::once(format!("/{name}")).chain(below)
    };
    fields.iter().flat_map(deeper).collect()
}

fn remove(report: &mut Value, path: &str) {
    let (parent, name) = path.rsplit_once('/').unwrap();
    report
        .pointer_mut(parent)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove(name)
        .unwrap();
}
