//! `urecho serve`.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::ring::{Buffers, Large};
use crate::serve::engine::Engine;
use crate::serve::uring::fault::Fault;
use crate::serve::{self, Listening, Plan};
use crate::sys::signal::Stop;
use crate::sys::{affinity, limits, socket};
use crate::units;

#[derive(Debug, Args)]
pub(super) struct Flags {
    /// Address to listen on; port 0 takes a free one. Loopback on purpose: open echo services get abused
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7007")]
    listen: SocketAddr,
    /// What moves the bytes: uring, tokio-uring, or epoll. None ever takes another's place
    #[arg(long, value_name = "NAME", default_value = "uring")]
    engine: Engine,
    /// Threads, each with its own ring or epoll instance [default: the CPUs this process may use]
    #[arg(long, value_name = "N", value_parser = super::threads)]
    workers: Option<u32>,
    /// Connections that may wait to be accepted (capped by net.core.somaxconn)
    #[arg(long, value_name = "N", default_value = "4096", value_parser = super::at_least_one)]
    backlog: u32,
    /// Congestion control of every connection [default: the system's]
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// Let small writes wait for company (leaves TCP_NODELAY unset)
    #[arg(long)]
    no_nodelay: bool,
    /// Keep each worker on one of the CPUs this process may use
    #[arg(long)]
    pin: bool,
    /// How long a stop may take before open connections are cut
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::duration)]
    drain_timeout: Nanos,
    /// Receive buffers that circulate in each worker; uring only [default: 256]
    #[arg(long, value_name = "N", value_parser = buffers, hide_short_help = true)]
    buffers: Option<u16>,
    /// Large receive buffers in each worker, for peers that stream; 0 for none; uring only [default: 16]
    #[arg(long, value_name = "N", value_parser = large_buffers, hide_short_help = true)]
    large_buffers: Option<u16>,
    /// Bytes in each large receive buffer; uring only [default: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = buffer_size, hide_short_help = true)]
    large_buffer_size: Option<u32>,
    /// How long to look for completions before sleeping, while that pays; 0s for never; uring only [default: 20us]
    #[arg(long, value_name = "TIME", value_parser = units::duration, hide_short_help = true)]
    spin: Option<Nanos>,
    /// Bytes in each receive buffer. tokio-uring has one for each connection, epoll one for each worker [default: 4KiB;
    /// epoll: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = buffer_size, hide_short_help = true)]
    buffer_size: Option<u32>,
    /// Be slow: `spin=2us`, `delay=50us` or `stall=5ms/1s`. For proving that `urecho check` finds it; uring only
    #[arg(long, value_name = "HOW", value_parser = Fault::parse, hide = true)]
    inject: Option<Fault>,
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

fn buffer_size(text: &str) -> std::result::Result<u32, String> {
    match units::size(text)? {
        size @ 64..=1_048_576 => Ok(size as u32),
        size => Err(format!("{} is not between 64 B and 1 MiB", units::show_size(size))),
    }
}

impl Flags {
    /// Errors: a flag that the engine cannot follow.
    fn check(&self) -> Result<()> {
        let flags = [
            ("--buffers", self.buffers.is_some()),
            ("--large-buffers", self.large_buffers.is_some()),
            ("--large-buffer-size", self.large_buffer_size.is_some()),
            ("--spin", self.spin.is_some()),
            ("--inject", self.inject.is_some()),
        ];
        match flags.into_iter().find(|&(_, given)| given) {
            Some((flag, _)) if self.engine != Engine::Uring => Err(Error::Usage(format!(
                "{flag} is for --engine uring: {} has no pool and no ring of ours. Leave it out",
                self.engine
            ))),
            _ => Ok(()),
        }
    }

    fn large(&self, usual: &Buffers) -> Option<Large> {
        let usual = usual.large?;
        let count = self.large_buffers.unwrap_or(usual.count);
        let size = self.large_buffer_size.unwrap_or(usual.size);
        (count > 0).then_some(Large { count, size })
    }

    fn plan(&self) -> Result<Plan> {
        self.check()?;
        let cpus = affinity::allowed();
        let workers = self.workers.map_or(cpus.len(), |workers| workers as usize);
        let usual = Plan::of(self.engine);
        let hot = self.buffers.unwrap_or(usual.buffers.hot);
        Ok(Plan {
            listen: self.listen,
            workers,
            backlog: self.backlog,
            options: socket::Options {
                nodelay: !self.no_nodelay,
                congestion: self.congestion.clone(),
            },
            cpus: if self.pin { cpus } else { Vec::new() },
            drain_timeout: self.drain_timeout,
            buffers: Buffers {
                hot,
                total: hot.max(usual.buffers.total),
                size: self.buffer_size.unwrap_or(usual.buffers.size),
                large: self.large(&usual.buffers),
            },
            spin: self.spin.unwrap_or(usual.spin),
            inject: self.inject,
            ..usual
        })
    }
}

pub(super) fn run(flags: Flags) -> Result<ExitCode> {
    let plan = flags.plan()?;
    limits::raise_descriptors();
    let stop = Stop::on_signals()?;
    let counters = serve::run(plan, &stop, announce)?;
    eprintln!("{counters}");
    Ok(ExitCode::SUCCESS)
}

/// The line that scripts wait for. A closed stdout is nobody waiting.
fn announce(listening: &Listening) {
    let Listening {
        address,
        engine,
        workers,
    } = listening;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "listening on {address} engine={engine} workers={workers}");
    let _ = out.flush();
}
