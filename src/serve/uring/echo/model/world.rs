//! The kernel, the peers and the worker around a few connections, one legal step at a time.

use std::collections::VecDeque;
use std::ops::Range;

mod worker;

use super::Dice;
use crate::error::Errno;
use crate::ring::{Chain, Links, Received, fake};
use crate::serve::uring::echo::{Echo, Next, Receive};

/// Far more than any world has needed: the longest of 100,000 took 43,279, on one buffer of one byte.
const STEPS: usize = 200_000;

/// What a peer writes is shorter than this.
const BYTES: usize = if cfg!(miri) { 50 } else { 200 };

/// How the connections of a world may end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    Well,
    InReset,
    InFarewell,
    InBoth,
}

impl Ends {
    fn with_failures(self) -> bool {
        matches!(self, Ends::InReset | Ends::InBoth)
    }
}

/// What the kernel answers, in the order of the completion queue.
enum Answer {
    Received { what: Received, more: bool },
    Sent { delivered: bool, rest: Chain },
    Cancelled,
}

pub(super) struct World {
    dice: Dice,
    links: Links,
    /// Buffers that the kernel may fill.
    offered: VecDeque<u16>,
    buffers: usize,
    size: usize,
    /// Which bytes of which connection a buffer holds.
    filled: Vec<Option<(usize, Range<usize>)>>,
    answers: VecDeque<(usize, Answer)>,
    starved: VecDeque<usize>,
    cap: usize,
    connections: Vec<Connection>,
    ends: Ends,
    /// The worker renews receives now and then.
    scarce: bool,
}

/// Both ends of a connection, what is between them, and what of it is in the kernel.
struct Connection {
    echo: Echo,
    /// The peer writes this many bytes, then FIN.
    plan: usize,
    written: usize,
    fin: bool,
    reset: bool,
    /// Sending to the peer failed, and it neither says anything more nor ends.
    mute: bool,
    /// Bytes taken out of the socket into buffers.
    taken: usize,
    /// Bytes that the socket of the server has accepted for the peer.
    echoed: usize,
    /// Bytes the socket may accept before the peer must read.
    room: usize,
    /// What is being sent, and how much of its first chunk went out with earlier sends.
    outgoing: Option<Chain>,
    skip: usize,
    /// The kernel's side: armed until the last completion is made.
    receiving: bool,
    /// The kernel has not looked at the cancel yet.
    cancel: bool,
    /// The worker's side: until the completion is handed over.
    armed: bool,
    sending: bool,
    cancelling: bool,
    /// A cancel has been sent after the receive that is armed.
    ending: bool,
    /// Chunks handed over and not come home.
    held: usize,
    /// From a receive without a buffer until it is fed.
    hungry: bool,
    left: bool,
    /// Bytes that the peer had written when our FIN went out.
    farewell: Option<usize>,
    told_gone: bool,
    closed: bool,
}

impl Connection {
    fn unread(&self) -> usize {
        self.written - self.taken
    }
}

impl World {
    pub(super) fn new(seed: u64, ends: Ends) -> World {
        let mut dice = Dice(seed);
        let buffers = dice.some(8);
        let mut world = World {
            links: fake::links(buffers),
            offered: (0..buffers as u16).collect(),
            buffers,
            size: dice.some(16),
            filled: vec![None; buffers],
            answers: VecDeque::new(),
            starved: VecDeque::new(),
            cap: dice.some(4),
            connections: Vec::new(),
            ends,
            scarce: dice.one_in(2),
            dice,
        };
        for index in 0..world.dice.some(4) {
            let (echo, first) = Echo::new();
            let plan = world.dice.below(BYTES);
            world.connections.push(Connection::new(echo, plan));
            world.apply(index, first);
        }
        world
    }

    pub(super) fn run(mut self) {
        for _ in 0..STEPS {
            if self.connections.iter().all(|connection| connection.closed) {
                return self.check_end();
            }
            self.step();
        }
        let open = self.connections.iter().filter(|connection| !connection.closed).count();
        panic!("{open} connections are still open after {STEPS} steps");
    }

    fn step(&mut self) {
        let index = self.dice.below(self.connections.len());
        match self.dice.below(11) {
            0 => self.peer_writes(index),
            1 => self.peer_reads(index),
            2 => self.peer_ends(index),
            3 | 4 => self.kernel_receives(index),
            5 => self.kernel_sends(index),
            6 => self.kernel_cancels(index),
            7 => self.worker_feeds(),
            8 => self.worker_renews(index),
            9 if self.dice.one_in(20) => self.worker_leaves(index),
            _ => self.worker_handles(),
        }
    }

