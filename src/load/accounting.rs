//! What a worker has counted, without a clock: every message that is due while measuring ends as completed, failed or
//! missing, and is in the latency distributions; every connection that was dialled is in that of connecting.
//!
//! What failed or was given up is censored: recorded at the age it had reached.

use crate::clock::Nanos;
use crate::histogram::Recorder;
use crate::load::by_target::ByTarget;
use crate::load::connection::{Connection, Sample, Step};
use crate::load::interval::Interval;
use crate::load::phases::Phase;
use crate::load::pipeline::Message;
use crate::load::result::{ConnectionMessages, GeneratorCpu, Loss, Span, Stalls, WorkerStats};
use crate::load::timeline::Unissued;
use crate::sys::tcp_info::TcpInfo;

/// Bounds on how long a target may hold a message before it is [overdue](WorkerStats::overdue) at the end of the run:
/// as long as the drain, within these bounds. Without a drain, messages that are answered at once are still in flight;
/// in a long one, those that were queued are still sent.
const OVERDUE_MIN: Nanos = Nanos(100_000_000);
const OVERDUE_MAX: Nanos = Nanos::SECOND;

/// What a thread has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ThreadUsage {
    /// CPU time.
    pub(super) cpu: Nanos,
    /// Time spent busy-polling, which is part of it.
    pub(super) spun: Nanos,
    /// Time spent waiting for a CPU, which is not.
    pub(super) run_delay: Nanos,
}

/// The counters of one worker.
#[derive(Debug)]
pub(super) struct Accounting {
    open_loop: bool,
    interval: Interval,
    stats: WorkerStats,
    /// Of the messages achieved in the interval, those that were added up already.
    kept: u64,
    /// Messages completed so far that count.
    completed: u64,
    /// Messages issued on open connections and neither completed nor failed, whether they count or not.
    outstanding: usize,
    /// When measuring ends by the plan, and those of the outstanding messages that were due before.
    end: Nanos,
    due_before_end: usize,
    /// When measuring began; `NEVER` before.
    begin: Nanos,
    /// What the thread had used then.
    usage: ThreadUsage,
    /// How long a target may have a message: what is missing after that is its fault.
    overdue_after: Nanos,
}

impl Accounting {
    /// `open_loop`: messages have a response time as well. `targets`: how many there are.
    pub(super) fn new(open_loop: bool, targets: usize) -> Accounting {
        Accounting {
            open_loop,
            interval: Interval::default(),
            stats: WorkerStats {
                by_target: ByTarget::new(targets),
                ..WorkerStats::default()
            },
            kept: 0,
            completed: 0,
            outstanding: 0,
            begin: Nanos::NEVER,
            end: Nanos::NEVER,
            due_before_end: 0,
            usage: ThreadUsage::default(),
            overdue_after: OVERDUE_MAX,
        }
    }

    /// How long the drain is.
    pub(super) fn set_drain(&mut self, drain: Nanos) {
        self.overdue_after = drain.clamp(OVERDUE_MIN, OVERDUE_MAX);
    }

    /// Connections opened so far, in this slice.
    pub(super) fn opened_total(&self) -> u64 {
        self.stats.opened
    }

    /// Messages completed so far that count.
    pub(super) fn completed_total(&self) -> u64 {
        self.completed
    }

