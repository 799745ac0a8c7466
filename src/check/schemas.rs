//! The committed JSON Schemas are those of the types. `SCHEMAS=overwrite cargo test --lib schemas` writes them anew.

use std::fs;
use std::path::Path;

use schemars::{JsonSchema, schema_for};

use crate::check::output::Check;
use crate::compare::comparison::Comparison;
use crate::find_max::curve::Curve;
use crate::output;
use crate::report::Report;

/// Holds a committed schema against that of a type, with the version that documents must name.
fn assert_current<T: JsonSchema>(path: &str, version: &str) {
    let mut schema = schema_for!(T);
    let name = schema.pointer_mut("/properties/schema").and_then(|name| name.as_object_mut());
    name.expect("every document names its schema")
        .insert("const".into(), version.into());
    let text = output::json::document(&schema);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(path);
    if std::env::var_os("SCHEMAS").is_some_and(|value| value == "overwrite") {
        fs::write(&path, &text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    assert!(
        committed == text,
        "{} is stale: run `SCHEMAS=overwrite cargo test --lib schemas`",
        path.display()
    );
}

#[test]
fn the_schema_of_a_load_report_is_current() {
    assert_current::<Report>("report/load.schema.json", crate::report::SCHEMA);
}

#[test]
fn the_schema_of_a_comparison_is_current() {
    assert_current::<Comparison>("compare/compare.schema.json", crate::compare::comparison::SCHEMA);
}

#[test]
fn the_schema_of_a_curve_is_current() {
    assert_current::<Curve>("find_max/find-max.schema.json", crate::find_max::curve::SCHEMA);
}

#[test]
fn the_schema_of_a_check_is_current() {
    assert_current::<Check>("check/check.schema.json", crate::check::output::json::SCHEMA);
}
