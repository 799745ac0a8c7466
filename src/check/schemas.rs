//! The committed JSON Schemas are those of the types. `SCHEMAS=overwrite cargo test --lib schemas` rewrites them.

use std::fs;
use std::path::Path;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};

use crate::check::baseline::Baseline;
use crate::check::history::{HistoryReport, Point};
use crate::check::output::Check;
use crate::compare::comparison::Comparison;
use crate::doctor::Examination;
use crate::find_max::curve::Curve;
use crate::output;
use crate::report::Report;
use crate::report::intervals::IntervalLine;
use crate::report::repeat::Repeats;
use crate::sockets::Listing;

/// The schema of what a type serializes to.
fn unnamed<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<T>()
}

/// The schema of what a type serializes to, with the version that documents must name.
fn schema<T: JsonSchema>(version: &str) -> Schema {
    let mut schema = unnamed::<T>();
    let name = schema
        .pointer_mut("/properties/schema")
        .and_then(|name| name.as_object_mut());
    name.expect("every document names its schema")
        .insert("const".into(), version.into());
    schema
}

/// Adds that no number is negative, which the type f64 does not say.
fn non_negative(mut schema: Schema) -> Schema {
    fn set_minimum(schema: &mut Schema) {
        if schema.get("format").is_some_and(|format| format == "double") {
            schema.insert("minimum".into(), 0.into());
        }
    }
    RecursiveTransform(set_minimum).transform(&mut schema);
    schema
}

/// Holds a committed schema against a generated one.
fn assert_current(path: &str, schema: &Schema) {
    let text = output::json::document(schema);
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
    let schema = non_negative(schema::<Report>(crate::report::SCHEMA));
    assert_current("report/load.schema.json", &schema);
}

#[test]
fn the_schema_of_repeated_runs_is_current() {
    let schema = non_negative(schema::<Repeats>(crate::report::repeat::SCHEMA));
    assert_current("report/repeat.schema.json", &schema);
}

#[test]
fn the_schema_of_a_comparison_is_current() {
    let schema = schema::<Comparison>(crate::compare::comparison::SCHEMA);
    assert_current("compare/compare.schema.json", &schema);
}

#[test]
fn the_schema_of_a_curve_is_current() {
    let schema = non_negative(schema::<Curve>(crate::find_max::curve::SCHEMA));
    assert_current("find_max/find-max.schema.json", &schema);
}

#[test]
fn the_schema_of_a_check_is_current() {
    let schema = schema::<Check>(crate::check::output::json::SCHEMA);
    assert_current("check/check.schema.json", &schema);
}

#[test]
fn the_schema_of_a_baseline_is_current() {
    let schema = schema::<Baseline>(crate::check::baseline::SCHEMA);
    assert_current("check/baseline.schema.json", &schema);
}

#[test]
fn the_schema_of_a_line_of_a_history_is_current() {
    let schema = schema::<Point>(crate::check::history::SCHEMA);
    assert_current("check/history.schema.json", &schema);
}

#[test]
fn the_schema_of_what_a_history_shows_is_current() {
    let schema = schema::<HistoryReport>(crate::check::history::REPORT_SCHEMA);
    assert_current("check/history-report.schema.json", &schema);
}

#[test]
fn the_schema_of_an_interval_is_current() {
    let schema = non_negative(unnamed::<IntervalLine>());
    assert_current("report/interval.schema.json", &schema);
}

#[test]
fn the_schema_of_a_list_of_sockets_is_current() {
    let schema = non_negative(schema::<Listing>(crate::sockets::SCHEMA));
    assert_current("sockets.schema.json", &schema);
}

#[test]
fn the_schema_of_an_examination_is_current() {
    let schema = non_negative(schema::<Examination>(crate::doctor::SCHEMA));
    assert_current("doctor/doctor.schema.json", &schema);
}
