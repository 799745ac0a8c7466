//! A report as people read it: what was run, what happened, how fast, at whose cost.

use std::fmt::{self, Display, Formatter};

use super::{Connections, Distribution, Report};
use crate::clock::Nanos;
use crate::units::{show_count, show_duration, show_rate, show_size};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.connections.fmt(f)?;
        writeln!(f, "connect      {}", Short(&self.connect_ns))?;
        let messages = &self.messages;
        writeln!(
            f,
            "messages     {} sent = {} ok + {} failed + {} missing",
            show_count(messages.sent),
            show_count(messages.ok),
            show_count(messages.failed),
            show_count(messages.missing),
        )?;
        writeln!(
            f,
            "rate         {} messages, {}/s each way, over {}",
            show_rate(self.rate_per_s),
            show_size((self.rate_per_s * self.plan.size_bytes as f64) as u64),
            show_duration(Nanos(self.elapsed_ns)),
        )?;
        writeln!(
            f,
            "latency      service: from submit to the last byte back, every byte verified"
        )?;
        table(f, &self.latency_ns.service)?;
        self.costs(f)
    }
}

impl Report {
    fn head(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        if self.partial {
            writeln!(f, "PARTIAL: interrupted before its time was over")?;
        }
        if self.environment.debug_build {
            writeln!(
                f,
                "DEBUG BUILD: the figures mean little; build with --release"
            )?;
        }
        let threads = if plan.threads == 1 {
            "1 thread".to_owned()
        } else {
            format!("{} threads", plan.threads)
        };
        writeln!(
            f,
            "load         {}: {} connections, {}, {} loop, {threads}, {} after {} warm-up, seed {}",
            plan.target,
            show_count(self.connections.requested),
            show_size(plan.size_bytes),
            plan.mode,
            show_duration(Nanos(plan.duration_ns)),
            show_duration(Nanos(plan.warmup_ns)),
            plan.seed,
        )
    }

    fn costs(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.server {
            Some(server) => writeln!(
                f,
                "server       {} CPU per message, {} of a CPU",
                show_duration(Nanos(server.cpu_ns_per_message)),
                percent(server.cpu_ratio),
            )?,
            None => writeln!(
                f,
                "server       CPU unknown: not a process we can see on this machine"
            )?,
        }
        write!(
            f,
            "generator    {} CPU per message, busiest thread {} of a CPU",
            show_duration(Nanos(self.generator.cpu_ns_per_message)),
            percent(self.generator.cpu_ratio),
        )?;
        if self.generator.cq_overflows > 0 {
            write!(
                f,
                ", completion queue overflown {} times",
                show_count(self.generator.cq_overflows)
            )?;
        }
        writeln!(f)
    }
}

impl Display for Connections {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "connections  {} opened, {} failed",
            show_count(self.opened),
            show_count(self.failed)
        )?;
        for (kind, count) in &self.failures {
            write!(f, " ({} {kind})", show_count(*count))?;
        }
        let lost: u64 = self.lost.values().sum();
        if lost > 0 {
            write!(f, ", {} lost", show_count(lost))?;
        }
        for (kind, count) in &self.lost {
            write!(f, " ({} {kind})", show_count(*count))?;
        }
        writeln!(f)
    }
}

/// One row a percentile.
fn table(f: &mut Formatter<'_>, distribution: &Distribution) -> fmt::Result {
    for (name, value, lower_bound, needs) in distribution.figures() {
        let name = name.replace('_', ".");
        writeln!(f, "  {name:<10} {:>10}", figure(value, lower_bound, needs))?;
    }
    Ok(())
}

/// The three figures that fit on a line.
struct Short<'a>(&'a Distribution);

impl Display for Short<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let wanted = ["p50", "p99", "max"];
        let figures = self.0.figures().filter(|(name, ..)| wanted.contains(name));
        let figures = figures
            .map(|(name, value, lower, needs)| format!("{name} {}", figure(value, lower, needs)));
        f.write_str(&figures.collect::<Vec<_>>().join("   "))
    }
}

fn figure(value: Option<Nanos>, lower_bound: bool, needs: u64) -> String {
    match value {
        Some(value) if lower_bound => format!("> {}", show_duration(value)),
        Some(value) => show_duration(value),
        None => format!("n/a (needs {})", show_count(needs)),
    }
}

fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}
