//! `urecho check` on real servers: that it runs, what it writes, and that it detects an injected slowdown. How it
//! decides is tested in `src/check/judge`, on constructed records.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::reports;
use crate::support::runs::{Finished, Running};
use crate::support::{self, assert_says, io};

/// Tiny slices: too few messages for any but a huge effect.
const TINY: &str = "-c 4 --blocks 1 --slice 20ms --slice-warmup 5ms";

fn serve(flags: &str) -> String {
    let program = env!("CARGO_BIN_EXE_urecho");
    format!("{program} serve --workers 1 --listen 127.0.0.1:{{port}} {flags}")
}

fn check(base: &str, head: &str, flags: &str) -> Finished {
    Running::check(base, head, &format!("{TINY} {flags}")).wait()
}

/// `urecho check replay` of a report.
fn replay(report: &Value, flags: &[&str]) -> (support::Output, String) {
    let folder = TempDir::new().unwrap();
    let [old, new] = ["old.json", "new.json"].map(|name| folder.path().join(name));
    fs::write(&old, report.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command
        .args(["check", "replay"])
        .arg(&old)
        .arg("--json")
        .arg(&new)
        .args(flags);
    let ended = support::run(&mut command);
    (ended, fs::read_to_string(&new).unwrap_or_default())
}

#[test]
fn an_injected_slowdown_fails_the_build() {
    let flags = "--restarts 8 --profile closed --gate throughput";
    let mut measured = check(&serve(""), &serve("--fault spin=200us"), flags);
    // On a machine so busy that most blocks are dropped, the check is inconclusive, and that is no pass either.
    for _ in 1..10 {
        if measured.code() != Some(3) {
            break;
        }
        println!("the machine is too busy: {measured}");
        measured = check(&serve(""), &serve("--fault spin=200us"), flags);
    }
    assert_eq!(measured.report(1)["judgement"]["verdict"], "REGRESSED", "{measured}");
    assert_says(&measured.stdout, &["REGRESSED: head is worse", "throughput"]);
}

#[test]
fn a_stall_that_most_slices_do_not_meet_fails_the_build() {
    let flags = "-c 4 --blocks 6 --slice 20ms --slice-warmup 5ms --restarts 8 --profile open --gate stalled";
    let measured = Running::check(&serve(""), &serve("--fault stall=40ms/200ms"), flags).wait();
    let report = measured.report(1);
    let metrics = report["judgement"]["metrics"].as_array().unwrap();
    let stalled = metrics.iter().find(|metric| metric["metric"] == "stalled").unwrap();
    assert_eq!(stalled["verdict"], "REGRESSED", "{measured}");
}

#[test]
fn equal_servers_do_not_fail_the_build_however_little_was_measured() {
    let measured = check(&serve(""), &serve(""), "--restarts 2 --seed 7");
    let report = measured.report(3);
    assert_eq!(report["judgement"]["verdict"], "INCONCLUSIVE");
    assert_says(&measured.stdout, &["INCONCLUSIVE: cannot tell", "Next: "]);
    let restarts = report["record"]["restarts"].as_array().unwrap();
    assert_eq!(restarts.len(), 2);
    for restart in restarts {
        for load in ["closed", "open"] {
            assert_eq!(restart[load]["blocks"].as_array().unwrap().len(), 1);
            assert!(restart[load]["blocks"][0]["head"]["messages"].as_u64().unwrap() > 0);
        }
    }
}

#[test]
fn a_gate_runs_where_io_uring_is_blocked() {
    io::on_epoll(|| {
        let flags = "-c 4 --slice 20ms --slice-warmup 5ms --blocks 1 --restarts 1";
        let measured = Running::check(&serve("--engine epoll"), &serve("--engine epoll"), flags).wait();
        let report = measured.report(3);
        for load in report["record"]["setup"]["loads"].as_array().unwrap() {
            assert_eq!(load["plan"]["io"], "epoll");
        }
        assert_says(&measured.stdout, &["generator on epoll"]);
    });
}

#[test]
fn both_loads_have_as_many_blocks() {
    let flags = "-c 4 --slice 20ms --slice-warmup 5ms --blocks 3 --restarts 1";
    let measured = Running::check(&serve(""), &serve(""), flags).wait();
    let record = &measured.report(3)["record"];
    let blocks = |load: &str| record["restarts"][0][load]["blocks"].as_array().unwrap().len();
    assert_eq!((blocks("open"), blocks("closed")), (3, 3));
    for load in record["setup"]["loads"].as_array().unwrap() {
        assert_eq!(load["blocks"], blocks(load["profile"].as_str().unwrap()));
    }
}

#[test]
fn a_recorded_check_is_replayed_byte_for_byte() {
    let measured = check(&serve(""), &serve(""), "--restarts 1 --inconclusive pass");
    let report = measured.report(0);
    let (ended, again) = replay(report, &[]);
    assert_eq!(ended.code(), Some(0));
    assert_eq!(ended.stdout, measured.stdout);
    assert_eq!(again, format!("{}\n", serde_json::to_string_pretty(report).unwrap()));
}

#[test]
fn a_verdict_edited_into_a_report_is_ignored() {
    let measured = check(&serve(""), &serve(""), "--restarts 1");
    let mut report = measured.report(3).clone();
    report["judgement"]["verdict"] = "PASSED".into();
    report["judgement"]["exit_code"] = 0.into();
    assert_eq!(replay(&report, &[]).0.code(), Some(3));
}

#[test]
fn a_failed_server_is_distinguished_from_a_regressed_one() {
    for (base, head, words) in [
        (
            serve(""),
            "false {port}".to_owned(),
            "head failed in restart 1: the server exited unexpectedly",
        ),
        (
            "/nowhere/at/all {port}".to_owned(),
            serve(""),
            "base failed in its capacity run: cannot start",
        ),
    ] {
        let measured = check(&base, &head, "--restarts 1");
        assert_eq!(measured.report(5)["judgement"]["verdict"], "FAILED");
        assert_says(&measured.stdout, &["FAILED", words]);
    }
}

#[test]
fn a_server_may_announce_its_readiness_on_stdout() {
    let flags = "--restarts 1 --profile closed --inconclusive pass";
    let ready = format!("{flags} --base-ready listening --head-ready engine=uring");
    check(&serve(""), &serve(""), &ready).report(0);
    let never = format!("{flags} --base-ready never");
    let measured = check("sh -c 'echo listening; exit 1' {port}", &serve(""), &never);
    assert_eq!(measured.report(5)["judgement"]["verdict"], "FAILED");
}

#[test]
fn the_budget_is_kept_although_more_restarts_were_planned() {
    let measured = check(&serve(""), &serve(""), "--budget 1s --restarts 1000");
    let report = measured.report(3);
    assert_eq!(report["record"]["stop_reason"], "budget");
    // All planned restarts would take minutes.
    assert!(report["record"]["elapsed_ns"].as_u64().unwrap() < 60_000_000_000);
    assert_says(&measured.stdout, &["the budget ended after", "of 1000 restarts"]);
}

#[test]
fn invalid_flags_are_refused_before_anything_starts() {
    for (flags, words) in [
        (vec!["--head", "true {port}"], "--base <COMMAND>"),
        (vec!["--base", "true", "--head", "true {port}"], "{port}"),
        (
            vec!["--base", "true {port}", "--head", "true {port}", "--gate", "p42"],
            "no such metric",
        ),
        (
            vec![
                "--base",
                "true {port}",
                "--head",
                "true {port}",
                "--min-effect",
                "p50=3",
            ],
            "3%",
        ),
        (
            vec![
                "--base",
                "true {port}",
                "--head",
                "true {port}",
                "--min-change",
                "p99=20",
            ],
            "20",
        ),
        (
            vec![
                "--base",
                "true {port}",
                "--head",
                "true {port}",
                "--gate",
                "p50",
                "--profile",
                "closed",
            ],
            "--gate p50 needs the open-loop profile",
        ),
        (vec!["replay", "/nowhere"], "cannot read /nowhere"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
        let ended = support::run(command.arg("check").args(&flags));
        assert_eq!(ended.code(), Some(2), "{flags:?}");
        assert_says(&ended.stderr, &[words]);
    }
}

#[test]
fn the_schema_is_valid_and_rejects_broken_checks() {
    let schema: Value = serde_json::from_str(urecho::check::output::json::CHECK_SCHEMA).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    let report = serde_json::json!({ "schema": "urecho.check/2", "partial": false, "record": {} });
    assert_ne!(reports::complaints_of_check(&report), [""; 0]);
}

#[test]
fn build_servers_get_their_formats() {
    let folder = TempDir::new().unwrap();
    let [markdown, junit, summary] = ["a.md", "b.xml", "c.md"].map(|name| folder.path().join(name));
    fs::write(&summary, "what another step wrote\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.args([
        "check",
        "--base",
        &serve(""),
        "--head",
        "false {port}",
        "--restarts",
        "1",
    ]);
    command.args(TINY.split_whitespace());
    command.arg("--markdown").arg(&markdown).arg("--junit").arg(&junit);
    command
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &summary);
    let ended = support::run(&mut command);
    assert_eq!(ended.code(), Some(5), "{}", ended.stderr);
    let read = |path| fs::read_to_string(path).unwrap();
    assert_says(
        &read(&markdown),
        &["### FAILED", "head failed in restart 1", "**Next:**"],
    );
    assert_eq!(read(&summary), format!("what another step wrote\n{}", read(&markdown)));
    assert_says(
        &read(&junit),
        &["<testsuites>", "errors=\"1\"", "<error message=\"head failed"],
    );
    let errors: Vec<&str> = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with("::error "))
        .collect();
    assert_eq!(errors.len(), 1, "{}", ended.stdout);
}