    fn check_end(mut self) {
        assert!(self.answers.is_empty(), "an answer for nobody");
        assert_eq!(self.offered.len(), self.buffers, "every buffer has come home");
        assert!(self.filled.iter().all(Option::is_none));
        // Who died in the queue is skipped, and nobody else stands there.
        assert!(self.starved.drain(..).all(|index| self.connections[index].closed));
    }
}

/// The peers.
impl World {
    fn peer_writes(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let left = connection.plan - connection.written;
        if left > 0 && !connection.reset && !connection.mute {
            connection.written += self.dice.some(left);
        }
    }

    fn peer_reads(&mut self, index: usize) {
        self.connections[index].room += self.dice.some(50);
    }

    fn peer_ends(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if connection.mute {
            return;
        }
        // A peer that has our FIN may stop early, or write all of its plan to nobody.
        let waits = self.ends == Ends::InFarewell && connection.farewell.is_none();
        connection.fin |= connection.written == connection.plan && !waits;
        if connection.farewell.is_some() && self.dice.one_in(4) {
            connection.plan = connection.written;
        }
        if self.ends.with_failures() && self.dice.one_in(20) {
            connection.reset = true;
            if self.dice.one_in(2) {
                connection.written = connection.taken;
            }
        }
    }
}

/// The kernel.
impl World {
    fn kernel_receives(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if !connection.receiving {
            return;
        }
        // Never after a failed send: the worker must not count on it.
        let breaks = self.ends.with_failures() && !connection.mute && self.dice.one_in(100);
        let (what, more) = match connection.unread() {
            _ if breaks => (Received::Failed(Errno(110)), false),
            0 if connection.reset => (Received::Failed(Errno(104)), false),
            0 if connection.fin => (Received::End, false),
            0 => return,
            unread => match self.offered.pop_front() {
                None => (Received::Starved, false),
                Some(buffer) => {
                    let len = self.dice.some(unread.min(self.size));
                    let range = connection.taken..connection.taken + len;
                    connection.taken = range.end;
                    self.filled[buffer as usize] = Some((index, range));
                    (Received::Data(fake::chunk(buffer, len as u32)), !self.dice.one_in(8))
                }
            },
        };
        connection.receiving = more;
        self.answers.push_back((index, Answer::Received { what, more }));
    }

    fn kernel_sends(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(mut rest) = connection.outgoing.take() else {
            return;
        };
        connection.mute |= self.ends.with_failures() && self.dice.one_in(50);
        if connection.reset || connection.mute {
            self.answers.push_back((index, Answer::Sent { delivered: false, rest }));
            return;
        }
        let most = rest.bytes().min(connection.room);
        if most == 0 {
            connection.outgoing = Some(rest);
            return;
        }
        let sent = self.dice.some(most);
        connection.room -= sent;
        let done = fake::advance(&mut rest, sent as u32, &self.links);
        self.check_sent(index, sent, &done);
        for chunk in done {
            self.come_home(index, fake::buffer(&chunk));
        }
        self.answers.push_back((index, Answer::Sent { delivered: true, rest }));
    }

    /// The bytes that went out are the next ones, chunk by chunk.
    fn check_sent(&mut self, index: usize, sent: usize, done: &[crate::ring::Chunk]) {
        let connection = &mut self.connections[index];
        let end = connection.echoed + sent;
        for chunk in done {
            let (owner, range) = self.filled[fake::buffer(chunk) as usize].clone().unwrap();
            assert_eq!(owner, index, "a chunk of another connection");
            assert_eq!(range.start + connection.skip, connection.echoed, "out of order");
            connection.echoed = range.end;
            connection.skip = 0;
        }
        connection.skip += end - connection.echoed;
        connection.echoed = end;
    }

    fn kernel_cancels(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if !std::mem::take(&mut connection.cancel) {
            return;
        }
        let cancelled = Answer::Received {
            what: Received::Cancelled,
            more: false,
        };
        let mut answers = vec![Answer::Cancelled];
        if std::mem::take(&mut connection.receiving) {
            answers.insert(self.dice.below(2), cancelled);
        }
        self.answers.extend(answers.into_iter().map(|answer| (index, answer)));
    }

    fn come_home(&mut self, index: usize, buffer: u16) -> Range<usize> {
        let (owner, range) = self.filled[buffer as usize].take().expect("comes home once");
        assert_eq!(owner, index, "a chunk of another connection");
        self.connections[index].held -= 1;
        self.offered.push_back(buffer);
        range
    }
}
