//! From ten thousand connections to a million: time to open, memory, throughput and latency, all on this machine.
//!
//! `cargo bench --bench scale` opens each number of connections twice in each run: for a closed loop, and for an open
//! one at a fixed rate. It prints one row for each number, with the median of the runs and their range. `-- --runs N`
//! sets how many, `-- --most N` leaves larger numbers out. Each run of a row is a process of its own (`-- --only N`),
//! which has no memory of another. Under `cargo test` one small number runs; no figure is judged.

#![allow(clippy::unwrap_used)] // a benchmark that cannot run says so by its panic

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use urecho::clock::Nanos;
use urecho::compare::Server;
use urecho::load::schedule::{Arrivals, Pace, Rate};
use urecho::load::{self, Plan, Session, Slice, Workload};
use urecho::serve::admission;
use urecho::serve::engine::Engine;
use urecho::sys::{affinity, usage};
use urecho::units::show_count;

const CONNECTIONS: [u32; 6] = [10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000];

/// Messages per second of the open loop.
const RATE: f64 = 20_000.0;

/// This process, in /proc.
const OURS: &str = "self";

/// Room that the server has beside the connections.
const SPARE: u32 = 1 << 14;

/// How long nothing happens while the CPU time of the idle server is counted.
const IDLE: Duration = Duration::from_secs(3);

/// How long the kernel takes to free what was closed, or to settle after connections were opened.
const SETTLE: Duration = Duration::from_secs(3);

/// What was measured with one number of connections.
#[derive(Debug, Clone, Copy)]
struct Measured {
    opened_in_s: f64,
    /// Resident bytes of each process, and bytes of the kernel for each end.
    server: f64,
    generator: f64,
    kernel: f64,
    idle_cpu: f64,
    rate_per_s: f64,
    p50_us: f64,
    p99_us: f64,
}

/// What was measured, by column.
type Figures = Vec<f64>;

