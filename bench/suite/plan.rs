//! What a run of the suite measures: cells, restarts, blocks and slices, the command of each cell, and its duration.

use std::path::Path;
use std::time::Duration;

use urecho::clock::Nanos;
use urecho::compare::SliceLength;
use urecho::load::{self, Workload};
use urecho::units::show_duration;

use crate::matrix::{Cell, Matrix};
use crate::servers::{CONGESTION, Servers};

/// Opening a connection took 135 µs in the run 2026-11-22-2.
const CONNECT: Nanos = Nanos(150_000);

/// What the command line sets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) small: bool,
    pub(crate) restarts: Option<u32>,
    pub(crate) blocks: Option<u32>,
    pub(crate) slice: Option<Nanos>,
}

/// All cells of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) cells: Vec<PlannedCell>,
}

/// One cell, with everything that `urecho compare` is given.
#[derive(Debug)]
pub(crate) struct PlannedCell {
    pub(crate) cell: Cell,
    /// How many servers take part.
    servers: usize,
    restarts: u32,
    blocks: u32,
    length: SliceLength,
    /// False if connections to all servers do not fit into one process: `compare` opens them for each slice then.
    connected_at_once: bool,
}

impl Plan {
    pub(crate) fn of(settings: Settings, servers: &Servers) -> Plan {
        let matrix = Matrix::read();
        let cells = if settings.small { matrix.small } else { matrix.cells };
        let cells = cells.into_iter().map(|cell| PlannedCell::of(cell, settings, servers));
        Plan { cells: cells.collect() }
    }
}

impl PlannedCell {
    fn of(cell: Cell, settings: Settings, servers: &Servers) -> PlannedCell {
        let servers = servers.all.iter().filter(|server| cell.has(&server.name)).count();
        let direct = !load::has_descriptors(cell.connections, 1);
        let workload = Workload {
            connections: cell.connections,
            direct,
            ..Workload::default()
        };
        let connected_at_once = load::fits_at_once(&workload, servers);
        let (restarts, blocks) = match (settings.small, connected_at_once && !direct) {
            (true, _) => (2, 1),
            (false, true) => (10, 2),
            (false, false) => (6, 1), // Opening takes longer than measuring; 6 is the minimum for an interval.
        };
        let mut length = SliceLength::default_for(cell.connections);
        if settings.small {
            length = SliceLength {
                measured: Nanos(20_000_000),
                warmup: Nanos(5_000_000),
            };
        }
        length.measured = settings.slice.unwrap_or(length.measured);
        PlannedCell {
            restarts: settings.restarts.unwrap_or(restarts),
            blocks: settings.blocks.unwrap_or(blocks),
            length,
            connected_at_once,
            servers,
            cell,
        }
    }

    /// How long it takes, if starting and stopping a server takes `restart`.
    pub(crate) fn duration(&self, restart: Duration) -> Duration {
        let slices = u64::from(self.blocks) * 2;
        let slice = self.length.measured + self.length.warmup;
        let openings = if self.connected_at_once { 1 } else { slices };
        let connect = u64::from(self.cell.connections) * CONNECT.0;
        let load = Duration::from_nanos(slices * slice.0 + openings * connect);
        (restart + load) * self.restarts * self.servers as u32
    }

    /// The command that measures this cell into `folder`.
    pub(crate) fn command(&self, servers: &Servers, folder: &Path) -> Vec<String> {
        let output = |extension: &str| {
            let file = folder.join(format!("{}.{extension}", self.cell.name));
            file.to_string_lossy().into_owned()
        };
        let mut words = vec![servers.urecho.to_string_lossy().into_owned(), "compare".to_owned()];
        words.extend(self.cell.flags());
        let options = [
            ("--restarts", self.restarts.to_string()),
            ("--blocks", self.blocks.to_string()),
            ("--slice", exact(self.length.measured)),
            ("--slice-warmup", exact(self.length.warmup)),
            ("--congestion", CONGESTION.to_owned()),
            ("--json", output("json")),
            ("--markdown", output("md")),
        ];
        words.extend(options.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        let participants = servers.all.iter().filter(|server| self.cell.has(&server.name));
        words.extend(participants.map(|server| server.candidate(&self.cell)));
        words
    }
}

/// A duration without rounding, as the command line reads it.
fn exact(duration: Nanos) -> String {
    format!("{}us", duration.0 / 1_000)
}

/// For progress lines.
pub(crate) fn show(duration: Duration) -> String {
    show_duration(duration.into())
}
