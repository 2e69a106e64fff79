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

#[test]
fn only_who_is_in_sync_may_lead_and_what_has_nobody_in_sync_is_locked() {
    let state = state("b1\nb2\nb3\nt-0: 1* 2~ 3\nt-1: 1~ 2~\nu-0: 1* +3~");
    let mut known = Known::of(&state).unwrap();
    let at = TopicPartition::new("t", 1);
    let topic = known.topics.get_mut(&at.topic).unwrap();
    let mut lost = topic.partitions[1].clone();
    (lost.leader, lost.isr) = (None, Box::default());
    let mut partitions = topic.partitions.to_vec();
    partitions[1] = lost;
    let mut changed = cluster::Topic::clone(topic);
    changed.partitions = partitions;
    *topic = changed;
    let question = Question::new(&known).unwrap();
    let in_sync: Vec<bool> = (0..3).map(|at| question.cluster.in_sync(0, at)).collect();
    assert_eq!(in_sync, [true, false, true]);
    let locks: Vec<Option<Lock>> = (0..3).map(|partition| question.cluster.lock(partition)).collect();
    assert_eq!(locks, [None, Some(Lock::NothingInSync), Some(Lock::Reassigning)]);
}

#[test]
fn a_failed_log_dir_takes_its_room_away_and_no_goal() {
    let state = state("b1\nb2\nb3\nt-0: 1* 2");
    let mut known = Known::of(&state).unwrap();
    let dir = |error: Option<&str>, total: Option<u64>| crate::attributes::DirUse {
        path: "/d".into(),
        total_bytes: total,
        usable_bytes: total,
        replicas: 0,
        error: error.map(Into::into),
    };
    let mut disks = Disks::default();
    for id in 1..=3 {
        let dirs = vec![dir(None, Some(100)), dir((id == 2).then_some("failed"), (id != 2).then_some(100))];
        disks.brokers.insert(BrokerId(id), crate::attributes::BrokerDisks { dirs });
    }
    known.disks = Some(&disks);
    known.offline.insert((BrokerId(2), TopicPartition::new("t", 0)));
    let question = Question::new(&known).unwrap();
    let room: Vec<i64> = question.cluster.brokers().iter().map(|broker| broker.capacity[DISK]).collect();
    assert_eq!((room, question.knows(Goal::DiskCapacity)), (vec![200, 100, 200], true));
    let (cluster, policy) = balance::Mode::Heal.prepare(&question.cluster, &Policy::default());
    let plan = solve(&cluster, &policy, &Budget::default());
    assert_eq!(audit(&cluster, &policy, &Budget::default(), &plan), Ok(()));
    assert_eq!(plan.changes[0].replicas, [0, 2]);
    let mut fewer = disks.clone();
    fewer.brokers.remove(&BrokerId(3));
    known.disks = Some(&fewer);
    let question = Question::new(&known).unwrap();
    assert_eq!((question.knows(Goal::DiskCapacity), question.without_disk()), (false, &[BrokerId(3)][..]));
}

#[test]
fn brokers_of_one_host_stand_in_one_rack_where_they_name_none() {
    let state = state("b1\nb2\nb3\nb4 rack=a\nt-0: 1* 2");
    let mut known = Known::of(&state).unwrap();
    let racks = |known: &Known<'_>| -> Vec<u32> {
        Question::new(known).unwrap().cluster.brokers().iter().map(|broker| broker.rack).collect()
    };
    let place = |known: &mut Known<'_>, id: i32, host: &str| {
        known.live.get_mut(&BrokerId(id)).unwrap().address.host = host.into();
    };
    place(&mut known, 1, "h");
    place(&mut known, 2, "h");
    let found = racks(&known);
    assert!(found[0] == found[1] && found[1] != found[2] && !found[..3].contains(&found[3]), "{found:?}");
    let cluster = Question::new(&known).unwrap().cluster;
    assert!(cluster.same_host(0, 1) && !cluster.same_host(1, 2));
    // One host for all tells nothing: it is that of a proxy, or all are there for a trial.
    for id in 1..=4 {
        place(&mut known, id, "proxy");
    }
    let found = racks(&known);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 4, "{found:?}");
    assert!(!Question::new(&known).unwrap().cluster.same_host(0, 1));
}

#[test]
fn replicas_stand_in_the_log_dirs_that_hold_them() {
    let state = state("b1\nb2\nb3\nt-0: 1* 2\nt-1: 1* 3");
    let mut known = Known::of(&state).unwrap();
    let dir = |path: &str, size: Option<u64>, error: Option<&str>, held: &[(i32, bool)]| LogDir {
        path: path.into(),
        error: error.map(Into::into),
        total_bytes: size,
        usable_bytes: size,
        replicas: held
            .iter()
            .map(|(number, is_future)| {
                let replica = cluster::LogDirReplica { size_bytes: 1, offset_lag: 0, is_future: *is_future };
                (TopicPartition::new("t", *number), replica)
            })
            .collect(),
    };
    let moving = vec![
        dir("/d0", None, Some("failed"), &[]),
        dir("/d1", Some(10), None, &[(0, true)]),
        dir("/d2", Some(20), None, &[(0, false), (1, false)]),
    ];
    let dirs = BTreeMap::from([
        (BrokerId(1), moving),
        (BrokerId(2), vec![dir("/d1", Some(10), None, &[(0, false)]), dir("/d2", None, None, &[])]),
        (BrokerId(3), vec![dir("/d1", Some(10), None, &[(1, false)])]),
    ]);
    known.log_dirs = Some(&dirs);
    let question = Question::new(&known).unwrap();
    let cluster = &question.cluster;
    let sizes: Vec<&[i64]> = (0..3).map(|broker| cluster.log_dirs(broker)).collect();
    assert_eq!(
        sizes,
        [&[10, 20][..], &[], &[]],
        "one that has failed is none, and two of unknown size are unknown"
    );
    let paths: Vec<Vec<&str>> =
        question.log_dirs.iter().map(|paths| paths.iter().map(|path| &**path).collect()).collect();
    assert_eq!(paths, [vec!["/d1", "/d2"], vec![], vec![]]);
    let stands = |partition: u32| [0, 1].map(|position| cluster.log_dir(partition, position));
    assert_eq!([stands(0), stands(1)], [[Some(1), None], [Some(1), None]]);
}
