//! The reasons to distrust a run: one function per rule, with its thresholds.
//!
//! A rule fires beyond its threshold, not on it. Each threshold states its origin: queueing theory or the arithmetic of
//! percentiles where they apply, otherwise what we require of the generator.

mod generator;

use super::bottleneck::Bottleneck;
use super::{Grade, Inputs, Reason, percent, quota};
use crate::clock::Nanos;
use crate::report::sections::ratio;
use crate::stats::order_statistics::needs;
use crate::units::{plural, show_count, show_duration, show_rate};

/// All rules, in the order in which reasons are listed: the run, its outcome, the generator, the machine.
pub(super) const ALL: &[fn(&Inputs) -> Option<Reason>] = &[
    samples,
    partial,
    wrong_data,
    rate_changed,
    debug_build,
    incomplete,
    unopened,
    lost,
    send_lag,
    behind,
    generator_busy,
    bottleneck,
    generator::stalled,
    generator::waited,
    generator::throttled,
    server_throttled,
    generator::passes,
    overflows,
    shares_cpu,
    steal,
    pressure,
    unfair_service,
    retransmits,
    listen_overflows,
    unverified,
    generator::merged,
];

fn samples(inputs: &Inputs) -> Option<Reason> {
    let (found, needed) = (inputs.samples, needs(0.99));
    // Without a sample no figure can be right.
    let grade = if found == 0 { Grade::Invalid } else { Grade::Suspect };
    (found < needed).then(|| Reason {
        grade,
        code: "too-few-samples".into(),
        what: format!("{} samples; p99 needs {}", show_count(found), show_count(needed)),
        advice: "Measure longer (--duration), or with more connections or a higher rate.".into(),
    })
}

fn partial(inputs: &Inputs) -> Option<Reason> {
    inputs.partial.then(|| Reason {
        grade: Grade::Suspect,
        code: "partial".into(),
        what: "interrupted before the planned end".into(),
        advice: "Run it to the end before comparing it with other runs.".into(),
    })
}

fn wrong_data(inputs: &Inputs) -> Option<Reason> {
    inputs.wrong_data.as_ref().map(|what| Reason {
        grade: Grade::Invalid,
        code: "wrong-data".into(),
        what: what.clone(),
        advice: "The target is not an echo server, or is faulty: ignore all its figures until it is fixed.".into(),
    })
}

fn rate_changed(inputs: &Inputs) -> Option<Reason> {
    (inputs.rate_changes > 0).then(|| Reason {
        grade: Grade::Suspect,
        code: "rate-changed".into(),
        what: format!("the rate was changed by hand, {}", plural(inputs.rate_changes, "time")),
        advice: "The latencies are of all rates together: look at them over time (--html), or measure one rate.".into(),
    })
}

fn debug_build(inputs: &Inputs) -> Option<Reason> {
    inputs.debug_build.then(|| Reason {
        grade: Grade::Suspect,
        code: "debug-build".into(),
        what: "a build without optimisation uses several times the CPU per message".into(),
        advice: "Build with --release.".into(),
    })
}

fn incomplete(inputs: &Inputs) -> Option<Reason> {
    // A single one is worth knowing. Beyond 1 % of all messages, p99 falls among those without a latency.
    const INVALID: f64 = 0.01;
    let incomplete = inputs.failed + inputs.missing;
    let share = ratio(incomplete as f64, inputs.sent as f64);
    grade_of(share, 0.0, INVALID).map(|grade| Reason {
        grade,
        code: "incomplete-messages".into(),
        what: format!(
            "{} of {} messages failed and {} are missing, {} in total (invalid over {})",
            show_count(inputs.failed),
            show_count(inputs.sent),
            show_count(inputs.missing),
            percent(share),
            percent(INVALID),
        ),
        advice: "Find out what closed the connections, or wait longer for late replies (--drain).".into(),
    })
}

/// By Little's law the latency of a closed loop is proportional to the number of connections at a given throughput, so
/// the share of absent connections is the error of the latency (in an open loop the others carry their load). A single
/// one is worth knowing; an error of a tenth makes it a different experiment.
const ABSENT_INVALID: f64 = 0.1;

