//! What `urecho sockets` lists: the TCP sockets of this machine, their processes, and how their connections do.
//!
//! The kernel's list comes from `sys::sock_diag`, the processes from the links in /proc. Figures have the meaning that
//! ss(8) gives them.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

#[cfg(test)]
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::output::table::Column::{Left, Right};
use crate::output::{json, table, untrusted};
use crate::sys::sock_diag::{self, Socket, State};
use crate::sys::socket_owner::{self, Holder};
use crate::units::{show_count, show_duration, show_size};

/// The name and version of the JSON.
pub const SCHEMA: &str = "urecho.sockets/1";

/// The JSON Schema of what [`Listing::json`] writes.
pub const SOCKETS_SCHEMA: &str = include_str!("sockets.schema.json");

/// Which sockets are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those with this port, at either end.
    pub port: Option<u16>,
    /// Those that this process holds.
    pub pid: Option<i32>,
    /// Those that listen as well, and those in TIME-WAIT.
    pub all: bool,
}

/// TCP sockets of this network namespace.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// Name and version of this format.
    pub schema: &'static str,
    /// Sockets by state, of all that the port and the process select.
    pub states: BTreeMap<&'static str, u64>,
    /// Those that are listed.
    pub sockets: Vec<Row>,
}

/// A socket.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its state, as ss(8) writes it.
    pub state: &'static str,
    /// Bytes that were received and not read; of a listener, connections that wait to be accepted.
    pub receive_queue: u32,
    /// Bytes that were sent and not acknowledged; of a listener, connections that may wait.
    pub send_queue: u32,
    /// Its address and port.
    pub local: String,
    /// The address and port of its peer; null for a listener.
    pub peer: Option<String>,
    /// The processes that hold it; empty if none is visible.
    pub processes: Vec<Process>,
    /// Its congestion control. Null if the kernel does not say, here and below.
    pub congestion: Option<String>,
    /// Smoothed round-trip time.
    pub rtt_ns: Option<u64>,
    /// The mean deviation of the round-trip time.
    pub rtt_variation_ns: Option<u64>,
    /// The congestion window, in segments.
    pub congestion_window_segments: Option<u32>,
    /// Segments that are sent and not acknowledged.
    pub unacknowledged_segments: Option<u32>,
    /// Segments that were sent again, since the connection was opened.
    pub retransmits: Option<u32>,
    /// The largest segment that is sent.
    pub segment_bytes: Option<u32>,
    /// How fast the kernel sends at most.
    pub pacing_bytes_per_s: Option<u64>,
    /// Bytes that were acknowledged, since the connection was opened.
    pub acknowledged_bytes: Option<u64>,
    /// Bytes that were received, since then.
    pub received_bytes: Option<u64>,
}

/// A process that holds a socket.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its name.
    pub name: String,
}

impl Listing {
    /// The sockets that a filter selects. Errors: [`Error::Machine`] if the kernel does not list them.
    pub fn read(filter: Filter) -> Result<Listing> {
        let all = sock_diag::sockets().map_err(|cause| {
            Error::Machine(format!(
                "cannot list sockets by sock_diag(7): {cause}. The kernel needs CONFIG_INET_DIAG (module tcp_diag)"
            ))
        })?;
        Ok(Listing::of(all, &socket_owner::holders(), filter))
    }

    fn of(all: Vec<Socket>, holders: &BTreeMap<u64, Vec<Holder>>, filter: Filter) -> Listing {
        let holders_of = |socket: &Socket| holders.get(&socket.inode).map(Vec::as_slice).unwrap_or_default();
        let selected = all.into_iter().filter(|socket| {
            let has_port = |port| socket.local.port() == port || socket.peer.port() == port;
            let has_pid = |pid| holders_of(socket).iter().any(|holder| holder.pid == pid);
            filter.port.is_none_or(has_port) && filter.pid.is_none_or(has_pid)
        });
        let mut selected: Vec<Socket> = selected.collect();
        selected.sort_by_key(|socket| (socket.state, socket.local, socket.peer));
        let mut states = BTreeMap::new();
        for socket in &selected {
            *states.entry(socket.state.name()).or_insert(0) += 1;
        }
        let is_listed =
            |socket: &&Socket| filter.all || !matches!(socket.state, State::Listen | State::TimeWait | State::Closed);
        let rows = selected.iter().filter(is_listed);
        Listing {
            schema: SCHEMA,
            states,
            sockets: rows.map(|socket| Row::of(socket, holders_of(socket))).collect(),
        }
    }

    /// As JSON.
    pub fn json(&self) -> String {
        json::document(self)
    }
}

