//! The suite's tests: the small cells from start to end, and summaries of figures that were never measured.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use urecho::compare::BlockFigures;
use urecho::compare::comparison::{Comparison, Method, SCHEMA, Scenario, ServerBlocks};
use urecho::load::Workload;
use urecho::report::Environment;
use urecho::sys::disturbance::Disturbance;
use urecho::sys::ports::ClaimedPort;
use urecho::sys::socket_owner::{self, Owner};
use urecho::sys::{child, machine, offspring};

use crate::matrix::Matrix;
use crate::servers::FLOOR;
use crate::stall;

/// A test: its name and body.
type Case = (&'static str, fn());

const CASES: [Case; 9] = [
    (
        "every cell has its own name and a reason",
        cells_are_distinct_and_have_reasons,
    ),
    (
        "the small suite fills a directory, and continues in it",
        the_small_suite_continues,
    ),
    ("wrong flags are refused", wrong_flags_are_refused),
    (
        "a summary names the fastest server and its ties",
        a_summary_names_the_fastest_server_and_its_ties,
    ),
    (
        "a summary of a given rate compares response times",
        a_given_rate_compares_response_times,
    ),
    (
        "processes share a listener and end together",
        processes_share_a_listener_and_end_together,
    ),
    (
        "a summary shows failures and missing cells",
        a_summary_shows_failures_and_missing_cells,
    ),
    (
        "a ratio that does not follow from its blocks is refused",
        a_wrong_ratio_is_refused,
    ),
    ("a stall shows in both reports", a_stall_shows_in_both_reports),
];

const ENGINES: [&str; 3] = ["epoll", "uring", "tokio-uring"];

/// How fast a noisy machine is in each restart.
const SPEEDS: [f64; 6] = [1.0, 0.9, 0.5, 0.55, 1.1, 0.7];

/// Runs all tests; the first that fails panics.
pub(crate) fn verify() {
    for (name, case) in CASES {
        case();
        println!("test {name} ... ok");
    }
}

fn cells_are_distinct_and_have_reasons() {
    let matrix = Matrix::read();
    for cells in [&matrix.cells, &matrix.small] {
        let mut names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert!(cells.iter().all(|cell| cell.reason.ends_with('.')));
    }
}

fn the_small_suite_continues() {
    let folder = TempDir::new().unwrap();
    let cells: Vec<String> = Matrix::read().small.into_iter().map(|cell| cell.name).collect();
    let first = small(folder.path(), &[]);
    assert_measured(&first);
    let summary = text(folder.path(), "README.md");
    let (machine, commands) = (text(folder.path(), "machine"), text(folder.path(), "commands"));
    for name in ["tokio", "monoio", "compio", "glommio", "threads", "minimal-uring"] {
        let measured = summary.contains(&format!("| {name} |"));
        let skipped = machine.contains(&format!("peer {name}: SKIPPED"));
        assert!(measured != skipped, "{name} is either measured or skipped");
    }
    for name in ENGINES {
        assert!(summary.contains(&format!("| {name} |")), "{name}: {summary}");
    }
    for name in &cells {
        let table = text(folder.path(), &format!("{name}.md"));
        assert!(summary.contains(table.lines().next().unwrap()), "{name}");
        assert!(commands.contains(&format!("\n{name}\t")), "{commands}");
    }
    for line in commands.lines().filter(|line| line.contains('\t')) {
        let servers = line.matches("--listen ").count();
        assert_eq!(line.matches("--congestion reno").count(), 1 + servers, "{line}");
    }

    let (removed, kept) = (&cells[cells.len() - 1], &cells[0]);
    fs::remove_file(folder.path().join(format!("{removed}.json"))).unwrap();
    let before = text(folder.path(), &format!("{kept}.json"));
    let second = small(folder.path(), &[]);
    assert_measured(&second);
    assert!(stderr(&second).contains(&format!("{kept}: already measured")));
    assert!(!stderr(&second).contains(&format!("{removed}: already measured")));
    assert_eq!(text(folder.path(), &format!("{kept}.json")), before);
    assert!(folder.path().join(format!("{removed}.json")).exists());

    let other = small(folder.path(), &["--restarts", "3"]);
    assert_eq!(other.status.code(), Some(2), "{}", stderr(&other));
    assert!(stderr(&other).contains("was started with other commands"));
}

fn wrong_flags_are_refused() {
    for (flags, message) in [
        (["--restart", "3"], "--restarts"),
        (["--restarts", "none"], "invalid"),
        (["--slice", "250"], "250ms"),
    ] {
        let output = small(Path::new("/nowhere"), &flags);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
    }
}

fn a_summary_names_the_fastest_server_and_its_ties() {
    // Two servers alternate from restart to restart; one that is 20 % slower is resolved on any machine.
    let alternating = |by: f64| move |restart: usize| if restart.is_multiple_of(2) { 1.0 + by } else { 1.0 - by };
    let tie = vec![
        server("epoll", |_| 0.8),
        server("uring", alternating(0.01)),
        server("monoio", alternating(-0.01)),
    ];
    let alone = vec![
        server("epoll", |_| 0.8),
        server("uring", |_| 1.0),
        server("monoio", |_| 0.8 + 1e-3),
        server(FLOOR, |_| 1.6),
    ];
    let folder = recorded(&[("a", tie), ("b", alone)]);
    assert_eq!(summarise(folder.path()).status.code(), Some(0));
    let summary = text(folder.path(), "README.md");
    let first = summary.lines().find(|line| line.starts_with("| first | ")).unwrap();
    let ties = ["tie: uring, monoio", "tie: monoio, uring"];
    assert!(ties.iter().any(|tie| first.contains(tie)), "{first}");
    assert!(first.contains("**uring**"), "{first}");
    // uring to monoio: not resolved in one cell, 1.25 in the other.
    let row = |line: &str| line.starts_with("| monoio | =1.00") && line.ends_with("| 1.25 |");
    assert!(summary.lines().any(row), "{summary}");
    // The floor is labelled, and not first however fast it is.
    let floor = format!("| {FLOOR} (floor) | - | 2.00 |");
    assert!(summary.contains(&floor) && !first.contains(FLOOR), "{summary}");
}

fn a_given_rate_compares_response_times() {
    let cell = || vec![server("epoll", |_| 0.8), server("uring", |_| 1.0)];
    let folder = recorded(&[("closed", cell()), ("open", cell())]);
    let commands = "closed\turecho compare\nopen\turecho compare --rate 20k/s\n";
    fs::write(folder.path().join("commands"), commands).unwrap();
    assert_eq!(summarise(folder.path()).status.code(), Some(0));
    let summary = text(folder.path(), "README.md");
    let section = |heading: &str| {
        let heading = format!("## {heading}, ratio to epoll\n");
        let (_, rest) = summary
            .split_once(&heading)
            .unwrap_or_else(|| panic!("{heading}{summary}"));
        rest.split("\n## ").next().unwrap().to_owned()
    };
    let throughput = section("Throughput");
    assert!(throughput.contains("|  | closed |") && throughput.contains("| first | **uring** |"));
    let p50 = section("p50 of response time at a given rate");
    assert!(
        p50.contains("|  | open |") && p50.contains("| uring | 0.800 |"),
        "{p50}"
    );
    assert!(p50.contains("| first | **uring** |"), "{p50}");
    assert!(section("p99 of latency").contains("|  | closed | open |"));
}

fn processes_share_a_listener_and_end_together() {
    let port = ClaimedPort::any().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["processes", "2", &address.to_string(), env!("CARGO_BIN_EXE_urecho")]);
    command.args(["serve", "--engine", "epoll", "--workers", "1", "--max-connections", "1"]);
    let mut suite = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(suite.stdout.take().unwrap()).lines();
    for line in lines.take(2) {
        assert!(line.unwrap().starts_with("listening on "));
    }
    // Each process has room for one.
    let mut clients = [(); 2].map(|()| TcpStream::connect(address).unwrap());
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    drop(clients);
    let servers = offspring::of_groups(&[], &[suite.id().cast_signed()]);
    assert_eq!(servers.len(), 3, "the suite and two servers");
    let server = servers.iter().map(|id| id.cast_unsigned()).find(|&id| id != suite.id());
    child::terminate(server.unwrap());
    assert_eq!(suite.wait().unwrap().code(), Some(0), "one ended, and so did all");
    assert_eq!(socket_owner::owner_of(address, &[]), Owner::Nothing);
}

