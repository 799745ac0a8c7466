//! `urecho report`: a page of documents that other commands wrote.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::check::output::{self as check, Check};
use crate::cli::input;
use crate::compare::comparison::{self, Comparison};
use crate::error::{Error, Result};
use crate::find_max::curve::{self, Curve};
use crate::html::{self, Section};
use crate::output::json;
use crate::output::place::Place;
use crate::output::publish::publish;
use crate::report::page::spectra;
use crate::report::repeat::{self, Repeats};
use crate::report::{self, Report};

#[derive(Debug, Args)]
#[command(after_long_help = "\
Runs nothing. Reports of several runs of `load` or `bench` share one chart of their latencies:

  urecho load -c 1000 --json before.json
  urecho load -c 1000 --json after.json
  urecho report before.json after.json --html both.html")]
pub(super) struct Flags {
    /// Files written by --json of load, bench, compare, find-max or check
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Where to write the page; `-` is stdout
    #[arg(long, value_name = "FILE")]
    html: PathBuf,
}

pub(super) fn run(flags: &Flags) -> Result<ExitCode> {
    let place = Place::open(&flags.html)?;
    flags.files.iter().try_for_each(|file| place.check_is_not(file))?;
    let documents = flags.files.iter().map(|file| input::parse(file, Document::parse));
    let documents: Vec<Document> = documents.collect::<Result<_>>()?;
    let page = || html::page(&sections(&documents));
    Ok(ExitCode::from(publish(&"", [(Some(&place), &page)]).exit_code(0)))
}

/// A document of another command.
enum Document {
    Load(Box<Report>),
    Repeat(Repeats),
    Compare(Comparison),
    FindMax(Curve),
    Check(Box<Check>),
}

impl Document {
    /// By its schema. Errors: [`Error::Usage`].
    fn parse(text: &str) -> Result<Document> {
        #[derive(Deserialize)]
        struct Named {
            schema: Option<String>,
        }
        let usage = |what: String| Error::Usage(format!("{what}. Give a file written by --json of another command"));
        let named: Named =
            serde_json::from_str(text).map_err(|cause| usage(format!("not a JSON document: {cause}")))?;
        fn read<T: DeserializeOwned>(text: &str, schema: &str) -> std::result::Result<T, String> {
            json::parse(text, schema)
        }
        match named.schema.as_deref() {
            Some(report::SCHEMA) => read(text, report::SCHEMA)
                .map(Box::new)
                .map(Document::Load)
                .map_err(usage),
            Some(repeat::SCHEMA) => read(text, repeat::SCHEMA).map(Document::Repeat).map_err(usage),
            Some(comparison::SCHEMA) => read(text, comparison::SCHEMA).map(Document::Compare).map_err(usage),
            Some(curve::SCHEMA) => read(text, curve::SCHEMA).map(Document::FindMax).map_err(usage),
            Some(check::SCHEMA) => Check::replay(text).map(Box::new).map(Document::Check),
            Some(other) => Err(usage(format!("a document of schema {other} has no page"))),
            None => Err(usage("a document without a schema".into())),
        }
    }

    fn section(&self) -> Section {
        match self {
            Document::Load(report) => report.section(),
            Document::Repeat(repeats) => repeats.section(),
            Document::Compare(comparison) => comparison.section(),
            Document::FindMax(curve) => curve.section(),
            Document::Check(check) => check.section(),
        }
    }
}

/// A section for each document; the latencies of several runs together come first.
fn sections(documents: &[Document]) -> Vec<Section> {
    let runs = documents.iter().filter_map(|document| match document {
        Document::Load(report) => Some(&**report),
        _ => None,
    });
    let runs: Vec<&Report> = runs.collect();
    let together = (runs.len() > 1).then(|| Section {
        title: format!("{} runs together", runs.len()),
        body: spectra(runs.iter().copied()),
    });
    together
        .into_iter()
        .chain(documents.iter().map(Document::section))
        .collect()
}
