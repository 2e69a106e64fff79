use planner::{Broker, LogDir, MAX_FIGURE, MAX_REPLICAS, Network, Partition, Problem, ProblemError, Replica};
use proptest::prelude::*;

fn partition(brokers: &[u32]) -> Partition {
    let replicas = brokers.iter().map(|broker| Replica { broker: *broker, ..Replica::default() }).collect();
    Partition { replicas, ..Partition::default() }
}

fn refusal(partition: &Partition) -> ProblemError {
    let mut builder = Problem::builder(1);
    for _ in 0..3 {
        builder.add_broker(&Broker::default()).unwrap();
    }
    let error = builder.add_partition(partition).unwrap_err();
    assert_eq!(builder.build().partitions(), 0, "what is refused is not added");
    error
}

#[test]
fn a_partition_that_cannot_be_is_refused_with_its_reason() {
    assert_eq!(refusal(&partition(&[])), ProblemError::NoReplicas);
    assert_eq!(refusal(&partition(&[0, 3])), ProblemError::BrokerOutOfRange { broker: 3, brokers: 3 });
    assert_eq!(refusal(&partition(&[2, 0, 2])), ProblemError::DuplicateReplica { broker: 2 });
    assert_eq!(
        refusal(&Partition { topic: 1, ..partition(&[0]) }),
        ProblemError::TopicOutOfRange { topic: 1, topics: 1 }
    );
    assert_eq!(
        refusal(&Partition { leader: Some(1), ..partition(&[0]) }),
        ProblemError::LeaderHoldsNoReplica { leader: 1 }
    );
    assert_eq!(
        refusal(&Partition { size: Some(MAX_FIGURE + 1), ..partition(&[0]) }),
        ProblemError::FigureTooLarge { figure: MAX_FIGURE + 1 }
    );
    assert_eq!(
        refusal(&partition(&vec![0; MAX_REPLICAS + 1])),
        ProblemError::TooManyReplicas { replicas: MAX_REPLICAS + 1 }
    );
}

#[test]
fn a_broker_with_impossible_figures_is_refused() {
    let mut builder = Problem::builder(0);
    let log_dirs = vec![LogDir { total: 1, used: MAX_FIGURE + 1 }];
    let error = builder.add_broker(&Broker { log_dirs, ..Broker::default() }).unwrap_err();
    assert_eq!(error, ProblemError::FigureTooLarge { figure: MAX_FIGURE + 1 });
    let network_in = Some(Network { capacity: u64::MAX, used: 0 });
    assert!(builder.add_broker(&Broker { network_in, ..Broker::default() }).is_err());
    assert_eq!(builder.build().brokers(), 0);
}

#[test]
fn racks_are_numbered_densely_and_brokers_without_one_share_one() {
    let rack = |rack| Broker { rack, ..Broker::default() };
    let mut builder = Problem::builder(0);
    for name in [Some(70), None, Some(u32::MAX), Some(70), None] {
        builder.add_broker(&rack(name)).unwrap();
    }
    let problem = builder.build();
    let racks: Vec<_> = (0..5).map(|broker| problem.rack(broker)).collect();
    assert_eq!(racks, [Some(0), Some(1), Some(2), Some(0), Some(1)]);

    let mut builder = Problem::builder(0);
    builder.add_broker(&rack(None)).unwrap();
    assert_eq!(builder.build().rack(0), None, "no broker names a rack");
}

proptest! {
    #[test]
    fn what_is_added_is_read_back(
        brokers in prop::collection::vec(any::<u32>(), 0..5),
        topic in 0u32..3,
        leader in prop::option::of(0u32..5),
        size in prop::option::of(any::<u64>()),
    ) {
        let mut builder = Problem::builder(2);
        for _ in 0..4 {
            builder.add_broker(&Broker::default()).unwrap();
        }
        let brokers: Vec<_> = brokers.into_iter().map(|broker| broker % 5).collect();
        let given = Partition { topic, leader, size, ..partition(&brokers) };
        // Refused or kept as given, and never a panic.
        if builder.add_partition(&given).is_ok() {
            let problem = builder.build();
            prop_assert_eq!(problem.replicas(0), brokers.as_slice());
            prop_assert_eq!((problem.topic(0), problem.leader(0), problem.size(0)), (topic, leader, size));
            prop_assert_eq!((0..4).map(|b| problem.replicas_on(b)).sum::<u32>(), brokers.len() as u32);
        }
    }
}
