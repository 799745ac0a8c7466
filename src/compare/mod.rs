//! Servers side by side: candidates started as child processes, loaded in interleaved slices by one generator.
//!
//! `candidate` is a name and a command, `server` its running process. A `restart` is one launch of all candidates, an
//! `experiment` as many restarts as are needed, a `block` the figures of one candidate in the smallest balanced unit,
//! `program` notices that the files of a command have changed, `pooled` are the figures of all slices of a restart
//! together. `comparison` turns blocks into ratios with confidence intervals, `quotas` says which of them a CPU quota
//! spoiled, `bottleneck` whether the generator limited them, `table` draws them.

mod block;
pub mod bottleneck;
mod candidate;
pub mod comparison;
mod experiment;
mod page;
mod pooled;
mod program;
pub mod quotas;
mod restart;
mod server;
mod table;

pub use block::BlockFigures;
pub use candidate::Candidate;
pub use experiment::{CandidateFigures, Failure, run};
pub use pooled::PooledFigures;
pub use restart::{LoadFigures, Protocol, ProtocolLoad, SLICE_DRAIN, SliceLength};
pub use server::Server;
