//! Whatever happens, in whatever order, and wherever the process is killed.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{BrokerId, TopicPartition};
use control::event::{ReassignStep, names};
use control::order::OrderKind;
use control::*;
use proptest::prelude::*;

use crate::world::{Shell, setup, slot};

/// What can happen.
#[derive(Clone, Debug)]
enum Happening {
    Kill(i32),
    Drop(i32),
    ComeBack(i32),
    Complete,
    Step,
    /// Acts are carried out, and their answers come back.
    Act,
    /// Acts are carried out, and their answers are lost.
    LoseAnswers,
    /// Acts fail.
    Fail,
    /// The store cannot be written after so many effects.
    StoreFails(usize),
    /// The process is killed after so many effects.
    Crash(usize),
    Order(OrderKind),
    /// Someone else moves a partition to these brokers.
    Foreign(usize, i32),
    OtherCluster,
    SameCluster,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        2 => (1..7).prop_map(Kill),
        1 => (1..7).prop_map(Drop),
        3 => (1..7).prop_map(ComeBack),
        3 => Just(Complete),
        12 => Just(Step),
        8 => Just(Act),
        2 => Just(LoseAnswers),
        1 => Just(Fail),
        1 => (0..8_usize).prop_map(StoreFails),
        2 => (0..12_usize).prop_map(Crash),
        1 => Just(Order(OrderKind::Pause)),
        1 => Just(Order(OrderKind::Resume)),
        1 => Just(Order(OrderKind::Approve)),
        1 => Just(Order(OrderKind::Cancel { execution: None })),
        1 => (0..6_usize, 1..7).prop_map(|(partition, to)| Foreign(partition, to)),
        1 => Just(OtherCluster),
        2 => Just(SameCluster),
    ]
}

fn start(throttle: Option<u64>) -> Shell {
    let mut setup = setup(
        "
        brokers: 1@a 2@a 3@b 4@b 5@c 6@c
        t-0: 1 3 5
        t-1: 2 4 6
        t-2: 3 5 1
        u-0: 4 6 2
        u-1: 5 1
        v-0: 6
    ",
    );
    setup.throttle = throttle;
    setup.limits.batch = 2;
    setup.guard.mass_failure_grace = None;
    setup.actions.push(slot("mail", names::ALERT_MASS_FAILURE, ActionKind::Once));
    setup.actions.push(slot("elect", names::ELECT_LEADERS, ActionKind::Once));
    let mut shell = setup.start();
    shell.quiet(2);
    shell
}

/// What is checked along the way.
struct Watch {
    shell: Shell,
    foreign: BTreeMap<TopicPartition, Vec<BrokerId>>,
    records: BTreeSet<u64>,
}

impl Watch {
    fn happens(&mut self, what: Happening) {
        let shell = &mut self.shell;
        match what {
            Happening::Kill(id) => shell.world.kill(id),
            Happening::Drop(id) => shell.world.drop_broker(id),
            Happening::ComeBack(id) => shell.world.come_back(id),
            Happening::Complete => {
                shell.world.complete();
                let ongoing = &shell.world.reassignments;
                self.foreign.retain(|partition, _| ongoing.contains_key(partition));
            }
            Happening::Step => self.step(usize::MAX, false),
            Happening::Act => shell.act(),
            Happening::LoseAnswers => self.answer_all(true),
            Happening::Fail => self.answer_all(false),
            Happening::StoreFails(after) => self.step(after, true),
            Happening::Crash(after) => {
                self.step(after, false);
                self.shell.act();
                self.shell.crash();
            }
            Happening::Order(order) => shell.order(order),
            Happening::Foreign(partition, to) => {
                let partition = shell.world.all()[partition].clone();
                let to = vec![BrokerId(to)];
                // One that does just what we are about to do cannot be told from ours, and then is ours.
                let same = |m: &MoveState| m.order.partition == partition && m.order.to == to;
                let as_ours = shell.memory.executions.iter().any(|e| e.moves().iter().any(same));
                if !as_ours && !shell.world.reassignments.contains_key(&partition) {
                    shell.world.reassign(&partition, &to);
                    self.foreign.insert(partition, to);
                }
            }
            Happening::OtherCluster => shell.world.cluster_id = "two".to_owned(),
            Happening::SameCluster => shell.world.cluster_id = "one".to_owned(),
        }
        self.foreign_is_left_alone();
        self.one_move_per_partition();
    }

