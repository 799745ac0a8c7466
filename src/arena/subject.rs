//! A server that somebody wants compared: a name, and the command that starts it on a port of our choice.

use crate::error::{Error, Result};
use crate::serve::engine::Engine;

/// What stands for the port in a command.
const PORT: &str = "{port}";

/// A name and a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Short, and without white space: it heads a row.
    pub name: String,
    /// The program and its arguments, with `{port}` wherever the port belongs.
    words: Vec<String>,
}

impl Subject {
    /// From `NAME=COMMAND`. The command is split as a shell splits words, and run without one: variables, pipes and
    /// the like need `sh -c '...'`.
    ///
    /// Errors: what is wrong with it, for the command line.
    pub fn parse(text: &str) -> std::result::Result<Subject, String> {
        let hint = "write NAME=COMMAND, as in `mine=./server --port {port}`";
        let (name, command) = text.split_once('=').ok_or(hint)?;
        let fits = |c: char| c.is_alphanumeric() || "-_.+".contains(c);
        if name.is_empty() || !name.chars().all(fits) {
            return Err(format!(
                "`{name}` is no name (letters, digits and -_.+ are); {hint}"
            ));
        }
        Subject::named(name, command)
    }

    /// The same, with the name given apart.
    pub fn named(name: &str, command: &str) -> std::result::Result<Subject, String> {
        let words = shell_words::split(command)
            .map_err(|_| format!("a quote in `{command}` is not closed"))?;
        if words.is_empty() {
            return Err("the command is empty".into());
        }
        if !words.iter().any(|word| word.contains(PORT)) {
            return Err(format!(
                "`{command}` does not say where the port belongs: write {PORT} there"
            ));
        }
        Ok(Subject {
            name: name.to_owned(),
            words,
        })
    }

    /// `urecho serve` with one of its engines, so many workers, and this congestion control.
    ///
    /// Errors: [`Error::Machine`] if this program cannot be found again.
    pub fn engine(engine: Engine, workers: usize, congestion: Option<&str>) -> Result<Subject> {
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
        Ok(Subject {
            name: engine.name().to_owned(),
            words: words.map(str::to_owned).collect(),
        })
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
        let subject = Subject::parse("mine=./server --port={port} 'two words' a=b").unwrap();
        assert_eq!(subject.name, "mine");
        let words: Vec<_> = subject.words(4242).collect();
        assert_eq!(words, ["./server", "--port=4242", "two words", "a=b"]);
        assert_eq!(
            Subject::named("mine", &subject.command()),
            Ok(subject),
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
            let wrong = Subject::parse(text).unwrap_err();
            assert!(wrong.contains(part), "{text}: {wrong}");
        }
    }
}
