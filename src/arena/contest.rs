//! A contest: bout after bout, because one launch of a server has its own luck.

use crate::arena::Subject;
use crate::arena::bout::{Found, Terms, bout};
use crate::error::Error;
use crate::load::random::Random;
use crate::sys::signal::Stop;

/// What a contest found of one subject.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Which one.
    pub subject: Subject,
    /// What each bout found.
    pub bouts: Vec<Found>,
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

/// Holds bouts among the subjects for as long as `more` says so, or until `stop` fires. One that fails takes no further
/// part. `more` is asked before each bout: its number, from 1, and what there is so far.
///
/// Call from the main thread, which the servers are tied to.
pub fn contest(
    subjects: &[Subject],
    terms: &Terms,
    stop: &Stop,
    more: &mut dyn FnMut(usize, &[Entry]) -> bool,
) -> Vec<Entry> {
    let blank = |subject: &Subject| Entry {
        subject: subject.clone(),
        bouts: Vec::new(),
        failure: None,
    };
    let mut entries: Vec<Entry> = subjects.iter().map(blank).collect();
    for number in 1.. {
        if stop.signal().is_some() || !more(number, &entries) {
            break;
        }
        let mut standing: Vec<&mut Entry> = entries.iter_mut().filter(|entry| entry.failure.is_none()).collect();
        if standing.is_empty() {
            break;
        }
        let mut random = Random::new(terms.loads[0].seed, number as u64);
        let present: Vec<&Subject> = standing.iter().map(|entry| &entry.subject).collect();
        let results = bout(&present, terms, &mut random, stop);
        for (entry, result) in standing.iter_mut().zip(results) {
            match result {
                Ok(found) if found.iter().any(Vec::is_empty) => {} // Stopped before a block of each load.
                Ok(found) => entry.bouts.push(found),
                Err(error) => {
                    entry.failure = Some(Failure { bout: number, error });
                }
            }
        }
    }
    entries
}
