//! urecho: map to come
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod clock;
pub mod error;
pub mod slab;
pub mod units;
