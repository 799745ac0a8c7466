//! The highest rate at which conditions hold: the search, the judgement of each run, and the rate-latency curve of all
//! runs.

pub mod curve;
pub mod judge;
mod knee;
mod page;
pub mod search;
