use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn check(text: &str, expected: Expect) {
    let found = match text.parse::<ClusterText>() {
        Ok(cluster) => cluster.to_string(),
        Err(error) => format!("{error}\n"),
    };
    expected.assert_eq(&found);
}

#[test]
fn reads_brokers_and_partitions() {
    check(
        "
        # two racks
        b1 rack=r1
        b2   rack=r2 at=[::1]:9093
        b3 dead rack=r2   # and a comment
        b4 fenced
        orders-1: 2* 3~ +1~ -4
        orders-0: 1* 2 3~ size=10240KiB
        __consumer_offsets-0: 3 internal
        ",
        expect![[r"
            b1 rack=r1
            b2 rack=r2 at=[::1]:9093
            b3 rack=r2 dead
            b4 fenced
            __consumer_offsets-0: 3 internal
            orders-0: 1* 2 3~ size=10MiB
            orders-1: 2* 3~ +1~ -4
        "]],
    );
}

#[test]
fn yields_the_vocabulary_of_clusters() {
    let cluster: ClusterText = "b1\nb2 dead\nt-0: 1* -2~ +3".parse().unwrap();
    let partition = &cluster.topics["t"].partitions[0];
    assert_eq!(partition.leader, Some(BrokerId(1)));
    assert_eq!(*partition.replicas, [BrokerId(1), BrokerId(2), BrokerId(3)]);
    assert_eq!(*partition.isr, [BrokerId(1), BrokerId(3)]);
    let reassignment = &cluster.reassignments[&TopicPartition::new("t", 0)];
    assert_eq!(*reassignment.adding, [BrokerId(3)]);
    assert_eq!(reassignment.target(), [BrokerId(1), BrokerId(3)]);
    assert_eq!(cluster.standing(Standing::Dead).into_keys().collect::<Vec<_>>(), [BrokerId(2)]);
}

#[test]
fn says_where_and_what_is_wrong() {
    check(
        "b1\n  broker 2",
        expect![[r#"
        line 2, column 3: expected a broker (b1) or a partition (topic-0:), found "broker"
    "#]],
    );
    check(
        "b1 rack=",
        expect![[r#"
        line 1, column 4: expected rack=, at=HOST:PORT, dead or fenced, found "rack="
    "#]],
    );
    check(
        "b1 dead fenced",
        expect![[r#"
        line 1, column 9: "fenced" is there twice
    "#]],
    );
    check(
        "b1 at=::1:9092",
        expect![[r#"
        line 1, column 4: expected rack=, at=HOST:PORT, dead or fenced, found "at=::1:9092"
    "#]],
    );
}

#[test]
fn says_what_is_wrong_with_a_partition() {
    check(
        "t-0: 1* 2* 3",
        expect![[r"
        line 1, column 9: a second leader
    "]],
    );
    check(
        "t-0: 1 2 1~",
        expect![[r#"
        line 1, column 10: "1~" is there twice
    "#]],
    );
    check(
        "t-0: 1 x2",
        expect![[r#"
        line 1, column 8: expected a replica (1, 1*, 1~, +1, -1), size= or internal, found "x2"
    "#]],
    );
    check(
        "é t-0",
        expect![[r#"
        line 1, column 1: expected a broker (b1) or a partition (topic-0:), found "é"
    "#]],
    );
    check(
        "t-0: size=9999999999TiB 1",
        expect![[r#"
        line 1, column 6: expected a replica (1, 1*, 1~, +1, -1), size= or internal, found "size=9999999999TiB"
    "#]],
    );
    check(
        "t-0:",
        expect![[r"
        line 1, column 1: a partition without replicas
    "]],
    );
    check(
        "t-0: 1\nt-0: 1",
        expect![[r#"
        line 2, column 1: "t-0:" is there twice
    "#]],
    );
    check(
        "t-0: 1\nt-2: 1",
        expect![[r"
        line 2, column 1: partition t-1 is missing
    "]],
    );
}

prop_compose! {
    fn broker()(
        id in 0..50,
        rack in proptest::option::of("[a-z]{1,3}"),
        address in proptest::option::of(("[a-z]{1,5}|[0-9a-f]{1,3}::[0-9]{1,2}", 1u16..)),
        standing in prop_oneof![Just(Standing::Alive), Just(Standing::Dead), Just(Standing::Fenced)],
    ) -> BrokerText {
        let id = BrokerId(id);
        let address = address
            .map_or_else(|| default_address(id), |(host, port)| BrokerAddress { host: host.into(), port });
        BrokerText { broker: Broker { id, address, rack: rack.map(Arc::from) }, standing }
    }
}

type Marks = (bool, u8);

fn row() -> impl Strategy<Value = (Vec<(BrokerId, Marks)>, Option<usize>, Option<u64>)> {
    let replicas = proptest::collection::btree_map((0..50).prop_map(BrokerId), (any::<bool>(), 0u8..6), 1..6);
    let order = replicas.prop_map(|map| map.into_iter().collect::<Vec<_>>()).prop_shuffle();
    (order, proptest::option::of(0usize..6), proptest::option::of(prop_oneof![0..5000u64, any::<u64>()]))
}

fn cluster() -> impl Strategy<Value = ClusterText> {
    let topic = (any::<bool>(), proptest::collection::vec(row(), 1..4));
    let brokers = proptest::collection::vec(broker(), 0..5);
    let topics = proptest::collection::btree_map("[a-z_.-]{0,4}[a-z-]", topic, 0..4);
    (brokers, topics).prop_map(|(brokers, topics)| {
        let mut cluster = ClusterText::default();
        cluster.brokers.extend(brokers.into_iter().map(|text| (text.broker.id, text)));
        for (name, (internal, rows)) in topics {
            let name = TopicName::from(name);
            let mut topic = Topic { internal, partitions: Vec::new() };
            for (number, (replicas, leader, size)) in (0..).zip(rows) {
                let key = TopicPartition::new(name.clone(), number);
                let with =
                    |keep: fn(&Marks) -> bool| replicas.iter().filter(|r| keep(&r.1)).map(|r| r.0).collect();
                let all: Box<[BrokerId]> = with(|_| true);
                let (adding, removing): (Box<[_]>, Box<[_]>) = (with(|m| m.1 == 0), with(|m| m.1 == 1));
                if !(adding.is_empty() && removing.is_empty()) {
                    let reassignment = Reassignment { replicas: all.clone(), adding, removing };
                    cluster.reassignments.insert(key.clone(), reassignment);
                }
                cluster.sizes.extend(size.map(|size| (key, size)));
                let leader = leader.and_then(|at| all.get(at).copied());
                topic.partitions.push(Partition { leader, replicas: all, isr: with(|m| m.0) });
            }
            cluster.topics.insert(name, topic);
        }
        cluster
    })
}

proptest! {
    #[test]
    fn parses_what_it_prints_to_the_same_thing(cluster in cluster()) {
        prop_assert_eq!(cluster.to_string().parse::<ClusterText>(), Ok(cluster));
    }

    #[test]
    fn never_panics_and_points_into_the_text(text in "(b[0-9]{1,2}|t-[01]:|[0-9]{1,2}[*~]{0,2}|size=[0-9]{1,3}KiB|[ \n#é:+=-]|\\PC){0,12}") {
        if let Err(error) = text.parse::<ClusterText>() {
            let line = text.lines().nth(error.line - 1);
            prop_assert!(line.is_some_and(|line| error.column <= line.chars().count()));
        }
    }
}
