//! A load that runs slice by slice.

use urecho::clock::Nanos;
use urecho::error::Error;
use urecho::load::schedule::{Arrivals, Pace, Rate};
use urecho::load::sizes::Sizes;
use urecho::load::{Churn, Close, Plan, Session, Traffic, Workload};

use urecho::serve::EnginePlan;
use urecho::serve::engine::Engine;
use urecho::serve::uring::UringPlan;
use urecho::serve::uring::fault::Fault;

use crate::support::Server;
use crate::support::io::{self, on_each_io};

on_each_io! {
    every_slice_counts_its_own_messages_only_and_ends_idle,
    an_open_loop_keeps_its_plan_in_every_slice,
    churn_continues_in_every_slice,
    several_threads_form_one_session,
    a_server_that_stops_between_slices_fails_the_next_one,
    the_plan_goes_on_while_a_slice_waits_for_a_stalled_server,
}

/// Slices of 20 ms, 5 ms of them warm-up, over 8 connections.
fn workload() -> Workload {
    Workload {
        io: io::current(),
        connections: 8,
        warmup: Nanos(5_000_000),
        duration: Nanos(15_000_000),
        ..Workload::default()
    }
}

/// An open loop with a message each millisecond.
fn every_millisecond() -> Pace {
    let rate = 1000.0;
    Pace::Open {
        rate: Rate { from: rate, to: rate },
        arrivals: Arrivals::Constant,
    }
}

fn open(server: &Server, workload: Workload) -> Session {
    let targets = vec![server.address.into()];
    Session::open(&Plan { targets, workload }).unwrap()
}

fn every_slice_counts_its_own_messages_only_and_ends_idle() {
    let server = Server::start();
    let mut session = open(&server, workload());
    let mut echoed = 8; // The first message of each connection, before any slice.
    for _ in 0..5 {
        let slice = session.slice(1).unwrap();
        assert!(slice.messages.completed > 0);
        assert_eq!(slice.messages.completed, slice.messages.sent);
        assert_eq!(slice.messages.completed, slice.latencies.service.count());
        assert!(slice.stats.echoed >= slice.messages.completed);
        assert!(slice.server_cpu.is_some());
        echoed += slice.stats.echoed;
    }
    session.close().unwrap();
    let counters = server.stop_clean();
    assert_eq!((counters.accepted, counters.bytes_out), (8, echoed * 64));
}

fn an_open_loop_keeps_its_plan_in_every_slice() {
    let server = Server::start();
    let pace = every_millisecond();
    let mut session = open(&server, Workload { pace, ..workload() });
    for _ in 0..3 {
        let slice = session.slice(1).unwrap();
        // 1 ms apart for 15 ms, and until the last of them has come back.
        assert!(slice.messages.sent >= 15, "{:?}", slice.messages);
        assert_eq!(
            (slice.messages.completed, slice.latencies.response.count()),
            (slice.messages.sent, slice.messages.sent)
        );
    }
    session.close().unwrap();
    server.stop_clean();
}

fn churn_continues_in_every_slice() {
    let server = Server::start();
    let churn = Churn {
        messages: 1,
        close: Close::Fin,
    };
    let mut session = open(
        &server,
        Workload {
            churn: Some(churn),
            ..workload()
        },
    );
    for _ in 0..4 {
        let slice = session.slice(1).unwrap();
        assert!(slice.messages.completed >= 8, "{:?}", slice.messages);
        assert!(slice.stats.closed > 0);
    }
    session.close().unwrap();
    server.stop_clean();
}

fn several_threads_form_one_session() {
    let server = Server::with(Engine::Uring, |plan| plan.workers = 2);
    let mut session = open(
        &server,
        Workload {
            threads: 3,
            traffic: Traffic {
                sizes: Sizes::Fixed(5000),
                depth: 3,
                verify: true,
            },
            ..workload()
        },
    );
    for _ in 0..3 {
        let slice = session.slice(1).unwrap();
        assert_eq!(slice.messages.completed, slice.messages.sent);
    }
    session.close().unwrap();
    server.stop_clean();
}

fn a_server_that_stops_between_slices_fails_the_next_one() {
    let server = Server::with(Engine::Uring, |plan| plan.drain_timeout = Nanos(1));
    let mut session = open(&server, workload());
    session.slice(1).unwrap();
    server.stop();
    let error = session.slice(1).unwrap_err();
    assert!(matches!(error, Error::Target(_)), "{error}");
}

fn the_plan_goes_on_while_a_slice_waits_for_a_stalled_server() {
    let fault = Fault::Stall {
        duration: Nanos(60_000_000),
        every: Nanos(1),
    };
    let engine = EnginePlan::Uring(UringPlan {
        fault: Some(fault),
        ..UringPlan::default()
    });
    let server = Server::with(Engine::Uring, |plan| plan.engine = engine);
    let pace = every_millisecond();
    let traffic = Traffic {
        depth: 64,
        ..workload().traffic
    };
    let mut session = open(
        &server,
        Workload {
            pace,
            traffic,
            ..workload()
        },
    );
    let slice = session.slice(1).unwrap();
    // 15 are due in the slice itself.
    assert!(slice.messages.sent > 20, "{:?}", slice.messages);
    assert_eq!(slice.messages.completed, slice.messages.sent);
    assert!(
        slice.stats.late > 0 && slice.stats.overrun > Nanos(0),
        "{:?}",
        slice.stats
    );
    session.close().unwrap();
    server.stop();
}
