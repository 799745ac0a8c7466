//! Is the generator the bottleneck? Compares it, on io_uring and on epoll, with a minimal epoll client: same CPU, same
//! server, interleaved slices.
//!
//! `cargo bench --bench generator` runs blocks of two slices of each client, in random order and back, and prints the
//! ratios of rate and of CPU time per message with their intervals, for 50 and for 1,000 connections; then the same for
//! the send lag and the latency of both generators in an open loop; then what verifying and recording cost. `-- --seed
//! N` repeats an order, `-- --blocks N` sets how many. Under `cargo test` one small block runs; no figure is judged.

#![allow(clippy::unwrap_used)] // a benchmark that cannot run says so by its panic

mod epoll_client;

use std::net::SocketAddr;
use std::time::Duration;

use urecho::clock::{self, Nanos};
use urecho::compare::Server;
use urecho::histogram::Recorder;
use urecho::load::payload::PayloadStream;
use urecho::load::pipeline::Pipeline;
use urecho::load::schedule::{Arrivals, Pace, Rate};
use urecho::load::sizes::Sizes;
use urecho::load::{self, Io, Plan, RunResult, Traffic, Workload};
use urecho::random::Random;
use urecho::serve::engine::Engine;
use urecho::stats::signed_rank::{self, ConfidenceInterval};
use urecho::sys::affinity;
use urecho::sys::signal::Stop;

/// Connections of the closed loops.
const CONNECTIONS: [u32; 2] = [50, 1000];

/// Connections of the open loop.
const OPEN_CONNECTIONS: u32 = 50;

const SIZE: usize = 64;

/// Messages per second of the open loop: about a fifth of what the server can do.
const OPEN_RATE: f64 = 20_000.0;

/// Probability that a true ratio lies beyond one end of its interval: together 5 %.
const ALPHA: f64 = 0.025;

