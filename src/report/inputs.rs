//! What verdict and assertions are judged by, taken from the figures of a report.

use super::Figures;
use super::assertion::{Count, Estimate, Latency, Metric, NoInterval};
use super::distribution::{Figure, IntervalMethod, Statistic};
use super::sections::ratio;
use super::validity::Inputs;
use crate::clock::Nanos;
use crate::histogram::{BatchSeries, Recorder};
use crate::load::RunResult;
use crate::load::schedule::Pace;
use crate::units::{show_count, show_duration};

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
            in_flight_growth_per_s: self.in_flight_growth_per_s(run),
            littles_law_limit_per_s: self.littles_law_limit_per_s(),
            generator_busy: self.generator.busy_ratio,
            server_busy: self.server.as_ref().map(|server| server.cpu_ratio),
            server_cpus: run.server.as_ref().ok().map(|server| server.parallelism),
            shares_cpu: run.shares_cpu,
            steal_share: share(disturbance.steal).unwrap_or(0.0) / cpus,
            pressure_share: share(disturbance.pressure),
            stalled: Nanos(self.generator.stalled_ns),
            stalled_longest: Nanos(self.generator.stalled_max_ns),
            run_delay: Nanos(self.generator.run_delay_ns),
            measured: Nanos(self.elapsed_ns),
            throttling: self.host.throttling,
            server_throttling: self.host.server_throttling,
            pass_p99: self.generator.pass.p99_ns.map(Nanos),
            overflows: self.generator.cq_overflows,
            merged_intervals: self.generator.merged_intervals,
            debug_build: self.environment.debug_build,
            partial: run.interrupted.is_some(),
            wrong_data: run.stats.wrong_data.clone(),
            samples: self.latency.service.count,
            // With churn there are many more than the plan has at once.
            connections: connections.requested.max(connections.opened + connections.unopened()),
            unopened: connections.unopened(),
            without_port: run.stats.without_port(),
            lost: connections.closed_by_target(),
            rate_changes: run.rate_changes_measured(),
            sent: self.messages.sent,
            failed: self.messages.failed,
            missing: self.messages.missing,
            verify: self.plan.verify,
            fairness_jain: self.fairness.as_ref().map(|fairness| fairness.jain),
            retransmits: network.map(|network| network.retransmits),
            listen_overflows: network.map(|network| network.listen_overflows),
        }
    }

    /// The figure that an assertion is about, with its confidence interval. Errors: why there is no valid one.
    pub(super) fn estimate(&self, run: &RunResult, metric: Metric) -> Result<Estimate, NoInterval> {
        match metric {
            Metric::Latency(..) if run.rate_changes_measured() > 0 => {
                Err(NoInterval::no_figure("the rate was changed"))
            }
            Metric::Latency(latency, statistic) => {
                let (recorder, batches) = samples(run, latency);
                latency_estimate(recorder, batches, statistic)
            }
            Metric::Count(count) => Ok(Estimate::exact(self.count(count) as f64)),
            Metric::Rate => match self.completed_per_s_interval {
                Some(interval) => interval.estimate(self.completed_per_s),
                None => Err(NoInterval::no_figure(
                    "a ramp, or a rate that was changed, is no single rate",
                )),
            },
        }
    }

    /// A figure alone; none with too few samples, and where it is only a lower bound.
    pub(super) fn value(&self, run: &RunResult, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Latency(latency, statistic) => {
                let figure = Figure::of(samples(run, latency).0, None, statistic);
                figure.value.filter(|_| !figure.lower_bound).map(|value| value.0 as f64)
            }
            Metric::Count(count) => Some(self.count(count) as f64),
            Metric::Rate => Some(self.completed_per_s),
        }
    }

    fn count(&self, count: Count) -> u64 {
        match count {
            Count::Errors => self.errors(),
            Count::Failed => self.messages.failed,
            Count::Missing => self.messages.missing,
        }
    }

    /// Messages failed and missing, connections failed and lost.
    pub fn errors(&self) -> u64 {
        let (connections, messages) = (&self.connections, &self.messages);
        messages.failed + messages.missing + connections.unopened() + connections.lost_total()
    }

    /// The share of the offered rate that was completed, counting messages that were on the way at the end though
    /// nothing queued. None in a closed loop.
    pub fn achieved_share(&self, run: &RunResult) -> Option<f64> {
        let offered = self.offered_per_s.filter(|&offered| offered > 0.0)?;
        Some((self.completed_per_s + self.in_flight_growth_per_s(run)) / offered)
    }

    /// Messages per second of measuring that a path without a queue carries at the end and did not carry at the
    /// beginning, because the warm-up was shorter than the path, or because the rate has risen. The path is as long
    /// as the smallest service time.
    fn in_flight_growth_per_s(&self, run: &RunResult) -> f64 {
        let Pace::Open { rate, .. } = self.plan.pace else {
            return 0.0;
        };
        let path = Nanos(self.latency.service.min_ns.unwrap_or(0));
        let at_the_beginning = rate.from * path.min(run.plan.workload.warmup).as_secs();
        let growth = rate.to * path.as_secs() - at_the_beginning;
        ratio(growth.max(0.0), Nanos(self.elapsed_ns).as_secs())
    }

    /// Messages per second that the connections carry if the server takes no time: each as many as are in flight, once
    /// in the smallest service time.
    fn littles_law_limit_per_s(&self) -> Option<f64> {
        let path = Nanos(self.latency.service.min_ns?).as_secs();
        let in_flight = self.connections.requested * self.plan.pipeline;
        (path > 0.0).then(|| in_flight as f64 / path)
    }
}