fn unopened(inputs: &Inputs) -> Option<Reason> {
    absent(inputs, inputs.unopened).map(|(grade, of_all)| Reason {
        grade,
        code: "unopened-connections".into(),
        what: format!("{of_all} did not open (invalid over {})", percent(ABSENT_INVALID)),
        advice: if 2 * inputs.without_port > inputs.unopened {
            "This machine had no source port left: use more addresses (--source), or with --churn end by RST (--close rst)."
                .into()
        } else {
            "Check the server's descriptors (`ulimit -n`) and accept queue (`ss -ltn`), then this machine's ports."
                .into()
        },
    })
}

fn lost(inputs: &Inputs) -> Option<Reason> {
    absent(inputs, inputs.lost).map(|(grade, of_all)| Reason {
        grade,
        code: "lost-connections".into(),
        what: format!(
            "{of_all} were closed by the target (invalid over {})",
            percent(ABSENT_INVALID)
        ),
        advice: "Check the server's log and its limits on connections and idle time.".into(),
    })
}

fn absent(inputs: &Inputs, absent: u64) -> Option<(Grade, String)> {
    let all = inputs.connections;
    let share = ratio(absent as f64, all as f64);
    let of_all = || {
        let (absent, all) = (show_count(absent), show_count(all));
        format!("{absent} of {all} connections ({})", percent(share))
    };
    grade_of(share, 0.0, ABSENT_INVALID).map(|grade| (grade, of_all()))
}

fn send_lag(inputs: &Inputs) -> Option<Reason> {
    // Our lag is part of every response time. Lag far below the service time changes no percentile by more than its
    // share; lag above it makes the response time a property of the generator.
    const SUSPECT: f64 = 0.1;
    const INVALID: f64 = 1.0;
    // Below these floors the share does not matter. 50 µs is what we require on an idle machine: a thread must be
    // woken, and no wake-up stays below a tenth of an echo of 20 µs. 1 ms is the timer resolution of wrk2: beyond
    // it, figures in microseconds mean nothing.
    const SUSPECT_FROM: Nanos = Nanos(50_000);
    const INVALID_FROM: Nanos = Nanos(1_000_000);
    let lag = inputs.send_lag_p99.filter(|_| inputs.open_loop)?;
    let service = inputs.service_p50.unwrap_or_default();
    let bound = |share: f64, floor: Nanos| floor.max(Nanos((service.0 as f64 * share) as u64));
    let suspect = bound(SUSPECT, SUSPECT_FROM);
    let invalid = bound(INVALID, INVALID_FROM);
    grade_of(lag.0 as f64, suspect.0 as f64, invalid.0 as f64).map(|grade| Reason {
        grade,
        code: "send-lag".into(),
        what: format!(
            "1 message in 100 was sent at least {} late (suspect over {}, invalid over {}), which response times include",
            show_duration(lag),
            show_duration(suspect),
            show_duration(invalid),
        ),
        advice: "Give the generator its own CPU (--pin), more threads (--threads), or a lower rate.".into(),
    })
}

