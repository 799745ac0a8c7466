//! The kernel, the peers and the worker around a few connections, one legal step at a time.

use std::collections::VecDeque;
use std::ops::Range;

mod worker;

use crate::error::Errno;
use crate::random::Choices;
use crate::ring::{ChunkQueue, ChunkTable, Received, Store, fake};
use crate::serve::uring::echo::{BufferAllowance, Echo, Next, Receive};

/// Far more than any world has needed: the longest of 100,000 took 43,279, on one buffer of one byte.
const STEPS: usize = 200_000;

/// A peer writes fewer bytes than this.
const BYTES: usize = if cfg!(miri) { 50 } else { 200 };

/// How the connections of a world may end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Fin,
    Reset,
    Drain,
    DrainAndReset,
}

impl Ending {
    fn with_failures(self) -> bool {
        matches!(self, Ending::Reset | Ending::DrainAndReset)
    }
}

/// What the kernel reports, in the order of the completion queue.
enum Report {
    Received { what: Received, more: bool },
    Sent { delivered: bool, rest: ChunkQueue },
    Cancelled,
}

/// Buffers or pipes, and who waits for one.
struct Supply {
    /// Those that the kernel may fill.
    offered: VecDeque<u16>,
    total: usize,
    size: usize,
    /// Connections that wait for one, in order.
    starved: VecDeque<usize>,
}

pub(super) struct World {
    random: Choices,
    table: ChunkTable,
    buffers: Supply,
    pipes: Supply,
    /// Which bytes of which connection a buffer holds.
    filled: Vec<Option<(usize, Range<usize>)>>,
    reports: VecDeque<(usize, Report)>,
    cap: usize,
    connections: Vec<Connection>,
    ending: Ending,
    /// True if the worker renews receives now and then.
    renews: bool,
    /// Connections that stream, as the worker counts them, and how often one began to.
    streams: usize,
    streams_begun: usize,
}

/// Both ends of a connection, what is between them, and what of it is in the kernel.
struct Connection {
    echo: Echo,
    /// The peer writes this many bytes, then FIN.
    plan: usize,
    written: usize,
    fin: bool,
    reset: bool,
    /// A send to the peer failed, and no receive ever reports it.
    silent: bool,
    /// Bytes taken out of the socket into buffers.
    taken: usize,
    /// Bytes that the socket of the server has accepted for the peer.
    echoed: usize,
    /// Bytes the socket may accept before the peer must read.
    room: usize,
    /// What is being sent, and how much of its first chunk went out with earlier sends.
    outgoing: Option<ChunkQueue>,
    skip: usize,
    /// The kernel's side: from arming until it has made the last completion.
    receiving: Option<Store>,
    /// The kernel has not processed the cancel yet.
    cancel: bool,
    /// The worker's side: from arming until the last completion is handled, and into which buffers.
    armed: bool,
    store: Store,
    sending: bool,
    cancelling: bool,
    /// A cancel has been sent after the receive that is armed.
    ending: bool,
    /// Chunks handed over and not given back.
    held: usize,
    /// From a receive without a buffer until the worker says that one is free.
    starved: bool,
    streams: bool,
    draining: bool,
    /// Bytes that the peer had written when the worker decided to end the connection while it is in use.
    arrived: Option<usize>,
    /// Bytes that had been received when our FIN went out.
    fin_sent_at: Option<usize>,
    /// The worker knows that the peer is gone.
    gone: bool,
    closed: bool,
}

impl Connection {
    fn unread(&self) -> usize {
        self.written - self.taken
    }
}

impl World {
    pub(super) fn new(mut random: Choices, ending: Ending) -> World {
        let (buffers, pipes) = (1 + random.below(8), random.below(4));
        let size = 1 + random.below(16);
        let mut world = World {
            table: fake::table(buffers, pipes),
            buffers: Supply::new(0, buffers, size),
            pipes: Supply::new(buffers, pipes, 2 * size),
            filled: vec![None; buffers + pipes],
            reports: VecDeque::new(),
            cap: 1 + random.below(4),
            connections: Vec::new(),
            ending,
            renews: random.coin(),
            streams: 0,
            streams_begun: 0,
            random,
        };
        for index in 0..world.some(4) {
            let allowance = world.allowance();
            let (echo, first) = Echo::new(allowance);
            let plan = world.random.below(BYTES);
            world.connections.push(Connection::new(echo, plan));
            world.apply(index, first);
        }
        world
    }

    /// Runs until every connection has closed. Returns how often one began to stream.
    pub(super) fn run(mut self) -> usize {
        for _ in 0..STEPS {
            if self.connections.iter().all(|connection| connection.closed) {
                self.check_end();
                return self.streams_begun;
            }
            self.step();
        }
        let open = self.connections.iter().filter(|connection| !connection.closed).count();
        panic!("{open} connections are still open after {STEPS} steps");
    }

    fn step(&mut self) {
        let index = self.random.below(self.connections.len());
        match self.random.below(12) {
            0 => self.peer_writes(index),
            1 => self.peer_reads(index),
            2 => self.peer_ends(index),
            3 | 4 => self.kernel_receives(index),
            5 => self.kernel_sends(index),
            6 => self.kernel_cancels(index),
            7 => self.worker_serves_starved(),
            8 => self.renew_receive(index),
            9 if self.one_in(20) => self.worker_closes_idle(index),
            10 if self.one_in(4) => self.worker_times_out_streams(),
            _ => self.worker_handles(),
        }
    }

