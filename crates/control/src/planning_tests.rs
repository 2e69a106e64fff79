use std::sync::Arc;
use std::time::Duration;

use cluster::notation::{ClusterText, Standing};
use cluster::{Capabilities, ClusterId};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::attributes::{BrokerDisks, BrokerReport, BrokerReports, DeadBroker, DirUse, Suspect};
use crate::order::Wish;
use crate::time::Timestamp;

/// Total and usable bytes of a log dir, none for a failed one.
type Space = Option<(u64, u64)>;

/// A cluster as text, with what else a plan can depend on. `dead` brokers are dead, `fenced` ones only absent.
#[derive(Debug, Default)]
struct Case {
    text: ClusterText,
    maintenance: Vec<i32>,
    to_be_replaced: Vec<i32>,
    unreachable: Vec<i32>,
    avoid: Vec<i32>,
    busy: Vec<TopicPartition>,
    disks: Vec<(i32, Vec<Space>)>,
    /// What still arrives at brokers.
    arriving: Vec<(i32, u64)>,
    loads: Option<Loads>,
    limits: Limits,
}

impl Case {
    fn new(text: &str) -> Self {
        Self { text: text.parse().unwrap(), ..Self::default() }
    }

    fn heal(&self) -> Result<Healing, PlanningError> {
        self.with(heal)
    }

