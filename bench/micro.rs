//! Nanoseconds that each piece of urecho adds to a message, without a socket.
//!
//! `cargo bench --bench micro` times with criterion. A name with ×1,000 repeats the operation a thousand times, so that
//! its µs are ns per operation. The result of every operation is checked before and after timing; under `cargo test` it
//! is only checked.
//!
//! Operations that enter the kernel are left out: the kernel's part is thousands of times as large, and varies by more
//! than all of these.

#![allow(clippy::unwrap_used)] // in a benchmark, a panic is the report

use std::fmt::Debug;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use urecho::clock::Nanos;
use urecho::histogram::Recorder;
use urecho::load::Traffic;
use urecho::load::connection::{Connection, Next, Outgoing, Receive};
use urecho::load::payload::PayloadStream;
use urecho::load::pipeline::Pipeline;
use urecho::load::sizes::Sizes;
use urecho::ring::{Buffers, Chunk, ChunkQueue, Queues, Ring, RingPlan, Role, Store};
use urecho::slab::{Key, Slab};
use urecho::units;

/// The largest number of connections in the suite.
const CONNECTIONS: u64 = 10_000;

/// A prime: steps of this length visit slots in an order that no prefetcher predicts.
const STRIDE: u64 = 7919;

/// Operations per iteration where one is too short to time.
const REPEATS: u64 = 1000;

fn main() {
    // `cargo bench` passes --bench; `cargo test` does not, and criterion would refuse flags of other tests.
    let full = std::env::args().any(|arg| arg == "--bench");
    let mut timer = Timer(full.then(|| {
        Criterion::default()
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2))
            .configure_from_args()
    }));
    slots(&mut timer);
    buffers(&mut timer);
    payload(&mut timer);
    messages(&mut timer);
    latencies(&mut timer);
    quantities(&mut timer);
    if let Some(criterion) = &mut timer.0 {
        criterion.final_summary();
    }
}

/// None under `cargo test`: results are checked, nothing is timed.
struct Timer(Option<Criterion>);

impl Timer {
    /// Times `work`, which must return `result` every time.
    fn time<T: Debug + PartialEq>(&mut self, name: &str, size: Throughput, result: T, mut work: impl FnMut() -> T) {
        assert_eq!(work(), result, "{name}");
        let Some(criterion) = &mut self.0 else {
            return;
        };
        let mut group = criterion.benchmark_group(name.split_once('/').unwrap().0);
        group.throughput(size);
        group.bench_function(name.split_once('/').unwrap().1, |bencher| bencher.iter(&mut work));
        group.finish();
        assert_eq!(work(), result, "{name}, after timing");
    }

    /// Times `work` that repeats an operation [`REPEATS`] times.
    fn time_repeated<T: Debug + PartialEq>(&mut self, name: &str, result: T, work: impl FnMut() -> T) {
        self.time(&format!("{name} ×1,000"), Throughput::Elements(REPEATS), result, work);
    }
}

/// Slots of connections and their keys.
fn slots(timer: &mut Timer) {
    // 64 bytes per value, about the size of a connection.
    let mut slab = Slab::with_capacity(CONNECTIONS as usize);
    let keys: Vec<Key> = (0..CONNECTIONS).map(|value| slab.insert([value; 8])).collect();
    let visited = (0..REPEATS).map(|number| number * STRIDE % CONNECTIONS);
    let sum: u64 = visited.clone().sum();
    let mut visited: Vec<Key> = visited.map(|slot| keys[slot as usize]).collect();

    timer.time_repeated("slab/get", sum, || {
        let values = visited.iter().map(|key| slab.get_mut(*key).unwrap()[0]);
        values.sum()
    });
    timer.time_repeated("slab/remove and insert", sum, || {
        let mut sum = 0;
        for key in &mut visited {
            let value = slab.remove(*key).unwrap();
            sum += value[0];
            *key = slab.insert(value);
        }
        sum
    });
    assert_eq!(slab.len() as u64, CONNECTIONS);
}