fn behind(inputs: &Inputs) -> Option<Reason> {
    // At 99 % of the offered rate the queue grows by 10 ms of messages per second, so response times grow with the
    // duration of the run: 300 ms in 30 s. At 90 % it is 3 s, and every percentile restates the duration. Below 1 % the
    // difference can be messages in flight at one end of the run and not at the other.
    const SUSPECT: f64 = 0.99;
    const INVALID: f64 = 0.9;
    let (offered, achieved) = (inputs.offered_per_s, inputs.achieved_per_s);
    if !inputs.open_loop || offered <= 0.0 {
        return None;
    }
    let share = (achieved + inputs.in_flight_growth_per_s) / offered;
    let grade = grade_of(-share, -SUSPECT, -INVALID)?;
    let rates = format!(
        "{} completed of {} offered, {} (suspect below {}, invalid below {})",
        show_rate(achieved),
        show_rate(offered),
        percent(share),
        percent(SUSPECT),
        percent(INVALID),
    );
    Some(
        match inputs.littles_law_limit_per_s.filter(|&carried| carried < offered) {
            // Whatever the server does: each connection waits for a round trip before it sends again.
            Some(carried) => Reason {
                grade,
                code: "too-few-connections".into(),
                what: format!(
                    "{rates}; the connections carry at most {} on this path",
                    show_rate(carried)
                ),
                advice: "The rate needs --connections >= rate x round-trip time / --pipeline.".into(),
            },
            None => Reason {
                grade,
                code: "rate-not-achieved".into(),
                what: format!("{rates}; the queue grew"),
                advice: "Response times depend on how long you measure: lower --rate, or find the highest sustainable rate (find-max).".into(),
            },
        },
    )
}

fn generator_busy(inputs: &Inputs) -> Option<Reason> {
    // In an M/D/1 queue the mean wait is u / (2 (1 - u)) service times: 2 at 80 % utilisation, 4.5 at 90 %, 9.5 at 95
    // %. Beyond 80 % the generator's own queue is in the figures.
    const SUSPECT: f64 = 0.8;
    let busy = inputs.generator_busy;
    (inputs.open_loop && busy > SUSPECT).then(|| Reason {
        grade: Grade::Suspect,
        code: "generator-busy".into(),
        what: format!(
            "the busiest thread of the generator was busy {} of the time (suspect over {})",
            percent(busy),
            percent(SUSPECT),
        ),
        advice: "Messages queue inside the generator: add --threads on separate CPUs, or lower --rate.".into(),
    })
}

fn bottleneck(inputs: &Inputs) -> Option<Reason> {
    let bottleneck = Bottleneck::of(inputs.generator_busy, server_share(inputs))?;
    (!inputs.open_loop).then(|| bottleneck.reason("the server"))
}

/// Share of its CPUs that the server used. If their number is unknown, the smallest that explains the figure is
/// assumed, so that this rule fires only on evidence.
fn server_share(inputs: &Inputs) -> Option<f64> {
    let busy = inputs.server_busy?;
    let cpus = match inputs.server_cpus {
        Some(cpus) => cpus as f64,
        None => busy.ceil(),
    };
    Some(busy / cpus.max(1.0))
}

fn overflows(inputs: &Inputs) -> Option<Reason> {
    let times = inputs.overflows;
    // None is ever expected. The kernel keeps what does not fit (IORING_FEAT_NODROP) but delivers it late, and that
    // delay is in the latencies.
    (times > 0).then(|| Reason {
        grade: Grade::Suspect,
        code: "completion-queue-overflow".into(),
        what: format!("the completion queue overflowed {} times", show_count(times)),
        advice: "The generator fell far behind the kernel: add --threads, or use fewer connections.".into(),
    })
}

fn shares_cpu(inputs: &Inputs) -> Option<Reason> {
    inputs.shares_cpu.then(|| Reason {
        grade: Grade::Suspect,
        code: "shared-cpu".into(),
        what: "generator and server may share a CPU and no other CPU is free".into(),
        advice: "Each waits while the other runs: keep the server off the generator's CPU (taskset, --pin).".into(),
    })
}

fn steal(inputs: &Inputs) -> Option<Reason> {
    // A message that falls into a steal gap waits for its end. With 1 % of the time in gaps, p99 is the length of a gap
    // and not a property of the server; with 10 %, p90 is too.
    const SUSPECT: f64 = 0.01;
    const INVALID: f64 = 0.1;
    let share = inputs.steal_share;
    grade_of(share, SUSPECT, INVALID).map(|grade| Reason {
        grade,
        code: "steal".into(),
        what: format!(
            "the hypervisor gave {} of this machine's CPU time to other guests (suspect over {}, invalid over {})",
            percent(share),
            percent(SUSPECT),
            percent(INVALID),
        ),
        advice: "Repeat it later or on a dedicated machine; `urecho compare` is robust against such noise.".into(),
    })
}

