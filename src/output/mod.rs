//! What every command writes the same way: places that are checked before anything is measured, documents and lines in
//! them, text on the standard streams, JSON, tables, the progress line; and untrusted text made harmless for all of
//! them.

pub mod console;
pub mod file;
pub mod json;
pub mod log;
pub mod markdown;
pub mod place;
pub mod progress;
pub mod publish;
pub mod table;
pub mod untrusted;
mod verdicts;
pub mod written;
