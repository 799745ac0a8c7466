//! Which machinery moves the bytes: a whole worker each, and one contract for all.
//!
//! Whatever the engine, a server keeps these promises, and the same tests ask all three for them:
//!
//! - Bytes come back complete and in order. A short send is resent from where it ended.
//! - A peer that finishes gets the rest of its echo, then FIN; the connection closes when that is done.
//! - Memory is bounded, for a connection and for all together: a peer that does not read is not read from either.
//! - Nobody waits for ever because others are busy, slow or gone.
//! - Descriptors that have run out pause accepting, which goes on when some are free. Pauses are counted.
//! - A stop refuses newcomers. Each connection ends once it is quiet and has its echo; at the end of the drain
//!   timeout the rest is cut, and counted. After our FIN what still comes is read and dropped, so that no RST
//!   destroys the end of an echo.
//! - The first worker accepts, and hands each connection to the worker that has the fewest.
//! - Waiting costs no CPU.
//!
//! No engine ever takes another's place: what cannot run says why, and ends.

use std::fmt;
use std::str::FromStr;

/// How a worker talks to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// io_uring with registered buffers.
    #[default]
    Uring,
    /// Async tasks on the crate tokio-uring: io_uring as a library has it.
    TokioUring,
    /// A readiness loop on epoll(7), without io_uring.
    Epoll,
}

impl Engine {
    /// All of them.
    pub const ALL: [Engine; 3] = [Engine::Uring, Engine::TokioUring, Engine::Epoll];

    /// As on the command line and in the first line of a server.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Uring => "uring",
            Engine::TokioUring => "tokio-uring",
            Engine::Epoll => "epoll",
        }
    }

    /// Bytes received at once, unless asked for otherwise.
    pub fn buffer_size(self) -> u32 {
        match self {
            // One for each connection that has bytes on the way, or (tokio-uring) for each connection.
            Engine::Uring | Engine::TokioUring => 4096,
            // One for all connections of a worker, so it may be large, and still fit a sixteenth of the L2.
            Engine::Epoll => 65_536,
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
        found.ok_or_else(|| "an engine is `uring`, `tokio-uring` or `epoll`".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_is_found_by_its_name_and_nothing_else_is() {
        for engine in Engine::ALL {
            assert_eq!(engine.to_string().parse(), Ok(engine));
        }
        let refusal = "kqueue".parse::<Engine>().unwrap_err();
        assert!(Engine::ALL.iter().all(|engine| refusal.contains(engine.name())));
    }
}
