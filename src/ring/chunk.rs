//! Received bytes on their way back: `Chunk`, which owns one buffer or pipe, and `ChunkQueue`, a queue of them.
//!
//! A chunk is moved, never copied: its owner may read the buffer, and giving it back twice does not compile. A queue
//! links chunks through one shared table (`ChunkTable`), so that queueing does not allocate and an empty queue takes 16
//! bytes.

/// Where a receive puts bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A buffer of this process: for messages.
    Buffer,
    /// A pipe, which moves pages of the kernel instead of copying bytes: for streams.
    Pipe,
}

/// Ownership of one buffer or pipe of a ring's pool, and the number of bytes in it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "dropping a chunk loses its buffer: send it or give it back"]
pub struct Chunk {
    /// The number of the buffer or pipe within the pool.
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
#[must_use = "dropping a queue loses its buffers: send it or give it back"]
pub struct ChunkQueue {
    head: u16,
    tail: u16,
    count: u16,
    ring: u16,
    /// Bytes of the head chunk that are already sent.
    skip: u32,
    /// Unsent bytes in all chunks.
    bytes: u32,
}

const _: () = assert!(size_of::<ChunkQueue>() == 16);

impl ChunkQueue {
    /// A queue of one.
    pub fn of(chunk: Chunk, table: &mut ChunkTable) -> ChunkQueue {
        let mut queue = ChunkQueue::default();
        queue.push(chunk, table);
        queue
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
    pub fn push(&mut self, chunk: Chunk, table: &mut ChunkTable) {
        table.check(chunk.ring);
        table.nodes[chunk.buffer as usize].len = chunk.len;
        self.append(
            ChunkQueue {
                head: chunk.buffer,
                tail: chunk.buffer,
                count: 1,
                ring: chunk.ring,
                skip: 0,
                bytes: chunk.len,
            },
            table,
        );
    }

    /// Appends all chunks of `more`. Panics if its first chunk is partly sent: bytes would be out of order.
    pub fn append(&mut self, more: ChunkQueue, table: &mut ChunkTable) {
        if more.is_empty() {
            return;
        }
        table.check(more.ring);
        if self.is_empty() {
            *self = more;
            return;
        }
        assert_eq!(more.skip, 0, "a partly sent chunk must be the first of its queue");
        table.nodes[self.tail as usize].next = more.head;
        self.tail = more.tail;
        self.count += more.count;
        self.bytes += more.bytes;
    }

    /// Removes the first chunk.
    pub fn pop(&mut self, table: &ChunkTable) -> Option<Chunk> {
        if self.is_empty() {
            return None;
        }
        table.check(self.ring);
        let node = &table.nodes[self.head as usize];
        let chunk = Chunk {
            buffer: self.head,
            ring: self.ring,
            len: node.len,
        };
        self.bytes -= node.len - self.skip;
        self.skip = 0;
        self.count -= 1;
        self.head = node.next;
        Some(chunk)
    }

    /// Removes the first chunk if it ends within the `sent` bytes that have been sent, and subtracts it from them.
    /// Otherwise marks the bytes as sent. To be called until it returns none.
    pub(super) fn take_sent(&mut self, sent: &mut u32, table: &ChunkTable) -> Option<Chunk> {
        if self.is_empty() {
            return None;
        }
        let rest = table.nodes[self.head as usize].len - self.skip;
        if *sent < rest {
            self.skip += *sent;
            self.bytes -= *sent;
            *sent = 0;
            return None;
        }
        *sent -= rest;
        self.pop(table)
    }

    /// The pipe that holds the first chunk, if one does.
    pub(super) fn first_pipe(&self, table: &ChunkTable) -> Option<u16> {
        let is_pipe = !self.is_empty() && table.store_of(self.head) == Store::Pipe;
        is_pipe.then_some(self.head)
    }

    /// Buffer, first unsent byte and length of every chunk before the first pipe, in order.
    pub(super) fn parts<'a>(&self, table: &'a ChunkTable) -> impl Iterator<Item = (u16, u32, u32)> + use<'a> {
        let (mut at, mut skip, count) = (self.head, self.skip, self.count);
        let mut parts = (0..count).map(move |_| {
            let node = &table.nodes[at as usize];
            let part = (at, skip, node.len - skip);
            at = node.next;
            skip = 0;
            part
        });
        std::iter::from_fn(move || {
            parts
                .next()
                .filter(|&(buffer, ..)| table.store_of(buffer) == Store::Buffer)
        })
    }
}

/// The next-pointers and lengths of all queued chunks of one ring.
#[derive(Debug)]
pub struct ChunkTable {
    nodes: Box<[Node]>,
    /// The number of the first pipe: buffers come first.
    first_pipe: u16,
    ring: u16,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    next: u16,
    len: u32,
}

impl ChunkTable {
    /// For this many buffers and pipes.
    pub(super) fn new(buffers: u16, pipes: u16, ring: u16) -> ChunkTable {
        ChunkTable {
            nodes: vec![Node::default(); usize::from(buffers) + usize::from(pipes)].into(),
            first_pipe: buffers,
            ring,
        }
    }

