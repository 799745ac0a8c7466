//! Is the generator the bottleneck? It against a tight epoll client, on the same CPU, against the same server.
//!
//! `cargo bench --bench generator` interleaves slices of both in random order and prints the ratio of their rates with
//! its interval, then what verifying and recording cost of the generator's CPU time per message. Under `cargo test` it
//! runs small, to check that it still works; no figure is judged there.

#![allow(clippy::unwrap_used)] // a benchmark that cannot run says so by its panic

mod epoll_client;

use std::net::SocketAddr;
use std::time::Duration;

use urecho::clock::{self, Nanos};
use urecho::compare::Server;
use urecho::histogram::Recorder;
use urecho::load::payload::PayloadStream;
use urecho::load::pinger::{Manner, Pinger};
use urecho::load::sizes::Sizes;
use urecho::load::{self, Plan};
use urecho::sys::affinity;
use urecho::sys::signal::Stop;

const CONNECTIONS: u32 = 50;
const SIZE: usize = 64;

fn main() {
    // `cargo bench` passes --bench; `cargo test` does not.
    let full = std::env::args().any(|arg| arg == "--bench");
    let (pairs, slice) = if full {
        (20, Duration::from_secs(1))
    } else {
        (1, Duration::from_millis(50))
    };
    let cpus = affinity::allowed();
    let (servers, ours) = (&cpus[..1], *cpus.last().unwrap());
    let server = Server::start_program(env!("CARGO_BIN_EXE_urecho"), 1, servers).unwrap();
    affinity::pin(ours).unwrap();
    println!(
        "{CONNECTIONS} connections, {SIZE} B, server on CPU {}, client on CPU {ours}",
        servers[0]
    );
    println!("{pairs} pairs of slices of {slice:?}, order by coin\n");

    let (mut ratios, mut cpu, mut cpu_epoll) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs {
        let us_first = pair * 0x9E37 / 7 % 2 == 0;
        let mut rates = (0.0, 0.0);
        for us in [us_first, !us_first] {
            if us {
                let (rate, cpu_per_message) = generator(server.address(), slice);
                rates.0 = rate;
                cpu.push(cpu_per_message);
            } else {
                let (rate, cpu_per_message) = epoll_client::run(server.address(), CONNECTIONS as usize, SIZE, slice);
                rates.1 = rate;
                cpu_epoll.push(cpu_per_message);
            }
        }
        ratios.push(rates.0 / rates.1);
        println!(
            "urecho load {:>9.0}/s   epoll client {:>9.0}/s   ratio {:.3}",
            rates.0,
            rates.1,
            rates.0 / rates.1
        );
    }
    server.stop().unwrap();

    let (median, low, high) = median(&mut ratios);
    println!("\nratio of rates: median {median:.3}, 95 % interval {low:.3} to {high:.3}");
    let (cpu, ..) = self::median(&mut cpu);
    let (verify, record) = (verifying(), recording());
    let (cpu_epoll, ..) = self::median(&mut cpu_epoll);
    println!("client CPU per message: generator median {cpu:.0} ns, epoll client median {cpu_epoll:.0} ns");
    println!(
        "  of it verifying {verify:.1} ns, recording {record:.1} ns: together {:.1} %",
        100.0 * (verify + record) / cpu
    );
}

/// One slice of the generator as users run it: messages a second, CPU nanoseconds a message.
fn generator(target: SocketAddr, slice: Duration) -> (f64, f64) {
    let plan = Plan {
        connections: CONNECTIONS,
        warmup: Nanos::from(slice / 10),
        duration: Nanos::from(slice),
        ..Plan::against(target)
    };
    let outcome = load::run(plan, &Stop::new().unwrap(), &mut ()).unwrap();
    let (found, messages) = (&outcome.found, outcome.messages);
    assert_eq!(messages.sent, messages.ok, "every message comes back");
    let seconds = (found.end - found.begin).as_secs();
    (
        found.returned as f64 / seconds,
        found.cpu_total.0 as f64 / found.returned as f64,
    )
}

/// Nanoseconds to compare one message, beyond counting its bytes.
fn verifying() -> f64 {
    per_message(true) - per_message(false)
}

/// Nanoseconds to take one answer, verified or not.
fn per_message(verify: bool) -> f64 {
    const MESSAGES: u64 = 1_000_000;
    let manner = Manner {
        sizes: Sizes::Fixed(SIZE as u64),
        depth: 1,
        verify,
    };
    let mut pinger = Pinger::new(PayloadStream::new(1, 1), 0);
    let mut buffer = [0; SIZE];
    let mut spent = Nanos(0);
    for _ in 0..MESSAGES / 1000 {
        // Answers of a thousand messages are timed together: a clock takes longer than a check.
        let mut echoes = Vec::new();
        let mut twin = Pinger::new(PayloadStream::new(1, 1), 0);
        std::mem::swap(&mut twin, &mut pinger);
        for _ in 0..1000 {
            twin.ask(Nanos(0), true);
            twin.write(&manner, &mut buffer, Nanos(0));
            twin.sent();
            echoes.push(buffer);
            let begin = clock::now();
            twin.received(&manner, std::hint::black_box(&echoes[echoes.len() - 1]), |message| {
                std::hint::black_box(message);
            })
            .unwrap();
            spent = spent + (clock::now() - begin);
        }
        pinger = twin;
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

/// The median, and the order statistics that enclose it with at least 95 % confidence (sign test).
fn median(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let rank = ((n - 1.96 * n.sqrt()) / 2.0).floor().max(0.0) as usize;
    let middle = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
    (middle, values[rank], values[values.len() - 1 - rank])
}
