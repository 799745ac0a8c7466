//! How connections come into a worker: the first one accepts for all, and hands each to the worker that has the fewest.

use std::future::poll_fn;
use std::io;
use std::net::TcpStream as StdStream;
use std::os::fd::AsFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use ::tokio_uring::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::{ReportPanic, Worker};
use crate::clock::{self, Nanos};
use crate::serve::accept::Accepting;
use crate::serve::counters::Operation;
use crate::serve::handoff;
use crate::sys::socket;

impl Worker {
    /// The task that accepts, until the listener is shut down.
    pub(super) async fn accept(self: Rc<Self>, listener: TcpListener) {
        let _report = ReportPanic(&self);
        while !self.accepting.get().is_off() {
            let accepted = match self.is_draining() {
                true => self.accept_waiting(),
                false => listener.accept().await.map(|(stream, _)| self.accepted(stream)),
            };
            if let Err(cause) = accepted
                && !self.accepting.get().is_off()
            {
                self.error(Operation::Accept, cause.into());
                self.counters.borrow_mut().accept_pauses += 1;
                self.pause().await;
            }
        }
        self.shared.accept_ended.fire();
    }

    fn accepted(self: &Rc<Self>, stream: TcpStream) {
        self.counters.borrow_mut().accepted += 1;
        self.change_accepting(Accepting::accepted);
        self.hand_over(stream);
    }

    /// Accepts what waits in the queue of the listener, then refuses new connections.
    pub(super) fn accept_waiting(self: &Rc<Self>) -> io::Result<()> {
        while !self.accepting.get().is_off() {
            match socket::accept_waiting(self.shared.listener.as_fd())? {
                Some(socket) => self.accepted(TcpStream::from_std(StdStream::from(socket))),
                None => self.change_accepting(Accepting::end),
            }
        }
        self.end_accepting();
        Ok(())
    }

    /// Refuses new connections, and ends a pending accept or a pause.
    pub(super) fn end_accepting(&self) {
        self.change_accepting(Accepting::end);
        socket::shutdown_both(self.shared.listener.as_fd());
        self.resume.notify_waiters();
    }

    pub(super) fn change_accepting<T>(&self, change: impl FnOnce(&mut Accepting) -> T) -> T {
        let mut accepting = self.accepting.get();
        let result = change(&mut accepting);
        self.accepting.set(accepting);
        result
    }

    /// Until a connection closes, the pause is over, or the drain ends accepting.
    async fn pause(&self) {
        self.change_accepting(|accepting| accepting.pause(clock::now()));
        let mut resume = pin!(self.resume.notified());
        let mut time = pin!(sleep((self.accepting.get().deadline() - clock::now()).into()));
        poll_fn(
            |cx| match resume.as_mut().poll(cx).is_ready() || time.as_mut().poll(cx).is_ready() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            },
        )
        .await;
        self.change_accepting(|accepting| accepting.pause_is_over(|| Nanos::NEVER));
    }

    /// Gives a new connection to the worker that has the fewest.
    fn hand_over(self: &Rc<Self>, stream: TcpStream) {
        let handoffs = self.shared.handoffs();
        let index = handoff::choose(handoffs);
        if index == self.index {
            return self.open(stream);
        }
        match socket::duplicate(&stream) {
            Ok(copy) => {
                if !handoffs[index].inbox().push(copy) {
                    self.counters.borrow_mut().refused += 1;
                }
            }
            Err(_) => {
                // Descriptors have run out: this worker serves it.
                handoffs[index].connection_removed();
                handoffs[self.index].connection_added();
                self.open(stream);
            }
        }
    }
}
