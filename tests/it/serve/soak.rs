//! Long runs of everything at once: faulty networks, resets, churn, half-closes, stalled peers and signals. Afterwards,
//! descriptors and memory are what they were, and the counters of the server add up.
//!
//! `URECHO_SOAK=60s` sets the duration of each engine, `URECHO_CYCLES=200k` the connections in the test of cycles,
//! and `URECHO_SEED=N` another seed. `.ci/run` soaks for 60 s.

// The peers: what each does, and what it expects.
mod peers;

use std::env;
use std::panic;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use urecho::random::Random;
use urecho::serve::engine::Engine;
use urecho::units;

use crate::support::faulty_proxy::{Faults, FaultyProxy};
use crate::support::network::{Network, in_network};
use crate::support::{
    Output, ServeProcess, assert_at_most, assert_echo, assert_says, bytes, connect, connect_many, on_every_engine,
    reset, stuff, until,
};
use peers::Peers;

/// Threads with peers that misbehave.
const THREADS: u64 = 6;

/// At 64 buffers each, they hold all of two workers.
const STALLED: usize = 600;

/// Ends of the pipes that two workers may keep for streams, and of the three standard streams.
const PIPES: usize = 2 * 16 * 2 + 3;

/// Memory that is no leak: what the allocator keeps, and pages that are touched late.
const SLACK: u64 = 2 << 20;

on_every_engine! {
    chaos_leaves_nothing_behind,
    connect_and_close_cycles_leave_nothing_behind,
}

fn chaos_leaves_nothing_behind(engine: Engine) {
    in_network(|network| {
        limit_socket_memory(network);
        let (seed, duration) = (seed(), soak_duration());
        println!("URECHO_SEED={seed}");
        let server = ServeProcess::on(engine, &["--workers", "2", "--drain-timeout", "2s"]);
        // The first part makes the server take all the memory that it may take.
        stall_many(&server);
        chaos(&server, engine, seed, duration / 3);
        let before = Usage::of(&server);
        chaos(&server, engine, seed + 1, duration * 2 / 3);
        Usage::of(&server).assert_within(&before);
        let ended = stop(server);
        assert_adds_up(&ended);
    });
}

/// Peers that never read, until they hold every buffer that they can.
fn stall_many(server: &ServeProcess) {
    let streams = connect_many(server.address, STALLED);
    stuff(&streams);
    streams.into_iter().for_each(reset);
}

/// Runs peers and signals for this long. A steady connection is served all the time.
fn chaos(server: &ServeProcess, engine: Engine, seed: u64, duration: Duration) {
    let faults = Faults {
        seed,
        segment_max: 200_000,
        delay_one_in: 50,
        delay_max: Duration::from_millis(2),
        cut_one_in: 4,
        ..Faults::default()
    };
    let proxy = FaultyProxy::start(server.address, faults);
    let end = Instant::now() + duration;
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let random = Random::new(seed, thread);
            let peers = Peers::new(server.address, engine, proxy.address, random);
            scope.spawn(move || peers.run_until(end));
        }
        scope.spawn(|| interrupt(server, Random::new(seed, THREADS), end));
        let mut steady = connect(server.address);
        for number in 0.. {
            assert_echo(&mut steady, &bytes(1 + number as usize % 5_000, number));
            if Instant::now() > end {
                break;
            }
        }
    });
}

/// Stops and continues the server, and sends signals that it ignores.
fn interrupt(server: &ServeProcess, mut random: Random, end: Instant) {
    while Instant::now() < end {
        match random.below(3) {
            0 => {
                server.signal(Signal::SIGSTOP);
                thread::sleep(Duration::from_millis(random.below(40) as u64));
                server.signal(Signal::SIGCONT);
            }
            1 => server.signal(Signal::SIGWINCH),
            _ => server.signal(Signal::SIGURG),
        }
        thread::sleep(Duration::from_millis(50 + random.below(200) as u64));
    }
}

