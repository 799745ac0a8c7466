//! The ring against the real kernel: full queues, held buffers, deadlines.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::*;
use crate::clock;

fn small_ring() -> Ring {
    let queues = Queues {
        submissions: 8,
        completions: 64,
    };
    let buffers = Buffers {
        circulating: 2,
        total: 64,
        size: 64,
        large: None,
    };
    Ring::new(Role::Server, queues, buffers, 1).unwrap()
}

/// A queue of leased chunks, filled with `byte`.
fn queue(ring: &mut Ring, chunks: usize, byte: u8) -> ChunkQueue {
    let mut queue = ChunkQueue::default();
    for _ in 0..chunks {
        let mut chunk = ring.lease().unwrap();
        ring.fill(&mut chunk, |out| {
            out.fill(byte);
            out.len()
        });
        queue.push(chunk, ring.chunk_table());
    }
    queue
}

#[test]
fn a_submission_among_many_sends_does_not_mix_their_bytes() {
    // The ninth entry submits the full queue; its message header must not be freed with the others.
    let shapes = [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 1, 1, 2];
    let mut ring = small_ring();
    let mut pairs: Vec<(UnixStream, UnixStream)> = shapes.iter().map(|_| UnixStream::pair().unwrap()).collect();
    for (slot, &chunks) in shapes.iter().enumerate() {
        let key = Key {
            slot: slot as u32,
            generation: 0,
        };
        let queue = queue(&mut ring, chunks, slot as u8);
        ring.send(key, pairs[slot].0.as_fd(), queue);
    }
    let (mut sent, mut completions) = (0, Vec::new());
    while sent < shapes.len() {
        ring.submit_and_wait(clock::now() + Nanos::SECOND, &mut completions)
            .unwrap();
        for completion in completions.drain(..) {
            let Event::Sent { sent: outcome, rest } = completion.event else {
                panic!("{completion:?}")
            };
            assert!(outcome.is_ok() && rest.is_empty());
            sent += 1;
        }
    }
    assert_eq!(ring.in_use(SizeClass::Small), 0, "every buffer has been given back");
    for (slot, (ours, theirs)) in pairs.iter_mut().enumerate() {
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).unwrap();
        assert_eq!(got, vec![slot as u8; 64 * shapes[slot]], "slot {slot}");
    }
}

#[test]
fn buffers_that_slow_peers_hold_are_replaced() {
    let mut ring = small_ring();
    let held: Vec<Chunk> = (0..30).map(|_| ring.lease().unwrap()).collect();
    ring.submit_and_wait(clock::now(), &mut Vec::new()).unwrap();
    assert_eq!(
        (ring.in_use(SizeClass::Small), ring.offered(SizeClass::Small)),
        (30, 2),
        "two still circulate"
    );
    held.into_iter().for_each(|chunk| ring.give_back(chunk));
    ring.submit_and_wait(clock::now(), &mut Vec::new()).unwrap();
    assert_eq!(
        (ring.in_use(SizeClass::Small), ring.offered(SizeClass::Small)),
        (0, 2),
        "and no more of them once all are given back"
    );
}

#[test]
fn a_wait_ends_at_its_deadline_without_completions() {
    let mut ring = small_ring();
    for spin in [
        Spin::Never,
        Spin::Always(Nanos(100_000)),
        Spin::Adaptive(Nanos(100_000)),
    ] {
        ring.set_spin(spin);
        let deadline = clock::now() + Nanos(3_000_000);
        while clock::now() < deadline {
            ring.submit_and_wait(deadline, &mut Vec::new()).unwrap();
        }
    }
}

/// The poller against the real kernel, by the same operations.
mod poller {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    use super::*;

    const KEY: Key = Key { slot: 3, generation: 7 };
    const NEXT: Key = Key { slot: 3, generation: 8 };

    fn poller() -> Poller {
        Poller::new(Buffers {
            circulating: 2,
            total: 64,
            size: 64,
            large: None,
        })
        .unwrap()
    }

    /// The events of passes until one of them is `last`.
    fn until(poller: &mut Poller, last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let (deadline, mut all) = (clock::now() + Nanos(20_000_000_000), Vec::new());
        while clock::now() < deadline {
            let mut completions = Vec::new();
            poller
                .submit_and_wait(clock::now() + Nanos::SECOND, &mut completions)
                .unwrap();
            for completion in completions {
                all.push(completion.event);
            }
            if all.last().is_some_and(&last) {
                return all;
            }
        }
        panic!("it did not come: {all:?}");
    }

    /// The bytes of the events that have some, whose buffers are given back.
    fn bytes(poller: &mut Poller, events: Vec<Event>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for event in events {
            if let Event::Received(Received::Data(chunk)) = event {
                bytes.extend_from_slice(poller.bytes(&chunk));
                poller.give_back(chunk);
            }
        }
        bytes
    }

    fn is_end(event: &Event) -> bool {
        matches!(event, Event::Received(Received::End))
    }

