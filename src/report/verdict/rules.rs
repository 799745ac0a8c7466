//! What speaks against a run: one function a rule, its thresholds inside.
//!
//! A threshold is crossed when the figure is beyond it, not when it is on it. Each says where it comes from: the
//! arithmetic of queues or of percentiles where there is one, else what we ask of ourselves.

use super::{Evidence, Grade, Reason};
use crate::clock::Nanos;
use crate::report::facts::ratio;
use crate::units::{show_count, show_duration, show_rate};

/// The rules, in the order in which people should hear of them: the run, its outcome, the generator, the machine.
pub(super) const ALL: &[fn(&Evidence) -> Option<Reason>] = &[
    samples,
    partial,
    debug_build,
    unanswered,
    unopened,
    lost,
    send_lag,
    behind,
    generator_busy,
    bottleneck,
    overflows,
    shares_cpu,
    steal,
    pressure,
    starvation,
    retransmits,
    listen_overflows,
    unverified,
];

fn samples(evidence: &Evidence) -> Option<Reason> {
    let (found, needed) = (evidence.samples, evidence.needed_for_p99);
    // Nothing was measured: there is no figure that could be right.
    let grade = if found == 0 { Grade::Invalid } else { Grade::Suspect };
    (found < needed).then(|| Reason {
        grade,
        code: "too-few-samples",
        what: format!("{} samples, and p99 needs {}", show_count(found), show_count(needed)),
        advice: "Measure longer (--duration), or with more connections or a higher rate.",
    })
}

fn partial(evidence: &Evidence) -> Option<Reason> {
    evidence.partial.then(|| Reason {
        grade: Grade::Suspect,
        code: "partial",
        what: "interrupted before its time was over".into(),
        advice: "What was measured is reported; run it to its end to compare it with others.",
    })
}

fn debug_build(evidence: &Evidence) -> Option<Reason> {
    evidence.debug_build.then(|| Reason {
        grade: Grade::Suspect,
        code: "debug-build",
        what: "a build without optimisation spends several times the CPU on a message".into(),
        advice: "Build with --release.",
    })
}

fn unanswered(evidence: &Evidence) -> Option<Reason> {
    // One is worth a look. Beyond 1 % of all messages, p99 falls among those that have no latency.
    const INVALID: f64 = 0.01;
    let lacking = evidence.failed + evidence.missing;
    let share = ratio(lacking as f64, evidence.sent as f64);
    grade_of(share, 0.0, INVALID).map(|grade| Reason {
        grade,
        code: "unanswered-messages",
        what: format!(
            "{} of {} messages failed and {} are missing, {} in all (invalid over {})",
            show_count(evidence.failed),
            show_count(evidence.sent),
            show_count(evidence.missing),
            percent(share),
            percent(INVALID),
        ),
        advice: "See what ended the connections, or give late answers more time (--drain).",
    })
}

/// By Little's law a closed loop's latency is proportional to the connections at a given throughput: what share of
/// them is absent is how far the latency is off (in an open loop the others carry their load). One is worth a look; a
/// tenth off is another experiment.
const ABSENT_INVALID: f64 = 0.1;

fn unopened(evidence: &Evidence) -> Option<Reason> {
    absent(evidence, evidence.unopened).map(|(grade, of_all)| Reason {
        grade,
        code: "unopened-connections",
        what: format!("{of_all} never opened (invalid over {})", percent(ABSENT_INVALID)),
        advice: "Look at the server's descriptors (`ulimit -n`) and its accept queue (`ss -ltn`), then at this machine's ports.",
    })
}

fn lost(evidence: &Evidence) -> Option<Reason> {
    absent(evidence, evidence.lost).map(|(grade, of_all)| Reason {
        grade,
        code: "lost-connections",
        what: format!(
            "{of_all} were ended by the target (invalid over {})",
            percent(ABSENT_INVALID)
        ),
        advice: "See the server's log and its limits on connections and idle time.",
    })
}

fn absent(evidence: &Evidence, absent: u64) -> Option<(Grade, String)> {
    let all = evidence.connections;
    let share = ratio(absent as f64, all as f64);
    let of_all = || {
        let (absent, all) = (show_count(absent), show_count(all));
        format!("{absent} of {all} connections ({})", percent(share))
    };
    grade_of(share, 0.0, ABSENT_INVALID).map(|grade| (grade, of_all()))
}

