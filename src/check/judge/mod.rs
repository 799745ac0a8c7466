//! From a record to a verdict. Pure: the same record has the same verdict, wherever and whenever it is judged.
//!
//! `metric` is what can get worse, `noise` drops blocks in which the machine was disturbed before any score is seen,
//! `sample` has one value per restart, `decision` is the statistics of one metric, `verdict` applies them to a whole
//! record. `warm_up` notes a server that changes within restarts.

pub mod decision;
pub mod metric;
pub mod noise;
pub mod sample;
pub mod verdict;
mod warm_up;

pub use metric::{Metric, Profile};
pub use verdict::{Judgement, MetricVerdict, Verdict, judge, scores};
