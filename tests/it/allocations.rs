//! Once a run is warm, neither side allocates: not per message, not per turn.
//!
//! The allocator of this test binary counts, by the name of the thread. Other tests would disturb the count, so the
//! test runs itself once more in a process where it is alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use urecho::clock::Nanos;
use urecho::load::{self, Observer, Plan, Progress, Workload};
use urecho::serve::engine::Engine;
use urecho::sys::signal::Stop;

use crate::support::{Server, assert_at_most, on_every_engine};

/// Set in the process where the test is alone.
const ALONE: &str = "URECHO_ALONE";

/// Names of the threads on which nothing may be allocated, and what was allocated there.
static WATCHED: [(&[u8], &AtomicU64); 2] = [(b"worker-", &SERVING), (b"load-", &LOADING)];
static SERVING: AtomicU64 = AtomicU64::new(0);
static LOADING: AtomicU64 = AtomicU64::new(0);
static COUNTING: AtomicBool = AtomicBool::new(false);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

#[allow(unsafe_code)] // an allocator cannot be had without
// SAFETY: everything is passed on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Counts an allocation on a watched thread. One system call each: the test is there to see few.
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

/// How far a run was, and what had been allocated.
#[derive(Debug, Clone, Copy)]
struct Look {
    messages: u64,
    serving: u64,
    loading: u64,
}

on_every_engine! {
    nothing_is_allocated_once_a_run_is_warm,
}

fn nothing_is_allocated_once_a_run_is_warm(engine: Engine) {
    if std::env::var_os(ALONE).is_some() {
        return look_twice(engine);
    }
    let this = std::thread::current();
    let mut alone = Command::new(std::env::current_exe().unwrap());
    let output = alone
        .args([this.name().unwrap(), "--exact"]) // A test's thread has its name.
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Compares two looks at the same run, one soon after its beginning and one at its end.
fn look_twice(engine: Engine) {
    let server = Server::on(engine);
    let plan = Plan {
        targets: vec![server.address],
        workload: Workload {
            warmup: Nanos(300_000_000),
            duration: Nanos(1_500_000_000),
            ..Workload::default()
        },
    };
    let mut looks = Looks(Vec::with_capacity(100));
    COUNTING.store(true, Ordering::Relaxed);
    let outcome = load::run(plan, &Stop::new().unwrap(), &mut looks);
    COUNTING.store(false, Ordering::Relaxed);
    outcome.unwrap();
    let warm: Vec<Look> = looks.0.into_iter().filter(|look| look.messages > 0).collect();
    let (first, last) = (warm[0], warm[warm.len() - 1]);
    let messages = last.messages - first.messages;
    assert!(messages > 1_000, "too short to tell: {warm:?}");
    assert!(first.serving > 0 && first.loading > 0, "the counters count: {warm:?}");
    // Zero in nearly every run. A queue that grows once more is no allocation per message.
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

/// What was seen at each news of a run.
struct Looks(Vec<Look>);

impl Observer for Looks {
    fn progress(&mut self, progress: Progress) {
        self.0.push(Look {
            messages: progress.completed,
            serving: SERVING.load(Ordering::Relaxed),
            loading: LOADING.load(Ordering::Relaxed),
        });
    }
}
