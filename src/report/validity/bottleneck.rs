//! The rule about who limited a closed loop, for a run and for the blocks of a comparison.
//!
//! In a closed loop one side is always the bottleneck, recognised by having no CPU time left.

use super::{Grade, Reason, percent};

/// 5 % allows for the scheduler, and for the tick by which CPU clocks may be late.
const GENERATOR_MAX: f64 = 0.95;

/// The server gets 10 %, because its CPU also handles interrupts, which are charged to no process.
const SERVER_MAX: f64 = 0.9;

/// How busy the sides of a closed loop were that the generator limited: equal rates are then its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bottleneck {
    /// CPU time of the generator's busiest thread without busy-polling, as a share of one CPU.
    pub generator: f64,
    /// CPU time of the server as a share of its CPUs; none if it is not visible.
    server: Option<f64>,
}

impl Bottleneck {
    /// None if the generator had CPU time left, or the server had none either.
    pub fn of(generator: f64, server: Option<f64>) -> Option<Bottleneck> {
        let has_reserve = server.is_none_or(|share| share < SERVER_MAX);
        (generator > GENERATOR_MAX && has_reserve).then_some(Bottleneck { generator, server })
    }

    /// What it means for the figures of this server.
    pub fn reason(&self, server: &str) -> Reason {
        let used = match self.server {
            Some(share) => format!(
                "while {server} was busy {} (suspect below {})",
                percent(share),
                percent(SERVER_MAX)
            ),
            None => format!("and {server}'s CPU use is unknown"),
        };
        Reason {
            grade: Grade::Suspect,
            code: "generator-bottleneck".into(),
            what: format!(
                "the generator was busy {} of the time (suspect over {}), {used}",
                percent(self.generator),
                percent(GENERATOR_MAX),
            ),
            advice: "The rate may be the generator's limit and not the server's: add --threads on separate CPUs."
                .into(),
        }
    }
}
