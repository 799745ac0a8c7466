//! `urecho compare`: servers of all kinds, side by side.

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support;
use crate::support::reports::{self, Measured, Measuring};

/// Servers that are honest, or not: single-threaded, and started as `python3 FILE MODE PORT`.
const PEER: &str = r#"
import io, select, signal, socket, sys
mode, port = sys.argv[1], int(sys.argv[2])
def goodbye(*_):
    io.open(sys.argv[3], "a").write("goodbye\n")
    sys.exit(0)
if mode == "polite":
    signal.signal(signal.SIGTERM, goodbye)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", port))
listener.listen(128)
said, open = 0, [listener]
while True:
    for ready in select.select(open, [], [])[0]:
        if ready is listener:
            open.append(listener.accept()[0])
            continue
        try:
            data = ready.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            open.remove(ready)
            ready.close()
            continue
        said += 1
        late = said > 40
        if mode == "dies" and late:
            sys.exit("out of luck")
        if mode == "hangs-up" and late:
            open.remove(ready)
            ready.close()
            continue
        if mode == "mute" and late:
            continue
        if mode == "lies" and late:
            data = bytes(byte ^ 1 for byte in data)
        ready.sendall(data)
"#;

/// Short slices, few of them.
const SHORT: &str = "-c 4 --restarts 2 --blocks 1 --slice 30ms --guard 10ms";

/// `urecho serve`, and servers of these modes, compared.
fn compare(modes: &[&str], flags: &str) -> Option<Measured> {
    if !has_python() {
        return None;
    }
    let folder = TempDir::new().unwrap();
    let script = folder.path().join("peer.py");
    std::fs::write(&script, PEER).unwrap();
    let mut candidates = vec![ours("ours")];
    for mode in modes {
        candidates.push(format!("{mode}=python3 {} {mode} {{port}}", script.display()));
    }
    Some(Measuring::compare(&candidates, &format!("{SHORT} {flags}")).wait())
}

/// True if python3 can be run; says so loudly if not.
fn has_python() -> bool {
    let version = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    let found = version.is_ok_and(|status| status.success());
    if !found {
        println!("SKIPPED: needs python3");
    }
    found
}

fn ours(name: &str) -> String {
    let program = env!("CARGO_BIN_EXE_urecho");
    format!("{name}={program} serve --workers 1 --listen 127.0.0.1:{{port}}")
}

fn standing<'a>(report: &'a Value, name: &str) -> &'a Value {
    let standings = report["scenarios"][0]["servers"].as_array().unwrap();
    standings.iter().find(|standing| standing["name"] == name).unwrap()
}

/// It has figures from both restarts, and no failure.
fn assert_well(standing: &Value) {
    assert_eq!(standing["failure"], Value::Null, "{standing:#}");
    assert_eq!(standing["restarts"].as_array().unwrap().len(), 2, "{standing:#}");
    assert!(standing["rate_per_s"]["median"].as_f64().unwrap() > 0.0);
    assert!(standing["cpu_ns_per_message"]["median"].as_f64().unwrap() > 0.0);
}

/// It failed, with these words; the other one is well.
fn assert_fails(mode: &str, code: i32, words: &str) {
    let Some(measured) = compare(&[mode], "") else {
        return;
    };
    let report = measured.report(code);
    assert_well(standing(report, "ours"));
    let failure = standing(report, mode)["failure"].as_str().unwrap().to_owned();
    assert!(failure.contains(words), "{failure}");
    assert!(measured.stdout.contains(&failure), "{measured}");
}

#[test]
fn two_honest_servers_are_compared_with_the_first() {
    let Some(measured) = compare(&["honest"], "") else {
        return;
    };
    let report = measured.report(0);
    assert_well(standing(report, "ours"));
    let other = standing(report, "honest");
    assert_well(other);
    assert_eq!(other["rate_per_s"]["ratio"]["restarts"], 2);
    assert_eq!(standing(report, "ours")["rate_per_s"]["ratio"], Value::Null);
}

#[test]
fn a_server_is_asked_to_end_before_it_is_killed() {
    let folder = TempDir::new().unwrap();
    let (script, note) = (folder.path().join("peer.py"), folder.path().join("note"));
    std::fs::write(&script, PEER).unwrap();
    let polite = format!("polite=python3 {} polite {{port}} {}", script.display(), note.display());
    if !has_python() {
        return;
    }
    Measuring::compare(&[polite], SHORT).wait().report(0);
    let said = std::fs::read_to_string(&note).unwrap();
    assert_eq!(said, "goodbye\ngoodbye\n", "at each restart");
}

#[test]
fn a_server_that_dies_is_reported_with_its_last_words() {
    assert_fails("dies", 5, "ended by itself (exit status: 1): out of luck");
}

