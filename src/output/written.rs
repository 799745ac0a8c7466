//! Whether all outputs of a command were written, and what that means for its exit code.

/// Exit code of a command that succeeded but lost an output: that of [`Error::Machine`](crate::error::Error::Machine).
const OUTPUT_LOST: u8 = 4;

/// What became of the outputs of a command. An output that could not be written has been reported on stderr.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// All were written, or their readers had read enough.
    All,
    /// At least one was not.
    NotAll,
}

impl Written {
    /// Of both.
    pub fn and(self, other: Written) -> Written {
        if self == Written::All { other } else { Written::NotAll }
    }

    /// The exit code of a command that otherwise exits with `code`: a verdict outweighs an output that was lost, a
    /// success does not.
    pub fn exit_code(self, code: u8) -> u8 {
        match (self, code) {
            (Written::NotAll, 0) => OUTPUT_LOST,
            (_, code) => code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_lost_output_turns_success_into_a_failure_and_no_verdict_into_another() {
        assert_eq!(Written::NotAll.exit_code(0), Error::Machine(String::new()).exit_code());
        assert_eq!([1, 3, 143].map(|code| Written::NotAll.exit_code(code)), [1, 3, 143]);
        assert_eq!([0, 1].map(|code| Written::All.exit_code(code)), [0, 1]);
        assert_eq!(Written::All.and(Written::NotAll), Written::NotAll);
        assert_eq!(Written::NotAll.and(Written::All), Written::NotAll);
    }
}
