//! What may be asserted, and on which side of the line an interval lies.

use super::*;
use crate::error;
use crate::load::schedule::{Arrivals, Pace, Rate};
use crate::load::{Churn, Close};
use crate::report::percentile::Percentile;

/// Checks that the text is refused, in one line, and that the line names what to write instead.
fn refused(text: &str, hints: &[&str]) {
    let message = parse(text).expect_err(text);
    assert_eq!(message.lines().count(), 1, "{message}");
    for hint in hints {
        assert!(
            message.contains(hint),
            "`{text}` is refused without naming `{hint}`: {message}"
        );
    }
}

/// The result of an assertion about a metric whose interval has these ends.
fn result(text: &str, low: f64, high: f64) -> AssertionResult {
    let value = (low + high) / 2.0;
    let outcome = parse(text).unwrap().judge(|_| Ok(Estimate { value, low, high }));
    outcome.result
}

/// The line about a metric with this estimate.
fn line(text: &str, estimate: Result<Estimate, NoInterval>) -> String {
    parse(text).unwrap().judge(|_| estimate).text
}

#[test]
fn every_metric_is_read_and_written_back() {
    let [p50, p99_95] = ["p50", "p99.95"].map(|text| Percentile::parse(text).unwrap());
    let statistics = [
        ("p50", Statistic::Percentile(p50)),
        ("p99.95", Statistic::Percentile(p99_95)),
        ("min", Statistic::Min),
        ("max", Statistic::Max),
        ("mean", Statistic::Mean),
    ];
    let latencies = LATENCIES.iter().flat_map(|(prefix, latency)| {
        statistics.map(|(name, statistic)| (format!("{prefix}{name}"), Metric::Latency(*latency, statistic)))
    });
    for (name, expected) in latencies {
        let assertion = parse(&format!("{name}<2ms")).unwrap();
        assert_eq!(assertion.metric(), expected);
        assert_eq!(assertion.to_string(), format!("{name} < 2ms"));
    }
    for (text, expected) in [
        ("errors<=0", Metric::Count(Count::Errors)),
        ("failed<5", Metric::Count(Count::Failed)),
        ("missing<1k", Metric::Count(Count::Missing)),
        ("rate>=50k/s", Metric::Rate),
    ] {
        assert_eq!(parse(text).unwrap().metric(), expected, "{text}");
    }
}

#[test]
fn spaces_around_the_sign_do_not_matter() {
    for text in ["p99<=2ms", "p99 <= 2ms", " p99  <=  2ms "] {
        assert_eq!(parse(text).unwrap().to_string(), "p99 <= 2ms");
    }
}

#[test]
fn a_value_is_read_in_the_unit_of_its_metric() {
    for (text, bound) in [
        ("p50<80us", 80_000.0),
        ("connect.max<1.5s", 1.5e9),
        ("errors<10k", 10_000.0),
        ("rate>1.5M/s", 1.5e6),
    ] {
        assert_eq!(parse(text).unwrap().bound, bound, "{text}");
    }
    refused("p99<2", &["duration needs a unit", "`2ms`"]);
    refused("p99<", &["the value is empty", "`50us`"]);
    assert!(parse("p99<2 ms").is_ok(), "as a report shows it");
    refused("errors<2ms", &["unknown unit `ms`", "`500`"]);
    refused("rate>50k", &["per second", "`50k/s`"]);
    refused("rate>50ms", &["`50k/s`"]);
}

#[test]
fn a_text_without_a_comparison_is_refused_with_examples() {
    for text in ["", "p99", "2ms", "p99 2ms"] {
        refused(text, &["no comparison", "`p99<2ms`", "`rate>=50k/s`"]);
    }
    for text in ["p99=2ms", "errors==0", "p99!=2ms", "p99=<2ms"] {
        refused(text, &["<, <=, > or >=", "`errors<=0`"]);
    }
    for text in ["p99<<2ms", "p99<>2ms", "p99<=>2ms", "p99<2ms<3ms"] {
        refused(text, &["`50us`"]);
    }
}

#[test]
fn an_unknown_metric_is_refused_with_the_known_ones() {
    for text in [
        "p100<2ms",
        "p0<2ms",
        "<2ms",
        "service<2ms",
        "service.errors<1",
        "response.rate>1/s",
        "P99<2ms",
        "p99,9<2ms",
        "response.service.p99<2ms",
    ] {
        refused(text, &["unknown metric", "p99.9", "`service.`", "errors", "rate"]);
    }
    refused("a\nb\x1b[31m<1ms", &["`a\\nb\\u{1b}[31m`"]);
}

fn with_pace(pace: Pace) -> Workload {
    Workload {
        pace,
        ..Workload::default()
    }
}

fn open_loop(from: f64, to: f64) -> Workload {
    with_pace(Pace::Open {
        rate: Rate { from, to },
        arrivals: Arrivals::Poisson,
    })
}

/// Checks that the metric is refused with this workload, in one line with this hint.
fn does_not_fit(text: &str, workload: &Workload, hint: &str) {
    let message = parse(text).unwrap().fits(workload).expect_err(text);
    assert!(message.contains(hint) && message.lines().count() == 1, "{message}");
}

#[test]
fn a_metric_of_the_open_loop_is_refused_in_a_closed_one() {
    let closed = with_pace(Pace::Closed { think: Nanos(0) });
    for text in ["response.p99<2ms", "lag.p99<50us"] {
        assert_eq!(parse(text).unwrap().fits(&open_loop(1e3, 1e3)), Ok(()));
        does_not_fit(text, &closed, "--rate");
    }
    for text in ["p99<2ms", "service.p99<2ms", "connect.max<2ms", "errors<=0"] {
        assert_eq!(parse(text).unwrap().fits(&closed), Ok(()), "{text}");
    }
}

