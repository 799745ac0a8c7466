//! Slices: the plan of each, and how it goes on while the server is waited for.

use super::*;

#[test]
fn every_slice_repeats_the_plan_and_is_one_interval() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, open(Arrivals::Constant), 1, true);
        let mut counts = Vec::new();
        for slice in 0..3 {
            let start = ms(7 + slice * 10_000);
            world.log = Log::default();
            world.run(start, None);
            let end = start + ms(500 + MEASURED);
            let planned = world.check_slice(start, 1, end);
            world.check_marks(start + ms(500), end);
            let seconds = world.log.marks.len() - 2;
            assert_eq!(seconds, 0, "seed {seed}");
            counts.push(planned);
            world.timeline.end_slice();
            assert!(!world.timeline.is_sending(world.now) && !world.timeline.is_due(start, world.now));
            assert_eq!(world.timeline.wake_up(world.now), Nanos::NEVER, "seed {seed}");
        }
        assert!(
            counts.iter().all(|&count| count == counts[0]),
            "seed {seed}: {counts:?}"
        );
    }
}

#[test]
fn the_plan_of_a_slice_goes_on_until_what_was_due_in_it_has_come_back() {
    for seed in 0..SEEDS {
        let mut workload = open(Arrivals::Poisson);
        workload.drain = ms(2_000);
        let mut world = World::new(seed, workload, 0, true);
        world.reply = ms(900);
        world.run(ms(7), None);
        let end = ms(507 + MEASURED);
        world.check_slice(ms(7), 0, end);
        assert!(world.outstanding.is_empty(), "seed {seed}");
        let last = world.log.planned.last().unwrap().1.at;
        assert!(last > end && world.timeline.measures(last), "seed {seed}: {last:?}");
    }
}

#[test]
fn a_slice_against_a_server_that_hangs_ends_with_the_drain() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, open(Arrivals::Poisson), 0, true);
        world.reply = Nanos(10 * Nanos::SECOND.0);
        world.run(ms(7), None);
        let drained = ms(507 + MEASURED + 300);
        assert!(
            world.log.ended >= drained && world.log.ended <= drained + ms(4),
            "seed {seed}"
        );
        let missing = world.log.planned.len() + world.log.unissued.len();
        assert_eq!(missing, world.expected(ms(7), 0, drained).len(), "seed {seed}");
    }
}

#[test]
fn slices_with_other_seeds_have_other_arrivals() {
    let workload = open(Arrivals::Poisson);
    let mut timeline = Timeline::new(&workload, 0, true);
    timeline.add(Key { slot: 0, generation: 0 }, Nanos(0));
    let mut first = |start, seed| {
        timeline.start(&workload, start, seed);
        let first = timeline.next_planned(start + ms(400)).unwrap().at - start;
        timeline.end_slice();
        first
    };
    let [a, b, again] = [(ms(1), 1), (ms(10_000), 2), (ms(20_000), 1)].map(|(start, seed)| first(start, seed));
    assert!(a != b && a == again, "{a:?}, {b:?}, {again:?}");
}
