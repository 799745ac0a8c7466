//! Flags that are not on the command line: from `URECHO_*` environment variables, and below those from the file of
//! `--config`.
//!
//! They are added to the command line as words before it is parsed, so that every flag has them, in every command, and
//! all are checked in the same place. `--io epoll` on the command line outweighs `URECHO_IO=uring`, and that outweighs
//! `io = "uring"` in the section of the command.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::{Table, Value};

use crate::cli::input;
use crate::error::{Error, Result};

/// A command line with what it leaves out, and where that is from.
#[derive(Debug, PartialEq)]
pub(super) struct Completed {
    pub(super) words: Vec<OsString>,
    /// Long names of flags, and the source of their value.
    origins: Vec<(String, String)>,
}

impl Completed {
    /// Where the value of an argument is from, which an error names as `--rate <RATE>`; none if it is on the command
    /// line.
    pub(super) fn origin(&self, argument: &str) -> Option<&str> {
        let name = argument.trim_start_matches('-').split([' ', '=']).next()?;
        let found = self.origins.iter().find(|(flag, _)| flag == name);
        found.map(|(_, origin)| origin.as_str())
    }
}

/// The words of a command line, which begins with the name of the program, with the flags that environment and
/// configuration add. Errors: [`Error::Usage`] that names the variable, or the file and key.
pub(super) fn complete(
    root: &Command,
    words: Vec<OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Completed> {
    let lenient = root.clone().ignore_errors(true);
    let Ok(matches) = lenient.try_get_matches_from(&words) else {
        return Ok(Completed {
            words,
            origins: Vec::new(),
        }); // Help, or a version.
    };
    let (mut command, mut given, mut path) = (root, &matches, Vec::new());
    while let Some((name, below)) = given.subcommand() {
        let Some(found) = command.find_subcommand(name) else {
            break;
        };
        (command, given) = (found, below);
        path.push(name);
    }
    let Some(&section) = path.first().filter(|_| !command.is_hide_set()) else {
        return Ok(Completed {
            words,
            origins: Vec::new(),
        });
    };
    let globals = root.get_arguments().filter(|arg| arg.is_global_set());
    let arguments: Vec<&Arg> = command
        .get_arguments()
        .chain(globals)
        .filter(|arg| arg.get_long().is_some())
        .collect();
    let mut added = Added {
        given,
        words: Vec::new(),
        origins: Vec::new(),
    };
    for arg in &arguments {
        added.variable(arg, &variable)?;
    }
    let config = match given.get_one::<PathBuf>("config") {
        Some(path) => Some(path.clone()),
        None => variable("URECHO_CONFIG")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
    };
    // A nested command has flags of its own: they are not in the section of the command above it.
    if let Some(file) = config.filter(|_| path.len() == 1) {
        added.file(&file, section, root, &arguments)?;
    }
    let Added {
        words: more, origins, ..
    } = added;
    Ok(Completed {
        words: inserted(words, more),
        origins,
    })
}

/// Before `--`, which ends flags.
fn inserted(mut words: Vec<OsString>, more: Vec<OsString>) -> Vec<OsString> {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    words.splice(end..end, more);
    words
}

/// What is added to a command line.
struct Added<'a> {
    /// What is on it.
    given: &'a ArgMatches,
    words: Vec<OsString>,
    origins: Vec<(String, String)>,
}

