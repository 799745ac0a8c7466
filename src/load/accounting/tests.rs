use super::*;
use crate::load::connection::Outgoing;
use crate::load::payload::PayloadStream;
use crate::load::pipeline::Pipeline;
use crate::load::result::Messages;
use crate::load::sizes::Sizes;
use crate::load::workload::Traffic;
use crate::random::Random;

const SIZE: usize = 8;

fn traffic() -> Traffic {
    Traffic {
        sizes: Sizes::Fixed(SIZE as u64),
        depth: 3,
        verify: true,
    }
}

/// An open connection whose issued messages are submitted at once, and its target.
struct Client {
    connection: Connection,
    target: PayloadStream,
    returned: u64,
}

impl Client {
    fn new(number: u64) -> Client {
        let target = PayloadStream::new(1, number);
        let pipeline = Pipeline::new(target, 0, traffic().depth);
        let (connection, _) = Connection::established(number, pipeline, u64::MAX);
        Client {
            connection,
            target,
            returned: 0,
        }
    }

    fn issue(&mut self, accounting: &mut Accounting, planned: Nanos, measured: bool) {
        accounting.issued(planned, measured);
        let mut next = self.connection.issue(planned, measured);
        while next.send == Some(Outgoing::Buffer) {
            self.connection.write(&traffic(), &mut [0; SIZE], planned);
            next = self.connection.sent(Ok(()), false, planned);
        }
    }

    /// The oldest message comes back at `now`.
    fn complete(&mut self, accounting: &mut Accounting, now: Nanos) {
        let mut bytes = [0; SIZE];
        self.target.fill(self.returned, 0, &mut bytes);
        self.returned += 1;
        let number = self.connection.number();
        let next = self.connection.received(&traffic(), &bytes, true, now, |message| {
            accounting.completed(number, message, now, true, true);
        });
        let mut next = next.unwrap();
        accounting.returned(next.completed);
        while next.send == Some(Outgoing::Buffer) {
            self.connection.write(&traffic(), &mut [0; SIZE], now);
            next = self.connection.sent(Ok(()), false, now);
        }
    }
}

/// For connections that take no step.
fn phase(_: Nanos) -> Phase {
    Phase::Measuring
}

/// All messages of the intervals so far, and the last interval.
fn end(accounting: &mut Accounting) -> (Messages, Interval) {
    let interval = accounting.rotate(Nanos(1), Interval::default());
    (interval.messages, interval)
}

#[test]
fn every_message_that_counts_is_completed_failed_or_missing() {
    for seed in 0..if cfg!(miri) { 2 } else { 200 } {
        let mut random = Random::new(seed, 0);
        let mut accounting = Accounting::new(random.coin(), 1);
        let mut clients: Vec<Client> = (0..4).map(Client::new).collect();
        let (mut now, mut sent) = (Nanos(1), 0);
        for _ in 0..200 {
            now = now + Nanos(random.below(50) as u64);
            let index = random.below(clients.len());
            let client = &mut clients[index];
            match random.below(40) {
                0 => {
                    accounting.lost(&client.connection, Loss::Reset, now);
                    clients[index] = Client::new(100 + now.0);
                }
                1..20 => {
                    let measured = random.coin();
                    sent += u64::from(measured);
                    client.issue(&mut accounting, now, measured);
                }
                _ if client.connection.outstanding().count() > 0 => client.complete(&mut accounting, now),
                _ => {}
            }
            let outstanding = clients.iter().map(|client| client.connection.outstanding().count());
            assert_eq!(accounting.is_idle(), outstanding.sum::<usize>() == 0, "seed {seed}");
        }
        for client in &clients {
            // Measuring has not begun: a message of the warm-up adds nothing.
            accounting.conclude(&client.connection, now, phase);
        }
        let (messages, interval) = end(&mut accounting);
        let Messages {
            completed,
            failed,
            missing,
            ..
        } = messages;
        assert_eq!(messages.sent, sent, "seed {seed}");
        assert_eq!(sent, completed + failed + missing, "seed {seed}: {messages:?}");
        let latency = match accounting.open_loop {
            true => &interval.latencies.response,
            false => &interval.latencies.service,
        };
        assert_eq!(latency.count(), sent, "seed {seed}: every one is in the distribution");
        assert_eq!(latency.censored(), failed + missing, "seed {seed}");
        let by_connection: u64 = accounting
            .take_stats()
            .by_connection
            .iter()
            .map(|one| one.messages)
            .sum();
        assert_eq!(by_connection, completed, "seed {seed}");
    }
}

