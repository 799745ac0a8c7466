//! A server that somebody wants compared: a name, and the command that starts it on a port of our choice.

use regex::Regex;

use crate::error::{Error, Result};
use crate::serve::engine::Engine;

/// What stands for the port in a command.
const PORT: &str = "{port}";

/// A name and a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Short, and without white space: it heads a row.
    pub name: String,
    /// The program and its arguments, with `{port}` wherever the port belongs.
    words: Vec<String>,
    /// What the line on its stdout looks like that tells that it listens; none: its port is tried.
    ready: Option<Ready>,
}

/// A pattern that is equal to those written alike.
#[derive(Debug, Clone)]
struct Ready(Regex);

impl PartialEq for Ready {
    fn eq(&self, other: &Ready) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Ready {}

impl Candidate {
    /// From `NAME=COMMAND`. The command is split as a shell splits words, and run without one: variables, pipes and
    /// the like need `sh -c '...'`.
    ///
    /// Errors: what is wrong with it, for the command line.
    pub fn parse(text: &str) -> std::result::Result<Candidate, String> {
        let hint = "write NAME=COMMAND, as in `mine=./server --port {port}`";
        let (name, command) = text.split_once('=').ok_or(hint)?;
        let fits = |c: char| c.is_alphanumeric() || "-_.+".contains(c);
        if name.is_empty() || !name.chars().all(fits) {
            return Err(format!("`{name}` is no name (letters, digits and -_.+ are); {hint}"));
        }
        Candidate::named(name, command)
    }

    /// The same, with the name given apart.
    pub fn named(name: &str, command: &str) -> std::result::Result<Candidate, String> {
        let words = shell_words::split(command).map_err(|_| format!("a quote in `{command}` is not closed"))?;
        if words.is_empty() {
            return Err("the command is empty".into());
        }
        if !words.iter().any(|word| word.contains(PORT)) {
            return Err(format!(
                "`{command}` does not say where the port belongs: write {PORT} there"
            ));
        }
        Ok(Candidate {
            name: name.to_owned(),
            words,
            ready: None,
        })
    }

    /// `urecho serve` with one of its engines, so many workers, and this congestion control.
    ///
    /// Errors: [`Error::Machine`] if this program cannot be found again.
    pub fn engine(engine: Engine, workers: usize, congestion: Option<&str>) -> Result<Candidate> {
        let program = std::env::current_exe()
            .map_err(|cause| Error::Machine(format!("cannot find this program again: {cause}")))?;
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
            words: words.map(str::to_owned).collect(),
            ready: None,
        })
    }

    /// The same, which listens once it has printed a line with this pattern on stdout.
    pub fn ready_at(self, pattern: Regex) -> Candidate {
        Candidate {
            ready: Some(Ready(pattern)),
            ..self
        }
    }

    /// The same under another name.
    pub fn named_as(self, name: &str) -> Candidate {
        let name = name.to_owned();
        Candidate { name, ..self }
    }

    /// The same with more arguments.
    pub fn with(mut self, arguments: &[&str]) -> Candidate {
        self.words.extend(arguments.iter().map(|&word| word.to_owned()));
        self
    }

    /// The same, started by another program: `env NAME=VALUE`.
    pub fn within(mut self, words: &[&str]) -> Candidate {
        self.words.splice(..0, words.iter().map(|&word| word.to_owned()));
        self
    }

    /// The pattern of the line that tells that it listens.
    pub fn ready(&self) -> Option<&Regex> {
        self.ready.as_ref().map(|ready| &ready.0)
    }

    /// The program and its arguments, for this port.
    pub(super) fn words(&self, port: u16) -> impl Iterator<Item = String> {
        let port = port.to_string();
        self.words.iter().map(move |word| word.replace(PORT, &port))
    }

    /// The command as it can be typed again.
    pub fn command(&self) -> String {
        shell_words::join(&self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_a_name_and_a_command_with_a_port() {
        let candidate = Candidate::parse("mine=./server --port={port} 'two words' a=b").unwrap();
        assert_eq!(candidate.name, "mine");
        let words: Vec<_> = candidate.words(4242).collect();
        assert_eq!(words, ["./server", "--port=4242", "two words", "a=b"]);
        assert_eq!(
            Candidate::named("mine", &candidate.command()),
            Ok(candidate),
            "it can be typed again"
        );
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        for (text, part) in [
            ("./server {port}", "NAME=COMMAND"),
            ("=./server {port}", "is no name"),
            ("two words=./server {port}", "is no name"),
            ("mine=", "empty"),
            ("mine=./server", "{port}"),
            ("mine=./server '{port}", "not closed"),
        ] {
            let wrong = Candidate::parse(text).unwrap_err();
            assert!(wrong.contains(part), "{text}: {wrong}");
        }
    }
}
