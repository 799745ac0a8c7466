//! A check as it is told: its verdict and the record it follows from, as JSON with a schema. How it is told to people is [`story`](super::summary).

use serde::Serialize;
use serde_json::Value;

use crate::check::record::{Ended, Record};
use crate::check::verdict::{Judgement, judge};
use crate::error::{Error, Result};

/// The version of the report's shape.
pub const SCHEMA: &str = "urecho.check/1";

/// The JSON Schema (draft 2020-12) that every report of a check satisfies.
pub const CHECK_SCHEMA: &str = include_str!("check.schema.json");

/// A check, judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// True if it was interrupted.
    pub partial: bool,
    /// What the record says.
    pub judgement: Judgement,
    /// What was measured, and on what terms.
    pub record: Record,
}

impl Check {
    /// Judges a record.
    pub fn of(record: Record) -> Check {
        Check {
            schema: SCHEMA,
            partial: record.ended == Ended::Interrupted,
            judgement: judge(&record),
            record,
        }
    }

    /// As one JSON document, with a line break at the end.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain data has no way to fail");
        text.push('\n');
        text
    }
}

/// Reads the record in the JSON of a check; what was judged then is left alone. Errors: [`Error::Usage`] if it is none,
/// or of another version.
pub fn recorded(text: &str) -> Result<Record> {
    let wrong = |what: String| Error::Usage(format!("{what}. Give a file that `urecho check --json` wrote"));
    let report: Value = serde_json::from_str(text).map_err(|cause| wrong(format!("this is no JSON: {cause}")))?;
    match report["schema"].as_str() {
        Some(SCHEMA) => {}
        Some(other) => return Err(wrong(format!("this is {other}, and {SCHEMA} is read here"))),
        None => return Err(wrong("this names no schema".into())),
    }
    let record: Record = serde_json::from_value(report["record"].clone())
        .map_err(|cause| wrong(format!("its record is broken: {cause}")))?;
    match record.terms.senseless() {
        Some(metric) => Err(wrong(format!("its effect on {metric} makes no sense"))),
        None => Ok(record),
    }
}
