//! The engines, and the contract that all of them keep. Each engine is a whole server worker.
//!
//! The same tests run against every engine and check these promises:
//!
//! - Bytes are echoed complete and in order. A short send continues where it stopped.
//! - A peer that sends FIN gets the rest of its echo, then FIN; then the connection closes.
//! - Memory is bounded, per connection and in total: while a peer does not read, the server does not read from it.
//! - No connection waits forever because others are busy, slow or gone.
//! - When peers that do not read hold all buffers of a worker for a second while others wait for one, they are reset
//!   and counted: so no number of them keeps others from being served.
//! - At the limit on connections, and when descriptors run out, accepting pauses until a connection closes on any
//!   worker. Pauses are counted.
//! - A connection without traffic for the idle timeout is closed, and no other.
//! - A stop accepts what waits in the kernel's queue, then refuses new connections. Each connection ends with FIN once
//!   it is idle and has its echo; after half of the drain timeout also while it is in use, after the echo of what has
//!   arrived. At the end of the timeout the others are cut and counted. What arrives after our FIN is read and dropped,
//!   so that no RST destroys the end of an echo.
//! - Every accepted connection is closed, refused or cut, and counted as that.
//! - A listener that is handed over to another process is left open, with everything in its queue.
//! - A worker that fails closes the listeners and ends the server within a second.
//! - The first worker accepts, and hands each connection to the worker that has the fewest.
//! - An idle server uses no CPU.
//!
//! There is no silent fallback: an engine that cannot run says why, and the server exits.

use std::fmt;
use std::str::FromStr;

/// How a worker does its I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// io_uring through `ring`: multishot operations and provided buffers (a registered buffer ring).
    #[default]
    Uring,
    /// io_uring through the async library tokio-uring: one task per connection.
    TokioUring,
    /// epoll(7) through mio, without io_uring.
    Epoll,
}

impl Engine {
    /// All engines.
    pub const ALL: [Engine; 3] = [Engine::Uring, Engine::TokioUring, Engine::Epoll];

    /// The name on the command line and in the first line of a server's output.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Uring => "uring",
            Engine::TokioUring => "tokio-uring",
            Engine::Epoll => "epoll",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Engine, String> {
        let found = Engine::ALL.into_iter().find(|engine| engine.name() == text);
        found.ok_or_else(|| "the engine must be `uring`, `tokio-uring` or `epoll`".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_is_found_by_its_name_and_by_no_other() {
        for engine in Engine::ALL {
            assert_eq!(engine.to_string().parse(), Ok(engine));
        }
        let refusal = "kqueue".parse::<Engine>().unwrap_err();
        assert!(Engine::ALL.iter().all(|engine| refusal.contains(engine.name())));
    }
}
