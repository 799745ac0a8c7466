//! The servers of the suite: the engines of `urecho serve`, and the peers that are built.

use std::path::{Path, PathBuf};
use std::process::Command;

use urecho::error::{Error, Result};
use urecho::serve::engine::Engine;

use crate::matrix::Cell;

/// All servers are compared with this engine.
const REFERENCE: Engine = Engine::Epoll;

/// Programs of bench/peers.
const PEERS: [&str; 6] = ["tokio", "monoio", "compio", "glommio", "threads", FLOOR];

/// The least that an echo on io_uring can do. It is no server, and takes part where it is right (matrix.toml).
pub(crate) const FLOOR: &str = "minimal-uring";

const PEERS_MANIFEST: &str = "bench/peers/Cargo.toml";
const PEERS_LOCK: &str = "bench/peers/Cargo.lock";
const PEERS_TARGET: &str = "bench/peers/target";

/// Congestion control of all sockets on both sides. bbr paces with a timer per socket, whose cost would be part of
/// every figure (METHOD.md).
pub(crate) const CONGESTION: &str = "reno";

/// One server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    /// None for a peer.
    engine: Option<Engine>,
}

impl Server {
    /// NAME=COMMAND for `urecho compare` in a cell, with `{port}`.
    pub(crate) fn candidate(&self, cell: &Cell) -> String {
        let common = format!("--congestion {CONGESTION} --listen 127.0.0.1:{{port}}");
        let (program, workers, room) = (quoted(&self.program), cell.workers, cell.room());
        let command = match (self.engine, cell.processes) {
            (None, _) => format!("{program} {common}"),
            (Some(Engine::Epoll), Some(processes)) => {
                let each = room.div_ceil(processes);
                let suite = quoted(&relative(&std::env::current_exe().unwrap()));
                // The listener that it inherits counts, not the one of `common`.
                format!(
                    "{suite} processes {processes} 127.0.0.1:{{port}} {program} serve --engine epoll --workers {workers} \
                     --max-connections {each} {common}"
                )
            }
            (Some(engine), Some(_)) => format!("{program} serve --engine {engine} --max-connections {room} {common}"),
            (Some(engine), None) => format!("{program} serve --engine {engine} --workers {workers} {common}"),
        };
        format!("{}={command}", self.name)
    }
}

/// As a word of a command.
fn quoted(path: &Path) -> String {
    shell_words::quote(&path.to_string_lossy()).into_owned()
}

/// The servers, the reference first, and the peers that are not built.
#[derive(Debug)]
pub(crate) struct Servers {
    /// `urecho`, relative to the directory of Cargo.toml if it is below it.
    pub(crate) urecho: PathBuf,
    pub(crate) all: Vec<Server>,
    pub(crate) skipped: Vec<&'static str>,
}

impl Servers {
    /// This build's engines, and the peers that are there.
    pub(crate) fn find() -> Servers {
        let urecho = relative(Path::new(env!("CARGO_BIN_EXE_urecho")));
        let engine = |engine: Engine| Server {
            name: engine.name().to_owned(),
            program: urecho.clone(),
            engine: Some(engine),
        };
        let peer = |name: &str| Server {
            name: name.to_owned(),
            program: Path::new(PEERS_TARGET).join("release").join(name),
            engine: None,
        };
        let engines = [REFERENCE]
            .into_iter()
            .chain(Engine::ALL.into_iter().filter(|&engine| engine != REFERENCE));
        let (built, skipped): (Vec<&str>, Vec<&str>) = PEERS.iter().partition(|name| peer(name).program.exists());
        Servers {
            all: engines.map(engine).chain(built.into_iter().map(peer)).collect(),
            skipped,
            urecho,
        }
    }

    /// Versions of the peers, one line each.
    pub(crate) fn peer_versions(&self) -> Result<Vec<String>> {
        let lock = std::fs::read_to_string(PEERS_LOCK)
            .map_err(|cause| Error::Machine(format!("cannot read {PEERS_LOCK}: {cause}")))?;
        let versions = PEERS.iter().map(|name| match *name {
            name if self.skipped.contains(&name) => format!("peer {name}: SKIPPED, not built"),
            "threads" => "peer threads: the standard library".to_owned(),
            name => {
                let package = if name == FLOOR { "io-uring" } else { name };
                let version = locked_version(&lock, package).unwrap_or("unknown");
                format!("peer {name}: {package} {version}, by {PEERS_LOCK}")
            }
        });
        Ok(versions.collect())
    }
}

/// Builds the peers. Errors: [`Error::Machine`] if Cargo fails.
pub(crate) fn build_peers() -> Result<()> {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--release"])
        .args(["--manifest-path", PEERS_MANIFEST, "--target-dir", PEERS_TARGET])
        .status()
        .map_err(|cause| Error::Machine(format!("cannot start cargo: {cause}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Machine(format!(
            "the peers do not build: cargo build --manifest-path {PEERS_MANIFEST}"
        )))
    }
}

/// The version of a package in a lock file: the line after its name.
fn locked_version<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let name = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

/// Relative to the current directory if it is below it, so that printed commands work in every checkout.
pub(crate) fn relative(path: &Path) -> PathBuf {
    let current = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(current).unwrap_or(path).to_owned()
}
