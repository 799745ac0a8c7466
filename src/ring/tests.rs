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