    fn with<T>(&self, plan: impl FnOnce(&Facts<'_>, &Limits) -> T) -> T {
        let liveness = Liveness {
            cluster_id: ClusterId("id".into()),
            controller: None,
            live: self.text.standing(Standing::Alive),
            fenced: self.text.standing(Standing::Fenced),
            asked: 1,
            answered: 1,
            agreeing: 1,
            capabilities: Capabilities::default(),
        };
        let mut dead = DeadBrokers { grace: Duration::from_secs(1), ..DeadBrokers::default() };
        let (since, watched) = (Timestamp::default(), Duration::from_secs(1));
        dead.dead.extend(self.text.standing(Standing::Dead).into_iter().map(|(id, broker)| {
            (
                id,
                DeadBroker { since, absent_for: watched, watched, rack: broker.rack, because: String::new() },
            )
        }));
        dead.suspects.extend(
            liveness.fenced.keys().map(|id| (*id, Suspect { since, watched, waits_for: "the grace".into() })),
        );
        dead.unreachable.extend(self.unreachable.iter().map(|id| BrokerId(*id)));
        let wish = Wish { by: "ann".into(), reason: String::new(), since, until: None };
        let brokers = self.maintenance.iter().map(|id| (BrokerId(*id), wish.clone())).collect();
        let maintenance = Maintenance { brokers, ..Maintenance::default() };
        let leaving = self.to_be_replaced.iter().map(|id| (BrokerId(*id), "old".to_owned()));
        let to_be_replaced = ToBeReplaced(leaving.collect());
        let disks =
            Disks { brokers: self.broker_disks(), sizes: self.text.sizes.clone(), ..Disks::default() };
        let facts = Facts {
            liveness: &liveness,
            topics: &Topics(self.text.topics.clone()),
            reassignments: &OngoingReassignments(self.text.reassignments.clone()),
            dead: &dead,
            maintenance: &maintenance,
            to_be_replaced: Some(&to_be_replaced),
            disks: Some(&disks),
            loads: self.loads.as_ref(),
            busy: &self.busy.iter().cloned().collect(),
            arriving: &self.arriving.iter().map(|(id, bytes)| (BrokerId(*id), *bytes)).collect(),
            avoid: &self.avoid.iter().map(|id| BrokerId(*id)).collect(),
            leaving: &BTreeSet::new(),
        };
        plan(&facts, &self.limits)
    }

    fn broker_disks(&self) -> BTreeMap<BrokerId, BrokerDisks> {
        let dir = |space: &Space| DirUse {
            path: "/data".into(),
            total_bytes: space.map(|(total, _)| total),
            usable_bytes: space.map(|(_, usable)| usable),
            replicas: 0,
            error: space.is_none().then(|| "failed".to_owned()),
        };
        let disks = |dirs: &Vec<Space>| BrokerDisks { dirs: dirs.iter().map(dir).collect() };
        self.disks.iter().map(|(id, dirs)| (BrokerId(*id), disks(dirs))).collect()
    }

    /// Takes over what the moves lead to.
    fn apply(&mut self, healing: &Healing) {
        for order in &healing.moves {
            let topic = self.text.topics.get_mut(&order.partition.topic).unwrap();
            let partition = &mut topic.partitions[usize::try_from(order.partition.partition).unwrap()];
            let mut isr = partition.isr.to_vec();
            isr.retain(|id| order.to.contains(id));
            isr.extend(order.added());
            partition.replicas = order.to.clone().into();
            partition.isr = isr.into();
        }
    }
}

fn check(case: &Case, expected: Expect) {
    let healing = case.heal().unwrap();
    let ids = |ids: &[BrokerId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let moves =
        healing.moves.iter().map(|m| format!("{}: {} -> {}\n", m.partition, ids(&m.from), ids(&m.to)));
    let rest =
        healing.unhealed.iter().map(|u| format!("{} stays on {}: {:?}\n", u.partition, u.broker, u.why));
    expected.assert_eq(&moves.chain(rest).collect::<String>());
}

#[test]
fn keeps_the_order_of_replicas() {
    check(
        &Case::new("b1\nb2\nb3 dead\nb4\nt-0: 3~ 1* 2\nt-1: 1* 3~ 2\nt-2: 1* 2 3~"),
        expect![[r"
            t-0: 3 1 2 -> 4 1 2
            t-1: 1 3 2 -> 1 4 2
            t-2: 1 2 3 -> 1 2 4
        "]],
    );
}

#[test]
fn partitions_with_the_fewest_in_sync_replicas_go_first() {
    check(
        &Case::new("b1\nb2\nb3 dead\nb4\nt-0: 1* 2 3~\nt-1: 1* 2~ 3~"),
        expect![[r"
            t-1: 1 2 3 -> 1 2 4
            t-0: 1 2 3 -> 1 2 4
        "]],
    );
}

#[test]
fn never_moves_the_only_copy() {
    check(
        &Case::new("b1\nb2\nb3 dead\nlost-0: 3\nlost-1: 3~\nstale-0: 3 1~\nwhole-0: 3 2*"),
        expect![[r"
            whole-0: 3 2 -> 1 2
            lost-0 stays on 3: NoLiveCopy
            lost-1 stays on 3: NoLiveCopy
            stale-0 stays on 3: NoInSyncCopy
        "]],
    );
}

#[test]
fn leaves_alone_what_is_being_moved() {
    let mut case = Case::new("b1\nb2\nb3 dead\nb4\nours-0: 1* 3~\ntheirs-0: 1* -3~ +2~\nfree-0: 1* 3~");
    case.busy = vec![TopicPartition::new("ours", 0)];
    check(
        &case,
        expect![[r#"
            free-0: 1 3 -> 1 4
            ours-0 stays on 3: Busy
            theirs-0 stays on 3: Busy
        "#]],
    );
}

#[test]
fn avoids_worse_targets_only_while_there_is_a_choice() {
    let mut case = Case::new("b1\nb2\nb3 dead\nb4\nt-0: 1* 3~");
    case.avoid = vec![2];
    check(
        &case,
        expect![[r"
        t-0: 1 3 -> 1 4
    "]],
    );
    case.avoid = vec![2, 4];
    check(
        &case,
        expect![[r"
        t-0: 1 3 -> 1 2
    "]],
    );
}

#[test]
fn a_list_with_a_down_broker_is_sent_only_where_kafka_completes_it() {
    let mut case = Case::new("b1\nb2 fenced\nb3 dead\nb4\nt-0: 1* 2~ 3~");
    check(
        &case,
        expect![[r"
        t-0 stays on 3: WouldWaitFor(BrokerId(2))
    "]],
    );
    case.limits.allow_down_in_target_list = true;
    check(
        &case,
        expect![[r"
        t-0: 1 2 3 -> 1 2 4
    "]],
    );
}

#[test]
fn what_is_still_arriving_takes_room_on_disks() {
    let mut case = Case::new("b1\nb2 dead\nb3\nt-0: 1* 2~ size=10MiB");
    case.disks = vec![(3, vec![Some((100 << 20, 50 << 20))])];
    check(
        &case,
        expect![[r"
        t-0: 1 2 -> 1 3
    "]],
    );
    case.arriving = vec![(3, 30 << 20)];
    check(
        &case,
        expect![[r"
        t-0 stays on 2: NoRoom
    "]],
    );
}

#[test]
fn the_fullest_log_dir_decides_and_failed_ones_do_not_count() {
    let mut case = Case::new("b1\nb2 dead\nb3\nt-0: 1* 2~ size=10MiB");
    case.disks = vec![(3, vec![Some((100 << 20, 90 << 20)), Some((100 << 20, 20 << 20))])];
    check(
        &case,
        expect![[r"
        t-0 stays on 2: NoRoom
    "]],
    );
    case.disks = vec![(3, vec![Some((100 << 20, 90 << 20)), None])];
    check(
        &case,
        expect![[r"
        t-0: 1 2 -> 1 3
    "]],
    );
}

#[test]
fn the_description_of_one_partition_spoils_no_other() {
    check(
        &Case::new("b1\nb3 dead\nb4\nodd-0: 1* 3~\nt-0: 1* 3~").with_replicas("odd", &[1, 3, 3]),
        expect![[r#"
            t-0: 1 3 -> 1 4
            odd-0 stays on 3: NotUnderstood("two replicas on one broker")
            odd-0 stays on 3: NotUnderstood("two replicas on one broker")
        "#]],
    );
}

impl Case {
    fn with_replicas(mut self, topic: &str, ids: &[i32]) -> Self {
        let topic = self.text.topics.get_mut(topic).unwrap();
        topic.partitions[0].replicas = ids.iter().map(|id| BrokerId(*id)).collect();
        self
    }
}

#[test]
fn drk_16_a_partition_without_a_place_voids_no_plan() {
    check(
        &Case::new("b1\nb2\nb3 dead\nfull-0: 1* 2 3~\nt-0: 1* 3~"),
        expect![[r"
            t-0: 1 3 -> 1 2
            full-0 stays on 3: NoFurtherBroker
        "]],
    );
}

/// Brokers 201 and 203 report; 201 gives 85 MB/s to consumers, and partition t-0, led by 203, takes in 10 MB/s.
fn loads(text: &ClusterText) -> Loads {
    let report = |outbound, partition: Option<u64>| BrokerReport {
        made: Timestamp::default(),
        age: Duration::ZERO,
        leaders_bytes_out_per_second: Some(outbound),
        partitions_bytes_in_per_second: Arc::new(
            partition.map(|rate| (TopicPartition::new("t", 0), rate)).into_iter().collect(),
        ),
        ..BrokerReport::default()
    };
    let brokers = [(BrokerId(201), report(85_000_000, None)), (BrokerId(203), report(0, Some(10_000_000)))];
    let reports = BrokerReports {
        brokers: brokers.into(),
        unreadable: 0,
        caught_up: true,
        read_to_end_ago: Some(Duration::ZERO),
    };
    Loads::new(100_000_000, &reports, &text.topics)
}

#[test]
fn what_fits_now_but_not_at_its_peak_is_not_planned() {
    let brokers = "b200 rack=r3 dead\nb201 rack=r2\nb202 rack=r1\nb203 rack=r4\n";
    let mut case = Case::new(&format!("{brokers}t-0: 203* 200~"));
    let now = loads(&case.text);
    let placed = |case: &Case| case.heal().unwrap().moves[0].to.clone();
    case.loads = Some(now.clone());
    let fits_now = *placed(&case).last().unwrap();
    // Whichever broker it is: this evening it takes in 95 of its 100 MB/s, and the partition needs 10.
    let busy = crate::load::BrokerLoad { bytes_in: 95_000_000, bytes_out: 0 };
    let needs =
        crate::PartitionLoads { brokers: [(fits_now, busy)].into(), ..crate::PartitionLoads::default() };
    case.loads = Some(now.at_peak(&needs));
    assert_ne!(*placed(&case).last().unwrap(), fits_now);
}

#[test]
fn drk_17_outbound_network_is_reserved_for_moved_leaders_whatever_their_ids() {
    // The racks ask for broker 201, which could take one more follower, but not one more leader.
    let brokers = "b200 rack=r3 dead\nb201 rack=r2\nb202 rack=r1\nb203 rack=r1\n";
    let mut case = Case::new(&format!("{brokers}t-0: 203* 200~"));
    case.loads = Some(loads(&case.text));
    check(
        &case,
        expect![[r"
        t-0: 203 200 -> 203 201
    "]],
    );
    let mut case = Case::new(&format!("{brokers}t-0: 200~ 203*"));
    case.loads = Some(loads(&case.text));
    check(
        &case,
        expect![[r"
        t-0: 200 203 -> 202 203
    "]],
    );
}

#[test]
fn drk_18_dead_absent_leaving_and_maintained_brokers_are_no_targets() {
    let mut case =
        Case::new("b1\nb2 dead\nb3 dead\nb4 fenced\nb5\nb6\nb7\nb8 rack=r1\nt-0: 1* 2~ 99~\nu-0: 1* 2~");
    case.limits.allow_down_in_target_list = true;
    (case.maintenance, case.to_be_replaced, case.unreachable) = (vec![5], vec![6], vec![7]);
    check(
        &case,
        expect![[r"
        t-0: 1 2 99 -> 1 8 99
        u-0: 1 2 -> 1 8
    "]],
    );
    case.maintenance.push(8);
    check(
        &case,
        expect![[r#"
            t-0 stays on 2: NoFurtherBroker
            u-0 stays on 2: NoFurtherBroker
        "#]],
    );
}

#[test]
fn drk_19_another_rack_is_better_than_none() {
    // Rack r3 is gone with broker 3; a broker without a rack is as good as one in a shared rack.
    check(
        &Case::new("b1 rack=r1\nb2 rack=r2\nb3 rack=r3 dead\nb4 rack=r2\nt-0: 1* 2 3~\nt-1: 3~ 1*"),
        expect![[r#"
            t-1: 3 1 -> 4 1
            t-0: 1 2 3 -> 1 2 4
        "#]],
    );
}

#[test]
fn drk_20_no_load_figures_are_needed() {
    let mut case = Case::new("b200 dead\nb201\nb202\nb203\nnew-0: 203* 200~\nt-0: 203* 200~");
    case.loads = Some(loads(&case.text));
    assert_eq!(case.heal().unwrap().moves.len(), 2);
    case.loads = None;
    assert_eq!(case.heal().unwrap().moves.len(), 2);
}

#[test]
fn drk_48_a_broker_without_known_limits_takes_replicas() {
    let mut case = Case::new("b1\nb2 dead\nb3\nt-0: 1* 2~ size=5GiB");
    case.loads = Some(Loads::default());
    case.disks = vec![(3, vec![])];
    assert_eq!(case.heal().unwrap().moves.len(), 1);
}

#[test]
fn a_move_that_contradicts_the_facts_is_never_used() {
    let order = |to: &[i32]| PartitionMove {
        partition: TopicPartition::new("t", 0),
        from: vec![BrokerId(1), BrokerId(2)],
        to: to.iter().map(|id| BrokerId(*id)).collect(),
        dead: vec![BrokerId(2)],
        leaving: Vec::new(),
        bytes: None,
        in_sync: 1,
        reason: String::new(),
    };
    let text: ClusterText = "b1\nb2 dead\nb3\nb4 dead\nt-0: 1* 2~".parse().unwrap();
    let liveness = Liveness {
        cluster_id: ClusterId("id".into()),
        controller: None,
        live: text.standing(Standing::Alive),
        fenced: BTreeMap::new(),
        asked: 1,
        answered: 1,
        agreeing: 1,
        capabilities: Capabilities::default(),
    };
    let gone = DeadBroker {
        since: Timestamp::default(),
        absent_for: Duration::ZERO,
        watched: Duration::ZERO,
        rack: None,
        because: String::new(),
    };
    let dead = text.standing(Standing::Dead).into_keys().map(|id| (id, gone.clone())).collect();
    let facts = Facts {
        liveness: &liveness,
        topics: &Topics(text.topics.clone()),
        reassignments: &OngoingReassignments::default(),
        dead: &DeadBrokers { dead, ..DeadBrokers::default() },
        maintenance: &Maintenance::default(),
        to_be_replaced: None,
        disks: None,
        loads: None,
        busy: &BTreeSet::new(),
        arriving: &BTreeMap::new(),
        avoid: &BTreeSet::new(),
        leaving: &BTreeSet::new(),
    };
    assert_eq!(super::check(&facts, &order(&[1, 3])), Ok(()));
    for wrong in [&[1, 4][..], &[1, 1], &[3, 2], &[1], &[3, 3], &[1, 99]] {
        assert!(super::check(&facts, &order(wrong)).is_err(), "{wrong:?}");
    }
    let mut of_another = order(&[1, 3]);
    of_another.partition.partition = 1;
    assert!(super::check(&facts, &of_another).is_err());
}

/// Clusters with up to 8 brokers, some dead or absent, and partitions in any condition.
fn cluster() -> impl Strategy<Value = ClusterText> {
    let broker = (0u8..10, proptest::option::of(0u8..3));
    let replicas = proptest::sample::subsequence((1..=9).collect::<Vec<i32>>(), 1..=4).prop_shuffle();
    let partition = (replicas, any::<u8>(), proptest::option::of(0usize..4), 0u8..12);
    let brokers = proptest::collection::vec(broker, 3..8);
    (brokers, proptest::collection::vec(partition, 1..20)).prop_map(|(brokers, partitions)| {
        let mut lines = Vec::new();
        for (id, (standing, rack)) in (1..).zip(brokers) {
            let rack = rack.map_or(String::new(), |rack| format!(" rack=r{rack}"));
            let standing =
                ["", "", "", "", "", "", " dead", " dead", " dead", " fenced"][usize::from(standing)];
            lines.push(format!("b{id}{rack}{standing}"));
        }
        for (number, (replicas, sync, leader, change)) in (0..).zip(partitions) {
            let words = replicas.iter().enumerate().map(|(at, id)| {
                let lead = if leader == Some(at) { "*" } else { "" };
                let lag = if sync & (1 << at) == 0 && lead.is_empty() { "~" } else { "" };
                let add = if change == 0 && at == 0 { "+" } else { "" };
                format!(" {add}{id}{lead}{lag}")
            });
            lines.push(format!("t-{number}:{}", words.collect::<String>()));
        }
        lines.join("\n").parse().unwrap()
    })
}

fn case() -> impl Strategy<Value = Case> {
    let some = || proptest::collection::vec(1..9i32, 0..3);
    (cluster(), some(), some(), some(), some(), any::<bool>()).prop_map(
        |(text, maintenance, to_be_replaced, unreachable, avoid, allow)| {
            let limits = Limits { allow_down_in_target_list: allow, ..Limits::default() };
            Case { text, maintenance, to_be_replaced, unreachable, avoid, limits, ..Case::default() }
        },
    )
}

proptest! {
    #[test]
    fn moves_go_to_eligible_brokers_and_remove_only_dead_replicas(case in case()) {
        let live = case.text.standing(Standing::Alive);
        let dead = case.text.standing(Standing::Dead);
        let barred = [&case.maintenance[..], &case.to_be_replaced, &case.unreachable].concat();
        for order in case.heal().unwrap().moves {
            for (from, to) in order.from.iter().zip(&order.to) {
                if from == to {
                    prop_assert!(case.limits.allow_down_in_target_list || live.contains_key(to));
                    continue;
                }
                prop_assert!(dead.contains_key(from) && order.dead.contains(from));
                prop_assert!(live.contains_key(to) && !barred.contains(&to.0));
            }
            let distinct: BTreeSet<_> = order.to.iter().collect();
            prop_assert_eq!(distinct.len(), order.from.len());
            prop_assert_eq!(order.to.len(), order.from.len());
        }
    }

    #[test]
    fn every_replica_on_a_dead_broker_is_moved_or_listed(case in case()) {
        let healing = case.heal().unwrap();
        let mut named: Vec<_> = healing.unhealed.iter().map(|u| (u.partition.clone(), u.broker)).collect();
        for order in &healing.moves {
            named.extend(order.dead.iter().map(|id| (order.partition.clone(), *id)));
        }
        named.sort();
        let dead = case.text.standing(Standing::Dead);
        let mut wanted = Vec::new();
        for (number, partition) in (0..).zip(&case.text.topics["t"].partitions) {
            let on_dead = partition.replicas.iter().filter(|id| dead.contains_key(id));
            wanted.extend(on_dead.map(|id| (TopicPartition::new("t", number), *id)));
        }
        wanted.sort();
        prop_assert_eq!(named, wanted);
    }

    #[test]
    fn when_the_moves_are_made_there_is_nothing_more_to_move(mut case in case()) {
        let healing = case.heal().unwrap();
        case.apply(&healing);
        prop_assert_eq!(case.heal().unwrap().moves, vec![]);
    }

    #[test]
    fn what_is_not_planned_while_all_of_it_moves_is_what_the_planner_leaves(mut case in case()) {
        case.busy = (0..20).map(|number| TopicPartition::new("t", number)).collect();
        let (found, planned) = case.with(|facts, limits| (heal(facts, limits), heal_once(facts, limits, true)));
        prop_assert!(found.as_ref().is_ok_and(|healing| healing.moves.is_empty()));
        prop_assert_eq!(found, planned);
    }

    #[test]
    fn a_live_in_sync_replica_is_always_kept(case in case()) {
        let live = case.text.standing(Standing::Alive);
        for order in case.heal().unwrap().moves {
            let number = usize::try_from(order.partition.partition).unwrap();
            let partition = &case.text.topics["t"].partitions[number];
            prop_assert!(partition.isr.iter().any(|id| live.contains_key(id) && order.to.contains(id)));
        }
    }
}
