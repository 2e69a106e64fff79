//! Every trait method on a real KRaft cluster. One cluster serves all of it, because starting one is the costly part;
//! the laws are the functions' names, and each leaves the cluster as it found it, the last one apart.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where something is not as expected")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cluster::{
    BrokerId, ClientError, ConfigChange, ConfigResource, LogReader as _, LogWriter as _, NewRecord, NewTopic,
    OffsetAt, Reader as _, Writer as _,
};
use common::{
    LONG, SHORT, address, ask, eventually, ids, make_topic, partition, partition_now, plain, secured,
};
use common::{with_dead_replica, with_one_replaced};
use kafka::Kafka;
use lab::{Cluster, Mode, Version};

const STORE_PASSWORD: &str = "store-password";

#[test]
fn every_call_does_on_kafka_4_what_its_trait_says() -> anyhow::Result<()> {
    let stores = std::env::temp_dir().join(format!("kafka-test-{}", std::process::id()));
    std::fs::create_dir_all(&stores)?;
    let outcome = on_a_cluster(&stores);
    std::fs::remove_dir_all(&stores)?;
    outcome
}

fn on_a_cluster(stores: &Path) -> anyhow::Result<()> {
    make_certificate(stores)?;
    let users = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                 user_admin=\"admin-pw\" user_alice=\"alice-pw\";";
    let keystore = stores.join("broker.p12");
    let cluster = Cluster::builder()
        .version(Version::V4_3)
        .mode(Mode::KraftIsolated)
        .brokers(3)
        .racks(3)
        .log_dirs(2)
        .listener("LOGIN", "SASL_PLAINTEXT")
        .listener("SAFE", "SASL_SSL")
        .property("sasl.enabled.mechanisms", "PLAIN")
        .property("listener.name.login.plain.sasl.jaas.config", users)
        .property("listener.name.safe.plain.sasl.jaas.config", users)
        .property("ssl.keystore.type", "PKCS12")
        .property("ssl.keystore.location", keystore.display().to_string())
        .property("ssl.keystore.password", STORE_PASSWORD)
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("super.users", "User:ANONYMOUS;User:admin")
        .start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let kafka = plain(&cluster.bootstrap());
        a_broker_tells_who_is_in_the_cluster(&kafka, &cluster).await;
        make_topic(&kafka, "t", 6, 2).await;
        topics_are_listed_with_their_replicas(&kafka).await;
        records_come_back_as_they_were_written(&kafka).await;
        log_directories_are_told_for_each_broker(&kafka).await;
        configs_are_set_and_deleted(&kafka).await;
        a_reassignment_moves_a_replica_and_each_refusal_is_told(&kafka).await;
        the_preferred_leader_is_elected(&kafka).await;
        wrong_credentials_are_a_matter_of_security(&cluster, stores).await?;
        a_missing_right_is_denied(&cluster).await?;
        a_stopped_broker_costs_no_more_than_the_limit(&kafka, &cluster).await?;
        a_killed_broker_is_fenced_and_its_replicas_stay_listed(&kafka, &cluster).await?;
        a_reassignment_completes_though_a_target_is_dead(&kafka).await;
        Ok(())
    })
}

async fn a_broker_tells_who_is_in_the_cluster(kafka: &Kafka, cluster: &Cluster) {
    for at in kafka.bootstrap() {
        let answer = kafka.ask(&at, SHORT).await.expect("an answer");
        assert_eq!(&*answer.cluster_id.0, cluster.cluster_id());
        assert_eq!(answer.live.keys().copied().collect::<Vec<_>>(), ids(&[1, 2, 3]));
        assert!(answer.fenced.is_empty());
        assert!(answer.controller.is_some_and(|id| answer.live.contains_key(&id)));
        assert!(answer.capabilities.kraft && answer.capabilities.completes_with_dead_targets);
        let second = &answer.live[&BrokerId(2)];
        assert_eq!(second.rack.as_deref(), Some("rack-2"));
        assert_eq!(second.address, address(&cluster.address(2).expect("an address")));
    }
}

