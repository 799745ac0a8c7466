//! Tests that need a kernel, a socket or a process, in one binary: it links once and its tests run in parallel.
//!
//! Two layers: `support` holds helpers, every other module holds tests.

#![allow(clippy::unwrap_used)] // in a test, a panic is the report

// Helpers: servers, processes, peers, validated reports, Rust source as text.
mod support;

// `urecho serve`: streams, many peers, limits, stopping, on every engine.
mod serve;

// The bodies of the fuzz targets, on mutated seeds.
mod fuzz;

// `load --live` on a pseudoterminal.
mod live;

// `urecho load`: workloads, honest and dishonest peers, sessions, stalls, files and the report.
mod load;

// The README's contract, row by row.
mod contract;

// Files, streams, terminals and untrusted text, of all commands.
mod outputs;

// `urecho bench`: a server and a load from one command, and nothing left running.
mod bench;

// `urecho compare`: healthy and broken servers of several kinds.
mod compare;

// `urecho doctor`: this machine, blocked io_uring, what is hidden.
mod doctor;

// `urecho connect` and `urecho sockets`: one connection by hand, and how the kernel sees it.
mod by_hand;

// The walk through TCP in src/connect/README.md.
mod walkthrough;

// Signals, in every phase of every command.
mod signals;

// Servers that a wrapper started end with the tool, however it ends.
mod wrappers;

// Names, all addresses, and interfaces, as targets, sources and listeners.
mod addresses;

// Ports of servers and clients, and other processes on this machine.
mod neighbours;

// Programs that change on disk while they are compared.
mod programs;

// `urecho check`: a gate that runs, and that finds a planted slowdown.
mod check;

// The script of action.yml.
mod action;

// Help, versions, and one message for each wrong value.
mod command_line;

// Flags from the environment and from a file; quiet, and in colour.
mod defaults;

// Completions and man pages.
mod manual;

// Neither the server nor the load generator allocates per message.
mod allocations;

// Places with limits: little memory, few threads, blocked io_uring, other clocks, quotas; and the exit codes of all
// commands.
mod limits;

// Other projects' readers agree with the files that we write.
mod readers;

// Reports as pages, rendered by a browser.
mod pages;

// SciPy agrees with our statistics.
mod statistics;

// Every committed flamegraph has its folded stacks and a line that agrees with them.
mod flamegraphs;

// The rules of this source tree: floors, places, sizes, the map.
mod tidy;
