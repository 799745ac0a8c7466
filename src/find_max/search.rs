//! Which rate to try next.
//!
//! Doubles until the condition fails, then bisects geometrically until the bounds are within 5 %, then requires that a
//! rate holds twice, stepping down by 5 %: a single success may be chance, and a queue that has just grown may still be
//! there. A failure may be chance as well: a rate fails only if two of its runs fail, and undecided runs are repeated.
//! At last it probes 5 % and 20 % above what it found, and goes on from there if that holds twice. Pure: the caller
//! runs each rate.

use std::fmt::{self, Display, Formatter};

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rates closer than this are treated as equal: a run of seconds cannot distinguish them.
const CLOSE: f64 = 1.05;

/// How far above the rate found to probe whether a failure there was chance.
const PROBES: [f64; 2] = [1.05, 1.2];

/// Below this a search gives up: in a run of seconds, fewer than ten messages per second measure nothing.
const LOWEST: f64 = 10.0;

/// Above this a search stops climbing: no generator of this kind sends a hundred million messages per second.
const HIGHEST: f64 = 1e8;

/// The outcome of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The condition held.
    Held,
    /// It did not.
    Failed,
    /// The run does not show whether it held.
    Undecided,
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Held => "holds",
            Outcome::Failed => "does not hold",
            Outcome::Undecided => "undecided",
        })
    }
}

/// The runs at one rate.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Trial {
    rate: f64,
    held: u8,
    failed: u8,
    undecided: u8,
}

/// What to do with the rate being tried.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// The limit is above `held` and below `failed`, as far as they are known.
    Bracketing {
        /// The highest rate that held.
        held: Option<f64>,
        /// The lowest rate that did not.
        failed: Option<f64>,
    },
    /// It must hold twice; otherwise a rate 5 % lower.
    Confirming,
    /// `found` has held twice; does this higher one, and the next `probes`?
    Probing { found: f64, probes: &'static [f64] },
    /// The highest rate that held twice; none if no rate did.
    Over(Option<f64>),
}

/// A search in progress, or its result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    stage: Stage,
    trial: Trial,
    /// The lowest rate that ended undecided.
    undecided: Option<f64>,
}

impl Trial {
    fn of(rate: f64) -> Trial {
        Trial {
            rate,
            held: 0,
            failed: 0,
            undecided: 0,
        }
    }

    fn with(mut self, outcome: Outcome) -> Trial {
        *match outcome {
            Outcome::Held => &mut self.held,
            Outcome::Failed => &mut self.failed,
            Outcome::Undecided => &mut self.undecided,
        } += 1;
        self
    }

    /// What its runs show; none if another one is needed. `once`: a single success is enough, if it is the first run.
    fn outcome(self, once: bool) -> Option<Outcome> {
        match self {
            Trial { held: 2.., .. } => Some(Outcome::Held),
            Trial { failed: 2.., .. } => Some(Outcome::Failed),
            Trial { undecided: 3.., .. } => Some(Outcome::Undecided),
            Trial {
                held: 1,
                failed: 0,
                undecided: 0,
                ..
            } if once => Some(Outcome::Held),
            _ => None,
        }
    }
}

impl Search {
    /// Starts at `rate` messages per second.
    pub fn from(rate: f64) -> Search {
        Search {
            stage: Stage::Bracketing {
                held: None,
                failed: None,
            },
            trial: Trial::of(rate),
            undecided: None,
        }
    }

    /// The rate to try; none when the search is over.
    pub fn rate(self) -> Option<f64> {
        match self.stage {
            Stage::Over(_) => None,
            _ => Some(self.trial.rate),
        }
    }

    /// The result; none while the search goes on, and if no rate held twice.
    pub fn found(self) -> Option<f64> {
        match self.stage {
            Stage::Over(found) => found,
            _ => None,
        }
    }

    /// The lowest rate above the one found of which three runs did not show whether the condition held.
    pub fn undecided(self) -> Option<f64> {
        self.undecided
            .filter(|&rate| self.found().is_none_or(|found| rate > found))
    }

    /// The search after a run at [`rate`](Search::rate).
    pub fn after(mut self, outcome: Outcome) -> Search {
        self.trial = self.trial.with(outcome);
        let once = matches!(self.stage, Stage::Bracketing { .. });
        let Some(outcome) = self.trial.outcome(once) else {
            return self;
        };
        let Trial { rate, held: times, .. } = self.trial;
        if outcome == Outcome::Undecided {
            self.undecided = Some(self.undecided.map_or(rate, |lowest| lowest.min(rate)));
        }
        let holds = outcome == Outcome::Held;
        match self.stage {
            Stage::Bracketing { failed, .. } if holds => self.above(rate, times, failed),
            Stage::Bracketing { held: Some(held), .. } => self.above(held, 1, Some(rate)),
            Stage::Bracketing { held: None, .. } => self.next(
                Stage::Bracketing {
                    held: None,
                    failed: Some(rate),
                },
                rate / 2.0,
            ),
            Stage::Confirming if holds => self.probe(rate, &PROBES),
            Stage::Confirming => self.next(Stage::Confirming, rate / CLOSE),
            Stage::Probing { .. } if holds => self.above(rate, times, None),
            Stage::Probing { found, probes } => self.probe(found, probes),
            Stage::Over(_) => self,
        }
    }

    /// Goes on with another rate.
    fn next(self, stage: Stage, rate: f64) -> Search {
        let stage = if rate < LOWEST { Stage::Over(None) } else { stage };
        Search {
            stage,
            trial: Trial::of(rate),
            ..self
        }
    }

    /// Above the highest rate that held (in `times` runs): doubles or bisects, and confirms it once the bounds are
    /// close.
    fn above(self, held: f64, times: u8, failed: Option<f64>) -> Search {
        let bracketing = Stage::Bracketing {
            held: Some(held),
            failed,
        };
        match failed {
            None if held < HIGHEST => self.next(bracketing, held * 2.0),
            Some(failed) if failed / held > CLOSE => self.next(bracketing, (held * failed).sqrt()),
            _ if times >= 2 => self.probe(held, &PROBES),
            _ => {
                let confirming = self.next(Stage::Confirming, held);
                Search {
                    trial: confirming.trial.with(Outcome::Held),
                    ..confirming
                }
            }
        }
    }

    /// Probes above the rate found, unless that is done.
    fn probe(self, found: f64, probes: &'static [f64]) -> Search {
        match probes.split_first() {
            Some((factor, probes)) if found < HIGHEST => self.next(Stage::Probing { found, probes }, found * factor),
            _ => Search {
                stage: Stage::Over(Some(found)),
                ..self
            },
        }
    }
}

#[cfg(test)]
mod tests;
