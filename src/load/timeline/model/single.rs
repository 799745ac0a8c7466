//! Single events of a timeline, in an order that a model would seldom find.

use super::*;

#[test]
fn messages_stay_due_while_there_is_no_connection() {
    let workload = open(Arrivals::Constant);
    let mut timeline = Timeline::new(&workload, 0, false);
    timeline.start(&workload, ms(0), 1);
    let now = ms(450); // Several messages are due, also at the low rate under Miri.
    assert_eq!(timeline.next_planned(now), None);
    let key = Key { slot: 3, generation: 0 };
    assert!(!timeline.add(key, now), "an open loop has no first messages");
    let first = timeline.next_planned(now).unwrap();
    assert!(first.key == key && first.at < now);
    timeline.remove(key);
    assert!(timeline.next_unissued(now).is_some());
}

#[test]
fn a_message_that_moves_keeps_a_run_from_ending_until_it_stands_still() {
    let workload = Workload {
        warmup: Nanos(0),
        duration: ms(100),
        drain: ms(50),
        traffic: Traffic {
            sizes: Sizes::Fixed(1 << 30),
            ..Workload::default().traffic
        },
        ..Workload::default()
    };
    let mut timeline = Timeline::new(&workload, 0, false);
    timeline.start(&workload, Nanos(0), 1);
    timeline.moved(ms(140));
    assert!(!timeline.drain_has_ended(ms(149)));
    assert!(
        timeline.drain_has_ended(ms(150)) && !timeline.drain_has_ended(ms(151)),
        "once"
    );
    assert_eq!(timeline.wake_up(ms(151)), ms(190));
    assert!(!timeline.is_over(false, ms(189)) && timeline.is_over(false, ms(190)));
    assert!(timeline.is_over(true, ms(151)), "it has come back");
    timeline.moved(ms(189));
    timeline.cut_short(ms(189));
    assert!(timeline.is_over(false, ms(189)), "a stop does not wait for the rest");
}

#[test]
fn a_full_queue_holds_the_plan_back_and_loses_none_of_it() {
    let workload = open(Arrivals::Constant);
    let mut timeline = Timeline::new(&workload, 0, false);
    timeline.start(&workload, ms(0), 1);
    let _ = timeline.add(Key { slot: 3, generation: 0 }, ms(0)); // Open loop: no first messages.
    let first = timeline.next_planned(ms(450)).unwrap();
    timeline.set_outstanding(QUEUE_MAX, ms(450));
    assert_eq!(timeline.next_planned(ms(450)), None);
    assert!(timeline.wake_up(ms(450)) > ms(450), "only a completion makes room");
    timeline.set_outstanding(QUEUE_MAX - 1, ms(470));
    let second = timeline.next_planned(ms(470)).unwrap();
    assert!(second.at > first.at && second.at < ms(470), "as planned");
    assert_eq!(
        timeline.issuable(second.at),
        ms(470),
        "it is not the generator that was late"
    );
    timeline.set_outstanding(QUEUE_MAX, ms(480));
    assert!(
        timeline
            .next_unissued(ms(490))
            .is_some_and(|unissued| unissued.at > second.at)
    );
}