    /// Messages issued on open connections that have neither completed nor failed.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// True if all messages issued on open connections have completed or failed.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding == 0
    }

    /// True if every message that was issued and due before the end has completed or failed.
    pub(super) fn has_caught_up(&self) -> bool {
        self.due_before_end == 0
    }

    /// A run or slice has started; its measuring will end at `end`.
    pub(super) fn started(&mut self, end: Nanos) {
        self.end = end;
    }

    /// Measuring begins at `at`, and with it the first second.
    pub(super) fn begin_measuring(&mut self, at: Nanos, usage: ThreadUsage) {
        (self.begin, self.usage) = (at, usage);
        self.stats.measured = Some(Span { begin: at, end: at });
        self.interval.span = Span::default();
    }

    /// Measuring ends at `at`.
    pub(super) fn end_measuring(&mut self, at: Nanos, usage: ThreadUsage) {
        let cpu = usage.cpu - self.usage.cpu;
        self.stats.run_delay = usage.run_delay - self.usage.run_delay;
        self.stats.cpu = GeneratorCpu {
            total: cpu,
            busiest: cpu,
            busiest_without_spin: cpu - (usage.spun - self.usage.spun),
        };
        if let Some(measured) = &mut self.stats.measured {
            measured.end = at;
        }
    }

    /// Ends the interval at `end` (time since measuring began) and goes on with an empty one.
    pub(super) fn rotate(&mut self, end: Nanos, empty: Interval) -> Interval {
        self.interval.span.end = end;
        self.stats.achieved += self.interval.achieved - self.kept;
        self.kept = 0;
        let next = Interval {
            index: self.interval.index + 1,
            span: Span { begin: end, end },
            ..empty
        };
        std::mem::replace(&mut self.interval, next)
    }

    /// Goes on with an interval that could not be passed on.
    pub(super) fn keep(&mut self, full: Interval) {
        let Interval { index, span, .. } = self.interval;
        self.kept = full.achieved;
        self.interval = Interval { index, ..full };
        self.interval.span.end = span.end;
    }

    /// Hands over what was counted in a slice, or in a run.
    pub(super) fn take_stats(&mut self) -> WorkerStats {
        self.begin = Nanos::NEVER;
        std::mem::take(&mut self.stats)
    }

    /// Connection `number` has opened in this phase.
    pub(super) fn opened(&mut self, number: u64, phase: Phase) {
        self.stats.opened += 1;
        self.stats.by_target.opened(number);
        self.stats.opened_measuring += u64::from(phase == Phase::Measuring);
        self.interval.opened += u64::from(matches!(phase, Phase::Measuring | Phase::Drain));
    }

    /// A connection that was dialled has not opened.
    pub(super) fn unopened(&mut self, loss: Loss) {
        *self.stats.unopened.entry(loss).or_default() += 1;
    }

    /// `count` connections are given up in this phase without having been dialled.
    pub(super) fn undialed(&mut self, loss: Loss, count: u64, phase: Phase) {
        for _ in 0..count {
            self.unopened(loss);
            self.sample(
                Sample {
                    step: Step::Connect,
                    since: Nanos(0),
                    took: Nanos(0),
                    censored: true,
                },
                phase,
            );
        }
    }

    /// We have begun to close a connection in this phase.
    pub(super) fn closing(&mut self, phase: Phase) {
        self.stats.closed += 1;
        self.interval.closed += u64::from(matches!(phase, Phase::Measuring | Phase::Drain));
    }

    /// An open connection has ended at `now` before we closed it, and its outstanding messages have failed.
    pub(super) fn lost(&mut self, connection: &Connection, loss: Loss, now: Nanos) {
        self.outstanding -= connection.outstanding().count();
        self.due_before_end -= connection
            .outstanding()
            .filter(|message| message.planned < self.end)
            .count();
        let failed = self.give_up(connection, now);
        self.interval.messages.failed += failed;
        self.stats.by_target.failed(connection.number(), failed);
        self.interval.lost += 1;
        *self.stats.lost.entry(loss).or_default() += 1;
        self.stats.by_target.lost(connection.number());
        self.completed_by(connection);
    }

    /// A step of a connection that began in this phase. Those of warm-up and drain count nowhere.
    pub(super) fn sample(&mut self, sample: Sample, phase: Phase) {
        if (sample.step, phase) == (Step::Connect, Phase::Measuring) {
            record(&mut self.interval.connect, &sample);
        }
        let stats = &mut self.stats;
        let (recorder, next) = match (sample.step, phase) {
            (Step::Connect, Phase::RampUp) => (&mut stats.ramp_up, None),
            // A connection that is not established has no first byte either.
            (Step::Connect, Phase::Measuring) => (&mut stats.connect, Some(&mut stats.first_byte)),
            (Step::FirstByte, Phase::Measuring) => (&mut stats.first_byte, None),
            (Step::Close, Phase::Measuring) => (&mut stats.close, None),
            _ => return,
        };
        record(recorder, &sample);
        if let Some(next) = next.filter(|_| sample.censored) {
            record(next, &sample);
        }
    }

    /// A smoothed round-trip time of the kernel.
    pub(super) fn smoothed_rtt(&mut self, rtt: Nanos) {
        self.stats.smoothed_rtt.record(rtt);
    }

    /// Bytes have come back within the time that is measured.
    pub(super) fn received(&mut self, bytes: usize) {
        self.stats.received_bytes += bytes as u64;
    }

    /// A wrong byte has come back: `what` says which. The first one counts.
    pub(super) fn wrong_data(&mut self, what: String) {
        self.stats.wrong_data.get_or_insert(what);
    }

    /// A pass of the loop that handled `count` completions took this long, to the submission of what followed from
    /// them.
    pub(super) fn pass(&mut self, took: Nanos, count: usize) {
        self.stats.pass.record_many(took, count as u64);
    }

    /// The stalls of the event loop.
    pub(super) fn stalls(&mut self, stalls: Stalls) {
        self.stats.stalls = stalls;
    }

    /// How long after its planned instant a message is issued.
    pub(super) fn send_lag(&mut self, lag: Nanos) {
        self.stats.send_lag.record(lag);
        self.interval.send_lag.record(lag);
    }

    /// A message that was due at `planned` is issued. `counts`, and was not [counted](Accounting::due) before.
    pub(super) fn issued(&mut self, planned: Nanos, counts: bool) {
        self.interval.messages.sent += u64::from(counts);
        self.outstanding += 1;
        self.due_before_end += usize::from(planned < self.end);
    }

    /// `count` messages that count have become due, and cannot be issued now.
    pub(super) fn due(&mut self, count: u64) {
        self.interval.messages.sent += count;
    }

    /// A message of connection `number` has completed at `now`. `running`: after the start; `measuring`: within the
    /// time that is measured.
    pub(super) fn completed(&mut self, number: u64, message: Message, now: Nanos, running: bool, measuring: bool) {
        self.stats.echoed += u64::from(running);
        self.interval.achieved += u64::from(measuring);
        if measuring {
            self.stats.by_target.achieved(number);
        }
        if message.planned < self.end {
            self.due_before_end -= 1;
            if now > self.end {
                self.stats.late += 1;
                self.stats.overrun = self.stats.overrun.max(now - self.end);
            }
        }
        if message.measured {
            self.completed += 1;
            self.stats.by_target.completed(number, now - self.main_start(&message));
            self.interval.completed(message, now, self.open_loop);
        }
    }

    /// `count` of the issued messages have completed.
    pub(super) fn returned(&mut self, count: usize) {
        self.outstanding -= count;
    }

    /// The run is over at `now`: what this connection still owes is missing. `phase`: when its last step began.
    pub(super) fn conclude(&mut self, connection: &Connection, now: Nanos, phase: impl Fn(Nanos) -> Phase) {
        if connection.is_opening() {
            self.stats.unfinished += 1;
        } else if connection.is_established() {
            self.completed_by(connection);
            let overdue = |message: &&Message| message.submitted.max(self.begin) + self.overdue_after <= now;
            self.stats.overdue += connection.outstanding().filter(overdue).count() as u64;
            let missing = self.give_up(connection, now);
            self.interval.messages.missing += missing;
            self.stats.by_target.missing(connection.number(), missing);
        }
        if let Some(sample) = connection.given_up(now) {
            self.sample(sample, phase(sample.since));
        }
    }

    /// The run is over: these messages count, and were never issued.
    pub(super) fn unissued(&mut self, unissued: &Unissued, now: Nanos) {
        let Unissued { at, count, counted } = *unissued;
        let message = Message {
            planned: at,
            submitted: Nanos::NEVER,
            measured: true,
        };
        self.interval.messages.sent += count - counted;
        self.interval.messages.missing += count;
        self.interval.censored(message, count, now, true);
    }

    /// What the kernel counted on a connection that was open at the end.
    pub(super) fn segments(&mut self, info: TcpInfo) {
        self.stats.retransmits += u64::from(info.retransmits_total);
        self.stats.out_of_order += u64::from(info.out_of_order_total);
    }

    /// Times the completion queue overflowed.
    pub(super) fn overflows(&mut self, count: u64) {
        self.stats.overflows = count;
    }

    /// Records what a connection owes as censored at its age. Returns how many of these messages count.
    fn give_up(&mut self, connection: &Connection, now: Nanos) -> u64 {
        let mut count = 0;
        for &message in connection.outstanding() {
            let mut message = message;
            if !message.measured {
                if self.open_loop || now <= self.begin {
                    continue;
                }
                // A connection of a closed loop that has been silent since the warm-up would not show otherwise.
                self.interval.messages.sent += 1;
                message.planned = self.begin;
                message.submitted = message.submitted.max(self.begin);
            }
            count += 1;
            self.interval.censored(message, 1, now, self.open_loop);
            let start = self.main_start(&message);
            if start <= now {
                self.stats.by_target.censored(connection.number(), now - start);
            }
        }
        count
    }

    /// When the main latency of a message begins.
    fn main_start(&self, message: &Message) -> Nanos {
        if self.open_loop {
            message.planned
        } else {
            message.submitted
        }
    }

    fn completed_by(&mut self, connection: &Connection) {
        self.stats.by_connection.push(ConnectionMessages {
            connection: connection.number(),
            messages: connection.completed(),
        });
    }
}

fn record(recorder: &mut Recorder, sample: &Sample) {
    if sample.censored {
        recorder.record_censored(sample.took);
    } else {
        recorder.record(sample.took);
    }
}

#[cfg(test)]
mod tests;
