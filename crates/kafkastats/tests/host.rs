//! Laws of the figures of a host, over a `/proc` and a `/sys` of the test.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic, in its helpers too")]

#[path = "common/host.rs"]
mod fake_host;

use std::os::unix::fs::symlink;

use brokerstats::{BrokerError, BrokerStats};
use cluster::BrokerAddress;
use fake_host::FakeHost;
use kafkastats::host::process::{BySettings, by_settings, search};
use kafkastats::host::{Choice, HostSource, Search, Wanted};

/// What is found when broker 3 of cluster `c` is looked for, which advertises port 9092.
fn found(host: &FakeHost) -> String {
    let wanted = Wanted { broker: 3, cluster: Some("c".to_owned()), port: Some(9092) };
    match search(&host.path().join("proc"), &wanted) {
        Search::Found { process, is_proven: true } => format!("{}", process.pid),
        Search::Found { process, is_proven: false } => format!("perhaps {}", process.pid),
        Search::Missing { others } => format!("missing, others {others:?}"),
        Search::Multiple { pids } => format!("one of {pids:?}"),
    }
}

#[test]
fn a_broker_is_found_by_what_it_runs() {
    let host = FakeHost::new();
    host.process(7, "java -cp x org.apache.zookeeper.server.quorum.QuorumPeerMain z.cfg", 0);
    assert_eq!(found(&host), "missing, others []");
    host.broker(8, "node.id=3\n");
    assert_eq!(found(&host), "8");
    host.broker(9, "node.id=3\nprocess.roles=controller\n");
    assert_eq!(found(&host), "8", "a controller is no broker");
}

#[test]
fn brokers_of_one_host_are_told_apart_by_their_ids() {
    let host = FakeHost::new();
    host.broker(8, "node.id=2\n");
    host.broker(9, "broker.id=3\n");
    host.broker(10, "node.id=4\n");
    assert_eq!(found(&host), "9");
    host.end(9);
    assert_eq!(found(&host), "missing, others [8, 10]");
    // An id on the command line stands before that of the file.
    host.process(11, "java kafka.Kafka s.properties --override node.id=3", 0);
    host.put("proc/11/cwd/s.properties", "node.id=5");
    assert_eq!(found(&host), "11");
}

#[test]
fn brokers_of_two_clusters_are_told_apart_by_their_log_directories() {
    let host = FakeHost::new();
    for (pid, cluster) in [(8, "other"), (9, "c")] {
        host.broker(pid, "node.id=3\nlog.dirs=/data/a,/data/b\n");
        host.meta(pid, "/data/b", &format!("version=1\ncluster.id={cluster}\nnode.id=3\n"));
    }
    assert_eq!(found(&host), "9");
    host.end(9);
    assert_eq!(found(&host), "missing, others [8]");
}

#[test]
fn an_id_that_kafka_gave_stands_in_the_log_directory() {
    let host = FakeHost::new();
    for (pid, id) in [(8, 1002), (9, 3)] {
        host.broker(pid, "broker.id=-1\nlog.dirs=/d\n");
        host.meta(pid, "/d", &format!("broker.id={id}\n"));
    }
    assert_eq!(found(&host), "9");
}

#[test]
fn where_ids_do_not_tell_the_port_does() {
    let host = FakeHost::new();
    for pid in [8, 9, 10] {
        host.process(pid, "java kafka.Kafka /secret/server.properties", 0);
    }
    assert_eq!(found(&host), "one of [8, 9, 10]");
    for (pid, port) in [(8, 9093), (9, 9092), (10, 19092)] {
        host.listens(pid, port);
    }
    assert_eq!(found(&host), "9");
    host.end(9);
    assert_eq!(found(&host), "missing, others [8, 10]");
    // One of which nothing is known may be it, as long as it is the only one.
    host.end(8);
    host.end(10);
    host.process(11, "java kafka.Kafka /secret/server.properties", 0);
    assert_eq!(found(&host), "perhaps 11");
}

#[test]
fn two_with_one_id_are_told_apart_by_their_port_if_at_all() {
    let host = FakeHost::new();
    host.broker(8, "node.id=3\n");
    host.broker(9, "node.id=3\n");
    assert_eq!(found(&host), "one of [8, 9]");
    host.listens(8, 9093);
    host.listens(9, 9092);
    assert_eq!(found(&host), "9");
}

/// Only that is changed which is the broker by all that its settings say: its id and its cluster, and that of one process alone.
#[test]
fn what_is_told_to_start_a_server_is_the_broker_by_its_settings() {
    let host = FakeHost::new();
    let wanted = Wanted { broker: 3, cluster: Some("c".to_owned()), port: None };
    let told = |it, unknown: &[u32]| BySettings { it, unknown: unknown.to_vec() };
    let found = |host: &FakeHost| by_settings(&host.path().join("proc"), &wanted);
    let put = |pid: u32, id: i32, cluster: &str| {
        host.broker(pid, &format!("node.id={id}\nlog.dirs=/d\n"));
        host.meta(pid, "/d", &format!("cluster.id={cluster}\n"));
    };
    put(7, 2, "c");
    put(8, 3, "other");
    assert_eq!(found(&host), told(None, &[]));
    host.broker(9, "node.id=3\n");
    assert_eq!(found(&host), told(None, &[9]), "its cluster is not known");
    put(10, 3, "c");
    assert_eq!(found(&host), told(Some(10), &[9]));
    put(11, 3, "c");
    assert_eq!(found(&host), told(None, &[9]), "there are two");
}

fn report() -> BrokerStats {
    let mut stats = BrokerStats::new(0, 3);
    stats.cluster_id = Some("c".to_owned());
    stats.log_dirs = vec!["/data".to_owned()];
    stats
}

