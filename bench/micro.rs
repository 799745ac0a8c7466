//! What is ours alone, without a socket: how many nanoseconds each piece adds to a message.
//!
//! `cargo bench --bench micro` times by criterion; what is named ×1,000 does a thousand at once, so that its µs are
//! ns apiece. Every piece says what must come out, and is asked before and after it is timed. Under `cargo test` it is
//! only asked, and no figure is judged.
//!
//! What ends in a system call is left out: the kernel's share is thousands of times as large, and varies by more than all of this.

#![allow(clippy::unwrap_used)] // a benchmark that cannot run says so by its panic

// The file that the ring is built from, not a copy: its items are the ring's own, and no feature makes them public.
#[allow(unused_imports)] // of its tests, which have no harness here
#[path = "../src/ring/token.rs"]
mod token;

use std::fmt::Debug;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use token::{Op, Token};
use urecho::clock::Nanos;
use urecho::histogram::Recorder;
use urecho::load::Traffic;
use urecho::load::payload::PayloadStream;
use urecho::load::pinger::Pinger;
use urecho::load::sizes::Sizes;
use urecho::ring::{Buffers, Chain, Chunk, Queues, Ring, SizeClass};
use urecho::slab::{self, GENERATIONS, Key, Slab}; // `slab`: where token.rs looks for it
use urecho::units;

/// Connections of the main job.
const CONNECTIONS: u64 = 10_000;

/// A prime, to visit places in an order that no prefetcher knows.
const STRIDE: u64 = 7919;

const MANY: u64 = 1000;

fn main() {
    // `cargo bench` passes --bench; `cargo test` does not, and criterion would refuse flags of other tests.
    let full = std::env::args().any(|arg| arg == "--bench");
    let mut timer = Timer(full.then(|| {
        Criterion::default()
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2))
            .configure_from_args()
    }));
    tokens(&mut timer);
    places(&mut timer);
    buffers(&mut timer);
    payload(&mut timer);
    messages(&mut timer);
    latencies(&mut timer);
    words(&mut timer);
    if let Some(criterion) = &mut timer.0 {
        criterion.final_summary();
    }
}

/// Criterion, or nobody: then every piece is only asked for its answer.
struct Timer(Option<Criterion>);

impl Timer {
    /// Times `work`, which must come to the same `answer` however often it is done.
    fn time<T: Debug + PartialEq>(&mut self, name: &str, size: Throughput, answer: T, mut work: impl FnMut() -> T) {
        assert_eq!(work(), answer, "{name}");
        let Some(criterion) = &mut self.0 else {
            return;
        };
        let mut group = criterion.benchmark_group(name.split_once('/').unwrap().0);
        group.throughput(size);
        group.bench_function(name.split_once('/').unwrap().1, |bencher| bencher.iter(&mut work));
        group.finish();
        assert_eq!(work(), answer, "{name}, after it was timed");
    }

    /// The same for a thousand at once.
    fn time_many<T: Debug + PartialEq>(&mut self, name: &str, answer: T, work: impl FnMut() -> T) {
        self.time(&format!("{name} ×1,000"), Throughput::Elements(MANY), answer, work);
    }
}

/// What travels through the kernel in `user_data`.
fn tokens(timer: &mut Timer) {
    let token = |number: u64| Token {
        op: if number.is_multiple_of(2) {
            Op::Receive
        } else {
            Op::Send
        },
        key: Key {
            slot: (number * STRIDE % CONNECTIONS) as u32,
            generation: (number * STRIDE * STRIDE) as u32 % GENERATIONS,
        },
    };
    let tokens: Vec<Token> = (0..MANY).map(token).collect();
    let by_hand = |token: &Token| {
        let Key { slot, generation } = token.key;
        ((token.op as u64 * u64::from(GENERATIONS) + u64::from(generation)) << 32) + u64::from(slot)
    };
    let packed: Vec<u64> = tokens.iter().map(by_hand).collect();
    let sum = packed.iter().fold(0, |sum: u64, more| sum.wrapping_add(*more));
    timer.time_many("token/pack", sum, || {
        // One by one: a compiler that sees them all packs eight at a time, which a ring never does.
        let packed = tokens.iter().map(|token| black_box(*token).pack());
        packed.fold(0, u64::wrapping_add)
    });
    timer.time_many("token/unpack", MANY as usize, || {
        let pairs = packed.iter().zip(&tokens);
        pairs
            .filter(|(packed, token)| Token::unpack(black_box(**packed)) == **token)
            .count()
    });
}

/// Connections and their keys.
fn places(timer: &mut Timer) {
    // 64 bytes a tenant, about what a connection has.
    let mut slab = Slab::with_capacity(CONNECTIONS as usize);
    let keys: Vec<Key> = (0..CONNECTIONS).map(|tenant| slab.insert([tenant; 8])).collect();
    let asked = (0..MANY).map(|number| number * STRIDE % CONNECTIONS);
    let sum: u64 = asked.clone().sum();
    let mut asked: Vec<Key> = asked.map(|tenant| keys[tenant as usize]).collect();

    timer.time_many("slab/get", sum, || {
        let tenants = asked.iter().map(|key| slab.get_mut(*key).unwrap()[0]);
        tenants.sum()
    });
    timer.time_many("slab/remove and insert", sum, || {
        let mut sum = 0;
        for key in &mut asked {
            let tenant = slab.remove(*key).unwrap();
            sum += tenant[0];
            *key = slab.insert(tenant);
        }
        sum
    });
    assert_eq!(slab.len() as u64, CONNECTIONS);
}

