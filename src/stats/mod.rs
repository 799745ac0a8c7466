//! What a handful of numbers say, and how surely: the middle of a few, and where a long row of them changed.
//!
//! Values in, values out: no histogram, no clock, no chance but from a given seed. The samples here are whole runs of a
//! program, tens of them. [`crate::histogram`] is for the latencies within one run, millions of them.
//! What follows from a figure (regressed, passed, more runs) is not decided here.

pub mod change_points;
mod median;
pub mod order_statistics;
pub mod proportion;
pub mod signed_rank;

pub use change_points::change_points;
pub use median::median;
