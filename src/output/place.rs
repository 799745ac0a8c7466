//! Where an output goes, checked before anything is measured.
//!
//! Links are followed. `-`, `/dev/stdout`, `/proc/self/fd/1`, a link to one of them and the file that stdout was
//! redirected to are all stdout: places are compared by inode. A pipe or device is opened when it is checked, and
//! written to as it is.

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The name that means standard output.
const STDOUT: &str = "-";

/// The most links that lead to a file; the kernel follows as many (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Device number of /dev/null, null(4): major 1, minor 3.
const NULL_DEVICE: u64 = 0x103;

/// A place that an output can be written to.
#[derive(Debug)]
pub struct Place {
    /// As it was typed.
    name: PathBuf,
    target: Target,
    /// None for /dev/null by its name, where any number of outputs has room.
    identity: Option<Identity>,
    is_stdout: bool,
}

/// What an output is written to.
#[derive(Debug)]
pub(super) enum Target {
    /// Open: stdout or stderr, a pipe, a device.
    Stream(File),
    /// A regular file, there or not, behind all links.
    File(PathBuf),
}

/// Equal for two names of one place.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    Inode {
        device: u64,
        inode: u64,
    },
    /// A file that is not there yet, in this folder.
    Name {
        device: u64,
        folder: u64,
        name: OsString,
    },
}

/// Opens all places of a command's outputs. Errors: [`Error::Usage`] if two of them are the same, [`Error::Machine`]
/// that names one that cannot be written. Creates and changes nothing.
pub fn open_all<const N: usize>(paths: [&Option<PathBuf>; N]) -> Result<[Option<Place>; N]> {
    let mut places = [const { None }; N];
    for (place, path) in places.iter_mut().zip(paths) {
        *place = path.as_deref().map(Place::open).transpose()?;
    }
    check_distinct(places.iter().flatten())?;
    Ok(places)
}

/// Errors: [`Error::Usage`] if two of them are the same.
pub fn check_distinct<'a>(places: impl Iterator<Item = &'a Place>) -> Result<()> {
    let mut before: Vec<&Place> = Vec::new();
    for place in places {
        let same = |other: &&&Place| place.identity.is_some() && place.identity == other.identity;
        if let Some(other) = before.iter().find(same) {
            return Err(Error::Usage(match other.name == place.name {
                true => format!("two outputs go to {}: give each its own file", place.name()),
                false => format!(
                    "two outputs go to one place, {} and {}: give each its own file",
                    other.name(),
                    place.name()
                ),
            }));
        }
        before.push(place);
    }
    Ok(())
}

impl Place {
    /// Errors: [`Error::Machine`] that names the path.
    pub fn open(path: &Path) -> Result<Place> {
        let found = if path.as_os_str() == STDOUT || leads_to_stdout(path) {
            stdout()
        } else {
            find(path)
        };
        let (target, identity, is_stdout) =
            found.map_err(|cause| Error::Machine(format!("cannot write {}: {cause}", path.display())))?;
        Ok(Place {
            name: path.to_owned(),
            target,
            identity,
            is_stdout,
        })
    }

    /// Errors: [`Error::Usage`] if this is the file that the command reads.
    pub fn check_is_not(&self, input: &Path) -> Result<()> {
        let input = fs::metadata(input).ok().and_then(|metadata| Identity::of(&metadata));
        match input.is_some() && self.identity == input {
            true => Err(Error::Usage(format!(
                "{} is read and written: give the output its own file",
                self.name()
            ))),
            false => Ok(()),
        }
    }

    /// True if the text of a report must not be printed, because this output is on stdout.
    pub fn is_stdout(&self) -> bool {
        self.is_stdout
    }

    /// As it is called in a sentence.
    fn name(&self) -> String {
        match self.name.as_os_str() == STDOUT {
            true => "stdout".to_owned(),
            false => self.name.display().to_string(),
        }
    }

    /// What to write to.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }
}

/// As in `cannot write to stdout`.
impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let preposition = if self.name.as_os_str() == STDOUT { "to " } else { "" };
        write!(f, "{preposition}{}", self.name())
    }
}

type Found = (Target, Option<Identity>, bool);

fn stdout() -> io::Result<Found> {
    let file = duplicate(io::stdout())?;
    let identity = Identity::inode(&file.metadata()?);
    Ok((Target::Stream(file), Some(identity), true))
}

/// True for `/proc/self/fd/1` and all links to it, such as `/dev/stdout`.
fn leads_to_stdout(path: &Path) -> bool {
    let Ok(descriptors) = fs::canonicalize("/proc/self/fd") else {
        return false;
    };
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let is_first = path.file_name().is_some_and(|name| name == "1");
        if is_first && fs::canonicalize(folder(&path)).is_ok_and(|folder| folder == descriptors) {
            return true;
        }
        match fs::read_link(&path) {
            Ok(target) => path = folder(&path).join(target),
            Err(_) => return false, // No link.
        }
    }
    false
}

