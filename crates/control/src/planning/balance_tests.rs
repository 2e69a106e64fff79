use planner::balance::{Budget, Policy, audit, solve};

use super::*;
use crate::load::PartitionLoad;
use crate::state::State;
use crate::testing::World;

fn state(text: &str) -> State {
    World::new(text).look().state
}

/// All of a kind of figure by broker name.
fn lists(question: &Question) -> Vec<String> {
    let name = |ordinal: &u32| question.brokers[*ordinal as usize].to_string();
    let cluster = &question.cluster;
    let list = |partition: u32| {
        let names: Vec<String> = cluster.replicas(partition).iter().map(name).collect();
        let topic = &question.topics[cluster.topic(partition) as usize];
        let frozen = if cluster.frozen(partition) { " frozen" } else { "" };
        format!(
            "{topic}-{}: {} led by {}{frozen}",
            question.partitions[partition as usize],
            names.join(" "),
            names[cluster.leader(partition) as usize]
        )
    };
    (0..cluster.partitions()).map(list).collect()
}

#[test]
fn a_question_has_what_the_state_has() {
    let state = state("b1 rack=a\nb2 rack=b\nb3\nb5 rack=a dead\nt-0: 2 1*\nt-1: 3* 5~\nu-0: 1* +3~");
    let known = Known::of(&state).unwrap();
    let question = Question::new(&known).unwrap();
    assert_eq!(question.brokers.iter().map(|id| id.0).collect::<Vec<_>>(), [1, 2, 3, 5]);
    let alive: Vec<bool> = question.cluster.brokers().iter().map(|broker| broker.alive).collect();
    assert_eq!(alive, [true, true, true, false]);
    assert_eq!(
        lists(&question),
        ["t-0: 2 1 led by 1", "t-1: 3 5 led by 3", "u-0: 1 3 led by 1 frozen"],
        "what is being reassigned stays as it is"
    );
    assert!(!question.knows(Goal::DiskCapacity) && question.knows(Goal::RackAware));
}

#[test]
fn nobody_is_sent_to_brokers_under_maintenance_and_what_they_hold_stays() {
    let mut world = World::new("b1\nb2\nb3\nt-0: 1* 2\nt-1: 1* 3");
    let wish = world.wish(None);
    world.wishes.broker_maintenance.insert(BrokerId(2), wish);
    let state = world.look().state;
    let question = Question::new(&Known::of(&state).unwrap()).unwrap();
    let takes: Vec<bool> = question.cluster.brokers().iter().map(|broker| broker.takes_replicas).collect();
    assert_eq!(takes, [true, false, true]);
    assert_eq!(lists(&question), ["t-0: 1 2 led by 1 frozen", "t-1: 1 3 led by 1"]);
}

#[test]
fn followers_fetch_what_producers_write_and_the_leader_gives_it_out() {
    let state = state("b1\nb2\nb3\nt-0: 1* 2 3");
    let mut known = Known::of(&state).unwrap();
    let load = PartitionLoad { bytes_in: 100, bytes_out: 30 };
    let needs = PartitionLoads {
        partitions: [(TopicPartition::new("t", 0), load)].into(),
        ..PartitionLoads::default()
    };
    (known.needs, known.network) = (Some(&needs), Some(1_000));
    let question = Question::new(&known).unwrap();
    assert!(question.knows(Goal::NetworkOutCapacity) && !question.knows(Goal::CpuCapacity));
    assert!(question.cluster.loads(0).iter().all(|load| load[NETWORK_IN] == 100 && load[NETWORK_OUT] == 0));
    assert_eq!(question.cluster.leader_share(0)[NETWORK_OUT], 230);
}

#[test]
fn a_plan_comes_of_it() {
    let state = state("b1\nb2\nb3\nb4\nt-0: 1* 2\nt-1: 1* 2\nt-2: 1* 2\nt-3: 1* 2");
    let question = Question::new(&Known::of(&state).unwrap()).unwrap();
    let mut policy = Policy::default();
    policy.goals.retain(|goal| question.knows(*goal));
    let plan = solve(&question.cluster, &policy, &Budget::default());
    assert_eq!(audit(&question.cluster, &policy, &Budget::default(), &plan), Ok(()));
    assert!(plan.after.is_clean() && !plan.changes.is_empty(), "{plan:?}");
}
