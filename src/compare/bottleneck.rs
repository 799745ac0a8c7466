//! Whether the generator limited a closed loop: equal rates are then its own.

use crate::compare::BlockFigures;
use crate::report::validity::{Grade, Reason};
use crate::stats::median;
use crate::units::show_percent;

/// Beyond it the generator is the bottleneck of a closed loop, and not the server.
const GENERATOR_CPU_RATIO_MAX: f64 = 0.95;

/// Beyond it the server is a bottleneck as well, and a slower one shows.
const SERVER_CPU_RATIO_MAX: f64 = 0.9;

/// How busy the two sides of a closed loop were where the generator was the bottleneck.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bottleneck {
    /// CPU time of the generator's busiest thread without busy-polling, as a share of one CPU.
    pub generator: f64,
    /// CPU time of the server as a share of its CPUs; none if it is not visible.
    pub server: Option<f64>,
}

impl Bottleneck {
    /// In the medians over these blocks of servers on this many CPUs each. None if the server had no reserve either, or the
    /// generator had some.
    pub fn of(blocks: &[&BlockFigures], server_cpus: usize) -> Option<Bottleneck> {
        let of_generator: Vec<f64> = blocks.iter().map(|block| block.generator_cpu_ratio).collect();
        let of_server: Vec<f64> = blocks
            .iter()
            .filter_map(|block| Some(block.cpu_ns_per_message? * block.completed_per_s / 1e9))
            .collect();
        let generator = median(&of_generator)?;
        let server = median(&of_server).map(|cpus| cpus / server_cpus.max(1) as f64);
        let has_reserve = server.unwrap_or(0.0) < SERVER_CPU_RATIO_MAX;
        (generator > GENERATOR_CPU_RATIO_MAX && has_reserve).then_some(Bottleneck { generator, server })
    }

    /// What it means for the figures of the server with this name, as in the verdict of a run.
    pub fn reason(&self, name: &str) -> Reason {
        let server = match self.server {
            Some(share) => format!("while {name} was busy {}", show_percent(share, 0)),
            None => format!("and the CPU use of {name} is unknown"),
        };
        Reason {
            grade: Grade::Suspect,
            code: "generator-bottleneck",
            what: format!(
                "the generator was busy {} of the time with {name} (suspect over {}), {server} (suspect below {})",
                show_percent(self.generator, 0),
                show_percent(GENERATOR_CPU_RATIO_MAX, 0),
                show_percent(SERVER_CPU_RATIO_MAX, 0),
            ),
            advice: "Its rate may be the generator's limit and not the server's: add --threads on separate CPUs.",
        }
    }
}