fn pressure(inputs: &Inputs) -> Option<Reason> {
    // Time counts while two tasks want the same CPU. With a saturated server that is any time that another task runs on
    // its CPU: kernel threads cause some of it on every machine, harmlessly. A quarter is a program.
    const SUSPECT: f64 = 0.25;
    let share = inputs.pressure_share.filter(|&share| share > SUSPECT)?;
    Some(Reason {
        grade: Grade::Suspect,
        code: "cpu-pressure".into(),
        what: format!(
            "some task waited for a CPU {} of the time (suspect over {})",
            percent(share),
            percent(SUSPECT),
        ),
        advice: "Something else runs on this machine (`top`): stop it, or use fewer threads than CPUs.".into(),
    })
}

fn unfair_service(inputs: &Inputs) -> Option<Reason> {
    // Jain's index is 1 / (1 + cv²). At 0.8 the messages per connection have a standard deviation of half their mean,
    // or a fifth of the connections completed nothing while the others completed the same number. Only in a closed
    // loop: an open one picks connections at random, and with a few messages each they are that uneven by chance.
    const SUSPECT: f64 = 0.8;
    let jain = inputs.fairness_jain.filter(|_| !inputs.open_loop)?;
    (jain < SUSPECT).then(|| Reason {
        grade: Grade::Suspect,
        code: "unfair-service".into(),
        what: format!(
            "some connections were served far less than others: Jain's index {jain:.2} (suspect below {SUSPECT})"
        ),
        advice: "The percentiles describe the favoured connections: see the slowest ones in the JSON report.".into(),
    })
}

fn server_throttled(inputs: &Inputs) -> Option<Reason> {
    quota::of_server("the server", inputs.server_throttling, inputs.measured)
}

fn retransmits(inputs: &Inputs) -> Option<Reason> {
    // A retransmission delays its connection by 200 ms. At 20k/s over 50 connections that is 80 messages: up to 1
    // retransmit in 10,000, fewer than 1 % of the messages are delayed, and p99 stands. The counter is the machine's,
    // so a threshold of zero would also count an unrelated ssh session.
    const SUSPECT: f64 = 1e-4;
    let retransmits = inputs.retransmits?;
    let share = ratio(retransmits as f64, inputs.sent as f64);
    (share > SUSPECT).then(|| Reason {
        grade: Grade::Suspect,
        code: "retransmits".into(),
        what: format!(
            "{} TCP retransmits on this machine, {} of the messages (suspect over {})",
            show_count(retransmits),
            percent(share),
            percent(SUSPECT),
        ),
        advice: "The tail includes retransmission timeouts of 200 ms and more: look for packet loss (`nstat -az`)."
            .into(),
    })
}

fn listen_overflows(inputs: &Inputs) -> Option<Reason> {
    // Our connects are paced to fit the queue, so a single overflow means that the server accepted too slowly.
    let times = inputs.listen_overflows.filter(|&times| times > 0)?;
    Some(Reason {
        grade: Grade::Suspect,
        code: "listen-overflow".into(),
        what: format!(
            "{} connects found an accept queue full on this machine",
            show_count(times)
        ),
        advice: "Connect times include SYN retransmissions of a second and more: raise the server's backlog and net.core.somaxconn.".into(),
    })
}

fn unverified(inputs: &Inputs) -> Option<Reason> {
    // The user chose it, so it lowers no grade; readers of the report must know.
    (!inputs.verify).then(|| Reason {
        grade: Grade::Valid,
        code: "unverified".into(),
        what: "replies were counted, not compared (--no-verify)".into(),
        advice: "A server that returns wrong bytes would go unnoticed.".into(),
    })
}

/// Grades a figure that is better when lower. A figure on a threshold is within it.
fn grade_of(figure: f64, suspect: f64, invalid: f64) -> Option<Grade> {
    if figure > invalid {
        Some(Grade::Invalid)
    } else if figure > suspect {
        Some(Grade::Suspect)
    } else {
        None
    }
}