fn send_lag(evidence: &Evidence) -> Option<Reason> {
    // Our lag is part of every response time. Lag that is small beside the service time changes no percentile by more
    // than its share; lag that exceeds it makes the response time ours and not the server's.
    const SUSPECT: f64 = 0.1;
    const INVALID: f64 = 1.0;
    // Below these the share does not matter. 50 µs is what we ask of ourselves on a quiet machine: a thread must be
    // woken, and beside an echo of 20 µs nobody's waking stays under a tenth. 1 ms is the timer of wrk2: with worse
    // than that, our microseconds are decoration.
    const SUSPECT_FROM: Nanos = Nanos(50_000);
    const INVALID_FROM: Nanos = Nanos(1_000_000);
    let lag = evidence.send_lag_p99.filter(|_| evidence.open_loop)?;
    let service = evidence.service_p50.unwrap_or_default();
    let bound = |share: f64, floor: Nanos| floor.max(Nanos((service.0 as f64 * share) as u64));
    let suspect = bound(SUSPECT, SUSPECT_FROM);
    let invalid = bound(INVALID, INVALID_FROM);
    grade_of(lag.0 as f64, suspect.0 as f64, invalid.0 as f64).map(|grade| Reason {
        grade,
        code: "send-lag",
        what: format!(
            "1 message in 100 was sent {} late or later (suspect over {}, invalid over {}), which response times include",
            show_duration(lag),
            show_duration(suspect),
            show_duration(invalid),
        ),
        advice: "Give the generator a CPU of its own (--pin), more threads (--threads), or a lower rate.",
    })
}

fn behind(evidence: &Evidence) -> Option<Reason> {
    // 1 % behind, the queue grows by the messages of 10 ms every second, so that response times grow with the
    // duration of the run: 300 ms in 30 s. A tenth behind it is 3 s, and every percentile is the duration in other
    // words. Less than 1 % can be chance: what is in flight at one end of the run and not at the other.
    const SUSPECT: f64 = 0.99;
    const INVALID: f64 = 0.9;
    let (offered, achieved) = (evidence.offered_per_s, evidence.achieved_per_s);
    if !evidence.open_loop || offered <= 0.0 {
        return None;
    }
    let share = achieved / offered;
    grade_of(-share, -SUSPECT, -INVALID).map(|grade| Reason {
        grade,
        code: "rate-not-achieved",
        what: format!(
            "{} of the offered {} came back in time, {} (suspect below {}, invalid below {}); the queue grew",
            show_rate(achieved),
            show_rate(offered),
            percent(share),
            percent(SUSPECT),
            percent(INVALID),
        ),
        advice: "Response times depend on how long you measure: lower --rate, or search for the highest (--find-max).",
    })
}

fn generator_busy(evidence: &Evidence) -> Option<Reason> {
    // A queue with random arrivals and steady service waits u / (2 (1 - u)) service times on average (M/D/1): 2 of
    // them at 80 % utilisation, 4.5 at 90 %, 9.5 at 95 %. Beyond 80 % our own queue is in the figures.
    const SUSPECT: f64 = 0.8;
    let busy = evidence.generator_busy;
    (evidence.open_loop && busy > SUSPECT).then(|| Reason {
        grade: Grade::Suspect,
        code: "generator-busy",
        what: format!(
            "the busiest thread of the generator worked {} of the time (suspect over {})",
            percent(busy),
            percent(SUSPECT),
        ),
        advice: "Messages queue inside the generator: add --threads on CPUs of their own, or lower --rate.",
    })
}

fn bottleneck(evidence: &Evidence) -> Option<Reason> {
    // In a closed loop one side is always the bottleneck, and that may be seen by its having no time left. 5 % are
    // left for the scheduler and for the tick by which CPU clocks may be late; the server gets 10 %, because its CPU
    // also handles interrupts, which nobody is charged for.
    const GENERATOR: f64 = 0.95;
    const SERVER: f64 = 0.9;
    let busy = evidence.generator_busy;
    if evidence.open_loop || busy <= GENERATOR {
        return None;
    }
    let server = match server_share(evidence) {
        Some(share) if share >= SERVER => return None,
        Some(share) => format!(
            "while the server worked {} (suspect below {})",
            percent(share),
            percent(SERVER)
        ),
        None => "and the server's use is unknown".into(),
    };
    Some(Reason {
        grade: Grade::Suspect,
        code: "generator-bottleneck",
        what: format!(
            "the generator worked {} of the time (suspect over {}), {server}",
            percent(busy),
            percent(GENERATOR),
        ),
        advice: "The rate may be the generator's limit and not the server's: add --threads on CPUs of their own.",
    })
}

/// How much of what the server could use it has used. Where it is not known how many CPUs that is, the fewest that
/// can explain what it did: we accuse ourselves only on evidence.
fn server_share(evidence: &Evidence) -> Option<f64> {
    let busy = evidence.server_busy?;
    let cpus = match evidence.server_cpus {
        Some(cpus) => cpus as f64,
        None => busy.ceil(),
    };
    Some(busy / cpus.max(1.0))
}

fn overflows(evidence: &Evidence) -> Option<Reason> {
    let times = evidence.overflows;
    // None is ever expected. The kernel keeps what does not fit (IORING_FEAT_NODROP), but hands it over later than it
    // happened, and that lateness is in the latencies.
    (times > 0).then(|| Reason {
        grade: Grade::Suspect,
        code: "completion-queue-overflow",
        what: format!("the completion queue overflowed {} times", show_count(times)),
        advice: "The generator fell far behind the kernel: add --threads, or use fewer connections.",
    })
}

fn shares_cpu(evidence: &Evidence) -> Option<Reason> {
    evidence.shares_cpu.then(|| Reason {
        grade: Grade::Suspect,
        code: "shared-cpu",
        what: "generator and server may run on the same CPU, and none is to spare".into(),
        advice: "Each waits while the other works: keep the server off the generator's CPU (taskset, --pin).",
    })
}