    /// Where the bytes of a chunk are.
    pub fn store(&self, chunk: &Chunk) -> Store {
        self.store_of(chunk.buffer)
    }

    pub(super) fn store_of(&self, buffer: u16) -> Store {
        if buffer < self.first_pipe {
            Store::Buffer
        } else {
            Store::Pipe
        }
    }

    pub(super) fn ring(&self) -> u16 {
        self.ring
    }

    /// Panics on a chunk or queue of another ring, which is a bug in this program.
    pub(super) fn check(&self, ring: u16) {
        assert_eq!(ring, self.ring, "a chunk of another ring");
    }
}

/// Chunks without a kernel, for the tests of the pure connections.
#[cfg(any(test, fuzzing))]
pub(crate) mod fake {
    use super::{Chunk, ChunkTable};

    /// For this many buffers, which have the lowest numbers, and pipes.
    pub(crate) fn table(buffers: usize, pipes: usize) -> ChunkTable {
        ChunkTable::new(buffers as u16, pipes as u16, 7)
    }

    pub(crate) fn chunk(buffer: u16, len: u32) -> Chunk {
        Chunk { buffer, ring: 7, len }
    }

    pub(crate) fn buffer(chunk: &Chunk) -> u16 {
        chunk.buffer
    }

    pub(crate) fn store(buffer: u16, table: &ChunkTable) -> super::Store {
        table.store_of(buffer)
    }

    /// What the ring does when `sent` bytes of a queue have been sent: returns the chunks that it would give back.
    pub(crate) fn advance(queue: &mut super::ChunkQueue, sent: u32, table: &ChunkTable) -> Vec<Chunk> {
        let mut left = sent;
        let done = std::iter::from_fn(|| queue.take_sent(&mut left, table)).collect();
        assert_eq!(left, 0, "more bytes were sent than the queue holds");
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue_of(lens: &[u32], table: &mut ChunkTable) -> ChunkQueue {
        let mut queue = ChunkQueue::default();
        for (buffer, &len) in lens.iter().enumerate() {
            queue.push(fake::chunk(buffer as u16, len), table);
        }
        queue
    }

    #[test]
    fn chunks_are_removed_in_the_order_they_were_added() {
        let mut table = fake::table(4, 0);
        let mut queue = queue_of(&[10, 20, 30], &mut table);
        let order: Vec<u16> = std::iter::from_fn(|| queue.pop(&table))
            .map(|chunk| chunk.buffer)
            .collect();
        assert_eq!(order, [0, 1, 2]);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_short_send_leaves_exactly_the_unsent_bytes() {
        let mut table = fake::table(4, 0);
        let mut queue = queue_of(&[10, 20, 30], &mut table);
        let done = fake::advance(&mut queue, 17, &table);
        assert_eq!(done, [fake::chunk(0, 10)]);
        assert_eq!(queue.parts(&table).collect::<Vec<_>>(), [(1, 7, 13), (2, 0, 30)]);
        assert_eq!(queue.bytes(), 43);
        let done = fake::advance(&mut queue, 43, &table);
        assert_eq!(done.len(), 2);
        assert!(queue.is_empty());
    }

    #[test]
    fn later_bytes_are_queued_after_the_rest_of_a_short_send() {
        let mut table = fake::table(4, 0);
        let mut rest = queue_of(&[10], &mut table);
        fake::advance(&mut rest, 4, &table);
        let later = ChunkQueue::of(fake::chunk(3, 5), &mut table);
        rest.append(later, &mut table);
        assert_eq!(rest.parts(&table).collect::<Vec<_>>(), [(0, 4, 6), (3, 0, 5)]);
    }

    #[test]
    fn a_send_from_buffers_ends_before_a_pipe() {
        let mut table = fake::table(2, 2);
        let mut queue = queue_of(&[10, 20, 30], &mut table);
        assert_eq!(queue.first_pipe(&table), None);
        assert_eq!(queue.parts(&table).collect::<Vec<_>>(), [(0, 0, 10), (1, 0, 20)]);
        fake::advance(&mut queue, 30, &table);
        assert_eq!(queue.first_pipe(&table), Some(2));
        assert_eq!(queue.parts(&table).count(), 0);
    }

    #[test]
    #[should_panic(expected = "a chunk of another ring")]
    fn a_chunk_of_another_ring_panics() {
        let mut table = fake::table(4, 0);
        let foreign = Chunk {
            buffer: 0,
            ring: 8,
            len: 1,
        };
        ChunkQueue::default().push(foreign, &mut table);
    }

    #[test]
    #[should_panic(expected = "more bytes were sent than the queue holds")]
    fn sending_more_than_a_queue_holds_panics() {
        let mut table = fake::table(1, 0);
        let mut queue = queue_of(&[10], &mut table);
        fake::advance(&mut queue, 11, &table);
    }
}
