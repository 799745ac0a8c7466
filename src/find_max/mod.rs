//! The highest rate at which a condition holds: the search, and the rate-latency curve of all rates tried.

pub mod curve;
pub mod search;
