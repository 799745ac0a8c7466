//! Where servers meet: started as child processes, loaded in turns by one generator, ended.
//!
//! `candidate` is what somebody wants compared, `server` is it running. A `restart` is one restart of all candidates, with
//! their slices interleaved; a `contest` is as many restarts as it takes. What the figures mean is for `report` to say.

mod candidate;
pub mod comparison;
mod experiment;
mod round;
mod server;
mod table;

pub use candidate::Candidate;
pub use experiment::{Entry, Failure, run};
pub use round::{Found, Terms};
pub use server::Server;
