//! Flags of `urecho serve` that only apply to `--engine uring`.

use clap::Args;

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::serve::uring::UringPlan;
use crate::serve::uring::fault::Fault;
use crate::units;

/// Flags that only apply to `--engine uring`.
#[derive(Debug, Args)]
pub(super) struct UringFlags {
    /// Receive buffers in circulation per worker, of 16,384; the others replace those that slow peers hold; uring only
    /// [default: 256]
    #[arg(long, value_name = "N", value_parser = buffers, hide_short_help = true)]
    buffers: Option<u16>,
    /// Pipes per worker, for peers that stream: their bytes are not copied; 0 for none; uring only [default: 16]
    ///
    /// All workers together have at most a 256th of `ulimit -n` of them, and at most 1024.
    #[arg(long, value_name = "N", value_parser = pipes, hide_short_help = true)]
    pipes: Option<u16>,
    /// How long to busy-poll for completions before sleeping, while that pays off; 0s for never; uring only [default:
    /// 20us]
    #[arg(long, value_name = "TIME", value_parser = spin, hide_short_help = true)]
    spin: Option<Nanos>,
    /// Keep connections in the tables of the rings (direct descriptors); uring only [default: where --max-connections
    /// is more than `ulimit -n` allows]
    #[arg(long, hide_short_help = true)]
    direct_descriptors: bool,
    /// Inject a fault: `spin=2us`, `delay=50us` or `stall=5ms/1s`. To prove that `urecho check` finds it; uring only
    #[arg(long, value_name = "FAULT", value_parser = Fault::parse, hide = true)]
    fault: Option<Fault>,
}

fn spin(text: &str) -> std::result::Result<Nanos, String> {
    match units::duration(text)? {
        time @ Nanos(0..=1_000_000_000) => Ok(time),
        time => Err(format!("{} is more than 1 s", units::show_duration(time))),
    }
}

fn buffers(text: &str) -> std::result::Result<u16, String> {
    match units::count(text)? {
        count @ 1..=32_768 => Ok(count as u16),
        count => Err(format!("{count} is not between 1 and 32,768")),
    }
}

fn pipes(text: &str) -> std::result::Result<u16, String> {
    match units::count(text)? {
        count @ 0..=32_767 => Ok(count as u16),
        count => Err(format!("{count} is more than 32,767")),
    }
}

impl UringFlags {
    pub(super) fn plan(&self, buffer_size: Option<u32>) -> UringPlan {
        let mut plan = UringPlan::default();
        let buffers = &mut plan.buffers;
        buffers.circulating = self.buffers.unwrap_or(buffers.circulating);
        buffers.total = buffers.total.max(buffers.circulating);
        buffers.size = buffer_size.unwrap_or(buffers.size);
        buffers.pipes = self.pipes.unwrap_or(buffers.pipes);
        plan.spin = self.spin.unwrap_or(plan.spin);
        plan.direct = self.direct_descriptors;
        plan.fault = self.fault;
        plan
    }

    /// The number of pipes, if it was given.
    pub(super) fn pipes(&self) -> Option<u16> {
        self.pipes
    }

    /// True if the number of buffers was given.
    pub(super) fn sets_buffers(&self) -> bool {
        self.buffers.is_some()
    }

    /// Errors: one of these flags was given.
    pub(super) fn refuse(&self) -> Result<()> {
        uring_only("--buffers", self.buffers)?;
        uring_only("--pipes", self.pipes)?;
        uring_only("--spin", self.spin)?;
        uring_only("--direct-descriptors", self.direct_descriptors.then_some(()))?;
        uring_only("--fault", self.fault)
    }
}

fn uring_only<T>(flag: &str, value: Option<T>) -> Result<()> {
    match value {
        Some(_) => Err(Error::Usage(format!("{flag} only applies to --engine uring"))),
        None => Ok(()),
    }
}

pub(super) fn buffer_size(text: &str) -> std::result::Result<u32, String> {
    match units::size(text)? {
        size @ 64..=1_048_576 => Ok(size as u32),
        size => Err(format!("{} is not between 64 B and 1 MiB", units::show_size(size))),
    }
}
