//! Flags of `urecho serve` that only apply to `--engine uring`.

use clap::Args;

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::ring::{Buffers, Large};
use crate::serve::uring::UringPlan;
use crate::serve::uring::fault::Fault;
use crate::units::{self, show_count};

/// Flags that only apply to `--engine uring`.
#[derive(Debug, Args)]
pub(super) struct UringFlags {
    /// Receive buffers in circulation per worker, of 16,384; the others replace those that slow peers hold; uring only
    /// [default: 256]
    #[arg(long, value_name = "N", value_parser = buffers, hide_short_help = true)]
    buffers: Option<u16>,
    /// Large receive buffers per worker, for peers that stream; 0 for none; uring only [default: 16]
    #[arg(long, value_name = "N", value_parser = large_buffers, hide_short_help = true)]
    large_buffers: Option<u16>,
    /// Bytes in each large receive buffer; uring only [default: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = buffer_size, hide_short_help = true)]
    large_buffer_size: Option<u32>,
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

fn large_buffers(text: &str) -> std::result::Result<u16, String> {
    match units::count(text)? {
        count @ 0..=32_768 => Ok(count as u16),
        count => Err(format!("{count} is more than 32,768")),
    }
}

impl UringFlags {
    pub(super) fn plan(&self, buffer_size: Option<u32>) -> UringPlan {
        let mut plan = UringPlan::default();
        let buffers = &mut plan.buffers;
        buffers.circulating = self.buffers.unwrap_or(buffers.circulating);
        buffers.total = buffers.total.max(buffers.circulating);
        buffers.size = buffer_size.unwrap_or(buffers.size);
        buffers.large = buffers.large.and_then(|large| self.large(large, buffers.size));
        plan.spin = self.spin.unwrap_or(plan.spin);
        plan.direct = self.direct_descriptors;
        plan.fault = self.fault;
        plan
    }

    /// True if the number of buffers was given.
    pub(super) fn sets_buffers(&self) -> bool {
        self.buffers.is_some()
    }

    fn large(&self, default: Large, small: u32) -> Option<Large> {
        let count = self.large_buffers.unwrap_or(default.count);
        let size = self.large_buffer_size.unwrap_or(default.size);
        // With small buffers of that size there is no need for large ones.
        let is_needed = self.large_buffer_size.is_some() || size > small;
        (count > 0 && is_needed).then_some(Large { count, size })
    }

    /// Errors: one of these flags was given.
    pub(super) fn refuse(&self) -> Result<()> {
        uring_only("--buffers", self.buffers)?;
        uring_only("--large-buffers", self.large_buffers)?;
        uring_only("--large-buffer-size", self.large_buffer_size)?;
        uring_only("--spin", self.spin)?;
        uring_only("--direct-descriptors", self.direct_descriptors.then_some(()))?;
        uring_only("--fault", self.fault)
    }
}

/// Errors: sizes and numbers that are allowed each for itself, but not together.
pub(super) fn check_buffers(buffers: Buffers) -> Result<()> {
    const BUFFERS_MAX: u32 = 65_535;
    let Some(large) = buffers.large else {
        return Ok(());
    };
    if u32::from(buffers.total) + u32::from(large.count) > BUFFERS_MAX {
        return Err(Error::Usage(format!(
            "--buffers and --large-buffers together are more than {}: a ring numbers its buffers with 16 bits",
            show_count(BUFFERS_MAX.into())
        )));
    }
    if large.size <= buffers.size {
        return Err(Error::Usage(format!(
            "--large-buffer-size {} has to be more than --buffer-size {}; --large-buffers 0 does without large ones",
            units::show_size(large.size.into()),
            units::show_size(buffers.size.into())
        )));
    }
    Ok(())
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
