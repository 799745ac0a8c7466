//! What a worker has counted, without a clock: every message that is due while measuring ends as completed, failed or
//! missing, and is in the latency distributions unless it failed.
//!
//! A message that is given up is censored: recorded at the age it had reached.

use crate::clock::Nanos;
use crate::load::connection::{Connection, Sample};
use crate::load::interval::Interval;
use crate::load::pipeline::Message;
use crate::load::result::{ConnectionMessages, GeneratorCpu, Loss, Span, WorkerStats};

/// What a thread has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ThreadUsage {
    /// CPU time.
    pub(super) cpu: Nanos,
    /// Time spent busy-polling, which is part of it.
    pub(super) spun: Nanos,
}

/// The counters of one worker.
#[derive(Debug)]
pub(super) struct Accounting {
    open_loop: bool,
    interval: Interval,
    stats: WorkerStats,
    /// Messages completed so far that count.
    completed: u64,
    /// Messages issued on open connections and neither completed nor failed, whether they count or not.
    outstanding: usize,
    /// What the thread had used when measuring began.
    usage: ThreadUsage,
}

impl Accounting {
    /// `open_loop`: messages have a response time as well.
    pub(super) fn new(open_loop: bool) -> Accounting {
        Accounting {
            open_loop,
            interval: Interval::default(),
            stats: WorkerStats::default(),
            completed: 0,
            outstanding: 0,
            usage: ThreadUsage::default(),
        }
    }

    /// Connections opened so far, in this slice.
    pub(super) fn opened_total(&self) -> u64 {
        self.stats.opened
    }

    /// Messages completed so far that count.
    pub(super) fn completed_total(&self) -> u64 {
        self.completed
    }

    /// True if all messages issued on open connections have completed or failed.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding == 0
    }

    /// Measuring begins at `at`, and with it the first second.
    pub(super) fn begin_measuring(&mut self, at: Nanos, usage: ThreadUsage) {
        self.usage = usage;
        self.stats.measured = Some(Span { begin: at, end: at });
        self.interval.span = Span::default();
    }

    /// Measuring ends at `at`.
    pub(super) fn end_measuring(&mut self, at: Nanos, usage: ThreadUsage) {
        let cpu = usage.cpu - self.usage.cpu;
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
        let next = Interval {
            index: self.interval.index + 1,
            span: Span { begin: end, end },
            ..empty
        };
        std::mem::replace(&mut self.interval, next)
    }

    /// Hands over what was counted in a slice, or in a run.
    pub(super) fn take_stats(&mut self) -> WorkerStats {
        std::mem::take(&mut self.stats)
    }

    /// A connection has opened.
    pub(super) fn opened(&mut self) {
        self.stats.opened += 1;
    }

    /// `count` connections have not opened.
    pub(super) fn unopened(&mut self, loss: Loss, count: u64) {
        if count > 0 {
            *self.stats.unopened.entry(loss).or_default() += count;
        }
    }

    /// We have begun to close a connection.
    pub(super) fn closing(&mut self) {
        self.stats.closed += 1;
    }

    /// An open connection was ended by the target, and its outstanding messages have failed.
    pub(super) fn lost(&mut self, connection: &Connection, loss: Loss) {
        let outstanding = connection.outstanding();
        let failed = outstanding.filter(|message| message.measured).count();
        self.outstanding -= connection.outstanding().count();
        self.interval.messages.failed += failed as u64;
        self.interval.lost += 1;
        *self.stats.lost.entry(loss).or_default() += 1;
        self.completed_by(connection);
    }

    /// A time of a connection.
    pub(super) fn sample(&mut self, sample: Sample) {
        match sample {
            Sample::Connect(took) => self.stats.connect.record(took),
            Sample::FirstByte(took) => self.stats.first_byte.record(took),
            Sample::Close(took) => self.stats.close.record(took),
        }
    }

    /// A round-trip time as the kernel sees it.
    pub(super) fn round_trip(&mut self, rtt: Nanos) {
        self.stats.rtt.record(rtt);
    }

    /// How long after its planned instant a message is issued.
    pub(super) fn send_lag(&mut self, lag: Nanos) {
        self.stats.send_lag.record(lag);
    }

    /// A message was issued.
    pub(super) fn issued(&mut self, measured: bool) {
        self.interval.messages.sent += u64::from(measured);
        self.outstanding += 1;
    }

    /// A message has completed at `now`. `running`: after the start; `measuring`: within the time that is measured.
    pub(super) fn completed(&mut self, message: Message, now: Nanos, running: bool, measuring: bool) {
        self.stats.echoed += u64::from(running);
        self.stats.achieved += u64::from(measuring);
        if message.measured {
            self.completed += 1;
            self.interval.completed(message, now, self.open_loop);
        }
    }

    /// `count` of the issued messages have completed.
    pub(super) fn returned(&mut self, count: usize) {
        self.outstanding -= count;
    }

    /// The run is over: what this open connection still owes is missing. `measure`: when measuring began.
    pub(super) fn conclude(&mut self, connection: &Connection, measure: Nanos, now: Nanos) {
        self.completed_by(connection);
        for message in connection.outstanding() {
            if message.measured {
                self.interval.missing(*message, now, self.open_loop);
            } else if !self.open_loop && now > measure {
                // A connection that has been silent since the warm-up would not show otherwise.
                self.interval.messages.sent += 1;
                let since = Message {
                    submitted: message.submitted.max(measure).min(now),
                    ..*message
                };
                self.interval.missing(since, now, self.open_loop);
            }
        }
    }

    /// The run is over: a message that counts was due at `planned` and never issued, because the generator fell behind.
    pub(super) fn unissued(&mut self, planned: Nanos, now: Nanos) {
        let message = Message {
            planned,
            submitted: Nanos::NEVER,
            measured: true,
        };
        self.interval.messages.sent += 1;
        self.interval.missing(message, now, true);
    }

    /// Segments that the kernel sent again on a connection.
    pub(super) fn retransmits(&mut self, count: u64) {
        self.stats.retransmits += count;
    }

    /// Times the completion queue overflowed.
    pub(super) fn overflows(&mut self, count: u64) {
        self.stats.overflows = count;
    }

    fn completed_by(&mut self, connection: &Connection) {
        self.stats.by_connection.push(ConnectionMessages {
            connection: connection.number(),
            messages: connection.completed(),
        });
    }
}

#[cfg(test)]
mod tests;
