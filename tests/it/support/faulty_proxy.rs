//! A TCP proxy with faults: it forwards in segments of random sizes, pauses, cuts connections and flips bits.
//!
//! One thread per connection, which also reads and writes for both ends, so that a cut closes both sockets at once.
//! Faults are drawn from the seed and the number of the connection. FIN is forwarded behind all bytes; a broken end
//! breaks the other.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use urecho::random::Random;

use super::peers::Peer;
use super::reset;

/// How often a thread checks whether the proxy has been dropped.
const CHECK_MS: u16 = 100;

/// What the proxy does to connections. The default forwards every byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) seed: u64,
    /// A segment has 1 byte to this many, with a uniform logarithm.
    pub(crate) segment_max: usize,
    /// One segment in this many waits; 0 for none.
    pub(crate) delay_one_in: usize,
    pub(crate) delay_max: Duration,
    /// One connection in this many is cut; 0 for none.
    pub(crate) cut_one_in: usize,
    /// A cut comes after fewer bytes than this, of both directions together.
    pub(crate) cut_before: usize,
    /// One segment in this many has a flipped bit; 0 for none.
    pub(crate) corrupt_one_in: usize,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            seed: 1,
            segment_max: 1 << 20,
            delay_one_in: 0,
            delay_max: Duration::ZERO,
            cut_one_in: 0,
            cut_before: 100_000,
            corrupt_one_in: 0,
        }
    }
}

/// A running proxy. Its connections end when it is dropped.
pub(crate) struct FaultyProxy {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    _peer: Peer,
}

#[derive(Debug, Default)]
struct Counts {
    over: AtomicBool,
    cuts: AtomicU64,
    corruptions: AtomicU64,
}

impl FaultyProxy {
    /// A proxy on a free loopback port, in front of `target`.
    pub(crate) fn start(target: SocketAddr, faults: Faults) -> FaultyProxy {
        let counts = Arc::new(Counts::default());
        let shared = counts.clone();
        let peer = Peer::start(move |number, client| {
            if let Ok(server) = TcpStream::connect(target) {
                Relay::new(client, server, &faults, number, &shared).run();
            }
        });
        FaultyProxy {
            address: peer.address,
            counts,
            _peer: peer,
        }
    }

    /// The number of connections that it has cut so far.
    pub(crate) fn cuts(&self) -> u64 {
        self.counts.cuts.load(Ordering::Relaxed)
    }

    /// The number of bits that it has flipped so far.
    pub(crate) fn corruptions(&self) -> u64 {
        self.counts.corruptions.load(Ordering::Relaxed)
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.counts.over.store(true, Ordering::Relaxed);
    }
}

/// One connection of the proxy.
struct Relay<'a> {
    ends: [TcpStream; 2],
    /// From each end to the other.
    ways: [Way; 2],
    faults: &'a Faults,
    counts: &'a Counts,
    random: Random,
    /// Bytes until the cut.
    left: Option<usize>,
}

/// One direction.
#[derive(Default)]
struct Way {
    pending: Vec<u8>,
    fin: Fin,
}

#[derive(Default, PartialEq)]
enum Fin {
    #[default]
    None,
    Received,
    Forwarded,
}

/// Why a connection of the proxy ends early.
struct Broken;

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Broken {
        Broken
    }
}

