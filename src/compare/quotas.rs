//! What CPU quotas of control groups cost in the blocks of a comparison.

use crate::clock::Nanos;
use crate::compare::BlockFigures;
use crate::report::validity::{Reason, quota};
use crate::sys::throttling::Throttling;

/// A server by its name, and its blocks.
pub type NamedBlocks<'a> = (&'a str, Vec<&'a BlockFigures>);

/// What they mean for the figures of these servers, as in the verdict of a run.
pub fn reasons(servers: &[NamedBlocks<'_>]) -> Vec<Reason> {
    let (throttling, span) = of_generator(servers);
    let generator = quota::of_generator(throttling, span);
    let server = |(name, blocks): &NamedBlocks<'_>| {
        let (throttling, span) = of_server(blocks);
        quota::of_server(name, throttling, span)
    };
    generator.into_iter().chain(servers.iter().filter_map(server)).collect()
}

/// How often they were used up, a clause each: for a verdict that has other grades than a run.
pub fn used_up(servers: &[NamedBlocks<'_>]) -> Vec<String> {
    let (throttling, span) = of_generator(servers);
    let generator = quota::used_up("the generator's control group", throttling, span);
    let server = |(name, blocks): &NamedBlocks<'_>| {
        let (throttling, span) = of_server(blocks);
        quota::used_up(&format!("{name}'s control group"), throttling, span)
    };
    generator.into_iter().chain(servers.iter().filter_map(server)).collect()
}

/// Of the generator: the same for all servers, so from the one with the most blocks. Those of a server that failed are
/// fewer.
fn of_generator(servers: &[NamedBlocks<'_>]) -> (Option<Throttling>, Nanos) {
    let most = servers.iter().max_by_key(|(_, blocks)| blocks.len());
    let blocks = most.map_or(&[][..], |(_, blocks)| blocks);
    sum(blocks, |block| block.throttling)
}

fn of_server(blocks: &[&BlockFigures]) -> (Option<Throttling>, Nanos) {
    sum(blocks, |block| block.server_throttling)
}

/// The sum over blocks, and their length.
fn sum(blocks: &[&BlockFigures], of: impl Fn(&BlockFigures) -> Option<Throttling>) -> (Option<Throttling>, Nanos) {
    let throttling = blocks.iter().filter_map(|block| of(block)).reduce(Throttling::plus);
    let span = blocks.iter().fold(Nanos(0), |sum, block| sum + block.disturbance.span);
    (throttling, span)
}