#[test]
fn a_missing_message_is_censored_at_its_age() {
    let mut accounting = Accounting::new(true, 1);
    let mut client = Client::new(0);
    client.issue(&mut accounting, Nanos(1_000), true);
    accounting.conclude(&client.connection, Nanos(51_000), phase);
    accounting.unissued(&unissued(11_000, 1, 0), Nanos(51_000));
    let (messages, interval) = end(&mut accounting);
    assert_eq!((messages.sent, messages.missing), (2, 2));
    let max = interval.latencies.response.max().unwrap();
    assert!(max.lower_bound_only, "{max:?}");
    assert_eq!(max.value.0 / 100, 500);
    // The message that was never submitted has no service time.
    let (service, response) = (&interval.latencies.service, &interval.latencies.response);
    assert_eq!((service.count(), response.count()), (1, 2));
}

#[test]
fn a_closed_loop_that_has_been_silent_since_the_warm_up_is_missing_since_measuring_began() {
    let mut accounting = Accounting::new(false, 1);
    let mut client = Client::new(0);
    client.issue(&mut accounting, Nanos(1_000), false);
    accounting.begin_measuring(Nanos(20_000), ThreadUsage::default());
    accounting.conclude(&client.connection, Nanos(50_000), phase);
    let (messages, interval) = end(&mut accounting);
    assert_eq!((messages.sent, messages.missing), (1, 1));
    assert_eq!(interval.latencies.service.max().unwrap().value.0 / 100, 300);
}

#[test]
fn a_message_that_fails_with_its_connection_is_censored_at_its_age() {
    let mut accounting = Accounting::new(true, 1);
    let mut client = Client::new(0);
    client.issue(&mut accounting, Nanos(1_000), true);
    accounting.lost(&client.connection, Loss::Reset, Nanos(31_000));
    let (messages, interval) = end(&mut accounting);
    assert_eq!((messages.sent, messages.failed, messages.missing), (1, 1, 0));
    for latency in [&interval.latencies.service, &interval.latencies.response] {
        let max = latency.max().unwrap();
        assert!(max.lower_bound_only && max.value == Nanos(30_000), "{max:?}");
    }
}

#[test]
fn a_message_counted_when_it_was_due_is_not_counted_again_when_it_is_issued_or_missing() {
    let mut accounting = Accounting::new(true, 1);
    accounting.due(2);
    accounting.issued(Nanos(1), false);
    accounting.unissued(&unissued(5, 1, 1), Nanos(10));
    let (messages, _) = end(&mut accounting);
    assert_eq!((messages.sent, messages.missing), (2, 1));
}

#[test]
fn steps_count_by_the_phase_in_which_they_began() {
    let sample = |step, took, censored| Sample {
        step,
        since: Nanos(0),
        took: Nanos(took),
        censored,
    };
    let mut accounting = Accounting::new(false, 1);
    for phase in [Phase::RampUp, Phase::WarmUp, Phase::Measuring, Phase::Drain] {
        for step in [Step::Connect, Step::FirstByte, Step::Close] {
            accounting.sample(sample(step, 7, false), phase);
        }
    }
    // Not established: it has no first byte either.
    accounting.sample(sample(Step::Connect, 90, true), Phase::Measuring);
    accounting.undialed(Loss::Timeout, 3, Phase::RampUp);
    accounting.send_lag(Nanos(5));
    let second = accounting.rotate(Nanos::SECOND, Interval::default());
    assert_eq!((second.connect.count(), second.connect.censored()), (2, 1));
    assert_eq!(second.send_lag.count(), 1);
    let stats = accounting.take_stats();
    let counts =
        [&stats.ramp_up, &stats.connect, &stats.first_byte, &stats.close].map(|one| (one.count(), one.censored()));
    assert_eq!(counts, [(4, 3), (2, 1), (2, 1), (1, 0)]);
    assert_eq!(stats.unopened[&Loss::Timeout], 3);
}

