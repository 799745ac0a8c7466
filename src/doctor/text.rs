//! An examination as text, to be read in ten seconds: what is blocked, what to change, then all that is as it should
//! be. Every finding is in one place. Commands have lines of their own, to be copied, and are never broken.

use std::fmt::{self, Display, Formatter};

use super::finding::{Finding, State};
use super::{Examination, Group};
use crate::ring::Remedy;
use crate::units::plural;

/// Where lines end, unless a command is longer.
const WIDTH: usize = 100;

/// Columns before the text of a finding: its state, and its name.
const STATE: usize = 7;
const NAME: usize = 19;

impl Display for Examination {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.headline(f)?;
        for (title, state) in [("blocked", State::Blocked), ("to change", State::Warning)] {
            let findings: Vec<&Finding> = self.with_state(&[state]).collect();
            section(f, title, &findings)?;
        }
        for Group { name, findings } in &self.groups {
            let rest = findings.iter();
            let rest = rest.filter(|finding| !matches!(finding.state, State::Blocked | State::Warning));
            section(f, name, &rest.collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

impl Examination {
    fn headline(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let able = match self.can_serve {
            true => "urecho can run here with io_uring",
            false => "urecho cannot run here with io_uring",
        };
        let count = |state| self.with_state(&[state]).count() as u64;
        let counts = [
            (State::Blocked, "blocked"),
            (State::Warning, "to change"),
            (State::Note, "for information"),
            (State::Unknown, "not known"),
        ];
        let counts: Vec<String> = counts
            .into_iter()
            .map(|(state, what)| (count(state), what))
            .filter(|&(count, _)| count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let counts = if counts.is_empty() {
            "nothing to change".into()
        } else {
            counts.join(", ")
        };
        writeln!(f, "{able}: {counts}")?;
        if self.partial {
            writeln!(f, "PARTIAL: interrupted while noise was measured")?;
        }
        Ok(())
    }
}

/// Nothing, if there are no findings.
fn section(f: &mut Formatter<'_>, title: &str, findings: &[&Finding]) -> fmt::Result {
    if findings.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}")?;
    let (working, others): (Vec<&Finding>, Vec<&Finding>) = findings.iter().partition(|finding| is_plain(finding));
    for finding in others {
        write_finding(f, finding)?;
    }
    if !working.is_empty() {
        let names: Vec<&str> = working.iter().map(|finding| finding.name).collect();
        let tried = plural(working.len() as u64, "feature");
        let text = format!("{tried} tried: {}", names.join(", "));
        write_line(f, State::Ok, "works", &text)?;
    }
    Ok(())
}

/// True for a finding about which there is nothing to say but that it works.
fn is_plain(finding: &Finding) -> bool {
    finding.state == State::Ok && finding.what == "works" && finding.remedies.is_empty()
}

fn write_finding(f: &mut Formatter<'_>, finding: &Finding) -> fmt::Result {
    let connections = finding.connections.map(|connections| format!("{connections}: "));
    let text = connections.unwrap_or_default() + &finding.what;
    write_line(f, finding.state, finding.name, &text)?;
    let indent = " ".repeat(STATE + NAME);
    for paragraph in &finding.explanation {
        writeln!(f)?;
        write_wrapped(f, &indent, &indent, paragraph)?;
    }
    if !finding.explanation.is_empty() {
        writeln!(f)?;
    }
    for Remedy { command, note } in &finding.remedies {
        writeln!(f, "{indent}$ {command}")?;
        if !note.is_empty() {
            let indent = format!("{indent}  # ");
            write_wrapped(f, &indent, &indent, note)?;
        }
    }
    Ok(())
}

fn write_line(f: &mut Formatter<'_>, state: State, name: &str, text: &str) -> fmt::Result {
    let mark = match state {
        State::Ok => "ok",
        State::Note => "note",
        State::Warning => "!",
        State::Blocked => "X",
        State::Unknown => "?",
    };
    let first = format!("{:<STATE$}{name:<NAME$}", format!("  {mark}"));
    write_wrapped(f, &first, &" ".repeat(STATE + NAME), text)
}

/// Writes words in lines of [`WIDTH`] at most, where words allow it.
fn write_wrapped(f: &mut Formatter<'_>, first: &str, indent: &str, text: &str) -> fmt::Result {
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let is_full = line.chars().count() + 1 + word.chars().count() > WIDTH;
        if is_full && !is_empty {
            writeln!(f, "{line}")?;
            line = indent.to_owned();
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    writeln!(f, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Environment;
    use crate::sys::machine;

    fn examination(findings: Vec<Finding>) -> Examination {
        Examination {
            schema: super::super::SCHEMA,
            partial: false,
            can_serve: true,
            environment: Environment::of(machine::describe()),
            groups: vec![Group {
                name: "limits",
                findings,
            }],
            noise: None,
        }
    }

    #[test]
    fn what_has_to_change_comes_first_with_its_command_on_a_line() {
        let findings = vec![
            Finding::ok("memory", "1 GiB is left"),
            Finding::warning("descriptors", "1,024").remedy("ulimit -n 65536", "as root"),
        ];
        let expected = [
            "urecho can run here with io_uring: 1 to change",
            "",
            "to change",
            "  !    descriptors        1,024",
            "                          $ ulimit -n 65536",
            "                            # as root",
            "",
            "limits",
            "  ok   memory             1 GiB is left",
            "",
        ];
        assert_eq!(examination(findings).to_string(), expected.join("\n"));
    }

    #[test]
    fn features_that_work_share_a_line() {
        let findings = vec![Finding::ok("msg-ring", "works"), Finding::ok("no-iowait", "works")];
        let text = examination(findings).to_string();
        assert!(
            text.contains("  ok   works              2 features tried: msg-ring, no-iowait\n"),
            "{text}"
        );
    }

    #[test]
    fn long_sentences_are_broken_between_words_and_commands_are_not() {
        let long = "word ".repeat(60);
        let command = "command ".repeat(60);
        let text = examination(vec![Finding::note("SMT", long).remedy(command.trim_end(), "")]).to_string();
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH || line.contains("$ command"), "{line}");
            assert_eq!(line, line.trim_end());
        }
        assert!(text.contains(command.trim_end()));
    }
}
