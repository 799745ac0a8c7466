//! The cells, as data: `matrix.toml`.

use serde::Deserialize;
use urecho::sys::affinity;

const MATRIX: &str = include_str!("matrix.toml");

/// All cells.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Matrix {
    /// The cells of record.
    #[serde(rename = "cell")]
    pub(crate) cells: Vec<Cell>,
    /// Cells that take seconds.
    #[serde(rename = "small")]
    pub(crate) small: Vec<Cell>,
}

/// One load; `matrix.toml` explains the fields.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) connections: u32,
    size: String,
    #[serde(default = "one")]
    pipeline: u32,
    churn: Option<u32>,
    #[serde(default = "one")]
    pub(crate) workers: u32,
    pub(crate) processes: Option<u32>,
    #[serde(default)]
    flags: Vec<String>,
    only: Option<Vec<String>>,
    #[serde(default)]
    without: Vec<String>,
    pub(crate) reason: String,
}

fn one() -> u32 {
    1
}

impl Matrix {
    pub(crate) fn read() -> Matrix {
        toml::from_str(MATRIX).unwrap_or_else(|cause| panic!("bench/suite/matrix.toml: {cause}"))
    }
}

impl Cell {
    /// The flags of `urecho compare` for this load.
    pub(crate) fn flags(&self) -> Vec<String> {
        let mut flags = vec![
            "-c".to_owned(),
            self.connections.to_string(),
            "--size".to_owned(),
            self.size.clone(),
        ];
        if self.pipeline != 1 {
            flags.extend(["--pipeline".to_owned(), self.pipeline.to_string()]);
        }
        if let Some(churn) = self.churn {
            flags.extend(["--churn".to_owned(), churn.to_string()]);
        }
        if self.workers > 1 {
            let cpus = affinity::allowed();
            let of_servers = &cpus[..cpus.len().min(self.workers as usize)];
            let last = &cpus[cpus.len() - 1..];
            let pins = [("--server-pin", of_servers), ("--pin", last)];
            flags.extend(
                pins.into_iter()
                    .flat_map(|(flag, cpus)| [flag.to_owned(), affinity::show(cpus)]),
            );
        }
        flags.extend(self.flags.iter().cloned());
        flags
    }

    /// Connections that a server has room for: an eighth more than it gets. Of 100,000 that is more than can wait in
    /// its queue: with less, it would accept the last of them one by one.
    pub(crate) fn room(&self) -> u32 {
        self.connections + self.connections / 8
    }

    /// True if the server of this name takes part.
    pub(crate) fn has(&self, server: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == server);
        self.only.as_deref().is_none_or(named) && !named(&self.without)
    }
}