impl Relay<'_> {
    fn new<'a>(
        client: TcpStream,
        server: TcpStream,
        faults: &'a Faults,
        number: usize,
        counts: &'a Counts,
    ) -> Relay<'a> {
        let mut random = Random::new(faults.seed, number as u64);
        let cut = one_in(&mut random, faults.cut_one_in);
        let left = cut.then(|| random.below(faults.cut_before));
        Relay {
            ends: [client, server],
            ways: Default::default(),
            faults,
            counts,
            random,
            left,
        }
    }

    fn run(mut self) {
        if self.forward_all().is_err() {
            self.ends.into_iter().for_each(reset);
        }
    }

    fn forward_all(&mut self) -> Result<(), Broken> {
        for end in &self.ends {
            end.set_nonblocking(true)?;
            end.set_nodelay(true)?;
        }
        while self.ways.iter().any(|way| way.fin != Fin::Forwarded) {
            if self.counts.over.load(Ordering::Relaxed) {
                return Err(Broken);
            }
            self.wait()?;
            self.forward(0)?;
            self.forward(1)?;
        }
        Ok(())
    }

    /// Waits until an end can be read or written where that is wanted.
    fn wait(&self) -> Result<(), Broken> {
        let mut wanted = [PollFlags::empty(); 2];
        for (from, way) in self.ways.iter().enumerate() {
            if !way.pending.is_empty() {
                wanted[1 - from] |= PollFlags::POLLOUT;
            } else if way.fin == Fin::None {
                wanted[from] |= PollFlags::POLLIN;
            }
        }
        // An end from which nothing is wanted is left out: one that both sides have finished would not let us sleep.
        let wanted = wanted
            .into_iter()
            .zip(&self.ends)
            .filter(|(events, _)| !events.is_empty());
        let mut ends: Vec<PollFd<'_>> = wanted.map(|(events, end)| PollFd::new(end.as_fd(), events)).collect();
        poll(&mut ends, PollTimeout::from(CHECK_MS)).map_err(io::Error::from)?;
        let mut events = ends.iter().filter_map(PollFd::revents);
        match events.any(|events| events.contains(PollFlags::POLLERR)) {
            true => Err(Broken),
            false => Ok(()),
        }
    }

    /// Reads one segment from an end if none is pending, and writes as much to the other as it takes.
    fn forward(&mut self, from: usize) -> Result<(), Broken> {
        if self.ways[from].pending.is_empty() && self.ways[from].fin == Fin::None {
            self.read(from)?;
        }
        let (way, mut to) = (&mut self.ways[from], &self.ends[1 - from]);
        if !way.pending.is_empty()
            && let Some(written) = would_block(to.write(&way.pending))?
        {
            way.pending.drain(..written);
        }
        if way.pending.is_empty() && way.fin == Fin::Received {
            to.shutdown(Shutdown::Write)?;
            way.fin = Fin::Forwarded;
        }
        Ok(())
    }

    fn read(&mut self, from: usize) -> Result<(), Broken> {
        let size = size(&mut self.random, self.faults.segment_max);
        let mut segment = vec![0; size];
        match would_block((&self.ends[from]).read(&mut segment))? {
            None => return Ok(()),
            Some(0) => self.ways[from].fin = Fin::Received,
            Some(len) => segment.truncate(len),
        }
        if self.ways[from].fin == Fin::None {
            self.spoil(&mut segment)?;
            self.ways[from].pending = segment;
        }
        Ok(())
    }

    fn spoil(&mut self, segment: &mut [u8]) -> Result<(), Broken> {
        if let Some(left) = &mut self.left {
            if *left < segment.len() {
                self.counts.cuts.fetch_add(1, Ordering::Relaxed);
                return Err(Broken);
            }
            *left -= segment.len();
        }
        if one_in(&mut self.random, self.faults.corrupt_one_in) {
            self.counts.corruptions.fetch_add(1, Ordering::Relaxed);
            let at = self.random.below(segment.len());
            segment[at] ^= 1 << self.random.below(8);
        }
        if one_in(&mut self.random, self.faults.delay_one_in) {
            let most = self.faults.delay_max.as_micros() as usize;
            thread::sleep(Duration::from_micros(self.random.below(most + 1) as u64));
        }
        Ok(())
    }
}

fn one_in(random: &mut Random, times: usize) -> bool {
    times > 0 && random.below(times) == 0
}

/// 1 to `most`, with a uniform logarithm: small sizes are as frequent as large ones.
pub(crate) fn size(random: &mut Random, most: usize) -> usize {
    let bound = 1 << random.below(most.ilog2() as usize + 2);
    1 + random.below(bound.min(most))
}

