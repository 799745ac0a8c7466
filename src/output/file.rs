//! Writing to places: whole documents at the end, and lines while a run goes on.
//!
//! A document replaces its file at once (a temporary file that is renamed), with the mode and owner that it had. Where
//! a rename would lose something - a second name, an access control list, an owner that we cannot give it - or is not
//! possible - a mounted file, a folder that takes no new file -, it is written in place. If it cannot be written, no
//! half of it stays.
//!
//! Lines are written in place, so that they can be followed while they come. A line that does not fit is removed again.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use super::console;
use super::place::{self, Place, Target};
use super::written::Written;
use crate::error::{Error, Result};
use crate::sys::stream::{self, Wait};

/// Extended attributes that the system gives every new file (SELinux).
const LABELS: &[&[u8]] = &[b"security.selinux"];

/// Writes a document to a file. Errors: [`Error::Machine`] that names it.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let place = Place::open(path)?;
    let written = place.write_all(text.as_bytes());
    written.map_err(|cause| Error::Machine(format!("cannot write {place}: {cause}")))
}

impl Place {
    /// Writes a document.
    pub fn write_document(&self, text: &str) -> Written {
        console::report(self, self.write_all(text.as_bytes()))
    }

    /// Adds a line to what is there. A last line that was torn off is ended first, so that it spoils no other.
    pub fn append_line(&self, line: &str) -> io::Result<()> {
        match self.target() {
            Target::Stream(stream) => write_or_undo(stream, line.as_bytes()),
            Target::File(path) => append(path, line),
        }
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match self.target() {
            Target::Stream(stream) => write_or_undo(stream, bytes),
            Target::File(path) if replace(path, bytes)? => Ok(()),
            Target::File(path) => write_or_undo(&open_empty(path)?, bytes),
        }
    }
}

/// Replaces a file at once. False if that is not possible, or would lose something. Errors: the new file cannot be
/// written; the old one is still there.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let old = fs::metadata(path).ok();
    if old.as_ref().is_some_and(|old| old.nlink() > 1) || has_attributes(path) {
        return Ok(false);
    }
    // A name of its own: that of the file may have no room for more.
    let temporary = tempfile::Builder::new()
        .prefix(".urecho-")
        .suffix(".part")
        .permissions(Permissions::from_mode(0o666)) // Less the umask, as for any file.
        .tempfile_in(place::folder(path));
    let Ok(mut temporary) = temporary else {
        return Ok(false);
    };
    if old.is_some_and(|old| take_over(temporary.as_file(), &old).is_err()) {
        return Ok(false);
    }
    temporary.write_all(bytes)?;
    Ok(temporary.persist(path).is_ok())
}

/// Gives a file the owner and mode of another.
fn take_over(file: &File, old: &Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        fchown(file, Some(old.uid()), Some(old.gid()))?; // Before the mode: it clears bits of it.
    }
    file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))
}

/// True if a file has extended attributes, such as an access control list, or may have.
fn has_attributes(path: &Path) -> bool {
    let mut names = vec![0_u8; 65_536]; // XATTR_LIST_MAX, limits.h
    match rustix::fs::listxattr(path, names.as_mut_slice()) {
        Ok(len) => {
            let mut names = names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty());
            names.any(|name| !LABELS.contains(&name))
        }
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTSUP) => false,
        Err(_) => true,
    }
}

/// A file without what was in it.
fn open_empty(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().write(true).truncate(true))
}

/// Opens a file, and makes it only if it is not there: the kernel refuses to open another user's file in a folder such
/// as /tmp with O_CREAT, which the check of its place did not use (fs.protected_regular).
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    match options.open(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => options.create(true).open(path),
        result => result,
    }
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let readable = open(path, OpenOptions::new().read(true).append(true));
    let file = readable.or_else(|_| open(path, OpenOptions::new().append(true)))?;
    let text = match is_torn(&file) {
        true => format!("\n{line}"),
        false => line.to_owned(),
    };
    write_or_undo(&file, text.as_bytes())
}

/// True if the last line of a file has no end.
fn is_torn(mut file: &File) -> bool {
    let mut last = [0];
    let read = file
        .seek(SeekFrom::End(-1))
        .and_then(|_| io::Read::read(&mut file, &mut last));
    matches!(read, Ok(1)) && last != *b"\n" // An error: it is empty, or must not be read.
}

/// Writes all bytes, or none of them to a regular file. A reader that closed a pipe has read enough.
fn write_or_undo(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    let before = file
        .metadata()
        .ok()
        .filter(Metadata::is_file)
        .map(|metadata| metadata.len());
    match stream::write_all(file, bytes, Wait::Unlimited) {
        Err(cause) if stream::is_closed(file, &cause) => Ok(()),
        Err(cause) => {
            if let Some(before) = before {
                // What remains if this fails as well is no worse than what is there.
                let _ = file.set_len(before);
                let _ = file.seek(SeekFrom::Start(before));
            }
            Err(cause)
        }
        Ok(()) => Ok(()),
    }
}

