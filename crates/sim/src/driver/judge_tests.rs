use cluster::{Capabilities, ClusterId};
use control::event::{ElectLeaders, ReassignPartitions};
use control::execution::Reassign;
use control::{Incidents, MovePhase, Now, Target, Tick, Timestamp, Wish, Wishes};

use super::*;
use crate::settings::Settings;

const NOW: Now = Now { tick: Tick(1_000_000), wall: Timestamp(1_000_000) };

fn order() -> PartitionMove {
    PartitionMove {
        partition: TopicPartition::new("t", 0),
        from: vec![BrokerId(1), BrokerId(2)],
        to: vec![BrokerId(1), BrokerId(3)],
        dead: vec![BrokerId(2)],
        leaving: Vec::new(),
        bytes: None,
        in_sync: 1,
        reason: String::new(),
    }
}

/// What is wrong with this act, with facts so old, while people have paused us or not.
fn wrongs(event: &Event, age: Duration, paused: bool, work: Reassign) -> Vec<String> {
    wrongs_beside(event, (age, age), paused, [work, Reassign::new(ReassignPartitions::default())])
}

/// The same, with another execution beside it, and facts that are really so old.
fn wrongs_beside(
    event: &Event,
    (age, read_ago): (Duration, Duration),
    paused: bool,
    [work, other]: [Reassign; 2],
) -> Vec<String> {
    let liveness = Liveness {
        cluster_id: ClusterId("sim".into()),
        controller: None,
        live: BTreeMap::new(),
        fenced: BTreeMap::new(),
        asked: 1,
        answered: 1,
        agreeing: 1,
        capabilities: Capabilities::default(),
    };
    let wish = || Wish { by: "ann".into(), reason: String::new(), since: NOW.wall, until: None };
    let wishes = Arc::new(Wishes { paused: paused.then(wish), ..Wishes::default() });
    let execution = Execution::new(ExecutionId(1), event.clone(), "a", NOW.wall, Work::Reassign(work));
    let other = Execution::new(ExecutionId(2), event.clone(), "a", NOW.wall, Work::Reassign(other));
    let executions = Arc::new(vec![Arc::new(Execution { sequence: 1, ..execution }), Arc::new(other)]);
    let incidents = Arc::new(Incidents::default());
    let mut state = State::new("sim".into(), NOW, incidents, Arc::clone(&executions), Arc::clone(&wishes));
    let as_of = Tick(NOW.tick.0 - crate::time::millis(age));
    state.put(liveness, as_of);
    state.put(Topics(cluster::TopicTable::new()), as_of);
    state.put(OngoingReassignments(cluster::Reassignments::new()), as_of);
    let mut memory = Memory::default();
    (memory.executions, memory.wishes) = (executions, wishes);
    let journaled = serde_json::to_value(&*memory.executions[0]).unwrap_or_default();
    let store = BTreeMap::from([("executions/1".to_owned(), journaled)]);
    let mut world = World::new(&"b1\nb2\nb3".parse().unwrap_or_default(), Settings::default());
    world.advance(Duration::from_secs(3600));
    let mut judge = Judge::new(&DriverConfig::default());
    let (execution, memory, state) = (ExecutionId(1), &memory, &state);
    let read_ago = Some(read_ago);
    judge.act(&world, &Sent { execution, sequence: 1, event, store: &store, memory, state, read_ago });
    judge.take_wrongs()
}

fn moving() -> Reassign {
    Reassign::new(ReassignPartitions { moves: vec![order()], throttle_bytes_per_second: None })
}

fn step(step: &ReassignStep) -> Event {
    Event::new(names::REASSIGN_PARTITIONS, Target::Cluster, "", step)
}

#[test]
fn what_begins_something_needs_fresh_facts_and_nobody_who_wants_nothing_begun() {
    let moves = || vec![order()];
    let elect = Event::new(names::ELECT_LEADERS, Target::Cluster, "", &ElectLeaders::default());
    let events = [
        elect,
        step(&ReassignStep::Submit { moves: moves() }),
        step(&ReassignStep::SetThrottle(Throttle::default())),
        step(&ReassignStep::Cancel { moves: moves(), by_order: false }),
    ];
    for event in &events {
        let found = |age, paused| wrongs(event, Duration::from_secs(age), paused, moving());
        assert_eq!(found(0, false), Vec::<String>::new());
        assert_eq!(found(11, false).len(), 1, "{event:?}");
        assert_eq!(found(0, true).len(), 1, "{event:?}");
        let believed_fresh = (Duration::ZERO, Duration::from_secs(61));
        let none = Reassign::new(ReassignPartitions::default());
        let wrongs = wrongs_beside(event, believed_fresh, false, [moving(), none]);
        assert!(wrongs.len() == 1 && wrongs[0].ends_with("read 61 s ago"), "{wrongs:?}");
    }
}

