//! JSON as every command writes and reads it: pretty documents, and lines of JSON Lines (jsonlines.org), each with a
//! `schema` member that names its shape and version.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::untrusted;
use crate::error::{Error, Result};

/// A pretty-printed document that ends with a newline.
pub fn document(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value);
    untrusted::json(&text.expect("our types have string keys and no failing serializer")) + "\n"
}

/// One line of JSON Lines, with its newline.
pub fn line(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value);
    untrusted::json(&text.expect("our types have string keys and no failing serializer")) + "\n"
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

/// Lines as they were read.
#[derive(Debug, Clone, PartialEq)]
pub struct Lines<T> {
    /// Those that are whole.
    pub whole: Vec<T>,
    /// The numbers of lines that are not JSON, from 1: torn off by a full disk or a power failure.
    pub torn: Vec<usize>,
}

/// Reads lines of this schema; empty lines are skipped. Errors: [`Error::Usage`] at the first line of another shape,
/// and if no line is whole.
pub fn parse_lines<T: DeserializeOwned>(text: &str, schema: &str) -> Result<Lines<T>> {
    let (mut whole, mut torn) = (Vec::new(), Vec::new());
    let mut first_torn = None;
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = index + 1;
        let invalid = |what: String| Error::Usage(format!("line {number}: {what}"));
        match serde_json::from_str::<IgnoredAny>(line) {
            Ok(_) => whole.push(parse(line, schema).map_err(invalid)?),
            Err(cause) => {
                torn.push(number);
                first_torn.get_or_insert(invalid(format!("not a JSON document: {cause}")));
            }
        }
    }
    match first_torn {
        Some(error) if whole.is_empty() => Err(error),
        _ => Ok(Lines { whole, torn }),
    }
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
        assert_eq!(read(&text).unwrap().whole, [a_line(), a_line()]);
        assert_eq!(read("").unwrap().whole, []);
        for (wrong, what) in [
            ("{\"schema\":\"a/2\"}", "line 4: expected schema a/1, found a/2"),
            ("{}", "line 4: expected schema a/1, found none"),
            ("{\"schema\":\"a/1\"}", "line 4: not a valid a/1 document"),
        ] {
            let error = read(&(text.clone() + wrong)).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn a_torn_line_costs_no_other() {
        let whole = line(&a_line());
        for torn in [
            "{\"sch",
            "{",
            "\0\0\0",
            "{\"schema\":\"a/1\",{\"schema\":\"a/1\"}",
            "\u{fffd}",
        ] {
            for (text, number) in [
                (format!("{whole}{torn}"), 2),
                (format!("{torn}\n{whole}"), 1),
                (format!("{whole}{torn}\n{whole}"), 2),
            ] {
                let lines = parse_lines::<Line>(&text, "a/1").unwrap();
                assert!(
                    !lines.whole.is_empty() && lines.whole.iter().all(|line| *line == a_line()),
                    "{text:?}"
                );
                assert_eq!(lines.torn, [number], "{text:?}");
            }
            let error = parse_lines::<Line>(torn, "a/1").unwrap_err().to_string();
            assert!(error.contains("line 1: not a JSON document"), "{error}");
        }
    }
}