#[test]
fn times_to_connect_have_no_interval_without_churn() {
    let mut workload = with_pace(Pace::Closed { think: Nanos(0) });
    for text in ["connect.p99<2ms", "connect.mean<2ms"] {
        does_not_fit(text, &workload, "connect.max");
    }
    workload.churn = Some(Churn {
        messages: 1,
        close: Close::Fin,
    });
    assert_eq!(parse("connect.p99<2ms").unwrap().fits(&workload), Ok(()));
}

#[test]
fn what_a_ramp_mixes_is_refused() {
    let ramp = open_loop(1e3, 5e3);
    for text in ["p99<2ms", "service.p50<2ms", "lag.p99<1ms", "mean<2ms", "rate>=2k/s"] {
        does_not_fit(text, &ramp, "mixture");
    }
    for text in ["max<2ms", "connect.max<2ms", "errors<=0", "missing<=0"] {
        assert_eq!(parse(text).unwrap().fits(&ramp), Ok(()), "{text}");
    }
}

#[test]
fn an_interval_on_one_side_decides_and_one_across_does_not() {
    use AssertionResult::{False, True, Undecided};
    let (below, across, above) = ((1e6, 1.9e6), (1.9e6, 2.1e6), (2.1e6, 3e6));
    for (text, expected) in [
        ("p99<2ms", [True, Undecided, False]),
        ("p99<=2ms", [True, Undecided, False]),
        ("p99>2ms", [False, Undecided, True]),
        ("p99>=2ms", [False, Undecided, True]),
    ] {
        let found = [below, across, above].map(|(low, high)| result(text, low, high));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn an_interval_that_ends_on_the_bound_is_decided_by_the_sign() {
    use AssertionResult::{False, True, Undecided};
    // The bound is the upper end, the lower end, and both.
    let (up_to, from, only) = ((1e6, 2e6), (2e6, 3e6), (2e6, 2e6));
    for (text, expected) in [
        ("p99<2ms", [Undecided, False, False]),
        ("p99<=2ms", [True, Undecided, True]),
        ("p99>2ms", [False, Undecided, False]),
        ("p99>=2ms", [Undecided, True, True]),
    ] {
        let found = [up_to, from, only].map(|(low, high)| result(text, low, high));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn an_open_end_can_refute_but_never_confirm_an_upper_bound() {
    assert_eq!(result("max<2ms", 1e6, f64::INFINITY), AssertionResult::Undecided);
    assert_eq!(result("max<2ms", 2e6, f64::INFINITY), AssertionResult::False);
    assert_eq!(result("max>2ms", 3e6, f64::INFINITY), AssertionResult::True);
}

#[test]
fn the_line_shows_the_figure_and_its_interval() {
    let estimate = Estimate::latency(Nanos(1_210_000), Nanos(1_190_000), Nanos(1_240_000));
    assert_eq!(
        line("p99<2ms", Ok(estimate)),
        "p99 < 2ms: true (1.21 ms, 95 % confidence interval 1.19 ms to 1.24 ms)"
    );
    assert_eq!(
        line("errors<=0", Ok(Estimate::exact(1_234.0))),
        "errors <= 0: false (1,234)"
    );
    assert_eq!(
        line("rate>=50k/s", Ok(Estimate::exact(50_123.0))),
        "rate >= 50k/s: true (50,123/s)"
    );
    let open = Estimate::latency(Nanos(1_210_000), Nanos(1_190_000), Nanos::NEVER);
    assert_eq!(
        line("service.p99.9<2ms", Ok(open)),
        "service.p99.9 < 2ms: undecided (1.21 ms, 95 % confidence interval from 1.19 ms with no upper end)"
    );
}

#[test]
fn without_a_valid_interval_it_is_undecided_and_says_why() {
    assert_eq!(
        line("p99<2ms", Err(NoInterval::no_figure("needs 368 samples, has 100"))),
        "p99 < 2ms: undecided (needs 368 samples, has 100)"
    );
    for (ns, holds, shown) in [(1_000_000, true, "1.00 ms"), (3_000_000, false, "3.00 ms")] {
        let none = NoInterval {
            figure: Some(Estimate::exact(f64::from(ns))),
            why: "too short".into(),
        };
        let outcome = parse("p99<2ms").unwrap().judge(|_| Err(none));
        assert_eq!(
            (outcome.result, outcome.figure_holds),
            (AssertionResult::Undecided, Some(holds))
        );
        let text = format!("p99 < 2ms: undecided ({shown}, no valid interval: too short)");
        assert_eq!(outcome.text, text);
    }
}

#[test]
fn one_false_assertion_is_worse_than_any_number_of_undecided_ones() {
    let judged = |text, low, high| {
        let value = low;
        parse(text).unwrap().judge(|_| Ok(Estimate { value, low, high }))
    };
    let good = judged("p99<2ms", 1e6, 1e6);
    let bad = judged("p99<2ms", 3e6, 3e6);
    let open = judged("p99<2ms", 1e6, 3e6);
    for (outcomes, code) in [
        (vec![], 0),
        (vec![good.clone()], 0),
        (vec![good.clone(), open.clone()], 3),
        (vec![open, bad, good], 1),
    ] {
        assert_eq!(error::exit_code(outcome(&outcomes)), code, "{outcomes:?}");
    }
}

#[test]
fn the_result_is_a_word_in_json() {
    let outcome = parse("errors<=0").unwrap().judge(|_| Ok(Estimate::exact(0.0)));
    let json = serde_json::to_value(outcome).unwrap();
    assert_eq!(
        (json["assertion"].as_str(), json["result"].as_str()),
        (Some("errors <= 0"), Some("true"))
    );
}
