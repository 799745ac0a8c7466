//! Are the targets echo servers? One connection and one message each, before anything else is opened.
//!
//! It waits for as long as anything moves: a SYN that was lost (the kernel sends it again after 1 s, and after 3 s), a
//! server that is still starting, a message of a gigabyte. All addresses of a name are tried in their order.

mod echo;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::error::{Error, Result};
use crate::load::payload::PayloadStream;
use crate::load::target::Target;
use crate::load::workload::Plan;
use crate::sys::ports::SourcePorts;
use crate::sys::signal::Stop;
use crate::sys::{socket, threads};
use crate::units::{show_count, show_duration};
use echo::Exchange;

/// How long addresses that refuse at once are tried again: the server may have been started this moment.
const RETRY_TIME: Nanos = Nanos::SECOND;

/// Between two tries.
const RETRY_PERIOD: Duration = Duration::from_millis(50);

/// Targets that are asked at once.
const THREADS: usize = 32;

/// Targets that a message lists.
const LISTED: usize = 4;

/// Connection 0, which has echoed its message 0.
#[derive(Debug)]
pub(super) struct FirstConnection {
    pub(super) stream: TcpStream,
    /// How long connecting took.
    pub(super) connect: Nanos,
}

/// Has every target that the plan uses echo the first message of its first connection. Returns the plan with the one
/// address of each target that has echoed, and connection 0. Errors: [`Error::Target`] that says for each target what
/// came instead; [`Error::Machine`] if a socket cannot be made here.
pub(super) fn check(plan: &Plan, stop: &Stop) -> Result<(Plan, FirstConnection)> {
    check_sources(plan)?;
    // Target k has connection k first.
    let used = plan.targets.len().min(plan.workload.connections as usize);
    let count = used.min(THREADS);
    let mut results = BTreeMap::new();
    thread::scope(|scope| {
        let prove_some = |first: usize| {
            (first..used)
                .step_by(count)
                .map(|target| (target, prove(plan, target, stop)))
        };
        let start = |first| threads::scoped(scope, move || prove_some(first).collect::<Vec<_>>());
        let others: Vec<_> = (1..count).map(|first| (first, start(first))).collect();
        results.extend(prove_some(0));
        for (first, thread) in others {
            match thread {
                Ok(thread) => results.extend(thread.join().expect("it does not panic")),
                Err(_) => results.extend(prove_some(first)), // No thread is left: one after the other takes longer.
            }
        }
    });
    let mut proven = plan.clone();
    let (mut first, mut failures) = (None, Vec::new());
    for (number, result) in results {
        match result {
            Ok((address, connection)) => {
                proven.targets[number].addresses = vec![address];
                first = first.or(Some(connection));
            }
            Err(error) => failures.push(error),
        }
    }
    match first {
        Some(first) if failures.is_empty() => Ok((proven, first)),
        _ => Err(one_error(failures)),
    }
}

/// Errors: [`Error::Machine`] if an address to connect from is not one of this machine, or a socket option is refused.
fn check_sources(plan: &Plan) -> Result<()> {
    let (workload, target) = (&plan.workload, plan.targets[0].address());
    for &source in &workload.sources {
        socket::client(target, Some(source), &workload.options)
            .map_err(|cause| cannot_open(plan, Some(source), &cause))?;
    }
    Ok(())
}

fn cannot_open(plan: &Plan, source: Option<SocketAddr>, cause: &io::Error) -> Error {
    match (source, &plan.workload.options.congestion) {
        (Some(source), _) if cause.kind() == ErrorKind::AddrNotAvailable => Error::Machine(format!(
            "cannot connect from {}: {cause}. --source needs addresses of this machine: see `ip address`",
            source.ip()
        )),
        (_, Some(_)) if cause.kind() == ErrorKind::NotFound => {
            socket::congestion_refused(&plan.workload.options, cause)
        }
        _ => Error::Machine(format!("cannot open a socket to connect: {cause}")),
    }
}

/// Failures of several targets in one. This machine's are not the targets'.
fn one_error(mut failures: Vec<Error>) -> Error {
    if let Some(at) = failures.iter().position(|error| !matches!(error, Error::Target(_))) {
        return failures.swap_remove(at);
    }
    let mut text: Vec<String> = failures.iter().take(LISTED).map(Error::to_string).collect();
    if failures.len() > LISTED {
        let more = show_count((failures.len() - LISTED) as u64);
        text.push(format!("and {more} more targets"));
    }
    Error::Target(text.join("; "))
}

