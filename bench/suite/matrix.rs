//! The cells, as data: `matrix.toml`.

use serde::Deserialize;

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
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    pub(crate) without: Vec<String>,
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
        flags.extend(self.flags.iter().cloned());
        flags
    }
}
