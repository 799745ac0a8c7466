//! Output files written atomically: to a temporary file in the same directory, then renamed into place.
//!
//! `-` is standard output. Pipes and devices are written in place, because a rename would replace them.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Stdout, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use crate::error::{Error, Result};

/// The name that means standard output.
const STDOUT: &str = "-";

/// True if this path means standard output.
pub fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == STDOUT
}

/// Checks outputs before anything is measured. Errors: [`Error::Usage`] if two are the same path, [`Error::Machine`]
/// if one cannot be written. Writes nothing.
pub fn check_all<'a>(paths: impl Iterator<Item = &'a PathBuf> + Clone) -> Result<()> {
    check_distinct(paths.clone())?;
    for path in paths {
        // Opening and closing a pipe would end it for its reader.
        if !is_special(path) {
            AtomicFile::create(path)?; // Dropped, it leaves nothing behind.
        }
    }
    Ok(())
}

/// Errors: [`Error::Usage`] if two outputs are the same path.
pub fn check_distinct<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    let mut paths: Vec<&PathBuf> = paths.collect();
    paths.sort();
    match paths.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::Usage(format!(
            "two outputs go to {}: give each its own file",
            pair[0].display()
        ))),
        None => Ok(()),
    }
}

/// Writes a whole file. Errors: [`Error::Machine`].
pub fn write(path: &Path, text: &str) -> Result<()> {
    AtomicFile::create(path)?.commit(text).map_err(cannot_write)
}

/// The error of a write that failed.
pub fn cannot_write(cause: io::Error) -> Error {
    Error::Machine(format!("cannot write the results: {cause}"))
}

/// A file that replaces its path when it is committed. Dropped before that, it leaves no trace.
#[derive(Debug)]
pub struct AtomicFile {
    out: BufWriter<Out>,
    /// The temporary file and the path it is renamed to; none if it is written in place.
    rename: Option<(TempPath, PathBuf)>,
}

#[derive(Debug)]
enum Out {
    File(File),
    Stdout(Stdout),
}

impl AtomicFile {
    /// Errors: [`Error::Machine`] that names the path.
    pub fn create(path: &Path) -> Result<AtomicFile> {
        if is_stdout(path) {
            return Ok(AtomicFile::in_place(Out::Stdout(io::stdout())));
        }
        let opened = if is_special(path) {
            File::create(path).map(|file| AtomicFile::in_place(Out::File(file)))
        } else {
            AtomicFile::temporary(path)
        };
        opened.map_err(|cause| Error::Machine(format!("cannot write {}: {cause}", path.display())))
    }

    fn in_place(out: Out) -> AtomicFile {
        AtomicFile {
            out: BufWriter::new(out),
            rename: None,
        }
    }

    fn temporary(path: &Path) -> io::Result<AtomicFile> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let file = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .suffix(".part")
            .permissions(Permissions::from_mode(0o666)) // Less the umask, as for any file.
            .tempfile_in(directory.unwrap_or(Path::new(".")))?;
        let (file, temporary) = file.into_parts();
        Ok(AtomicFile {
            out: BufWriter::new(Out::File(file)),
            rename: Some((temporary, path.to_owned())),
        })
    }

    /// Writes the last text and moves the file into place.
    pub fn commit(mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()?;
        match self.rename.take() {
            Some((temporary, path)) => temporary.persist(path).map_err(|failed| failed.error),
            None => Ok(()),
        }
    }
}

/// True for what is not a regular file: pipes, devices, sockets.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Out::File(file) => file.write(bytes),
            Out::Stdout(stdout) => stdout.write(bytes),
        };
        match written {
            // A reader that closed the pipe has read enough.
            Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::File(file) => file.flush(),
            Out::Stdout(stdout) => stdout.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_appears_whole_and_nothing_else_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.json");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"first ").unwrap();
        file.flush().unwrap();
        assert!(!path.exists());
        file.commit("last").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first last");
        assert_eq!(names(directory.path()), ["report.json"]);
    }

    #[test]
    fn a_file_that_is_not_committed_leaves_no_trace() {
        let directory = tempfile::tempdir().unwrap();
        drop(AtomicFile::create(&directory.path().join("report.json")).unwrap());
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn two_outputs_in_one_place_are_refused() {
        let paths = ["a", "b", "a"].map(PathBuf::from);
        assert!(matches!(check_distinct(paths.iter()), Err(Error::Usage(text)) if text.contains("go to a")));
    }
}