/// Buffers of a ring and queues of them. Buffers that the kernel fills arrive with completions, which are not timed
/// here.
fn buffers(timer: &mut Timer) {
    let queues = Queues {
        submissions: 8,
        completions: 64,
    };
    let buffers = Buffers {
        circulating: 1,
        total: 1 + 64,
        size: 4096,
        pipes: 0,
    };
    let plan = RingPlan {
        role: Role::Server,
        queues,
        buffers,
        entries: 0,
    };
    let mut ring = match Ring::new(plan, 1) {
        Ok(ring) => ring,
        Err(error) => return println!("SKIPPED: ring: {error}"),
    };
    timer.time_repeated("ring/lease and give back", 0, || {
        for _ in 0..REPEATS {
            let chunk = black_box(ring.lease().unwrap());
            ring.give_back(chunk);
        }
        ring.in_use(Store::Buffer)
    });
    let mut chunks: Vec<Chunk> = Vec::with_capacity(2);
    timer.time_repeated("ring/queue two chunks and dequeue them", 2 * REPEATS as usize, || {
        chunks.extend([ring.lease().unwrap(), ring.lease().unwrap()]);
        let mut taken = 0;
        for _ in 0..REPEATS {
            let mut queue = ChunkQueue::default();
            for chunk in chunks.drain(..) {
                queue.push(chunk, ring.chunk_table());
            }
            let mut queue = black_box(queue);
            while let Some(chunk) = queue.pop(ring.chunk_table()) {
                chunks.push(chunk);
                taken += 1;
            }
        }
        chunks.drain(..).for_each(|chunk| ring.give_back(chunk));
        taken
    });
    let (in_use, offered) = (ring.in_use(Store::Buffer), ring.offered(Store::Buffer));
    assert_eq!((in_use, offered), (0, 1));
}

/// Payload bytes, generated and verified.
fn payload(timer: &mut Timer) {
    let stream = PayloadStream::new(1, 2);
    for (name, size) in [("64 B", 64), ("4 KiB", 4096), ("1 MiB", 1 << 20)] {
        let bytes = Throughput::Bytes(size as u64);
        let mut message = vec![0; size];
        timer.time(&format!("payload/fill {name}"), bytes.clone(), (), || {
            stream.fill(black_box(3), 0, black_box(&mut message))
        });
        timer.time(&format!("payload/check {name}"), bytes, Ok(()), || {
            stream.check(black_box(3), 0, black_box(&message))
        });
        message[size - 1] ^= 1;
        assert!(
            stream.check(3, 0, &message).is_err(),
            "a flipped bit at the end of {name}"
        );
    }
}

/// The generator's work per message of 64 B, without ring and clock.
fn messages(timer: &mut Timer) {
    let traffic = Traffic {
        sizes: Sizes::Fixed(64),
        depth: 1,
        verify: true,
    };
    let pipeline = Pipeline::new(PayloadStream::new(1, 2), 0, traffic.depth);
    let (mut connection, next) = Connection::established(0, pipeline, u64::MAX);
    assert_eq!(next.receive, Receive::Arm);
    let mut buffer = [0; 64];
    timer.time_repeated("connection/issue, write, send, receive and verify", REPEATS, || {
        let mut completed = 0;
        for _ in 0..REPEATS {
            let next = black_box(connection.issue(Nanos(0), true));
            assert_eq!(next.send, Some(Outgoing::Buffer));
            let len = connection.write(&traffic, &mut buffer, Nanos(1));
            let next = black_box(connection.sent(Ok(()), false, Nanos(1)));
            assert_eq!(next, Next::default());
            let echo = black_box(&buffer[..len]);
            let next = connection.received(&traffic, echo, true, Nanos(2), |_| {}).unwrap();
            completed += black_box(next).completed as u64;
        }
        completed
    });
}

/// Latencies recorded, merged and read.
fn latencies(timer: &mut Timer) {
    // Each of 200,000 values once, from 100 µs: two doublings of the histogram's range, as under a loaded server.
    let latency = |number: u64| Nanos(100_000 + number * STRIDE % 200_000);
    let all = || {
        let mut recorder = Recorder::new();
        (0..200_000).for_each(|number| recorder.record(latency(number)));
        recorder
    };
    let mut recorder = all();
    let mut number = 0;
    timer.time_repeated("recorder/record", REPEATS, || {
        let before = recorder.count();
        for _ in 0..REPEATS {
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

/// Quantities as users write them.
fn quantities(timer: &mut Timer) {
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
