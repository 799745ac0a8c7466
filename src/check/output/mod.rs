//! A judged check for people and programs: text, Markdown, JUnit, GitHub commands, JSON.

mod github;
pub mod json;
mod junit;
mod markdown;
mod page;
mod row;
pub mod summary;
mod text;

pub use json::{Check, SCHEMA};
pub use summary::Summary;
