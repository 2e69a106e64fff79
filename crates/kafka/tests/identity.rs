//! A way into a cluster leads to no other one, whoever answers at its addresses, and to each broker once.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where something is not as expected")]

mod common;

use std::collections::BTreeMap;

use cluster::{
    BrokerId, ClientError, ClusterId, ConfigChange, ConfigResource, LogWriter as _, NewRecord, Reader as _,
    Reassignments, Writer as _,
};
use common::broker::{DESCRIBE_CLUSTER, FakeBroker, LIST_REASSIGNMENTS, METADATA, REASSIGN, closes};
use common::{SHORT, ask, eventually, plain};
use kafka::Kafka;

fn at(broker: &FakeBroker) -> Kafka {
    plain(&broker.address.to_string())
}

/// Gives an order that changes nothing, and reads what only the controller knows.
async fn order(kafka: &Kafka) -> Result<(), ClientError> {
    kafka.reassign(&BTreeMap::new()).await?;
    assert_eq!(kafka.reassignments().await?, Reassignments::new());
    Ok(())
}

#[tokio::test]
async fn an_answer_of_another_cluster_steers_nothing() {
    let (ours, other) = (FakeBroker::start().await, FakeBroker::start().await);
    ours.belongs_to("ours", &[(1, &ours.address)]);
    other.belongs_to("other", &[(1, &other.address)]);
    let kafka = at(&ours);
    ask(&kafka).await;
    // A probe of a dead broker goes to its last address, which another cluster has by this time.
    let answer = kafka.ask(&other.address, SHORT).await.expect("an answer");
    assert_eq!(&*answer.cluster_id.0, "other");
    order(&kafka).await.expect("taken");
    assert_eq!(kafka.witnesses(&[], 5).await.expect("witnesses").len(), 1);
    assert_eq!(other.asked(), [DESCRIBE_CLUSTER]);
    assert!([REASSIGN, LIST_REASSIGNMENTS].iter().all(|api| ours.asked().contains(api)));
}

#[tokio::test]
async fn a_broker_of_another_cluster_at_a_known_address_gets_nothing_to_do() {
    let (ours, too, other) =
        (FakeBroker::start().await, FakeBroker::start().await, FakeBroker::start().await);
    let live = [(1, &other.address), (2, &ours.address), (3, &too.address)];
    ours.belongs_to("ours", &live);
    too.belongs_to("ours", &live);
    other.belongs_to("other", &live);
    let kafka = at(&ours);
    ask(&kafka).await;
    order(&kafka).await.expect("taken by another broker");
    for _ in 0..3 {
        assert_eq!(kafka.witnesses(&["t".into()], 5).await.map(|tables| tables.len()), Ok(2));
    }
    let broker = ConfigResource::Broker(BrokerId(1));
    let read = kafka.configs(std::slice::from_ref(&broker), &["log.dirs"]).await;
    let refusal = ClientError::OtherCluster { at: other.address.to_string(), id: ClusterId("other".into()) };
    assert_eq!(read[&broker], Err(refusal.clone()));
    let change = ConfigChange::Delete("leader.replication.throttled.rate".to_owned());
    let changed = kafka.alter_configs(&BTreeMap::from([(broker.clone(), vec![change])])).await;
    assert_eq!(changed.expect("results")[&broker], Err(refusal));
    assert!(other.asked().iter().all(|api| *api == METADATA), "{:?}", other.asked());
}

#[tokio::test]
async fn where_all_answer_for_another_cluster_than_was_said_nothing_is_done() {
    let broker = FakeBroker::start().await;
    broker.belongs_to("other", &[(1, &broker.address)]);
    let kafka = at(&broker);
    kafka.expect_cluster(Some(&ClusterId("ours".into())));
    for _ in 0..2 {
        let answer = order(&kafka).await;
        assert!(
            matches!(&answer, Err(error @ ClientError::OtherCluster { .. }) if !error.may_have_been_applied()),
            "{answer:?}"
        );
        assert!(kafka.describe(&["t".into()]).await.is_err() && kafka.witnesses(&[], 5).await.is_err());
    }
    assert!(!broker.asked().contains(&REASSIGN) && !broker.asked().contains(&LIST_REASSIGNMENTS));
    // A person says that it is right so.
    kafka.expect_cluster(Some(&ClusterId("other".into())));
    order(&kafka).await.expect("taken");
}

#[tokio::test]
async fn no_record_is_written_to_another_cluster() {
    let broker = FakeBroker::start().await;
    broker.belongs_to("other", &[(1, &broker.address)]);
    let kafka = at(&broker);
    kafka.expect_cluster(Some(&ClusterId("ours".into())));
    let written = kafka.append("t", NewRecord::default()).await;
    assert!(
        matches!(&written, Err(ClientError::OtherCluster { id, .. }) if &*id.0 == "other"),
        "{written:?}"
    );
    assert!(broker.asked().iter().all(|api| *api == METADATA), "{:?}", broker.asked());
}

#[tokio::test]
async fn a_cluster_that_was_built_anew_is_found_where_nobody_has_said_which_it_is() {
    let broker = FakeBroker::start().await;
    broker.belongs_to("first", &[(1, &broker.address)]);
    let kafka = at(&broker);
    order(&kafka).await.expect("taken");
    broker.belongs_to("second", &[(1, &broker.address)]);
    kafka.describe(&["t".into()]).await.expect("topics");
    broker.belongs_to("third", &[(1, &broker.address)]);
    kafka.topics(&broker.address).await.expect("topics");
    broker.belongs_to("fourth", &[(1, &broker.address)]);
    // An order may meet the connection that is just being closed, and is not given twice.
    eventually("an order is taken", || async { order(&kafka).await.is_ok() }).await;
}

#[tokio::test]
async fn a_broker_under_two_names_is_one_witness() {
    let (one, two, three) = (FakeBroker::start().await, FakeBroker::start().await, FakeBroker::start().await);
    let live = [(1, &one.address), (2, &two.address), (3, &three.address)];
    for broker in [&one, &two, &three] {
        broker.belongs_to("ours", &live);
    }
    let kafka = plain(&format!("localhost:{}", one.address.port));
    for _ in 0..4 {
        assert_eq!(kafka.witnesses(&["t".into()], 5).await.map(|tables| tables.len()), Ok(3));
    }
}

#[tokio::test]
async fn a_broker_that_closes_connections_does_not_keep_others_from_being_asked() {
    let (closing, ours) = (closes().await, FakeBroker::start().await);
    ours.belongs_to("ours", &[(1, &closing), (2, &ours.address)]);
    let kafka = at(&ours);
    ask(&kafka).await;
    let answer = kafka.ask(&closing, SHORT).await;
    assert!(matches!(&answer, Err(error @ ClientError::Closed { .. }) if !error.is_configuration()));
    // A client that has not asked it yet begins with it.
    let fresh = at(&ours);
    ask(&fresh).await;
    order(&fresh).await.expect("taken by the other broker");
}
