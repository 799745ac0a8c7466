//! The same tests with both ways in which a generator talks to the kernel.

use std::cell::Cell;
use std::process::Command;

use urecho::load::Io;

use super::seccomp;

thread_local! {
    /// What loads use that this thread starts.
    static CURRENT: Cell<Io> = const { Cell::new(Io::Uring) };
}

/// Makes one module for io_uring and one for epoll, with one test per function named.
macro_rules! on_each_io {
    ($($test:ident),* $(,)?) => {
        mod uring {
            $(#[test] fn $test() { super::$test(); })*
        }
        mod epoll {
            $(#[test] fn $test() { crate::support::io::on_epoll(super::$test); })*
        }
    };
}

pub(crate) use on_each_io;

/// Runs a test whose loads use epoll, under a filter that refuses io_uring, as in a container of Docker.
pub(crate) fn on_epoll(test: fn()) {
    CURRENT.set(Io::Epoll);
    test();
}

/// What loads use in this test.
pub(crate) fn current() -> Io {
    CURRENT.get()
}

/// Adds the flag, and for epoll the filter, to a command with a load.
pub(crate) fn apply(command: &mut Command) {
    if current() == Io::Epoll {
        command.args(["--io", "epoll"]);
        seccomp::refuse_io_uring(command, libc::EPERM);
    }
}
