//! Restart after restart: servers differ from launch to launch, so the restart is the unit of analysis.

use crate::compare::Candidate;
use crate::compare::restart::{LoadFigures, Protocol, restart};
use crate::error::Error;
use crate::random::Random;
use crate::sys::signal::Stop;

/// All figures of one candidate.
#[derive(Debug, Clone)]
pub struct CandidateFigures {
    /// The candidate.
    pub candidate: Candidate,
    /// Its figures by restart, and within one by load.
    pub restarts: Vec<Vec<LoadFigures>>,
    /// Why there are no more, if it failed.
    pub failure: Option<Failure>,
}

/// How a candidate failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// In which restart, from 1.
    pub restart: usize,
    /// The cause.
    pub error: Error,
}

/// Restarts the candidates for as long as `more` returns true, or until `stop` fires. A candidate that fails takes no
/// further part; one whose program has changed on disk ([`Error::ProgramChanged`]) ends all. `more` is called before
/// each restart with its number, from 1, and the results so far.
///
/// Call from the main thread: servers are killed when the thread that started them ends (PR_SET_PDEATHSIG).
pub fn run(
    candidates: &[Candidate],
    protocol: &Protocol,
    stop: &Stop,
    more: &mut dyn FnMut(usize, &[CandidateFigures]) -> bool,
) -> Vec<CandidateFigures> {
    let empty = |candidate: &Candidate| CandidateFigures {
        candidate: candidate.clone(),
        restarts: Vec::new(),
        failure: None,
    };
    let mut results: Vec<CandidateFigures> = candidates.iter().map(empty).collect();
    for number in 1.. {
        if stop.signal().is_some() || !more(number, &results) {
            break;
        }
        let mut remaining: Vec<&mut CandidateFigures> =
            results.iter_mut().filter(|result| result.failure.is_none()).collect();
        if remaining.is_empty() {
            break;
        }
        // No server is started for a comparison of what is not there any more.
        let mut is_invalid = false;
        for result in &mut remaining {
            if let Err(error) = result.candidate.check_program() {
                result.failure = Some(Failure { restart: number, error });
                is_invalid = true;
            }
        }
        if is_invalid {
            break;
        }
        let mut random = Random::new(protocol.loads[0].workload.seed, number as u64);
        let candidates: Vec<&Candidate> = remaining.iter().map(|result| &result.candidate).collect();
        let figures = restart(&candidates, protocol, &mut random, stop);
        for (result, loads) in remaining.iter_mut().zip(figures) {
            match loads {
                Ok(loads) if loads.iter().any(|load| load.blocks.is_empty()) => {} /* Stopped before a block of each */
                // load.
                Ok(loads) => result.restarts.push(loads),
                Err(error) => {
                    is_invalid |= matches!(error, Error::ProgramChanged(_));
                    result.failure = Some(Failure { restart: number, error });
                }
            }
        }
        if is_invalid {
            break;
        }
    }
    results
}