async fn topics_are_listed_with_their_replicas(kafka: &Kafka) {
    let table = kafka.topics(&kafka.bootstrap()[1]).await.expect("topics");
    let topic = &table["t"];
    assert!(!topic.internal);
    assert_eq!(topic.partitions.len(), 6);
    for p in &topic.partitions {
        assert_eq!((p.replicas.len(), p.isr.len()), (2, 2));
        assert_eq!(p.leader, Some(p.replicas[0]));
    }
    let some = kafka.describe(&["t".into(), "none".into()]).await.expect("topics");
    assert_eq!(some.keys().map(|n| &**n).collect::<Vec<_>>(), ["t"]);
    assert_eq!(some["t"], *topic);
    let too_many =
        NewTopic { name: "u".into(), partitions: 1, replication_factor: 9, configs: BTreeMap::new() };
    match kafka.create_topic(&too_many).await {
        Err(ClientError::Refused { code, .. }) => assert_eq!(code, "INVALID_REPLICATION_FACTOR"),
        other => panic!("{other:?}"),
    }
}

async fn records_come_back_as_they_were_written(kafka: &Kafka) {
    let at = partition("t", 1);
    for n in 0..20 {
        let record = NewRecord {
            partition: Some(1),
            key: (n > 0).then(|| format!("key {n}").into_bytes()),
            value: format!("value {n}").into_bytes(),
            headers: vec![("name".to_owned(), vec![n])],
        };
        kafka.append("t", record).await.expect("acknowledged");
    }
    kafka.flush().await.expect("flushed");
    assert_eq!(kafka.partitions("t").await, Ok(6));
    assert_eq!(kafka.offset(&at, OffsetAt::Start).await, Ok(0));
    assert_eq!(kafka.offset(&at, OffsetAt::End).await, Ok(20));
    assert_eq!(kafka.offset(&at, OffsetAt::Time(1)).await, Ok(0));
    assert_eq!(kafka.offset(&at, OffsetAt::Time(i64::MAX)).await, Ok(20));

    let batch = kafka.read(&at, 3, SHORT).await.expect("records");
    assert_eq!((batch.records.len(), batch.next_offset, batch.end_offset), (17, 20, 20));
    let first = &batch.records[0];
    assert_eq!(first.offset, 3);
    assert_eq!(first.key.as_deref(), Some(b"key 3".as_slice()));
    assert_eq!(first.value.as_deref(), Some(b"value 3".as_slice()));
    assert_eq!(first.headers, [("name".to_owned(), vec![3])]);
    let later = OffsetAt::Time(batch.records[5].timestamp_ms);
    assert!(kafka.offset(&at, later).await.expect("an offset") <= 8);

    let nothing = kafka.read(&at, 20, Duration::from_millis(100)).await.expect("an empty batch");
    assert_eq!((nothing.records.len(), nothing.next_offset), (0, 20));
    let waiting = async { kafka.read(&at, 20, LONG).await.expect("a record") };
    let writing = async {
        let record = NewRecord { partition: Some(1), ..NewRecord::default() };
        kafka.append("t", record).await.expect("acknowledged");
    };
    let (came, ()) = tokio::join!(waiting, writing);
    assert_eq!((came.records.len(), came.next_offset), (1, 21));

    let unknown = kafka.read(&partition("t", 99), 0, SHORT).await;
    assert_eq!(unknown, Err(ClientError::UnknownTopic { what: "t-99".to_owned() }));
    assert!(matches!(kafka.partitions("none").await, Err(ClientError::UnknownTopic { .. })));
}

