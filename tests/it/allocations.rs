//! After warm-up, neither server nor load generator allocates, per message or per pass of their loops.
//!
//! The allocator of this test binary counts by thread name. Other tests would disturb the count, so that the test
//! executes itself again in a process of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use urecho::clock::Nanos;
use urecho::load::{self, Io, Observer, Plan, Progress, Workload};
use urecho::serve::engine::Engine;
use urecho::sys::signal::Stop;

use crate::support::{Server, assert_at_most, on_every_engine};

/// Set in the process that runs this test only.
const ALONE: &str = "URECHO_ALONE";

/// Threads that may not allocate, by the prefix of their name, and the number of allocations so far.
static WATCHED: [(&[u8], &AtomicU64); 2] = [(b"worker-", &SERVING), (b"load-", &LOADING)];
static SERVING: AtomicU64 = AtomicU64::new(0);
static LOADING: AtomicU64 = AtomicU64::new(0);
static COUNTING: AtomicBool = AtomicBool::new(false);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

#[allow(unsafe_code)] // GlobalAlloc is an unsafe trait
// SAFETY: every call is passed on to the system's allocator; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of the same method of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of the same method of `System`.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of the same method of `System`.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Counts an allocation on a watched thread. It costs a system call; few are expected.
fn count() {
    if !COUNTING.load(Ordering::Relaxed) {
        return;
    }
    let name = thread_name();
    for (prefix, counter) in WATCHED {
        if name.starts_with(prefix) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The name of this thread as the kernel knows it, without allocating. PR_GET_NAME(2const).
#[allow(unsafe_code)] // the safe ways to a thread's name allocate
fn thread_name() -> [u8; 16] {
    let mut name = [0; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes, and there are 16.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name
}

/// Progress of a run, and the allocations so far.
#[derive(Debug, Clone, Copy)]
struct Sample {
    messages: u64,
    serving: u64,
    loading: u64,
}

on_every_engine! {
    nothing_is_allocated_after_warm_up,
}

fn nothing_is_allocated_after_warm_up(engine: Engine) {
    if std::env::var_os(ALONE).is_some() {
        return compare_first_and_last_sample(engine);
    }
    let this = std::thread::current();
    let mut alone = Command::new(std::env::current_exe().unwrap());
    let output = alone
        .args([this.name().unwrap(), "--exact"]) // A test's thread is named after the test.
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// The counters at the end of a run are those shortly after its start. The load of an epoll server uses epoll as well.
fn compare_first_and_last_sample(engine: Engine) {
    let server = Server::on(engine);
    let plan = Plan {
        targets: vec![server.address.into()],
        workload: Workload {
            io: if engine == Engine::Epoll { Io::Epoll } else { Io::Uring },
            warmup: Nanos(300_000_000),
            duration: Nanos(1_500_000_000),
            ..Workload::default()
        },
    };
    let mut samples = Samples(Vec::with_capacity(100));
    COUNTING.store(true, Ordering::Relaxed);
    let outcome = load::run(plan, &Stop::new().unwrap(), &mut samples);
    COUNTING.store(false, Ordering::Relaxed);
    outcome.unwrap();
    let warm: Vec<Sample> = samples.0.into_iter().filter(|sample| sample.messages > 0).collect();
    let (first, last) = (warm[0], warm[warm.len() - 1]);
    let messages = last.messages - first.messages;
    assert!(messages > 1_000, "too few messages: {warm:?}");
    assert!(first.serving > 0 && first.loading > 0, "the counters count: {warm:?}");
    // Zero in nearly every run. A queue that grows once after warm-up is not an allocation per message.
    assert_at_most(
        "allocations of the server",
        last.serving - first.serving,
        messages / 1_000,
    );
    assert_at_most(
        "allocations of the load",
        last.loading - first.loading,
        messages / 1_000,
    );
    println!("{messages} messages: {first:?} to {last:?}");
}

/// One sample per progress report of a run.
struct Samples(Vec<Sample>);

impl Observer for Samples {
    fn progress(&mut self, progress: Progress) {
        self.0.push(Sample {
            messages: progress.completed,
            serving: SERVING.load(Ordering::Relaxed),
            loading: LOADING.load(Ordering::Relaxed),
        });
    }
}
