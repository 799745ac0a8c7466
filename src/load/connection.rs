//! One client connection, without a kernel: events in, plain data out that says what to do next.
//!
//! From dial to close: it connects, sends messages and verifies their echo, closes when its messages are used up
//! (churn), and is lost when the target ends it or does not open it in time. It knows no io_uring, clock or thread; the
//! worker does what [`Next`] says and reports back. When messages are due is for the timeline.

use crate::clock::Nanos;
use crate::load::pipeline::{Message, Pipeline};
use crate::load::result::Loss;
use crate::load::workload::{Close, Traffic};

#[cfg(any(test, fuzzing))]
pub mod model;
mod next;

pub use next::{Change, Corruption, Next, Outgoing, Receive, Sample, Shutdown, Step};

/// One client connection.
#[derive(Debug)]
pub struct Connection {
    number: u64,
    pipeline: Pipeline,
    stage: Stage,
    sending: Sending,
    receiving: Receiving,
    /// True from dialling to the completion of the connect.
    connecting: bool,
    /// True from a cancel to its completion.
    cancelling: bool,
    /// Messages that may still be issued.
    budget: u64,
    /// Messages completed that count.
    completed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Dialled at this time; the handshake is not complete.
    Connecting(Nanos),
    /// Connected; its first message, which does not count, has not come back.
    Probing,
    /// Takes messages.
    Open,
    /// The same, until its first byte is back; it was dialled at this time.
    Fresh(Nanos),
    /// Our FIN was sent at this time, after all messages had come back.
    Closing(Nanos),
    /// Over; kept until nothing of it is in the kernel.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// Nothing to send, or not now.
    Idle,
    /// To be given a buffer.
    Requested,
    /// In the kernel.
    InFlight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    /// Not in the kernel.
    Idle,
    /// Not in the kernel, and queued for a buffer.
    Starved,
    /// From arm to last completion.
    Armed,
}

impl Connection {
    /// A connection whose connect is in the kernel since `now`. `budget` is how many messages it may issue.
    pub fn dialed(number: u64, pipeline: Pipeline, budget: u64, now: Nanos) -> Connection {
        Connection {
            stage: Stage::Connecting(now),
            connecting: true,
            ..Connection::new(number, pipeline, budget)
        }
    }

    /// A connection that has opened. The first [`Next`] arms its receive.
    pub fn established(number: u64, pipeline: Pipeline, budget: u64) -> (Connection, Next) {
        let mut connection = Connection::new(number, pipeline, budget);
        let next = Next {
            receive: connection.arm(),
            ..Next::default()
        };
        (connection, next)
    }

    fn new(number: u64, pipeline: Pipeline, budget: u64) -> Connection {
        Connection {
            number,
            pipeline,
            stage: Stage::Open,
            sending: Sending::Idle,
            receiving: Receiving::Idle,
            connecting: false,
            cancelling: false,
            budget,
            completed: 0,
        }
    }

    /// The connect has completed. `probe`: it has to echo a message before it counts as open.
    pub fn connected(&mut self, result: Result<(), Loss>, probe: bool, now: Nanos) -> Next {
        assert!(self.connecting, "a connect completed that was not in flight");
        self.connecting = false;
        let Stage::Connecting(dialed) = self.stage else {
            return self.next(Next::default()); // It was given up.
        };
        if let Err(loss) = result {
            return self.fail(loss, now);
        }
        let mut next = Next {
            sample: Some(Sample::complete(Step::Connect, dialed, now)),
            receive: self.arm(),
            ..Next::default()
        };
        if probe {
            self.stage = Stage::Probing;
            self.pipeline.issue(Nanos::NEVER, false); // Not a message of the plan.
        } else {
            self.stage = Stage::Fresh(dialed);
            next.change = Some(Change::Opened);
        }
        self.next(next)
    }