/// With a mix of FIN and RST, with and without bytes, and bursts.
fn connect_and_close_cycles_leave_nothing_behind(engine: Engine) {
    in_network(|network| {
        network.set("ip_local_port_range", "1024 65535");
        let (seed, cycles) = (seed(), cycles());
        println!("URECHO_SEED={seed}");
        let server = ServeProcess::on(engine, &["--workers", "2"]);
        let mut peers = Peers::new(server.address, engine, server.address, Random::new(seed, 0));
        peers.cycles(cycles / 4);
        let before = Usage::of(&server);
        peers.cycles(cycles - cycles / 4);
        Usage::of(&server).assert_within(&before);
        let ended = stop(server);
        assert_adds_up(&ended);
        assert_eq!(counter(&ended, "accepted"), cycles, "{ended}");
    });
}

/// The control: one connection that stays is found.
#[test]
fn a_connection_that_is_left_behind_is_found() {
    let server = ServeProcess::start(&["--workers", "1"]);
    let before = Usage::of(&server);
    let _left = connect_many(server.address, 1);
    let after = Usage::of(&server);
    assert_eq!(after.descriptors, before.descriptors + 1);
    assert!(panic::catch_unwind(|| after.assert_within(&before)).is_err());
}

/// What a server holds while no peer is connected.
#[derive(Debug)]
struct Usage {
    /// Beside the ends of pipes.
    descriptors: usize,
    pipes: usize,
    resident: u64,
}

impl Usage {
    /// Waits until the connections are closed: their number does not change for a while.
    fn of(server: &ServeProcess) -> Usage {
        let mut last = (server.descriptors(), Instant::now());
        until("the connections have closed", || {
            let descriptors = server.descriptors();
            if descriptors != last.0 {
                last = (descriptors, Instant::now());
            }
            last.1.elapsed() > Duration::from_millis(300)
        });
        let pipes = server.ends_of_pipes();
        Usage {
            descriptors: server.descriptors() - pipes,
            pipes,
            resident: server.resident(),
        }
    }

    fn assert_within(&self, before: &Usage) {
        println!("{before:?}, then {self:?}");
        assert_at_most("descriptors", self.descriptors, before.descriptors);
        assert_at_most("ends of pipes", self.pipes, PIPES);
        assert_at_most("resident memory", self.resident, before.resident + SLACK);
    }
}

fn stop(server: ServeProcess) -> Output {
    server.signal(Signal::SIGTERM);
    server.wait()
}

/// Every connection was closed, none was refused or cut, and no buffer, slot or byte is missing.
fn assert_adds_up(ended: &Output) {
    println!("{}", ended.stderr.trim());
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert_eq!(counter(ended, "accepted"), counter(ended, "closed"), "{ended}");
    assert_says(&ended.stderr, &["refused=0"]);
    // They are only printed if they are not zero.
    for name in ["cut=", "stale=", "in_use="] {
        assert!(!ended.stderr.contains(name), "{ended}");
    }
    assert_at_most("bytes_out", counter(ended, "bytes_out"), counter(ended, "bytes_in"));
}

fn counter(ended: &Output, name: &str) -> u64 {
    let mut words = ended.stderr.split_whitespace();
    let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name}: {ended}")).parse().unwrap()
}

/// Socket memory is limited for the whole machine (net.ipv4.tcp_mem): stalled peers take little of it.
fn limit_socket_memory(network: &Network) {
    network.set("tcp_rmem", "4096 65536 65536");
    network.set("tcp_wmem", "4096 65536 65536");
}

fn seed() -> u64 {
    env::var("URECHO_SEED").map_or(14, |text| text.parse().unwrap())
}

fn soak_duration() -> Duration {
    let text = env::var("URECHO_SOAK").unwrap_or("4s".into());
    Duration::from_nanos(units::duration(&text).unwrap().0)
}

fn cycles() -> u64 {
    let text = env::var("URECHO_CYCLES").unwrap_or("3k".into());
    units::count(&text).unwrap()
}
