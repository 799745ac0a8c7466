//! A contest: bout after bout, because one launch of a server has its own luck.

use crate::arena::Subject;
use crate::arena::bout::{Terms, bout};
use crate::error::Error;
use crate::load::random::Random;
use crate::report::comparison::Figures;
use crate::sys::signal::Stop;

/// What a contest found of one subject.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Which one.
    pub subject: Subject,
    /// What each block found, by bouts.
    pub bouts: Vec<Vec<Figures>>,
    /// Why there are no more of them, if it failed.
    pub failure: Option<Failure>,
}

/// How a subject failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// In which bout, from 1.
    pub bout: usize,
    /// How.
    pub error: Error,
}

/// Holds bouts among the subjects until each has been restarted so many times, or `stop` fires. One that fails takes no
/// further part. Calls `news` before each bout with its number, from 1.
///
/// Call from the main thread, which the servers are tied to.
pub fn contest(
    subjects: &[Subject],
    terms: &Terms,
    restarts: usize,
    stop: &Stop,
    news: &mut dyn FnMut(usize),
) -> Vec<Entry> {
    let blank = |subject: &Subject| Entry {
        subject: subject.clone(),
        bouts: Vec::new(),
        failure: None,
    };
    let mut entries: Vec<Entry> = subjects.iter().map(blank).collect();
    for number in 1..=restarts {
        let mut standing: Vec<&mut Entry> = entries
            .iter_mut()
            .filter(|entry| entry.failure.is_none())
            .collect();
        if standing.is_empty() || stop.signal().is_some() {
            break;
        }
        news(number);
        let mut random = Random::new(terms.load.seed, number as u64);
        let present: Vec<&Subject> = standing.iter().map(|entry| &entry.subject).collect();
        let results = bout(&present, terms, &mut random, stop);
        for (entry, result) in standing.iter_mut().zip(results) {
            match result {
                Ok(found) if found.is_empty() => {} // Stopped before its first block.
                Ok(found) => entry.bouts.push(found),
                Err(error) => {
                    entry.failure = Some(Failure {
                        bout: number,
                        error,
                    });
                }
            }
        }
    }
    entries
}