fn steal(evidence: &Evidence) -> Option<Reason> {
    // A message that meets a gap waits for its end. With 1 % of the time in gaps, p99 is the length of a gap and not
    // a matter of the server; with 10 %, p90 is too.
    const SUSPECT: f64 = 0.01;
    const INVALID: f64 = 0.1;
    let share = evidence.steal_share;
    grade_of(share, SUSPECT, INVALID).map(|grade| Reason {
        grade,
        code: "steal",
        what: format!(
            "the hypervisor gave {} of our CPU time to others (suspect over {}, invalid over {})",
            percent(share),
            percent(SUSPECT),
            percent(INVALID),
        ),
        advice: "Repeat it at another time or on a machine of your own; `urecho compare` survives noisy neighbours.",
    })
}

fn pressure(evidence: &Evidence) -> Option<Reason> {
    // Time counts while two tasks want the same CPU. Beside a saturated server that is the time its neighbours
    // compute: kernel threads make some of it on any machine, and that is no harm. A quarter is a program.
    const SUSPECT: f64 = 0.25;
    let share = evidence.pressure_share.filter(|&share| share > SUSPECT)?;
    Some(Reason {
        grade: Grade::Suspect,
        code: "cpu-pressure",
        what: format!(
            "some task waited for a CPU {} of the time (suspect over {})",
            percent(share),
            percent(SUSPECT),
        ),
        advice: "Something else runs on this machine (`top`): stop it, or use fewer threads than CPUs.",
    })
}

fn starvation(evidence: &Evidence) -> Option<Reason> {
    // Jain's index is 1 / (1 + cv²). At 0.8 the messages per connection scatter by half their mean, or a fifth of
    // the connections had none at all while the others shared alike. Only in a closed loop: an open one draws its
    // connections by lot, and a few messages each are that uneven by chance.
    const SUSPECT: f64 = 0.8;
    let jain = evidence.fairness_jain.filter(|_| !evidence.open_loop)?;
    (jain < SUSPECT).then(|| Reason {
        grade: Grade::Suspect,
        code: "starvation",
        what: format!(
            "some connections were served far less than others: Jain's index {jain:.2} (suspect below {SUSPECT})"
        ),
        advice: "The percentiles are those of the lucky ones: see the slowest connections in the JSON report.",
    })
}

fn retransmits(evidence: &Evidence) -> Option<Reason> {
    // A segment that goes again holds its connection up for 200 ms. At 20k/s over 50 connections that is 80 messages:
    // up to 1 in 10,000 sent again, the messages held up are fewer than 1 %, and p99 stands. The counter is the
    // machine's, so a threshold of zero would blame us for somebody's ssh.
    const SUSPECT: f64 = 1e-4;
    let again = evidence.retransmits?;
    let share = ratio(again as f64, evidence.sent as f64);
    (share > SUSPECT).then(|| Reason {
        grade: Grade::Suspect,
        code: "retransmits",
        what: format!(
            "{} TCP segments were sent again on this machine, {} of the messages (suspect over {})",
            show_count(again),
            percent(share),
            percent(SUSPECT),
        ),
        advice: "The tail includes waits of 200 ms and more that no server can help: look for loss (`nstat -az`).",
    })
}

fn listen_overflows(evidence: &Evidence) -> Option<Reason> {
    // One is one too many: our connects are paced to fit the queue, so somebody was too slow to accept.
    let times = evidence.listen_overflows.filter(|&times| times > 0)?;
    Some(Reason {
        grade: Grade::Suspect,
        code: "listen-overflow",
        what: format!(
            "{} connects found an accept queue full on this machine",
            show_count(times)
        ),
        advice: "Connect times include seconds of waiting: raise the server's backlog and net.core.somaxconn.",
    })
}

fn unverified(evidence: &Evidence) -> Option<Reason> {
    // Asked for by the user, so it lowers no grade; but whoever reads the report was not there.
    (!evidence.verify).then(|| Reason {
        grade: Grade::Valid,
        code: "unverified",
        what: "what came back was counted and not compared (--no-verify)".into(),
        advice: "A server that returns wrong bytes looks as good as one that does not.",
    })
}

/// Grades a figure that is better when it is lower. On a threshold is within it.
fn grade_of(figure: f64, suspect: f64, invalid: f64) -> Option<Grade> {
    if figure > invalid {
        Some(Grade::Invalid)
    } else if figure > suspect {
        Some(Grade::Suspect)
    } else {
        None
    }
}

/// At most two decimals, and none that are zero: `25 %`, `1.2 %`, `98.97 %`; `< 0.01 %` for what they cannot show.
fn percent(share: f64) -> String {
    let shown = format!("{:.2}", share * 100.0);
    let shown = shown.trim_end_matches('0').trim_end_matches('.');
    if shown == "0" && share > 0.0 {
        "< 0.01 %".into()
    } else {
        format!("{shown} %")
    }
}