/// An output of lines, created when the first of them is flushed. An error ends it, and is reported by
/// [`close`](Lines::close).
#[derive(Debug)]
pub struct Lines {
    place: Place,
    /// Not flushed yet.
    pending: Vec<u8>,
    state: io::Result<Option<File>>,
}

impl Lines {
    /// Writes nothing yet.
    pub fn new(place: Place) -> Lines {
        Lines {
            place,
            pending: Vec::new(),
            state: Ok(None),
        }
    }

    /// Writes what is pending, and says whether all of it has been written.
    pub fn close(mut self) -> Written {
        self.send();
        console::report(&self.place, self.state.map(|_| ()))
    }

    /// All pending lines in one system call, so that no reader sees half a line.
    fn send(&mut self) {
        if let Ok(file) = &mut self.state {
            let opened = match file {
                Some(file) => Ok(file),
                None => create(&self.place).map(|created| file.insert(created)),
            };
            if let Err(cause) = opened.and_then(|file| write_or_undo(file, &self.pending)) {
                self.state = Err(cause);
            }
        }
        self.pending.clear();
    }
}

fn create(place: &Place) -> io::Result<File> {
    match place.target() {
        Target::Stream(stream) => stream.try_clone(),
        Target::File(path) => open_empty(path),
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Never fails: a run goes on without an output that cannot be written.
    fn flush(&mut self) -> io::Result<()> {
        self.send();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    fn folder() -> TempDir {
        tempfile::tempdir().unwrap()
    }

    fn names(folder: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    /// A file that takes no more than `limit` bytes: RLIMIT_FSIZE is of the process, so a full device stands in for it.
    fn full() -> Place {
        Place::open(Path::new("/dev/full")).unwrap()
    }

    #[test]
    fn a_document_appears_whole_and_nothing_else_stays() {
        let folder = folder();
        let path = folder.path().join("report.json");
        let place = Place::open(&path).unwrap();
        assert!(names(&folder).is_empty(), "the check creates nothing");
        assert_eq!(place.write_document("text"), Written::All);
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        assert_eq!(names(&folder), ["report.json"]);
    }

    #[test]
    fn a_document_goes_where_links_lead_and_keeps_mode_owner_and_other_names() {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("run17"), "a text that is longer").unwrap();
        fs::set_permissions(path("run17"), Permissions::from_mode(0o640)).unwrap();
        symlink("run17", path("latest")).unwrap();
        symlink("new", path("dangling")).unwrap();
        write(&path("latest"), "text").unwrap();
        write(&path("dangling"), "text").unwrap();
        assert_eq!(fs::read_link(path("latest")).unwrap(), PathBuf::from("run17"));
        assert_eq!(fs::read_to_string(path("run17")).unwrap(), "text");
        assert_eq!(mode(&path("run17")), 0o640);
        assert_eq!(fs::read_to_string(path("new")).unwrap(), "text");
        fs::hard_link(path("run17"), path("second")).unwrap();
        write(&path("second"), "other").unwrap();
        assert_eq!(fs::read_to_string(path("run17")).unwrap(), "other");
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        if is_root {
            std::os::unix::fs::chown(path("new"), Some(65_534), Some(65_533)).unwrap();
            write(&path("new"), "text").unwrap();
            let new = fs::metadata(path("new")).unwrap();
            assert_eq!((new.uid(), new.gid()), (65_534, 65_533));
        }
        assert_eq!(names(&folder), ["dangling", "latest", "new", "run17", "second"]);
    }

    #[test]
    fn a_name_as_long_as_the_system_allows_can_be_written() {
        let folder = folder();
        let path = folder.path().join("x".repeat(255));
        write(&path, "text").unwrap();
        write(&path, "other").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "other");
    }

    #[test]
    fn lines_are_there_once_they_are_flushed_and_replace_what_was_there() {
        let folder = folder();
        let path = folder.path().join("lines");
        fs::write(&path, "from an earlier run\n").unwrap();
        let mut lines = Lines::new(Place::open(&path).unwrap());
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "from an earlier run\n",
            "nothing has begun"
        );
        for expected in ["1\n", "1\n2\n"] {
            lines.write_all(&expected.as_bytes()[expected.len() - 2..]).unwrap();
            lines.flush().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        }
        assert_eq!(lines.close(), Written::All);
    }

    #[test]
    fn an_output_that_fails_is_reported_once_and_stops_nothing() {
        let mut lines = Lines::new(full());
        for _ in 0..3 {
            lines.write_all(b"1\n").unwrap();
            lines.flush().unwrap();
        }
        assert_eq!(lines.close(), Written::NotAll);
        assert_eq!(full().write_document("text"), Written::NotAll);
        assert!(full().append_line("1\n").is_err());
    }

    #[test]
    fn a_line_is_appended_behind_the_end_of_a_torn_one() {
        let folder = folder();
        let path = folder.path().join("history");
        let append = |line| Place::open(&path).unwrap().append_line(line).unwrap();
        append("1\n");
        append("2\n");
        OpenOptions::new().write(true).open(&path).unwrap().set_len(3).unwrap();
        append("3\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n3\n");
    }
}