    fn answer_all(&mut self, applied: bool) {
        self.shell.act_with(|world, step| {
            if applied {
                let _ = world.act(step);
            }
            let message = "no answer".to_owned();
            Err(ActError { message, maybe_applied: true, retry: true })
        });
    }

    /// A step of which only the first `after` effects are carried out.
    fn step(&mut self, after: usize, store_fails: bool) {
        let (paused, other) = {
            let wishes = &self.shell.memory.wishes;
            let ordered = self.shell.orders.iter().any(|order| order.what == OrderKind::Resume);
            (wishes.paused.is_some() && !ordered, self.shell.world.cluster_id != "one")
        };
        let effects = self.shell.decide();
        let complete = after >= effects.len();
        for (position, effect) in effects.iter().enumerate() {
            let failed = store_fails && position >= after && matches!(effect, Effect::Persist { .. });
            if failed {
                self.shell.memory.forget_what_is_saved();
                let rest = effects[position..].iter();
                self.shell.outcomes.extend(rest.filter_map(|effect| effect.not_done("the disk is full")));
                return;
            }
            if !store_fails && position >= after {
                return;
            }
            match effect {
                Effect::Record(record) => {
                    assert!(self.records.insert(record.sequence), "record {} twice", record.sequence);
                }
                Effect::Act { execution, event, .. } => {
                    assert!(!other, "an act on another cluster");
                    self.act_is_journaled(*execution, event, paused);
                }
                Effect::Persist { .. } | Effect::Stop { .. } => {}
            }
            self.shell.apply(effect);
        }
        if complete && !store_fails {
            self.memory_is_what_was_stored();
        }
    }

    fn act_is_journaled(&self, execution: ExecutionId, event: &Event, paused: bool) {
        let stored = self.shell.store.get(&format!("executions/{}", execution.0));
        let stored: Execution = serde_json::from_value(stored.unwrap().clone()).unwrap();
        assert!(stored.is_running());
        match event.payload_as::<ReassignStep>() {
            Ok(ReassignStep::Submit { moves }) => {
                assert!(!paused, "a submission while paused");
                for m in &moves {
                    let entry = stored.moves().iter().find(|s| s.order.partition == m.partition).unwrap();
                    assert_eq!(entry.phase, MovePhase::Submitting);
                }
            }
            Ok(ReassignStep::Cancel { moves, .. }) => {
                for m in &moves {
                    assert!(!self.foreign.contains_key(&m.partition), "cancels a foreign reassignment");
                }
            }
            _ => {}
        }
    }

    fn memory_is_what_was_stored(&self) {
        let memory = &self.shell.memory;
        let restored = Memory::restore(self.shell.store.clone()).unwrap();
        assert_eq!(restored.cluster_id, memory.cluster_id);
        let brokers = |memory: &Memory| -> Vec<_> {
            memory.brokers.values().map(|known| known.broker.clone()).collect()
        };
        assert_eq!(brokers(&restored), brokers(memory));
        for (restored, now) in restored.executions.iter().zip(memory.executions.iter()) {
            assert_eq!(as_found_again(restored, now), json(now));
        }
        assert_eq!(restored.executions.len(), memory.executions.len());
        let incidents = |memory: &Memory| -> Vec<_> {
            let open = memory.incidents.open.values();
            open.map(|i| (i.key.clone(), i.id, i.severity, i.done.clone())).collect()
        };
        assert_eq!(incidents(&restored), incidents(memory));
        assert_eq!(restored.incidents.closed, memory.incidents.closed);
        assert_eq!(restored.wishes, memory.wishes);
        assert_eq!(restored.next_execution, memory.next_execution);
        assert_eq!(restored.next_record, memory.next_record);
    }

    fn foreign_is_left_alone(&self) {
        for (partition, target) in &self.foreign {
            let listed = self.shell.world.reassignments.get(partition).map(|listed| listed.target());
            assert_eq!(listed.as_ref(), Some(target), "{partition} was someone else's");
        }
    }

