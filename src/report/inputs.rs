//! What verdict and assertions are judged by, taken from the figures of a report.

use super::Figures;
use super::assertion::{Estimate, Latency, Metric};
use super::distribution::{Distribution, Statistic};
use super::sections::ratio;
use super::validity::Inputs;
use crate::clock::Nanos;
use crate::load::RunResult;
use crate::stats::order_statistics::needs;
use crate::units::show_count;

impl Figures {
    pub(super) fn verdict_inputs(&self, run: &RunResult) -> Inputs {
        let disturbance = self.host.disturbance;
        let cpus = self.environment.machine.cpus.unwrap_or(1) as f64;
        let share = |part: Option<Nanos>| part.map(|part| ratio(part.as_secs(), disturbance.span.as_secs()));
        let (connections, network) = (&self.connections, self.host.network);
        Inputs {
            open_loop: self.offered_per_s.is_some(),
            send_lag_p99: self
                .send_lag
                .as_ref()
                .and_then(|lag| lag.p99_ns.or(lag.max_ns))
                .map(Nanos),
            service_p50: self.latency.service.p50_ns.map(Nanos),
            offered_per_s: self.offered_per_s.unwrap_or(0.0),
            achieved_per_s: self.completed_per_s,
            generator_busy: self.generator.busy_ratio,
            server_busy: self.server.as_ref().map(|server| server.cpu_ratio),
            server_cpus: run.server.as_ref().map(|server| server.parallelism),
            shares_cpu: run.shares_cpu,
            steal_share: share(disturbance.steal).unwrap_or(0.0) / cpus,
            pressure_share: share(disturbance.pressure),
            overflows: self.generator.cq_overflows,
            debug_build: self.environment.debug_build,
            partial: run.interrupted.is_some(),
            samples: self.latency.service.count,
            needed_for_p99: needs(0.99),
            // With churn there are many more than the plan has at once.
            connections: connections.requested.max(connections.opened + connections.unopened()),
            unopened: connections.unopened(),
            lost: connections.lost_total(),
            sent: self.messages.sent,
            failed: self.messages.failed,
            missing: self.messages.missing,
            verify: self.plan.verify,
            fairness_jain: self.fairness.as_ref().map(|fairness| fairness.jain),
            retransmits: network.map(|network| network.retransmits),
            listen_overflows: network.map(|network| network.listen_overflows),
        }
    }

    /// The figure that an assertion is about, with its confidence interval. Errors: why there is none.
    pub(super) fn estimate(&self, metric: Metric) -> Result<Estimate, String> {
        let (connections, messages) = (&self.connections, &self.messages);
        let errors = messages.failed + messages.missing + connections.unopened() + connections.lost_total();
        match metric {
            Metric::Latency(latency, statistic) => latency_estimate(self.distribution(latency)?, statistic),
            Metric::Errors => Ok(Estimate::exact(errors as f64)),
            Metric::Failed => Ok(Estimate::exact(messages.failed as f64)),
            Metric::Missing => Ok(Estimate::exact(messages.missing as f64)),
            Metric::Rate => Ok(Estimate::exact(self.completed_per_s)),
        }
    }

    fn distribution(&self, latency: Latency) -> Result<&Distribution, String> {
        let none = || "a closed loop has no planned instants: add --rate".to_owned();
        match latency {
            Latency::Main => Ok(self.main_latency()),
            Latency::Response => self.latency.response.as_ref().ok_or_else(none),
            Latency::Service => Ok(&self.latency.service),
            Latency::Connect => Ok(&self.connect),
            Latency::Lag => self.send_lag.as_ref().ok_or_else(none),
        }
    }
}

fn latency_estimate(distribution: &Distribution, statistic: Statistic) -> Result<Estimate, String> {
    let figure = distribution.figure(statistic);
    let too_few = || {
        let (needs, has) = (show_count(figure.needs), show_count(distribution.count));
        format!("needs {needs} samples, has {has}")
    };
    let value = figure.value.ok_or_else(too_few)?;
    let high = |high: Option<u64>| high.map_or(Nanos::NEVER, Nanos);
    Ok(match figure.bounds {
        Some(bounds) => Estimate::latency(value, Nanos(bounds.low_ns), high(bounds.high_ns)),
        None if figure.lower_bound && statistic != Statistic::Mean => Estimate::latency(value, value, Nanos::NEVER),
        None => Estimate::latency(value, value, value),
    })
}
