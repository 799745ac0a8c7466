//! `bench/suite` and `bench/summary.py`: what the figures of record are made with, in small.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use urecho::compare::BlockFigures;
use urecho::compare::comparison::{Comparison, Method, SCHEMA, Scenario, ServerBlocks};
use urecho::load::Workload;
use urecho::report::Environment;
use urecho::sys::disturbance::Disturbance;
use urecho::sys::machine;

use crate::support::{self, reports};

const CELLS: [&str; 4] = ["connections-4", "size-64KiB", "pipeline-16", "churn-fin"];
const ENGINES: [&str; 3] = ["epoll", "uring", "tokio-uring"];
const PEERS: [&str; 5] = ["tokio", "monoio", "compio", "glommio", "threads"];

/// How much the speed of a machine changes from restart to restart.
const MOODS: [f64; 6] = [1.0, 0.9, 0.5, 0.55, 1.1, 0.7];

#[test]
fn the_small_suite_fills_a_folder_and_leaves_what_is_measured_alone() {
    if !has_python() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let ended = suite(folder.path(), &[]);
    assert_well(&ended);
    let summary = text(folder.path(), "README.md");
    for name in CELLS.iter().chain(&ENGINES) {
        assert!(summary.contains(&format!("| {name} |")), "{name}: {summary}");
    }
    for name in PEERS {
        let said = [&ended.stderr, &text(folder.path(), "machine")]
            .map(|text| text.contains("SKIPPED") && text.contains(&format!("peer {name}")));
        let measured = summary.contains(&format!("| {name} |"));
        assert!(measured || said == [true, true], "{name} is gone in silence");
    }
    let commands = text(folder.path(), "commands");
    for name in CELLS {
        let cell: Value = serde_json::from_str(&text(folder.path(), &format!("{name}.json"))).unwrap();
        assert_eq!(reports::complaints_of_comparison(&cell), [""; 0], "{name}");
        assert!(summary.contains(text(folder.path(), &format!("{name}.md")).lines().next().unwrap()));
        assert!(commands.contains(&format!("\n{name}\t")), "{commands}");
    }
    let alike = commands.matches("--congestion reno").count();
    assert_eq!(alike % CELLS.len(), 0);

    fs::remove_file(folder.path().join("churn-fin.json")).unwrap();
    let before = text(folder.path(), "size-64KiB.json");
    let again = suite(folder.path(), &[]);
    assert_well(&again);
    assert!(again.stderr.contains("size-64KiB: measured already"));
    assert!(!again.stderr.contains("churn-fin: measured already"));
    assert_eq!(text(folder.path(), "size-64KiB.json"), before);
    assert!(folder.path().join("churn-fin.json").exists());

    let other = suite(folder.path(), &["--restarts", "3"]);
    assert_eq!(other.code(), Some(2), "{}", other.stderr);
    assert!(other.stderr.contains("was begun otherwise"));
}