/// A column: its heading, its figure, and how many decimals it has.
type Column = (&'static str, fn(&Measured) -> f64, usize);

const COLUMNS: [Column; 8] = [
    ("opened in, s", |all| all.opened_in_s, 2),
    ("server, B each", |all| all.server, 0),
    ("generator, B each", |all| all.generator, 0),
    ("kernel, B each end", |all| all.kernel, 0),
    ("idle CPU, %", |all| all.idle_cpu * 100.0, 2),
    ("messages/s", |all| all.rate_per_s, 0),
    ("p50, us", |all| all.p50_us, 0),
    ("p99, us", |all| all.p99_us, 0),
];

fn main() {
    // `cargo bench` passes --bench; `cargo test` does not.
    let full = std::env::args().any(|arg| arg == "--bench");
    let slice = Nanos(if full { 5_000_000_000 } else { 50_000_000 });
    if let Some(connections) = number("--only") {
        let measured = measure(connections as u32, slice);
        println!(
            "{}",
            COLUMNS.map(|(_, figure, _)| figure(&measured).to_string()).join(" ")
        );
        return;
    }
    let runs = number("--runs").unwrap_or(if full { 3 } else { 1 });
    let most = number("--most").unwrap_or(if full { u64::MAX } else { 0 });
    let numbers: Vec<u32> = match CONNECTIONS.iter().filter(|&&count| u64::from(count) <= most).count() {
        0 => vec![100],
        count => CONNECTIONS[..count].to_vec(),
    };
    let mut all: Vec<Vec<Figures>> = vec![Vec::new(); numbers.len()];
    for run in 1..=runs {
        for (row, &connections) in all.iter_mut().zip(&numbers) {
            let figures = measure_alone(connections, full);
            eprintln!("run {run}, {connections} connections: {figures:?}");
            row.push(figures);
        }
    }
    println!("{runs} runs; closed loop, and {RATE}/s in an open loop; 64 B; medians, and the range of the runs\n");
    let headings = COLUMNS.map(|(heading, ..)| heading);
    println!("| connections | {} |", headings.join(" | "));
    println!("|---|{}", "---|".repeat(headings.len()));
    for (row, &connections) in all.iter().zip(&numbers) {
        let cells = (0..COLUMNS.len()).map(|at| cell(row.iter().map(|figures| figures[at]).collect(), COLUMNS[at].2));
        let cells: Vec<String> = cells.collect();
        println!("| {} | {} |", show_count(connections.into()), cells.join(" | "));
    }
}

/// The median, and the range of several.
fn cell(mut figures: Vec<f64>, decimals: usize) -> String {
    figures.sort_unstable_by(f64::total_cmp);
    let (least, median, most) = (figures[0], figures[figures.len() / 2], figures[figures.len() - 1]);
    match figures.len() {
        1 => format!("{median:.decimals$}"),
        _ => format!("{median:.decimals$} ({least:.decimals$} to {most:.decimals$})"),
    }
}

/// Measures in a process of its own.
fn measure_alone(connections: u32, full: bool) -> Figures {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--only", &connections.to_string()])
        .args(full.then_some("--bench"));
    let output = child.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{connections} connections: {}", output.status);
    let figures = String::from_utf8(output.stdout).unwrap();
    figures.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

fn measure(connections: u32, slice: Nanos) -> Measured {
    let cpus = affinity::allowed();
    let workload = Workload {
        connections,
        cpus: vec![*cpus.last().unwrap()],
        direct: !load::has_descriptors(connections, 1),
        warmup: Nanos(slice.0 / 5),
        duration: slice,
        drain: Nanos(10_000_000_000),
        ..Workload::default()
    };
    thread::sleep(SETTLE);
    let before = kernel_memory();
    let server = start_server(&workload, &cpus[..1]);
    let pid = server.processes()[0];

    let begin = Instant::now();
    let mut session = open(&server, workload.clone());
    let opened_in_s = begin.elapsed().as_secs_f64();
    thread::sleep(SETTLE);
    let each = f64::from(connections);
    let (server_memory, generator_memory) = (resident(pid), resident(OURS));
    let kernel = kernel_memory() - before;
    let idle_cpu = {
        let before = usage::process_cpu(pid).unwrap();
        thread::sleep(IDLE);
        let used = usage::process_cpu(pid).unwrap() - before;
        used.as_secs() / IDLE.as_secs_f64()
    };
    let rate_per_s = completed_per_s(&session.slice(1).unwrap(), slice);
    session.close().unwrap();

    let rate = Rate { from: RATE, to: RATE };
    let arrivals = Arrivals::Poisson;
    let pace = Pace::Open { rate, arrivals };
    let mut session = open(&server, Workload { pace, ..workload });
    let latencies = session.slice(2).unwrap().latencies.response;
    session.close().unwrap();
    server.stop().unwrap();
    let percentile = |q: f64| {
        latencies
            .quantile(q)
            .map_or(f64::NAN, |found| found.value.0 as f64 / 1e3)
    };
    Measured {
        opened_in_s,
        server: server_memory / each,
        generator: generator_memory / each,
        kernel: kernel / each / 2.0,
        idle_cpu,
        rate_per_s,
        p50_us: percentile(0.5),
        p99_us: percentile(0.99),
    }
}

fn completed_per_s(slice: &Slice, duration: Nanos) -> f64 {
    slice.messages.completed as f64 / duration.as_secs()
}

fn start_server(workload: &Workload, cpus: &[usize]) -> Server {
    let mut flags: Vec<String> = Vec::new();
    if admission::has_descriptors(workload.connections, 1) {
        flags.extend(["--workers", "1"].map(String::from));
    } else {
        let room = (workload.connections + SPARE).to_string();
        flags.extend(["--max-connections".into(), room]);
    }
    Server::start_program(env!("CARGO_BIN_EXE_urecho"), Engine::Uring, &flags, cpus).unwrap()
}

fn open(server: &Server, mut workload: Workload) -> Session {
    let mut targets = vec![server.address().into()];
    workload.sources = load::sources_on_loopback(&mut targets, &workload);
    workload.tcp_memory = load::room_in_tcp_memory(&workload, &targets);
    Session::open(&Plan { targets, workload }).unwrap()
}

/// Resident bytes of a process.
fn resident(pid: impl Display) -> f64 {
    kilobytes(Path::new(&format!("/proc/{pid}/status")), "VmRSS:") * 1024.0
}

/// Bytes of the kernel's objects that are in use, without connections in TIME_WAIT, which end after a minute:
/// slabinfo(5), which only root may read.
fn kernel_memory() -> f64 {
    let Ok(text) = fs::read_to_string("/proc/slabinfo") else {
        return f64::NAN;
    };
    let bytes = |line: &str| {
        let mut fields = line.split_whitespace();
        let name = fields.next().filter(|name| !name.starts_with("tw_sock"))?;
        let objects: f64 = fields.next()?.parse().ok()?;
        let size: f64 = fields.nth(1)?.parse().ok()?;
        (!name.starts_with('#')).then_some(objects * size)
    };
    text.lines().filter_map(bytes).sum()
}

fn kilobytes(path: &Path, name: &str) -> f64 {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The number behind a flag.
fn number(flag: &str) -> Option<u64> {
    let mut words = std::env::args().skip_while(|word| word != flag);
    words.nth(1).map(|word| word.parse().unwrap())
}