/// What a latency was recorded in, and its seconds, if it has them. Empty for one that a closed loop does not have.
fn samples(run: &RunResult, latency: Latency) -> (&Recorder, Option<&BatchSeries>) {
    let (latencies, series) = (&run.latencies, &run.series);
    match latency {
        Latency::Main if run.plan.workload.pace.is_open() => (&latencies.response, Some(&series.response)),
        Latency::Response => (&latencies.response, Some(&series.response)),
        Latency::Main | Latency::Service => (&latencies.service, Some(&series.service)),
        Latency::Connect if run.plan.workload.churn.is_some() => (&run.stats.connect, Some(&run.connect_series)),
        Latency::Connect => (&run.stats.ramp_up, None),
        Latency::Lag => (&run.stats.send_lag, Some(&run.send_lag_series)),
    }
}

fn latency_estimate(
    recorder: &Recorder,
    batches: Option<&BatchSeries>,
    statistic: Statistic,
) -> Result<Estimate, NoInterval> {
    let figure = Figure::of(recorder, batches, statistic);
    let Some(value) = figure.value else {
        let (needs, has) = (show_count(statistic.needs()), show_count(recorder.count()));
        return Err(NoInterval::no_figure(format!("needs {needs} samples, has {has}")));
    };
    let alone = Estimate::latency(value, value, if figure.lower_bound { Nanos::NEVER } else { value });
    let no_interval = |why: &str| {
        Err(NoInterval {
            figure: Some(alone),
            why: why.to_owned(),
        })
    };
    let Some(bounds) = figure.bounds else {
        return match statistic {
            Statistic::Min | Statistic::Max => Ok(alone),
            _ => no_interval("all connected before measuring began, not second by second; assert connect.max"),
        };
    };
    match bounds.method {
        IntervalMethod::Untested => no_interval(UNTESTED),
        IntervalMethod::TooShort => no_interval(&too_short(bounds.correlated_over_ns)),
        IntervalMethod::OrderStatistics | IntervalMethod::Batches => {
            let low = Nanos(bounds.low_ns.unwrap_or(0));
            let high = bounds.high_ns.map_or(Nanos::NEVER, Nanos);
            Ok(Estimate::latency(value, low, high))
        }
    }
}

/// Why there is no interval that can decide anything.
pub(super) const UNTESTED: &str =
    "the run was too short to test whether its samples are independent; measure longer (--duration)";

/// The same, for a run whose samples are correlated over this time.
pub(super) fn too_short(correlated_over: Option<u64>) -> String {
    let time = show_duration(Nanos(correlated_over.unwrap_or(0)));
    format!(
        "the run is too short for an interval: its samples are correlated over about {time}; measure longer (--duration) \
         or use --repeat"
    )
}
