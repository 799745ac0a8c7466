//! Several rings as one, for a thread with more connections than the table of a ring has entries.
//!
//! Connections are spread by slot: those of the first `entries` slots belong to the first ring, and so on. The thread
//! sleeps in the first ring. The others signal an eventfd that the first one polls, io_uring_register_eventfd(3): the
//! descriptor of a ring itself does not become readable when work is deferred (IORING_SETUP_DEFER_TASKRUN). The poll is
//! armed before every sleep: a multishot one ends with the first signal of another ring, which might otherwise be its
//! own (EPOLL_URING_WAKE in the kernel's io_uring/poll.c).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::transport::Transport;
use super::{
    Buffers, Chunk, ChunkQueue, ChunkTable, Completion, Counts, Descriptor, Queues, Ring, RingPlan, Role, Socket, Spin,
    Store,
};
use crate::clock::Nanos;
use crate::error::{Errno, Error, Result};
use crate::slab::Key;
use crate::sys::{limits, shortage};

/// The key by which the first ring watches the eventfd. Its users take reserved keys from 0 on.
const OTHERS: Key = Key::reserved(RESERVED - 1);

/// Reserved keys: their slots are those of no connection.
const RESERVED: u32 = 1024;

/// Buffers of each ring, and of these in circulation, at most: what the caches hold is shared by all.
const TOTAL: u16 = 256;
const CIRCULATING: u16 = 32;

/// Sizes of the queues of each ring, at most.
const QUEUES: Queues = Queues {
    submissions: 64,
    completions: 1024,
};

/// Rings of a client. For one thread.
pub struct RingSet {
    rings: Vec<Ring>,
    /// Slots of each.
    entries: u32,
    /// Completions of one ring, before their keys are those of the set.
    taken: Vec<Completion>,
    /// Signalled by all but the first ring.
    signal: EventFd,
    /// True while the first ring polls it.
    is_polled: bool,
}

/// Errors: [`Error::Machine`] when descriptors have run out.
fn new_signal() -> Result<EventFd> {
    EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(|errno| {
        let cause = io::Error::from(errno);
        let why = shortage::of_files(&cause).unwrap_or_default();
        Error::Machine(format!("cannot create an eventfd: {cause}. {why}"))
    })
}

/// A key as its ring knows it, and the index of that ring. Slots beyond all entries belong to the last of `rings`:
/// there are such while connections are replaced (churn).
fn inner(key: Key, entries: u32, rings: usize) -> (usize, Key) {
    let ring = (key.slot / entries).min(rings as u32 - 1);
    let slot = key.slot - ring * entries;
    (ring as usize, Key { slot, ..key })
}

/// The key of the set.
fn outer(ring: usize, key: Key, entries: u32) -> Key {
    let is_reserved = key.slot > u32::MAX - RESERVED;
    let slot = if is_reserved {
        key.slot
    } else {
        ring as u32 * entries + key.slot
    };
    Key { slot, ..key }
}

impl RingSet {
    /// The buffers of each ring of a set, where a single one would have `buffers`.
    pub fn buffers(buffers: Buffers) -> Buffers {
        Buffers {
            circulating: buffers.circulating.min(CIRCULATING),
            total: buffers.total.min(TOTAL),
            ..buffers
        }
    }

    fn of(&self, key: Key) -> (&Ring, Key) {
        let (ring, key) = inner(key, self.entries, self.rings.len());
        (&self.rings[ring], key)
    }

    fn of_mut(&mut self, key: Key) -> (&mut Ring, Key) {
        let (ring, key) = inner(key, self.entries, self.rings.len());
        (&mut self.rings[ring], key)
    }

