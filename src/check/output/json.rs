//! A judged check as JSON: the verdict, and the record it follows from.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::judge::decision::METHOD;
use crate::check::judge::{Judgement, judge};
use crate::check::record::{Record, StopReason};
use crate::error::{Error, Result};
use crate::output;

/// Version of a check's JSON.
pub const SCHEMA: &str = "urecho.check/2";

/// The JSON Schema (draft 2020-12) that every check satisfies.
pub const CHECK_SCHEMA: &str = include_str!("../check.schema.json");

/// Result of `urecho check`: a judged record.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Name and version of this document's shape.
    pub schema: &'static str,
    /// True if it was interrupted.
    pub partial: bool,
    /// What follows from the record.
    pub judgement: Judgement,
    /// What was measured, and with what settings.
    pub record: Record,
}

impl Check {
    /// Judges a record.
    pub fn of(record: Record) -> Check {
        Check {
            schema: SCHEMA,
            partial: record.stop_reason == StopReason::Interrupted,
            judgement: judge(&record),
            record,
        }
    }

    /// Reads the record of a written check and judges it again; its stored judgement is ignored. Errors:
    /// [`Error::Usage`] if it is not a check of this version.
    pub fn replay(text: &str) -> Result<Check> {
        #[derive(Deserialize)]
        struct Recorded {
            record: Record,
        }
        let hint = |what: String| Error::Usage(format!("{what}. Give a file written by `urecho check --json`"));
        let Recorded { record } = output::json::parse(text, SCHEMA).map_err(hint)?;
        if record.settings.method != METHOD {
            let method = record.settings.method;
            return Err(Error::Usage(format!(
                "this check was measured for method {method}, and this version judges by method {METHOD}: replay it with \
                 urecho {}",
                record.environment.urecho
            )));
        }
        match record.settings.invalid() {
            Some(what) => Err(hint(what)),
            None => Ok(Check::of(record)),
        }
    }

    /// As one JSON document.
    pub fn json(&self) -> String {
        output::json::document(self)
    }
}
