//! How a worker opens its connections.

use std::os::fd::{AsFd, OwnedFd};

use super::{Client, Worker};
use crate::clock::{self, Nanos};
use crate::error::Errno;
use crate::load::connection::{Connection, Sample, Step};
use crate::load::dialer::RETRY_DELAY;
use crate::load::payload::PayloadStream;
use crate::load::phases::Phase;
use crate::load::pipeline::Pipeline;
use crate::load::result::Loss;
use crate::ring::Transport;
use crate::slab::Key;
use crate::sys::socket;

impl<T: Transport> Worker<'_, T> {
    /// Gives up connections that have not opened in time, and dials those that are due.
    pub(super) fn dial(&mut self) {
        let now = self.now;
        while let Some(key) = self.dialer.timed_out(now) {
            self.update(key, |connection| connection.timed_out(now));
            let given_up = self.dialer.give_up(now);
            let phase = self.timeline.phase_of(now);
            self.accounting.undialed(Loss::Timeout, given_up, phase);
        }
        self.dialer.begin_pass(now, self.timeline.is_sending(now));
        while let Some(number) = self.dialer.next(now) {
            self.open(number);
        }
    }

    fn open(&mut self, number: u64) {
        let plan = &self.shared.plan;
        let (target, source) = (plan.target_of(number), plan.source_of(number));
        let socket = match socket::client(target, source, &self.workload.options) {
            Ok(socket) => socket,
            Err(cause) => {
                let phase = self.timeline.phase_of(self.now);
                self.accounting.undialed(Loss::from(Errno::from(cause)), 1, phase);
                return self.dialer.replace(self.now, RETRY_DELAY);
            }
        };
        let now = clock::now(); // The socket took time to make: that is not the target's.
        let budget = self.workload.messages_per_connection();
        let connection = Connection::dialed(number, self.pipeline(number, 0), budget, now);
        let socket = socket.into();
        let key = self.connections.insert(Client { socket, connection });
        self.dialer.dialed(number, key, now);
        if let Some(Client { socket, .. }) = self.connections.get_mut(key) {
            self.transport.connect(key, socket, target);
        }
    }

    /// A socket is connected. Errors: both ends are the same socket, because the server has gone and the kernel chose
    /// its port.
    pub(super) fn take_in(&mut self, key: Key) -> Result<(), Errno> {
        let plan = &self.shared.plan;
        let Some(Client { socket, connection }) = self.connections.get_mut(key) else {
            return Ok(());
        };
        let descriptor = self.transport.descriptor(key, socket)?;
        socket::refuse_itself(descriptor.as_fd(), plan.target_of(connection.number()))?;
        self.transport.make_direct(key, socket);
        Ok(())
    }

    /// Takes over connection 0, which has echoed its message 0.
    pub(super) fn take_over(&mut self, socket: OwnedFd, took: Nanos) {
        let budget = self.workload.messages_per_connection();
        let (connection, next) = Connection::established(0, self.pipeline(0, 1), budget);
        let socket = socket.into();
        let key = self.connections.insert(Client { socket, connection });
        let sample = Sample {
            step: Step::Connect,
            since: self.now - took,
            took,
            censored: false,
        };
        self.accounting.sample(sample, Phase::RampUp);
        self.accounting.opened(0, Phase::RampUp);
        self.timeline.add(key, self.now);
        self.apply(key, next);
    }

    fn pipeline(&self, number: u64, first: u64) -> Pipeline {
        let payload = PayloadStream::new(self.workload.seed, number);
        Pipeline::new(payload, first, self.workload.traffic.depth)
    }
}
