//! One second of a run as a line: a JSON object, or a CSV row. Several seconds, if the reader of the lines was behind.

use serde::Serialize;

use crate::clock::WallTime;
use crate::histogram::Recorder;
use crate::load::interval::Interval;
use crate::load::result::Latencies;
use crate::output;

/// JSON Schema (draft 2020-12) of a line of `--jsonl`.
pub const INTERVAL_SCHEMA: &str = include_str!("interval.schema.json");

/// One second, all workers together, or several that the reader was behind: `from_ns` to `to_ns`. Percentiles are null
/// where there are too few samples.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IntervalLine {
    /// Its number, from 0; that of the first of several.
    pub second: u64,
    /// When it began, by the wall clock; in JSON its two members stand here.
    #[serde(flatten)]
    pub began: WallTime,
    /// Its first instant, in nanoseconds since measuring began.
    pub from_ns: u64,
    /// Its end. The counts and latencies of the last interval include the drain.
    pub to_ns: u64,
    /// Messages due in it.
    pub sent: u64,
    /// Messages completed in it.
    pub completed: u64,
    /// Messages whose connection closed in it.
    pub failed: u64,
    /// Messages without a reply by the end of the drain.
    pub missing: u64,
    /// Connections that the target closed in it.
    pub lost: u64,
    /// Connections that opened in it (churn).
    pub opened: u64,
    /// Connections that we closed in it (churn).
    pub closed: u64,
    /// Messages completed per second, whenever they were due; without those of the drain.
    pub completed_per_s: f64,
    /// Median service time.
    pub service_p50_ns: Option<u64>,
    /// 99th percentile of the service time.
    pub service_p99_ns: Option<u64>,
    /// Largest service time.
    pub service_max_ns: Option<u64>,
    /// Median response time; null in a closed loop, as the next two.
    pub response_p50_ns: Option<u64>,
    /// 99th percentile of the response time.
    pub response_p99_ns: Option<u64>,
    /// Largest response time.
    pub response_max_ns: Option<u64>,
    /// Median time to connect of the connections that opened in it, or were given up (churn); null without any, as the
    /// next two.
    pub connect_p50_ns: Option<u64>,
    /// 99th percentile of the time to connect.
    pub connect_p99_ns: Option<u64>,
    /// Largest time to connect.
    pub connect_max_ns: Option<u64>,
    /// True if the run was interrupted, or ended by wrong data, in this interval: it is the last one, and there are
    /// fewer than planned.
    pub partial: bool,
}

impl IntervalLine {
    /// The header of the CSV file.
    pub const CSV_HEADER: &str = "second,time,unix_ns,from_ns,to_ns,sent,completed,failed,missing,lost,\
        opened,closed,completed_per_s,\
        service_p50_ns,service_p99_ns,service_max_ns,response_p50_ns,response_p99_ns,response_max_ns,\
        connect_p50_ns,connect_p99_ns,connect_max_ns,partial\n";

    /// The line of an interval of a run that has measured since `began`.
    pub fn of(interval: &Interval, began: WallTime) -> IntervalLine {
        let Interval {
            latencies: Latencies { service, response },
            messages,
            span,
            connect,
            ..
        } = interval;
        let seconds = span.length().as_secs();
        let quantile = |recorder: &Recorder, share| Some(recorder.quantile(share)?.value.0);
        let max = |recorder: &Recorder| Some(recorder.max()?.value.0);
        IntervalLine {
            second: interval.index,
            began: began.plus(span.begin),
            from_ns: span.begin.0,
            to_ns: span.end.0,
            sent: messages.sent,
            completed: messages.completed,
            failed: messages.failed,
            missing: messages.missing,
            lost: interval.lost,
            opened: interval.opened,
            closed: interval.closed,
            completed_per_s: super::ratio(interval.achieved as f64, seconds),
            service_p50_ns: quantile(service, 0.5),
            service_p99_ns: quantile(service, 0.99),
            service_max_ns: max(service),
            response_p50_ns: quantile(response, 0.5),
            response_p99_ns: quantile(response, 0.99),
            response_max_ns: max(response),
            connect_p50_ns: quantile(connect, 0.5),
            connect_p99_ns: quantile(connect, 0.99),
            connect_max_ns: max(connect),
            partial: interval.is_cut,
        }
    }

    /// As one line of JSON Lines.
    pub fn json(&self) -> String {
        output::json::line(self)
    }

    /// As one CSV row, with empty fields for null (RFC 4180; no value contains a comma).
    pub fn csv(&self) -> String {
        let counts = [
            self.from_ns,
            self.to_ns,
            self.sent,
            self.completed,
            self.failed,
            self.missing,
            self.lost,
            self.opened,
            self.closed,
        ];
        let latencies = [
            self.service_p50_ns,
            self.service_p99_ns,
            self.service_max_ns,
            self.response_p50_ns,
            self.response_p99_ns,
            self.response_max_ns,
            self.connect_p50_ns,
            self.connect_p99_ns,
            self.connect_max_ns,
        ];
        let mut fields = vec![
            self.second.to_string(),
            self.began.to_string(),
            self.began.unix_ns().to_string(),
        ];
        fields.extend(counts.iter().map(u64::to_string));
        fields.push(format!("{:.1}", self.completed_per_s));
        fields.extend(
            latencies
                .iter()
                .map(|latency| latency.map_or(String::new(), |ns| ns.to_string())),
        );
        fields.push(self.partial.to_string());
        fields.join(",") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Nanos;
    use crate::load::result::{Messages, Span};

    fn line() -> IntervalLine {
        let mut service = Recorder::new();
        (1..=1000).for_each(|ns| service.record(Nanos(ns)));
        let mut connect = Recorder::new();
        connect.record(Nanos(20));
        let interval = Interval {
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
            achieved: 998,
            opened: 2,
            closed: 3,
            lost: 1,
            connect,
            ..Interval::default()
        };
        let line = IntervalLine::of(&interval, WallTime::from_unix_ns(7));
        assert_eq!(
            line.began.to_string(),
            "1970-01-01T00:00:03.000000007Z",
            "of the interval"
        );
        line
    }

    #[test]
    fn a_row_has_a_field_for_every_column() {
        let (header, row) = (IntervalLine::CSV_HEADER, line().csv());
        assert_eq!(header.matches(',').count(), row.matches(',').count());
        assert!(
            row.ends_with("Z,3000000007,3000000000,4000000000,1001,1000,1,0,1,2,3,998.0,500,990,1000,,,,,,20,false\n"),
            "{row}"
        );
    }

    #[test]
    fn the_object_has_the_names_of_the_columns() {
        let object: serde_json::Value = serde_json::from_str(&line().json()).unwrap();
        for column in IntervalLine::CSV_HEADER.trim().split(',') {
            assert!(object.get(column).is_some(), "{column}");
        }
        assert_eq!(object["response_p50_ns"], serde_json::Value::Null);
    }
}
