//! Message headers, vectors, addresses and numbers that submission entries point to.
//!
//! They must stay in place until the entry is submitted: the kernel copies them then (IORING_FEAT_SUBMIT_STABLE, Linux
//! 5.5). So a few slots suffice, and a ring submits when they are used up.

use std::mem;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::ptr;

use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use socket2::SockAddr;

use super::chunk::ChunkQueue;
use super::pool::Pool;

/// Most chunks in one send. The rest of a longer queue goes out with the next send.
const VECTORS: usize = 16;

/// Message headers, addresses, and numbers. 64 headers with their vectors are 20 KB.
const SLOTS: usize = 64;

pub(super) struct Scratch {
    // Allocated in full at the start and never reallocated: entries hold addresses into these lists.
    messages: Vec<Message>,
    addresses: Vec<SockAddr>,
    numbers: Vec<RawFd>,
    messages_used: usize,
    addresses_used: usize,
}

struct Message {
    header: libc::msghdr,
    vectors: [libc::iovec; VECTORS],
}

impl Scratch {
    pub(super) fn new() -> Scratch {
        Scratch {
            messages: Vec::with_capacity(SLOTS),
            addresses: Vec::with_capacity(SLOTS),
            numbers: Vec::with_capacity(SLOTS),
            messages_used: 0,
            addresses_used: 0,
        }
    }

    /// True if everything pushed must be submitted before the next entry.
    pub(super) fn is_full(&self) -> bool {
        self.messages_used == SLOTS || self.addresses_used == SLOTS || self.numbers.len() == SLOTS
    }

    /// Frees all slots: everything has been submitted.
    pub(super) fn clear(&mut self) {
        self.messages_used = 0;
        self.addresses_used = 0;
        self.numbers.clear();
    }

    /// An entry that sends the first chunks of a queue.
    pub(super) fn send(&mut self, socket: Fd, chunks: &ChunkQueue, pool: &Pool) -> Entry {
        assert!(!self.is_full(), "all slots are in use until the next submission");
        let mut parts = chunks.parts(&pool.chunk_table);
        if chunks.count() == 1 {
            let (buffer, skip, len) = parts.next().expect("a queue of one");
            let entry = opcode::Send::new(socket, pool.address(buffer, skip), len);
            // The kernel itself retries a short send (since 5.19) and reports what it could not finish.
            return entry.flags(libc::MSG_WAITALL).build();
        }
        let message = self.message();
        let mut count = 0;
        for ((buffer, skip, len), vector) in parts.zip(&mut message.vectors) {
            *vector = libc::iovec {
                iov_base: pool.address(buffer, skip).cast(),
                iov_len: len as usize,
            };
            count += 1;
        }
        message.header.msg_iov = message.vectors.as_mut_ptr();
        message.header.msg_iovlen = count;
        let entry = opcode::SendMsg::new(socket, &raw const message.header);
        entry.flags(libc::MSG_WAITALL as u32).build()
    }

    /// An entry that connects.
    pub(super) fn connect(&mut self, socket: Fd, target: SocketAddr) -> Entry {
        assert!(!self.is_full(), "all slots are in use until the next submission");
        if self.addresses_used == self.addresses.len() {
            self.addresses.push(target.into());
        } else {
            self.addresses[self.addresses_used] = target.into();
        }
        let address = &self.addresses[self.addresses_used];
        self.addresses_used += 1;
        opcode::Connect::new(socket, address.as_ptr().cast(), address.len()).build()
    }

    /// An entry that sets number `slot` of the ring's table of files.
    pub(super) fn update(&mut self, slot: u32, descriptor: RawFd) -> Entry {
        assert!(!self.is_full(), "all slots are in use until the next submission");
        self.numbers.push(descriptor);
        let number = &raw const self.numbers[self.numbers.len() - 1];
        opcode::FilesUpdate::new(number, 1).offset(slot as i32).build()
    }

    fn message(&mut self) -> &mut Message {
        if self.messages_used == self.messages.len() {
            // SAFETY: all zeros is a valid msghdr without name, vectors and control data.
            let header = unsafe { mem::zeroed::<libc::msghdr>() };
            let vectors = [libc::iovec {
                iov_base: ptr::null_mut(),
                iov_len: 0,
            }; VECTORS];
            self.messages.push(Message { header, vectors });
        }
        self.messages_used += 1;
        &mut self.messages[self.messages_used - 1]
    }
}
