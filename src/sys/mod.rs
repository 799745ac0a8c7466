//! What the kernel offers besides the ring: sockets, signals, limits, CPUs, and the usage of processes.
//!
//! With `ring/` the only user of libc, socket2 and nix, so that the rooms above stay free of `unsafe`.

#![allow(unsafe_code)] // this room and ring/ are where unsafe lives; tests/it/tidy.rs watches

pub mod affinity;
pub mod child;
pub mod disturbance;
pub mod limits;
pub mod machine;
pub mod netstat;
pub mod run_delay;
pub mod signal;
pub mod socket;
pub mod tcp_info;
pub mod timer;
pub mod usage;
pub mod waker;
pub mod workers;
