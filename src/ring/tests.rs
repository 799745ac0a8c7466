//! The ring against the real kernel: full queues, held buffers, deadlines.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::*;
use crate::clock;

/// A ring with this many entries for direct descriptors.
fn ring_with_table(entries: u32) -> Ring {
    let queues = Queues {
        submissions: 8,
        completions: 64,
    };
    let buffers = Buffers {
        circulating: 2,
        total: 64,
        size: 64,
        pipes: 0,
    };
    let plan = RingPlan {
        role: Role::Server,
        queues,
        buffers,
        entries,
    };
    Ring::new(plan, 1).unwrap()
}

fn small_ring() -> Ring {
    ring_with_table(0)
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
    assert_eq!(ring.in_use(Store::Buffer), 0, "every buffer has been given back");
    for (slot, (ours, theirs)) in pairs.iter_mut().enumerate() {
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).unwrap();
        assert_eq!(got, vec![slot as u8; 64 * shapes[slot]], "slot {slot}");
    }
}

/// The data that the next completions bring, and whether FIN came after it.
fn received(ring: &mut Ring) -> (Vec<u8>, bool) {
    let (mut bytes, mut completions) = (Vec::new(), Vec::new());
    ring.submit_and_wait(clock::now() + Nanos::SECOND, &mut completions)
        .unwrap();
    let mut ended = false;
    for completion in completions {
        match completion.event {
            Event::Received(Received::Data(chunk)) => {
                bytes.extend_from_slice(ring.bytes(&chunk));
                ring.give_back(chunk);
            }
            Event::Received(Received::End) => ended = true,
            Event::Sent { sent: Ok(_), rest } => assert!(rest.is_empty()),
            other => panic!("{other:?}"),
        }
    }
    (bytes, ended)
}

#[test]
fn a_socket_in_the_table_of_its_ring_sends_receives_and_closes_like_any_other() {
    let mut ring = ring_with_table(2);
    for round in 0..3_u8 {
        let pairs: Vec<(UnixStream, UnixStream)> = (0..2).map(|_| UnixStream::pair().unwrap()).collect();
        let mut sockets = Vec::new();
        for (slot, (ours, mut theirs)) in pairs.into_iter().enumerate() {
            let key = Key {
                slot: slot as u32,
                generation: round.into(),
            };
            let number = ours.as_raw_fd();
            let mut socket = Socket::from(OwnedFd::from(ours));
            ring.make_direct(key, &mut socket);
            assert!(matches!(socket, Socket::Entry(_)));
            let queue = queue(&mut ring, 1, round);
            ring.send(key, &socket, queue);
            ring.receive(key, &socket);
            theirs.write_all(&[slot as u8]).unwrap();
            assert_eq!(received(&mut ring), (vec![slot as u8], false));
            theirs.read_exact(&mut [0; 64]).unwrap();
            // SAFETY: asks for the flags of a number that may be a descriptor, and changes nothing.
            let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
            assert_eq!(flags, -1, "its descriptor is closed");

            let descriptor = ring.descriptor(&socket).unwrap();
            assert_ne!(descriptor.as_fd().as_raw_fd(), -1);
            nix::sys::socket::shutdown(descriptor.as_fd().as_raw_fd(), nix::sys::socket::Shutdown::Write).unwrap();
            drop(descriptor);
            assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "FIN");
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(received(&mut ring), (vec![], true));
            sockets.push((socket, theirs));
        }
        for (socket, mut theirs) in sockets {
            ring.close(socket);
            ring.submit();
            assert!(theirs.write_all(b"?").is_err(), "nothing holds the other end");
        }
    }
}

#[test]
fn a_listener_that_is_in_the_table_of_a_ring_only_has_its_holder() {
    let mut ring = ring_with_table(1);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut socket = Socket::from(OwnedFd::from(listener));
    ring.make_direct(Key { slot: 0, generation: 0 }, &mut socket);
    ring.submit();
    let ours = vec![std::process::id().cast_signed()];
    assert_eq!(crate::sys::socket_owner::processes_at(&[address]), Ok(ours));
    ring.close(socket);
}

#[test]
fn a_socket_beyond_the_table_keeps_its_descriptor() {
    let mut ring = ring_with_table(1);
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let mut socket = Socket::from(OwnedFd::from(ours));
    ring.make_direct(Key { slot: 1, generation: 0 }, &mut socket);
    assert!(matches!(socket, Socket::Descriptor(_)));
    ring.close(socket);
}

#[test]
fn an_installed_descriptor_is_found_among_other_completions() {
    let mut ring = ring_with_table(8);
    let mut peers = Vec::new();
    let mut sockets = Vec::new();
    for slot in 0..8 {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut socket = Socket::from(OwnedFd::from(ours));
        let key = Key { slot, generation: 0 };
        ring.make_direct(key, &mut socket);
        ring.receive(key, &socket);
        theirs.write_all(b"x").unwrap();
        sockets.push(socket);
        peers.push(theirs);
    }
    for socket in &sockets {
        assert!(matches!(ring.descriptor(socket), Ok(Descriptor::Installed(_))));
    }
    for socket in sockets {
        ring.close(socket);
    }
}

#[test]
fn buffers_that_slow_peers_hold_are_replaced() {
    let mut ring = small_ring();
    let held: Vec<Chunk> = (0..30).map(|_| ring.lease().unwrap()).collect();
    ring.submit_and_wait(clock::now(), &mut Vec::new()).unwrap();
    assert_eq!(
        (ring.in_use(Store::Buffer), ring.offered(Store::Buffer)),
        (30, 2),
        "two still circulate"
    );
    held.into_iter().for_each(|chunk| ring.give_back(chunk));
    ring.submit_and_wait(clock::now(), &mut Vec::new()).unwrap();
    assert_eq!(
        (ring.in_use(Store::Buffer), ring.offered(Store::Buffer)),
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
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const KEY: Key = Key { slot: 3, generation: 7 };
    const NEXT: Key = Key { slot: 3, generation: 8 };

    fn poller() -> Poller {
        Poller::new(Buffers {
            circulating: 2,
            total: 64,
            size: 64,
            pipes: 0,
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