#[test]
fn a_person_may_have_moves_cancelled_at_any_time() {
    let cancelled = Reassign { cancelled: Some("ann".to_owned()), ..moving() };
    let cancel = step(&ReassignStep::Cancel { moves: vec![order()], by_order: false });
    assert_eq!(wrongs(&cancel, Duration::from_secs(900), true, cancelled), Vec::<String>::new());
}

#[test]
fn a_throttle_is_taken_away_at_any_time_after_its_moves() {
    let clear = step(&ReassignStep::ClearThrottle(Throttle::default()));
    let found = |work| wrongs(&clear, Duration::from_secs(900), true, work);
    assert_eq!(found(moving()), ["a throttle is taken away amid its moves"]);
    let mut done = moving();
    done.moves[0].phase = MovePhase::Done { at: NOW.wall };
    assert_eq!(found(done), Vec::<String>::new());
}

#[test]
fn a_broker_under_maintenance_neither_loses_nor_gets_a_replica() {
    let mut world = World::new(&"b1\nb2\nb3\nt-0: 1* 2".parse().unwrap_or_default(), Settings::default());
    world.plan(&"at 1s kill b2".parse().unwrap_or_default());
    world.advance(Duration::from_secs(3600));
    let wrongs = |maintained: Option<i32>| {
        let mut judge = Judge::new(&DriverConfig::default());
        judge.looks(&world);
        judge.reads(&world, &[order()]);
        let wish = Wish { by: "ann".into(), reason: String::new(), since: NOW.wall, until: None };
        let broker_maintenance = maintained.map(|id| (BrokerId(id), wish)).into_iter().collect();
        let wishes = Arc::new(Wishes { broker_maintenance, ..Wishes::default() });
        let mut memory = Memory::default();
        memory.wishes = wishes;
        let order = order();
        judge.batch(&world, &memory, &Batch::from([(order.partition, Some(order.to))]));
        judge.take_wrongs()
    };
    assert_eq!(wrongs(None), [""; 0]);
    assert_eq!(wrongs(Some(1)), [""; 0], "it keeps what it has");
    for id in [2, 3] {
        let wrong = format!("t-0 is moved from or to broker {id} during its maintenance");
        assert_eq!(wrongs(Some(id)), [wrong]);
    }
}

#[test]
fn a_clock_that_jumped_before_a_broker_fell_silent_excuses_nothing() {
    let away = |faults: &str| {
        let mut world = World::new(&"b1\nb2\nt-0: 1* 2".parse().unwrap_or_default(), Settings::default());
        world.plan(&faults.parse().unwrap_or_default());
        world.advance(Duration::from_secs(120));
        let mut judge = Judge::new(&DriverConfig::default());
        judge.looks(&world);
        let absence = world.absence(BrokerId(2), world.now(), Duration::ZERO, judge.gap);
        judge.away(&world, BrokerId(2)) - absence.map_or(Duration::ZERO, |absence| absence.lasted)
    };
    let session = away("at 60s kill b2");
    assert!(session < EARLIER, "{session:?}");
    assert_eq!(away("at 10s clock +1h\nat 60s kill b2"), session);
    assert_eq!(away("at 61s clock +1h\nat 60s kill b2"), EARLIER);
}

#[test]
fn a_broker_that_died_again_soon_after_its_return_has_been_away_since_either_death() {
    let before = |kill: u64| {
        let mut world = World::new(&"b1\nb2\nt-0: 1* 2".parse().unwrap_or_default(), Settings::default());
        let faults = format!("at 100s pause b2 200s\nat {kill}s kill b2");
        world.plan(&faults.parse().unwrap_or_default());
        world.advance(Duration::from_secs(400));
        let mut judge = Judge::new(&DriverConfig::default());
        judge.gap = Duration::from_secs(5);
        judge.looks(&world);
        let absence = world.absence(BrokerId(2), world.now(), Duration::ZERO, judge.gap).unwrap();
        (absence.silent.len(), judge.away(&world, BrokerId(2)) - absence.lasted)
    };
    // Before it was killed it answered for less than from one look to the next, and for longer.
    let ((merged, seen), (single, alone)) = (before(303), before(310));
    assert_eq!((merged, single), (2, 1));
    for session in [seen, alone] {
        assert!(session > Duration::ZERO && session < EARLIER, "{session:?}");
    }
}

