//! A check as JUnit XML: one test case per gating metric, and one for the servers.
//!
//! By hand: three elements and one escaping rule. The quick-junit crate would bring an XML writer, chrono and uuid.

use super::Summary;
use super::row::details;
use crate::check::judge::{MetricVerdict, Verdict};
use crate::check::record::Inconclusive;
use crate::output::untrusted;

/// The outcome of a test case, with its message.
enum Outcome {
    Passed,
    Failure(String),
    Error(String),
    Skipped(String),
}

struct Case {
    name: &'static str,
    outcome: Outcome,
}

impl Summary {
    /// As JUnit XML.
    pub fn junit(&self) -> String {
        let mut cases = vec![self.servers_case()];
        cases.extend(self.gating().map(|metric| self.metric_case(metric)));
        let count = |of: fn(&Outcome) -> bool| cases.iter().filter(|case| of(&case.outcome)).count();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"urecho check\" tests=\"{}\" \
             failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\">\n{}  </testsuite>\n</testsuites>\n",
            cases.len(),
            count(|outcome| matches!(outcome, Outcome::Failure(_))),
            count(|outcome| matches!(outcome, Outcome::Error(_))),
            count(|outcome| matches!(outcome, Outcome::Skipped(_))),
            self.elapsed.as_secs(),
            cases.iter().map(Case::xml).collect::<String>(),
        )
    }

    fn servers_case(&self) -> Case {
        let reasons = || self.judgement.reasons.join("; ");
        let outcome = match self.judgement.verdict {
            Verdict::Failed => Outcome::Error(reasons()),
            Verdict::Inconclusive if self.judgement.metrics.is_empty() => Outcome::Skipped(reasons()),
            _ => Outcome::Passed,
        };
        let name = "servers";
        Case { name, outcome }
    }

    fn metric_case(&self, metric: &MetricVerdict) -> Case {
        let message = || format!("{}: {}", metric.verdict.name(), details(metric));
        let outcome = match metric.verdict {
            Verdict::Regressed => Outcome::Failure(message()),
            Verdict::Inconclusive if self.inconclusive == Inconclusive::Fail => Outcome::Failure(message()),
            Verdict::Inconclusive | Verdict::Failed => Outcome::Skipped(message()),
            Verdict::Improved | Verdict::Passed => Outcome::Passed,
        };
        let name = metric.metric.name();
        Case { name, outcome }
    }
}

impl Case {
    fn xml(&self) -> String {
        let open = format!("    <testcase classname=\"urecho.check\" name=\"{}\"", self.name);
        let (element, message) = match &self.outcome {
            Outcome::Passed => return format!("{open}/>\n"),
            Outcome::Failure(message) => ("failure", message),
            Outcome::Error(message) => ("error", message),
            Outcome::Skipped(message) => ("skipped", message),
        };
        format!(
            "{open}><{element} message=\"{}\"/></testcase>\n",
            untrusted::xml_attribute(message)
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::check::fixtures::{HeadChange, UNCHANGED, record};
    use crate::check::output::Check;
    use crate::check::record::Failure;

    #[test]
    fn the_test_case_of_a_regressed_metric_fails() {
        let summary = Check::of(record(12, &HeadChange { p50: 1.1, ..UNCHANGED })).summary();
        let xml = summary.junit();
        assert!(
            xml.contains("tests=\"9\" failures=\"1\" errors=\"0\" skipped=\"0\""),
            "{xml}"
        );
        assert!(
            xml.contains("name=\"p50\"><failure message=\"REGRESSED: p50 +"),
            "{xml}"
        );
    }

    #[test]
    fn elements_are_counted_by_outcome_and_not_by_what_a_server_prints() {
        let mut record = record(12, &UNCHANGED);
        record.head.failure = Some(Failure {
            restart: 1,
            what: "<failure <error <skipped".into(),
            exit_code: 5,
        });
        let xml = Check::of(record).summary().junit();
        assert!(xml.contains("failures=\"0\" errors=\"1\" skipped=\"0\""), "{xml}");
    }
}
