//! Received bytes on their way back: `Chunk`, which owns one buffer, and `Chain`, a queue of chunks.
//!
//! A chunk is moved, never copied: its owner may read the buffer, and giving it back twice does not compile. A chain links
//! chunks through one shared table (`Links`), so that queueing does not allocate and an empty queue takes 16 bytes.

use super::group::SizeClass;

/// Ownership of one buffer of a ring's pool, and the number of bytes in it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "dropping a chunk loses its buffer: send it or give it back"]
pub struct Chunk {
    pub(super) buffer: u16,
    /// The ring that it belongs to; checked at every use.
    pub(super) ring: u16,
    pub(super) len: u32,
}

const _: () = assert!(size_of::<Chunk>() == 8);

impl Chunk {
    /// Number of bytes in it.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// True for a leased chunk that has not been filled.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A first-in first-out queue of chunks of one ring.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "dropping a chain loses its buffers: send it or give it back"]
pub struct Chain {
    head: u16,
    tail: u16,
    count: u16,
    ring: u16,
    /// Bytes of the head chunk that are already sent.
    skip: u32,
    /// Unsent bytes in all chunks.
    bytes: u32,
}

const _: () = assert!(size_of::<Chain>() == 16);

impl Chain {
    /// A chain of one.
    pub fn of(chunk: Chunk, links: &mut Links) -> Chain {
        let mut chain = Chain::default();
        chain.push(chunk, links);
        chain
    }

    /// True if it holds no chunks.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Number of chunks.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Number of unsent bytes.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Appends one chunk.
    pub fn push(&mut self, chunk: Chunk, links: &mut Links) {
        links.check(chunk.ring);
        links.table[chunk.buffer as usize].len = chunk.len;
        self.append(
            Chain {
                head: chunk.buffer,
                tail: chunk.buffer,
                count: 1,
                ring: chunk.ring,
                skip: 0,
                bytes: chunk.len,
            },
            links,
        );
    }

    /// Appends all chunks of `more`. Panics if its first chunk is partly sent: bytes would be out of order.
    pub fn append(&mut self, more: Chain, links: &mut Links) {
        if more.is_empty() {
            return;
        }
        links.check(more.ring);
        if self.is_empty() {
            *self = more;
            return;
        }
        assert_eq!(more.skip, 0, "a partly sent chunk must be the first of its queue");
        links.table[self.tail as usize].next = more.head;
        self.tail = more.tail;
        self.count += more.count;
        self.bytes += more.bytes;
    }

    /// Removes the first chunk.
    pub fn pop(&mut self, links: &Links) -> Option<Chunk> {
        if self.is_empty() {
            return None;
        }
        links.check(self.ring);
        let link = &links.table[self.head as usize];
        let chunk = Chunk {
            buffer: self.head,
            ring: self.ring,
            len: link.len,
        };
        self.bytes -= link.len - self.skip;
        self.skip = 0;
        self.count -= 1;
        self.head = link.next;
        Some(chunk)
    }

    /// Removes the first chunk if it ends within the `sent` bytes that have been sent, and subtracts it from them. Otherwise
    /// marks the bytes as sent. To be called until it returns none.
    pub(super) fn take_sent(&mut self, sent: &mut u32, links: &Links) -> Option<Chunk> {
        if self.is_empty() {
            return None;
        }
        let rest = links.table[self.head as usize].len - self.skip;
        if *sent < rest {
            self.skip += *sent;
            self.bytes -= *sent;
            *sent = 0;
            return None;
        }
        *sent -= rest;
        self.pop(links)
    }

    /// Buffer, first unsent byte and length of every chunk, in order.
    pub(super) fn parts<'a>(&self, links: &'a Links) -> impl Iterator<Item = (u16, u32, u32)> + use<'a> {
        let (mut at, mut skip, count) = (self.head, self.skip, self.count);
        (0..count).map(move |_| {
            let link = &links.table[at as usize];
            let part = (at, skip, link.len - skip);
            at = link.next;
            skip = 0;
            part
        })
    }
}

/// The next-pointers and lengths of all chunks of one ring that are in chains.
#[derive(Debug)]
pub struct Links {
    table: Box<[Link]>,
    /// The number of the first large buffer.
    border: u16,
    ring: u16,
}

#[derive(Debug, Clone, Copy, Default)]
struct Link {
    next: u16,
    len: u32,
}

