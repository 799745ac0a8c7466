//! The files that a command runs, to notice that one has changed: an edit, or a build that is still going on.
//!
//! They are the executable, the interpreter that its first line names, and all words of the command that are programs:
//! the script of an interpreter, the server behind `taskset` or `env`, the words of `sh -c '...'`. A word that is
//! another file (a log, a configuration) is not one. What a program loads by itself (libraries, modules) is not seen.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hmac_sha256::Hash;

/// Name endings of programs without a magic number.
const EXTENSIONS: [&str; 19] = [
    "py", "pyc", "js", "mjs", "cjs", "ts", "rb", "pl", "php", "lua", "sh", "jar", "class", "dll", "wasm", "exs", "jl",
    "tcl", "r",
];

/// Programs whose first argument that is a file is what they run, whatever it is called.
const INTERPRETERS: [&str; 20] = [
    "sh", "bash", "dash", "zsh", "ksh", "busybox", "python", "pypy", "node", "deno", "bun", "ruby", "perl", "php",
    "lua", "luajit", "java", "dotnet", "tclsh", "julia",
];

/// The files of a command, as they were.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program(Vec<ProgramFile>);

#[derive(Debug, PartialEq, Eq)]
struct ProgramFile {
    path: PathBuf,
    /// None if it could not be read.
    state: Option<State>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    identity: Identity,
    hash: [u8; 32],
}

/// As long as this is equal, so is the content: every write changes `ctime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Program {
    /// The files of this command now.
    pub(super) fn of(argv: &[String]) -> Program {
        let mut paths: Vec<PathBuf> = argv.first().and_then(|word| locate(word)).into_iter().collect();
        add_programs(argv, &mut paths);
        let file = |path: PathBuf| ProgramFile {
            state: State::read(&path),
            path,
        };
        Program(paths.into_iter().map(file).collect())
    }

    /// What has happened to one of the files: `/srv/echo has changed`. A file with another identity and the same
    /// content has not.
    pub(super) fn changed(&self) -> Option<String> {
        self.0.iter().find_map(|file| {
            let path = file.path.display();
            match (&file.state, Identity::read(&file.path)) {
                (Some(state), Some(now)) if state.identity == now => None,
                (Some(_), None) => Some(format!("{path} has disappeared")),
                (state, _) if *state == State::read(&file.path) => None,
                (Some(state), _) if State::read(&file.path).is_some_and(|now| now.hash == state.hash) => None,
                _ => Some(format!("{path} has changed")),
            }
        })
    }
}

/// Adds the programs among the words of a command, and in commands that are words.
fn add_programs(argv: &[String], paths: &mut Vec<PathBuf>) {
    let mut takes_script = false;
    for word in argv {
        if word.split_whitespace().nth(1).is_some() {
            // `sh -c '...'`: not what a shell would make of it, but the words that name programs.
            let words = shell_words::split(word).unwrap_or_default();
            let parts = words.iter().flat_map(|word| word.split([';', '&', '|', '(', ')']));
            let words: Vec<String> = parts.filter(|word| !word.is_empty()).map(str::to_owned).collect();
            if words.len() > 1 {
                add_programs(&words, paths);
            }
            continue;
        }
        let Some(path) = locate(word) else { continue };
        if takes_script || has_magic(&path) || has_extension(&path) {
            takes_script = is_interpreter(&path);
            add_interpreter(&path, paths);
            add(path, paths);
        }
    }
}

/// Adds what the first line of a script names.
fn add_interpreter(script: &Path, paths: &mut Vec<PathBuf>) {
    let head = head(script, 256);
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let Some(line) = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix("#!")) else {
        return;
    };
    for path in line.split_whitespace().filter_map(locate) {
        add(path, paths);
    }
}

fn add(path: PathBuf, paths: &mut Vec<PathBuf>) {
    if !paths.contains(&path) {
        paths.push(path);
    }
}

/// The file that a word names, by itself, in PATH, or behind `=`.
fn locate(word: &str) -> Option<PathBuf> {
    let behind = || locate_whole(word.rsplit_once('=')?.1);
    locate_whole(word).or_else(behind)
}