#[test]
fn a_connection_under_way_at_the_end_is_unfinished_and_censored() {
    let mut accounting = Accounting::new(false, 1);
    let pipeline = Pipeline::new(PayloadStream::new(1, 5), 0, 1);
    let connection = Connection::dialed(5, pipeline, u64::MAX, Nanos(1_000));
    accounting.conclude(&connection, Nanos(41_000), |since| match since {
        Nanos(1_000) => Phase::Measuring,
        _ => Phase::Drain,
    });
    let stats = accounting.take_stats();
    let connect = stats.connect.max().unwrap();
    assert!(
        connect.lower_bound_only && connect.value == Nanos(40_000),
        "{connect:?}"
    );
    assert_eq!((stats.unfinished, stats.by_connection.len()), (1, 0));
}

#[test]
fn intervals_are_numbered_and_follow_each_other() {
    let mut accounting = Accounting::new(false, 1);
    accounting.begin_measuring(Nanos(70), ThreadUsage::default());
    let first = accounting.rotate(Nanos(10), Interval::default());
    let second = accounting.rotate(Nanos(25), Interval::default());
    assert_eq!((first.index, second.index), (0, 1));
    let spans = [first.span, second.span].map(|span| (span.begin, span.end));
    assert_eq!(spans, [(Nanos(0), Nanos(10)), (Nanos(10), Nanos(25))]);
}

#[test]
fn an_interval_that_is_kept_goes_on_and_nothing_is_counted_twice() {
    let mut accounting = Accounting::new(false, 1);
    let mut client = Client::new(0);
    accounting.begin_measuring(Nanos(0), ThreadUsage::default());
    for second in 1..=3 {
        client.issue(&mut accounting, Nanos(second), true);
        client.complete(&mut accounting, Nanos(second + 1));
        let full = accounting.rotate(Nanos(10 * second), Interval::default());
        if second < 3 {
            accounting.keep(full);
        } else {
            assert_eq!((full.index, full.span.begin, full.span.end), (2, Nanos(0), Nanos(30)));
            assert_eq!((full.achieved, full.messages.completed), (3, 3));
        }
    }
    assert_eq!(accounting.take_stats().achieved, 3);
}

#[test]
fn a_reply_to_a_message_of_the_warm_up_is_in_the_rate_of_its_second_only() {
    let mut accounting = Accounting::new(false, 1);
    let mut client = Client::new(0);
    client.issue(&mut accounting, Nanos(1), false);
    accounting.begin_measuring(Nanos(2), ThreadUsage::default());
    client.complete(&mut accounting, Nanos(3));
    let second = accounting.rotate(Nanos(4), Interval::default());
    let latencies = second.latencies.service.count();
    assert_eq!((second.achieved, second.messages.completed, latencies), (1, 0, 0));
}

#[test]
fn cpu_time_is_what_was_used_while_measuring() {
    let mut accounting = Accounting::new(false, 1);
    let usage = |cpu, spun| ThreadUsage {
        cpu: Nanos(cpu),
        spun: Nanos(spun),
        run_delay: Nanos(cpu / 10),
    };
    accounting.begin_measuring(Nanos(1_000), usage(500, 100));
    accounting.end_measuring(Nanos(3_000), usage(1_500, 300));
    let stats = accounting.take_stats();
    assert_eq!(stats.elapsed(), Nanos(2_000));
    assert_eq!(
        (stats.cpu.total, stats.cpu.busiest_without_spin, stats.run_delay),
        (Nanos(1_000), Nanos(800), Nanos(100))
    );
}

fn unissued(at: u64, count: u64, counted: u64) -> Unissued {
    let at = Nanos(at);
    Unissued { at, count, counted }
}