impl Links {
    /// For `buffers` buffers, of which those from number `border` on are large.
    pub(super) fn new(buffers: usize, border: u16, ring: u16) -> Links {
        Links {
            table: vec![Link::default(); buffers].into(),
            border,
            ring,
        }
    }

    /// The class of the buffer behind a chunk.
    pub fn class(&self, chunk: &Chunk) -> SizeClass {
        self.class_of(chunk.buffer)
    }

    pub(super) fn class_of(&self, buffer: u16) -> SizeClass {
        if buffer < self.border {
            SizeClass::Small
        } else {
            SizeClass::Large
        }
    }

    pub(super) fn ring(&self) -> u16 {
        self.ring
    }

    /// Panics on a chunk or chain of another ring, which is a bug in this program.
    pub(super) fn check(&self, ring: u16) {
        assert_eq!(ring, self.ring, "a chunk of another ring");
    }
}

/// Chunks without a kernel, for the tests of the pure connections.
#[cfg(test)]
pub(crate) mod fake {
    use super::{Chunk, Links};

    /// For `small` small buffers, which have the lowest numbers, and `large` large ones.
    pub(crate) fn links(small: usize, large: usize) -> Links {
        Links::new(small + large, small as u16, 7)
    }

    pub(crate) fn chunk(buffer: u16, len: u32) -> Chunk {
        Chunk { buffer, ring: 7, len }
    }

    pub(crate) fn buffer(chunk: &Chunk) -> u16 {
        chunk.buffer
    }

    pub(crate) fn class(buffer: u16, links: &Links) -> super::SizeClass {
        links.class_of(buffer)
    }

    /// What the ring does when `sent` bytes of a chain have been sent: returns the chunks that it would give back.
    pub(crate) fn advance(chain: &mut super::Chain, sent: u32, links: &Links) -> Vec<Chunk> {
        let mut left = sent;
        let done = std::iter::from_fn(|| chain.take_sent(&mut left, links)).collect();
        assert_eq!(left, 0, "more bytes were sent than the chain holds");
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain_of(lens: &[u32], links: &mut Links) -> Chain {
        let mut chain = Chain::default();
        for (buffer, &len) in lens.iter().enumerate() {
            chain.push(fake::chunk(buffer as u16, len), links);
        }
        chain
    }

    #[test]
    fn chunks_are_removed_in_the_order_they_were_added() {
        let mut links = fake::links(4, 0);
        let mut chain = chain_of(&[10, 20, 30], &mut links);
        let order: Vec<u16> = std::iter::from_fn(|| chain.pop(&links))
            .map(|chunk| chunk.buffer)
            .collect();
        assert_eq!(order, [0, 1, 2]);
        assert_eq!(chain.bytes(), 0);
    }

    #[test]
    fn a_short_send_leaves_exactly_the_unsent_bytes() {
        let mut links = fake::links(4, 0);
        let mut chain = chain_of(&[10, 20, 30], &mut links);
        let done = fake::advance(&mut chain, 17, &links);
        assert_eq!(done, [fake::chunk(0, 10)]);
        assert_eq!(chain.parts(&links).collect::<Vec<_>>(), [(1, 7, 13), (2, 0, 30)]);
        assert_eq!(chain.bytes(), 43);
        let done = fake::advance(&mut chain, 43, &links);
        assert_eq!(done.len(), 2);
        assert!(chain.is_empty());
    }

    #[test]
    fn later_bytes_are_queued_after_the_rest_of_a_short_send() {
        let mut links = fake::links(4, 0);
        let mut rest = chain_of(&[10], &mut links);
        fake::advance(&mut rest, 4, &links);
        let later = Chain::of(fake::chunk(3, 5), &mut links);
        rest.append(later, &mut links);
        assert_eq!(rest.parts(&links).collect::<Vec<_>>(), [(0, 4, 6), (3, 0, 5)]);
    }

    #[test]
    #[should_panic(expected = "a chunk of another ring")]
    fn a_chunk_of_another_ring_panics() {
        let mut links = fake::links(4, 0);
        let foreign = Chunk {
            buffer: 0,
            ring: 8,
            len: 1,
        };
        Chain::default().push(foreign, &mut links);
    }

    #[test]
    #[should_panic(expected = "more bytes were sent than the chain holds")]
    fn sending_more_than_a_chain_holds_panics() {
        let mut links = fake::links(1, 0);
        let mut chain = chain_of(&[10], &mut links);
        fake::advance(&mut chain, 11, &links);
    }
}