async fn log_directories_are_told_for_each_broker(kafka: &Kafka) {
    let mut brokers: Vec<_> = ask(kafka).await.live.into_values().collect();
    let mut absent = brokers[0].clone();
    (absent.id, absent.address) = (BrokerId(9), address("127.0.0.1:1"));
    brokers.push(absent);
    let all = kafka.log_dirs(&brokers).await;
    assert_eq!(all.len(), 4);
    assert!(matches!(all[&BrokerId(9)], Err(ClientError::Unreachable { .. })));
    let mut replicas = Vec::new();
    for id in [1, 2, 3] {
        let dirs = all[&BrokerId(id)].as_ref().expect("directories");
        assert_eq!(dirs.len(), 2);
        for dir in dirs {
            assert_eq!(dir.error, None);
            assert!(dir.usable_bytes.expect("bytes") <= dir.total_bytes.expect("bytes"));
            replicas.extend(dir.replicas.iter().filter(|(at, _)| **at == partition("t", 1)).map(|(_, r)| *r));
        }
    }
    assert_eq!(replicas.len(), 2);
    assert!(replicas.iter().all(|r| r.size_bytes > 0 && !r.is_future));
}

async fn configs_are_set_and_deleted(kafka: &Kafka) {
    let topic = ConfigResource::Topic("t".into());
    let broker = ConfigResource::Broker(BrokerId(2));
    let rate = "leader.replication.throttled.rate";
    let read = || async {
        let resources = [topic.clone(), broker.clone(), ConfigResource::BrokerDefault];
        let read = kafka.configs(&resources, &["retention.ms", rate, "no.such.key"]).await;
        read.into_iter().map(|(of, values)| (of, values.expect("configs"))).collect::<BTreeMap<_, _>>()
    };
    let set = BTreeMap::from([
        (topic.clone(), vec![ConfigChange::Set("retention.ms".to_owned(), "700000".to_owned())]),
        (broker.clone(), vec![ConfigChange::Set(rate.to_owned(), "1000000".to_owned())]),
        (ConfigResource::Broker(BrokerId(9)), vec![ConfigChange::Delete(rate.to_owned())]),
    ]);
    let results = kafka.alter_configs(&set).await.expect("results");
    assert_eq!((&results[&topic], &results[&broker]), (&Ok(()), &Ok(())));
    assert!(matches!(results[&ConfigResource::Broker(BrokerId(9))], Err(ClientError::Unreachable { .. })));
    eventually("the configs are set", || async {
        let values = read().await;
        values[&topic].get("retention.ms").is_some_and(|v| v == "700000")
            && values[&broker].get(rate).is_some_and(|v| v == "1000000")
            && !values[&topic].contains_key("no.such.key")
    })
    .await;
    let delete = BTreeMap::from([(broker.clone(), vec![ConfigChange::Delete(rate.to_owned())])]);
    assert_eq!(kafka.alter_configs(&delete).await.expect("results")[&broker], Ok(()));
    eventually("the broker's config is gone", || async {
        read().await[&broker].get(rate).is_none_or(|v| v != "1000000")
    })
    .await;
    let (none, nobody) = (ConfigResource::Topic("none".into()), ConfigResource::Broker(BrokerId(9)));
    let some = kafka.configs(&[none.clone(), topic.clone(), nobody.clone()], &["retention.ms"]).await;
    assert_eq!(some[&none], Err(ClientError::UnknownTopic { what: "none".to_owned() }));
    assert!(matches!(some[&nobody], Err(ClientError::Unreachable { .. })), "{some:?}");
    assert!(some[&topic].is_ok(), "what cannot be read hides nothing else");
}

