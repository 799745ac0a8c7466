//! Setting up a ring: the best mode that the kernel supports, and what to say when it refuses.
//!
//! Kernel versions are misleading (backports, seccomp, gVisor), so none is checked: modes are tried from best to worst,
//! and `Ring::new` then receives a byte through the ring.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::register::Restriction;
use io_uring::squeue::Flags;
use io_uring::{EnterFlags, IoUring, opcode};

use super::RingPlan;
use super::diagnosis::Diagnosis;
use super::pool::Buffers;
use crate::error::{Errno, Error};
use crate::sys::shortage;

/// Threads of the kernel that a ring may cause, of each kind. In steady state there is none.
const IO_WQ_THREADS_MAX: u32 = 8;

/// Fewest entries of a queue.
const SMALLEST: u32 = 8;

/// Sizes of the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// Entries of the submission queue. A full one is submitted early.
    pub submissions: u32,
    /// Entries of the completion queue. The kernel keeps an overflow, but slowly; it is counted.
    pub completions: u32,
}

/// What a ring is for: it can do nothing else. io_uring_register_restrictions(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Accepts connections and exchanges data.
    Server,
    /// Connects, and exchanges data.
    Client,
}

impl Role {
    /// The operations of a ring with this role. A ring does not pass through seccomp(2): without this it would open
    /// files and sockets for an attacker who has taken the process over.
    fn restrictions(self, has_table: bool) -> Vec<Restriction> {
        const REGISTER_ENABLE_RINGS: u8 = 12;
        const REGISTER_PBUF_RING: u8 = 22;
        const UNREGISTER_PBUF_RING: u8 = 23;
        let common = [
            opcode::Recv::CODE,
            opcode::Send::CODE,
            opcode::SendMsg::CODE,
            opcode::AsyncCancel::CODE,
            opcode::PollAdd::CODE,
            opcode::Timeout::CODE,
            opcode::TimeoutRemove::CODE,
        ];
        let own: &[u8] = match self {
            Role::Server => &[opcode::Accept::CODE, opcode::MsgRingData::CODE],
            Role::Client => &[opcode::Connect::CODE],
        };
        let table: &[u8] = match has_table {
            true => &[
                opcode::FilesUpdate::CODE,
                opcode::Close::CODE,
                opcode::FixedFdInstall::CODE,
            ],
            false => &[],
        };
        let operations = common.iter().chain(own).chain(table).copied().map(Restriction::sqe_op);
        let registers = [REGISTER_ENABLE_RINGS, REGISTER_PBUF_RING, UNREGISTER_PBUF_RING];
        let flags = (Flags::BUFFER_SELECT | Flags::SKIP_SUCCESS | Flags::FIXED_FILE).bits();
        operations
            .chain(registers.map(Restriction::register_op))
            .chain([Restriction::sqe_flags_allowed(flags)])
            .collect()
    }
}

/// How the kernel delivers completions, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// When the ring waits, and without the indirection array (Linux 6.6).
    DeferredDirect,
    /// When the ring waits (Linux 6.1).
    Deferred,
    /// At the next system call of the thread (Linux 6.0).
    Cooperative,
}

impl Mode {
    pub(super) const BEST_FIRST: [Mode; 3] = [Mode::DeferredDirect, Mode::Deferred, Mode::Cooperative];

    /// As printed after the engine.
    pub fn name(self) -> &'static str {
        match self {
            Mode::DeferredDirect => "defer-taskrun, no-sqarray",
            Mode::Deferred => "defer-taskrun",
            Mode::Cooperative => "coop-taskrun",
        }
    }

    /// The first release of Linux that has it.
    pub(super) fn since(self) -> &'static str {
        match self {
            Mode::DeferredDirect => "6.6",
            Mode::Deferred => "6.1",
            Mode::Cooperative => "6.0",
        }
    }

    pub(super) fn build(self, plan: RingPlan, signal: Option<BorrowedFd<'_>>) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder
            .dontfork()
            .setup_single_issuer()
            .setup_submit_all()
            .setup_taskrun_flag()
            .setup_clamp()
            .setup_r_disabled()
            .setup_cqsize(plan.queues.completions.max(plan.queues.submissions));
        match self {
            Mode::DeferredDirect => builder.setup_defer_taskrun().setup_no_sqarray(),
            Mode::Deferred => builder.setup_defer_taskrun(),
            Mode::Cooperative => builder.setup_coop_taskrun(),
        };
        let ring: IoUring = builder.build(plan.queues.submissions)?;
        // If socket memory runs out, the kernel punts sends to io-wq: without this limit (Linux 5.15), to one thread
        // for each stuck peer.
        let _ = ring.submitter().register_iowq_max_workers(&mut [IO_WQ_THREADS_MAX; 2]);
        if let Some(signal) = signal {
            ring.submitter().register_eventfd(signal.as_raw_fd())?;
        }
        if plan.entries > 0 {
            ring.submitter().register_files_sparse(plan.entries)?;
        }
        let restrictions = &mut plan.role.restrictions(plan.entries > 0);
        ring.submitter().register_restrictions(restrictions)?;
        ring.submitter().register_enable_rings()?;
        Ok(ring)
    }
}