    /// Bytes have come back; `more`: the receive is still armed. Each message they complete goes to `completed`.
    /// Errors: they are no echo, and the connection has ended.
    pub fn received(
        &mut self,
        traffic: &Traffic,
        bytes: &[u8],
        more: bool,
        now: Nanos,
        mut completed: impl FnMut(Message),
    ) -> Result<Next, Corruption> {
        let mut next = Next::default();
        if !more {
            self.receiving = Receiving::Idle;
        }
        if self.stage == Stage::Ended {
            return Ok(self.next(next));
        }
        let counted = &mut self.completed;
        let verified = self.pipeline.receive(traffic, bytes, |message| {
            next.completed += 1;
            *counted += u64::from(message.measured);
            completed(message);
        });
        if let Err(mismatch) = verified {
            let completed = if self.stage == Stage::Probing {
                0
            } else {
                next.completed
            };
            let failed = self.fail(Loss::WrongData, now);
            let next = Next { completed, ..failed };
            return Err(Corruption { mismatch, next });
        }
        match self.stage {
            Stage::Fresh(dialed) => {
                self.stage = Stage::Open;
                next.sample = Some(Sample::complete(Step::FirstByte, dialed, now));
            }
            Stage::Probing if next.completed > 0 => {
                self.stage = Stage::Open;
                (next.completed, next.change) = (0, Some(Change::Opened));
            }
            _ => {}
        }
        if !more {
            next.receive = self.arm();
        }
        Ok(self.next(next))
    }

    /// The receive found no buffer.
    pub fn starved(&mut self) -> Next {
        self.receiving = Receiving::Starved;
        let next = Next {
            receive: Receive::Starve,
            ..Next::default()
        };
        self.next(next)
    }

    /// There is a buffer for this starved connection.
    pub fn buffer_available(&mut self) -> Next {
        let mut next = Next::default();
        if self.receiving == Receiving::Starved {
            next.receive = self.arm();
        }
        self.next(next)
    }

    /// The target has sent FIN.
    pub fn ended(&mut self, now: Nanos) -> Next {
        self.receiving = Receiving::Idle;
        let Stage::Closing(since) = self.stage else {
            return self.fail(Loss::Eof, now);
        };
        self.stage = Stage::Ended;
        let next = Next {
            sample: Some(Sample::complete(Step::Close, since, now)),
            change: Some(Change::Closed),
            ..Next::default()
        };
        self.next(next)
    }

    /// The receive has failed.
    pub fn receive_failed(&mut self, loss: Loss, now: Nanos) -> Next {
        self.receiving = Receiving::Idle;
        self.fail(loss, now)
    }

    /// The receive has been cancelled.
    pub fn receive_cancelled(&mut self) -> Next {
        self.receiving = Receiving::Idle;
        self.next(Next::default())
    }

    /// A cancel has completed; what it aimed at completes on its own.
    pub fn cancelled(&mut self) -> Next {
        self.cancelling = false;
        self.next(Next::default())
    }

    /// The send has completed; `rest`: some of its bytes are left.
    pub fn sent(&mut self, result: Result<(), Loss>, rest: bool, now: Nanos) -> Next {
        assert!(
            self.sending == Sending::InFlight,
            "a send completed that was not in flight"
        );
        if let Err(loss) = result {
            self.sending = Sending::Idle;
            return self.fail(loss, now);
        }
        if rest && self.stage != Stage::Ended {
            return Next {
                send: Some(Outgoing::Rest),
                ..Next::default()
            };
        }
        self.sending = Sending::Idle;
        self.next(Next::default())
    }

    /// It has not opened in time.
    pub fn timed_out(&mut self, now: Nanos) -> Next {
        if !self.is_opening() {
            return Next::default();
        }
        self.cancelling = self.connecting;
        let cancel_connect = self.connecting;
        Next {
            cancel_connect,
            ..self.fail(Loss::Timeout, now)
        }
    }

    /// Begins no message any more.
    pub fn hold(&mut self) {
        self.pipeline.hold();
    }

    /// True if a part of a message has been sent or received, and a part has not.
    pub fn is_partial(&self) -> bool {
        self.pipeline.is_partial()
    }

    /// True if it takes another message.
    pub fn takes_messages(&self) -> bool {
        self.is_open() && self.budget > 0
    }

    /// Issues one more message. Only if it [takes messages](Connection::takes_messages).
    pub fn issue(&mut self, planned: Nanos, measured: bool) -> Next {
        debug_assert!(self.takes_messages());
        self.budget -= 1;
        self.pipeline.issue(planned, measured);
        self.next(Next::default())
    }

