//! Reports as pages: complete, self-contained, and rendered by a browser without a complaint.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::support::readers::run_script;
use crate::support::runs::until_valid;
use crate::support::{Server, run};

/// The largest page, in bytes.
const PAGE_MAX: u64 = 1_000_000;

fn urecho(words: &str, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.args(words.split_whitespace()).current_dir(folder);
    command
}

/// Runs a command that writes a page, and panics unless it ends with one of these codes. Returns the page.
fn page(words: &str, codes: &[i32], folder: &Path, name: &str) -> String {
    let ended = run(&mut urecho(words, folder));
    let code = ended.status.code().unwrap();
    assert!(codes.contains(&code), "{words}: {code}\n{}", ended.stderr);
    let path = folder.join(name);
    assert!(fs::metadata(&path).unwrap().len() < PAGE_MAX, "{name}");
    fs::read_to_string(path).unwrap()
}

/// What tests/it/readers/render.mjs prints.
#[derive(Deserialize)]
struct Rendered {
    pages: usize,
    found: Vec<String>,
}

/// Panics if a browser complains about one of the pages of a folder.
fn assert_renders(folder: &Path, pages: usize) {
    let node = Path::new("node");
    let rendered: Option<Rendered> = run_script("playwright-core, and of Chromium", node, "render.mjs", folder);
    if let Some(rendered) = rendered {
        assert_eq!(
            (rendered.pages, rendered.found.as_slice()),
            (pages, [].as_slice()),
            "{:#?}",
            rendered.found
        );
    }
}

#[test]
fn pages_of_runs_are_complete_and_a_browser_renders_them_in_both_themes_and_on_paper() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let server = Server::start();
    let target = server.address;
    let measured = [0, 1, 3];
    let words = format!("load {target} -c 4 --rate 2k/s -d 3s --warmup 100ms --json load.json --html load.html");
    let load = page(&words, &measured, folder, "load.html");
    let parts = [
        "Latency by percentile",
        "Response time over time",
        "Messages per second",
        "Send lag",
        "CPU time",
        "retransmitted",
        "How to repeat it",
        "--rate 2k/s",
    ];
    for part in parts {
        assert!(load.contains(part), "{part}");
    }
    let words = format!("load {target} -c 4 --rate 500/s..4k/s -d 3s --warmup 100ms --json ramp.json --html ramp.html");
    assert!(page(&words, &measured, folder, "ramp.html").contains("Response time by offered rate"));
    let words = format!("load {target} -c 4 -d 100ms --warmup 0s --repeat 6 --json repeat.json --html repeat.html");
    assert!(page(&words, &measured, folder, "repeat.html").contains("Latencies of all runs by percentile"));
    let words = format!("find-max p50<1s {target} -c 2 -d 100ms --warmup 0s --json max.json --html max.html");
    assert!(page(&words, &measured, folder, "max.html").contains("Completed by offered rate"));
    server.stop();

    let words = "report load.json ramp.json repeat.json max.json --html all.html";
    let together = page(words, &[0], folder, "all.html");
    assert!(together.contains("2 runs together") && together.matches("<article").count() == 5);
    let alone = page("report load.json --html again.html", &[0], folder, "again.html");
    assert_eq!(alone, load, "a page can be made later");
    assert_renders(folder, 6);
}

#[test]
fn pages_of_servers_are_complete_and_a_browser_renders_them_in_both_themes_and_on_paper() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let words = "bench -c 4 -d 2s --warmup 100ms --html bench.html";
    assert!(page(words, &[0, 3], folder, "bench.html").contains("Service time over time"));
    let server = format!(
        "{} serve --workers 1 --listen 127.0.0.1:{{port}}",
        env!("CARGO_BIN_EXE_urecho")
    );
    let words =
        "compare -c 2 --rate 1k/s,2k/s --blocks 1 --slice 30ms --restarts 3 --json compare.json --html compare.html";
    let candidates = [format!("one={server}"), format!("other={server}")];
    let ended = until_valid(|| run(urecho(words, folder).args(&candidates)));
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let compare = fs::read_to_string(folder.join("compare.html")).unwrap();
    assert!(compare.contains("Ratios to one") && compare.contains("Response time by offered rate"));
    // So little that head can still follow half of base's capacity.
    for (number, (head, restarts)) in [("", 2), ("--fault spin=8us", 6)].into_iter().enumerate() {
        let words = format!(
            "check --restarts {restarts} --blocks 1 --slice 20ms --gate throughput --append history.jsonl --label \
             v{number} --json check{number}.json --html check{number}.html --base"
        );
        let mut command = urecho(&words, folder);
        let ended = run(command.args([&server, "--head", &format!("{server} {head}")]));
        assert!(matches!(ended.code(), Some(0 | 1 | 3)), "{ended}");
    }
    let words = "check history history.jsonl --html history.html";
    let history = page(words, &[0, 1], folder, "history.html");
    assert!(history.contains("v0") && history.contains("throughput"), "{history}");

    let together = page(
        "report compare.json check0.json check1.json --html all.html",
        &[0],
        folder,
        "all.html",
    );
    assert_eq!(together.matches("<article").count(), 3);
    assert_renders(folder, 6);
}

#[test]
fn what_is_no_report_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (text, words) in [
        ("not JSON", "not a JSON document"),
        ("{}", "without a schema"),
        (
            r#"{"schema":"urecho.doctor/2"}"#,
            "a document of schema urecho.doctor/2 has no page",
        ),
        (r#"{"schema":"urecho.load/1"}"#, "urecho.load/1"),
        (r#"{"schema":"urecho.load/2"}"#, "not a valid urecho.load/2 document"),
    ] {
        fs::write(folder.join("file.json"), text).unwrap();
        let ended = run(&mut urecho("report file.json --html page.html", folder));
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert!(
            ended.stderr.contains("file.json: ") && ended.stderr.contains(words),
            "{}",
            ended.stderr
        );
        assert!(!folder.join("page.html").exists());
    }
    let itself = run(&mut urecho("report file.json --html file.json", folder));
    assert_eq!(itself.status.code(), Some(2), "{itself:?}");
}

#[test]
fn what_a_server_printed_is_text_on_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut command = urecho("compare --restarts 3 --blocks 1 --slice 20ms --html page.html", folder);
    command.arg("evil=sh -c 'echo \"<script>alert(1)</script>\" >&2; exit 1' sh {port}");
    let ended = run(&mut command);
    assert_eq!(ended.status.code(), Some(5), "{}", ended.stderr);
    let page = fs::read_to_string(folder.join("page.html")).unwrap();
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
}