#[test]
fn a_server_that_hangs_up_is_reported() {
    assert_fails("hangs-up", 5, "closed connections");
}

#[test]
fn a_server_that_falls_silent_is_reported() {
    assert_fails("mute", 5, "unanswered");
}

#[test]
fn a_server_that_changes_bytes_is_reported_and_that_is_worse() {
    assert_fails("lies", 6, "wrong data");
}

#[test]
fn a_server_that_cannot_be_started_or_does_not_listen_is_reported() {
    let candidates = [
        ours("ours"),
        "nowhere=/nowhere/at/all {port}".into(),
        "false=false {port}".into(),
    ];
    let measured = Measuring::compare(&candidates, SHORT).wait();
    let report = measured.report(5);
    assert_well(standing(report, "ours"));
    for (name, words) in [("nowhere", "No such file"), ("false", "ended by itself")] {
        let failure = standing(report, name)["failure"].as_str().unwrap().to_owned();
        assert!(failure.contains(words), "{failure}");
    }
}

#[test]
fn lists_make_a_table_for_each_combination() {
    let flags = "-c 1,3 --size 64B,5000B --pipeline 1,4 --restarts 1 --blocks 1 --slice 10ms --guard 5ms";
    let measured = Measuring::compare(&[ours("ours")], flags).wait();
    let cells = measured.report(0)["scenarios"].as_array().unwrap().clone();
    let loads: Vec<_> = cells
        .iter()
        .map(|cell| {
            let number = |path: &str| cell.pointer(path).unwrap().as_u64().unwrap();
            (
                number("/connections"),
                number("/load/size_bytes_max"),
                number("/load/pipeline"),
            )
        })
        .collect();
    assert_eq!(loads.len(), 8);
    assert_eq!((loads[0], loads[7]), ((1, 64, 1), (3, 5000, 4)));
}

#[test]
fn an_open_loop_and_churn_can_be_compared_too() {
    for flags in ["--rate 2k/s", "--churn 1"] {
        let Some(measured) = compare(&["honest"], flags) else {
            return;
        };
        assert_well(standing(measured.report(0), "ours"));
        assert_well(standing(measured.report(0), "honest"));
    }
}

#[test]
fn connections_that_do_not_fit_at_once_are_opened_for_each_slice() {
    // 80 descriptors hold 20 connections and what a session needs besides them once, but not twice.
    let candidates = [ours("a"), ours("b")];
    let flags = "-c 20 --restarts 1 --blocks 1 --slice 20ms --guard 10ms";
    let measured = Measuring::compare_with_descriptors(80, &candidates, flags).wait();
    let report = measured.report(0);
    assert_eq!(report["scenarios"][0]["method"]["connected_at_once"], false);
    assert!(measured.stdout.contains("opened for each slice"), "{measured}");
}

#[test]
fn a_second_signal_ends_what_servers_have_started_too() {
    let folder = TempDir::new().unwrap();
    let script = folder.path().join("server");
    let id = folder.path().join("id");
    // A server that never listens, and has a child.
    let text = "sleep 600 & echo $! > \"$1.new\"; mv \"$1.new\" \"$1\"; wait";
    std::fs::write(&script, text).unwrap();
    let candidate = format!("a=sh {} {} {{port}}", script.display(), id.display());
    let measuring = Measuring::compare(&[candidate], SHORT);
    support::until("the server's child", || id.exists());
    measuring.signal(Signal::SIGINT);
    measuring.signal(Signal::SIGTERM);
    let child = std::fs::read_to_string(&id).unwrap();
    support::until("its end", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        stat.map_or(true, |stat| stat.contains(") Z ")) // Nobody may care for an orphan's end.
    });
    assert!(matches!(measuring.wait().code, Some(130 | 143)));
}

#[test]
fn wrong_commands_are_refused_before_anything_starts() {
    for (candidate, words) in [("no-port=true", "{port}"), ("true {port}", "NAME=COMMAND")] {
        let ended = refused(&[candidate]);
        assert_eq!(ended.status.code(), Some(2));
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    let twice = refused(&["a=true {port}", "a=true {port}"]);
    assert!(twice.stderr.contains("two servers are named a"), "{}", twice.stderr);
}

fn refused(candidates: &[&str]) -> support::Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    support::run(command.arg("compare").args(candidates))
}

#[test]
fn the_schema_names_its_draft_and_knows_broken_comparisons() {
    let schema: Value = serde_json::from_str(urecho::compare::comparison::COMPARE_SCHEMA).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    let report = serde_json::json!({ "schema": "urecho.compare/1", "partial": false, "scenarios": [] });
    assert_ne!(reports::complaints_of_comparison(&report), [""; 0]);
}
