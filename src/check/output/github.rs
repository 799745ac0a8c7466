//! A check as annotations: workflow commands for GitHub's log.

use super::Summary;
use super::row::details;
use crate::check::judge::{MetricVerdict, Verdict};
use crate::check::record::Inconclusive;
use crate::output::untrusted;

impl Summary {
    /// One error per metric that fails the build, one for a failed server; one warning for an inconclusive check, and
    /// one per metric that is worse and does not gate.
    pub fn annotations(&self) -> Vec<String> {
        let mut annotations = self.outcome();
        annotations.extend(self.ungated_regressions().map(|metric| {
            let title = format!("{} {}, not gating", metric.metric, metric.verdict.name());
            annotation("warning", &title, &details(metric))
        }));
        annotations
    }

    fn outcome(&self) -> Vec<String> {
        match self.judgement.verdict {
            Verdict::Failed => {
                let reasons = self.judgement.reasons.join("; ");
                vec![annotation("error", "a server failed", &reasons)]
            }
            Verdict::Inconclusive if self.inconclusive != Inconclusive::Fail => {
                vec![annotation("warning", "INCONCLUSIVE", &self.headline())]
            }
            _ => self.gating().filter(|metric| self.fails(metric)).map(error).collect(),
        }
    }

    fn fails(&self, metric: &MetricVerdict) -> bool {
        match metric.verdict {
            Verdict::Regressed => true,
            Verdict::Inconclusive => self.inconclusive == Inconclusive::Fail,
            _ => false,
        }
    }
}

fn error(metric: &MetricVerdict) -> String {
    let title = format!("{} {}", metric.metric, metric.verdict.name());
    annotation("error", &title, &details(metric))
}

/// A workflow command, in one line.
fn annotation(level: &str, title: &str, text: &str) -> String {
    let title = untrusted::annotation_property(&format!("urecho check: {title}"));
    format!("::{level} title={title}::{}", untrusted::annotation(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixtures::{HeadChange, UNCHANGED, record};
    use crate::check::judge::Metric;
    use crate::check::output::Check;
    use crate::check::record::Record;

    fn annotations(record: Record) -> Vec<String> {
        Check::of(record).summary().annotations()
    }

    #[test]
    fn each_metric_that_fails_the_build_is_annotated_once() {
        let annotated = annotations(record(12, &HeadChange { p50: 1.1, ..UNCHANGED }));
        assert_eq!(annotated.len(), 1);
        assert!(annotated[0].starts_with("::error title=urecho check%3A p50 REGRESSED::p50 +"));
        assert!(annotations(record(12, &UNCHANGED)).is_empty());
    }

    #[test]
    fn an_inconclusive_check_is_one_warning() {
        let mut record = record(4, &UNCHANGED);
        let annotated = annotations(record.clone());
        assert_eq!(annotated.len(), 1);
        assert!(annotated[0].starts_with("::warning title=urecho check%3A INCONCLUSIVE::"));
        record.settings.inconclusive = Inconclusive::Fail;
        let annotated = annotations(record);
        assert_eq!(
            annotated.len(),
            Metric::DEFAULT_GATE.len(),
            "one per metric: {annotated:?}"
        );
    }

    #[test]
    fn an_annotation_is_one_line_whatever_a_server_prints() {
        let text = annotation("error", "a: b, c", "100 %\n::error::");
        assert_eq!(
            text,
            "::error title=urecho check%3A a%3A b%2C c::100 %25 \u{23ce} ::error::"
        );
    }
}