    /// 1 to `most`.
    fn some(&mut self, most: usize) -> usize {
        1 + self.random.below(most)
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.random.below(times) == 0
    }

    fn supply(&mut self, store: Store) -> &mut Supply {
        match store {
            Store::Buffer => &mut self.buffers,
            Store::Pipe => &mut self.pipes,
        }
    }

    fn check_end(&mut self) {
        assert!(self.reports.is_empty(), "a completion after the last close");
        assert!(self.filled.iter().all(Option::is_none));
        assert_eq!(self.streams, 0, "a stream that has closed is still counted");
        for store in [Store::Buffer, Store::Pipe] {
            let supply = self.supply(store);
            assert_eq!(supply.offered.len(), supply.total, "everything has been given back");
            let starved = std::mem::take(&mut supply.starved);
            // A connection may close in the queue; the worker skips it.
            assert!(starved.into_iter().all(|index| self.connections[index].closed));
        }
    }
}

impl Supply {
    fn new(first: usize, total: usize, size: usize) -> Supply {
        Supply {
            offered: (first as u16..(first + total) as u16).collect(),
            total,
            size,
            starved: VecDeque::new(),
        }
    }
}

/// The peers.
impl World {
    fn peer_writes(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let left = connection.plan - connection.written;
        if left > 0 && !connection.reset && !connection.silent {
            connection.written += 1 + self.random.below(left);
        }
    }

    fn peer_reads(&mut self, index: usize) {
        self.connections[index].room += self.some(50);
    }

    fn peer_ends(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if connection.silent {
            return;
        }
        // A peer that has our FIN may stop early, or write all of its plan although it is dropped.
        let waits = self.ending == Ending::Drain && connection.fin_sent_at.is_none();
        connection.fin |= connection.written == connection.plan && !waits;
        if connection.fin_sent_at.is_some() && self.random.below(4) == 0 {
            connection.plan = connection.written;
        }
        if self.ending.with_failures() && self.random.below(20) == 0 {
            connection.reset = true;
            if self.random.coin() {
                connection.written = connection.taken;
            }
        }
    }
}

/// The kernel.
impl World {
    fn kernel_receives(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(store) = connection.receiving else {
            return;
        };
        // Never after a failed send: the worker must not depend on it.
        let breaks = self.ending.with_failures() && !connection.silent && self.random.below(100) == 0;
        let supply = match store {
            Store::Buffer => &mut self.buffers,
            Store::Pipe => &mut self.pipes,
        };
        let (what, more) = match connection.unread() {
            _ if breaks => (Received::Failed(Errno(110)), false),
            0 if connection.reset => (Received::Failed(Errno(104)), false),
            0 if connection.fin => (Received::End, false),
            0 => return,
            _ if store == Store::Pipe && self.random.below(20) == 0 => (Received::NotForPipe, false),
            unread => match supply.offered.pop_front() {
                None => (Received::Starved, false),
                Some(buffer) => {
                    let most = unread.min(supply.size);
                    // Often full, so that streams are found.
                    let len = [most, 1 + self.random.below(most)][self.random.below(2)];
                    let range = connection.taken..connection.taken + len;
                    connection.taken = range.end;
                    self.filled[buffer as usize] = Some((index, range));
                    (
                        Received::Data(fake::chunk(buffer, len as u32)),
                        self.random.below(8) > 0,
                    )
                }
            },
        };
        connection.receiving = more.then_some(store);
        self.reports.push_back((index, Report::Received { what, more }));
    }

    fn kernel_sends(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(mut rest) = connection.outgoing.take() else {
            return;
        };
        connection.silent |= self.ending.with_failures() && self.random.below(50) == 0;
        if connection.reset || connection.silent {
            self.reports.push_back((index, Report::Sent { delivered: false, rest }));
            return;
        }
        let most = rest.bytes().min(connection.room);
        if most == 0 {
            connection.outgoing = Some(rest);
            return;
        }
        let sent = 1 + self.random.below(most);
        connection.room -= sent;
        let done = fake::advance(&mut rest, sent as u32, &self.table);
        self.check_sent(index, sent, &done);
        for chunk in done {
            self.given_back(index, fake::buffer(&chunk));
        }
        self.reports.push_back((index, Report::Sent { delivered: true, rest }));
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
        let cancelled = Report::Received {
            what: Received::Cancelled,
            more: false,
        };
        let mut reports = vec![Report::Cancelled];
        if connection.receiving.take().is_some() {
            reports.insert(self.random.below(2), cancelled);
        }
        self.reports.extend(reports.into_iter().map(|report| (index, report)));
    }

    fn given_back(&mut self, index: usize, buffer: u16) -> Range<usize> {
        let (owner, range) = self.filled[buffer as usize]
            .take()
            .expect("a buffer is given back once");
        assert_eq!(owner, index, "a chunk of another connection");
        self.connections[index].held -= 1;
        let store = fake::store(buffer, &self.table);
        self.supply(store).offered.push_back(buffer);
        range
    }
}