fn find(path: &Path) -> io::Result<Found> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return find_new(path),
        Err(cause) => return Err(cause),
    };
    let identity = Identity::of(&metadata);
    // Opened a second time, a file would be written from its start, and a socket could not be opened.
    let streams = [(duplicate(io::stdout()), true), (duplicate(io::stderr()), false)];
    for (stream, is_stdout) in streams {
        let stream = stream?;
        if identity.is_some() && Identity::of(&stream.metadata()?) == identity {
            return Ok((Target::Stream(stream), identity, is_stdout));
        }
    }
    if metadata.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    // A FIFO waits for its reader here, as in a shell.
    let file = OpenOptions::new().write(true).open(path)?;
    let target = match metadata.is_file() {
        true => Target::File(end_of_links(path, &metadata)),
        false => Target::Stream(file),
    };
    Ok((target, identity, false))
}

/// A file that is not there yet: its folder must take one.
fn find_new(path: &Path) -> io::Result<Found> {
    let path = end_of_dangling_links(path)?;
    let (Some(name), false) = (path.file_name(), path.as_os_str().as_bytes().ends_with(b"/")) else {
        return Err(ErrorKind::IsADirectory.into());
    };
    let folder = folder(&path);
    let metadata = fs::metadata(folder)?;
    let _probe = tempfile::tempfile_in(folder)?; // Without a name: nothing to leave behind.
    let identity = Identity::Name {
        device: metadata.dev(),
        folder: metadata.ino(),
        name: name.to_owned(),
    };
    Ok((Target::File(path), Some(identity), false))
}

/// The folder that a file is in.
pub(super) fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// The name of the file itself. A file behind /proc/self/fd may have lost its name: then the name of the link.
fn end_of_links(path: &Path, metadata: &Metadata) -> PathBuf {
    let end = fs::canonicalize(path).ok();
    let end = end.filter(|end| fs::metadata(end).is_ok_and(|end| Identity::of(&end) == Identity::of(metadata)));
    end.unwrap_or_else(|| path.to_owned())
}

fn end_of_dangling_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            Ok(target) => path = folder(&path).join(target),
            Err(_) => return Ok(path), // No link.
        }
    }
    Err(io::Error::other("too many links"))
}

fn duplicate(stream: impl AsFd) -> io::Result<File> {
    Ok(stream.as_fd().try_clone_to_owned()?.into())
}

impl Identity {
    fn of(metadata: &Metadata) -> Option<Identity> {
        let is_null = metadata.file_type().is_char_device() && metadata.rdev() == NULL_DEVICE;
        (!is_null).then(|| Identity::inode(metadata))
    }

    fn inode(metadata: &Metadata) -> Identity {
        Identity::Inode {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Opens these names in a folder with a file `there`, a folder `folder`, and links to them and to nothing.
    fn open<const N: usize>(names: [&str; N]) -> Result<[Option<Place>; N]> {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("there"), "old").unwrap();
        fs::hard_link(root.path().join("there"), root.path().join("same")).unwrap();
        fs::create_dir(root.path().join("folder")).unwrap();
        for (to, name) in [
            ("there", "link"),
            ("new", "dangling"),
            ("dangling", "chain"),
            ("loop", "loop"),
        ] {
            symlink(to, root.path().join(name)).unwrap();
        }
        let paths = names.map(|name| {
            Some(if name == "-" {
                name.into()
            } else {
                root.path().join(name)
            })
        });
        open_all(paths.each_ref())
    }

    #[test]
    fn two_outputs_in_one_place_are_refused_whatever_it_is_called() {
        for names in [
            ["there", "there"],
            ["there", "folder/../there"],
            ["there", "same"],
            ["link", "there"],
            ["new", "./new"],
            ["new", "dangling"],
            ["chain", "folder/../dangling"],
            ["-", "-"],
            ["-", "/dev/stdout"],
            ["/dev/fd/1", "/proc/self/fd/1"],
        ] {
            let refusal = open(names).unwrap_err();
            assert!(
                matches!(&refusal, Error::Usage(text) if !text.contains("to to")),
                "{names:?}: {refusal}"
            );
        }
        open(["there", "new"]).unwrap();
        open(["/dev/null", "/dev/null"]).unwrap();
    }

    #[test]
    fn every_name_of_stdout_is_stdout() {
        for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
            let [place] = open([name]).unwrap();
            assert!(place.unwrap().is_stdout(), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused_with_its_name() {
        for name in [
            "folder",
            "folder/",
            "new/",
            "nowhere/new",
            "loop",
            "there/new",
            &"x".repeat(300),
        ] {
            let refusal = open([name]).unwrap_err();
            assert!(
                matches!(&refusal, Error::Machine(text) if text.contains(name)),
                "{refusal}"
            );
        }
    }
}
