//! The socket of a connection: a descriptor of this process, or an entry in the table of its ring.
//!
//! A process may have RLIMIT_NOFILE descriptors in all, and each of its rings a table of as many entries besides:
//! direct descriptors, io_uring_register_files(3). The entry of a connection has the number of its slot. System calls
//! do not know entries, so what only they can do works on a descriptor that is installed for it. Needs Linux 6.13:
//! [`Ring::test_table`].

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use io_uring::squeue::Flags;
use io_uring::types::{Fd, Fixed};
use io_uring::{cqueue, opcode};

use super::completion::Cqe;
use super::token::{Op, Token};
use super::{Ring, TIMEOUT};
use crate::clock;
use crate::error::Errno;
use crate::slab::Key;

/// The socket of a connection.
#[derive(Debug)]
#[must_use = "an entry in a table is closed by Ring::close only"]
pub enum Socket {
    /// A descriptor of this process.
    Descriptor(OwnedFd),
    /// An entry in the table of its ring: [`Ring::make_direct`].
    Entry(Entry),
}

/// The number of an entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry(u32);

/// What an operation works on.
#[derive(Debug, Clone, Copy)]
pub enum SocketRef<'a> {
    /// A descriptor of this process.
    Descriptor(BorrowedFd<'a>),
    /// An entry in the table of the ring.
    Entry(&'a Entry),
}

/// A descriptor for system calls: that of a socket, or one that was installed and closes when this is dropped.
#[derive(Debug)]
pub enum Descriptor<'a> {
    /// That of the socket.
    Own(BorrowedFd<'a>),
    /// Another one of an entry.
    Installed(OwnedFd),
}

impl Entry {
    /// The number.
    pub fn slot(&self) -> u32 {
        self.0
    }
}

impl From<OwnedFd> for Socket {
    fn from(descriptor: OwnedFd) -> Socket {
        Socket::Descriptor(descriptor)
    }
}

impl<'a> From<BorrowedFd<'a>> for SocketRef<'a> {
    fn from(descriptor: BorrowedFd<'a>) -> SocketRef<'a> {
        SocketRef::Descriptor(descriptor)
    }
}

impl<'a> From<&'a Socket> for SocketRef<'a> {
    fn from(socket: &'a Socket) -> SocketRef<'a> {
        match socket {
            Socket::Descriptor(descriptor) => SocketRef::Descriptor(descriptor.as_fd()),
            Socket::Entry(entry) => SocketRef::Entry(entry),
        }
    }
}

impl SocketRef<'_> {
    /// The number for a submission entry.
    pub(super) fn number(self) -> Fd {
        match self {
            SocketRef::Descriptor(descriptor) => Fd(descriptor.as_raw_fd()),
            SocketRef::Entry(Entry(slot)) => Fd(*slot as i32),
        }
    }

    /// The flags that say what the number means.
    pub(super) fn flags(self) -> Flags {
        match self {
            SocketRef::Descriptor(_) => Flags::empty(),
            SocketRef::Entry(_) => Flags::FIXED_FILE,
        }
    }
}

impl AsFd for Descriptor<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Descriptor::Own(descriptor) => *descriptor,
            Descriptor::Installed(descriptor) => descriptor.as_fd(),
        }
    }
}

impl Ring {
    /// Entries of its table.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Moves the socket of connection `key` into the table of this ring, and closes its descriptor, if the table has an
    /// entry of that number. Nothing of it may be in the kernel. If the kernel has no memory for that, the next
    /// operation on the socket fails.
    pub fn make_direct(&mut self, key: Key, socket: &mut Socket) {
        if key.slot >= self.entries || !self.make_room() {
            return;
        }
        let Socket::Descriptor(descriptor) = std::mem::replace(socket, Socket::Entry(Entry(key.slot))) else {
            return; // It is one already.
        };
        let number = descriptor.into_raw_fd();
        // In this order, and before all later operations: none of these ever waits.
        let update = self.scratch.update(key.slot, number);
        self.change_table(update, key);
        self.change_table(opcode::Close::new(Fd(number)).build(), key);
    }

    /// Closes the socket of a connection that has nothing in the kernel.
    pub fn close(&mut self, socket: Socket) {
        if let Socket::Entry(Entry(slot)) = socket {
            let key = Key { slot, generation: 0 };
            self.change_table(opcode::Close::new(Fixed(slot)).build(), key);
        }
    }

    /// A descriptor for a socket. Errors: EMFILE.
    pub fn descriptor<'a>(&mut self, socket: &'a Socket) -> Result<Descriptor<'a>, Errno> {
        let slot = match socket {
            Socket::Descriptor(descriptor) => return Ok(Descriptor::Own(descriptor.as_fd())),
            Socket::Entry(Entry(slot)) => *slot,
        };
        let key = Key { slot, generation: 0 };
        let user_data = Token { op: Op::Install, key }.pack();
        let install = opcode::FixedFdInstall::new(Fixed(slot), 0); // With FD_CLOEXEC.
        self.enqueue(install.build().user_data(user_data));
        self.submit();
        let is_it = |entry: &cqueue::Entry| entry.user_data() == user_data;
        let deadline = clock::now() + TIMEOUT;
        loop {
            if let Some(index) = self.ready.iter().rposition(is_it) {
                let number = Cqe::of(&self.ready.remove(index)).result?;
                // SAFETY: the kernel has just installed this descriptor, and nothing else owns it.
                let descriptor = unsafe { OwnedFd::from_raw_fd(number as i32) };
                return Ok(Descriptor::Installed(descriptor));
            }
            if let Some(errno) = self.broken {
                return Err(errno);
            }
            if clock::now() > deadline {
                return Err(Errno(libc::ETIME));
            }
            self.poll(); // It completes while it is submitted, unless the completion queue has overflowed.
        }
    }

    fn change_table(&mut self, entry: io_uring::squeue::Entry, key: Key) {
        let entry = entry.flags(Flags::SKIP_SUCCESS);
        self.enqueue(entry.user_data(Token { op: Op::Table, key }.pack()));
    }
}
