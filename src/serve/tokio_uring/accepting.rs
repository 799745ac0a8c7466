//! How connections come into a worker: the first one accepts for all, and hands each to the worker that has the fewest.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, TcpStream as StdStream};
use std::os::fd::AsFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use ::tokio_uring::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::{ReportPanic, Worker};
use crate::clock;
use crate::serve::accept::Accepting;
use crate::serve::admission::Room;
use crate::serve::counters::Operation;
use crate::sys::socket;

impl Worker {
    /// The task that accepts on one listener, until it is shut down.
    pub(super) async fn accept(self: Rc<Self>, listener: TcpListener) {
        let _report = ReportPanic(&self);
        while !self.accepting.get().is_off() {
            let accepted = match (self.is_draining(), self.shared.room()) {
                (_, Room::None) => {
                    self.counters.borrow_mut().limit_pauses += 1;
                    self.pause(Accepting::wait_for_room).await;
                    Ok(())
                }
                (true, _) => self.accept_waiting(),
                (false, _) => self.accept_one(&listener).await,
            };
            if let Err(cause) = accepted
                && !self.accepting.get().is_off()
            {
                self.error(Operation::Accept, cause.into());
                self.counters.borrow_mut().accept_pauses += 1;
                self.shared.admission.wait_for_close();
                self.pause(|accepting| accepting.pause(clock::now())).await;
            }
        }
        self.acceptors.set(self.acceptors.get() - 1);
        if self.acceptors.get() == 0 {
            self.shared.accept_ended.fire();
        }
    }

    async fn accept_one(self: &Rc<Self>, listener: &TcpListener) -> io::Result<()> {
        let (stream, peer) = listener.accept().await?;
        self.counters.borrow_mut().accepted += 1;
        self.change_accepting(Accepting::accepted);
        // The task of another listener may have taken the last room meanwhile. A drain frees none for this one.
        while self.shared.room() == Room::None && !self.is_draining() {
            self.pause(Accepting::wait_for_room).await;
        }
        self.hand_over(stream, Some(peer.ip()));
        Ok(())
    }

    /// Accepts what waits in the queues of the listeners, then refuses new connections. Returns early where there is no room.
    pub(super) fn accept_waiting(self: &Rc<Self>) -> io::Result<()> {
        for listener in &self.shared.listeners {
            while !self.accepting.get().is_off() {
                if self.shared.room() == Room::None {
                    return Ok(());
                }
                let Some(socket) = socket::accept_waiting(listener.as_fd())? else {
                    break;
                };
                self.counters.borrow_mut().accepted += 1;
                self.change_accepting(Accepting::accepted);
                let peer = socket::peer_ip(socket.as_fd());
                self.hand_over(TcpStream::from_std(StdStream::from(socket)), peer);
            }
        }
        self.end_accepting();
        Ok(())
    }

    /// Refuses new connections, and ends pending accepts and pauses.
    pub(super) fn end_accepting(&self) {
        self.change_accepting(Accepting::end);
        for listener in &self.shared.listeners {
            socket::shutdown_both(listener.as_fd());
        }
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
    fn hand_over(self: &Rc<Self>, stream: TcpStream, peer: Option<IpAddr>) {
        let handoffs = self.shared.handoffs();
        let index = match self.shared.place(&stream, || peer) {
            Ok(index) => index,
            Err(refusal) => return self.counters.borrow_mut().refuse(refusal),
        };
        if index == self.index {
            return self.open(stream);
        }
        match socket::duplicate(&stream) {
            Ok(copy) => {
                self.shared.admission.moved(&stream, &copy);
                if let Err(connection) = handoffs[index].inbox().push(copy) {
                    self.counters.borrow_mut().refused += 1;
                    self.shared.close(index, connection);
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
