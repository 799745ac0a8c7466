//! What every command writes the same way: files written atomically, lines on the standard streams, JSON, tables, the
//! progress line.

pub mod console;
pub mod file;
pub mod json;
pub mod markdown;
pub mod progress;
pub mod table;
