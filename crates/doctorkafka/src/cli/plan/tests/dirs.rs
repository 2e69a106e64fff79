//! Brokers with several log dirs, in tables and files.

use std::fs;

use expect_test::expect;
use serde_json::{Value, json};

use super::{explain_for_path, with_notes_for_path};

/// Three brokers, of which the first two have two log dirs; one dir of the first is too full.
fn cluster() -> Value {
    let dirs = |sizes: [f64; 2]| {
        let dir = |(nth, size): (usize, &f64)| json!({"logdir": format!("/mnt/i0{nth}"), "capacity": size, "state": "ALIVE"});
        sizes.iter().enumerate().map(dir).collect::<Vec<_>>()
    };
    let broker = |id: i32, disks: Value| {
        json!({"id": id, "rack": id.to_string(), "state": "ALIVE", "disks": disks,
               "capacity": {"cpu": 100.0, "nw_in": 1000.0, "nw_out": 1000.0, "disk": 1000.0}})
    };
    let replica = |id: i32, leads: bool, dir: &str, disk: f64| {
        json!({"broker": id, "leader": leads, "logdir": dir,
               "load": {"cpu": 1.0, "nw_in": 1.0, "nw_out": if leads { 1.0 } else { 0.0 }, "disk": disk}})
    };
    let partition =
        |number: i32, replicas: Value| json!({"topic": "t", "partition": number, "replicas": replicas});
    json!({
        "brokers": [
            broker(1, json!(dirs([500.0, 500.0]))),
            broker(2, json!(dirs([400.0, 600.0]))),
            broker(3, Value::Null),
        ],
        "partitions": [
            partition(0, json!([replica(1, true, "/mnt/i00", 300.0), replica(3, false, "/", 300.0)])),
            partition(1, json!([replica(3, false, "/", 150.0), replica(1, true, "/mnt/i00", 150.0)])),
            partition(2, json!([replica(1, true, "/mnt/i01", 100.0), replica(3, false, "/", 100.0)])),
        ],
    })
}

const GOALS: [&str; 2] = ["--goals", "RackAwareGoal,DiskCapacityGoal"];

fn planned(cluster: &Value, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.json");
    fs::write(&path, cluster.to_string()).unwrap();
    with_notes_for_path(&path, arguments).unwrap().0
}

#[test]
fn a_log_dir_over_its_limit_is_shown_with_what_becomes_of_it() {
    expect![[r#"
        replicas moved: 1; copied: 150.0 MB; partitions changed: 1
        No plan that meets all goals moves fewer than 1: at most 0.0 % more than needed.
        1 of the replicas that move leave their rack.

        goal                                         before      after
        RackAwareGoal (hard)                            met        met
        DiskCapacityGoal (hard)                     not met        met

          broker disk before              after                          replicas        leaders  cpu, in, out, disk %
               1 ████████████░░░░░░░░░░ → █████████░░░░░░░░░░░░░            3 → 2          3 → 2  3/0/0/55 → 2/0/0/40
                 ████████████████████░░ → █████████████░░░░░░░░░  /mnt/i00: 90 → 60 %, was over its limit
               2 ░░░░░░░░░░░░░░░░░░░░░░ → ███░░░░░░░░░░░░░░░░░░░            0 → 1          0 → 1  0/0/0/0 → 1/0/0/15
                 ░░░░░░░░░░░░░░░░░░░░░░ → ██████░░░░░░░░░░░░░░░░  /mnt/i01: 0 → 25 %
               3 ████████████░░░░░░░░░░ → ████████████░░░░░░░░░░            3 → 3          0 → 0  3/0/0/55 → 3/0/0/55

        First what matters most for the bytes it takes:
          t-1: 3,1 → 3,2, led by 2  (DiskCapacityGoal, nearer by 50.0 MB)
    "#]].assert_eq(&planned(&cluster(), &GOALS));
}

#[test]
fn json_has_the_dirs_of_brokers_and_of_arrivals() {
    let plan: Value =
        serde_json::from_str(&planned(&cluster(), &[&GOALS[..], &["--json"]].concat())).unwrap();
    expect![[r#"
        [{"after":[3,2],"before":[3,1],"created":0,"gain":50.0,"leader":2,"led_by":1,"log_dirs":[null,"/mnt/i01"],"partition":1,"reason":"DiskCapacityGoal","removed":0,"room":null,"topic":"t","unit":"MB"}]
        [{"after":0.6,"before":0.9,"path":"/mnt/i00"},{"after":0.2,"before":0.2,"path":"/mnt/i01"}]
    "#]].assert_eq(&format!("{}\n{}\n", plan["changes"], plan["brokers"][0]["log_dirs"]));
    let mut plain = cluster();
    for broker in plain["brokers"].as_array_mut().unwrap() {
        broker["disks"] = Value::Null;
    }
    let plan = planned(&plain, &["--mode", "drain", "--brokers", "1", "--json"]);
    assert!(!plan.contains("log_dirs"), "where no broker has several there is nothing to tell");
}

#[test]
fn a_reassignment_names_the_dir_of_what_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("moves.json");
    let drain = ["--mode", "drain", "--brokers", "1", "--reassignment-json", file.to_str().unwrap()];
    planned(&cluster(), &drain);
    expect![[r#"
        {"partitions":[{"log_dirs":["/mnt/i01","any"],"partition":0,"replicas":[2,3],"topic":"t"},{"log_dirs":["/mnt/i00","any"],"partition":1,"replicas":[2,3],"topic":"t"},{"log_dirs":["/mnt/i00","any"],"partition":2,"replicas":[2,3],"topic":"t"}],"version":1}
    "#]].assert_eq(&fs::read_to_string(file).unwrap());
}

#[test]
fn a_dir_that_stays_over_its_limit_is_named() {
    let mut full = cluster();
    full["partitions"][0]["replicas"][0]["load"]["disk"] = json!(450.0);
    let text = planned(&full, &[&GOALS[..], &["--freeze", "t-0,t-1"]].concat());
    let line = text.lines().find(|line| line.starts_with("in the way")).unwrap();
    expect!["in the way of DiskCapacityGoal: log dir /mnt/i00 of broker 1 stays 200.0 MB beyond its limit"]
        .assert_eq(line);
    assert!(text.contains(", over its limit"), "{text}");
}

#[test]
fn a_broker_and_a_partition_are_explained_with_their_dirs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.json");
    fs::write(&path, cluster().to_string()).unwrap();
    let explained = |subject: [&str; 2]| explain_for_path(&path, &[&GOALS[..], &subject].concat()).unwrap();
    expect![[r#"
        broker 1
          replicas 3 → 2
          leaders  3 → 2
          cpu 3.0 % → 2.0 %
          network in 0.3 % → 0.2 %
          network out 0.3 % → 0.2 %
          disk 55.0 % → 40.0 %
          log dir /mnt/i00 90.0 % → 60.0 %
          log dir /mnt/i01 20.0 % → 20.0 %
          1 replica leaves, 0 come
    "#]]
    .assert_eq(&explained(["--broker", "1"]));
    expect![[r#"
        t-1 stands on 3, 1 (leads)
        it goes to 3, 2, led by 2
        on 2 it comes into log dir /mnt/i01
        because: DiskCapacityGoal, nearer by 50.0 MB; it is change 1 of 1
    "#]]
    .assert_eq(&explained(["--partition", "t-1"]));
}