    /// Submits to those rings that have something to submit or have completed something, and takes the completions.
    fn visit(&mut self, out: &mut Vec<Completion>) -> Result<()> {
        for index in 1..self.rings.len() {
            if self.rings[index].has_work() {
                self.take(index, Nanos(0), out)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, index: usize, until: Nanos, out: &mut Vec<Completion>) -> Result<()> {
        self.rings[index].submit_and_wait(until, &mut self.taken)?;
        for completion in self.taken.drain(..) {
            if completion.key == OTHERS {
                self.is_polled = false;
                continue;
            }
            let key = outer(index, completion.key, self.entries);
            out.push(Completion { key, ..completion });
        }
        Ok(())
    }

    /// Ensures that work of the other rings ends the next sleep in the first one. True if there is none now.
    fn prepare_to_sleep(&mut self) -> bool {
        // Signals from here on wake the thread; what was signalled before is found below.
        let _ = self.signal.read(); // EAGAIN: there was none.
        if !self.is_polled {
            self.rings[0].watch_once(OTHERS, self.signal.as_fd());
            self.is_polled = true;
        }
        !self.rings[1..].iter_mut().any(Ring::has_work)
    }
}

impl Transport for RingSet {
    fn open(queues: Queues, buffers: Buffers, entries: u32, rings: usize) -> Result<RingSet> {
        let (signal, share) = (new_signal()?, limits::ring_entries());
        let plan = RingPlan {
            role: Role::Client,
            queues: Queues {
                submissions: queues.submissions.min(QUEUES.submissions),
                completions: queues.completions.min(QUEUES.completions),
            },
            buffers: RingSet::buffers(buffers),
            entries: share.min(entries),
        };
        let count = entries.div_ceil(share) as usize;
        let open = |index: usize| {
            let signal = (index > 0).then_some(signal.as_fd());
            Ok(Ring::attempt_with(plan, count * rings, signal)?)
        };
        Ok(RingSet {
            rings: (0..count).map(open).collect::<Result<_>>()?,
            entries: share,
            taken: Vec::new(),
            signal,
            is_polled: false,
        })
    }

    fn counts(&self) -> Counts {
        self.rings
            .iter()
            .map(Ring::counts)
            .fold(Counts::default(), Counts::plus)
    }

    fn submitted(&self) -> Option<Nanos> {
        self.rings[0].submitted()
    }

    /// Never: it would find the completions of the first ring only.
    fn set_spin(&mut self, _: Spin) {}

    fn watch(&mut self, key: Key, readable: BorrowedFd<'_>) {
        self.rings[0].watch(key, readable);
    }

    fn connect(&mut self, key: Key, socket: &Socket, target: SocketAddr) {
        let (ring, key) = self.of_mut(key);
        ring.connect(key, socket, target);
    }

    fn make_direct(&mut self, key: Key, socket: &mut Socket) {
        let (ring, key) = self.of_mut(key);
        ring.make_direct(key, socket);
    }

    fn close(&mut self, key: Key, socket: Socket) {
        let (ring, _) = self.of_mut(key);
        ring.close(socket);
    }

    fn descriptor<'a>(&mut self, key: Key, socket: &'a Socket) -> std::result::Result<Descriptor<'a>, Errno> {
        let (ring, _) = self.of_mut(key);
        ring.descriptor(socket)
    }

    fn receive(&mut self, key: Key, socket: &Socket) {
        let (ring, key) = self.of_mut(key);
        ring.receive(key, socket);
    }

    fn send(&mut self, key: Key, socket: &Socket, chunks: ChunkQueue) {
        let (ring, key) = self.of_mut(key);
        ring.send(key, socket, chunks);
    }

    fn cancel_receive(&mut self, key: Key) {
        let (ring, key) = self.of_mut(key);
        ring.cancel_receive(key);
    }

    fn cancel_connect(&mut self, key: Key) {
        let (ring, key) = self.of_mut(key);
        ring.cancel_connect(key);
    }

    fn submit_and_wait(&mut self, until: Nanos, out: &mut Vec<Completion>) -> Result<()> {
        self.visit(out)?;
        let may_sleep = out.is_empty() && self.prepare_to_sleep();
        self.take(0, if may_sleep { until } else { Nanos(0) }, out)?;
        self.visit(out)
    }

    fn bytes(&self, key: Key, chunk: &Chunk) -> &[u8] {
        self.of(key).0.bytes(chunk)
    }

    fn lease(&mut self, key: Key) -> Option<Chunk> {
        self.of_mut(key).0.lease()
    }

    fn fill(&mut self, key: Key, chunk: &mut Chunk, fill: impl FnOnce(&mut [u8]) -> usize) {
        self.of_mut(key).0.fill(chunk, fill);
    }

    fn give_back(&mut self, key: Key, chunk: Chunk) {
        self.of_mut(key).0.give_back(chunk);
    }

