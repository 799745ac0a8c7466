//! urecho measures and serves TCP echo on Linux with io_uring.
//!
//! Three ideas carry it. **The ring owns every byte the kernel may touch**: received data is a move-only handle to a
//! pool buffer, so giving one back twice does not compile, and everything above `ring/` is safe Rust.
//! **State machines are pure**: a connection of the engine `uring` (`serve::uring::echo`) and all decisions of the load
//! (`load::connection`, `load::dialer`, `load::timeline`) take events and return what to do next, and model tests drive
//! them through many orders of completions without a kernel. **All servers are measured by the same code**: the load
//! generator does not know which server or engine it loads.
//!
//! # The map
//!
//! A room is a top-level module; a floor is a layer of them, numbered from the bottom. A file may use its own room and
//! any floor below it; never a floor above, never a sibling on floors 2 and 4.
//!
//! ```text
//! 6  cli        the only user of clap: one file per command, and repeat for several runs of load; shared by them:
//!               load_flags, uring_flags, values, defaults, input, addresses, outputs, run_progress, cpu_split
//!    main       the binary: the allocator, and a call
//! 5  check      the regression gate. Measuring: experiment, time_budget, record. judge: decision after how many
//!               restarts, metric, noise, sample, verdict, warm_up. output: summary, row, text, page, markdown, junit,
//!               github, json. Over time: baseline, history
//! 4  compare    servers side by side: candidate, program, server in a child process, restart, block, pooled,
//!               experiment, comparison, quotas, bottleneck, table, page
//!    find_max   the highest rate at which conditions hold: search, judge, curve, knee, page
//! 3  report     one run: sections, targets, endings, distribution of percentile values, rate_interval, intervals,
//!               over_time; text with latency_table and bars, page, files; validity rules, assertion, inputs of both;
//!               several runs: repeat
//!    doctor     this machine: kernel, limits, network, cpu, noise; each returns a list of type finding, drawn by text
//!    live       a run on the screen while it goes on: view, screen, keys
//!    connect    one connection by hand: session at a terminal, pipe
//!    sockets    the TCP sockets of this machine, listed
//! 2  serve      the server. Its contract: engine. startup, admission, accept, handoff to a worker and its wake-up,
//!               idle, drain, counters, memory_bound. While it runs: control, snapshots, metrics, notices, service. One
//!               folder per engine: uring with plan, accepting, echo, stream_detector, buffers, spinning, closing,
//!               fault; epoll with connection; tokio_uring with accepting, peer
//!    load       the load generator. Pure: connection with pipeline and payload; dialer; timeline with phases,
//!               schedule, active, turns; accounting, by_target, stalls. Effects: worker with opening and lifecycle;
//!               workers, shared, servers, monitor, outbox; session, which wakes the workers for each slice. Before a
//!               run: workload, target, sizes, capacity, tcp_memory, sources, preflight with echo. During it: interval,
//!               over_time, observer, rate_control, result. After it: run_result
//! 1  ring       io_uring: setup, probe, features, diagnosis, deadline, token, socket with or without a descriptor,
//!               chunk, pool, group of buffers, pipes and splicing, scratch, wait, spin to busy-poll and to stop it,
//!               completion, memory; transport: a ring, a set of rings, or a poller on epoll
//!    sys        the rest of the kernel. Network: socket, resolve, stream, socket_owner, sock_diag, ports, netstat,
//!               tcp_info.
//!               Threads and processes: signal, waker, threads, child with offspring, orphans and guard; successor.
//!               Limits: sandbox, privileges, limits, shortage, restrictions, sysctl. Measuring: affinity, frequency,
//!               perf, prctl, allocator, run_delay, throttling, usage, disturbance, machine, identity
//!    histogram  latency histograms; batch_series for confidence intervals of dependent samples; hlog, hgrm, encoded
//!    html       self-contained pages: axis, chart; every document of a command is a section of one
//!    output     place, checked before a run; file, publish, written; console, log, progress; json, markdown, table;
//!               untrusted text, escaped for each medium
//! 0  error      failures, outcomes, and the exit code
//!    units      one grammar for counts, sizes, durations and rates: number
//!    clock      monotonic nanoseconds; wall, the date
//!    slab       slots for connections, and keys that detect reuse
//!    random     the one seeded generator
//!    stats      signed_rank, order_statistics, batch_means, bounded_series, change_points, creep, prediction,
//!               proportion, quantiles, median
//! ```
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | message, round trip | what a connection sends; until its last byte has come back |
//! | open loop, closed loop | messages are due by a plan; by the reply to an earlier message |
//! | offered, issued, completed | due by the plan; handed to their connection; echoed completely and correctly |
//! | response time, service time | latency from the planned instant; from submission |
//! | censored | a value known only to be at least x: failed, or not complete by the end of the drain |
//! | interval | one second of a run; a *confidence interval* is always called that |
//! | candidate, restart | a server under comparison; one launch of all: the unit of analysis of `compare` and `check` |
//! | slice, block | the smallest interleaved unit of load; two slices of every candidate, in ABBA order |
//! | base, head | the server that a check compares with; the server that it judges |
//! | threshold | the smallest change that counts; the *minimum detectable effect* is what a check could have found |
//! | profile, score | open or closed loop, in a check; how much worse head is in one metric and restart, a log ratio |
//! | worker, pass | a thread of a server or load; one iteration of its event loop |
//! | starved, handoff | a connection without a receive buffer; passing an accepted socket to its worker |
//! | finding, remedy | one thing that `doctor` found out about this machine; a command that changes it |
//! | drain | the end of a server or run: no new work, finish what is in flight |
//!
//! `unsafe` lives in `ring` and `sys` only. `tests/it/tidy` checks that the map names every room on its floor, and no
//! other; that imports obey the floors; and the vocabulary. It does not check the names of files in the map.
//!
//! Start reading at [`serve::engine`] (what a server promises) and [`serve::uring::echo`] (what a connection does),
//! then [`ring`] (how bytes move), then `serve::uring` (one worker). For the load: [`load::connection`], then
//! `load::worker`.

#![cfg_attr(test, allow(clippy::unwrap_used))] // in a test a panic is the answer

pub mod check;
pub mod cli;
pub mod clock;
pub mod compare;
pub mod connect;
pub mod doctor;
pub mod error;
pub mod find_max;
pub mod histogram;
pub mod html;
pub mod live;
pub mod load;
pub mod output;
pub mod random;
pub mod report;
pub mod ring;
pub mod serve;
pub mod slab;
pub mod sockets;
pub mod stats;
pub mod sys;
pub mod units;
