//! Files that a command reads: who is at fault if one cannot be read.

use std::path::Path;

use crate::error::{Error, Result};
use crate::sys::shortage;

/// The text of a file. Errors: [`Error::Usage`] that names it; [`Error::Machine`] if it is not the file's fault.
pub(super) fn read(path: &Path) -> Result<String> {
    String::from_utf8(bytes(path)?).map_err(|cause| Error::Usage(format!("{} is no text: {cause}", path.display())))
}

/// Parses a file. Errors: as of [`read`], and [`Error::Usage`] that names the file. What is not UTF-8 is replaced: a
/// line that was torn off may end within a character.
pub(super) fn parse<T>(path: &Path, parse: fn(&str) -> Result<T>) -> Result<T> {
    let text = String::from_utf8_lossy(&bytes(path)?).into_owned();
    parse(&text).map_err(|error| Error::Usage(format!("{}: {error}", path.display())))
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    let name = path.display();
    std::fs::read(path).map_err(|cause| match shortage::of_files(&cause) {
        Some(why) => Error::Machine(format!("cannot read {name}: {cause}. {why}")),
        None => Error::Usage(format!("cannot read {name}: {cause}")),
    })
}
