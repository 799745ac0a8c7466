//! A report as people read it: what was run, what happened, how fast, at whose cost, and how far to trust it.

use std::fmt::{self, Display, Formatter};

use super::distribution::{Distribution, Row};
use super::facts::{Connections, Fairness, PlanSummary};
use super::{Bounds, Report};
use crate::clock::Nanos;
use crate::units::{plural, show_count, show_duration, show_percent, show_rate, show_size};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.partial {
            writeln!(f, "PARTIAL: interrupted before its time was over")?;
        }
        writeln!(
            f,
            "load         {}: {}",
            self.plan.targets.join(", "),
            self.what_was_run()
        )?;
        writeln!(f, "connections  {}", self.connections)?;
        self.connecting(f)?;
        self.messages(f)?;
        self.latencies(f)?;
        self.costs(f)?;
        if let Some(fairness) = &self.fairness {
            writeln!(f, "fairness     {fairness}")?;
        }
        for judgement in &self.assertions {
            writeln!(f, "assert       {}", judgement.what)?;
        }
        self.verdict.fmt(f)
    }
}

impl Report {
    fn what_was_run(&self) -> String {
        let plan = &self.plan;
        format!(
            "{}, {} after {} warm-up, seed {}",
            what_load(self.connections.requested, plan),
            show_duration(Nanos(plan.duration_ns)),
            show_duration(Nanos(plan.warmup_ns)),
            plan.seed
        )
    }

    fn connecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "connect      {}", Short(&self.connect_ns))?;
        if let Some(first_byte) = &self.first_byte_ns {
            writeln!(f, "first byte   {}", Short(first_byte))?;
        }
        if let Some(close) = &self.close_ns {
            writeln!(f, "close        {}", Short(close))?;
        }
        Ok(())
    }

    fn messages(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let messages = &self.messages;
        let [sent, ok, failed, missing] =
            [messages.sent, messages.completed, messages.failed, messages.missing].map(show_count);
        let checked = if self.plan.verify {
            "every byte verified"
        } else {
            "NOT VERIFIED (--no-verify)"
        };
        writeln!(
            f,
            "messages     {sent} sent = {ok} ok + {failed} failed + {missing} missing, {checked}"
        )?;
        let volume = (self.rate_per_s * self.plan.size_bytes_mean) as u64;
        write!(
            f,
            "rate         {} back, {}/s each way",
            show_rate(self.rate_per_s),
            show_size(volume)
        )?;
        if let Some(offered) = self.offered_per_s {
            write!(f, ", {} planned", show_rate(offered))?;
        }
        writeln!(f, ", over {}", show_duration(Nanos(self.elapsed_ns)))?;
        if let Some(lag) = &self.send_lag_ns {
            writeln!(f, "send lag     {}", Short(lag))?;
        }
        Ok(())
    }

    fn latencies(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let service = &self.latency_ns.service;
        let Some(response) = &self.latency_ns.response else {
            writeln!(f, "latency      {:>17}   95 % interval", "service")?;
            return service.rows().try_for_each(|row| writeln!(f, "{}", line(row, &[row])));
        };
        writeln!(
            f,
            "latency      {:>17}   {:<25} {:>17}   95 % interval",
            "response", "95 % interval", "service"
        )?;
        let mut rows = response.rows().zip(service.rows());
        rows.try_for_each(|(response, service)| writeln!(f, "{}", line(response, &[response, service])))?;
        writeln!(
            f,
            "  response: from the planned instant; service: from the submit, without the wait for a turn"
        )
    }

    fn costs(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.server {
            Some(server) => writeln!(
                f,
                "server       {} CPU per message, {} of a CPU, {} resident ({} per connection), {} context switches",
                show_duration(Nanos(server.cpu_ns_per_message)),
                show_percent(server.cpu_ratio, 0),
                show_size(server.resident_bytes),
                show_size(server.resident_bytes_per_connection),
                show_count(server.context_switches_voluntary + server.context_switches_involuntary),
            )?,
            None => writeln!(f, "server       CPU unknown: not a process we can see on this machine")?,
        }
        let generator = &self.generator;
        write!(
            f,
            "generator    {} CPU per message, busiest thread {} of a CPU, {} without spinning",
            show_duration(Nanos(generator.cpu_ns_per_message)),
            show_percent(generator.cpu_ratio, 0),
            show_percent(generator.busy_ratio, 0),
        )?;
        if generator.cq_overflows > 0 {
            write!(
                f,
                ", completion queue overflown {} times",
                show_count(generator.cq_overflows)
            )?;
        }
        writeln!(f)?;
        if let Some(rtt) = &self.rtt_ns {
            writeln!(
                f,
                "kernel rtt   {} (TCP_INFO, sampled), {} segments sent again by us",
                Short(rtt),
                show_count(self.retransmits)
            )?;
        }
        if let Some(network) = &self.surroundings.network {
            writeln!(
                f,
                "network      {} retransmits, {} accept queue overflows on this machine meanwhile",
                show_count(network.retransmits),
                show_count(network.listen_overflows),
            )?;
        }
        Ok(())
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
        if self.lost_total() > 0 {
            write!(f, ", {} lost{}", show_count(self.lost_total()), Kinds(&self.lost))?;
        }
        if self.closed > 0 {
            write!(f, ", {} closed by us", show_count(self.closed))?;
        }
        Ok(())
    }
}

