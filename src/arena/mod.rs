//! Where servers meet: started as child processes, loaded in turns by one generator, ended.
//!
//! `subject` is what somebody wants compared, `server` is it running. A `bout` is one restart of all subjects, with
//! their slices interleaved; a `contest` is as many bouts as it takes. What the figures mean is for `report` to say.

mod bout;
mod contest;
mod server;
mod subject;

pub use bout::{Found, Terms};
pub use contest::{Entry, Failure, contest};
pub use server::Server;
pub use subject::Subject;