#[test]
fn a_copy_that_is_down_is_not_given_up_while_its_broker_stays() {
    // With eligible leaders nobody is in sync once the last one has gone.
    let mut world = World::new(&"b1\nb2\nb3\nt-0: 1* 2~".parse().unwrap_or_default(), Settings::default());
    world.plan(&"at 1s kill b2\nat 400s kill b1".parse().unwrap_or_default());
    world.advance(Duration::from_secs(420));
    assert_eq!(world.partition(&order().partition).map(|it| it.isr.len()), Some(0));
    let gives_up = |to: [i32; 2]| {
        let mut judge = Judge::new(&DriverConfig::default());
        judge.looks(&world);
        judge.reads(&world, &[order()]);
        judge.one_move(&world, &Memory::default(), &order().partition, &to.map(BrokerId));
        judge.take_wrongs().iter().any(|wrong| wrong.starts_with("the last copy"))
    };
    assert!(!gives_up([1, 3]));
    assert!(gives_up([2, 3]), "what is out of sync is no copy");
}

#[test]
fn a_throttle_that_moves_of_another_execution_need_is_not_taken_away() {
    let entry = |value: &str| ThrottleEntry {
        broker: Some(BrokerId(3)),
        topic: None,
        key: "follower.replication.throttled.rate".to_owned(),
        value: value.to_owned(),
    };
    let throttle = |value| Throttle { entries: Some(vec![entry(value)]), ..Throttle::default() };
    let mut done = moving();
    done.moves[0].phase = MovePhase::Done { at: NOW.wall };
    let clear = step(&ReassignStep::ClearThrottle(throttle("5")));
    let found = |other| wrongs_beside(&clear, (Duration::ZERO, Duration::ZERO), false, [done.clone(), other]);
    let other = |value| Reassign { throttle: Some(throttle(value)), throttle_set: true, ..moving() };
    assert_eq!(found(other("5")), ["a throttle is taken away amid the moves of execution 2"]);
    assert_eq!(found(other("6")), [""; 0]);
    let over = Reassign { moves: done.moves.clone(), ..other("5") };
    assert_eq!(found(over), [""; 0]);
}

#[test]
fn a_whole_rack_is_given_up_only_with_leave() {
    let brokers: String = (1..=20).map(|id| format!("b{id} rack=r{}\n", id % 10)).collect();
    let wrongs = |kill: &str, maintained: &[i32]| {
        let text = format!("{brokers}t-0: 1* 2 3\nt-1: 2* 12 4");
        let mut world = World::new(&text.parse().unwrap_or_default(), Settings::default());
        world.plan(&kill.parse().unwrap_or_default());
        world.advance(Duration::from_secs(300));
        let mut judge = Judge::new(&DriverConfig::default());
        judge.looks(&world);
        let wish = || Wish { by: "ann".into(), reason: String::new(), since: NOW.wall, until: None };
        let broker_maintenance = maintained.iter().map(|id| (BrokerId(*id), wish())).collect();
        let wishes = Wishes { broker_maintenance, ..Wishes::default() };
        let mut memory = Memory::default();
        memory.wishes = Arc::new(wishes);
        judge.brake(&world, &memory);
        judge.take_wrongs()
    };
    let (rack, two) = ("at 1s kill b2\nat 1s kill b12", "at 1s kill b2\nat 1s kill b1");
    assert_eq!(wrongs(two, &[]), [""; 0], "a tenth may be away");
    let whole = "the whole rack r2 is away, and nobody has approved that it is given up";
    assert_eq!(wrongs(rack, &[]), [whole]);
    assert_eq!(wrongs(rack, &[12]), [whole], "what is down on purpose belongs to its rack");
    assert_eq!(wrongs(rack, &[2, 12]), [""; 0]);
}