    #[test]
    fn it_connects_sends_and_receives_to_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut poller = poller();
        let target = listener.local_addr().unwrap();
        let socket = OwnedFd::from(socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap());
        poller.connect(KEY, socket.as_fd(), target);
        until(&mut poller, |event| matches!(event, Event::Connected(Ok(()))));
        let (mut peer, _) = listener.accept().unwrap();
        poller.receive(KEY, socket.as_fd());
        let mut chunk = poller.lease().unwrap();
        poller.fill(&mut chunk, |out| {
            out[..5].copy_from_slice(b"hello");
            5
        });
        let queue = ChunkQueue::of(chunk, poller.chunk_table());
        poller.send(KEY, socket.as_fd(), queue);
        until(&mut poller, |event| matches!(event, Event::Sent { sent: Ok(5), .. }));
        let mut hello = [0; 5];
        peer.read_exact(&mut hello).unwrap();
        peer.write_all(&[b'x'; 1000]).unwrap(); // More than all circulating buffers hold.
        drop(peer);
        let (mut all, mut ended) = (Vec::new(), false);
        while !ended {
            let events = until(&mut poller, |event| matches!(event, Event::Received(_)));
            let starved = events
                .iter()
                .any(|event| matches!(event, Event::Received(Received::Starved)));
            ended = events.iter().any(is_end);
            all.extend(bytes(&mut poller, events));
            if starved {
                poller.receive(KEY, socket.as_fd());
            }
        }
        assert_eq!(all, [b'x'; 1000]);
    }

    #[test]
    fn a_refused_connection_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        drop(listener);
        let socket = OwnedFd::from(socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap());
        let mut poller = poller();
        poller.connect(KEY, socket.as_fd(), target);
        until(&mut poller, |event| {
            matches!(event, Event::Connected(Err(Errno(libc::ECONNREFUSED))))
        });
    }

    #[test]
    fn a_send_that_does_not_fit_completes_once_the_peer_has_read_it() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut poller = poller();
        // Until the socket is full.
        let mut sent = 0;
        loop {
            let mut queue = ChunkQueue::default();
            for _ in 0..20 {
                let mut chunk = poller.lease().unwrap();
                poller.fill(&mut chunk, |out| out.len());
                queue.push(chunk, poller.chunk_table());
            }
            poller.send(KEY, ours.as_fd(), queue);
            let mut completions = Vec::new();
            poller.submit_and_wait(clock::now(), &mut completions).unwrap();
            if completions.is_empty() {
                break;
            }
            sent += 20 * 64;
        }
        let mut read = 0;
        while read < sent {
            read += theirs.read(&mut [0; 4096]).unwrap();
        }
        let events = until(&mut poller, |event| matches!(event, Event::Sent { .. }));
        assert!(matches!(events[0], Event::Sent { sent: Ok(1280), .. }), "{events:?}");
    }

    #[test]
    fn what_is_cancelled_completes_once() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut poller = poller();
        poller.receive(KEY, ours.as_fd());
        poller.cancel_receive(KEY);
        poller.cancel_receive(KEY);
        let events = until(&mut poller, |event| matches!(event, Event::Cancelled));
        assert!(
            matches!(
                events[..],
                [Event::Received(Received::Cancelled), Event::Cancelled, Event::Cancelled]
            ),
            "{events:?}"
        );
    }

    #[test]
    fn a_slot_that_is_reused_does_not_get_the_events_of_its_last_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut poller = poller();
        let (first, second) = (connect(), connect());
        let ((mut first_peer, _), (mut second_peer, _)) = (listener.accept().unwrap(), listener.accept().unwrap());
        poller.receive(KEY, first.as_fd());
        poller.cancel_receive(KEY);
        first_peer.write_all(b"first").unwrap();
        poller.receive(NEXT, second.as_fd());
        second_peer.write_all(b"second").unwrap();
        drop(second_peer);
        let events = until(&mut poller, is_end);
        assert_eq!(bytes(&mut poller, events), b"second");
        drop(first);
    }

    #[test]
    fn a_watched_descriptor_wakes_it_each_time() {
        let waker = crate::sys::waker::Waker::new().unwrap();
        let mut poller = poller();
        poller.watch(KEY, waker.as_fd());
        for _ in 0..3 {
            waker.wake();
            until(&mut poller, |event| matches!(event, Event::Woken));
        }
        let mut completions = Vec::new();
        poller.submit_and_wait(clock::now(), &mut completions).unwrap();
        assert!(completions.is_empty(), "{completions:?}");
    }

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let mut poller = poller();
        for spin in [Spin::Never, Spin::Always(Nanos(100_000))] {
            poller.set_spin(spin);
            let deadline = clock::now() + Nanos(3_500_000);
            while clock::now() < deadline {
                poller.submit_and_wait(deadline, &mut Vec::new()).unwrap();
            }
        }
    }
}
