//! A report as text: plan, connections, messages, latencies, CPU time, verdict.

use std::fmt::{self, Display, Formatter};

use super::distribution::{Distribution, Statistic};
use super::latency_table::{LatencyTable, value};
use super::percentile::Percentile;
use super::sections::{Connections, Fairness, PlanSummary, Server, SizeDistribution, SizeSummary};
use super::targets::TargetTable;
use super::{Figures, Report};
use crate::clock::Nanos;
use crate::load::Close;
use crate::load::result::Loss;
use crate::load::schedule::{Arrivals, Pace};
use crate::output::untrusted;
use crate::units::{plural, show_count, show_duration, show_percent, show_rate, show_size};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.partial {
            let what = if self.wrong_data.is_some() {
                "ended by wrong data"
            } else {
                "interrupted"
            };
            writeln!(f, "PARTIAL: {what} before the planned end")?;
        }
        self.figures.fmt(f)?;
        for outcome in &self.assertions {
            writeln!(f, "assert       {}", outcome.text)?;
        }
        self.verdict.fmt(f)
    }
}

impl Display for Figures {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "load         {}: {}", self.plan.targets_shown(), self.title())?;
        writeln!(f, "connections  {}", self.connections)?;
        if let Some(endings) = self
            .endings
            .filter(|_| self.plan.churn.is_some() || self.connections.lost_total() > 0)
        {
            writeln!(f, "endings      {endings}")?;
        }
        self.connecting(f)?;
        self.messages(f)?;
        self.latencies(f)?;
        TargetTable(&self.targets).fmt(f)?;
        self.processes(f)?;
        self.network(f)?;
        if let Some(fairness) = &self.fairness {
            writeln!(f, "fairness     {fairness}")?;
        }
        Ok(())
    }
}

impl Figures {
    pub(super) fn title(&self) -> String {
        let plan = &self.plan;
        format!(
            "{}, {} after {} warm-up, seed {}",
            describe(self.connections.requested, plan),
            show_duration(Nanos(plan.duration_ns)),
            show_duration(Nanos(plan.warmup_ns)),
            plan.seed
        )
    }

    fn connecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // Up to four are dialled in one system call, and each is timed from its beginning.
        let together = "each may include up to 3 others dialled at the same time";
        if let Some(ramp_up) = &self.ramp_up {
            writeln!(
                f,
                "ramp-up      {} (connecting, before messages; {together})",
                Short(ramp_up)
            )?;
            // All replacements of a pass are dialled together.
            writeln!(
                f,
                "connect      {} (churn; each may include others dialled with it)",
                Short(&self.connect)
            )?;
        } else {
            writeln!(f, "connect      {} ({together})", Short(&self.connect))?;
        }
        if let Some(first_byte) = &self.first_byte {
            writeln!(f, "first byte   {}", Short(first_byte))?;
        }
        if let Some(close) = &self.close {
            writeln!(f, "close        {}", Short(close))?;
        }
        Ok(())
    }

    fn messages(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let messages = &self.messages;
        let [sent, completed, failed, missing] =
            [messages.sent, messages.completed, messages.failed, messages.missing].map(show_count);
        let checked = if self.plan.verify {
            "every byte verified"
        } else {
            "NOT VERIFIED (--no-verify)"
        };
        writeln!(
            f,
            "messages     {sent} sent = {completed} completed + {failed} failed + {missing} missing, {checked}"
        )?;
        write!(f, "rate         ")?;
        if let Some(offered) = self.offered_per_s {
            write!(f, "{} offered, ", show_rate(offered))?;
        }
        write!(
            f,
            "{} completed{}, {}/s received",
            show_rate(self.completed_per_s),
            self.completed_per_s_interval
                .map(|interval| interval.to_string())
                .unwrap_or_default(),
            show_size(self.received_bytes_per_s as u64)
        )?;
        writeln!(f, ", over {}", show_duration(Nanos(self.elapsed_ns)))?;
        if let Some(lag) = &self.send_lag {
            writeln!(f, "send lag     {}", Short(lag))?;
        }
        Ok(())
    }

    fn latencies(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.latency_tables().fmt(f)?;
        match self.latency.response {
            Some(_) => writeln!(f, "  response: from the planned instant; service: from submission"),
            None => Ok(()),
        }
    }

    /// The latencies that the run has.
    pub(super) fn latency_tables(&self) -> LatencyTable<'_> {
        let response = self.latency.response.as_ref().map(|response| ("response", response));
        LatencyTable(
            response
                .into_iter()
                .chain([("service", &self.latency.service)])
                .collect(),
        )
    }

    fn processes(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (&self.server, &self.server_unknown) {
            (Some(server), _) => writeln!(f, "server       {server}")?,
            (None, why) => writeln!(
                f,
                "server       n/a: {}",
                untrusted::line(why.as_deref().unwrap_or("unknown"))
            )?,
        }
        let generator = &self.generator;
        write!(
            f,
            "generator    {} CPU per message{}, busiest thread {} of a CPU, {} without busy-polling",
            show_duration(Nanos(generator.cpu_ns_per_message)),
            if self.plan.spin { " (busy-polling included)" } else { "" },
            show_percent(generator.cpu_ratio, 0),
            show_percent(generator.busy_ratio, 0),
        )?;
        if generator.stalled_ns > 0 {
            write!(
                f,
                ", stalled for {} in total (longest {})",
                show_duration(Nanos(generator.stalled_ns)),
                show_duration(Nanos(generator.stalled_max_ns)),
            )?;
        }
        if generator.cq_overflows > 0 {
            write!(
                f,
                ", completion queue overflowed {} times",
                show_count(generator.cq_overflows)
            )?;
        }
        writeln!(f)?;
        writeln!(f, "passes       {} (of the generator's loop)", Short(&generator.pass))
    }

    fn network(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(rtt) = &self.smoothed_rtt {
            writeln!(
                f,
                "smoothed rtt {} (TCP_INFO, sampled), {} retransmitted by the generator, {} received out of order",
                Short(rtt),
                plural(self.retransmits, "segment"),
                show_count(self.out_of_order),
            )?;
        }
        if let Some(network) = &self.host.network {
            writeln!(
                f,
                "network      {}, {} on this machine while measuring",
                plural(network.retransmits, "retransmit"),
                plural(network.listen_overflows, "accept queue overflow"),
            )?;
        }
        Ok(())
    }
}