/// None if nothing can be read or written now.
fn would_block(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(len) => Ok(Some(len)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// The proxy itself: without faults it changes nothing, and each fault is one that a client sees.
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::support::{assert_echo, assert_echo_to_the_end, bytes, connect};

    /// What comes back of bytes that are sent through a proxy to an honest peer, until the end or an error.
    fn echoed(faults: Faults, sent: &[u8]) -> (io::Result<usize>, Vec<u8>, FaultyProxy) {
        let target = Peer::honest();
        let proxy = FaultyProxy::start(target.address, faults);
        let stream = connect(proxy.address);
        let mut got = Vec::new();
        let end = thread::scope(|scope| {
            scope.spawn(|| {
                let _ = (&stream).write_all(sent); // A cut is what some tests are about.
                let _ = stream.shutdown(Shutdown::Write);
            });
            (&stream).read_to_end(&mut got)
        });
        (end, got, proxy)
    }

    #[test]
    fn without_faults_every_byte_arrives_and_then_fin() {
        let target = Peer::honest();
        let proxy = FaultyProxy::start(target.address, Faults::default());
        for seed in 0..5 {
            assert_echo_to_the_end(&connect(proxy.address), &bytes(500_000, seed));
        }
        assert_eq!((proxy.cuts(), proxy.corruptions()), (0, 0));
    }

    #[test]
    fn segments_and_delays_change_no_byte() {
        let sent = bytes(200_000, 1);
        let faults = Faults {
            segment_max: 3_000,
            delay_one_in: 10,
            delay_max: Duration::from_millis(1),
            ..Faults::default()
        };
        let (end, got, _) = echoed(faults, &sent);
        assert!(end.is_ok() && got == sent, "{end:?}, {} bytes", got.len());
    }

    #[test]
    fn a_flipped_bit_is_seen_by_the_client() {
        let sent = bytes(200_000, 1);
        let faults = Faults {
            segment_max: 1_000,
            corrupt_one_in: 20,
            ..Faults::default()
        };
        let (end, got, proxy) = echoed(faults, &sent);
        assert!(end.is_ok() && proxy.corruptions() > 0, "{end:?}");
        assert_eq!(got.len(), sent.len());
        assert!(got != sent, "{} flipped bits, and no difference", proxy.corruptions());
    }

    #[test]
    fn a_cut_is_seen_by_the_client_and_what_came_before_is_a_prefix() {
        let sent = bytes(200_000, 1);
        let faults = Faults {
            cut_one_in: 1,
            ..Faults::default()
        };
        let (end, got, proxy) = echoed(faults, &sent);
        assert_eq!(proxy.cuts(), 1);
        assert!(end.is_err() && got.len() < sent.len(), "{end:?}, {} bytes", got.len());
        assert!(sent.starts_with(&got));
    }

    #[test]
    fn a_reset_client_breaks_its_connection_to_the_target() {
        let (sender, ends) = mpsc::channel();
        let target = Peer::start(move |_, mut stream| {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            stream.write_all(&byte).unwrap();
            sender
                .send(stream.read(&mut byte).map_err(|error| error.kind()))
                .unwrap();
        });
        let proxy = FaultyProxy::start(target.address, Faults::default());
        let mut client = connect(proxy.address);
        assert_echo(&mut client, b"x");
        reset(client);
        assert_eq!(ends.recv().unwrap(), Err(io::ErrorKind::ConnectionReset));
    }

    #[test]
    fn sizes_reach_from_one_byte_to_the_most() {
        let mut random = Random::new(1, 0);
        let sizes: Vec<usize> = (0..100_000).map(|_| size(&mut random, 1 << 20)).collect();
        let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
        assert!(
            *least == 1 && *most > 1_000_000 && *most <= 1 << 20,
            "{least} to {most}"
        );
        let small = sizes.iter().filter(|&&size| size <= 1_000).count();
        assert!((30_000..70_000).contains(&small), "{small} of 100,000 are small");
    }
}
