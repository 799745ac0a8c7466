//! Tables over all cells of a run, and what their entries say.

use urecho::compare::comparison::{Ratio, ServerBlocks};
use urecho::output::markdown;

use crate::record::{CPU, Metric, THROUGHPUT, busy_share, compared_with};

/// The engine whose ratio to every other server is shown.
pub(crate) const URING: &str = "uring";

/// A cell of a run.
pub(crate) struct Cell {
    pub(crate) name: String,
    /// None if it was not measured, or only in part.
    pub(crate) servers: Option<Vec<ServerBlocks>>,
}

/// The text for one server in one cell: all servers of the cell, and one that has not failed.
type Entry<'a> = &'a dyn Fn(&[ServerBlocks], &ServerBlocks) -> String;

/// A row per server and a column per cell.
pub(crate) fn by_server(cells: &[Cell], names: &[String], entry: Entry<'_>) -> String {
    let head = [""].into_iter().chain(cells.iter().map(|cell| cell.name.as_str()));
    let rows = names.iter().map(|name| {
        let text = |servers: &[ServerBlocks]| match servers.iter().find(|server| server.name == *name) {
            None => "-".to_owned(),
            Some(server) if server.failure.is_some() => "FAILED".to_owned(),
            Some(server) => entry(servers, server),
        };
        row(name, cells, &text)
    });
    markdown::table(&head.collect::<Vec<_>>(), rows).trim_end().to_owned()
}

/// A further row below such a table.
pub(crate) fn of_cells(name: &str, cells: &[Cell], text: &dyn Fn(&[ServerBlocks]) -> String) -> String {
    let entries: Vec<String> = row(name, cells, text)
        .iter()
        .map(|entry| markdown::escape(entry))
        .collect();
    format!("| {} |", entries.join(" | "))
}

fn row(name: &str, cells: &[Cell], text: &dyn Fn(&[ServerBlocks]) -> String) -> Vec<String> {
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

/// The server with the highest throughput, and those that cannot be distinguished from it.
pub(crate) fn fastest(servers: &[ServerBlocks]) -> String {
    let Some(reference) = servers.first().filter(|server| server.failure.is_none()) else {
        return "n/a".to_owned();
    };
    let estimate = |server: &ServerBlocks| match server.name == reference.name {
        true => Some(1.0),
        false => Some(ratio(&reference.name, &server.name, servers, THROUGHPUT)?.estimate),
    };
    let healthy = servers.iter().filter(|server| server.failure.is_none());
    let known: Vec<(&str, f64)> = healthy
        .filter_map(|server| Some((server.name.as_str(), estimate(server)?)))
        .collect();
    let Some((best, _)) = known.iter().max_by(|a, b| a.1.total_cmp(&b.1)) else {
        return "n/a".to_owned();
    };
    let others = known.iter().map(|(name, _)| *name).filter(|name| name != best);
    let ratios: Option<Vec<(&str, Ratio)>> = others
        .map(|name| Some((name, ratio(name, best, servers, THROUGHPUT)?)))
        .collect();
    match ratios {
        Some(ratios) if ratios.iter().all(|(_, ratio)| ratio.interval.is_some()) => {
            let tied: Vec<&str> = ratios
                .iter()
                .filter(|(_, ratio)| !ratio.is_resolved())
                .map(|(name, _)| *name)
                .collect();
            match tied.as_slice() {
                [] => format!("**{best}**"),
                tied => format!("tie: {best}, {}", tied.join(", ")),
            }
        }
        _ => format!("{best} ?"),
    }
}

/// How much of a CPU the server used.
pub(crate) fn busy(_: &[ServerBlocks], server: &ServerBlocks) -> String {
    busy_share(server).map_or("n/a".to_owned(), |share| format!("{:.0} %", 100.0 * share))
}

/// Ratios of [`URING`] to every other server, with their intervals. None if it is not among them.
pub(crate) fn uring_to_each(servers: &[ServerBlocks]) -> Option<String> {
    let uring = servers.iter().find(|server| server.name == URING)?;
    let others: Vec<&ServerBlocks> = servers.iter().filter(|server| server.name != URING).collect();
    let head = format!("{URING} to");
    let heads: Vec<&str> = [head.as_str()]
        .into_iter()
        .chain(others.iter().map(|server| server.name.as_str()))
        .collect();
    let rows = [("messages/s", THROUGHPUT), ("CPU/message", CPU)].map(|(name, metric)| {
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