    /// Closes an open connection whose messages are used up, once all of them have come back.
    pub fn retire(&mut self, close: Close, now: Nanos) -> Next {
        if !self.is_open() || self.budget > 0 || !self.pipeline.is_idle() {
            return Next::default();
        }
        let next = match close {
            Close::Fin => {
                self.stage = Stage::Closing(now);
                Next {
                    change: Some(Change::Closing),
                    shutdown: Some(Shutdown::Write),
                    ..Next::default()
                }
            }
            Close::Rst => {
                self.stage = Stage::Ended;
                // The socket closes, and sends RST, once its receive has left the kernel.
                self.cancelling = self.receiving == Receiving::Armed;
                Next {
                    change: Some(Change::Aborted),
                    shutdown: Some(Shutdown::Reset),
                    receive: if self.cancelling {
                        Receive::Cancel
                    } else {
                        Receive::Keep
                    },
                    ..Next::default()
                }
            }
        };
        self.next(next)
    }

    /// True from a [`Outgoing::Buffer`] to its [`write`](Connection::write), unless the connection ends first.
    pub fn wants_buffer(&self) -> bool {
        self.sending == Sending::Requested
    }

    /// Fills the buffer of the next send, and returns how many bytes. Their messages are submitted at `now`.
    pub fn write(&mut self, traffic: &Traffic, out: &mut [u8], now: Nanos) -> usize {
        assert!(self.sending == Sending::Requested, "one send in flight per connection");
        self.sending = Sending::InFlight;
        self.pipeline.write(traffic, out, now)
    }

    /// Its number in the run, from 0.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Messages completed that count.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// Messages issued and not completed, oldest first.
    pub fn outstanding(&self) -> impl Iterator<Item = &Message> {
        self.pipeline.outstanding()
    }

    fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Fresh(_))
    }

    /// True if it has opened and not ended.
    pub fn is_established(&self) -> bool {
        self.is_open() || matches!(self.stage, Stage::Closing(_))
    }

    /// True if it has not opened, and not ended.
    pub fn is_opening(&self) -> bool {
        matches!(self.stage, Stage::Connecting(_) | Stage::Probing)
    }

    /// The step that is not complete, at the age it has reached by `now`.
    pub fn given_up(&self, now: Nanos) -> Option<Sample> {
        let (step, since) = match self.stage {
            Stage::Connecting(dialed) => (Step::Connect, dialed),
            Stage::Fresh(dialed) if !self.pipeline.is_idle() => (Step::FirstByte, dialed),
            Stage::Closing(since) => (Step::Close, since),
            Stage::Open | Stage::Fresh(_) | Stage::Probing | Stage::Ended => return None,
        };
        let censored = true;
        Some(Sample {
            censored,
            ..Sample::complete(step, since, now)
        })
    }

    /// It has ended before we ended it.
    fn fail(&mut self, loss: Loss, now: Nanos) -> Next {
        let change = match self.stage {
            Stage::Ended => return self.next(Next::default()),
            Stage::Connecting(_) | Stage::Probing => Change::Failed(loss),
            Stage::Open | Stage::Fresh(_) | Stage::Closing(_) => Change::Lost(loss),
        };
        let sample = self.given_up(now);
        self.stage = Stage::Ended;
        let next = Next {
            sample,
            change: Some(change),
            shutdown: Some(Shutdown::Both),
            ..Next::default()
        };
        self.next(next)
    }

    /// Adds what follows from the state: a send that may begin, or the end.
    fn next(&mut self, mut next: Next) -> Next {
        if self.stage == Stage::Ended {
            self.forget_requests(&mut next);
        } else if self.sending == Sending::Idle && self.pipeline.can_send() {
            self.sending = Sending::Requested;
            next.send = Some(Outgoing::Buffer);
        }
        next
    }

    fn forget_requests(&mut self, next: &mut Next) {
        if self.sending == Sending::Requested {
            self.sending = Sending::Idle;
        }
        if self.receiving == Receiving::Starved {
            self.receiving = Receiving::Idle;
        }
        if next.receive == Receive::Starve {
            next.receive = Receive::Keep;
        }
        next.remove =
            !self.connecting && !self.cancelling && self.sending == Sending::Idle && self.receiving == Receiving::Idle;
    }

    fn arm(&mut self) -> Receive {
        self.receiving = Receiving::Armed;
        Receive::Arm
    }
}
