//! A KRaft cluster with an isolated controller: what other crates' tests build on.

use std::time::Duration;

use lab::{CONTROLLER, Cluster, TrafficConfig, wait_for};

const LIMIT: Duration = Duration::from_secs(60);
/// Kafka's own `broker.session.timeout.ms`.
const SESSION: Duration = Duration::from_secs(9);

#[test]
fn brokers_die_pause_and_return_without_losing_an_acknowledged_record() {
    let cluster = Cluster::builder().brokers(4).racks(2).log_dirs(2).start().unwrap();
    let all = cluster.broker_ids();
    assert_eq!(all, [1, 2, 3, 4]);
    assert_eq!(cluster.rack(3).unwrap().as_deref(), Some("rack-1"));
    assert_eq!(cluster.brokers_seen_by(4).unwrap(), all.iter().copied().collect());
    cluster.create_topic("t", 12, 3).unwrap();
    assert!(cluster.partitions_of("t").unwrap().iter().all(|p| p.replicas.len() == 3));
    let traffic = cluster.traffic("t", TrafficConfig::default()).unwrap();
    wait_for("records are acknowledged", LIMIT, || Ok(traffic.acknowledged() > 200)).unwrap();

    cluster.kill(2).unwrap();
    assert_eq!(cluster.pid(2).unwrap(), None);
    let dropped = cluster.wait_dropped(2, LIMIT).unwrap();
    assert!(dropped < SESSION + Duration::from_secs(6), "{dropped:?} after kill -9");
    assert!(cluster.under_replicated().unwrap().contains("Topic: t"), "Kafka's tool sees the loss");
    kafkas_tool_names_no_dead_broker_and_starts_nothing_beside_another_reassignment(&cluster).unwrap();

    cluster.wipe(2).unwrap();
    cluster.start(2).unwrap();
    cluster.wait_ready().unwrap();
    cluster.wait_in_sync(LIMIT).unwrap();
    assert_eq!(cluster.under_replicated().unwrap(), "");

    cluster.pause(3).unwrap();
    cluster.wait_dropped(3, LIMIT).unwrap();
    cluster.resume(3).unwrap();
    cluster.wait_in_sync(LIMIT).unwrap();

    cluster.restart(1).unwrap();
    cluster.wait_ready().unwrap();
    cluster.wait_in_sync(LIMIT).unwrap();

    let report = traffic.finish().unwrap();
    assert!(report.acknowledged.len() > 1000, "{report:?}");
    assert!(cluster.missing(&report, LIMIT).unwrap().is_empty());
}

/// Broker 2 is dead.
fn kafkas_tool_names_no_dead_broker_and_starts_nothing_beside_another_reassignment(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    cluster.create_topic_on("alone", &[&[1]])?;
    let refusal = |replicas: &[i32]| match cluster.reassign(&[("alone", 0, replicas)]) {
        Ok(answer) => format!("no refusal: {answer}"),
        Err(error) => format!("{error:#}"),
    };
    let unknown = refusal(&[1, 2]);
    assert!(unknown.contains("Unknown broker id 2"), "{unknown}");
    // Over the protocol, it is taken.
    assert_eq!(cluster.alter_reassignments(&[("alone", 0, Some(&[2]))])?, [None]);
    let busy = refusal(&[3]);
    assert!(busy.contains("existing partition assignment"), "{busy}");
    let listed = cluster.reassignments()?;
    assert!(listed.contains("alone-0: replicas: 2,1. adding: 2. removing: 1."), "{listed}");
    assert_eq!(cluster.alter_reassignments(&[("alone", 0, None)])?, [None]);
    Ok(())
}

#[test]
fn a_broker_that_cannot_start_is_told_with_its_log() {
    let error = Cluster::builder().property("log.segment.bytes", "none").start().unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("ended by itself") && text.contains("log.segment.bytes"), "{text}");
}

#[test]
fn a_broker_can_be_added_and_the_controller_can_be_killed() {
    let cluster = Cluster::builder().brokers(1).racks(1).jmx(true).start().unwrap();
    std::net::TcpStream::connect(("127.0.0.1", cluster.jmx_port(1).unwrap())).unwrap();
    let id = cluster.add_broker(Some("rack-2")).unwrap();
    cluster.wait_ready().unwrap();
    assert_eq!(cluster.brokers_seen_by(1).unwrap(), [1, id].into());
    cluster.kill(CONTROLLER).unwrap();
    cluster.start(CONTROLLER).unwrap();
    cluster.wait_ready().unwrap();
    cluster.create_topic("t", 1, 2).unwrap();
    cluster.kill(id).unwrap();
    cluster.start(id).unwrap();
    cluster.wait_ready().unwrap();
    cluster.wait_in_sync(LIMIT).unwrap();
    let listed = cluster.tool("topics", &["--list"]).unwrap().success().unwrap();
    assert_eq!(listed.trim(), "t");
    let unknown = cluster.tool("topics", &["--describe", "--topic", "none"]).unwrap();
    assert!(unknown.success().is_err(), "a tool's failure is seen");
}
