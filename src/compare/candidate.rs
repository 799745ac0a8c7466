//! A server to compare: a name, and the command that starts it on a port of our choice.

use std::sync::{Arc, OnceLock};

use crate::compare::program::Program;
use crate::error::{Error, Result};
use crate::serve::engine::Engine;
use crate::sys::guard::THIS_EXECUTABLE;

/// Placeholder of the port in a command.
const PORT: &str = "{port}";

/// A name and a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Short and without white space: it heads a row.
    pub name: String,
    /// The program and its arguments, with `{port}` wherever the port belongs.
    argv: Vec<String>,
    /// Text in the line on its stdout that announces readiness; none: its port is watched.
    ready_text: Option<String>,
    /// True if it is this executable, which may be replaced while it runs.
    is_this_executable: bool,
    /// Its files when it was first started. Shared by all copies.
    program: Arc<OnceLock<Program>>,
}

impl Candidate {
    /// From `NAME=COMMAND`. The command is split into words as by a shell, but runs without one: variables and pipes
    /// need `sh -c '...'`.
    ///
    /// Errors: what is wrong, for the command line.
    pub fn parse(text: &str) -> std::result::Result<Candidate, String> {
        let hint = "write NAME=COMMAND, as in `mine=./server --port {port}`";
        let (name, command) = text.split_once('=').ok_or(hint)?;
        let fits = |c: char| c.is_alphanumeric() || "-_.+".contains(c);
        if name.is_empty() || !name.chars().all(fits) {
            return Err(format!(
                "`{name}` is not a valid name (letters, digits and -_.+); {hint}"
            ));
        }
        Candidate::named(name, command)
    }

    /// From a name and a command.
    pub fn named(name: &str, command: &str) -> std::result::Result<Candidate, String> {
        let words = shell_words::split(command).map_err(|_| format!("unclosed quote in `{command}`"))?;
        if words.is_empty() {
            return Err("the command is empty".into());
        }
        if !words.iter().any(|word| word.contains(PORT)) {
            return Err(format!("`{command}` has no port: write {PORT} where it belongs"));
        }
        Ok(Candidate {
            name: name.to_owned(),
            argv: words,
            ready_text: None,
            is_this_executable: false,
            program: Arc::default(),
        })
    }

    /// `urecho serve` with this engine, number of workers, and congestion control.
    ///
    /// Errors: [`Error::Machine`] if this executable cannot be located.
    pub fn engine(engine: Engine, workers: usize, congestion: Option<&str>) -> Result<Candidate> {
        let program = std::env::current_exe()
            .map_err(|cause| Error::Machine(format!("cannot locate this executable: {cause}")))?;
        let listen = format!("127.0.0.1:{PORT}");
        let program = program.to_string_lossy().into_owned();
        let workers = workers.to_string();
        let words = [
            &program,
            "serve",
            "--engine",
            engine.name(),
            "--workers",
            &workers,
            "--listen",
            &listen,
        ];
        let congestion = congestion.map(|name| ["--congestion", name]);
        let words = words.into_iter().chain(congestion.into_iter().flatten());
        Ok(Candidate {
            name: engine.name().to_owned(),
            argv: words.map(str::to_owned).collect(),
            ready_text: None,
            is_this_executable: true,
            program: Arc::default(),
        })
    }

    /// Ready once it has printed a line that contains `text` on stdout, instead of once its port accepts.
    pub fn with_ready_text(self, text: String) -> Candidate {
        Candidate {
            ready_text: Some(text),
            ..self
        }
    }

    /// Renamed.
    pub fn with_name(self, name: &str) -> Candidate {
        let name = name.to_owned();
        Candidate { name, ..self }
    }

    /// With more arguments at the end.
    pub fn with_arguments(mut self, arguments: &[&str]) -> Candidate {
        self.argv.extend(arguments.iter().map(|&word| word.to_owned()));
        self
    }

    /// Started by another program, such as `env NAME=VALUE`.
    pub fn with_wrapper(mut self, words: &[&str]) -> Candidate {
        self.argv.splice(..0, words.iter().map(|&word| word.to_owned()));
        self.is_this_executable = false;
        self
    }

    /// The file to execute, if it is not the one that the command names: this executable, whatever its path is now.
    pub(super) fn executable(&self) -> Option<&str> {
        self.is_this_executable.then_some(THIS_EXECUTABLE)
    }

    /// Errors: [`Error::ProgramChanged`] if a file of the command is not what it was when it was first started: then
    /// there are two servers under one name.
    pub(super) fn check_program(&self) -> Result<()> {
        if self.is_this_executable {
            return Ok(());
        }
        match self.program.get_or_init(|| Program::of(&self.argv)).changed() {
            None => Ok(()),
            Some(changed) => Err(Error::ProgramChanged(format!(
                "{changed} while `{}` was being compared: its figures would be of two different servers. Compare copies of the \
                 files, or build first and compare then",
                self.command()
            ))),
        }
    }

    /// Text in the line on stdout that announces readiness.
    pub(super) fn ready_text(&self) -> Option<&str> {
        self.ready_text.as_deref()
    }

    /// The program and its arguments, for this port.
    pub(super) fn argv(&self, port: u16) -> impl Iterator<Item = String> {
        let port = port.to_string();
        self.argv.iter().map(move |word| word.replace(PORT, &port))
    }

    /// The command as it can be typed.
    pub fn command(&self) -> String {
        shell_words::join(&self.argv)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_a_name_and_a_command_with_a_port() {
        let candidate = Candidate::parse("mine=./server --port={port} 'two words' a=b").unwrap();
        assert_eq!(candidate.name, "mine");
        let words: Vec<_> = candidate.argv(4242).collect();
        assert_eq!(words, ["./server", "--port=4242", "two words", "a=b"]);
        assert_eq!(
            Candidate::named("mine", &candidate.command()),
            Ok(candidate),
            "it can be typed"
        );
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, part) in [
            ("./server {port}", "NAME=COMMAND"),
            ("=./server {port}", "not a valid name"),
            ("two words=./server {port}", "not a valid name"),
            ("mine=", "empty"),
            ("mine=./server", "{port}"),
            ("mine=./server '{port}", "unclosed"),
        ] {
            let wrong = Candidate::parse(text).unwrap_err();
            assert!(wrong.contains(part), "{text}: {wrong}");
        }
    }
}
