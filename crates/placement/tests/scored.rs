//! What plans say of themselves, against a scorer that shares no code with the planner.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod scorer;

use std::fmt::Write;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use placement::{Named, Shape, figure, generate, read_cluster, write_placement};
use planner::balance::{Budget, Cluster, DISK, Mode, Plan, Policy, audit, solve};
use serde_json::Value;

use scorer::{Scored, score};

/// A folder of recorded clusters: `BALANCE_DATA`, or the one beside the repository. Without one nothing is compared, and the
/// output says so.
fn recorded() -> Vec<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/balance");
    let folder = std::env::var_os("BALANCE_DATA").map_or_else(beside, PathBuf::from);
    // The smaller ones: the example `plan` has the same scorer for all of them.
    let names = ["exp-40-50k", "uni-40-50k", "exp-40-50k-dead1"];
    let (there, absent): (Vec<PathBuf>, Vec<PathBuf>) =
        names.iter().map(|name| folder.join(name)).partition(|path| path.join("replicas.csv.gz").exists());
    for path in absent {
        eprintln!("SKIPPED: {} is not there, and is compared with nothing", path.display());
    }
    there
}

/// Plans for a folder and has the plan scored.
fn planned(folder: &Path, mode: &Mode) -> (Named, Cluster, Plan, Scored) {
    let named = read_cluster(folder).unwrap();
    let (cluster, policy) = mode.prepare(&named.cluster, &Policy::default());
    let plan = solve(&cluster, &policy, &Budget::default());
    assert_eq!(audit(&cluster, &policy, &Budget::default(), &plan), Ok(()));
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("placement.csv");
    let mut file = BufWriter::new(File::create(&path).unwrap());
    write_placement(&named, &plan.applied_to(&cluster), &mut file).unwrap();
    drop(file);
    let scored = score(folder, Some(&path));
    (named, cluster, plan, scored)
}

/// Holds what a plan says to what is scored.
fn check_claims(cluster: &Cluster, plan: &Plan, scored: &Scored) {
    // Where all brokers together have too little room, the goal is violated, although what is left offline burdens none of them.
    let unmet = plan.unmet.iter().filter(|unmet| unmet.excess > 0 || unmet.is_proof());
    let claimed: Vec<&str> = unmet.map(|unmet| unmet.goal.name()).collect();
    // In `heal` soft goals are none of the plan's.
    let judged = |name: &&String| plan.after.goals.iter().any(|goal| goal.goal.name() == name.as_str());
    let violated: Vec<&String> = scored.violated.iter().filter(judged).collect();
    assert_eq!(violated, claimed);
    let (mut moves, mut megabytes) = (0, 0.0);
    for change in &plan.changes {
        for (at, from) in cluster.replicas(change.partition).iter().enumerate() {
            if *from != change.replicas[at] {
                moves += 1;
                megabytes += figure(DISK, i128::from(cluster.loads(change.partition)[at][DISK]));
            }
        }
    }
    assert_eq!((scored.replica_moves, scored.duplicates), (moves, 0));
    assert_eq!(scored.offline, plan.after.offline);
    assert!((scored.megabytes - megabytes).abs() <= 1e-6 * megabytes, "{} {megabytes}", scored.megabytes);
    assert!(!plan.after.is_clean() || plan.fewest_moves.is_none_or(|fewest| moves >= fewest));
}

#[test]
fn plans_for_recorded_clusters_are_what_they_say() {
    for folder in recorded() {
        let (_, cluster, plan, scored) = planned(&folder, &Mode::Balance);
        check_claims(&cluster, &plan, &scored);
        assert_eq!(scored.violated, Vec::<String>::new(), "{}", folder.display());
        assert!(moves_at_most(&plan, &scored, 1.02), "{}: {scored:?}", folder.display());
        let (_, cluster, plan, scored) = planned(&folder, &Mode::Heal);
        check_claims(&cluster, &plan, &scored);
        assert_eq!((plan.after.is_clean(), scored.offline), (true, 0));
    }
}

fn moves_at_most(plan: &Plan, scored: &Scored, ratio: f64) -> bool {
    plan.fewest_moves.is_some_and(|fewest| scored.replica_moves as f64 <= fewest as f64 * ratio)
}

