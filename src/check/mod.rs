//! Did it get worse? Answers from figures of two servers that were restarted together again and again.
//!
//! A *restart* is a fresh pair of processes, base and head, each with its own luck in memory, ports and hash seeds: one
//! restart is one sample, however many messages it carried. Within a restart they take turns, in *blocks*, so that what
//! the machine does meanwhile hits both. A block's score is ln(head / base) of a metric, positive where head is worse
//! (for throughput ln(base / head)); a restart's value is the median of its blocks.
//!
//! A [`trial`] has the arena restart both sides until a verdict is there or the [`budget`] is over; it leaves a [`record`].
//! All else is pure. [`metric`] is what can get worse. [`disturbance`] says which blocks count, before anybody looks at
//! a score; [`decision`] what follows from the values of some restarts; [`verdict`] what follows from a whole record. The
//! [`report`] is for programs; a [`story`] is drawn by `text` for people, and by `ci` for build servers. How often all this
//! is wrong is counted by [`proof`]; many checks in a row are a [`trend`]; both are files of `lines`. A [`baseline`] is
//! for those who cannot run a pair.
//! Why not simply A for a minute and then B: Abedi & Brecht, Conducting repeatable experiments in highly variable
//! cloud computing environments (2017).

pub mod baseline;
mod ci;
pub mod decision;
pub mod experiment;
#[cfg(test)]
mod fixtures;
pub mod history;
mod jsonl;
pub mod metric;
pub mod noise;
pub mod proof;
pub mod record;
pub mod report;
pub mod summary;
mod text;
pub mod time_budget;
pub mod verdict;
