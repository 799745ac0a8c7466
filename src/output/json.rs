//! JSON as every command writes and reads it: pretty documents, and lines of JSON Lines (jsonlines.org), each with a
//! `schema` member that names its shape and version.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A pretty-printed document that ends with a newline.
pub fn document(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value);
    text.expect("our types have string keys and no failing serializer") + "\n"
}

/// One line of JSON Lines, with its newline.
pub fn line(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value);
    text.expect("our types have string keys and no failing serializer") + "\n"
}

/// Reads a document of this schema. Errors: one line that says what it is instead.
pub fn parse<T: DeserializeOwned>(text: &str, schema: &str) -> std::result::Result<T, String> {
    #[derive(Deserialize)]
    struct Named {
        schema: Option<String>,
    }
    let named: Named = serde_json::from_str(text).map_err(|cause| format!("not a JSON document: {cause}"))?;
    match named.schema.as_deref() {
        Some(found) if found == schema => {
            serde_json::from_str(text).map_err(|cause| format!("not a valid {schema} document: {cause}"))
        }
        Some(found) => Err(format!("expected schema {schema}, found {found}")),
        None => Err(format!("expected schema {schema}, found none")),
    }
}

/// Reads lines of this schema; empty lines are skipped. Errors: [`Error::Usage`] at the first line that is not one.
pub fn parse_lines<T: DeserializeOwned>(text: &str, schema: &str) -> Result<Vec<T>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| parse(line, schema).map_err(|what| Error::Usage(format!("line {}: {what}", number + 1))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Line {
        schema: String,
        share: f64,
    }

    fn a_line() -> Line {
        Line {
            schema: "a/1".into(),
            share: 0.1 + 0.2,
        }
    }

    #[test]
    fn documents_and_lines_end_with_one_newline() {
        assert_eq!(document(&[1]), "[\n  1\n]\n");
        assert_eq!(line(&[1]), "[1]\n");
    }

    #[test]
    fn a_document_is_read_as_it_was_written() {
        assert_eq!(parse(&document(&a_line()), "a/1"), Ok(a_line()));
    }

    #[test]
    fn lines_are_read_as_they_were_written_and_the_first_invalid_one_is_named() {
        let text = line(&a_line()) + "\n" + &line(&a_line());
        let read = |text: &str| parse_lines::<Line>(text, "a/1").map_err(|error| error.to_string());
        assert_eq!(read(&text).unwrap(), [a_line(), a_line()]);
        assert_eq!(read("").unwrap(), []);
        for (wrong, what) in [
            ("{\"schema\":\"a/2\"}", "line 4: expected schema a/1, found a/2"),
            ("{}", "line 4: expected schema a/1, found none"),
            ("{\"schema\":\"a/1\"}", "line 4: not a valid a/1 document"),
            ("{\"sch", "line 4: not a JSON document"),
        ] {
            let error = read(&(text.clone() + wrong)).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }
}