async fn a_reassignment_moves_a_replica_and_each_refusal_is_told(kafka: &Kafka) {
    let current = kafka.describe(&["t".into()]).await.expect("topics")["t"].partitions[0].replicas.clone();
    let other = ids(&[1, 2, 3]).into_iter().find(|b| !current.contains(b)).expect("a third broker");
    let target = vec![current[0], other];
    let batch = BTreeMap::from([
        (partition("t", 0), Some(target.clone())),
        (partition("t", 1), None),
        (partition("t", 2), Some(ids(&[1, 77]))),
        (partition("t", 3), Some(ids(&[1]))),
        (partition("none", 0), Some(ids(&[1]))),
    ]);
    let results = kafka.reassign(&batch).await.expect("results");
    assert_eq!(results.len(), 5);
    assert_eq!(results[&partition("t", 0)], Ok(()));
    assert_eq!(results[&partition("t", 1)], Ok(()), "cancelling nothing is done");
    let code = |n| match &results[&partition("t", n)] {
        Err(ClientError::Refused { code, .. }) => code.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(2), "INVALID_REPLICA_ASSIGNMENT");
    assert_eq!(code(3), "INVALID_REPLICATION_FACTOR");
    assert!(matches!(results[&partition("none", 0)], Err(ClientError::UnknownTopic { .. })));
    eventually("the reassignment is done", || async {
        kafka.reassignments().await.expect("reassignments").is_empty()
            && *kafka.describe(&["t".into()]).await.expect("topics")["t"].partitions[0].replicas == *target
    })
    .await;
    let too_many = (0..501).map(|n| (partition("t", n), None)).collect();
    assert!(matches!(kafka.reassign(&too_many).await, Err(ClientError::Refused { .. })));
    assert_eq!(kafka.reassign(&BTreeMap::new()).await, Ok(BTreeMap::new()));
}

async fn the_preferred_leader_is_elected(kafka: &Kafka) {
    let replicas = kafka.describe(&["t".into()]).await.expect("topics")["t"].partitions[4].replicas.to_vec();
    let turned: Vec<_> = replicas.iter().rev().copied().collect();
    let batch = BTreeMap::from([(partition("t", 4), Some(turned.clone()))]);
    assert_eq!(kafka.reassign(&batch).await.expect("results")[&partition("t", 4)], Ok(()));
    eventually("the order is turned and the new first replica leads", || async {
        let elected =
            kafka.elect_preferred(&[partition("t", 4), partition("none", 1)]).await.expect("results");
        assert!(matches!(elected[&partition("none", 1)], Err(ClientError::UnknownTopic { .. })));
        let p = &kafka.describe(&["t".into()]).await.expect("topics")["t"].partitions[4];
        elected[&partition("t", 4)] == Ok(()) && *p.replicas == *turned && p.leader == Some(turned[0])
    })
    .await;
}

fn login(protocol: &str, user: &str, password: &str) -> String {
    format!(
        "security.protocol={protocol}\nsasl.mechanism=PLAIN\n\
         sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\\n  \
         username=\"{user}\" password=\"{password}\";\n"
    )
}

