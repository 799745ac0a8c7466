//! Everything that needs a kernel, a socket or a process, in one binary: it links once and runs in parallel.

#![allow(clippy::unwrap_used)] // in a test, a panic is the report

mod allocations;
mod bench;
mod check;
mod command_line;
mod compare;
mod flamegraphs;
mod load;
mod load_liars;
mod outputs;
mod peers;
mod readers;
mod report;
mod reports;
mod serve_blocked;
mod serve_limits;
mod serve_peers;
mod serve_process;
mod serve_stop;
mod serve_streams;
mod sessions;
mod shapes;
mod source;
mod stall;
mod standard_tools;
mod statistics;
mod suite;
mod support;
mod tidy;