#[test]
fn wrong_flags_of_the_suite_are_refused_with_the_right_ones() {
    for (flags, words) in [
        (["--restart", "3"], "unknown: --restart"),
        (["--restarts", "none"], "no number"),
        (["--slice", "250"], "write 250ms"),
    ] {
        let ended = suite(Path::new("/nowhere"), &flags);
        assert_eq!(ended.code(), Some(2));
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}

#[test]
fn a_summary_names_the_first_and_whom_it_cannot_tell_from_it() {
    // Twins trade places from restart to restart; 20 % behind is told apart, however moody the machine.
    let twins = |by: f64| {
        move |k: usize| {
            if k.is_multiple_of(2) { 1.0 + by } else { 1.0 - by }
        }
    };
    let level = [
        standing("epoll", |_| 0.8),
        standing("uring", twins(0.01)),
        standing("monoio", twins(-0.01)),
    ];
    let alone = [
        standing("epoll", |_| 0.8),
        standing("uring", |_| 1.0),
        standing("monoio", |_| 0.8 + 1e-3),
    ];
    let Some((folder, ended)) = summarised(&[("a", level.to_vec()), ("b", alone.to_vec())]) else {
        return;
    };
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let summary = text(folder.path(), "README.md");
    let [first] = ["| first | "].map(|begin| {
        let mut rows = summary.lines().filter(|line| line.starts_with(begin));
        rows.next().unwrap().to_owned()
    });
    let tie = ["tie: uring, monoio", "tie: monoio, uring"];
    assert!(tie.iter().any(|tie| first.contains(tie)), "{first}");
    assert!(first.contains("**uring**"), "{first}");
    // uring to monoio: not resolved in the one, 1.25 in the other.
    let row = |line: &str| line.starts_with("| monoio | =1.00") && line.ends_with("| 1.25 |");
    assert!(summary.lines().any(row), "{summary}");
}

#[test]
fn a_summary_shows_who_failed_and_what_is_missing() {
    let mut broken = standing("uring", |_| 1.0);
    broken.failure = Some("restart 7: out of luck".into());
    let cells = [("a", vec![standing("epoll", |_| 1.0), broken])];
    let Some((folder, ended)) = summarised(&cells) else {
        return;
    };
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let summary = text(folder.path(), "README.md");
    assert!(summary.contains("| uring | FAILED |"), "{summary}");
    assert!(summary.contains("out of luck"), "{summary}");

    let name = folder.path().join("a.json");
    let partial = fs::read_to_string(&name)
        .unwrap()
        .replace("\"partial\": false", "\"partial\": true");
    fs::write(&name, partial).unwrap();
    assert_eq!(summarise(folder.path()).code(), Some(0));
    let summary = text(folder.path(), "README.md");
    assert!(summary.contains("1 of 1 cells are missing"), "{summary}");
    assert!(summary.contains("### a\n\nInterrupted."), "{summary}");
}

#[test]
fn a_ratio_that_its_blocks_do_not_make_ends_the_summary() {
    let cells = [("a", vec![standing("epoll", |_| 1.0), standing("uring", |_| 1.2)])];
    let Some((folder, _)) = summarised(&cells) else {
        return;
    };
    for path in [
        "/scenarios/0/servers/1/completed_per_s/ratio/estimate",
        "/scenarios/0/servers/1/completed_per_s/ratio/interval/low",
        "/scenarios/0/servers/0/completed_per_s/median",
    ] {
        let name = folder.path().join("a.json");
        let good = fs::read_to_string(&name).unwrap();
        let mut report: Value = serde_json::from_str(&good).unwrap();
        let figure = report.pointer_mut(path).unwrap();
        *figure = json!(figure.as_f64().unwrap().next_up());
        fs::write(&name, serde_json::to_string(&report).unwrap()).unwrap();
        let ended = summarise(folder.path());
        assert_eq!(ended.code(), Some(1), "{path}");
        assert!(ended.stderr.contains("completed_per_s"), "{}", ended.stderr);
        fs::write(&name, good).unwrap();
    }
}

/// It came to its end, and our engines with it. A peer may have failed: that is shown, and none of our doing.
fn assert_well(ended: &support::Output) {
    let all = format!("{}{}", ended.stdout, ended.stderr);
    assert!(matches!(ended.code(), Some(0 | 5)), "{all}");
    let failed = |engine: &&str| {
        let begins = |line: &str| line.trim_start().starts_with(&format!("{engine} "));
        let mut lines = all.lines();
        lines.any(|line| begins(line) && line.contains("FAILED"))
    };
    assert_eq!(ENGINES.iter().find(|engine| failed(engine)), None, "{all}");
}

/// Six restarts of two blocks on a moody machine, at so much of a rate in each restart.
fn standing(name: &str, share: impl Fn(usize) -> f64) -> ServerBlocks {
    let block = |rate: f64| BlockFigures {
        messages: rate as u64,
        completed_per_s: rate,
        p50_ns: Some(1_000),
        p90_ns: None,
        p99_ns: None,
        p99_9_ns: None,
        cpu_ns_per_message: Some(1e9 / rate),
        resident_bytes_per_connection: Some(4096.0),
        send_lag_p99_ns: None,
        idle_cpu_ratio: None,
        disturbance: Disturbance::default(),
    };
    let restart = |(k, mood): (usize, f64)| {
        let rate = 123_456.7 * mood * share(k);
        vec![block(rate), block(rate * 1.013)]
    };
    let restarts = MOODS.into_iter().enumerate().map(restart).collect();
    ServerBlocks {
        name: name.into(),
        command: format!("./{name} {{port}}"),
        restarts,
        failure: None,
    }
}

/// A folder as the suite leaves it, of cells that nobody has measured, and its summary. None: no python3.
fn summarised(cells: &[(&str, Vec<ServerBlocks>)]) -> Option<(TempDir, support::Output)> {
    if !has_python() {
        return None;
    }
    let folder = TempDir::new().unwrap();
    let mut commands = String::new();
    for (name, standings) in cells {
        commands += &format!("{name}\turecho compare\n");
        let method = Method {
            restarts: 6,
            blocks: 2,
            server_cpus: vec![0],
            connected_at_once: true,
        };
        let comparison = Comparison {
            schema: SCHEMA,
            partial: false,
            environment: Environment::of(machine::describe()),
            scenarios: vec![Scenario::of(&Workload::default(), method, standings.clone())],
        };
        fs::write(folder.path().join(format!("{name}.json")), comparison.json()).unwrap();
        fs::write(folder.path().join(format!("{name}.md")), comparison.markdown()).unwrap();
    }
    fs::write(folder.path().join("commands"), commands).unwrap();
    fs::write(folder.path().join("machine"), "commit: none\n").unwrap();
    let ended = summarise(folder.path());
    Some((folder, ended))
}

fn summarise(folder: &Path) -> support::Output {
    support::run(Command::new("python3").arg("bench/summary.py").arg(folder))
}

/// `bench/suite --small` with the binary of this build.
fn suite(folder: &Path, flags: &[&str]) -> support::Output {
    let mut command = Command::new("bench/suite");
    command.env("URECHO", env!("CARGO_BIN_EXE_urecho"));
    support::run(command.args(["--small", "--into"]).arg(folder).args(flags))
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|cause| panic!("{name}: {cause}"))
}

fn has_python() -> bool {
    let python = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    let has = python.is_ok_and(|status| status.success());
    if !has {
        println!("SKIPPED: needs python3");
    }
    has
}
