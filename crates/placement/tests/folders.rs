//! What is read from folders, what is refused, and what is written.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error;
use std::fs;
use std::io::Write;

use expect_test::{Expect, expect};
use flate2::Compression;
use flate2::write::GzEncoder;
use placement::{Named, PlacementError, read_cluster, write_placement};
use planner::balance::{Budget, Policy, solve};
use tempfile::TempDir;

const BROKERS: &str = "id,rack,state,cap_cpu,cap_nw_in,cap_nw_out,cap_disk
7,r2,ALIVE,100,300000,200000,1.5e6
3,r1,DEAD,100,300000,200000,500000
5,r1,ALIVE,50,150000,100000,250000.25
";

const REPLICAS: &str = "topic,partition,position,broker,leader,cpu,nw_in,nw_out,disk,fcpu,fnw_out
orders,0,0,3,0,0.5,10,0,100,0.5,0
orders,0,1,7,1,2.5,10,30,100.5,0.5,0
orders,1,0,7,1,2,8,25,1.5e-3,0.25,1
b,4,0,5,1,0,0,0,0,0,0
";

fn folder(brokers: &str, replicas: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("brokers.csv"), brokers).unwrap();
    fs::write(folder.path().join("replicas.csv"), replicas).unwrap();
    folder
}

fn read(brokers: &str, replicas: &str) -> Result<Named, PlacementError> {
    read_cluster(folder(brokers, replicas).path())
}

