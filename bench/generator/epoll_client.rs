//! A minimal closed loop over epoll, to compare the generator with: it sends, waits, reads and counts.
//!
//! One thread, level-triggered, one read and one write per message. It makes no payload, checks nothing and records
//! nothing, which makes it faster: beating it is hard.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use urecho::sys::usage::thread_cpu;

use crate::Slice;

/// Runs `connections`, each sending its next message when its last has come back, for `duration`.
pub(crate) fn run(target: SocketAddr, connections: usize, size: usize, duration: Duration) -> Slice {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let message = vec![0x55; size];
    let mut streams: Vec<(TcpStream, usize)> = (0..connections).map(|_| (dial(target), 0)).collect();
    for (index, (stream, _)) in streams.iter_mut().enumerate() {
        epoll
            .add(&*stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))
            .unwrap();
        stream.write_all(&message).unwrap();
    }
    let warmup = duration / 10;
    let (mut begin, mut cpu, mut counted, mut measuring) = (Instant::now(), thread_cpu(), 0_u64, false);
    let mut events = [EpollEvent::empty(); 256];
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::from(1000_u16)).unwrap();
        assert!(ready > 0, "the server has stopped answering");
        for event in &events[..ready] {
            let (stream, returned) = &mut streams[event.data() as usize];
            match stream.read(&mut buffer) {
                Ok(0) => panic!("the server closed a connection"),
                Ok(len) => *returned += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("{error}"),
            }
            if *returned == size {
                *returned = 0;
                counted += 1;
                stream.write_all(&message).unwrap();
            }
        }
        let elapsed = begin.elapsed();
        if !measuring && elapsed >= warmup {
            (begin, cpu, counted, measuring) = (Instant::now(), thread_cpu(), 0, true);
        } else if measuring && elapsed >= duration {
            let cpu = (thread_cpu() - cpu).0 as f64;
            return Slice {
                rate_per_s: counted as f64 / elapsed.as_secs_f64(),
                cpu_ns_per_message: cpu / counted as f64,
            };
        }
    }
}

fn dial(target: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(target).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}
