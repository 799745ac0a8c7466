//! Files of many checks that are only ever added to: a line of JSON for each, which names its schema.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// One of its lines.
pub(super) fn line(one: &impl Serialize) -> String {
    serde_json::to_string(one).expect("plain data has no way to fail") + "\n"
}

/// Reads a file whose lines have this schema. Errors: [`Error::Usage`] at the first line that has not.
pub(super) fn read<T: DeserializeOwned>(text: &str, schema: &str) -> Result<Vec<T>> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            let at = |what| Error::Usage(format!("line {}: {what}", number + 1));
            one(line, schema).map_err(at)
        })
        .collect()
}

fn one<T: DeserializeOwned>(line: &str, schema: &str) -> std::result::Result<T, String> {
    let value: Value = serde_json::from_str(line).map_err(|cause| format!("this is no JSON: {cause}"))?;
    match value["schema"].as_str() {
        Some(named) if named == schema => {
            serde_json::from_value(value).map_err(|cause| format!("this is no {schema}: {cause}"))
        }
        Some(other) => Err(format!("this is {other}, and {schema} is read here")),
        None => Err("this names no schema".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written_and_the_first_other_one_is_named() {
        let one = serde_json::json!({ "schema": "a/1", "share": 0.1 + 0.2 });
        let text = line(&one) + "\n" + &line(&one);
        let read = |text: &str| read::<Value>(text, "a/1").map_err(|error| error.to_string());
        assert_eq!(read(&text).unwrap(), [one.clone(), one]);
        assert_eq!(read("").unwrap(), [] as [Value; 0]);
        for (wrong, what) in [
            ("{\"schema\":\"a/2\"}", "line 4: this is a/2, and a/1 is read here"),
            ("{}", "line 4: this names no schema"),
            ("{\"sch", "line 4: this is no JSON"),
        ] {
            let error = read(&(text.clone() + wrong)).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }
}