/// Runs `urecho check` with these arguments and tiny slices; it must end with this exit code.
fn run_tiny(arguments: &[&str], code: i32) -> support::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.arg("check").args(arguments).args(TINY.split_whitespace());
    let ended = support::run(&mut command);
    assert_eq!(ended.code(), Some(code), "{}{}", ended.stdout, ended.stderr);
    ended
}

fn path_in<'a>(folder: &TempDir, name: &str, kept: &'a mut String) -> &'a str {
    *kept = folder.path().join(name).to_str().unwrap().to_owned();
    kept
}

/// A document or line satisfies the schema that it names.
fn assert_valid(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap();
    assert!(value["schema"].is_string(), "{value:#}");
    assert_eq!(reports::complaints(&value), [""; 0], "{value:#}");
}

#[test]
fn a_baseline_needs_five_runs_and_the_same_machine() {
    let folder = TempDir::new().unwrap();
    let mut kept = String::new();
    let stored = path_in(&folder, "baseline.json", &mut kept);
    let head = serve("");
    let save = ["baseline", "save", stored, "--head", &head, "--restarts", "1"];
    assert_says(&run_tiny(&save, 0).stdout, &["1 run stored"]);
    assert_says(
        &run_tiny(&save, 0).stdout,
        &["2 runs stored; a comparison needs 5", "has 1: store 4 more"],
    );
    let mut kept = String::new();
    let junit = path_in(&folder, "a.xml", &mut kept);
    let mut kept = String::new();
    let row = path_in(&folder, "row.jsonl", &mut kept);
    let compare = ["baseline", "compare", stored, "--head", &head, "--restarts", "1"];
    let outputs = ["--junit", junit, "--append", row, "--label", "abc"];
    let ended = run_tiny(&[&compare[..], &outputs].concat(), 3);
    assert_says(
        &ended.stdout,
        &["INCONCLUSIVE", "store 4 more", "2 stored runs of", "--base and --head"],
    );
    assert_says(&fs::read_to_string(junit).unwrap(), &["<skipped message="]);
    assert_says(&fs::read_to_string(row).unwrap(), &["\"label\":\"abc\""]);
    let text = fs::read_to_string(stored).unwrap();
    assert_valid(&text);
    fs::write(stored, text.replace("\"kernel\": \"", "\"kernel\": \"not-")).unwrap();
    assert_says(&run_tiny(&compare, 3).stdout, &["different kernel"]);
    assert_says(&run_tiny(&save, 3).stdout, &["not saved"]);
    let machine_id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    assert!(machine_id.trim().is_empty() || !text.contains(machine_id.trim()));
    let other = text.replace("\"salt\": \"", "\"salt\": \"0");
    assert_ne!(text, other);
    fs::write(stored, other).unwrap();
    assert_says(&run_tiny(&compare, 3).stdout, &["from another machine"]);
    fs::write(stored, text.replace("\"identity\"", "\"place\"")).unwrap();
    assert_says(&run_tiny(&compare, 2).stderr, &["store a new baseline"]);
}

#[test]
fn checks_are_appended_to_a_history_and_shown() {
    let folder = TempDir::new().unwrap();
    let mut kept = String::new();
    let row = path_in(&folder, "row.jsonl", &mut kept);
    let server = serve("");
    let pair = ["--base", &server, "--head", &server, "--restarts", "1", "--append", row];
    for label in ["abc", "def"] {
        run_tiny(&[&pair[..], &["--label", label]].concat(), 3);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    let ended = support::run(command.args(["check", "history", row]));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_says(&ended.stdout, &["2 checks: ", "2 consecutive checks"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    let ended = support::run(command.args(["check", "history", row, "--json", "-"]));
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["schema"], "urecho.history-report/2");
    assert_valid(&ended.stdout);
    let lines = fs::read_to_string(row).unwrap();
    lines.lines().for_each(assert_valid);
    assert_eq!(report["checks"], 2);
}