impl Display for Fairness {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Jain index {:.4}", self.jain)?;
        let slowest = self.slowest.iter().take(3);
        let slowest = slowest.map(|slow| format!("connection {} {}", slow.connection, show_count(slow.messages)));
        write!(f, "; fewest messages: {}", slowest.collect::<Vec<_>>().join(", "))
    }
}

/// ` (3 eof, 1 reset)`, or nothing.
struct Kinds<'a>(&'a std::collections::BTreeMap<String, u64>);

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

/// The three figures that fit on a line.
struct Short<'a>(&'a Distribution);

impl Display for Short<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let shown = |name| self.0.row(name).map(|row| format!("{name} {}", figure(&row)));
        let figures: Vec<String> = ["p50", "p99", "max"].into_iter().filter_map(shown).collect();
        f.write_str(&figures.join("   "))
    }
}

/// A row of the table: the name, then figure and interval of each column.
fn line(named: Row, columns: &[Row]) -> String {
    let name = named.name.replace('_', ".");
    let cells = columns
        .iter()
        .map(|row| format!("{:>17}   {:<25}", figure(row), interval(row.bounds)));
    format!("  {name:<11}{}", cells.collect::<Vec<_>>().join(" "))
        .trim_end()
        .to_owned()
}

fn figure(row: &Row) -> String {
    match row.value {
        Some(value) if row.lower_bound => format!("> {}", show_duration(value)),
        Some(value) => show_duration(value),
        None => format!("n/a (needs {})", show_count(row.needs)),
    }
}

/// `1.19 ms .. 1.24 ms`, with a mark for what it rests on.
fn interval(bounds: Option<Bounds>) -> String {
    let Some(bounds) = bounds else {
        return String::new();
    };
    let high = bounds.high.map_or("?".to_owned(), |high| show_duration(Nanos(high)));
    let mark = match bounds.method {
        "order-statistics" => "",
        "blocks" => " b",
        _ => " u",
    };
    format!("{} .. {high}{mark}", show_duration(Nanos(bounds.low)))
}

/// What a load is like, however long it lasts: `50 connections, 64 B, closed loop, 1 thread`.
pub(crate) fn what_load(connections: u64, plan: &PlanSummary) -> String {
    let mut parts = vec![
        plural(connections, "connection"),
        sizes(plan),
        pace(plan),
        plural(plan.threads.into(), "thread"),
    ];
    if plan.pipeline > 1 {
        parts.push(format!("pipeline {}", plan.pipeline));
    }
    if let (Some(messages), Some(close)) = (plan.churn, plan.close) {
        let messages = plural(messages, "message");
        parts.push(format!("each closed by {} after {messages}", close.to_uppercase()));
    }
    parts.join(", ")
}

fn sizes(plan: &PlanSummary) -> String {
    let max = show_size(plan.size_bytes_max);
    match plan.sizes {
        "fixed" => max,
        shape => format!(
            "{shape} sizes up to {max} (mean {})",
            show_size(plan.size_bytes_mean as u64)
        ),
    }
}

fn pace(plan: &PlanSummary) -> String {
    match plan.rate_per_s {
        Some((from, to)) => {
            let rate = if from == to {
                show_rate(from)
            } else {
                format!("{} to {}", show_rate(from), show_rate(to))
            };
            format!("open loop at {rate} ({})", plan.arrivals.unwrap_or_default())
        }
        None if plan.think_ns > 0 => format!("closed loop, {} think time", show_duration(Nanos(plan.think_ns))),
        None => "closed loop".to_owned(),
    }
}