impl Display for Server {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&untrusted::line(&self.listening.join(", ")))?; // Processes choose their names.
        if self.processes != 1 {
            write!(f, " ({} processes)", show_count(self.processes))?;
        }
        let known = |figure: Option<String>| figure.unwrap_or_else(|| "n/a".to_owned());
        let switches = self.context_switches_voluntary.zip(self.context_switches_involuntary);
        write!(
            f,
            ": {} CPU per message, {} of a CPU, {} resident ({} per connection), {} context switches",
            known(self.cpu_ns_per_message.map(|ns| show_duration(Nanos(ns)))),
            show_percent(self.cpu_ratio, 0),
            known(self.resident_bytes.map(show_size)),
            known(self.resident_bytes_per_connection.map(show_size)),
            known(switches.map(|(voluntary, involuntary)| show_count(voluntary + involuntary))),
        )
    }
}

impl Display for Connections {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} opened, {} failed",
            show_count(self.opened),
            show_count(self.failed)
        )?;
        write!(f, "{}", Kinds(&self.failures))?;
        if self.unfinished > 0 {
            write!(f, ", {} still opening at the end", show_count(self.unfinished))?;
        }
        if self.lost_total() > 0 {
            write!(f, ", {} lost{}", show_count(self.lost_total()), Kinds(&self.lost))?;
        }
        if self.closed > 0 {
            write!(f, ", {} closed by us", show_count(self.closed))?;
        }
        if let Some(rate) = self.opened_per_s {
            write!(f, ", {} opened while measuring", show_rate(rate))?;
        }
        Ok(())
    }
}

impl Display for Fairness {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Jain index {:.4}", self.jain)?;
        let slowest = self.slowest.iter().take(3);
        let slowest = slowest.map(|slow| format!("{} (connection {})", show_count(slow.messages), slow.connection));
        write!(f, "; fewest messages: {}", slowest.collect::<Vec<_>>().join(", "))
    }
}

/// ` (3 eof, 1 reset)`, or nothing.
struct Kinds<'a>(&'a std::collections::BTreeMap<Loss, u64>);

impl Display for Kinds<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let kinds = self
            .0
            .iter()
            .map(|(kind, count)| format!("{} {kind}", show_count(*count)));
        write!(f, " ({})", kinds.collect::<Vec<_>>().join(", "))
    }
}

/// The three figures that fit on one line.
struct Short<'a>(&'a Distribution);

impl Display for Short<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [Percentile::P50, Percentile::P99].map(Statistic::Percentile);
        let table = self.0.table();
        let shown = table
            .into_iter()
            .filter(|(one, _)| [p50, p99, Statistic::Max].contains(one));
        let figures: Vec<String> = shown
            .map(|(statistic, figure)| format!("{statistic} {}", value(statistic, figure)))
            .collect();
        f.write_str(&figures.join("   "))
    }
}

/// A load in one line, without its duration: `50 connections, 64 B, closed loop, 1 thread`.
pub(crate) fn describe(connections: u64, plan: &PlanSummary) -> String {
    let mut parts = vec![
        plural(connections, "connection"),
        sizes(plan.sizes),
        pace(plan.pace),
        plural(plan.threads.into(), "thread"),
    ];
    parts.extend(plan.io.note().map(str::to_owned));
    if plan.pipeline > 1 {
        parts.push(format!("pipeline {}", plan.pipeline));
    }
    if let Some(most) = plan.in_flight_max {
        parts.push(format!(
            "at most {} in flight (net.ipv4.tcp_mem)",
            plural(most, "message")
        ));
    }
    if plan.sources > 1 {
        parts.push(format!("from {}", plural(plan.sources, "address")));
    }
    if plan.direct_descriptors {
        parts.push("direct descriptors".into());
    }
    if let Some(churn) = plan.churn {
        let close = match churn.close {
            Close::Fin => "FIN",
            Close::Rst => "RST",
        };
        let messages = plural(churn.messages, "message");
        parts.push(format!("each closed by {close} after {messages}"));
    }
    parts.join(", ")
}

fn sizes(sizes: SizeSummary) -> String {
    let max = show_size(sizes.max_bytes);
    let distribution = match sizes.distribution {
        SizeDistribution::Fixed => return max,
        SizeDistribution::Uniform => "uniform",
        SizeDistribution::Weighted => "weighted",
    };
    let mean = show_size(sizes.mean_bytes as u64);
    format!("{distribution} sizes up to {max} (mean {mean})")
}

fn pace(pace: Pace) -> String {
    match pace {
        Pace::Closed { think: Nanos(0) } => "closed loop".to_owned(),
        Pace::Closed { think } => format!("closed loop, {} think time", show_duration(think)),
        Pace::Open { rate, arrivals } => {
            let arrivals = match arrivals {
                Arrivals::Poisson => "Poisson",
                Arrivals::Constant => "constant",
            };
            let from = show_rate(rate.from);
            if rate.from == rate.to {
                format!("open loop at {from} ({arrivals})")
            } else {
                format!("open loop at {from} to {} ({arrivals})", show_rate(rate.to))
            }
        }
    }
}