/// Buffers of a ring and chains of them. Those that the kernel fills are not seen here: they come with a completion.
fn buffers(timer: &mut Timer) {
    let queues = Queues {
        submissions: 8,
        completions: 64,
    };
    let buffers = Buffers {
        hot: 1,
        total: 1 + 64,
        size: 4096,
        large: None,
    };
    let mut ring = match Ring::new(queues, buffers) {
        Ok(ring) => ring,
        Err(error) => return println!("SKIPPED: ring: {error}"),
    };
    timer.time_many("ring/lease and give back", 0, || {
        for _ in 0..MANY {
            let chunk = black_box(ring.lease().unwrap());
            ring.give_back(chunk);
        }
        ring.lent(SizeClass::Small)
    });
    let mut chunks: Vec<Chunk> = Vec::with_capacity(2);
    timer.time_many("ring/chain two chunks and take them off", 2 * MANY as usize, || {
        chunks.extend([ring.lease().unwrap(), ring.lease().unwrap()]);
        let mut taken = 0;
        for _ in 0..MANY {
            let mut chain = Chain::default();
            for chunk in chunks.drain(..) {
                chain.push(chunk, ring.links());
            }
            let mut chain = black_box(chain);
            while let Some(chunk) = chain.pop(ring.links()) {
                chunks.push(chunk);
                taken += 1;
            }
        }
        chunks.drain(..).for_each(|chunk| ring.give_back(chunk));
        taken
    });
    let (lent, offered) = (ring.lent(SizeClass::Small), ring.offered(SizeClass::Small));
    assert_eq!((lent, offered), (0, 1));
}

/// Bytes made, and bytes compared.
fn payload(timer: &mut Timer) {
    let voice = PayloadStream::new(1, 2);
    for (name, size) in [("64 B", 64), ("4 KiB", 4096), ("1 MiB", 1 << 20)] {
        let bytes = Throughput::Bytes(size as u64);
        let mut message = vec![0; size];
        timer.time(&format!("payload/fill {name}"), bytes.clone(), (), || {
            voice.fill(black_box(3), 0, black_box(&mut message))
        });
        timer.time(&format!("payload/check {name}"), bytes, Ok(()), || {
            voice.check(black_box(3), 0, black_box(&message))
        });
        message[size - 1] ^= 1;
        assert!(voice.check(3, 0, &message).is_err(), "a bit at the end of {name}");
    }
}

/// All that the generator does for a message of 64 B, but for the ring and the clock.
fn messages(timer: &mut Timer) {
    let traffic = Traffic {
        sizes: Sizes::Fixed(64),
        depth: 1,
        verify: true,
    };
    let mut pinger = Pinger::new(PayloadStream::new(1, 2), 0);
    let mut buffer = [0; 64];
    timer.time_many("pinger/ask, write, read and verify", MANY, || {
        let mut answers = 0;
        for _ in 0..MANY {
            pinger.ask(Nanos(0), true);
            let len = pinger.write(&traffic, &mut buffer, Nanos(1));
            pinger.sent();
            let echo = black_box(&buffer[..len]);
            pinger.received(&traffic, echo, |_| answers += 1).unwrap();
        }
        answers
    });
    assert!(pinger.is_quiet());
}

/// Latencies recorded, added up and read.
fn latencies(timer: &mut Timer) {
    // Each of 200,000 values once, from 100 µs on: two of the histogram's doublings, as a loaded server has.
    let latency = |number: u64| Nanos(100_000 + number * STRIDE % 200_000);
    let all = || {
        let mut recorder = Recorder::new();
        (0..200_000).for_each(|number| recorder.record(latency(number)));
        recorder
    };
    let mut recorder = all();
    let mut number = 0;
    timer.time_many("recorder/record", MANY, || {
        let before = recorder.count();
        for _ in 0..MANY {
            recorder.record(black_box(latency(number)));
            number += 1;
        }
        recorder.count() - before
    });
    let (mut total, other) = (Recorder::new(), all());
    timer.time("recorder/merge", Throughput::Elements(1), 200_000, || {
        let before = total.count();
        total.merge(black_box(&other));
        total.count() - before
    });
    // The 198,000th of them is 297,999 ns, and a bucket is at most 0.1 % wide.
    timer.time("recorder/p99", Throughput::Elements(1), true, || {
        let p99 = black_box(&other).quantile(black_box(0.99));
        p99.is_some_and(|p99| (297_999..=298_297).contains(&p99.value.0))
    });
}

/// BlockFigures as people write them.
fn words(timer: &mut Timer) {
    let one = || Throughput::Elements(1);
    timer.time("units/read a duration", one(), Ok(Nanos(250_000_000)), || {
        units::duration(black_box("250ms"))
    });
    timer.time("units/read a rate", one(), Ok(50_000.0), || {
        units::rate(black_box("50k/s"))
    });
    timer.time("units/show a duration", one(), "212 µs".to_owned(), || {
        units::show_duration(black_box(Nanos(212_000)))
    });
}
