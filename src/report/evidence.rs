//! What a report knows about itself: for its verdict, and for the assertions on it.

use super::Report;
use super::assertion::{Estimate, Latency, Metric, Statistic};
use super::distribution::{Distribution, Row};
use super::facts::ratio;
use super::verdict::Evidence;
use crate::clock::Nanos;
use crate::load::RunResult;
use crate::stats::order_statistics::needs;
use crate::units::show_count;

impl Report {
    pub(super) fn evidence(&self, outcome: &RunResult) -> Evidence {
        let elapsed = Nanos(self.elapsed_ns).as_secs();
        let p99 = |distribution: &Distribution| distribution.p99.or(distribution.max).map(Nanos);
        let cpus = self.environment.machine.cpus.unwrap_or(1) as f64;
        let share = |nanos: Option<u64>| nanos.map(|nanos| ratio(Nanos(nanos).as_secs(), elapsed));
        let network = self.surroundings.network;
        Evidence {
            open_loop: self.offered_per_s.is_some(),
            send_lag_p99: self.send_lag_ns.as_ref().and_then(p99),
            service_p50: self.latency_ns.service.p50.map(Nanos),
            offered_per_s: self.offered_per_s.unwrap_or(0.0),
            achieved_per_s: self.rate_per_s,
            generator_busy: self.generator.busy_ratio,
            server_busy: self.server.as_ref().map(|server| server.cpu_ratio),
            server_cpus: outcome.server.as_ref().map(|server| server.parallelism),
            shares_cpu: outcome.shares_cpu,
            steal_share: share(self.surroundings.steal_ns).unwrap_or(0.0) / cpus,
            pressure_share: share(self.surroundings.cpu_pressure_ns),
            overflows: self.generator.cq_overflows,
            debug_build: self.environment.debug_build,
            partial: self.partial,
            samples: self.latency_ns.service.count,
            needed_for_p99: needs(0.99),
            // A churning run has many more than it asked for at once.
            connections: self
                .connections
                .requested
                .max(self.connections.opened + self.connections.failed),
            unopened: self.connections.failed,
            lost: self.connections.lost_total(),
            sent: self.messages.sent,
            failed: self.messages.failed,
            missing: self.messages.missing,
            verify: self.plan.verify,
            fairness_jain: self.fairness.as_ref().map(|fairness| fairness.jain),
            retransmits: network.map(|network| network.retransmits),
            listen_overflows: network.map(|network| network.listen_overflows),
        }
    }

    /// The figure that an assertion is about, with its interval. Errors: why there is none.
    pub(super) fn estimate(&self, metric: Metric) -> Result<Estimate, String> {
        let (connections, messages) = (&self.connections, &self.messages);
        let errors = messages.failed + messages.missing + connections.failed + connections.lost_total();
        match metric {
            Metric::Latency(latency, statistic) => latency_of(self.distribution(latency)?, statistic),
            Metric::Errors => Ok(Estimate::exact(errors as f64)),
            Metric::Failed => Ok(Estimate::exact(messages.failed as f64)),
            Metric::Missing => Ok(Estimate::exact(messages.missing as f64)),
            Metric::Rate => Ok(Estimate::exact(self.rate_per_s)),
        }
    }

    fn distribution(&self, latency: Latency) -> Result<&Distribution, String> {
        let none = || "a closed loop has no planned instants: add --rate".to_owned();
        let latencies = &self.latency_ns;
        match latency {
            Latency::Usual => Ok(latencies.response.as_ref().unwrap_or(&latencies.service)),
            Latency::Response => latencies.response.as_ref().ok_or_else(none),
            Latency::Service => Ok(&latencies.service),
            Latency::Connect => Ok(&self.connect_ns),
            Latency::Lag => self.send_lag_ns.as_ref().ok_or_else(none),
        }
    }
}

fn latency_of(distribution: &Distribution, statistic: Statistic) -> Result<Estimate, String> {
    let name = match statistic {
        Statistic::Quantile(share) => {
            let row = distribution.rows().find(|row| row.share == Some(share));
            return row
                .ok_or("no such percentile")
                .map_err(str::to_owned)
                .and_then(|row| of_row(&row, distribution));
        }
        Statistic::Min => "min",
        Statistic::Max => "max",
        Statistic::Mean => {
            let mean = distribution.mean.ok_or("nothing was measured")?;
            return Ok(Estimate::exact(mean as f64));
        }
    };
    let row = distribution.row(name).ok_or("no such figure")?;
    of_row(&row, distribution)
}

fn of_row(row: &Row, distribution: &Distribution) -> Result<Estimate, String> {
    let few = || {
        format!(
            "needs {} samples, has {}",
            show_count(row.needs),
            show_count(distribution.count)
        )
    };
    let value = row.value.ok_or_else(few)?;
    let high = |high: Option<u64>| high.map_or(Nanos::NEVER, Nanos);
    Ok(match row.bounds {
        Some(bounds) => Estimate::latency(value, Nanos(bounds.low), high(bounds.high)),
        None if row.lower_bound => Estimate::latency(value, value, Nanos::NEVER),
        None => Estimate::latency(value, value, value),
    })
}
