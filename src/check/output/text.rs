//! A check as text: verdict, table, method, next step.

use std::fmt::{self, Display, Formatter};

use super::Summary;
use super::row::{TITLES, row};
use crate::output::table::Column::{Left, Right};
use crate::output::table::{self, Column};
use crate::output::untrusted;

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        for reason in &self.judgement.reasons {
            writeln!(f, "  {}", untrusted::note(reason))?; // It may contain stderr of a server.
        }
        writeln!(f, "  base  {}", untrusted::line(&self.base))?;
        writeln!(f, "  head  {}", untrusted::line(&self.head))?;
        if self.has_figures() {
            writeln!(f, "\n  {}", table::row(&COLUMNS, &TITLES))?;
            for metric in &self.judgement.metrics {
                writeln!(f, "  {}", table::row(&COLUMNS, &row(metric)))?;
            }
            writeln!(f, "\n  {}", self.confidence)?;
        }
        writeln!(f, "  {}", self.method)?;
        match &self.advice {
            Some(advice) => writeln!(f, "\nNext: {advice}"),
            None => Ok(()),
        }
    }
}

const COLUMNS: [Column; 7] = [Left(11), Right(9), Right(9), Right(8), Right(19), Right(9), Left(0)];
