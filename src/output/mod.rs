//! What every command writes the same way: files that appear whole, JSON, Markdown tables, the progress line.

pub mod file;
pub mod json;
pub mod markdown;
pub mod progress;
