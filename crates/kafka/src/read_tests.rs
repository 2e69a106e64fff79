use krafka::__private::protocol::{DescribeConfigsResult, MetadataPartitionResponse};

use super::*;

fn topic(name: &str, error_code: ErrorCode, partitions: &[(i32, i32)]) -> MetadataTopicResponse {
    let partitions = partitions
        .iter()
        .map(|(partition_index, leader_id)| MetadataPartitionResponse {
            error_code: ErrorCode::None,
            partition_index: *partition_index,
            leader_id: *leader_id,
            leader_epoch: 0,
            replica_nodes: vec![1, 2],
            isr_nodes: vec![2],
            offline_replicas: vec![1],
        })
        .collect();
    MetadataTopicResponse {
        error_code,
        name: Some(name.to_owned()),
        topic_id: None,
        is_internal: false,
        partitions,
    }
}

#[test]
fn partitions_stand_in_the_order_of_their_numbers_and_no_leader_is_none() {
    let found = table_of(vec![topic("a", ErrorCode::None, &[(1, -1), (0, 2)])]).expect("a table");
    let partitions = &found["a"].partitions;
    assert_eq!(partitions.iter().map(|p| p.leader).collect::<Vec<_>>(), [Some(BrokerId(2)), None]);
    assert_eq!(*partitions[0].replicas, [BrokerId(1), BrokerId(2)], "offline replicas stay listed");
}

#[test]
fn topics_and_leaderships_are_told_from_earlier_ones() {
    let mut anew = topic("a", ErrorCode::None, &[(1, 1), (0, 2)]);
    anew.topic_id = Some([7; 16]);
    anew.partitions[0].leader_epoch = 4;
    anew.partitions[1].leader_epoch = -1;
    let mut without = topic("b", ErrorCode::None, &[]);
    without.topic_id = Some([0; 16]);
    let found = incarnations_of(&[anew, without]);
    assert_eq!(found["a"], Incarnation { topic_id: Some([7; 16]), leader_epochs: vec![None, Some(4)] });
    assert_eq!(found["b"].topic_id, None);
}

#[test]
fn a_topic_with_a_gap_or_being_deleted_does_not_hide_the_others() {
    let gone = ErrorCode::UnknownTopicOrPartition;
    let topics = vec![
        topic("gap", ErrorCode::None, &[(0, 1), (2, 1)]),
        topic("gone", gone, &[]),
        topic("whole", ErrorCode::None, &[(0, 1)]),
    ];
    assert_eq!(table_of(topics).expect("a table").keys().map(|n| &**n).collect::<Vec<_>>(), ["whole"]);
}

#[test]
fn an_answer_without_log_directories_is_a_missing_right() {
    let answer = |error_code| DescribeLogDirsResponse { throttle_time_ms: 0, error_code, results: vec![] };
    for error_code in [ErrorCode::None, ErrorCode::ClusterAuthorizationFailed] {
        let refused = log_dirs_in(answer(error_code)).expect_err("there is always a directory");
        assert!(matches!(refused, ClientError::Denied { .. }), "{refused:?}");
    }
}

#[test]
fn each_resource_that_was_asked_for_has_a_result_of_its_own() {
    let result = |name: &str, error_code| DescribeConfigsResult {
        error_code,
        error_message: None,
        resource_type: ConfigResourceType::Topic,
        resource_name: name.to_owned(),
        configs: Vec::new(),
    };
    let asked = ["a", "gone", "left out"].map(|name| ConfigResource::Topic(name.into()));
    let results = vec![result("a", ErrorCode::None), result("gone", ErrorCode::UnknownTopicOrPartition)];
    let mut read = ConfigReadings::new();
    take_configs(Ok(DescribeConfigsResponse { throttle_time_ms: 0, results }), &asked, &mut read);
    assert_eq!(read[&asked[0]], Ok(BTreeMap::new()));
    assert_eq!(read[&asked[1]], Err(ClientError::UnknownTopic { what: "gone".to_owned() }));
    assert!(matches!(read[&asked[2]], Err(ClientError::Malformed { .. })), "{read:?}");
    let mut none = ConfigReadings::new();
    take_configs(Err(not_alive(BrokerId(1))), &asked, &mut none);
    assert!(none.values().all(Result::is_err) && none.len() == 3, "{none:?}");
}

#[test]
fn a_topic_that_may_not_be_seen_is_denied() {
    let found = table_of(vec![topic("a", ErrorCode::TopicAuthorizationFailed, &[])]);
    assert!(matches!(found, Err(ClientError::Denied { .. })), "{found:?}");
}
