//! Where a check is published: standard output, files, GitHub.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::check::history::{self, Point};
use crate::check::output::{Check, Summary};
use crate::error::{Error, Result};
use crate::output::{console, file};

#[derive(Debug, Default, Args)]
pub(super) struct JsonFlag {
    /// Write the verdict and the recorded data as JSON; `-`, here and below, writes to stdout in place of the text report
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

impl OutputFlags {
    /// Checks all outputs before anything is measured. Errors: [`Error::Usage`] if two of them are the same path,
    /// [`Error::Machine`] if one cannot be written.
    pub(super) fn check(&self, json: &JsonFlag) -> Result<()> {
        file::check_all([&json.json, &self.markdown, &self.junit].into_iter().flatten())?;
        self.append.as_deref().map_or(Ok(()), |path| append(path, ""))
    }

    /// Prints the summary and writes all outputs. JSON only exists for a pair of versions.
    pub(super) fn publish(&self, summary: &Summary, check: Option<(&JsonFlag, &Check)>) -> Result<()> {
        let json = check.and_then(|(flag, check)| Some((flag.json.as_deref()?, check.json())));
        let markdown = self.markdown.as_deref().map(|path| (path, summary.markdown()));
        let junit = self.junit.as_deref().map(|path| (path, summary.junit()));
        let documents: Vec<(&Path, String)> = [json, markdown, junit].into_iter().flatten().collect();
        let stdout_is_taken = documents.iter().any(|(path, _)| file::is_stdout(path));
        if !stdout_is_taken {
            let _ = write!(std::io::stdout(), "{summary}"); // Before anything can fail.
        }
        for (path, text) in documents {
            file::write(path, &text)?;
        }
        let has_values = summary.judgement.metrics.iter().any(|metric| metric.head.is_some());
        if let (Some(path), true) = (&self.append, has_values) {
            let point = Point::of(summary, &self.label());
            let point = match check {
                Some(_) => point.with_base(summary, self.base_label.clone()),
                None => point,
            };
            append(path, &point.line())?;
        }
        publish_on_github(summary, stdout_is_taken);
        Ok(())
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

/// Writes annotations to the log and the summary of the step, where GitHub runs us. No flag requests
/// this, so a failure is a warning and the verdict stands.
fn publish_on_github(summary: &Summary, stdout_is_taken: bool) {
    if std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
        for annotation in summary.annotations() {
            // GitHub reads both streams; a document on stdout must stay one.
            if stdout_is_taken {
                console::note(annotation);
            } else {
                console::line(annotation);
            }
        }
    }
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return;
    };
    if let Err(error) = append(Path::new(&path), &summary.step_summary()) {
        console::note(format_args!("urecho: warning: no GitHub summary: {error}"));
    }
}

/// Appends text to a file. Errors: [`Error::Machine`].
fn append(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|cause| Error::Machine(format!("cannot write to {}: {cause}", path.display())))
}
