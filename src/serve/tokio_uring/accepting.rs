//! How connections come into a worker: the first one accepts for all, and hands each to the worker that has the fewest.
//!
//! With accept4(2) when a listener is readable, and not through the crate: its accept cannot be cancelled, so a
//! connection that arrives at the moment of a stop would be lost.

use std::future::poll_fn;
use std::net::TcpStream as StdStream;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use ::tokio_uring::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::{ReportPanic, Watched, Worker, has_fired, watch};
use crate::clock;
use crate::error::Errno;
use crate::serve::accept::Accepting;
use crate::serve::admission::Headroom;
use crate::serve::counters::Operation;
use crate::serve::notices::Notice;
use crate::sys::socket;

/// Connections accepted in a row before the open ones get a turn.
const ACCEPTS: u64 = 64;

impl Worker {
    /// The task that accepts on one listener. In a drain, until its queue is empty.
    pub(super) async fn accept(self: Rc<Self>, listener: usize) {
        let _report = ReportPanic(&self);
        let shared = Rc::clone(&self);
        let listener = shared.shared.listeners[listener].as_fd();
        match watch(listener) {
            Ok(watched) => self.accept_until_the_end(&watched).await,
            Err(error) => self.fail(error),
        }
        self.acceptors.set(self.acceptors.get() - 1);
        if self.acceptors.get() == 0 {
            self.end_accepting();
            self.shared.accept_ended.fire();
        }
    }

    async fn accept_until_the_end(self: &Rc<Self>, listener: &Watched<'_>) {
        while !self.accepting.get().is_off() {
            if self.shared.headroom() == Headroom::Full {
                self.counters.borrow_mut().limit_pauses += 1;
                self.report(Notice::AtLimit);
                self.pause(Accepting::wait_for_room).await;
                continue;
            }
            match socket::accept_waiting(listener.as_fd()) {
                Ok(Some(socket)) => {
                    self.accepted(socket);
                    if self.counters.borrow().accepted.is_multiple_of(ACCEPTS) {
                        yield_now().await;
                    }
                }
                Ok(None) if self.is_draining() => return,
                Ok(None) => self.until_readable(listener).await,
                Err(cause) => {
                    let errno = Errno::from(cause);
                    self.report(Notice::AcceptFailed(errno));
                    self.error(Operation::Accept, errno);
                    self.counters.borrow_mut().accept_pauses += 1;
                    self.shared.admission.wait_for_close();
                    self.pause(|accepting| accepting.pause(clock::now())).await;
                }
            }
        }
    }

    /// Until a listener is readable, or the drain begins.
    async fn until_readable(&self, listener: &Watched<'_>) {
        let mut resume = pin!(self.resume.notified());
        poll_fn(
            |cx| match has_fired(listener, cx) | resume.as_mut().poll(cx).is_ready() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            },
        )
        .await;
    }

    fn accepted(self: &Rc<Self>, socket: OwnedFd) {
        self.counters.borrow_mut().accepted += 1;
        self.change_accepting(Accepting::accepted);
        self.hand_over(socket);
    }

    /// Refuses new connections, and ends the tasks that accept.
    pub(super) fn end_accepting(&self) {
        self.change_accepting(Accepting::end);
        self.shared.shut_listeners_down();
        self.resume.notify_waiters();
    }

    pub(super) fn change_accepting<T>(&self, change: impl FnOnce(&mut Accepting) -> T) -> T {
        let mut accepting = self.accepting.get();
        let result = change(&mut accepting);
        self.accepting.set(accepting);
        result
    }

    /// Begins a pause, and waits until a connection closes, the pause is over, or the drain ends accepting.
    async fn pause(&self, begin: impl FnOnce(&mut Accepting)) {
        self.change_accepting(begin);
        let mut resume = pin!(self.resume.notified());
        let mut time = pin!(sleep((self.accepting.get().deadline() - clock::now()).into()));
        poll_fn(
            |cx| match resume.as_mut().poll(cx).is_ready() || time.as_mut().poll(cx).is_ready() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            },
        )
        .await;
        self.change_accepting(Accepting::connection_closed);
    }

    /// Gives a new connection to the worker that has the fewest, or refuses it.
    fn hand_over(self: &Rc<Self>, socket: OwnedFd) {
        match self.shared.place(&socket, || socket::peer_ip(socket.as_fd())) {
            Ok(index) if index == self.index => self.open(TcpStream::from_std(StdStream::from(socket))),
            Ok(index) => {
                if let Err(connection) = self.shared.handoffs()[index].inbox().push(socket) {
                    self.counters.borrow_mut().refused += 1;
                    self.shared.close(index, connection);
                }
            }
            Err(refusal) => {
                self.counters.borrow_mut().refuse(refusal);
                self.report(Notice::Refused(refusal));
            }
        }
    }
}
