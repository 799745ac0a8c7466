//! The README of a run: the first server of each cell, all ratios, then every cell with its tables.

use urecho::error::{Error, Result};
use urecho::output::file;

use crate::folder::Folder;
use crate::matrix::Matrix;
use crate::record::{CPU, Metric, P50, P99, THROUGHPUT};
use crate::servers::FLOOR;
use crate::tables::{self, Best, Cell, URING};

/// Writes the README of a directory. Errors: [`Error::Machine`] if a file is missing, and if a recorded ratio does not
/// follow from its blocks.
pub(crate) fn write(folder: &Folder) -> Result<()> {
    file::write(&folder.file("README.md"), &text(folder)?)
}

fn text(folder: &Folder) -> Result<String> {
    let cells = cells(folder)?;
    let names = names(&cells);
    let mut sections = title(&cells, &names);
    sections.extend(ratios_to_reference(&cells, &names));
    if names.iter().any(|name| name == URING) {
        sections.extend(ratios_of_uring(&cells, &names));
    }
    sections.extend([
        "## How busy the server's CPU was".to_owned(),
        tables::by_server(&every(&cells), &names, &tables::busy),
        "Messages per second times CPU time per message, of one CPU. Far below 100 %, the rate, the generator or the \
         latency between the two was the limit, and throughput says little about the server; CPU time per message still \
         does."
            .to_owned(),
        "## Machine and builds".to_owned(),
        format!("```text\n{}```", folder.read("machine")?),
        "## Cells".to_owned(),
    ]);
    sections.extend(details(folder, &cells)?);
    Ok(sections.join("\n\n") + "\n")
}

fn title(cells: &[Cell], names: &[String]) -> Vec<String> {
    let measured = cells.iter().filter(|cell| cell.servers.is_some()).count();
    let labels: Vec<String> = names.iter().map(|name| tables::label(name)).collect();
    let mut sections = vec![
        format!("# {measured} cells, {} servers: {}", names.len(), labels.join(", ")),
        "Written by `bench/suite`; [how to read it](../../README.md#reading-a-run). One run on one machine: the ratios \
         hold for what is under \"Machine and builds\"."
            .to_owned(),
    ];
    if measured < cells.len() {
        let missing = cells.len() - measured;
        sections.push(format!("**{missing} of {} cells are missing.**", cells.len()));
    }
    sections.push(
        "`=`: not resolved, the 95 % confidence interval contains 1. `?`: fewer than 6 restarts, no interval. All intervals are in \
         the tables of the cells, below."
            .to_owned(),
    );
    if names.iter().any(|name| name == FLOOR) {
        sections.push(format!(
            "`{FLOOR}` is the floor: the least that an echo on io_uring can do, with no state per connection. It is no \
             server, and never `first`."
        ));
    }
    sections
}

/// Ratios of one metric, a row per server.
struct Table<'a> {
    name: &'static str,
    metric: Metric,
    /// By which ratio a server is first; none where no server is named.
    first: Option<Best>,
    note: &'static str,
    cells: Vec<&'a Cell>,
}

/// The tables of a summary. Those without cells are left out.
fn tables_of(cells: &[Cell]) -> Vec<Table<'_>> {
    let only = |open: bool| cells.iter().filter(move |cell| cell.is_open_loop == open).collect();
    let mut tables = vec![
        Table {
            name: "Throughput",
            metric: THROUGHPUT,
            first: Some(Best::Highest),
            note: "More is better.",
            cells: only(false),
        },
        Table {
            name: "p50 of response time at a given rate",
            metric: P50,
            first: Some(Best::Lowest),
            note: "Less is better.",
            cells: only(true),
        },
        Table {
            name: "p99 of latency",
            metric: P99,
            first: None,
            note: "Less is better. Without a given rate, latency is [not response time](../../BIAS.md).",
            cells: every(cells),
        },
        Table {
            name: "CPU time of the server per message",
            metric: CPU,
            first: None,
            note: "Less is better.",
            cells: every(cells),
        },
    ];
    tables.retain(|table| !table.cells.is_empty());
    tables
}

fn every(cells: &[Cell]) -> Vec<&Cell> {
    cells.iter().collect()
}

fn ratios_to_reference(cells: &[Cell], names: &[String]) -> Vec<String> {
    let reference = names.first().map_or("", String::as_str);
    let mut sections = Vec::new();
    for table in tables_of(cells) {
        let mut rows = tables::by_server(&table.cells, names, &tables::ratio_to(reference, table.metric));
        if let Some(best) = table.first {
            rows += "\n";
            rows += &tables::of_cells("first", &table.cells, &tables::first(table.metric, best));
        }
        sections.push(format!("## {}, ratio to {reference}", table.name));
        sections.extend([rows, table.note.to_owned()]);
    }
    sections.push(
        "First: the best ratio. Tie: its ratio to the servers after it, computed from the same blocks, is not resolved."
            .to_owned(),
    );
    sections
}

fn ratios_of_uring(cells: &[Cell], names: &[String]) -> Vec<String> {
    let others: Vec<String> = names.iter().filter(|name| *name != URING).cloned().collect();
    let mut sections = Vec::new();
    for table in tables_of(cells) {
        let rows = tables::by_server(&table.cells, &others, &tables::ratio_of_uring(table.metric));
        sections.push(format!("## {}, ratio of {URING} to each", table.name));
        sections.extend([rows, table.note.to_owned()]);
    }
    sections
}

/// The cells in the order of `commands`.
fn cells(folder: &Folder) -> Result<Vec<Cell>> {
    let commands = folder.read("commands")?;
    let lines = commands.lines().filter_map(|line| line.split_once('\t'));
    let cell = |name: &str, command: &str| {
        let record = folder.record(name)?.filter(|record| !record.partial);
        let servers = record.map(|record| record.servers()).transpose();
        Ok(Cell {
            servers: servers.map_err(|what| Error::Machine(format!("{name}: {what}. No summary is written")))?,
            name: name.to_owned(),
            is_open_loop: command.split(' ').any(|word| word == "--rate"),
        })
    };
    lines.map(|(name, command)| cell(name, command)).collect()
}

/// All servers, in the order of the first cell that has them.
fn names(cells: &[Cell]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for server in cells.iter().flat_map(|cell| cell.servers.iter().flatten()) {
        if !names.contains(&server.name) {
            names.push(server.name.clone());
        }
    }
    names
}

/// One section per cell; after the last one, the legend of the tables of `urecho compare`.
fn details(folder: &Folder, cells: &[Cell]) -> Result<Vec<String>> {
    let matrix = Matrix::read();
    let reasons: Vec<(&str, &str)> = matrix
        .cells
        .iter()
        .map(|cell| (cell.name.as_str(), cell.reason.as_str()))
        .collect();
    let mut sections = Vec::new();
    let mut legend = None;
    for cell in cells {
        sections.push(format!("### {}", cell.name));
        if let Some((_, reason)) = reasons.iter().find(|(name, _)| *name == cell.name) {
            sections.push((*reason).to_owned());
        }
        let Some(servers) = &cell.servers else {
            let interrupted = folder.file(&format!("{}.json", cell.name)).exists();
            sections.push(if interrupted { "Interrupted." } else { "Not measured." }.to_owned());
            continue;
        };
        let markdown = folder.read(&format!("{}.md", cell.name))?;
        let (tables, last) = markdown.trim().rsplit_once("\n\n").unwrap_or((markdown.trim(), ""));
        sections.push(tables.to_owned());
        sections.extend(tables::uring_to_each(cell.is_open_loop, servers));
        legend = Some(last.to_owned());
    }
    sections.extend(legend);
    Ok(sections)
}
