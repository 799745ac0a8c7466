//! One second of a run as a line: a JSON object, or a row of a table.

use serde::Serialize;

use crate::histogram::Recorder;
use crate::load::interval::Interval;
use crate::load::result::Latencies;

/// One second, all workers together. Percentiles are `None` below the samples they need.
#[derive(Debug, Clone, Serialize)]
pub struct Second {
    /// Which, from 0.
    pub second: u64,
    /// When it began and ended, in nanoseconds since measuring began. The last one includes the drain.
    pub from_ns: u64,
    /// See `from_ns`.
    pub to_ns: u64,
    /// Messages asked for in it.
    pub sent: u64,
    /// Messages that came back in it.
    pub ok: u64,
    /// Messages whose connection ended in it.
    pub failed: u64,
    /// Messages given up in it.
    pub missing: u64,
    /// Connections that the target ended in it.
    pub lost: u64,
    /// Messages that came back, by its length.
    pub rate_per_s: f64,
    /// Latencies in nanoseconds; those of the response are `None` in a closed loop.
    pub service_p50_ns: Option<u64>,
    /// See `service_p50_ns`.
    pub service_p99_ns: Option<u64>,
    /// See `service_p50_ns`.
    pub service_max_ns: Option<u64>,
    /// See `service_p50_ns`.
    pub response_p50_ns: Option<u64>,
    /// See `service_p50_ns`.
    pub response_p99_ns: Option<u64>,
    /// See `service_p50_ns`.
    pub response_max_ns: Option<u64>,
}

impl Second {
    /// The first line of the table.
    pub const CSV_HEAD: &str = "second,from_ns,to_ns,sent,ok,failed,missing,lost,rate_per_s,\
        service_p50_ns,service_p99_ns,service_max_ns,response_p50_ns,response_p99_ns,response_max_ns\n";

    /// The second of a interval.
    pub fn of(interval: &Interval) -> Second {
        let Interval {
            latencies: Latencies { service, response },
            messages,
            span,
            ..
        } = interval;
        let seconds = span.length().as_secs();
        let quantile = |recorder: &Recorder, share| Some(recorder.quantile(share)?.value.0);
        let max = |recorder: &Recorder| Some(recorder.max()?.value.0);
        Second {
            second: interval.index,
            from_ns: span.begin.0,
            to_ns: span.end.0,
            sent: messages.sent,
            ok: messages.completed,
            failed: messages.failed,
            missing: messages.missing,
            lost: interval.lost,
            rate_per_s: super::ratio(messages.completed as f64, seconds),
            service_p50_ns: quantile(service, 0.5),
            service_p99_ns: quantile(service, 0.99),
            service_max_ns: max(service),
            response_p50_ns: quantile(response, 0.5),
            response_p99_ns: quantile(response, 0.99),
            response_max_ns: max(response),
        }
    }

    /// As one line of JSON.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string(self).expect("plain data has no way to fail");
        text.push('\n');
        text
    }

    /// As one row, empty where there is no value (RFC 4180; no value holds a comma).
    pub fn csv(&self) -> String {
        let counts = [
            self.second,
            self.from_ns,
            self.to_ns,
            self.sent,
            self.ok,
            self.failed,
            self.missing,
            self.lost,
        ];
        let latencies = [
            self.service_p50_ns,
            self.service_p99_ns,
            self.service_max_ns,
            self.response_p50_ns,
            self.response_p99_ns,
            self.response_max_ns,
        ];
        let mut cells: Vec<String> = counts.iter().map(u64::to_string).collect();
        cells.push(format!("{:.1}", self.rate_per_s));
        cells.extend(
            latencies
                .iter()
                .map(|latency| latency.map_or(String::new(), |ns| ns.to_string())),
        );
        cells.join(",") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Nanos;
    use crate::load::result::{Messages, Span};

    fn second() -> Second {
        let mut service = Recorder::new();
        (1..=1000).for_each(|ns| service.record(Nanos(ns)));
        Second::of(&Interval {
            index: 3,
            span: Span {
                begin: Nanos(3_000_000_000),
                end: Nanos(4_000_000_000),
            },
            latencies: Latencies {
                service,
                response: Recorder::new(),
            },
            messages: Messages {
                sent: 1001,
                completed: 1000,
                failed: 1,
                missing: 0,
            },
            lost: 1,
        })
    }

    #[test]
    fn a_row_has_a_cell_for_every_column() {
        let (head, row) = (Second::CSV_HEAD, second().csv());
        assert_eq!(head.matches(',').count(), row.matches(',').count());
        assert_eq!(row, "3,3000000000,4000000000,1001,1000,1,0,1,1000.0,500,990,1000,,,\n");
    }

    #[test]
    fn the_object_has_the_names_of_the_columns() {
        let object: serde_json::Value = serde_json::from_str(&second().json()).unwrap();
        for column in Second::CSV_HEAD.trim().split(',') {
            assert!(object.get(column).is_some(), "{column}");
        }
        assert_eq!(object["response_p50_ns"], serde_json::Value::Null);
    }
}