    fn one_move_per_partition(&self) {
        let mut seen = BTreeSet::new();
        for execution in self.shell.memory.executions.iter().filter(|e| e.is_running()) {
            for m in execution.moves().iter().filter(|m| !m.phase.is_final()) {
                assert!(seen.insert(&m.order.partition), "{} is moved twice at once", m.order.partition);
            }
        }
    }

    /// When all is well again, everything comes to an end, and nothing is left behind.
    fn comes_to_rest(&mut self) {
        self.shell.world.cluster_id = "one".to_owned();
        for id in 1..7 {
            self.shell.world.come_back(id);
        }
        self.shell.order(OrderKind::Resume);
        for _ in 0..150 {
            self.happens(Happening::Step);
            self.happens(Happening::Act);
            self.happens(Happening::Complete);
        }
        let shell = &self.shell;
        let running: Vec<_> = shell.memory.executions.iter().filter(|e| e.is_running()).collect();
        assert!(running.is_empty(), "still running: {running:?}");
        assert!(shell.world.reassignments.is_empty());
        assert!(!shell.world.throttled, "a throttle is left");
        assert!(shell.memory.incidents.open.is_empty(), "{}", shell.open_incidents());
        assert!(shell.held.is_empty());
    }
}

fn json(execution: &Execution) -> serde_json::Value {
    serde_json::to_value(execution).unwrap()
}

/// What is in the store, with what a look at the cluster shows again: that what was in flight goes well.
fn as_found_again(restored: &Execution, now: &Execution) -> serde_json::Value {
    let mut restored = restored.clone();
    if let control::execution::Work::Reassign(work) = &mut restored.work
        && now.is_running()
    {
        for (m, now) in work.moves.iter_mut().zip(now.moves()) {
            let was_in_flight = matches!(m.phase, MovePhase::Submitting | MovePhase::Copying { .. });
            if was_in_flight && matches!(now.phase, MovePhase::Copying { .. } | MovePhase::Done { .. }) {
                (m.phase, m.tries) = (now.phase.clone(), now.tries);
            }
        }
    }
    json(&restored)
}

/// A case is some hundred steps; the interesting ones are found within the first hundred cases.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn keeps_its_invariants_whatever_happens(
        happenings in prop::collection::vec(happening(), 0..60),
        throttle in prop::option::of(Just(1_000_u64)),
    ) {
        let mut watch = Watch { shell: start(throttle), foreign: BTreeMap::new(), records: BTreeSet::new() };
        for what in happenings {
            watch.happens(what);
        }
        watch.comes_to_rest();
    }

}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn equal_inputs_give_equal_effects(happenings in prop::collection::vec(happening(), 0..30)) {
        let run = || {
            let mut watch =
                Watch { shell: start(None), foreign: BTreeMap::new(), records: BTreeSet::new() };
            for what in happenings.clone() {
                watch.happens(what);
            }
            (watch.shell.decide(), watch.shell.store)
        };
        prop_assert_eq!(run(), run());
    }

}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn refuses_or_takes_any_store_without_a_panic(
        key in prop_oneof![
            Just("identity"), Just("brokers"), Just("incidents"), Just("wishes"), Just("counters"),
            Just("executions/1"), Just("something/else"),
        ],
        text in "[ -~]{0,40}",
    ) {
        let value = serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text));
        match Memory::restore(BTreeMap::from([(key.to_owned(), value)])) {
            Ok(_) => {}
            Err(error) => {
                prop_assert!(key != "something/else");
                prop_assert!(error.to_string().contains(key));
            }
        }
    }
}

#[test]
fn refuses_garbage_in_the_store_and_names_the_key() {
    let store = BTreeMap::from([("wishes".to_owned(), serde_json::json!({ "paused": 7 }))]);
    let error = Memory::restore(store).unwrap_err();
    assert_eq!(error.to_string(), "the state store holds something unreadable under `wishes`");
}

#[test]
fn writes_everything_again_after_a_failed_write() {
    let mut shell = start(None);
    shell.world.kill(1);
    shell.world.drop_broker(2);
    shell.turn();
    shell.order(OrderKind::Approve);
    shell.turn();
    shell.world.come_back(1);
    shell.world.come_back(2);
    shell.decide();
    assert!(shell.store["wishes"]["approved"].is_object(), "the approval is over, but that was not written");
    shell.memory.forget_what_is_saved();
    shell.effects();
    assert!(shell.store["wishes"]["approved"].is_null());
}
