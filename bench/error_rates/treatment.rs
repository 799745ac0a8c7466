//! How head differs from base, and the commands that make it so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use urecho::error::{Error, Result};
use urecho::serve::uring::fault::Fault;

/// The program under test.
pub(crate) const URECHO: &str = env!("CARGO_BIN_EXE_urecho");

/// How head differs from base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// Not at all: the same file.
    Same,
    /// A copy of the file.
    Copy,
    /// Another build of the same commit, in another directory.
    SecondBuild,
    /// By an injected fault: the argument of `serve --fault`.
    Fault(String),
}

impl FromStr for Treatment {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Treatment, String> {
        match text {
            "A/A" => Ok(Treatment::Same),
            "A/A-copy" => Ok(Treatment::Copy),
            "A/A-build" => Ok(Treatment::SecondBuild),
            fault => Fault::parse(fault).map(|_| Treatment::Fault(fault.into())),
        }
    }
}

impl Treatment {
    pub(crate) fn name(&self) -> &str {
        match self {
            Treatment::Same => "A/A",
            Treatment::Copy => "A/A-copy",
            Treatment::SecondBuild => "A/A-build",
            Treatment::Fault(fault) => fault,
        }
    }

    /// The command of base, whatever the treatment.
    pub(crate) fn base() -> String {
        command(Path::new(URECHO))
    }

    /// The command of head.
    pub(crate) fn head(&self, programs: &Programs) -> Result<String> {
        match self {
            Treatment::Same => Ok(Treatment::base()),
            Treatment::Copy => Ok(command(&programs.copy()?)),
            Treatment::SecondBuild => Ok(command(&programs.second_build()?)),
            Treatment::Fault(fault) => Ok(format!("{} --fault {fault}", Treatment::base())),
        }
    }
}

fn command(program: &Path) -> String {
    let program = program.to_string_lossy();
    shell_words::join([&*program, "serve", "--workers", "1", "--listen", "127.0.0.1:{port}"])
}

/// Other files with the same program, each made when it is first needed, in a directory that goes with this value.
pub(crate) struct Programs {
    folder: tempfile::TempDir,
    /// Another build, if the user has made it.
    second_build: Option<PathBuf>,
}

impl Programs {
    pub(crate) fn new(second_build: Option<PathBuf>) -> Result<Programs> {
        let folder =
            tempfile::tempdir().map_err(|cause| Error::Machine(format!("cannot make a directory: {cause}")))?;
        Ok(Programs { folder, second_build })
    }

    fn copy(&self) -> Result<PathBuf> {
        let copy = self.folder.path().join("copy");
        if !copy.exists() {
            fs::copy(URECHO, &copy).map_err(|cause| Error::Machine(format!("cannot copy {URECHO}: {cause}")))?;
        }
        Ok(copy)
    }

    /// Builds the commit that is checked out in a directory of its own.
    fn second_build(&self) -> Result<PathBuf> {
        if let Some(program) = &self.second_build {
            return Ok(program.clone());
        }
        let source = self.folder.path().join("another-directory");
        let program = source.join("target/release/urecho");
        if !program.exists() {
            fs::create_dir_all(&source)
                .map_err(|cause| Error::Machine(format!("cannot make {}: {cause}", source.display())))?;
            let archive = self.folder.path().join("source.tar");
            let here = Path::new(env!("CARGO_MANIFEST_DIR"));
            run(Command::new("git")
                .args(["archive", "HEAD", "-o"])
                .arg(&archive)
                .current_dir(here))?;
            run(Command::new("tar").arg("-xf").arg(&archive).current_dir(&source))?;
            run(Command::new("cargo")
                .args(["build", "--quiet", "--locked", "--release", "--target-dir", "target"])
                .current_dir(&source))?;
        }
        Ok(program)
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status();
    let failed = |how: String| Error::Machine(format!("{}: {how}", command.get_program().display()));
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(status.to_string())),
        Err(cause) => Err(failed(cause.to_string())),
    }
}