/// Those that are compared, each by a letter of its block's order.
const CLIENTS: [(Client, &str); 3] = [
    (Client::Generator(Io::Uring), "urecho load"),
    (Client::Generator(Io::Epoll), "urecho load --io epoll"),
    (Client::Minimal, "minimal epoll client"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Generator(Io),
    Minimal,
}

/// What one client did in one slice.
#[derive(Debug, Clone, Copy)]
struct Slice {
    rate_per_s: f64,
    cpu_ns_per_message: f64,
}

/// What one generator did in one slice of an open loop.
#[derive(Debug, Clone, Copy)]
struct OpenSlice {
    send_lag_p99_ns: f64,
    response_p50_ns: f64,
    cpu_ns_per_message: f64,
}

/// Two slices of each client, by their numbers.
type Block<S> = Vec<Vec<S>>;

fn main() {
    // `cargo bench` passes --bench; `cargo test` does not.
    let full = std::env::args().any(|arg| arg == "--bench");
    let slice = Duration::from_millis(if full { 1000 } else { 50 });
    let blocks = number("--blocks").unwrap_or(if full { 12 } else { 1 });
    let seed = number("--seed").unwrap_or_else(Random::seed_from_os);
    let cpus = affinity::allowed();
    let (servers, ours) = (&cpus[..1], *cpus.last().unwrap());
    let flags = ["--workers", "1"];
    let server = Server::start_program(env!("CARGO_BIN_EXE_urecho"), Engine::Uring, &flags, servers).unwrap();
    affinity::pin(ours).unwrap();
    println!("{SIZE} B, server on CPU {}, client on CPU {ours}", servers[0]);
    println!("{blocks} blocks, each with two slices of {slice:?} per client, seed {seed}");
    let (address, mut random) = (server.address(), Random::new(seed, 0));

    let mut ours_ns = f64::NAN;
    for connections in CONNECTIONS {
        println!("\nclosed loop, {connections} connections");
        let closed = closed_loops(address, connections, slice, blocks, &mut random);
        let all: Vec<Slice> = closed.iter().flat_map(|block| block[0].clone()).collect();
        ours_ns = ours_ns.min(mean(&all, |slice| slice.cpu_ns_per_message));
    }
    println!("\nopen loop, {OPEN_CONNECTIONS} connections, {OPEN_RATE}/s");
    open_loops(address, slice, blocks, &mut random);
    server.stop().unwrap();

    let (verify, record) = (verifying(), recording());
    println!(
        "\nof {ours_ns:.0} ns per message, verifying takes {verify:.1} ns and recording {record:.1} ns: together {:.1} %",
        100.0 * (verify + record) / ours_ns
    );
}

/// Compares all clients in a closed loop.
fn closed_loops(
    target: SocketAddr,
    connections: u32,
    slice: Duration,
    blocks: u64,
    random: &mut Random,
) -> Vec<Block<Slice>> {
    let one_block = |_| {
        let block = block(random, CLIENTS.len(), |client| match CLIENTS[client].0 {
            Client::Generator(io) => generator(target, connections, slice, io),
            Client::Minimal => epoll_client::run(target, connections as usize, SIZE, slice),
        });
        let rates = block.iter().map(|slices| mean(slices, |slice| slice.rate_per_s));
        println!("  {}", rates.map(|rate| format!("{rate:>9.0}/s")).collect::<String>());
        block
    };
    let closed: Vec<Block<Slice>> = (0..blocks).map(one_block).collect();
    for (client, base) in [(0, 2), (1, 2), (1, 0)] {
        ratios("rate", &closed, client, base, |slice| slice.rate_per_s);
        ratios("CPU per message", &closed, client, base, |slice| {
            slice.cpu_ns_per_message
        });
    }
    closed
}

/// Compares both generators in an open loop.
fn open_loops(target: SocketAddr, slice: Duration, blocks: u64, random: &mut Random) {
    let one_block = |_| {
        block(random, 2, |client| {
            let Client::Generator(io) = CLIENTS[client].0 else {
                unreachable!("the first two are generators");
            };
            open_loop(target, slice, io)
        })
    };
    let open: Vec<Block<OpenSlice>> = (0..blocks).map(one_block).collect();
    ratios("p99 of send lag", &open, 1, 0, |slice| slice.send_lag_p99_ns);
    ratios("p50 of response time", &open, 1, 0, |slice| slice.response_p50_ns);
    ratios("CPU per message", &open, 1, 0, |slice| slice.cpu_ns_per_message);
}

/// Runs each of `clients` clients twice: in random order, and back.
fn block<S>(random: &mut Random, clients: usize, mut run: impl FnMut(usize) -> S) -> Block<S> {
    let mut order: Vec<usize> = (0..clients).collect();
    random.shuffle(&mut order);
    let mut block: Block<S> = (0..clients).map(|_| Vec::new()).collect();
    for &client in order.iter().chain(order.iter().rev()) {
        block[client].push(run(client));
    }
    block
}

/// Prints the ratio of a figure of one client to that of another: the median over blocks of the ratio of their means.
fn ratios<S>(name: &str, blocks: &[Block<S>], client: usize, base: usize, figure: fn(&S) -> f64) {
    let logs = blocks
        .iter()
        .map(|block| (mean(&block[client], figure) / mean(&block[base], figure)).ln());
    let estimate = signed_rank::estimate(&logs.collect::<Vec<f64>>(), ALPHA).unwrap();
    let interval = match estimate.interval {
        Some(ConfidenceInterval { low, high }) => {
            format!("95 % confidence interval {:.3} to {:.3}", low.exp(), high.exp())
        }
        None => format!("{} is too few for an interval", estimate.n),
    };
    let mean_of = |client: usize| blocks.iter().map(|block| mean(&block[client], figure)).sum::<f64>();
    let count = blocks.len() as f64;
    println!(
        "{name}, {} to {}: {:.3}, {interval} (means {:.0} and {:.0})",
        CLIENTS[client].1,
        CLIENTS[base].1,
        estimate.location.exp(),
        mean_of(client) / count,
        mean_of(base) / count,
    );
}

fn mean<S>(slices: &[S], figure: fn(&S) -> f64) -> f64 {
    slices.iter().map(figure).sum::<f64>() / slices.len() as f64
}

/// The number after a flag of this bench.
fn number(flag: &str) -> Option<u64> {
    let mut args = std::env::args().skip_while(|arg| arg != flag).skip(1);
    args.next().map(|value| value.parse().unwrap())
}

/// One slice of the generator as users run it.
fn generator(target: SocketAddr, connections: u32, slice: Duration, io: Io) -> Slice {
    let outcome = run(target, connections, slice, io, Pace::Closed { think: Nanos(0) });
    Slice {
        rate_per_s: outcome.stats.achieved as f64 / outcome.stats.elapsed().as_secs(),
        cpu_ns_per_message: cpu_per_message(&outcome),
    }
}

/// One slice of an open loop.
fn open_loop(target: SocketAddr, slice: Duration, io: Io) -> OpenSlice {
    let pace = Pace::Open {
        rate: Rate {
            from: OPEN_RATE,
            to: OPEN_RATE,
        },
        arrivals: Arrivals::Poisson,
    };
    let outcome = run(target, OPEN_CONNECTIONS, slice, io, pace);
    let quantile = |recorder: &Recorder, q| recorder.quantile(q).map_or(f64::NAN, |found| found.value.0 as f64);
    OpenSlice {
        send_lag_p99_ns: quantile(&outcome.stats.send_lag, 0.99),
        response_p50_ns: quantile(&outcome.latencies.response, 0.5),
        cpu_ns_per_message: cpu_per_message(&outcome),
    }
}

fn run(target: SocketAddr, connections: u32, slice: Duration, io: Io, pace: Pace) -> RunResult {
    let plan = Plan {
        targets: vec![target.into()],
        workload: Workload {
            connections,
            warmup: Nanos::from(slice / 10),
            duration: Nanos::from(slice),
            pace,
            io,
            ..Workload::default()
        },
    };
    let outcome = load::run(plan, &Stop::new().unwrap(), &mut ()).unwrap();
    assert_eq!(
        outcome.messages.sent, outcome.messages.completed,
        "every message comes back"
    );
    outcome
}

fn cpu_per_message(outcome: &RunResult) -> f64 {
    outcome.stats.cpu.total.0 as f64 / outcome.stats.achieved as f64
}

/// Nanoseconds to compare one message, beyond counting its bytes.
fn verifying() -> f64 {
    per_message(true) - per_message(false)
}

/// Nanoseconds to take one reply, verified or not.
fn per_message(verify: bool) -> f64 {
    const MESSAGES: u64 = 1_000_000;
    const BATCH: u64 = 1_000;
    let traffic = Traffic {
        sizes: Sizes::Fixed(SIZE as u64),
        depth: BATCH as usize,
        verify,
    };
    let mut pipeline = Pipeline::new(PayloadStream::new(1, 1), 0, traffic.depth);
    let mut buffer = vec![0; SIZE * BATCH as usize];
    let mut spent = Nanos(0);
    for _ in 0..MESSAGES / BATCH {
        (0..BATCH).for_each(|_| pipeline.issue(Nanos(0), true));
        assert_eq!(pipeline.write(&traffic, &mut buffer, Nanos(0)), buffer.len());
        // A batch is timed together: reading the clock takes longer than checking a message.
        let begin = clock::now();
        for reply in buffer.chunks_exact(SIZE) {
            let result = pipeline.receive(&traffic, std::hint::black_box(reply), |message| {
                std::hint::black_box(message);
            });
            result.unwrap();
        }
        spent = spent + (clock::now() - begin);
    }
    spent.0 as f64 / MESSAGES as f64
}

/// Nanoseconds to record one latency, spread as latencies are.
fn recording() -> f64 {
    const MESSAGES: u64 = 1_000_000;
    let mut recorder = Recorder::new();
    let begin = clock::now();
    for message in 0..MESSAGES {
        recorder.record(std::hint::black_box(Nanos(100_000 + message * 7919 % 200_000)));
    }
    assert_eq!(recorder.count(), MESSAGES);
    (clock::now() - begin).0 as f64 / MESSAGES as f64
}
