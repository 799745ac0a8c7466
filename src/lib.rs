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
//! 6  cli        the only user of clap: one file per command, and repeat (of load); shared by them: load_flags, uring_flags, values,
//!               addresses, outputs, run_progress, cpu_split
//!    main       the binary: the allocator, and a call
//! 5  check      the regression gate: experiment, time_budget, record; judge: metric, noise, sample, decision, verdict, warm_up;
//!               output: summary, row, text, markdown, junit, github, json; baseline, history
//! 4  compare    servers side by side: candidate, program, server (a child process), restart, experiment, block, comparison,
//!               quotas, bottleneck, table
//!    find_max   the highest rate at which conditions hold: search, judge, curve
//! 3  report     one run: sections, targets, distribution (percentile), rate_interval, intervals, text with latency_table, files;
//!               validity, assertion, inputs; several runs: repeat
//!    doctor     this machine: kernel, limits, network, cpu, noise; each a list of findings (finding), drawn by text
//! 2  serve      the server: engine (the contract), startup, admission, accept, handoff, idle, drain, counters, memory_bound;
//!               while it runs: control, snapshots, metrics, notices, service; one folder per engine: uring (accepting, echo,
//!               stream_detector, buffers, spinning, closing, fault), epoll (connection), tokio_uring (accepting, peer)
//!    load       the load generator. Pure: connection (pipeline, payload), dialer, timeline (phases, schedule, active),
//!               accounting, by_target, stalls. Effects: worker (lifecycle), workers, shared, session, servers, monitor, outbox.
//!               Before a run: workload, target, sizes, capacity, preflight (echo). During it: interval, observer. After it: result
//! 1  ring       io_uring: setup, probe, features (each tried), diagnosis (of a refusal), deadline, token, chunk (ChunkQueue),
//!               pool of groups, scratch, wait, spin, completion, memory
//!    sys        the rest of the kernel: socket, resolve, stream, listener, ports, signal, waker, threads, child (offspring,
//!               orphans, guard), successor, sandbox, privileges, limits, shortage, confinement, sysctl, affinity, frequency,
//!               perf, prctl, allocator, run_delay,
//!               throttling, usage, disturbance, machine, identity, netstat, tcp_info
//!    histogram  latency histograms, block_series (confidence intervals of dependent samples), hlog, hgrm
//!    output     place (checked first), file (documents at once, lines in place), publish, written; console (stdout and stderr),
//!               log, progress; json, markdown, table; untrusted (text of others, for each medium)
//! 0  error      failures, outcomes, and the exit code
//!    units      one grammar for counts, sizes, durations and rates (number)
//!    clock      monotonic nanoseconds; wall, the date
//!    slab       slots for connections, and keys that detect reuse
//!    random     the one seeded generator
//!    stats      signed_rank, order_statistics, batch_means, bounded_series, change_points, creep, prediction, proportion,
//!               quantiles, median
//! ```
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | message, round trip | what a connection sends; until its last byte has come back |
//! | open loop, closed loop | messages are due by a plan; by the reply to an earlier message |
//! | offered, issued | messages due by the plan; those handed to their connection, which may submit them later |
//! | completed | echoed completely, and correctly unless `--no-verify` |
//! | response time, service time | latency from the planned instant; from submission |
//! | censored | a value known only to be at least x: failed, or not complete by the end of the drain |
//! | interval | one second of a run (a *confidence interval* is always called that) |
//! | candidate, restart | a server under comparison; one launch of all: the unit of analysis of `compare` and `check` |
//! | slice, block | the smallest interleaved unit of load; two slices of every candidate, in ABBA order, or one candidate's two |
//! | base, head | the server that a check compares with; the server that it judges |
//! | threshold | the smallest change of a metric that counts; the *minimum detectable effect* is what a check could have found |
//! | profile, score | the load of a check, open or closed loop; how much worse head is than base in one metric and restart, as a log ratio |
//! | worker, pass | a thread of a server or load; one iteration of its event loop |
//! | creep | changes in one direction that each stay below the threshold, over many checks |
//! | starved, handoff | a connection without a receive buffer; passing an accepted socket to the worker that serves it |
//! | finding, remedy | one thing that `doctor` found out about this machine; a command that changes it |
//! | drain | the end of a server or run: no new work, finish what is in flight |
//!
//! In `BlockSeries`, a block is instead 1, 2, 4, … seconds of one run (a batch, in the method of batch means).
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
pub mod doctor;
pub mod error;
pub mod find_max;
pub mod histogram;
pub mod load;
pub mod output;
pub mod random;
pub mod report;
pub mod ring;
pub mod serve;
pub mod slab;
pub mod stats;
pub mod sys;
pub mod units;