#[test]
fn the_scorer_finds_what_cruise_control_finds() {
    for folder in recorded() {
        let recorded: Value = serde_json::from_slice(&fs::read(folder.join("cc.json")).unwrap()).unwrap();
        let names = |verdict: &Value| -> Vec<String> {
            let names = verdict["violated"].as_array().unwrap().iter();
            names.map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        let before = score(&folder, None);
        if before.offline == 0 {
            assert_eq!(before.violated, names(&recorded["state_verdict"]["before"]), "{}", folder.display());
        }
        let result = &recorded["result"];
        let after = score(&folder, Some(&folder.join(result["final_file"].as_str().unwrap())));
        assert_eq!(after.violated, names(&result["state_verdict_after"]), "{}", folder.display());
        assert_eq!(Some(after.replica_moves), result["replica_moves"].as_u64());
        assert_eq!(Some(after.leadership_moves), result["leadership_moves"].as_u64());
    }
}

/// Writes a cluster as a folder. Brokers that die keep their capacity, which no longer counts.
fn write_folder(
    cluster: &Cluster,
    dead: impl Fn(u32) -> bool,
    size: impl Fn(u32) -> f64,
) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut brokers = String::from("id,rack,state,cap_cpu,cap_nw_in,cap_nw_out,cap_disk\n");
    for (ordinal, broker) in (0..).zip(cluster.brokers()) {
        let state = if dead(ordinal) { "DEAD" } else { "ALIVE" };
        let c = [0, 1, 2, 3].map(|r| figure(r, i128::from(broker.capacity[r])) * size(ordinal));
        let _ = writeln!(brokers, "{ordinal},{},{state},{},{},{},{}", broker.rack, c[0], c[1], c[2], c[3]);
    }
    let mut replicas =
        String::from("topic,partition,position,broker,leader,cpu,nw_in,nw_out,disk,fcpu,fnw_out\n");
    let mut numbers = vec![0; cluster.topics() as usize];
    for partition in 0..cluster.partitions() {
        let topic = cluster.topic(partition);
        let number = numbers[topic as usize];
        numbers[topic as usize] += 1;
        let pairs = cluster.replicas(partition).iter().zip(cluster.loads(partition));
        for (position, (broker, load)) in (0..).zip(pairs) {
            let leads = cluster.leader(partition) == position;
            let share = if leads { cluster.leader_share(partition) } else { [0; 4] };
            let figure = |r: usize, units: i64| figure(r, i128::from(units));
            let all = [0, 1, 2, 3].map(|r| figure(r, load[r] + share[r]));
            let _ = writeln!(
                replicas,
                "t{topic},{number},{position},{broker},{},{},{},{},{},{},{}",
                u8::from(leads),
                all[0],
                all[1],
                all[2],
                all[3],
                figure(0, load[0]),
                figure(2, load[2])
            );
        }
    }
    fs::write(folder.path().join("brokers.csv"), brokers).unwrap();
    fs::write(folder.path().join("replicas.csv"), replicas).unwrap();
    folder
}

#[test]
fn plans_for_clusters_of_many_kinds_are_what_they_say_and_leave_what_cannot_be() {
    let shape = Shape {
        brokers: 24,
        racks: 6,
        topics: 60,
        replicas: 9_000,
        factor: 3,
        skew: 2.4,
        apart: false,
        seed: 11,
    };
    let even = Shape { skew: 0.0, seed: 12, ..shape };
    let of_three_racks = Shape { racks: 3, ..even };
    let equal = |_: u32| 1.0;
    let double = |_: u32| 2.0;
    let unequal = |broker: u32| [1.0, 1.0, 1.5, 0.75][broker as usize % 4];
    let none = |_: u32| false;
    let five = |broker: u32| broker.is_multiple_of(5);
    let rack = |broker: u32| broker.is_multiple_of(3);
    type Kind<'k> = (Shape, &'k dyn Fn(u32) -> bool, &'k dyn Fn(u32) -> f64, &'k [&'k str]);
    let kinds: [Kind<'_>; 6] = [
        (shape, &none, &equal, &[]),
        (shape, &none, &unequal, &[]),
        (even, &five, &double, &[]),
        (Shape { skew: 1.2, ..shape }, &five, &unequal, &[]),
        // A rack is lost of as many as there are replicas.
        (of_three_racks, &rack, &double, &["RackAwareGoal"]),
        // And what is left has too little room.
        (
            of_three_racks,
            &rack,
            &equal,
            &["RackAwareGoal", "DiskCapacityGoal", "CpuCapacityGoal", "PotentialNwOutGoal"],
        ),
    ];
    for (shape, dead, size, impossible) in kinds {
        let folder = write_folder(&generate(&shape).unwrap(), dead, size);
        let (_, cluster, plan, scored) = planned(folder.path(), &Mode::Balance);
        check_claims(&cluster, &plan, &scored);
        assert_eq!(scored.violated, impossible, "{shape:?}");
        let lacks_disk = impossible.contains(&"DiskCapacityGoal");
        let stay = if lacks_disk { plan.before.offline / 10 } else { 0 };
        assert!(scored.offline <= stay, "{} of {} stay", scored.offline, plan.before.offline);
    }
}

/// Partitions whose replicas are all on dead brokers, and too little room: whoever leads them stays, as no other can.
#[test]
fn leadership_does_not_pass_from_one_dead_broker_to_another() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clusters/dead-and-full");
    for mode in [Mode::Balance, Mode::Heal] {
        let (_, cluster, plan, _) = planned(&folder, &mode);
        for change in &plan.changes {
            let was = cluster.replicas(change.partition)[cluster.leader(change.partition) as usize];
            let leads = change.replicas[change.leader as usize];
            assert!(leads == was || cluster.brokers()[leads as usize].alive, "{change:?}");
        }
    }
}
