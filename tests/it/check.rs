//! `urecho check` on real servers: that it runs, what it writes, and that it is not dead. How it decides is tested beside
//! `src/check/verdict.rs`, on records made up.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use urecho::check::decision::{self, Decision};
use urecho::check::proof::{self, Outcome};
use urecho::check::verdict::Verdict;

use crate::support::reports;
use crate::support::runs::{Finished, Running};
use crate::support::{self, assert_says};

/// Tiny slices: far too few messages to say anything, but of an effect that nobody could miss.
const TINY: &str = "-c 4 --blocks 1 --slice 20ms --guard 5ms";

fn serve(flags: &str) -> String {
    let program = env!("CARGO_BIN_EXE_urecho");
    format!("{program} serve --workers 1 --listen 127.0.0.1:{{port}} {flags}")
}

fn check(base: &str, head: &str, flags: &str) -> Finished {
    Running::check(base, head, &format!("{TINY} {flags}")).wait()
}

/// `urecho check --replay` of what a run has reported.
fn replay(report: &Value, flags: &[&str]) -> (support::Output, String) {
    let folder = TempDir::new().unwrap();
    let [old, new] = ["old.json", "new.json"].map(|name| folder.path().join(name));
    fs::write(&old, report.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command
        .args(["check", "--replay"])
        .arg(&old)
        .arg("--json")
        .arg(&new)
        .args(flags);
    let ended = support::run(&mut command);
    (ended, fs::read_to_string(&new).unwrap_or_default())
}

#[test]
fn a_planted_regression_fails_the_build() {
    let flags = "--restarts 8 --profile closed --gate throughput";
    let measured = check(&serve(""), &serve("--fault spin=200us"), flags);
    // On a machine so busy that most blocks are dropped nothing is known, and that is no pass either.
    let report = measured.report(measured.code().unwrap());
    let verdict = report["judgement"]["verdict"].as_str().unwrap();
    match (measured.code(), verdict) {
        (Some(1), "REGRESSED") => assert_says(&measured.stdout, &["REGRESSED: head is worse", "throughput"]),
        (Some(3), "INCONCLUSIVE") if measured.stdout.contains("too disturbed") => {
            println!("SKIPPED: needs a machine on which less else goes on: {measured}");
        }
        _ => panic!("{measured}"),
    }
}

#[test]
fn two_alike_do_not_fail_the_build_however_little_was_measured() {
    let measured = check(&serve(""), &serve(""), "--restarts 2 --seed 7");
    let report = measured.report(3);
    assert_eq!(report["judgement"]["verdict"], "INCONCLUSIVE");
    assert_says(&measured.stdout, &["INCONCLUSIVE: not known", "Next: "]);
    let restarts = report["record"]["restarts"].as_array().unwrap();
    assert_eq!(restarts.len(), 2);
    for restart in restarts {
        for load in ["closed", "open"] {
            assert_eq!(restart[load].as_array().unwrap().len(), 1);
            assert!(restart[load][0]["head"]["messages"].as_u64().unwrap() > 0);
        }
    }
}

#[test]
fn the_closed_loop_has_half_of_the_blocks_of_the_open_one() {
    let flags = "-c 4 --slice 20ms --guard 5ms --blocks 3 --restarts 1";
    let measured = Running::check(&serve(""), &serve(""), flags).wait();
    let record = &measured.report(3)["record"];
    let blocks = |load: &str| record["restarts"][0][load].as_array().unwrap().len();
    assert_eq!((blocks("open"), blocks("closed")), (3, 2));
    for load in record["terms"]["loads"].as_array().unwrap() {
        assert_eq!(load["blocks"], blocks(load["profile"].as_str().unwrap()));
    }
}

#[test]
fn what_was_recorded_is_judged_again_byte_for_byte() {
    let measured = check(&serve(""), &serve(""), "--restarts 1 --inconclusive pass");
    let report = measured.report(0);
    let (ended, again) = replay(report, &[]);
    assert_eq!(ended.code(), Some(0));
    assert_eq!(ended.stdout, measured.stdout);
    assert_eq!(again, format!("{}\n", serde_json::to_string_pretty(report).unwrap()));
}

#[test]
fn a_verdict_that_was_written_into_a_record_is_not_believed() {
    let measured = check(&serve(""), &serve(""), "--restarts 1");
    let mut report = measured.report(3).clone();
    report["judgement"]["verdict"] = "PASSED".into();
    report["judgement"]["exit_code"] = 0.into();
    assert_eq!(replay(&report, &[]).0.code(), Some(3));
}

#[test]
fn servers_that_fail_are_told_from_servers_that_got_worse() {
    for (base, head, words) in [
        (
            serve(""),
            "false {port}".to_owned(),
            "head failed in restart 1: the server ended by itself",
        ),
        (
            "/nowhere/at/all {port}".to_owned(),
            serve(""),
            "base failed when it was tried: cannot start",
        ),
    ] {
        let measured = check(&base, &head, "--restarts 1");
        assert_eq!(measured.report(5)["judgement"]["verdict"], "FAILED");
        assert_says(&measured.stdout, &["FAILED", words]);
    }
}

#[test]
fn a_server_may_say_itself_that_it_listens() {
    let flags = "--restarts 1 --profile closed --inconclusive pass";
    let ready = format!("{flags} --base-ready ^listening.on --head-ready engine=uring");
    let report = check(&serve(""), &serve(""), &ready);
    assert_eq!(report.report(0)["record"]["base"]["ready"], "^listening.on");
}

#[test]
fn the_budget_is_kept_though_more_was_planned() {
    let measured = check(&serve(""), &serve(""), "--budget 1s --restarts 1000");
    let report = measured.report(3);
    assert_eq!(report["record"]["ended"], "budget");
    // All that was planned would take minutes.
    assert!(report["record"]["elapsed_ns"].as_u64().unwrap() < 60_000_000_000);
    assert_says(&measured.stdout, &["the budget was over after", "of 1000 restarts"]);
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_starts() {
    for (flags, words) in [
        (vec!["--head", "true {port}"], "give --base and --head"),
        (vec!["--base", "true", "--head", "true {port}"], "{port}"),
        (
            vec!["--base", "true {port}", "--head", "true {port}", "--gate", "p42"],
            "no such metric",
        ),
        (
            vec!["--base", "true {port}", "--head", "true {port}", "--effect", "p50=3"],
            "3%",
        ),
        (
            vec!["--base", "true {port}", "--head", "true {port}", "--floor", "p99=20"],
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
            "--gate p50 needs the other load",
        ),
        (vec!["--replay", "/nowhere"], "cannot read /nowhere"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
        let ended = support::run(command.arg("check").args(&flags));
        assert_eq!(ended.code(), Some(2), "{flags:?}");
        assert_says(&ended.stderr, &[words]);
    }
}

#[test]
fn the_schema_names_its_draft_and_knows_broken_checks() {
    let schema: Value = serde_json::from_str(urecho::check::report::CHECK_SCHEMA).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    let report = serde_json::json!({ "schema": "urecho.check/1", "partial": false, "record": {} });
    assert_ne!(reports::complaints_of_check(&report), [""; 0]);
}

#[test]
fn build_servers_get_what_they_read() {
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

/// `urecho check` with these arguments and tiny slices, to its end with this exit code.
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

#[test]
fn a_self_test_adds_to_its_log_and_makes_the_page() {
    let folder = TempDir::new().unwrap();
    let (mut log, mut page) = (String::new(), String::new());
    let log = path_in(&folder, "log.jsonl", &mut log);
    let page = path_in(&folder, "page.md", &mut page);
    let arguments = [
        "--self-test",
        "--runs",
        "1",
        "--restarts",
        "1",
        "--log",
        log,
        "--page",
        page,
    ];
    run_tiny(&arguments, 0);
    run_tiny(&arguments, 0);
    let lines = fs::read_to_string(log).unwrap();
    let planted: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["planted"].to_string())
        .collect();
    assert_eq!(planted, ["\"A/A\"", "\"A/A'\""]);
    assert_says(
        &fs::read_to_string(page).unwrap(),
        &["0 false alarms in 2 checks", "| A/A' | alone | 1 |"],
    );
}

#[test]
fn a_stored_baseline_takes_three_runs_and_the_same_machine() {
    let folder = TempDir::new().unwrap();
    let mut kept = String::new();
    let stored = path_in(&folder, "baseline.json", &mut kept);
    let head = serve("");
    let save = ["--save-baseline", stored, "--head", &head, "--restarts", "1"];
    assert_says(&run_tiny(&save, 0).stdout, &["1 stored"]);
    assert_says(&run_tiny(&save, 0).stdout, &["2 stored, 1 of them an hour apart"]);
    let mut kept = String::new();
    let junit = path_in(&folder, "a.xml", &mut kept);
    let mut kept = String::new();
    let row = path_in(&folder, "row.jsonl", &mut kept);
    let compare = ["--baseline", stored, "--head", &head, "--restarts", "1"];
    let told = ["--junit", junit, "--append", row, "--label", "abc"];
    let ended = run_tiny(&[&compare[..], &told].concat(), 3);
    assert_says(&ended.stdout, &["INCONCLUSIVE", "2 stored runs of", "a pair"]);
    assert_says(&fs::read_to_string(junit).unwrap(), &["<skipped message="]);
    assert_says(&fs::read_to_string(row).unwrap(), &["\"label\":\"abc\""]);
    let text = fs::read_to_string(stored).unwrap();
    fs::write(stored, text.replace("\"kernel\": \"", "\"kernel\": \"not-")).unwrap();
    assert_says(&run_tiny(&compare, 3).stdout, &["another kernel"]);
    assert_says(&run_tiny(&save, 3).stdout, &["not saved"]);
}

#[test]
fn checks_in_a_row_are_appended_and_shown() {
    let folder = TempDir::new().unwrap();
    let mut kept = String::new();
    let row = path_in(&folder, "row.jsonl", &mut kept);
    let server = serve("");
    let pair = [
        "--base",
        &server,
        "--head",
        &server,
        "--restarts",
        "1",
        "--append",
        row,
        "--label",
        "abc",
    ];
    run_tiny(&pair, 3);
    run_tiny(&pair, 3);
    assert_says(&run_tiny(&["--trend", row], 0).stdout, &["2 checks in a row"]);
}

/// The committed log of self-tests, and the page that is made from it.
fn proof() -> (Vec<Outcome>, String) {
    let read = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/check/");
        fs::read_to_string(format!("{folder}{name}")).unwrap()
    };
    (proof::read(&read("log.jsonl")).unwrap(), read("README.md"))
}

#[test]
fn the_page_of_error_rates_is_made_from_its_log() {
    let (log, page) = proof();
    assert_eq!(proof::page(&log), page, "make it again: bench/README.md");
}

#[test]
fn the_verdicts_of_the_log_follow_from_its_scores() {
    let (log, _) = proof();
    let version = env!("CARGO_PKG_VERSION");
    let mut judged_again = 0;
    for outcome in log.iter().filter(|outcome| outcome.environment["urecho"] == version) {
        for judged in outcome.metrics.iter().filter(|judged| judged.gates) {
            let scores = &outcome.scores[&judged.metric];
            let matters = judged.metric.matters();
            let effect = judged.metric.effect(matters, judged.base.unwrap());
            let decide =
                |scores: &[f64]| decision::decide(scores, effect, decision::alpha(outcome.scores.len())).decision;
            // Of the restarts of the look that decided: the scores are of all that there were.
            let verdict = match decide(&scores[..judged.restarts]) {
                Decision::Regressed => Verdict::Regressed,
                Decision::Improved => Verdict::Improved,
                Decision::Passed => Verdict::Passed,
                Decision::Inconclusive { .. } => Verdict::Inconclusive,
            };
            assert_eq!(verdict, judged.verdict, "{} {judged:?}", outcome.planted);
            judged_again += 1;
        }
    }
    assert!(judged_again > 0);
}