impl Added<'_> {
    /// True if a flag has a value already.
    fn has(&self, arg: &Arg) -> bool {
        let on_command_line = self.given.try_contains_id(arg.get_id().as_str()).unwrap_or(false)
            && self.given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        on_command_line
            || self
                .origins
                .iter()
                .any(|(name, _)| Some(name.as_str()) == arg.get_long())
    }

    fn variable(&mut self, arg: &Arg, variable: impl Fn(&str) -> Option<OsString>) -> Result<()> {
        let long = arg.get_long().unwrap_or_default();
        let name = format!("URECHO_{}", long.to_uppercase().replace('-', "_"));
        let Some(value) = variable(&name).filter(|value| !value.is_empty() && !self.has(arg)) else {
            return Ok(());
        };
        if takes_value(arg) {
            self.push(long, Some(&value), &name);
            return Ok(());
        }
        match value.to_str() {
            Some("1" | "true" | "yes") => self.push(long, None, &name),
            // Noted, so that it outweighs the file.
            Some("0" | "false" | "no") => self.origins.push((long.to_owned(), name)),
            _ => return Err(Error::Usage(format!("{name} turns a flag on or off: write 1 or 0"))),
        }
        Ok(())
    }

    fn file(&mut self, file: &Path, section: &str, root: &Command, arguments: &[&Arg]) -> Result<()> {
        let name = file.display();
        let usage = |what: String| Error::Usage(format!("{name}: {what}"));
        let text = input::read(file)?;
        let table: Table = text
            .parse()
            .map_err(|cause: toml::de::Error| usage(cause.message().to_owned()))?;
        let is_command = |key: &str| root.find_subcommand(key).is_some_and(|command| !command.is_hide_set());
        if let Some(key) = table.keys().find(|key| !is_command(key)) {
            return Err(usage(format!(
                "[{key}] is no command: sections are named after commands, as in [load]"
            )));
        }
        let flags = match table.get(section) {
            Some(Value::Table(flags)) => flags,
            Some(_) => return Err(usage(format!("write a section, [{section}]"))),
            None => return Ok(()),
        };
        for (key, value) in flags {
            let Some(arg) = arguments
                .iter()
                .find(|arg| arg.get_long() == Some(key) && key != "config")
            else {
                return Err(usage(format!(
                    "[{section}] has no flag `{key}`: see `urecho {section} --help`"
                )));
            };
            if !self.has(arg) {
                self.value(arg, value)
                    .map_err(|what| usage(format!("{key} in [{section}] {what}")))?;
                // Only now: a list has several values of one flag.
                self.origins.push((key.clone(), format!("{name}, [{section}]")));
            }
        }
        Ok(())
    }

    /// Errors: what a value must be instead.
    fn value(&mut self, arg: &Arg, value: &Value) -> std::result::Result<(), String> {
        let long = arg.get_long().unwrap_or_default();
        match (takes_value(arg), value) {
            (false, Value::Boolean(true)) => self.word(long, None),
            (false, Value::Boolean(false)) => {}
            (false, _) => return Err("must be true or false".into()),
            (true, Value::String(text)) => self.word(long, Some(OsStr::new(text))),
            (true, Value::Integer(number)) => self.word(long, Some(OsStr::new(&number.to_string()))),
            (true, Value::Float(number)) => self.word(long, Some(OsStr::new(&number.to_string()))),
            (true, Value::Array(values)) => values.iter().try_for_each(|value| match value {
                Value::Array(_) => Err("must not be a list of lists".to_owned()),
                value => self.value(arg, value),
            })?,
            (true, _) => return Err("must be a text, a number, or a list of those".into()),
        }
        Ok(())
    }

    fn push(&mut self, long: &str, value: Option<&OsStr>, origin: &str) {
        self.word(long, value);
        self.origins.push((long.to_owned(), origin.to_owned()));
    }

    fn word(&mut self, long: &str, value: Option<&OsStr>) {
        let mut word = OsString::from(format!("--{long}"));
        if let Some(value) = value {
            word.push("=");
            word.push(value);
        }
        self.words.push(word);
    }
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn completed(line: &str, variables: &[(&str, &str)]) -> Result<Completed> {
        let words = line.split(' ').map(OsString::from).collect();
        let variable = |name: &str| {
            let found = variables.iter().find(|(one, _)| *one == name);
            found.map(|(_, value)| OsString::from(value))
        };
        complete(&Cli::command(), words, variable)
    }

    fn line(line: &str, variables: &[(&str, &str)]) -> String {
        let words = completed(line, variables).unwrap().words;
        words.join(OsStr::new(" ")).into_string().unwrap()
    }

    /// A file of this content, and the flag that names it.
    fn config(text: &str) -> (tempfile::NamedTempFile, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let flag = format!("--config={}", file.path().display());
        (file, flag)
    }

    #[test]
    fn a_variable_is_a_flag_that_the_command_line_outweighs() {
        let rate = [("URECHO_RATE", "5k/s")];
        assert_eq!(line("urecho load", &rate), "urecho load --rate=5k/s");
        assert_eq!(line("urecho load --rate 1k/s", &rate), "urecho load --rate 1k/s");
        assert_eq!(line("urecho serve", &rate), "urecho serve", "which has no such flag");
        assert_eq!(line("urecho load -- x", &rate), "urecho load --rate=5k/s -- x");
        assert_eq!(line("urecho load", &[("URECHO_RATE", "")]), "urecho load");
        assert_eq!(line("urecho", &rate), "urecho");
        assert_eq!(line("urecho load --help", &rate), "urecho load --help");
    }

    #[test]
    fn a_variable_turns_a_flag_on_or_off() {
        let verify = |value| completed("urecho load", &[("URECHO_NO_VERIFY", value)]);
        assert_eq!(verify("1").unwrap().words.len(), 3);
        assert_eq!(verify("0").unwrap().words.len(), 2);
        assert!(verify("maybe").unwrap_err().to_string().contains("URECHO_NO_VERIFY"));
    }

    #[test]
    fn a_file_has_a_section_for_each_command() {
        let (_file, flag) = config(
            "[load]\nconnections = 7\nassert = ['p99<1ms', 'errors<=0']\nno-verify = true\n[serve]\nworkers = 2\n[check]\nbudget = '9s'\n",
        );
        let load = line(&format!("urecho load {flag}"), &[]);
        assert!(
            load.ends_with("--assert=p99<1ms --assert=errors<=0 --connections=7 --no-verify"),
            "{load}"
        );
        assert!(line(&format!("urecho serve {flag}"), &[]).ends_with("--workers=2"));
        assert!(line(&format!("urecho {flag} doctor"), &[]).ends_with("doctor"));
        let replay = format!("urecho check replay check.json {flag}");
        assert_eq!(line(&replay, &[]), replay, "it is a command of its own");
    }

    #[test]
    fn the_command_line_outweighs_a_variable_and_that_a_file() {
        let (file, flag) = config("[load]\nconnections = 7\n");
        let variables = [("URECHO_CONNECTIONS", "8")];
        assert!(line(&format!("urecho load {flag}"), &variables).ends_with("--connections=8"));
        assert!(line(&format!("urecho load -c9 {flag}"), &variables).ends_with(&flag));
        let (_on, on) = config("[load]\nno-verify = true\n");
        assert!(
            line(&format!("urecho load {on}"), &[("URECHO_NO_VERIFY", "0")]).ends_with(&on),
            "off"
        );
        let path = file.path().to_str().unwrap();
        assert_eq!(
            line("urecho load", &[("URECHO_CONFIG", path)]),
            format!("urecho load --config={path} --connections=7")
        );
    }

    #[test]
    fn what_a_file_cannot_say_is_named() {
        for (text, words) in [
            ("[load", "file"),
            ("[lod]\n", "[lod] is no command"),
            ("[guard]\n", "[guard] is no command"),
            ("load = 3\n", "write a section, [load]"),
            ("[load]\nconections = 7\n", "[load] has no flag `conections`"),
            ("[load]\nconfig = 'x'\n", "[load] has no flag `config`"),
            ("[load]\nno-verify = 'x'\n", "no-verify in [load] must be true or false"),
            ("[load]\nrate = { x = 1 }\n", "rate in [load] must be a text"),
            (
                "[load]\nassert = [['x']]\n",
                "assert in [load] must not be a list of lists",
            ),
        ] {
            let (file, flag) = config(text);
            let error = completed(&format!("urecho load {flag}"), &[]).unwrap_err().to_string();
            let words = if words == "file" {
                file.path().to_str().unwrap()
            } else {
                words
            };
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn an_origin_is_found_by_what_an_error_names() {
        let completed = completed("urecho load", &[("URECHO_RATE", "fast")]).unwrap();
        assert_eq!(completed.origin("--rate <RATE>"), Some("URECHO_RATE"));
        assert_eq!(completed.origin("--connections <N>"), None);
    }
}
