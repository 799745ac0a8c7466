//! A contest: restart after restart, because one launch of a server has its own luck.

use crate::compare::Candidate;
use crate::compare::round::{Found, Terms, restart};
use crate::error::Error;
use crate::random::Random;
use crate::sys::signal::Stop;

/// What a contest found of one candidate.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Which one.
    pub candidate: Candidate,
    /// What each restart found.
    pub restarts: Vec<Found>,
    /// Why there are no more of them, if it failed.
    pub failure: Option<Failure>,
}

/// How a candidate failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// In which restart, from 1.
    pub restart: usize,
    /// How.
    pub error: Error,
}

/// Holds restarts among the candidates for as long as `more` says so, or until `stop` fires. One that fails takes no further
/// part. `more` is asked before each restart: its number, from 1, and what there is so far.
///
/// Call from the main thread, which the servers are tied to.
pub fn run(
    candidates: &[Candidate],
    terms: &Terms,
    stop: &Stop,
    more: &mut dyn FnMut(usize, &[Entry]) -> bool,
) -> Vec<Entry> {
    let blank = |candidate: &Candidate| Entry {
        candidate: candidate.clone(),
        restarts: Vec::new(),
        failure: None,
    };
    let mut entries: Vec<Entry> = candidates.iter().map(blank).collect();
    for number in 1.. {
        if stop.signal().is_some() || !more(number, &entries) {
            break;
        }
        let mut standing: Vec<&mut Entry> = entries.iter_mut().filter(|entry| entry.failure.is_none()).collect();
        if standing.is_empty() {
            break;
        }
        let mut random = Random::new(terms.loads[0].seed, number as u64);
        let present: Vec<&Candidate> = standing.iter().map(|entry| &entry.candidate).collect();
        let results = restart(&present, terms, &mut random, stop);
        for (entry, result) in standing.iter_mut().zip(results) {
            match result {
                Ok(found) if found.iter().any(Vec::is_empty) => {} // Stopped before a block of each load.
                Ok(found) => entry.restarts.push(found),
                Err(error) => {
                    entry.failure = Some(Failure { restart: number, error });
                }
            }
        }
    }
    entries
}
