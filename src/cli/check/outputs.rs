//! Where a check is told, besides standard output.

use std::path::{Path, PathBuf};

use clap::Args;

use super::append;
use crate::check::history::Point;
use crate::check::report::Check;
use crate::check::summary::Summary;
use crate::error::Result;
use crate::report::files;

#[derive(Debug, Args)]
pub(super) struct OutputFlags {
    /// Write the verdict and all that it follows from as JSON; `-`, here and below, is stdout instead of the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a heading, a table and what to do next; `$GITHUB_STEP_SUMMARY` gets the same, where it is set
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write a test case for each metric that decides, as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Add head's figures to a file of many checks, a line for each
    #[arg(long, value_name = "FILE")]
    append: Option<PathBuf>,
    /// What head is called there [default: $GITHUB_SHA, or $CI_COMMIT_SHA]
    #[arg(long, value_name = "NAME", requires = "append")]
    label: Option<String>,
}

impl OutputFlags {
    /// Errors: [`Error::Usage`](crate::error::Error::Usage) if two of them are the same place,
    /// [`Error::Machine`](crate::error::Error::Machine) if one cannot be written. Better now than when all has been
    /// measured.
    pub(super) fn check(&self) -> Result<()> {
        let whole = [&self.json, &self.markdown, &self.junit];
        files::check_places(whole.into_iter().flatten())?;
        let row = self.append.as_deref();
        row.map_or(Ok(()), |path| append(path, ""))
    }

    /// Tells it to everybody who is to hear of it. JSON there is of a pair only.
    pub(super) fn tell(&self, story: &Summary, check: Option<&Check>) -> Result<()> {
        let texts = [
            (&self.json, check.map(Check::json)),
            (&self.markdown, Some(story.markdown())),
            (&self.junit, Some(story.junit())),
        ];
        let taken = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
        let stdout_is_taken = texts.iter().any(|(path, _)| taken(path));
        if !stdout_is_taken {
            print!("{story}"); // Before anything can fail.
        }
        for (path, text) in texts {
            if let (Some(path), Some(text)) = (path, text) {
                files::write_whole(path, &text)?;
            }
        }
        let mut judged = story.judgement.metrics.iter();
        if let (Some(path), true) = (&self.append, judged.any(|judged| judged.head.is_some())) {
            append(path, &Point::of(story, &self.label()).line())?;
        }
        tell_github(story, stdout_is_taken)
    }

    fn label(&self) -> String {
        let commit = || {
            ["GITHUB_SHA", "CI_COMMIT_SHA"]
                .into_iter()
                .find_map(|name| std::env::var(name).ok())
        };
        self.label.clone().or_else(commit).unwrap_or_else(|| "unnamed".into())
    }
}

/// Adds to the summary of the step and to the annotations of the log, where there are such things.
fn tell_github(story: &Summary, stdout_is_taken: bool) -> Result<()> {
    if std::env::var_os("GITHUB_ACTIONS").is_some() {
        for annotation in story.annotations() {
            // Both streams are read; a document on stdout must stay one.
            if stdout_is_taken {
                eprintln!("{annotation}");
            } else {
                println!("{annotation}");
            }
        }
    }
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    append(Path::new(&path), &story.summary())
}