impl Row {
    fn of(socket: &Socket, holders: &[Holder]) -> Row {
        let flow = socket.flow.as_ref();
        Row {
            state: socket.state.name(),
            receive_queue: socket.receive_queue,
            send_queue: socket.send_queue,
            local: socket.local.to_string(),
            peer: (socket.state != State::Listen).then(|| socket.peer.to_string()),
            processes: holders
                .iter()
                .map(|holder| Process {
                    pid: holder.pid,
                    name: holder.name.clone(),
                })
                .collect(),
            congestion: socket.congestion.clone(),
            rtt_ns: flow.map(|flow| flow.rtt.0),
            rtt_variation_ns: flow.map(|flow| flow.rtt_variation.0),
            congestion_window_segments: flow.map(|flow| flow.congestion_window),
            unacknowledged_segments: flow.map(|flow| flow.unacknowledged),
            retransmits: flow.map(|flow| flow.retransmits_total),
            segment_bytes: flow.map(|flow| flow.segment_size),
            pacing_bytes_per_s: flow.and_then(|flow| flow.pacing_rate),
            acknowledged_bytes: flow.map(|flow| flow.acknowledged),
            received_bytes: flow.map(|flow| flow.received),
        }
    }

    fn cells(&self) -> [String; 11] {
        let shown = |figure: Option<String>| figure.unwrap_or_else(|| "-".into());
        let processes = self.processes.iter();
        let processes: Vec<String> = processes
            .map(|process| format!("{} ({})", untrusted::line(&process.name), process.pid))
            .collect();
        [
            self.state.into(),
            show_count(self.receive_queue.into()),
            show_count(self.send_queue.into()),
            self.local.clone(),
            self.peer.clone().unwrap_or_else(|| "*".into()),
            shown(self.rtt_ns.map(|rtt| show_duration(crate::clock::Nanos(rtt)))),
            shown(self.congestion_window_segments.map(|window| show_count(window.into()))),
            shown(self.retransmits.map(|segments| show_count(segments.into()))),
            shown(self.congestion.as_deref().map(|name| untrusted::line(name).to_string())),
            shown(self.pacing_bytes_per_s.map(|rate| format!("{}/s", show_size(rate)))),
            shown((!processes.is_empty()).then(|| processes.join(", "))),
        ]
    }
}

const HEAD: [&str; 11] = [
    "state",
    "recv-q",
    "send-q",
    "local",
    "peer",
    "rtt",
    "cwnd",
    "retrans",
    "congestion",
    "pacing",
    "process",
];

impl Display for Listing {
    /// A table, and the number of sockets in each state.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 11]> = self.sockets.iter().map(Row::cells).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).max(HEAD[column].len())
        };
        let columns: Vec<table::Column> = (0..HEAD.len())
            .map(|column| match column {
                1 | 2 | 5 | 6 | 7 | 9 => Right(width(column)),
                _ => Left(width(column)),
            })
            .collect();
        if !rows.is_empty() {
            writeln!(f, "{}", table::row(&columns, &HEAD))?;
        }
        for row in &rows {
            writeln!(f, "{}", table::row(&columns, row))?;
        }
        let states = self.states.iter();
        let states: Vec<String> = states
            .map(|(state, count)| format!("{} {state}", show_count(*count)))
            .collect();
        match states.is_empty() {
            true => writeln!(f, "no TCP sockets"),
            false => writeln!(f, "sockets: {}", states.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn socket(state: State, local: u16, peer: u16, inode: u64) -> Socket {
        Socket {
            state,
            receive_queue: 5,
            send_queue: 0,
            local: SocketAddr::from(([127, 0, 0, 1], local)),
            peer: SocketAddr::from(([127, 0, 0, 1], peer)),
            inode,
            congestion: Some("cubic".into()),
            flow: None,
        }
    }

    fn listing(filter: Filter) -> Listing {
        let all = vec![
            socket(State::TimeWait, 40_001, 7007, 0),
            socket(State::Established, 7007, 40_000, 11),
            socket(State::Listen, 7007, 0, 10),
            socket(State::Established, 22, 50_000, 12),
        ];
        let holder = |pid, name: &str| Holder { pid, name: name.into() };
        let holders = BTreeMap::from([
            (10, vec![holder(1, "urecho")]),
            (11, vec![holder(1, "urecho"), holder(2, "\x1b[31mevil")]),
        ]);
        Listing::of(all, &holders, filter)
    }

    #[test]
    fn connections_are_listed_and_all_states_counted() {
        let listing = listing(Filter {
            port: Some(7007),
            ..Filter::default()
        });
        assert_eq!(listing.sockets.len(), 1);
        let expected = BTreeMap::from([("ESTAB", 1), ("LISTEN", 1), ("TIME-WAIT", 1)]);
        assert_eq!(listing.states, expected);
        let text = listing.to_string();
        assert!(text.contains("sockets: 1 ESTAB, 1 LISTEN, 1 TIME-WAIT"), "{text}");
        assert!(text.contains("urecho (1), \\x1b[31mevil (2)"), "{text}");
    }

    #[test]
    fn a_process_selects_its_sockets() {
        let filter = Filter {
            pid: Some(1),
            all: true,
            ..Filter::default()
        };
        let rows = listing(filter).sockets;
        assert_eq!(
            rows.iter().map(|row| row.state).collect::<Vec<_>>(),
            ["LISTEN", "ESTAB"]
        );
        assert_eq!(
            (rows[0].peer.as_deref(), rows[1].peer.as_deref()),
            (None, Some("127.0.0.1:40000"))
        );
    }

    #[test]
    fn nothing_is_no_table() {
        let listing = listing(Filter {
            port: Some(1),
            ..Filter::default()
        });
        assert_eq!(listing.to_string(), "no TCP sockets\n");
    }
}