fn locate_whole(word: &str) -> Option<PathBuf> {
    let is_file = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let direct = PathBuf::from(word);
    if word.contains('/') {
        return Some(direct).filter(|path| is_file(path));
    }
    let in_path = env::var_os("PATH").and_then(|path| {
        let mut candidates = env::split_paths(&path).map(|folder| folder.join(word));
        candidates.find(|path| is_file(path))
    });
    in_path.or_else(|| Some(direct).filter(|path| is_file(path)))
}

fn has_magic(path: &Path) -> bool {
    let head = head(path, 4);
    head.starts_with(b"#!") || head == b"\x7fELF"
}

fn has_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()))
}

/// By its name, without a version: `python3.12`.
fn is_interpreter(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    INTERPRETERS.contains(&name)
}

fn head(path: &Path, len: u64) -> Vec<u8> {
    let mut head = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(len).read_to_end(&mut head); // What cannot be read has no magic number.
    }
    head
}

impl State {
    fn read(path: &Path) -> Option<State> {
        let identity = Identity::read(path)?;
        let (mut file, mut hash, mut piece) = (File::open(path).ok()?, Hash::new(), vec![0; 1 << 16]);
        loop {
            match file.read(&mut piece).ok()? {
                0 => break,
                len => hash.update(&piece[..len]),
            }
        }
        Some(State {
            identity,
            hash: hash.finalize(),
        })
    }
}

impl Identity {
    fn read(path: &Path) -> Option<Identity> {
        let metadata = fs::metadata(path).ok()?;
        Some(Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A folder with a file.
    fn with(name: &str, text: &str) -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn program(command: &str) -> Program {
        Program::of(&shell_words::split(command).unwrap())
    }

    fn holds(program: &Program, path: &Path) -> bool {
        program.0.iter().any(|file| file.path == path)
    }

    #[test]
    fn the_files_of_a_command_are_its_programs_wherever_they_stand() {
        let (_folder, path) = with("server", "#!/bin/sh\n");
        let shown = path.display();
        for command in [
            format!("{shown} {{port}}"),
            format!("sh {shown} {{port}}"),
            format!("sh -e {shown} {{port}}"),
            format!("env A=b {shown} {{port}}"),
            format!("sh -c 'exec {shown} {{port}}'"),
            format!("sh -c '{shown} {{port}}& wait'"),
            format!("env A=b sh -c 'cd /; {shown} {{port}}; true'"),
        ] {
            assert!(holds(&program(&command), &path), "{command}");
        }
        let sh = locate("sh").unwrap();
        assert!(holds(&program(&format!("{shown} {{port}}")), Path::new("/bin/sh")));
        assert!(holds(&program("sh -c true"), &sh));
    }

    #[test]
    fn the_script_of_an_interpreter_may_have_any_name_but_other_files_are_no_programs() {
        let (folder, script) = with("script", "print()");
        let log = folder.path().join("log");
        fs::write(&log, "text").unwrap();
        let program = program(&format!("bash -u {} --log {}", script.display(), log.display()));
        assert!(holds(&program, &script));
        assert!(!holds(&program, &log));
    }

    #[test]
    fn a_change_of_content_is_one_and_a_touch_is_not() {
        let (folder, path) = with("server.py", "one");
        let program = program(&format!("nosuch {}", path.display()));
        assert_eq!(program.changed(), None);
        let copy = folder.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        fs::rename(&copy, &path).unwrap();
        assert_eq!(program.changed(), None, "another file with the same content");
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "two").unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        let changed = program.changed().unwrap();
        assert!(changed.ends_with("server.py has changed"), "{changed}");
        fs::remove_file(&path).unwrap();
        assert!(program.changed().unwrap().ends_with("has disappeared"));
    }

    #[test]
    fn a_link_to_another_file_is_a_change() {
        let (folder, one) = with("one", "#!/bin/sh\n: one");
        let [two, link] = ["two", "server"].map(|name| folder.path().join(name));
        fs::write(&two, "#!/bin/sh\n: two").unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let program = program(&format!("{} {{port}}", link.display()));
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&two, &link).unwrap();
        assert!(program.changed().is_some());
    }
}