async fn wrong_credentials_are_a_matter_of_security(cluster: &Cluster, stores: &Path) -> anyhow::Result<()> {
    let (open, login_at, safe) =
        (cluster.bootstrap(), cluster.bootstrap_of("LOGIN")?, cluster.bootstrap_of("SAFE")?);
    let trust = |file: &str| {
        format!("ssl.truststore.type=PEM\nssl.truststore.location={}\n", stores.join(file).display())
    };
    let good = login("SASL_SSL", "admin", "admin-pw") + &trust("ca.pem");
    let answer = ask(&secured(&safe, &good)).await;
    assert_eq!(answer.live[&BrokerId(1)].address, address(&safe), "the listener's own addresses are told");
    ask(&secured(&login_at, &login("SASL_PLAINTEXT", "admin", "admin-pw"))).await;

    for (bootstrap, properties, expected) in [
        (&login_at, login("SASL_PLAINTEXT", "admin", "wrong"), "Invalid username or password"),
        (&safe, login("SASL_SSL", "admin", "wrong") + &trust("ca.pem"), "Invalid username or password"),
        (
            &safe,
            login("SASL_SSL", "admin", "admin-pw") + &trust("other.pem"),
            "not in ssl.truststore.location",
        ),
        (&safe, login("SASL_SSL", "admin", "admin-pw") + &trust("none.pem"), "none.pem"),
        (
            &safe,
            login("SASL_SSL", "a", "b").replace("PLAIN\n", "SCRAM-SHA-256\n").replace("Plain", "Scram")
                + &trust("ca.pem"),
            "UnsupportedSaslMechanism",
        ),
        (&open, login("SASL_SSL", "admin", "admin-pw") + &trust("ca.pem"), "probably not an SSL one"),
        (&open, login("SASL_PLAINTEXT", "admin", "admin-pw"), "does not want SASL"),
        (&login_at, String::new(), "wants SASL"),
        (&safe, String::new(), "wants SSL or SASL"),
    ] {
        let kafka = secured(bootstrap, &properties);
        match kafka.ask(&kafka.bootstrap()[0], SHORT).await {
            Err(error @ (ClientError::Security { .. } | ClientError::Closed { .. })) => {
                let shown = error.to_string();
                assert!(shown.contains(expected), "{shown:?} does not say {expected:?}");
                assert!(!shown.contains("admin-pw"));
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
    let kafka = secured(&login_at, &login("SASL_PLAINTEXT", "admin", "wrong"));
    let written = kafka.append("t", NewRecord::default()).await;
    assert!(matches!(written, Err(ClientError::Security { .. })), "{written:?}");
    Ok(())
}

async fn a_missing_right_is_denied(cluster: &Cluster) -> anyhow::Result<()> {
    let kafka = secured(&cluster.bootstrap_of("LOGIN")?, &login("SASL_PLAINTEXT", "alice", "alice-pw"));
    let denied = |outcome: Result<(), ClientError>| match outcome {
        Err(ClientError::Denied { why, .. }) => assert!(why.len() < 200, "{why}"),
        other => panic!("{other:?}"),
    };
    // Whom it shows, a broker shows to everybody; topics that one may not see are absent.
    let brokers: Vec<_> = ask(&kafka).await.live.into_values().collect();
    assert_eq!(kafka.topics(&brokers[0].address).await.map(|t| t.len()), Ok(0));
    let batch = BTreeMap::from([(partition("t", 0), Some(ids(&[1, 2])))]);
    denied(kafka.reassign(&batch).await.map(drop));
    denied(kafka.reassignments().await.map(drop));
    denied(kafka.elect_preferred(&[partition("t", 0)]).await.map(drop));
    let topic = ConfigResource::Topic("t".into());
    let mut read = kafka.configs(std::slice::from_ref(&topic), &["retention.ms"]).await;
    denied(read.remove(&topic).expect("a result").map(drop));
    let change = BTreeMap::from([(topic.clone(), vec![ConfigChange::Delete("retention.ms".to_owned())])]);
    denied(kafka.alter_configs(&change).await.expect("results").remove(&topic).expect("a result"));
    for (_, dirs) in kafka.log_dirs(&brokers).await {
        denied(dirs.map(drop));
    }
    denied(kafka.append("t", NewRecord::default()).await);
    denied(kafka.read(&partition("t", 1), 0, SHORT).await.map(drop));
    Ok(())
}

async fn a_stopped_broker_costs_no_more_than_the_limit(
    kafka: &Kafka,
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let at = address(&cluster.address(1)?);
    kafka.ask(&at, SHORT).await.expect("an answer");
    cluster.pause(1)?;
    let limit = Duration::from_millis(500);
    eventually("the signal has reached all threads", || async { kafka.ask(&at, limit).await.is_err() }).await;
    for _ in 0..4 {
        let began = Instant::now();
        let answer = kafka.ask(&at, limit).await;
        assert!(matches!(answer, Err(ClientError::Timeout { .. })), "{answer:?}");
        assert!(began.elapsed() < limit * 3, "{:?}", began.elapsed());
    }
    // Calls for the controller take another way.
    kafka.reassignments().await.expect("reassignments");
    cluster.resume(1)?;
    eventually("the broker answers again", || async { kafka.ask(&at, SHORT).await.is_ok() }).await;
    eventually("all brokers are live", || async { ask(kafka).await.live.len() == 3 }).await;
    Ok(())
}

async fn a_killed_broker_is_fenced_and_its_replicas_stay_listed(
    kafka: &Kafka,
    cluster: &Cluster,
) -> anyhow::Result<()> {
    make_topic(kafka, "whole", 3, 3).await;
    let before = kafka.describe(&["whole".into()]).await.expect("topics");
    let (dead, alive) = (address(&cluster.address(1)?), address(&cluster.address(2)?));
    cluster.kill(1)?;
    let began = Instant::now();
    assert!(matches!(kafka.ask(&dead, SHORT).await, Err(ClientError::Unreachable { .. })));
    assert!(began.elapsed() < SHORT);
    eventually("the broker is fenced", || async {
        let answer = kafka.ask(&alive, SHORT).await.expect("an answer");
        let all: Vec<_> = answer.live.keys().chain(answer.fenced.keys()).collect();
        assert_eq!(all.len(), 3);
        answer.fenced.contains_key(&BrokerId(1))
    })
    .await;
    eventually("its replicas are listed, out of sync", || async {
        let after = kafka.topics(&alive).await.expect("topics");
        after["whole"].partitions.iter().zip(&before["whole"].partitions).all(|(after, before)| {
            after.replicas == before.replicas
                && after.out_of_sync().eq([BrokerId(1)])
                && after.leader.is_some_and(|leader| leader != BrokerId(1))
        })
    })
    .await;

    // A client that knows the dead broker as its first bootstrap server, and nothing else, gets through.
    let fresh = plain(&cluster.bootstrap());
    assert_eq!(fresh.bootstrap()[0], dead);
    assert!(fresh.reassignments().await.expect("reassignments").is_empty());
    let record = NewRecord { key: Some(b"k".to_vec()), value: b"v".to_vec(), ..NewRecord::default() };
    fresh.append("whole", record).await.expect("acknowledged");
    let (down, up) = (ConfigResource::Broker(BrokerId(1)), ConfigResource::Broker(BrokerId(2)));
    let read = fresh.configs(&[down.clone(), up.clone()], &["log.retention.hours"]).await;
    assert!(matches!(read[&down], Err(ClientError::Unreachable { .. })), "{read:?}");
    assert!(read[&up].is_ok(), "{read:?}");
    Ok(())
}

/// What `completes_with_dead_targets` says. Broker 1 is dead.
async fn a_reassignment_completes_though_a_target_is_dead(kafka: &Kafka) {
    let at = with_dead_replica(kafka, BrokerId(1)).await;
    let target = with_one_replaced(kafka, &at, BrokerId(1), &ids(&[2, 3])).await;
    let batch = BTreeMap::from([(at.clone(), Some(target.clone()))]);
    assert_eq!(kafka.reassign(&batch).await.expect("results")[&at], Ok(()));
    eventually("the reassignment is done, the dead replica is still assigned", || async {
        let p = partition_now(kafka, &at).await;
        *p.replicas == *target && !p.isr.contains(&BrokerId(1))
    })
    .await;
    assert!(kafka.reassignments().await.expect("reassignments").is_empty());
}

/// A key store for the brokers, its certificate as `ca.pem`, and the certificate of a stranger as `other.pem`.
fn make_certificate(stores: &Path) -> anyhow::Result<()> {
    for (who, pem) in [("broker", "ca.pem"), ("stranger", "other.pem")] {
        let store = stores.join(format!("{who}.p12")).display().to_string();
        let name = format!("CN={who}");
        let common = ["-keystore", &store, "-storepass", STORE_PASSWORD, "-alias", "me"];
        let make =
            ["-genkeypair", "-keyalg", "EC", "-storetype", "PKCS12", "-dname", &name, "-validity", "30"];
        keytool(&[&make[..], &["-ext", "SAN=ip:127.0.0.1,dns:localhost"], &common].concat())?;
        let file = stores.join(pem).display().to_string();
        keytool(&[&["-exportcert", "-rfc", "-file", &file][..], &common].concat())?;
    }
    Ok(())
}

fn keytool(args: &[&str]) -> anyhow::Result<()> {
    let done = Command::new("keytool").args(args).output()?;
    anyhow::ensure!(done.status.success(), "keytool: {}", String::from_utf8_lossy(&done.stdout));
    Ok(())
}