fn a_summary_shows_failures_and_missing_cells() {
    let mut broken = server("uring", |_| 1.0);
    broken.failure = Some("restart 7: exited".into());
    let folder = recorded(&[("a", vec![server("epoll", |_| 1.0), broken])]);
    assert_eq!(summarise(folder.path()).status.code(), Some(0));
    let summary = text(folder.path(), "README.md");
    assert!(summary.contains("| uring | FAILED |"), "{summary}");
    assert!(summary.contains("restart 7: exited"), "{summary}");

    let partial = text(folder.path(), "a.json").replace("\"partial\": false", "\"partial\": true");
    fs::write(folder.path().join("a.json"), partial).unwrap();
    assert_eq!(summarise(folder.path()).status.code(), Some(0));
    let summary = text(folder.path(), "README.md");
    assert!(summary.contains("1 of 1 cells are missing"), "{summary}");
    assert!(summary.contains("### a\n\nInterrupted."), "{summary}");
}

fn a_wrong_ratio_is_refused() {
    let folder = recorded(&[("a", vec![server("epoll", |_| 1.0), server("uring", |_| 1.2)])]);
    let good = text(folder.path(), "a.json");
    for path in [
        "/scenarios/0/servers/1/completed_per_s/ratio/estimate",
        "/scenarios/0/servers/1/completed_per_s/ratio/interval/low",
        "/scenarios/0/servers/0/completed_per_s/median",
    ] {
        let mut report: Value = serde_json::from_str(&good).unwrap();
        let figure = report.pointer_mut(path).unwrap();
        *figure = json!(figure.as_f64().unwrap().next_up());
        fs::write(folder.path().join("a.json"), report.to_string()).unwrap();
        let output = summarise(folder.path());
        assert_eq!(output.status.code(), Some(4), "{path}");
        assert!(stderr(&output).contains("completed_per_s"), "{}", stderr(&output));
        assert!(!folder.path().join("README.md").exists());
    }
}

