//! urecho: map to come
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod arena;
pub mod cli;
pub mod clock;
pub mod error;
pub mod load;
pub mod record;
pub mod report;
pub mod ring;
pub mod serve;
pub mod slab;
pub mod sys;
pub mod units;