    fn give_back_all(&mut self, key: Key, chunks: ChunkQueue) {
        self.of_mut(key).0.give_back_all(chunks);
    }

    fn chunk_table(&mut self, key: Key) -> &mut ChunkTable {
        self.of_mut(key).0.chunk_table()
    }

    fn offered(&self, key: Key) -> usize {
        self.of(key).0.offered(Store::Buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    use super::super::{Event, Received};
    use super::*;
    use crate::clock;

    const RINGS: u32 = 3;

    /// Three rings, with this many entries each.
    fn set(entries: u32) -> RingSet {
        let signal = new_signal().unwrap();
        let plan = RingPlan {
            role: Role::Client,
            queues: QUEUES,
            buffers: Buffers {
                circulating: 64,
                total: 128,
                size: 64,
                pipes: 0,
            },
            entries,
        };
        let ring = |index| Ring::attempt_with(plan, 3, (index > 0).then_some(signal.as_fd())).unwrap();
        RingSet {
            rings: (0..RINGS).map(ring).collect(),
            entries,
            taken: Vec::new(),
            signal,
            is_polled: false,
        }
    }

    /// Receives one byte on as many of these connections. Sleeps until then.
    fn receive_all(set: &mut RingSet, sockets: &[(Key, Socket)], count: usize, byte: u8) {
        let (mut left, mut completions) = (count, Vec::new());
        let deadline = clock::now() + Nanos(20_000_000_000);
        while left > 0 {
            set.submit_and_wait(deadline, &mut completions).unwrap();
            assert!(clock::now() < deadline, "{left} of {count} have not come");
            for Completion { key, event, .. } in completions.drain(..) {
                match event {
                    Event::Received(Received::Data(chunk)) => {
                        assert_eq!(set.bytes(key, &chunk), [byte]);
                        set.give_back(key, chunk);
                        left -= 1;
                    }
                    Event::Received(Received::Starved) => set.receive(key, &sockets[key.slot as usize].1),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn every_message_wakes_the_thread_on_whichever_ring_and_however_many_come_at_once() {
        const PEERS: u32 = 60 * RINGS;
        let mut set = set(PEERS / RINGS);
        let (mut sockets, mut peers) = (Vec::new(), Vec::new());
        for slot in 0..PEERS {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let key = Key { slot, generation: 0 };
            let mut socket = Socket::from(OwnedFd::from(ours));
            set.make_direct(key, &mut socket);
            set.receive(key, &socket);
            sockets.push((key, socket));
            peers.push(theirs);
        }
        set.submit_and_wait(clock::now(), &mut Vec::new()).unwrap();
        let each = (PEERS / RINGS) as usize;
        for round in 0..12_u8 {
            // Those of one ring, or of all.
            let first = usize::from(round) % (RINGS as usize + 1) * each;
            let some = if first < sockets.len() {
                first..first + each
            } else {
                0..sockets.len()
            };
            let writers = &mut peers[some.clone()];
            thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(Duration::from_millis(5)); // As a rule the other thread sleeps then.
                    for theirs in writers {
                        theirs.write_all(&[round]).unwrap();
                    }
                });
                receive_all(&mut set, &sockets, some.len(), round);
            });
        }
        for (key, socket) in sockets {
            set.close(key, socket);
        }
    }

    #[test]
    fn every_key_belongs_to_one_ring_and_comes_back_from_it() {
        for slot in [0, 1, 6, 7, 13, 14, 699] {
            let key = Key { slot, generation: 3 };
            let (ring, inside) = inner(key, 7, 100);
            assert!(inside.slot < 7);
            assert_eq!(outer(ring, inside, 7), key);
        }
    }

    #[test]
    fn a_slot_beyond_all_entries_belongs_to_the_last_ring() {
        for (slot, expected) in [(20, (2, 6)), (21, (2, 7)), (50, (2, 36))] {
            let key = Key { slot, generation: 3 };
            let (ring, inside) = inner(key, 7, 3);
            assert_eq!((ring, inside.slot), expected);
            assert_eq!(outer(ring, inside, 7), key);
        }
    }

    #[test]
    fn reserved_keys_are_the_same_in_the_set() {
        for key in [Key::reserved(0), Key::reserved(1), OTHERS] {
            assert_eq!(outer(0, key, 7), key);
        }
    }
}
