//! What every command writes the same way: files written atomically, JSON, tables, the progress line.

pub mod file;
pub mod json;
pub mod markdown;
pub mod progress;
pub mod table;
