//! Where a check is published: standard output, files, GitHub.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::check::history::{self, Point};
use crate::check::output::{Check, Summary};
use crate::error::Result;
use crate::html;
use crate::output::console;
use crate::output::place::{self, Place};
use crate::output::publish::publish;
use crate::output::written::Written;

#[derive(Debug, Default, Args)]
pub(super) struct JsonFlag {
    /// Write the verdict and the recorded data as JSON; `-`, here and below, writes to stdout in place of the text
    /// report
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct OutputFlags {
    /// Write a Markdown summary
    ///
    /// `$GITHUB_STEP_SUMMARY`, where it is set, gets the same.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write a page with charts to FILE
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write a JUnit XML test case per gating metric
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Append head's results to a JSON Lines history
    #[arg(long, value_name = "FILE")]
    append: Option<PathBuf>,
    /// Label of head in the history [default: $GITHUB_SHA, or $CI_COMMIT_SHA]
    #[arg(long, value_name = "NAME", requires = "append")]
    label: Option<String>,
    /// Label of base in the history [default: base is the head of the check before]
    #[arg(long, value_name = "NAME", requires = "append")]
    base_label: Option<String>,
}

/// The outputs of a check, with their places.
pub(super) struct Outputs {
    json: Option<Place>,
    html: Option<Place>,
    markdown: Option<Place>,
    junit: Option<Place>,
    append: Option<Place>,
    label: String,
    base_label: Option<String>,
}

impl OutputFlags {
    /// Opens all places before anything is measured. Errors: [`Error::Usage`](crate::error::Error::Usage) if two of
    /// them, or one and the `input`, are the same, [`Error::Machine`](crate::error::Error::Machine) if one cannot
    /// be written.
    pub(super) fn open(&self, json: &JsonFlag, input: Option<&Path>) -> Result<Outputs> {
        let places = place::open_all([&json.json, &self.html, &self.markdown, &self.junit, &self.append])?;
        for (place, input) in places.iter().flatten().zip(input.into_iter().cycle()) {
            place.check_is_not(input)?;
        }
        let [json, html, markdown, junit, append] = places;
        Ok(Outputs {
            json,
            html,
            markdown,
            junit,
            append,
            label: self.label(),
            base_label: self.base_label.clone(),
        })
    }

    fn label(&self) -> String {
        let commit = || {
            let mut names = ["GITHUB_SHA", "CI_COMMIT_SHA"].into_iter();
            names.find_map(|name| std::env::var(name).ok())
        };
        self.label
            .clone()
            .or_else(commit)
            .unwrap_or_else(|| history::UNNAMED.into())
    }
}

impl Outputs {
    /// Prints the summary and writes all outputs. JSON only exists for a pair of versions.
    pub(super) fn publish(&self, summary: &Summary, check: Option<&Check>) -> Written {
        let appends_to_stdout = self.append.as_ref().is_some_and(Place::is_stdout);
        let text: &dyn Display = if appends_to_stdout { &"" } else { summary };
        let written = publish(
            text,
            [
                (self.json.as_ref().filter(|_| check.is_some()), &|| {
                    check.map_or(String::new(), Check::json)
                }),
                (self.html.as_ref(), &|| {
                    html::page(&[check.map_or_else(|| summary.section(), Check::section)])
                }),
                (self.markdown.as_ref(), &|| summary.markdown()),
                (self.junit.as_ref(), &|| summary.junit()),
            ],
        );
        let written = written.and(self.append(summary, check.is_some()));
        let documents = [&self.json, &self.html, &self.markdown, &self.junit]
            .into_iter()
            .flatten();
        let is_stdout_taken = appends_to_stdout || documents.into_iter().any(Place::is_stdout);
        publish_on_github(summary, is_stdout_taken);
        written
    }

    fn append(&self, summary: &Summary, is_pair: bool) -> Written {
        let has_values = summary.judgement.metrics.iter().any(|metric| metric.head.is_some());
        let Some(place) = self.append.as_ref().filter(|_| has_values) else {
            return Written::All;
        };
        let point = Point::of(summary, &self.label);
        let point = match is_pair {
            true => point.with_base(summary, self.base_label.clone()),
            false => point,
        };
        console::report(place, place.append_line(&point.line()))
    }
}

/// Writes annotations to the log and the summary of the step, where GitHub runs us. Neither is an output that was
/// requested, so a summary that cannot be written is a warning.
fn publish_on_github(summary: &Summary, is_stdout_taken: bool) {
    if std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
        for annotation in summary.annotations() {
            console::workflow_command(&annotation, is_stdout_taken);
        }
    }
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return;
    };
    let append = |place: Place| match place.append_line(&summary.step_summary()) {
        Ok(()) => Ok(()),
        Err(cause) => Err(format!("cannot write {place}: {cause}")),
    };
    let appended = Place::open(Path::new(&path))
        .map_err(|error| error.to_string())
        .and_then(append);
    if let Err(what) = appended {
        console::note(format_args!("urecho: warning: no step summary for GitHub: {what}"));
    }
}
