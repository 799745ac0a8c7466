//! The regression gate: two versions of a server, restarted together again and again and loaded in turns.
//!
//! A *restart* launches base and head, each with its own memory layout, ports and hash seeds: one restart is one
//! sample, however many messages it carried. Within a restart the two take turns in *blocks*, so that whatever disturbs
//! the machine hits both. A block's score is ln(head / base) of a metric, positive if head is worse (for throughput
//! ln(base / head)); a restart's value is the median of its blocks.
//!
//! `experiment` measures within a `time_budget` and leaves a `record`; `judge` turns it into a verdict, purely;
//! `output` publishes that. A `baseline` replaces base by stored runs; a `history` shows trends over many checks.
//! Why not A for a minute and then B: Abedi & Brecht, Conducting repeatable experiments in highly variable cloud
//! computing environments (2017).

pub mod baseline;
pub mod experiment;
#[cfg(test)]
mod fixtures;
pub mod history;
pub mod judge;
pub mod output;
pub mod record;
#[cfg(test)]
mod schemas;
pub mod time_budget;
