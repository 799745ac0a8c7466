//! Tables over all cells of a run, and what their entries say.

use urecho::compare::comparison::{Ratio, ServerBlocks};
use urecho::output::markdown;

use crate::record::{CPU, Metric, P50, P99, THROUGHPUT, busy_share, compared_with};
use crate::servers::FLOOR;

/// The engine whose ratio to every other server is shown.
pub(crate) const URING: &str = "uring";

/// A cell of a run.
pub(crate) struct Cell {
    pub(crate) name: String,
    /// True if its rate is given: then latency distinguishes servers, and throughput does not.
    pub(crate) is_open_loop: bool,
    /// None if it was not measured, or only in part.
    pub(crate) servers: Option<Vec<ServerBlocks>>,
}

/// The text for one server in one cell: all servers of the cell, and one that has not failed.
type Entry<'a> = &'a dyn Fn(&[ServerBlocks], &ServerBlocks) -> String;

/// A server as a row or column names it.
pub(crate) fn label(name: &str) -> String {
    match name {
        FLOOR => format!("{name} (floor)"),
        name => name.to_owned(),
    }
}

/// A row per server and a column per cell.
pub(crate) fn by_server(cells: &[&Cell], names: &[String], entry: Entry<'_>) -> String {
    let head = [""].into_iter().chain(cells.iter().map(|cell| cell.name.as_str()));
    let rows = names.iter().map(|name| {
        let text = |servers: &[ServerBlocks]| match servers.iter().find(|server| server.name == *name) {
            None => "-".to_owned(),
            Some(server) if server.failure.is_some() => "FAILED".to_owned(),
            Some(server) => entry(servers, server),
        };
        row(&label(name), cells, &text)
    });
    markdown::table(&head.collect::<Vec<_>>(), rows).trim_end().to_owned()
}

/// A further row below such a table.
pub(crate) fn of_cells(name: &str, cells: &[&Cell], text: &dyn Fn(&[ServerBlocks]) -> String) -> String {
    let entries: Vec<String> = row(name, cells, text)
        .iter()
        .map(|entry| markdown::escape(entry))
        .collect();
    format!("| {} |", entries.join(" | "))
}

fn row(name: &str, cells: &[&Cell], text: &dyn Fn(&[ServerBlocks]) -> String) -> Vec<String> {
    let entries = cells.iter().map(|cell| match &cell.servers {
        Some(servers) => text(servers),
        None => "-".to_owned(),
    });
    [name.to_owned()].into_iter().chain(entries).collect()
}

/// The ratio of a server to the reference.
pub(crate) fn ratio_to(reference: &str, metric: Metric) -> impl Fn(&[ServerBlocks], &ServerBlocks) -> String {
    move |servers, server| {
        if server.name == reference {
            return "1".to_owned();
        }
        short(ratio(reference, &server.name, servers, metric))
    }
}

/// The ratio of [`URING`] to a server.
pub(crate) fn ratio_of_uring(metric: Metric) -> impl Fn(&[ServerBlocks], &ServerBlocks) -> String {
    move |servers, server| match servers.iter().find(|other| other.name == URING) {
        Some(uring) if uring.failure.is_none() => short(ratio(&server.name, URING, servers, metric)),
        _ => "FAILED".to_owned(),
    }
}

/// The ratio of `name` to `reference`.
fn ratio(reference: &str, name: &str, servers: &[ServerBlocks], metric: Metric) -> Option<Ratio> {
    let compared = compared_with(reference, servers);
    metric(compared.iter().find(|server| server.name == name)?)
}

/// Without its interval.
fn short(ratio: Option<Ratio>) -> String {
    match ratio {
        None => "n/a".to_owned(),
        Some(ratio) => {
            let text = ratio.to_string();
            text.split(" (").next().unwrap_or_default().to_owned()
        }
    }
}

/// Which ratio is best.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Best {
    Highest,
    Lowest,
}

/// The server with the best ratio to the reference, and those that cannot be distinguished from it. Never [`FLOOR`].
pub(crate) fn first(metric: Metric, best: Best) -> impl Fn(&[ServerBlocks]) -> String {
    move |servers| first_of(servers, metric, best).unwrap_or_else(|| "n/a".to_owned())
}

fn first_of(servers: &[ServerBlocks], metric: Metric, best: Best) -> Option<String> {
    let reference = servers.first().filter(|server| server.failure.is_none())?;
    let rank = |name: &str| {
        let estimate = match name == reference.name {
            true => 1.0,
            false => ratio(&reference.name, name, servers, metric)?.estimate,
        };
        Some(match best {
            Best::Highest => estimate,
            Best::Lowest => -estimate,
        })
    };
    let healthy = servers.iter().filter(|server| server.failure.is_none());
    let names = healthy.map(|server| server.name.as_str()).filter(|&name| name != FLOOR);
    let known: Vec<(&str, f64)> = names.filter_map(|name| Some((name, rank(name)?))).collect();
    let (first, _) = known.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let others = known.iter().map(|(name, _)| *name).filter(|name| name != first);
    let ratios: Option<Vec<(&str, Ratio)>> = others
        .map(|name| Some((name, ratio(name, first, servers, metric)?)))
        .collect();
    let ratios = ratios.filter(|ratios| ratios.iter().all(|(_, ratio)| ratio.interval.is_some()));
    let Some(ratios) = ratios else {
        return Some(format!("{first} ?"));
    };
    let tied = ratios.iter().filter(|(_, ratio)| !ratio.is_resolved());
    let tied: Vec<&str> = tied.map(|(name, _)| *name).collect();
    Some(match tied.as_slice() {
        [] => format!("**{first}**"),
        tied => format!("tie: {first}, {}", tied.join(", ")),
    })
}

/// How much of a CPU the server used.
pub(crate) fn busy(_: &[ServerBlocks], server: &ServerBlocks) -> String {
    busy_share(server).map_or("n/a".to_owned(), |share| format!("{:.0} %", 100.0 * share))
}

/// Ratios of [`URING`] to every other server, with their intervals. None if it is not among them.
pub(crate) fn uring_to_each(is_open_loop: bool, servers: &[ServerBlocks]) -> Option<String> {
    let uring = servers.iter().find(|server| server.name == URING)?;
    let others: Vec<&ServerBlocks> = servers.iter().filter(|server| server.name != URING).collect();
    let labels = others.iter().map(|server| label(&server.name));
    let heads: Vec<String> = [format!("{URING} to")].into_iter().chain(labels).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let main = match is_open_loop {
        true => ("p50", P50),
        false => ("messages/s", THROUGHPUT),
    };
    let rows = [main, ("p99", P99), ("CPU/message", CPU)].map(|(name, metric)| {
        let entries = others.iter().map(|server| {
            if server.failure.is_some() || uring.failure.is_some() {
                return "FAILED".to_owned();
            }
            ratio(&server.name, URING, servers, metric).map_or("n/a".to_owned(), |ratio| ratio.to_string())
        });
        [name.to_owned()].into_iter().chain(entries).collect::<Vec<_>>()
    });
    Some(markdown::table(&heads, rows).trim_end().to_owned())
}
