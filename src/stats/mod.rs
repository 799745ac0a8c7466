//! What a handful of numbers say, and how surely: the middle of a few, and where a long row of them changed.
//!
//! Values in, values out: no histogram, no clock, no chance but from a given seed. The samples here are whole runs of a
//! program, tens of them. [`crate::record`] is for the latencies within one run, millions of them.
//! What follows from a figure (regressed, passed, more runs) is not decided here.

// Not for what a user sees: the draws of a load have a generator of their own.
#[cfg(test)]
pub(crate) mod chance;
mod median;
pub mod signed_rank;

pub use median::median;
