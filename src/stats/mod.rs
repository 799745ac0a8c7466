//! Statistics of small samples: locations, percentiles, shares and change points, with exact confidence intervals where
//! they exist.
//!
//! Pure functions of values. The samples are whole runs of a program, tens of
//! them, or the seconds of one run; [`crate::histogram`] is for the latencies within one run, millions of them. What
//! follows from an estimate (regressed, passed, more runs) is decided elsewhere.

pub mod batch_means;
pub mod bounded_series;
pub mod change_points;
pub mod creep;
mod median;
pub mod order_statistics;
pub mod prediction;
pub mod proportion;
pub mod quantiles;
pub mod signed_rank;

pub use median::median;