fn a_stall_shows_in_both_reports() {
    let text = stall::run(Duration::from_millis(600)).unwrap();
    for row in ["$ urecho load", "messages ", "  p50 ", "  p99 ", "  max "] {
        assert_eq!(text.lines().filter(|line| line.starts_with(row)).count(), 2, "{text}");
    }
}

/// It ran to its end, and every engine has results. A peer may have failed; that is shown in its row.
fn assert_measured(output: &Output) {
    let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(output));
    assert!(matches!(output.status.code(), Some(0 | 5)), "{all}");
    for engine in ENGINES {
        let failed = |line: &str| line.trim_start().starts_with(&format!("{engine} ")) && line.contains("FAILED");
        assert!(!all.lines().any(failed), "{all}");
    }
}

/// A server in six restarts of two blocks on a noisy machine; `share` is its speed in each restart.
fn server(name: &str, share: impl Fn(usize) -> f64) -> ServerBlocks {
    let block = |rate: f64| BlockFigures {
        messages: rate as u64,
        completed_per_s: rate,
        p50_ns: Some((1e12 / rate) as u64),
        p90_ns: None,
        p99_ns: None,
        max_ns: None,
        p99_9_ns: None,
        cpu_ns_per_message: Some(1e9 / rate),
        resident_bytes_per_connection: Some(4096.0),
        send_lag_p99_ns: None,
        generator_cpu_ratio: 0.5,
        background_cpu_ratio: None,
        disturbance: Disturbance::default(),
        throttling: None,
        server_throttling: None,
    };
    let restart = |(number, speed): (usize, f64)| {
        let rate = 123_456.7 * speed * share(number);
        vec![block(rate), block(rate * 1.013)]
    };
    ServerBlocks {
        name: name.into(),
        command: format!("./{name} {{port}}"),
        restarts: SPEEDS.into_iter().enumerate().map(restart).collect(),
        failure: None,
    }
}

/// A directory as the suite leaves it, with these cells.
fn recorded(cells: &[(&str, Vec<ServerBlocks>)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut commands = String::new();
    for (name, servers) in cells {
        commands += &format!("{name}\turecho compare\n");
        let method = Method {
            restarts: 6,
            blocks: 2,
            server_cpus: vec![0],
            connected_at_once: true,
        };
        let comparison = Comparison {
            schema: SCHEMA.into(),
            partial: false,
            environment: Environment::of(machine::describe()),
            scenarios: vec![Scenario::of(&Workload::default(), method, servers.clone())],
        };
        fs::write(folder.path().join(format!("{name}.json")), comparison.json()).unwrap();
        fs::write(folder.path().join(format!("{name}.md")), comparison.markdown()).unwrap();
    }
    fs::write(folder.path().join("commands"), commands).unwrap();
    fs::write(folder.path().join("machine"), "commit: none\n").unwrap();
    folder
}

/// `run --small` of this program.
fn small(folder: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["run", "--small", "--into"]).arg(folder).args(flags);
    command.output().unwrap()
}

fn summarise(folder: &Path) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("summary").arg(folder).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|cause| panic!("{name}: {cause}"))
}
