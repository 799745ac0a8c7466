//! The counters of a server in the OpenMetrics text format, and the HTTP endpoint that serves them.
//!
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::serve::control::Control;
use crate::serve::counters::Counters;

/// How long a client may take to send its request, and to receive the reply.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of a request, at most.
const REQUEST_MAX: usize = 8192;

/// The metrics of a server at this moment. None if one of its workers does not answer.
pub fn text(control: &Control) -> Option<String> {
    let state = State {
        workers: control.counters()?,
        connections: control.connections(),
        connections_max: control.connections_max(),
    };
    let mut registry = Registry::with_prefix("urecho");
    registry.register_collector(Box::new(state));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("a string takes everything");
    Some(text)
}

/// Answers HTTP requests for `/metrics`, one at a time, as long as the process lives.
pub fn serve(listener: &TcpListener, control: &Control) {
    for client in listener.incoming() {
        match client {
            Ok(client) => {
                let _ = answer(client, control); // A client that is gone needs no reply.
            }
            Err(_) => std::thread::sleep(CLIENT_TIMEOUT), // Descriptors have run out.
        }
    }
}

fn answer(mut client: TcpStream, control: &Control) -> io::Result<()> {
    client.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let request = read_request(&mut client)?;
    let mut words = request.split_ascii_whitespace();
    let (status, body) = match (words.next(), words.next()) {
        (Some("GET" | "HEAD"), Some("/metrics")) => match text(control) {
            Some(text) => ("200 OK", text),
            None => ("503 Service Unavailable", "a worker does not answer\n".into()),
        },
        (Some("GET" | "HEAD"), Some(_)) => ("404 Not Found", "see /metrics\n".into()),
        _ => ("400 Bad Request", "write GET /metrics HTTP/1.1\n".into()),
    };
    let length = body.len();
    let kind = match status {
        "200 OK" => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        _ => "text/plain",
    };
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    client.write_all(head.as_bytes())?;
    if !request.starts_with("HEAD") {
        client.write_all(body.as_bytes())?;
    }
    Ok(())
}

/// Up to the empty line that ends the head of a request.
fn read_request(client: &mut TcpStream) -> io::Result<String> {
    let deadline = Instant::now() + CLIENT_TIMEOUT;
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || request.len() > REQUEST_MAX {
            return Err(io::ErrorKind::TimedOut.into());
        }
        client.set_read_timeout(Some(left))?;
        match client.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => request.extend_from_slice(&piece[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&request).into_owned())
}

/// A server at one moment.
#[derive(Debug)]
struct State {
    workers: Vec<Counters>,
    connections: usize,
    connections_max: usize,
}

/// A metric of each worker: its name, what it means, and its value.
type OfWorker = (&'static str, &'static str, fn(&Counters) -> u64);

const COUNTERS: [OfWorker; 15] = [
    ("accepted", "Connections taken from the listeners", |of| of.accepted),
    ("closed", "Connections that have ended", |of| of.closed),
    (
        "failed",
        "Of the closed ones, those that an error ended, such as a reset",
        |of| of.failed,
    ),
    ("timed_out", "Connections closed because they were idle", |of| {
        of.timed_out
    }),
    (
        "evicted",
        "Connections reset because they did not read and others needed their buffers",
        |of| of.evicted,
    ),
    ("refused", "Connections accepted and closed without service", |of| {
        of.refused
    }),
    ("refused_at_limit", "Refused by --max-connections", |of| {
        of.refused_at_limit
    }),
    ("refused_per_address", "Refused by --max-per-ip", |of| {
        of.refused_per_address
    }),
    (
        "accept_pauses",
        "Pauses in accepting because descriptors or memory had run out",
        |of| of.accept_pauses,
    ),
    (
        "limit_pauses",
        "Pauses in accepting because of --max-connections",
        |of| of.limit_pauses,
    ),
    (
        "starved",
        "Receives that found no buffer and had to wait for one",
        |of| of.starved,
    ),
    ("overflows", "Overflows of a completion queue", |of| of.overflows),
    ("passes", "Iterations of the event loop", |of| of.passes),
    ("events", "Events handled by the event loop", |of| of.events),
    (
        "enters",
        "System calls of the event loop that waited or submitted",
        |of| of.enters,
    ),
];

const BYTES: [OfWorker; 3] = [
    ("received", "Bytes received", |of| of.bytes_in),
    ("sent", "Bytes sent", |of| of.bytes_out),
    (
        "discarded",
        "Bytes received after the FIN of a drain and not echoed",
        |of| of.discarded,
    ),
];

impl State {
    fn counters(&self, encoder: &mut DescriptorEncoder<'_>, metrics: &[OfWorker], unit: Option<&Unit>) -> fmt::Result {
        for (name, help, value) in metrics {
            let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
            for (index, worker) in self.workers.iter().enumerate() {
                let labels = [("worker", index.to_string())];
                ConstCounter::new(value(worker)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.counters(&mut encoder, &COUNTERS, None)?;
        self.counters(&mut encoder, &BYTES, Some(&Unit::Bytes))?;
        let mut spun = encoder.encode_descriptor(
            "spun",
            "Time spent busy-polling",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        for (index, worker) in self.workers.iter().enumerate() {
            let labels = [("worker", index.to_string())];
            ConstCounter::new(worker.spun.as_secs()).encode(spun.encode_family(&labels)?)?;
        }
        let mut errors = encoder.encode_descriptor("errors", "Failed operations", None, MetricType::Counter)?;
        let total = Counters::sum(&self.workers);
        for ((operation, errno), count) in &total.errors {
            let labels = [("operation", operation.name().to_owned()), ("error", errno.to_string())];
            ConstCounter::new(*count).encode(errors.encode_family(&labels)?)?;
        }
        let gauges: [(&str, &str, u64); 3] = [
            ("connections", "Open connections", self.connections as u64),
            (
                "connections_max",
                "Connections that are let in at once",
                self.connections_max as u64,
            ),
            ("buffers_in_use", "Receive buffers that hold bytes", total.in_use),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
