//! Is the generator the bottleneck? Compares it with a minimal epoll client: same CPU, same server, interleaved slices.
//!
//! `cargo bench --bench generator` runs blocks of four slices, ABBA or BAAB by a seeded coin, and prints the ratios of
//! rate and of CPU time per message with their intervals, then what verifying and recording cost in the generator.
//! `-- --seed N` repeats an order, `-- --blocks N` sets how many. Under `cargo test` one small block runs; no figure is
//! judged.

#![allow(clippy::unwrap_used)] // a benchmark that cannot run says so by its panic

mod epoll_client;

use std::net::SocketAddr;
use std::time::Duration;

use urecho::clock::{self, Nanos};
use urecho::compare::Server;
use urecho::histogram::Recorder;
use urecho::load::payload::PayloadStream;
use urecho::load::pipeline::Pipeline;
use urecho::load::sizes::Sizes;
use urecho::load::{self, Plan, Traffic, Workload};
use urecho::random::Random;
use urecho::serve::engine::Engine;
use urecho::stats::signed_rank::{self, ConfidenceInterval};
use urecho::sys::affinity;
use urecho::sys::signal::Stop;

const CONNECTIONS: u32 = 50;
const SIZE: usize = 64;

/// Probability that a true ratio lies beyond one end of its interval: together 5 %.
const ALPHA: f64 = 0.025;

/// The two clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Generator,
    Epoll,
}

/// What one client did in one slice.
#[derive(Debug, Clone, Copy)]
struct Slice {
    rate_per_s: f64,
    cpu_ns_per_message: f64,
}

/// Two slices of each client.
#[derive(Debug, Default)]
struct Block {
    generator: Vec<Slice>,
    epoll: Vec<Slice>,
}

fn main() {
    // `cargo bench` passes --bench; `cargo test` does not.
    let full = std::env::args().any(|arg| arg == "--bench");
    let slice = Duration::from_millis(if full { 1000 } else { 50 });
    let blocks = number("--blocks").unwrap_or(if full { 12 } else { 1 });
    let seed = number("--seed").unwrap_or_else(Random::seed_from_os);
    let cpus = affinity::allowed();
    let (servers, ours) = (&cpus[..1], *cpus.last().unwrap());
    let server = Server::start_program(env!("CARGO_BIN_EXE_urecho"), Engine::Uring, 1, servers).unwrap();
    affinity::pin(ours).unwrap();
    println!(
        "{CONNECTIONS} connections, {SIZE} B, server on CPU {}, client on CPU {ours}",
        servers[0]
    );
    println!("{blocks} × 4 slices of {slice:?}, each ABBA or BAAB by coin, seed {seed}\n");

    let mut random = Random::new(seed, 0);
    let blocks: Vec<Block> = (0..blocks)
        .map(|_| block(&mut random, server.address(), slice))
        .collect();
    server.stop().unwrap();
    summarise(&blocks);
}

/// Runs and prints one block.
fn block(random: &mut Random, server: SocketAddr, slice: Duration) -> Block {
    use Client::{Epoll, Generator};
    let order = if random.coin() {
        [Generator, Epoll, Epoll, Generator]
    } else {
        [Epoll, Generator, Generator, Epoll]
    };
    let mut block = Block::default();
    for client in order {
        match client {
            Generator => block.generator.push(generator(server, slice)),
            Epoll => block
                .epoll
                .push(epoll_client::run(server, CONNECTIONS as usize, SIZE, slice)),
        }
    }
    println!(
        "{}   urecho load {:>9.0}/s   epoll client {:>9.0}/s   ratio {:.3}",
        order
            .map(|client| if client == Generator { 'G' } else { 'E' })
            .iter()
            .collect::<String>(),
        mean(&block.generator, |slice| slice.rate_per_s),
        mean(&block.epoll, |slice| slice.rate_per_s),
        block.log_ratio(|slice| slice.rate_per_s).exp(),
    );
    block
}

impl Block {
    /// ln(generator / epoll client) of the mean of a figure over the block's slices.
    fn log_ratio(&self, figure: fn(&Slice) -> f64) -> f64 {
        (mean(&self.generator, figure) / mean(&self.epoll, figure)).ln()
    }
}

fn summarise(blocks: &[Block]) {
    for (name, figure) in [
        ("rate", (|slice| slice.rate_per_s) as fn(&Slice) -> f64),
        ("CPU per message", |slice| slice.cpu_ns_per_message),
    ] {
        let ratios: Vec<f64> = blocks.iter().map(|block| block.log_ratio(figure)).collect();
        let estimate = signed_rank::estimate(&ratios, ALPHA).unwrap();
        let interval = match estimate.interval {
            Some(ConfidenceInterval { low, high }) => {
                format!("95 % confidence interval {:.3} to {:.3}", low.exp(), high.exp())
            }
            None => format!("{} is too few for an interval", estimate.n),
        };
        println!(
            "\nratio of {name}, generator to epoll client: {:.3}, {interval}",
            estimate.location.exp()
        );
    }
    let cpu = |of: fn(&Block) -> &[Slice]| {
        let slices: Vec<Slice> = blocks.iter().flat_map(|block| of(block).to_vec()).collect();
        mean(&slices, |slice| slice.cpu_ns_per_message)
    };
    let (ours, theirs) = (cpu(|block| &block.generator), cpu(|block| &block.epoll));
    println!("client CPU per message: generator {ours:.0} ns, epoll client {theirs:.0} ns (means)");
    let (verify, record) = (verifying(), recording());
    println!(
        "  of it verifying {verify:.1} ns, recording {record:.1} ns: together {:.1} %",
        100.0 * (verify + record) / ours
    );
}

fn mean(slices: &[Slice], figure: fn(&Slice) -> f64) -> f64 {
    slices.iter().map(figure).sum::<f64>() / slices.len() as f64
}

/// The number after a flag of this bench.
fn number(flag: &str) -> Option<u64> {
    let mut args = std::env::args().skip_while(|arg| arg != flag).skip(1);
    args.next().map(|value| value.parse().unwrap())
}

/// One slice of the generator as users run it.
fn generator(target: SocketAddr, slice: Duration) -> Slice {
    let plan = Plan {
        targets: vec![target.into()],
        workload: Workload {
            connections: CONNECTIONS,
            warmup: Nanos::from(slice / 10),
            duration: Nanos::from(slice),
            ..Workload::default()
        },
    };
    let outcome = load::run(plan, &Stop::new().unwrap(), &mut ()).unwrap();
    let (stats, messages) = (&outcome.stats, outcome.messages);
    assert_eq!(messages.sent, messages.completed, "every message comes back");
    let seconds = stats.elapsed().as_secs();
    Slice {
        rate_per_s: stats.achieved as f64 / seconds,
        cpu_ns_per_message: stats.cpu.total.0 as f64 / stats.achieved as f64,
    }
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