fn placement(named: &Named) -> String {
    let plan = solve(&named.cluster, &Policy::default(), &Budget { moves: Some(0), disk: None });
    let mut out = Vec::new();
    write_placement(named, &plan.applied_to(&named.cluster), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The error of a folder, with its causes, and without the name of the folder.
fn check_refused(brokers: &str, replicas: &str, expected: &Expect) {
    let folder = folder(brokers, replicas);
    let error = read_cluster(folder.path()).unwrap_err();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    expected.assert_eq(&text.replace(&format!("{}/", folder.path().display()), ""));
}

#[test]
fn names_loads_and_leaders_are_those_of_the_files() {
    let named = read(BROKERS, REPLICAS).unwrap();
    let cluster = &named.cluster;
    assert_eq!(named.broker_ids, [7, 3, 5]);
    assert_eq!(named.topics, ["orders", "b"]);
    assert_eq!(named.partitions, [0, 1, 4]);
    assert_eq!((cluster.partitions(), cluster.replica_count()), (3, 4));

    let [seven, three, five] = cluster.brokers() else { panic!("three brokers") };
    assert!(seven.alive && !three.alive && five.alive);
    assert_eq!(three.rack, five.rack);
    assert_ne!(seven.rack, five.rack);
    assert_eq!(five.capacity, [50_000_000_000, 150_000_000_000, 100_000_000_000, 250_000_250_000]);

    assert_eq!((cluster.replicas(0), cluster.leader(0)), (&[1, 0][..], 1));
    assert_eq!(cluster.loads(0)[1], [500_000_000, 10_000_000, 0, 100_500_000], "as a follower");
    assert_eq!(cluster.leader_share(0), [2_000_000_000, 0, 30_000_000, 0]);
    assert_eq!(cluster.loads(1)[0], [250_000_000, 8_000_000, 1_000_000, 1_500]);
    assert_eq!(cluster.leader_share(1), [1_750_000_000, 0, 24_000_000, 0]);
    assert_eq!(cluster.potential_network_out(1), 25_000_000);
}

#[test]
fn zipped_replicas_are_read_as_plain_ones() {
    let plain = read(BROKERS, REPLICAS).unwrap();
    let zipped = tempfile::tempdir().unwrap();
    fs::write(zipped.path().join("brokers.csv"), BROKERS).unwrap();
    let file = fs::File::create(zipped.path().join("replicas.csv.gz")).unwrap();
    let mut encoder = GzEncoder::new(file, Compression::fast());
    encoder.write_all(REPLICAS.as_bytes()).unwrap();
    encoder.finish().unwrap();
    assert_eq!(read_cluster(zipped.path()).unwrap().cluster, plain.cluster);
}

#[test]
fn what_is_not_planned_is_written_as_it_was_read() {
    expect![[r"
        topic,partition,replicas,leader
        orders,0,3|7,7
        orders,1,7,7
        b,4,5,5
    "]]
    .assert_eq(&placement(&read(BROKERS, REPLICAS).unwrap()));
}

#[test]
fn what_is_planned_is_written_with_the_names_of_the_files() {
    let named = read(BROKERS, REPLICAS).unwrap();
    let plan = solve(&named.cluster, &Policy::default(), &Budget::default());
    let mut out = Vec::new();
    write_placement(&named, &plan.applied_to(&named.cluster), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("orders,0,5|7,"), "the dead broker 3 is left for 5: {text}");
    assert_eq!(text.lines().count(), 4);
}

#[test]
fn a_folder_without_its_files_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(read_cluster(empty.path()), Err(PlacementError::Read { .. })));
    fs::write(empty.path().join("brokers.csv"), BROKERS).unwrap();
    let Err(PlacementError::Read { path, .. }) = read_cluster(empty.path()) else { panic!("no replicas") };
    assert_eq!(path.file_name().unwrap(), "replicas.csv");
    // Neither text nor gzip.
    fs::write(empty.path().join("replicas.csv.gz"), "not zipped").unwrap();
    assert!(matches!(read_cluster(empty.path()), Err(PlacementError::Read { .. })));
}

#[test]
fn lines_that_cannot_be_are_refused_with_their_number() {
    let broker = |line: &str| format!("{BROKERS}{line}\n");
    check_refused(
        &broker("1,r1,ALIVE,100,1,1"),
        REPLICAS,
        &expect!["brokers.csv, line 5, column 1: 6 fields instead of 7"],
    );
    check_refused(
        &broker("1,r1,SLEEPY,1,1,1,1"),
        REPLICAS,
        &expect!["brokers.csv, line 5, column 6: the state is neither ALIVE nor DEAD"],
    );
    check_refused(
        &broker("7,r1,ALIVE,1,1,1,1"),
        REPLICAS,
        &expect!["brokers.csv, line 5, column 1: the broker was named before"],
    );
    check_refused(
        &broker("one,r1,ALIVE,1,1,1,1"),
        REPLICAS,
        &expect!["brokers.csv, line 5, column 1: `one` is no number that fits here"],
    );
    check_refused(
        &broker("1,r1,ALIVE,1,1,1,-1"),
        REPLICAS,
        &expect!["brokers.csv, line 5, column 18: -1 is out of range"],
    );
    check_refused(
        &broker("1,r1,ALIVE,1,1,1,nan"),
        REPLICAS,
        &expect!["brokers.csv, line 5, column 18: nan is out of range"],
    );
}

#[test]
fn replicas_that_cannot_be_are_refused_with_their_number() {
    let replica = |line: &str| format!("{REPLICAS}{line}\n");
    check_refused(
        BROKERS,
        &replica("c,0,0,9,1,0,0,0,0,0,0"),
        &expect!["replicas.csv, line 6, column 7: there is no broker 9"],
    );
    check_refused(
        BROKERS,
        &replica("c,0,0,7,1,0,1e99,0,0,0,0"),
        &expect!["replicas.csv, line 6, column 13: 1e99 is out of range"],
    );
    check_refused(
        BROKERS,
        &replica("c,0,0,7,1,0"),
        &expect!["replicas.csv, line 6, column 1: 6 fields instead of 11"],
    );
    check_refused(
        BROKERS,
        &replica("c,0,0,7,0,0,0,0,0,0,0"),
        &expect!["replicas.csv, line 6, column 1: no replica of the partition leads"],
    );
    check_refused(
        BROKERS,
        &replica("c,0,0,7,1,0,0,0,0,0,0\nc,0,1,5,1,0,0,0,0,0,0"),
        &expect!["replicas.csv, line 7, column 1: a second replica of the partition leads"],
    );
    check_refused(
        BROKERS,
        &replica("c,0,1,7,1,0,0,0,0,0,0"),
        &expect!["replicas.csv, line 6, column 1: the positions of a partition are not 0, 1, 2 and so on"],
    );
    check_refused(
        BROKERS,
        &replica("c,0,0,7,1,0,0,0,0,0,0\nc,0,1,7,0,0,0,0,0,0,0"),
        &expect!["replicas.csv, line 6, column 1: broker 7 holds two replicas"],
    );
    check_refused(
        BROKERS,
        &replica("c,0,0,7,yes,0,0,0,0,0,0"),
        &expect!["replicas.csv, line 6, column 9: who leads is told by 1 and 0"],
    );
}

#[test]
fn figures_that_contradict_each_other_are_refused() {
    let replica = |line: &str| format!("{REPLICAS}{line}\n");
    let lead = "c,0,0,7,1,5,0,5,0,1,0";
    check_refused(
        BROKERS,
        &replica("c,0,0,7,1,5,0,0,0,6,0"),
        &expect!["replicas.csv, line 6, column 19: who leads does not take less than it would as a follower"],
    );
    check_refused(
        BROKERS,
        &replica(&format!("{lead}\nc,0,1,5,0,5,0,0,0,4,0")),
        &expect!["replicas.csv, line 7, column 19: of a follower this is what it takes in its present role"],
    );
    check_refused(
        BROKERS,
        &replica(&format!("{lead}\nc,0,1,5,0,5,0,3,0,5,1")),
        &expect!["replicas.csv, line 7, column 21: of a follower this is what it takes in its present role"],
    );
    assert!(read(BROKERS, &replica(&format!("{lead}\nc,0,1,5,0,5,0,3,0,5,3"))).is_ok());
}

#[test]
fn names_that_would_upset_a_terminal_are_refused() {
    check_refused(
        BROKERS,
        &format!("{REPLICAS}a\u{1b}[31m,0,0,7,1,0,0,0,0,0,0\n"),
        &expect!["replicas.csv, line 6, column 1: the topic's name has control characters"],
    );
}

#[test]
fn racks_keep_their_names() {
    let named = read(BROKERS, REPLICAS).unwrap();
    assert_eq!(named.racks, ["r2", "r1", "r1"]);
    let rack = |broker: usize| named.rack_name(named.cluster.brokers()[broker].rack);
    assert_eq!([0, 1, 2].map(rack), [Some("r2"), Some("r1"), Some("r1")]);
    assert_eq!(named.rack_name(2), None);
}

#[test]
fn quoted_fields_are_read_as_they_are_meant() {
    let quoted = |text: &str| {
        let line =
            |line: &str| line.split(',').map(|field| format!("\"{field}\"")).collect::<Vec<_>>().join(",");
        text.lines().map(|text| line(text) + "\n").collect::<String>()
    };
    let both = read(&quoted(BROKERS), &quoted(REPLICAS)).unwrap();
    assert_eq!((both.cluster, both.topics), {
        let plain = read(BROKERS, REPLICAS).unwrap();
        (plain.cluster, plain.topics)
    });
    check_refused(
        BROKERS,
        &format!("{REPLICAS}\"a,b\",0,0,7,1,0,0,0,0,0\n"),
        &expect![
            "replicas.csv, line 6, column 1: a quoted field ends with a quote, and has no comma and no quote in it"
        ],
    );
}

#[test]
fn numbers_that_kafka_does_not_have_are_refused() {
    let replica = |line: &str| format!("{REPLICAS}{line}\n");
    check_refused(
        &format!("{BROKERS}-1,r1,ALIVE,1,1,1,1\n"),
        REPLICAS,
        &expect!["brokers.csv, line 5, column 1: broker id -1: Kafka's are 0 and up"],
    );
    check_refused(
        BROKERS,
        &replica("c,-3,0,7,1,0,0,0,0,0,0"),
        &expect!["replicas.csv, line 6, column 3: partition -3: Kafka's are 0 and up"],
    );
    check_refused(
        BROKERS,
        &replica("c,99999999999999999999,0,7,1,0,0,0,0,0,0"),
        &expect!["replicas.csv, line 6, column 3: `99999999999999999999` is no number that fits here"],
    );
    check_refused(
        BROKERS,
        &replica(",0,0,7,1,0,0,0,0,0,0"),
        &expect!["replicas.csv, line 6, column 1: the topic has no name"],
    );
}

#[test]
fn files_with_other_columns_are_refused() {
    let columns = expect![
        "brokers.csv, line 1, column 1: the columns are not id,rack,state,cap_cpu,cap_nw_in,cap_nw_out,cap_disk"
    ];
    check_refused("id,state,rack,cap_cpu,cap_nw_in,cap_nw_out,cap_disk\n", REPLICAS, &columns);
    check_refused("", REPLICAS, &columns);
}

#[test]
fn empty_lines_line_ends_of_windows_and_a_mark_of_the_encoding_are_no_harm() {
    let brokers = format!("\u{feff}{}\r\n", BROKERS.replace('\n', "\r\n"));
    let replicas = format!("{REPLICAS}\n\n").replacen("\nb,4", "\n\nb,4", 1);
    assert_eq!(read(&brokers, &replicas).unwrap().cluster, read(BROKERS, REPLICAS).unwrap().cluster);
}
