//! What other peers cost a good one: p99 beside 1,000 peers that never read, and beside one that streams.
//!
//! `cargo bench --bench neighbours` runs blocks of slices and prints the ratios of p99 with their intervals. In a
//! block, every condition has two slices: in random order, then in reverse. `-- --engine NAME` chooses the engine, `--
//! --seed N` repeats an order, `-- --blocks N` sets how many. Under `cargo test` one small block runs; no figure is
//! judged.
//!
//! A stream takes CPU time from everything on its CPUs, whatever server it talks to. So there are two ratios for it:
//! to no stream, and to a stream to a second server on the same CPU, which is what the machine alone costs.

#![allow(clippy::unwrap_used)] // a benchmark that cannot run says so by its panic

mod peers;
mod server;

use std::time::Duration;

use urecho::clock::Nanos;
use urecho::load::{self, Plan, Workload};
use urecho::random::Random;
use urecho::serve::engine::Engine;
use urecho::stats::signed_rank::{self, ConfidenceInterval};
use urecho::sys::signal::Stop;
use urecho::sys::{affinity, limits};

use peers::{NeverReaders, Stream};
use server::Server;

/// Probability that a true ratio lies beyond one end of its interval: together 5 %.
const ALPHA: f64 = 0.025;

/// What the good connections share their server with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Alone,
    NeverReaders,
    Stream,
    /// A stream to another server on the same CPU.
    StreamElsewhere,
}

/// Good connections, and the conditions that they are measured under.
struct Experiment {
    title: &'static str,
    connections: u32,
    conditions: &'static [Condition],
    /// Ratios of p99, with the bound that `urecho serve` is built for.
    ratios: &'static [(Condition, Condition, &'static str)],
}

const EXPERIMENTS: [Experiment; 2] = [
    Experiment {
        title: "10 connections beside peers that never read",
        connections: 10,
        conditions: &[Condition::Alone, Condition::NeverReaders],
        ratios: &[(Condition::NeverReaders, Condition::Alone, "target: at most 2")],
    },
    Experiment {
        title: "100 connections beside a stream",
        connections: 100,
        conditions: &[Condition::Alone, Condition::Stream, Condition::StreamElsewhere],
        ratios: &[
            (Condition::Stream, Condition::Alone, "target: at most 3"),
            (Condition::Stream, Condition::StreamElsewhere, "the server's part"),
            (Condition::StreamElsewhere, Condition::Alone, "the machine's part"),
        ],
    },
];

/// How long and with what to measure.
struct Bench {
    server: Server,
    /// Takes a stream in [`Condition::StreamElsewhere`].
    other: Server,
    slice: Duration,
    never_readers: usize,
}

/// p99 of every slice of one block, in seconds.
type Block = Vec<(Condition, f64)>;

fn main() {
    // `cargo bench` passes --bench; `cargo test` does not.
    let full = std::env::args().any(|arg| arg == "--bench");
    let blocks: u64 = argument("--blocks").unwrap_or(if full { 12 } else { 1 });
    let seed = argument("--seed").unwrap_or_else(Random::seed_from_os);
    let engine: Engine = argument("--engine").unwrap_or_default();
    limits::raise_descriptors();
    let cpus = affinity::allowed();
    let bench = Bench {
        server: Server::start(engine),
        other: Server::start(engine),
        slice: Duration::from_millis(if full { 1000 } else { 100 }),
        never_readers: if full { 1000 } else { 50 },
    };
    affinity::pin(*cpus.last().unwrap()).unwrap(); // The servers are on the first one.
    println!("engine {engine}, 64 B, closed loop, {blocks} blocks, seed {seed}");
    let mut random = Random::new(seed, 0);
    for experiment in &EXPERIMENTS {
        println!("\n{}", experiment.title);
        let blocks: Vec<Block> = (0..blocks).map(|_| bench.block(experiment, &mut random)).collect();
        experiment.summarise(&blocks);
    }
}

/// The value after a flag of this bench.
fn argument<T: std::str::FromStr<Err: std::fmt::Debug>>(flag: &str) -> Option<T> {
    let mut arguments = std::env::args().skip_while(|argument| argument != flag).skip(1);
    arguments.next().map(|value| value.parse().unwrap())
}

impl Bench {
    /// Measures and prints one block.
    fn block(&self, experiment: &Experiment, random: &mut Random) -> Block {
        let mut order = experiment.conditions.to_vec();
        random.shuffle(&mut order);
        let back = order.clone().into_iter().rev();
        let block: Block = order
            .into_iter()
            .chain(back)
            .map(|condition| (condition, self.p99(condition, experiment)))
            .collect();
        let shown = block
            .iter()
            .map(|(condition, p99)| format!("{condition:?} {:.0} µs", p99 * 1e6));
        println!("  p99: {}", shown.collect::<Vec<_>>().join(", "));
        block
    }

    fn p99(&self, condition: Condition, experiment: &Experiment) -> f64 {
        let address = self.server.address;
        match condition {
            Condition::Alone => self.measure(experiment.connections),
            Condition::NeverReaders => {
                let _others = NeverReaders::connect(address, self.never_readers);
                self.measure(experiment.connections)
            }
            Condition::Stream => {
                let _other = Stream::start(address);
                self.measure(experiment.connections)
            }
            Condition::StreamElsewhere => {
                let _other = Stream::start(self.other.address);
                self.measure(experiment.connections)
            }
        }
    }

    /// p99 over good connections, in seconds.
    fn measure(&self, connections: u32) -> f64 {
        let plan = Plan {
            targets: vec![self.server.address.into()],
            workload: Workload {
                connections,
                warmup: Nanos::from(self.slice / 10),
                duration: Nanos::from(self.slice),
                ..Workload::default()
            },
        };
        let outcome = load::run(plan, &Stop::new().unwrap(), &mut ()).unwrap();
        let messages = outcome.messages;
        assert_eq!(messages.sent, messages.completed, "every message comes back");
        let p99 = outcome.latencies.service.quantile(0.99);
        p99.expect("a slice has hundreds of messages").value.as_secs()
    }
}

impl Experiment {
    fn summarise(&self, blocks: &[Block]) {
        for (over, under, note) in self.ratios {
            let ratios: Vec<f64> = blocks.iter().map(|block| log_ratio(block, *over, *under)).collect();
            let estimate = signed_rank::estimate(&ratios, ALPHA).unwrap();
            let interval = match estimate.interval {
                Some(ConfidenceInterval { low, high }) => {
                    format!("95 % confidence interval {:.2} to {:.2}", low.exp(), high.exp())
                }
                None => format!("{} is too few for an interval", estimate.n),
            };
            let ratio = estimate.location.exp();
            println!("ratio of p99, {over:?} to {under:?}: {ratio:.2}, {interval} ({note})");
        }
    }
}

/// ln(over / under) of the geometric means of a block's slices.
fn log_ratio(block: &Block, over: Condition, under: Condition) -> f64 {
    let mean = |wanted: Condition| {
        let logs: Vec<f64> = block
            .iter()
            .filter(|(condition, _)| *condition == wanted)
            .map(|(_, p99)| p99.ln())
            .collect();
        logs.iter().sum::<f64>() / logs.len() as f64
    };
    mean(over) - mean(under)
}