fn at(host: &str) -> BrokerAddress {
    BrokerAddress { host: host.into(), port: 9092 }
}

type Problems = Vec<(Option<BrokerError>, String)>;

async fn read(source: &mut HostSource, host: &str) -> (BrokerStats, Problems) {
    let mut stats = report();
    let problems = source.put(&mut stats, Some(&at(host))).await;
    (stats, problems)
}

#[tokio::test]
async fn all_figures_come_from_two_readings() {
    let host = FakeHost::new();
    host.broker(8, "node.id=3\n");
    host.put("proc/8/root/data/meta.properties", "");
    host.put("sys/fs/cgroup/cpu.max", "50000 100000\n");
    let mut source = HostSource::new(Choice::Auto, host.path()).unwrap();
    let (first, problems) = read(&mut source, "10.0.0.7").await;
    assert_eq!(problems, []);
    assert_eq!((first.host_cpu_percent, first.process_cpu_percent), (-1.0, -1.0));
    assert_eq!((first.cpu_limit, first.process_memory_bytes), (0.5, 65536));
    host.counters(2);
    host.process(8, "java -cp x kafka.Kafka /etc/kafka/server.properties", 1_000_000);
    let (second, problems) = read(&mut source, "10.0.0.7").await;
    assert_eq!(problems, []);
    assert_eq!(second.host_cpu_percent, 75.0);
    // The time between the two readings is not known, and short: what matters is that there are figures, of the device alone.
    assert!(second.process_cpu_percent > 0.0 && second.cpu_usage == second.process_cpu_percent);
    let (received, sent) = (second.sys_bytes_in_1_min_rate, second.sys_bytes_out_1_min_rate);
    assert!(sent > 0 && received.abs_diff(2 * sent) <= 1, "{received} {sent}");
    let (read, written) = (second.log_dir_read_bytes_per_sec[0], second.log_dir_write_bytes_per_sec[0]);
    assert!(read > 0 && written.abs_diff(2 * read) <= 1, "{read} {written}");
    assert!(second.log_dir_busy_percent[0] > 0.0);
    assert_eq!((second.host_memory_total_bytes, second.host_memory_available_bytes), (8192, 4096));
}

#[tokio::test]
async fn a_broker_elsewhere_gets_no_figures_of_this_host() {
    let host = FakeHost::new();
    host.broker(8, "node.id=3\n");
    host.put("proc/8/root/data/meta.properties", "");
    let mut source = HostSource::new(Choice::Auto, host.path()).unwrap();
    let (stats, problems) = read(&mut source, "10.0.0.8").await;
    assert_eq!(stats, report());
    let words = "no figures of the host: the broker is at 10.0.0.8:9092, which is no address of this host";
    assert_eq!(problems, [(None, words.to_owned())]);
    // Unless somebody says so, as behind an address that is translated.
    let mut source = HostSource::new(Choice::On, host.path()).unwrap();
    let (stats, problems) = read(&mut source, "10.0.0.8").await;
    assert_eq!((stats.process_memory_bytes, problems), (65536, vec![]));
    assert!(HostSource::new(Choice::Off, host.path()).is_none());
}

#[tokio::test]
async fn a_broker_in_a_container_is_here_at_the_address_of_the_container() {
    let host = FakeHost::new();
    host.broker(8, "node.id=3\n");
    host.put("proc/8/root/data/meta.properties", "");
    host.put("proc/8/net/fib_trie", "  |-- 172.17.0.2\n     /32 host LOCAL\n");
    let mut source = HostSource::new(Choice::Auto, host.path()).unwrap();
    let (stats, problems) = read(&mut source, "172.17.0.2").await;
    assert_eq!((stats.process_memory_bytes, problems), (65536, vec![]));
}

#[tokio::test]
async fn what_the_search_finds_is_told_in_the_originals_names_and_costs_no_figure_of_the_host() {
    let host = FakeHost::new();
    let mut source = HostSource::new(Choice::Auto, host.path()).unwrap();
    let (stats, problems) = read(&mut source, "127.0.0.1").await;
    let missing = "no process of this host is broker 3".to_owned();
    assert_eq!(problems, [(Some(BrokerError::MissingKafkaProcess), missing)]);
    assert_eq!((stats.host_memory_total_bytes, stats.process_memory_bytes), (8192, -1));

    host.broker(8, "node.id=3\n");
    host.broker(9, "node.id=3\n");
    let (_, problems) = read(&mut source, "127.0.0.1").await;
    let multiple = "each of the processes [8, 9] may be broker 3".to_owned();
    assert_eq!(problems, [(Some(BrokerError::MultipleKafkaProcesses), multiple)]);
    // A process that has been found is not looked for again as long as it runs; then it is.
    host.end(9);
    host.put("proc/8/root/data/x", "");
    assert_eq!(read(&mut source, "127.0.0.1").await.1, []);
    host.broker(9, "node.id=3\n");
    assert_eq!(read(&mut source, "127.0.0.1").await.1, []);
    host.end(8);
    host.put("proc/9/root/data/x", "");
    assert_eq!(read(&mut source, "127.0.0.1").await.1, []);
}

#[tokio::test]
async fn a_log_directory_out_of_reach_costs_its_own_figures() {
    let host = FakeHost::new();
    host.broker(8, "node.id=3\n");
    symlink("/nowhere", host.path().join("proc/8/root/data")).unwrap();
    let mut source = HostSource::new(Choice::Auto, host.path()).unwrap();
    let (stats, problems) = read(&mut source, "10.0.0.7").await;
    assert_eq!(stats.process_memory_bytes, 65536);
    let [(None, words)] = problems.as_slice() else { unreachable!("{problems:?}") };
    assert!(words.starts_with("log directory /data on the host: "), "{words}");
}