impl Queues {
    /// Half of each; none if they are as small as they may be.
    pub(super) fn halved(self) -> Option<Queues> {
        let half = Queues {
            submissions: self.submissions / 2,
            completions: self.completions / 2,
        };
        (half.submissions >= SMALLEST).then_some(half)
    }

    /// So small that `rings` of them take at most half of the locked memory that the user of this process may have: the
    /// server and the load may be two processes of one user, and the limit is the user's.
    pub(super) fn within_locked_memory(self, rings: usize) -> Queues {
        let Some(limit) = shortage::locked_memory() else {
            return self;
        };
        let share = limit / 2 / rings.max(1) as u64;
        let sizes = std::iter::successors(Some(self), |queues| queues.halved());
        sizes
            .clone()
            .find(|queues| queues.bytes() as u64 <= share)
            .or(sizes.last())
            .unwrap_or(self)
    }

    /// What counts towards the locked memory: both queues, and two rings of buffers of a page.
    fn bytes(self) -> usize {
        const PAGE: usize = 4096;
        let pages = |entries: u32, size: usize| (entries as usize * size + 128).div_ceil(PAGE);
        (pages(self.submissions, 64) + pages(self.completions, 16) + 2) * PAGE
    }
}

/// The locked memory that the user of this process may have, and how many of the smallest rings that leaves room for;
/// none if it is not limited.
pub fn rings_within_locked_memory() -> Option<(u64, u64)> {
    let smallest = Queues {
        submissions: SMALLEST,
        completions: SMALLEST,
    };
    let limit = shortage::locked_memory()?;
    Some((limit, limit / 2 / smallest.bytes() as u64))
}

