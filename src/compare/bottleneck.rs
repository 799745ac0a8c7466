//! Whether the generator limited the closed loops of a comparison.

use crate::compare::BlockFigures;
use crate::report::validity::bottleneck::Bottleneck;
use crate::stats::median;

/// In the medians over these blocks, of servers on this many CPUs each (0: unknown, taken as one). None if it did not.
pub fn of_blocks(blocks: &[&BlockFigures], server_cpus: usize) -> Option<Bottleneck> {
    let generator: Vec<f64> = blocks.iter().map(|block| block.generator_cpu_ratio).collect();
    let server: Vec<f64> = blocks
        .iter()
        .filter_map(|block| Some(block.cpu_ns_per_message? * block.completed_per_s / 1e9))
        .collect();
    let share = median(&server).map(|cpus| cpus / server_cpus.max(1) as f64);
    Bottleneck::of(median(&generator)?, share)
}
