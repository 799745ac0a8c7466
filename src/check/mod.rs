//! Did it get worse? Answers from figures of two servers that were restarted together again and again.
//!
//! A *restart* is a fresh pair of processes, base and head, each with its own luck in memory, ports and hash seeds: one
//! restart is one sample, however many messages it carried. Within a restart they take turns, in *blocks*, so that what
//! the machine does meanwhile hits both. A block's score is ln(head / base) of a metric, positive where head is worse
//! (for throughput ln(base / head)); a restart's value is the median of its blocks.
//!
//! [`disturbance`] says which blocks count, before anybody looks at a score. [`decision`] says what follows from the
//! values of some restarts. Both are pure: starting servers and loading them is the arena's affair.
//! Why not simply A for a minute and then B: Abedi & Brecht, Conducting repeatable experiments in highly variable
//! cloud computing environments (2017).

pub mod decision;
pub mod disturbance;
