//! What differs with ZooKeeper and Kafka 3.9: there is one controller, which alone takes orders, and no broker is
//! ever shown as fenced.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where something is not as expected")]

mod common;

use std::collections::BTreeMap;

use cluster::{
    BrokerId, ClientError, ConfigChange, ConfigResource, LogReader as _, LogWriter as _, NewRecord, OffsetAt,
    Reader as _, Writer as _,
};
use common::{SHORT, address, ask, eventually, ids, make_topic, partition, partition_now, plain};
use common::{with_dead_replica, with_one_replaced};
use kafka::Kafka;
use lab::{Cluster, Mode, Version};

#[test]
fn the_essentials_work_on_kafka_3_with_zookeeper() -> anyhow::Result<()> {
    let cluster =
        Cluster::builder().version(Version::V3_9).mode(Mode::ZooKeeper).brokers(3).racks(3).start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let kafka = plain(&cluster.bootstrap());
        make_topic(&kafka, "t", 6, 2).await;
        make_topic(&kafka, "whole", 3, 3).await;
        the_essentials(&kafka).await;
        orders_find_the_controller_after_it_was_killed(&kafka, &cluster).await
    })
}

async fn the_essentials(kafka: &Kafka) {
    let answer = ask(kafka).await;
    assert_eq!(answer.live.keys().copied().collect::<Vec<_>>(), ids(&[1, 2, 3]));
    assert!(answer.fenced.is_empty() && answer.controller.is_some());
    assert!(!answer.capabilities.kraft && !answer.capabilities.completes_with_dead_targets);

    let record = NewRecord { partition: Some(0), value: b"v".to_vec(), ..NewRecord::default() };
    kafka.append("t", record).await.expect("acknowledged");
    assert_eq!(kafka.offset(&partition("t", 0), OffsetAt::End).await, Ok(1));
    assert_eq!(kafka.read(&partition("t", 0), 0, SHORT).await.map(|b| b.records.len()), Ok(1));

    let brokers: Vec<_> = answer.live.into_values().collect();
    let dirs = kafka.log_dirs(&brokers).await;
    assert!(dirs.values().all(|d| d.as_ref().is_ok_and(|d| d.len() == 1 && d[0].total_bytes.is_some())));

    let broker = ConfigResource::Broker(BrokerId(3));
    let rate = "leader.replication.throttled.rate";
    let set =
        BTreeMap::from([(broker.clone(), vec![ConfigChange::Set(rate.to_owned(), "1000000".to_owned())])]);
    assert_eq!(kafka.alter_configs(&set).await.expect("results")[&broker], Ok(()));
    eventually("the config is set", || async {
        let read = kafka.configs(std::slice::from_ref(&broker), &[rate]).await;
        read[&broker].as_ref().expect("configs").get(rate).is_some_and(|v| v == "1000000")
    })
    .await;
    move_one(kafka, 0).await;
}

async fn move_one(kafka: &Kafka, number: i32) {
    let live: Vec<_> = ask_any(kafka).await;
    let table = kafka.describe(&["t".into()]).await.expect("topics");
    let replicas = &table["t"].partitions[number as usize].replicas;
    let keep = replicas.iter().copied().find(|b| live.contains(b)).expect("a live replica");
    let add = live.iter().copied().find(|b| *b != keep && !replicas.contains(b));
    let target = vec![
        add.unwrap_or(keep),
        if add.is_some() { keep } else { *live.iter().find(|b| **b != keep).expect("two") },
    ];
    let at = partition("t", number);
    let results =
        kafka.reassign(&BTreeMap::from([(at.clone(), Some(target.clone()))])).await.expect("results");
    assert_eq!(results[&at], Ok(()));
    eventually("the reassignment is done", || async {
        kafka.reassignments().await.expect("reassignments").is_empty()
            && *kafka.describe(&["t".into()]).await.expect("topics")["t"].partitions[number as usize].replicas
                == *target
    })
    .await;
    eventually("the first replica leads", || async {
        kafka.elect_preferred(std::slice::from_ref(&at)).await.expect("results")[&at] == Ok(())
    })
    .await;
}

async fn ask_any(kafka: &Kafka) -> Vec<BrokerId> {
    for at in kafka.bootstrap() {
        if let Ok(answer) = kafka.ask(&at, SHORT).await {
            return answer.live.into_keys().collect();
        }
    }
    Vec::new()
}

async fn orders_find_the_controller_after_it_was_killed(
    kafka: &Kafka,
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let killed = ask(kafka).await.controller.expect("a controller");
    cluster.kill(killed.0)?;
    let dead = address(&cluster.address(killed.0)?);
    assert!(matches!(kafka.ask(&dead, SHORT).await, Err(ClientError::Unreachable { .. })));
    eventually("there is another controller, and the killed broker is not live", || async {
        let mut answers = Vec::new();
        for at in kafka.bootstrap().into_iter().filter(|at| *at != dead) {
            answers.push(kafka.ask(&at, SHORT).await.expect("an answer"));
        }
        answers.iter().all(|a| a.controller.is_some_and(|c| c != killed) && !a.live.contains_key(&killed))
    })
    .await;
    let table = kafka.describe(&["whole".into()]).await.expect("topics");
    assert!(table["whole"].partitions.iter().all(|p| p.replicas.contains(&killed)), "{table:?}");
    let spared = kafka.describe(&["t".into()]).await.expect("topics")["t"]
        .partitions
        .iter()
        .position(|p| !p.replicas.contains(&killed))
        .expect("a partition without it");
    move_one(kafka, spared as i32).await;
    a_reassignment_waits_for_a_dead_target_and_can_be_cancelled(kafka, killed).await;
    Ok(())
}

/// What `completes_with_dead_targets` denies here.
async fn a_reassignment_waits_for_a_dead_target_and_can_be_cancelled(kafka: &Kafka, dead: BrokerId) {
    let at = with_dead_replica(kafka, dead).await;
    let before = partition_now(kafka, &at).await.replicas;
    let target = with_one_replaced(kafka, &at, dead, &ask_any(kafka).await).await;
    let fresh = *target.iter().find(|b| **b != dead).expect("the fresh one");
    let batch = BTreeMap::from([(at.clone(), Some(target))]);
    assert_eq!(kafka.reassign(&batch).await.expect("results")[&at], Ok(()));
    eventually("the added replica is in sync", || async {
        partition_now(kafka, &at).await.isr.contains(&fresh)
    })
    .await;
    let ongoing = kafka.reassignments().await.expect("reassignments");
    assert_eq!(*ongoing[&at].adding, [fresh]);
    assert_eq!(ongoing[&at].removing.len(), 1);
    let cancel = BTreeMap::from([(at.clone(), None)]);
    assert_eq!(kafka.reassign(&cancel).await.expect("results")[&at], Ok(()));
    // With ZooKeeper the dead replica may stand at another place in the list than before.
    eventually("the replicas are those from before", || async {
        let after = partition_now(kafka, &at).await.replicas;
        kafka.reassignments().await.expect("reassignments").is_empty()
            && after.len() == before.len()
            && before.iter().all(|b| after.contains(b))
    })
    .await;
}
