//! The kernel apart from io_uring: sockets, signals, child processes, limits, CPUs, and what processes use.
//!
//! With `ring/` the only user of libc, socket2 and nix, so that the rooms above need no `unsafe`. Files of /proc are
//! parsed here: the crate procfs has no /proc/net/netstat, and for the rest (socket tables, a few lines of meminfo,
//! cpuinfo and status) it would save about 80 lines for three more crates.

#![allow(unsafe_code)] // `unsafe` is allowed in this room and in ring/ only; tests/it/tidy checks

pub mod affinity;
pub mod allocator;
pub mod child;
pub mod disturbance;
pub mod frequency;
pub mod guard;
pub mod identity;
pub mod limits;
pub mod machine;
pub mod netstat;
pub mod offspring;
mod orphans;
pub mod perf;
pub mod ports;
pub mod prctl;
pub mod privileges;
pub mod resolve;
pub mod restrictions;
pub mod run_delay;
pub mod sandbox;
pub mod shortage;
pub mod signal;
pub mod sock_diag;
pub mod socket;
pub mod socket_owner;
pub mod stream;
pub mod successor;
pub mod sysctl;
pub mod tcp_info;
pub mod threads;
pub mod throttling;
pub mod usage;
pub mod waker;
