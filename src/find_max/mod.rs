//! The highest rate at which a condition holds.

pub mod search;