/// Tries the addresses of one target in order, again and again while all refuse within [`RETRY_TIME`].
fn prove(plan: &Plan, number: usize, stop: &Stop) -> Result<(SocketAddr, FirstConnection)> {
    let target = &plan.targets[number];
    let retry_time = RETRY_TIME.min(plan.workload.preflight_timeout);
    let begin = clock::now();
    loop {
        let mut failures = Vec::new();
        for &address in &target.addresses {
            match attempt(plan, number as u64, address, stop) {
                Ok(connection) => return Ok((address, connection)),
                Err(ProbeError::Machine(error)) => return Err(error),
                Err(ProbeError::Target(what, kind)) => failures.push((what, kind)),
            }
        }
        let retry = failures
            .iter()
            .all(|&(_, kind)| kind == Some(ErrorKind::ConnectionRefused));
        if !retry || stop.has_fired() || clock::now() - begin >= retry_time {
            let what: Vec<String> = failures.into_iter().map(|(what, _)| what).collect();
            return Err(Error::Target(with_name(target, what.join("; "))));
        }
        thread::sleep(RETRY_PERIOD);
    }
}

/// `localhost:7007: ...`, unless the text begins with that.
fn with_name(target: &Target, what: String) -> String {
    if what.contains(&target.name) {
        what
    } else {
        format!("{}: {what}", target.name)
    }
}

/// Why an address has not echoed.
enum ProbeError {
    /// This machine's doing.
    Machine(Error),
    /// The target's doing; with the cause, if connecting failed.
    Target(String, Option<ErrorKind>),
}

/// Connects, and has message 0 of connection `number` echoed.
fn attempt(
    plan: &Plan,
    number: u64,
    address: SocketAddr,
    stop: &Stop,
) -> std::result::Result<FirstConnection, ProbeError> {
    let (workload, source) = (&plan.workload, plan.source_of(number));
    let timeout = workload.preflight_timeout;
    let socket = socket::client(address, source, &workload.options)
        .map_err(|cause| ProbeError::Machine(cannot_open(plan, source, &cause)))?;
    let begin = clock::now();
    let connected = socket::connect(socket, address, timeout.into(), stop.as_fd());
    let stream = connected.map_err(|cause| match cause.kind() {
        ErrorKind::AddrNotAvailable => ProbeError::Machine(no_source_port(address)),
        ErrorKind::NetworkUnreachable if address.ip().is_loopback() => {
            ProbeError::Machine(socket::loopback_is_down(&cause))
        }
        ErrorKind::PermissionDenied => ProbeError::Machine(Error::Machine(format!(
            "cannot connect to {address}: {cause}. A firewall or a security module of this machine forbids it"
        ))),
        kind => ProbeError::Target(
            format!("cannot connect to {address}: {cause}.{}", advice(kind, timeout)),
            Some(kind),
        ),
    })?;
    let connect = clock::now() - begin;
    let payload = PayloadStream::new(workload.seed, number);
    let size = workload.traffic.sizes.of(payload.draw(0));
    let exchange = Exchange::new(&stream, payload, size, timeout, stop);
    let echoed = exchange.run().map_err(ProbeError::Machine)?;
    echoed.map_err(|failure| ProbeError::Target(format!("{address} is not an echo server: {failure}"), None))?;
    reset_timeouts(&stream)
        .map_err(|cause| ProbeError::Target(format!("lost the first connection to {address}: {cause}"), None))?;
    Ok(FirstConnection { stream, connect })
}

/// The kernel has found no source port for a connection to `target`: that is not the target's fault.
pub fn no_source_port(target: SocketAddr) -> Error {
    Error::Machine(format!(
        "cannot connect to {target}: no source port is free: {}. Wait for a minute, connect from more addresses with --source, \
         or widen the range",
        SourcePorts::towards(target)
    ))
}

fn reset_timeouts(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)
}

fn advice(kind: ErrorKind, timeout: Nanos) -> String {
    match kind {
        ErrorKind::ConnectionRefused => " Nothing listens there: start a server with `urecho serve`".to_owned(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => format!(
            " No reply within {} (--preflight-timeout): a firewall, a wrong address, or a server whose accept queue is full",
            show_duration(timeout)
        ),
        _ => String::new(),
    }
}