/// Creates a ring. Tries the next mode on EINVAL.
pub(super) fn build(plan: RingPlan, signal: Option<BorrowedFd<'_>>) -> io::Result<(IoUring, Mode)> {
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for mode in Mode::BEST_FIRST {
        match mode.build(plan, signal) {
            Ok(ring) => return Ok((ring, mode)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

/// The flags of every io_uring_enter(2) of a ring. Where the kernel lets them (Linux 6.15), its sleeps do not count as
/// waits for a disk: an idle server had 60 to 90 % of /proc/pressure/io without that.
pub(super) fn enter_flags(ring: &IoUring) -> u32 {
    let mut flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
    flags.set(EnterFlags::NO_IOWAIT, ring.params().is_feature_no_iowait());
    flags.bits()
}

/// What is done when a ring with a table of direct descriptors is created and tested.
pub(super) const WITH_TABLE: &str = "use direct descriptors of io_uring";

/// A system call that was refused while a ring was made.
#[derive(Debug)]
pub(super) struct SetupError {
    doing: &'static str,
    cause: io::Error,
}

impl SetupError {
    pub(super) fn of(doing: &'static str) -> impl FnOnce(io::Error) -> SetupError {
        move |cause| SetupError { doing, cause }
    }

    /// True if less memory may be granted.
    pub(super) fn is_for_memory(&self) -> bool {
        self.cause.raw_os_error() == Some(libc::ENOMEM)
    }

    /// With what to do about it on this machine.
    pub(super) fn diagnosed(self, queues: Queues, buffers: Buffers) -> Refused {
        let errno = self.cause.raw_os_error().unwrap_or(0);
        let diagnosis = match errno {
            // An operation that is not known, a peer that does not notice a close.
            libc::EINVAL | libc::EAGAIN if self.doing == WITH_TABLE => Diagnosis::of_direct_descriptors(),
            libc::ENOMEM if !shortage::can_map(buffers.bytes()) => Diagnosis::of_memory(buffers.bytes()),
            libc::ENOMEM => Diagnosis::of_ring_memory(queues.bytes()),
            errno => Diagnosis::of(errno),
        };
        Refused {
            what: format!("cannot {}: {}", self.doing, self.cause),
            errno: Errno(errno),
            diagnosis,
        }
    }
}

/// A ring that could not be made, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What failed, with the error of the kernel.
    pub what: String,
    /// The error; zero if it is not the kernel's.
    pub errno: Errno,
    /// Why, and what to do about it.
    pub diagnosis: Diagnosis,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        Error::Machine(format!("{}. {}", refused.what, refused.diagnosis.message()))
    }
}

/// The error for a ring that worked, and works no more.
pub(super) fn failure(errno: Errno) -> Error {
    match errno.0 {
        libc::EAGAIN | libc::EBUSY | libc::ENOMEM | libc::EBADR => Error::Machine(format!(
            "the kernel has not served an io_uring for seconds: {errno}. {}",
            shortage::of_ring_memory(1)
        )),
        libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EOPNOTSUPP => Error::Machine(format!(
            "cannot use an io_uring any more: {errno}. {}",
            Diagnosis::of(errno.0).message()
        )),
        _ => Error::Bug(format!("the io_uring of a worker failed: {errno}. Please report it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUES: Queues = Queues {
        submissions: 256,
        completions: 4096,
    };

    const BUFFERS: Buffers = Buffers {
        circulating: 256,
        total: 16_384,
        size: 4096,
        pipes: 0,
    };

    #[test]
    fn every_refusal_names_the_cause_and_a_remedy() {
        let refusals = [
            (libc::ENOSYS, "seccomp"),
            (libc::EOPNOTSUPP, "host blocks"),
            (libc::EINVAL, "6.0 or newer"),
            (libc::ENOMEM, "memory"),
            (libc::EMFILE, "ulimit -n"),
            (libc::ENFILE, "fs.file-max"),
            (libc::EIO, "io_uring is required"),
        ];
        for (errno, expected) in refusals {
            let refusal = SetupError::of("create an io_uring")(io::Error::from_raw_os_error(errno));
            let error = Error::from(refusal.diagnosed(QUEUES, BUFFERS));
            assert_eq!(error.exit_code(), 4);
            let text = error.to_string();
            assert!(text.contains(expected), "{text}");
            assert!(text.contains(&format!("os error {errno}")), "{text}");
        }
    }

    #[test]
    fn only_what_is_our_own_fault_is_a_bug() {
        for errno in [
            libc::EAGAIN,
            libc::EBUSY,
            libc::ENOMEM,
            libc::EBADR,
            libc::EPERM,
            libc::ENOSYS,
        ] {
            assert_eq!(failure(Errno(errno)).exit_code(), 4, "{}", Errno(errno));
        }
        for errno in [libc::EINVAL, libc::EFAULT, libc::EBADF] {
            assert_eq!(failure(Errno(errno)).exit_code(), 70, "{}", Errno(errno));
        }
    }

    #[test]
    fn queues_and_buffers_shrink_to_a_bound() {
        let queues: Vec<u32> = std::iter::successors(Some(QUEUES), |queues| queues.halved())
            .map(|queues| queues.submissions)
            .collect();
        assert_eq!(queues, [256, 128, 64, 32, 16, 8]);
        for buffers in [
            BUFFERS,
            Buffers { total: 306, ..BUFFERS },
            Buffers { total: 257, ..BUFFERS },
        ] {
            let sizes: Vec<Buffers> = std::iter::successors(Some(buffers), |buffers| buffers.halved()).collect();
            assert!(sizes.len() > 4);
            assert!(
                sizes.iter().all(|buffers| buffers.circulating < buffers.total),
                "one is left to send from: {sizes:?}"
            );
        }
    }

    #[test]
    fn a_ring_as_it_is_by_default_takes_as_much_as_the_kernel_charges() {
        assert_eq!(QUEUES.bytes(), 24 * 4096);
    }
}
