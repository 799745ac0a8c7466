//! urecho measures and serves TCP echo on Linux with io_uring.
//!
//! Three ideas carry it. **The ring owns every byte the kernel may touch**: received data is a moved ticket for a
//! pool buffer, so giving one back twice does not compile, and everything above `ring/` is safe Rust.
//! **Connections are pure**: `serve::echo` and `load::pinger` take events and return what to do next, and a model
//! test drives them through every order of completions without a kernel. **The measuring stick does not change
//! with the thing measured**: the load generator is the same code whatever it measures.
//!
//! # The map
//!
//! A file may use its own room and any floor below it; never a floor above, never a sibling on floor 2.
//!
//! ```text
//! 6  cli      the command line: flags as typed become plans as meant; exit codes
//!             shape (what a load is like), outputs (what it leaves behind), sides (whose CPUs), status (how far it is),
//!             serve, load, bench, find_max, compare, check
//!    main     the binary: the allocator, and a call
//! 5  check    did it get worse: trial (restarts until it is known) with budget, record (what was measured), metric,
//!             disturbance (which blocks count), decision (what follows from some restarts), verdict, report, story
//!             (what is told of it, by text and ci), proof (how often it is wrong) and trend (many checks in a row)
//!             with lines (their files), baseline (no pair)
//! 4  arena    where servers meet: subject, server (a child process), bout (one restart, slices interleaved), contest
//! 3  report   what a run says: text, JSON and its schema, files, seconds; verdict (how far to trust it),
//!             assertion (what was asked of it), search (the highest rate that keeps a promise), comparison
//! 2  serve    the server: engine (the contract), uring, tokio_uring and epoll (a whole worker each), echo (pure),
//!             door (who serves a newcomer), drain (the way out), flow (messages or a stream), counters, inject (slowness
//!             on order)
//!    load     the load generator: pinger (pure), payload, sizes, schedule, random; worker with ramp (connections
//!             come and go), pacing (messages go) and spin; team (all workers), sheet (one second), attend (the
//!             watcher), session (a load in slices), outcome, phases, preflight, fit
//! 1  ring     io_uring: setup, token, chain (Chunk), pool of groups, scratch, wait, spin, completion, memory
//!    sys      the rest of the kernel: socket, signal, bell, child, limits, affinity, timer, usage, machine, netstat,
//!             tcp_info
//!    record   latency histograms, ranks (order statistics), blocks (intervals of dependent samples), hlog, hgrm
//! 0  error    failures, by exit code
//!    units    one grammar for counts, sizes, durations and rates
//!    clock    monotonic nanoseconds
//!    slab     places for connections, and keys that notice a new tenant
//!    stats    a few numbers and how far to trust them: signed_rank (the middle of some runs), change_points (where a
//!             long row of them moved), proportion (how often something happens)
//! ```
//!
//! `unsafe` lives in `ring` and `sys` only. `tests/it/tidy.rs` checks this map, the floors and the rooms.
//!
//! Start reading at [`serve::engine`] (what a server promises) and [`serve::echo`] (what a connection does), then [`ring`]
//! (how bytes move), then `serve::uring` (one worker). For the load: [`load::pinger`], then `load::worker`.

#![cfg_attr(test, allow(clippy::unwrap_used))] // in a test a panic is the answer

pub mod arena;
pub mod check;
pub mod cli;
pub mod clock;
pub mod error;
pub mod load;
pub mod record;
pub mod report;
pub mod ring;
pub mod serve;
pub mod slab;
pub mod stats;
pub mod sys;
pub mod units;
