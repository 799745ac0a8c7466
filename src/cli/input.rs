//! Files that a command reads: who is at fault if one cannot be read.

use std::path::Path;

use crate::error::{Error, Result};
use crate::sys::shortage;

/// The text of a file. Errors: [`Error::Usage`] that names it; [`Error::Machine`] if it is not the file's fault.
pub(super) fn read(path: &Path) -> Result<String> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|cause| match shortage::of_files(&cause) {
        Some(why) => Error::Machine(format!("cannot read {name}: {cause}. {why}")),
        None => Error::Usage(format!("cannot read {name}: {cause}")),
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned()) // A line that is torn off may end within a character.
}

/// Parses a file. Errors: as of [`read`], and [`Error::Usage`] that names the file.
pub(super) fn parse<T>(path: &Path, parse: fn(&str) -> Result<T>) -> Result<T> {
    parse(&read(path)?).map_err(|error| Error::Usage(format!("{}: {error}", path.display())))
}
