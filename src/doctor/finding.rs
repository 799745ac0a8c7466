//! One thing that was found out about this machine.

#[cfg(test)]
use schemars::JsonSchema;
use serde::Serialize;

use crate::ring::Remedy;
use crate::units::show_count;

/// One thing that was found out, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What it is about, `descriptors`. Stable: scripts may search for it.
    pub name: &'static str,
    /// Whether something has to change.
    pub state: State,
    /// What was found, in a sentence.
    pub what: String,
    /// How many connections it allows at once; null if it does not limit them, or if that is not known.
    pub connections: Option<Connections>,
    /// More about it, for a reader who has never heard of it: paragraphs.
    pub explanation: Vec<String>,
    /// What to do about it, or to get more of it; one of them is enough.
    pub remedies: Vec<Remedy>,
}

/// Whether something has to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is as it should be.
    Ok,
    /// Worth knowing; nothing has to change.
    Note,
    /// It costs accuracy, or connections.
    Warning,
    /// It prevents urecho from running.
    Blocked,
    /// It cannot be found out here.
    Unknown,
}

/// How many connections a limit allows at once; null for a command that it does not limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Connections {
    /// To `urecho serve`.
    pub serve: Option<u64>,
    /// To `urecho load`, with one target and one source address.
    pub load: Option<u64>,
}

impl Connections {
    /// The smaller of both.
    pub(super) fn least(self) -> Option<u64> {
        self.serve.into_iter().chain(self.load).min()
    }
}

impl std::fmt::Display for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.serve, self.load) {
            (Some(serve), Some(load)) if serve == load => write!(f, "{} connections", show_count(serve)),
            (Some(serve), Some(load)) => {
                write!(f, "serve {}, load {} connections", show_count(serve), show_count(load))
            }
            (Some(serve), None) => write!(f, "serve {} connections", show_count(serve)),
            (None, Some(load)) => write!(f, "load {} connections", show_count(load)),
            (None, None) => f.write_str("any number of connections"),
        }
    }
}

impl Finding {
    fn new(name: &'static str, state: State, what: impl Into<String>) -> Finding {
        Finding {
            name,
            state,
            what: what.into(),
            connections: None,
            explanation: Vec::new(),
            remedies: Vec::new(),
        }
    }

    pub(super) fn ok(name: &'static str, what: impl Into<String>) -> Finding {
        Finding::new(name, State::Ok, what)
    }

    pub(super) fn note(name: &'static str, what: impl Into<String>) -> Finding {
        Finding::new(name, State::Note, what)
    }

    pub(super) fn warning(name: &'static str, what: impl Into<String>) -> Finding {
        Finding::new(name, State::Warning, what)
    }

    pub(super) fn blocked(name: &'static str, what: impl Into<String>) -> Finding {
        Finding::new(name, State::Blocked, what)
    }

    pub(super) fn unknown(name: &'static str, what: impl Into<String>) -> Finding {
        Finding::new(name, State::Unknown, what)
    }

    /// Something to do about it.
    pub(super) fn remedy(mut self, command: impl Into<String>, note: impl Into<String>) -> Finding {
        self.remedies.push(Remedy::new(command, note));
        self
    }

    /// The same, if that is true.
    pub(super) fn remedy_if(self, condition: bool, command: impl Into<String>, note: impl Into<String>) -> Finding {
        match condition {
            true => self.remedy(command, note),
            false => self,
        }
    }

    /// How many connections it allows. A warning if that is less than what urecho is made for.
    pub(super) fn allows(mut self, serve: Option<u64>, load: Option<u64>) -> Finding {
        let connections = Connections { serve, load };
        if self.state == State::Ok && connections.least().is_some_and(|least| least < ENOUGH) {
            self.state = State::Warning;
        }
        self.connections = Some(connections);
        self
    }
}

/// As many connections as `urecho load -c 10000` opens, the example of the help.
const ENOUGH: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_below_ten_thousand_connections_is_a_warning() {
        let state = |serve, load| Finding::ok("descriptors", "").allows(serve, load).state;
        assert_eq!(state(Some(10_000), None), State::Ok);
        assert_eq!(state(Some(20_000), Some(9_999)), State::Warning);
    }

    #[test]
    fn connections_are_shown_for_the_commands_that_are_limited() {
        let shown = |serve, load| Connections { serve, load }.to_string();
        assert_eq!(
            shown(Some(19_980), Some(19_984)),
            "serve 19,980, load 19,984 connections"
        );
        assert_eq!(shown(Some(5), Some(5)), "5 connections");
        assert_eq!(shown(None, Some(28_232)), "load 28,232 connections");
    }
}
