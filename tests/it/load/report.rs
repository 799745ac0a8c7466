//! The JSON report and its schema: real reports satisfy it, broken reports do not.

use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::support::network::in_network;
use crate::support::peers::{Peer, Reply};
use crate::support::reports::{complaints, number};
use crate::support::runs::{load, until_valid};
use crate::support::{Output, ServeProcess, assert_says, run};

#[test]
fn a_report_to_stdout_is_the_only_output() {
    let output = until_valid(|| run_load("-c 2 -d 100ms --warmup 0s --json -"));
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(complaints(&report), [""; 0]);
    assert_eq!((output.code(), output.stderr.as_str()), (Some(0), ""));
}

#[test]
fn text_and_json_show_the_same_run() {
    let measured = load(Peer::honest().address, "-c 2");
    let report = measured.report(0);
    let completed = urecho::units::show_count(report["messages"]["completed"].as_u64().unwrap());
    assert!(
        measured.stdout.contains(&format!(" {completed} completed ")),
        "{measured}"
    );
}

#[test]
fn the_rate_of_bytes_is_of_those_that_came_back() {
    // The reply to the third message of a connection breaks off after ten bytes.
    let peer = Peer::replying(64, |_, message, bytes| match message {
        0 | 1 => Reply::Bytes(bytes),
        _ => Reply::Bytes(bytes[..10].to_vec()),
    });
    let measured = load(peer.address, "-c 5 -d 300ms --warmup 0s --drain 50ms");
    let report = measured.report(6);
    let received = report["received_bytes_per_s"].as_f64().unwrap() * number(report, "/elapsed_ns") as f64 / 1e9;
    let expected = 64 * number(report, "/messages/completed") + 5 * 10;
    assert_eq!(received.round() as u64, expected, "{measured}");
}

#[test]
fn segments_that_arrive_out_of_order_are_counted() {
    in_network(|network| {
        if !network.lose_one_percent() {
            return println!("SKIPPED: needs nft (nftables)");
        }
        let measured = load(Peer::honest().address, "-c 4 -s 64KiB -d 1s");
        let report = measured.report(measured.code().unwrap());
        // What follows a lost segment arrives before it is sent again.
        assert!(number(report, "/out_of_order") > 0, "{measured}");
        assert!(number(report, "/retransmits") > 0, "{measured}");
    });
}

#[test]
fn too_few_samples_are_null_and_say_how_many_are_needed() {
    // All messages due within the millisecond are waited for, and they are few.
    let measured = load(Peer::honest().address, "-c 2 -s 1MiB -d 1ms");
    let service = &measured.report(0)["latency"]["service"];
    assert_eq!(service["p99_99_ns"], Value::Null);
    assert!(measured.stdout.contains("p99.99      n/a (needs 36,887)"), "{measured}");
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let output = run_load("-d 50ms --warmup 0s --json /nowhere/report.json");
    assert_eq!(output.code(), Some(4));
    assert_says(&output.stderr, &["cannot write /nowhere/report.json: No such file"]);
}

#[test]
fn every_missing_field_is_found() {
    let report = good();
    let paths = paths(&report);
    assert!(paths.len() > 50, "{paths:?}");
    // Intervals exist only for percentiles with enough samples.
    for path in paths.into_iter().filter(|path| !path.contains("/intervals/p")) {
        assert_invalid(&format!("without {path}"), |report| remove(report, &path));
    }
}

#[test]
fn an_unknown_field_is_found_in_every_object() {
    for path in paths(&good()).into_iter().chain([String::new()]) {
        if good().pointer(&path).is_some_and(Value::is_object) {
            assert_invalid(&format!("more in {path}"), |report| {
                report.pointer_mut(&path).unwrap()["more"] = 1.into()
            });
        }
    }
}

#[test]
fn every_value_has_its_type() {
    for path in paths(&good()) {
        assert_invalid(&path, |report| {
            *report.pointer_mut(&path).unwrap() = json!({ "an": "object" })
        });
        assert_invalid(&path, |report| *report.pointer_mut(&path).unwrap() = json!(-1.5));
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
            assert_invalid(&format!("{path} {wrong}"), |report| {
                *report.pointer_mut(path).unwrap() = wrong.clone()
            });
        }
    }
}

#[test]
fn the_schema_refuses_other_versions() {
    assert_invalid("version 1", |report| report["schema"] = "urecho.load/1".into());
}

#[test]
fn only_known_kinds_of_failure_are_valid() {
    for known in ["eof", "reset", "refused", "timeout", "errno_113"] {
        let mut report = good();
        report["connections"]["lost"] = json!({ known: 1 });
        assert_eq!(complaints(&report), [""; 0], "{known}");
    }
    for unknown in ["EOF", "errno_", "errno_x", "eof2", "unknown"] {
        assert_invalid(unknown, |report| report["connections"]["lost"] = json!({ unknown: 1 }));
    }
}

#[test]
fn inconsistent_sums_are_found() {
    assert_invalid("sent", |report| report["messages"]["sent"] = 99.into());
    assert_invalid("count", |report| report["latency"]["service"]["count"] = 99.into());
    assert_invalid("censored", |report| report["latency"]["service"]["censored"] = 3.into());
    assert_invalid("opened", |report| report["connections"]["opened"] = 1.into());
    assert_invalid("p90 before p50", |report| {
        report["latency"]["service"]["p90_ns"] = 1.into()
    });
}

#[test]
fn the_schema_names_its_draft_and_closes_every_object() {
    let schema: Value = serde_json::from_str(urecho::report::LOAD_SCHEMA).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    jsonschema::meta::validate(&schema).unwrap();
}

/// `urecho load` of an honest peer with exactly these flags.
fn run_load(flags: &str) -> Output {
    let peer = Peer::honest();
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.args(["load", &peer.address.to_string()]);
    run(command.args(flags.split(' ')))
}

/// A valid report: that of a real run, made once.
fn good() -> Value {
    static REPORT: LazyLock<Value> = LazyLock::new(|| {
        let server = ServeProcess::start(&["--workers", "1"]);
        load(server.address, "-c 2 -d 500ms").report(0).clone()
    });
    REPORT.clone()
}

/// A valid report is invalid with this change.
fn assert_invalid(what: &str, change: impl FnOnce(&mut Value)) {
    let mut report = good();
    change(&mut report);
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
