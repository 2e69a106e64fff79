use std::fs;

use clap::Parser;
use expect_test::expect;

use super::*;

mod dirs;
mod explained;
mod written;

const BROKERS: &str = "id,rack,state,cap_cpu,cap_nw_in,cap_nw_out,cap_disk
1,a,ALIVE,100,1000,1000,1000
2,b,ALIVE,100,1000,1000,1000
3,c,ALIVE,100,1000,1000,1000
";
const REPLICAS: &str = "topic,partition,position,broker,leader,cpu,nw_in,nw_out,disk,fcpu,fnw_out
t,0,0,1,1,2,10,10,100,1,0
t,0,1,2,0,1,10,0,100,1,0
t,1,0,1,1,2,10,10,100,1,0
t,1,1,2,0,1,10,0,100,1,0
t,2,0,1,1,2,10,10,100,1,0
t,2,1,2,0,1,10,0,100,1,0
";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    plan: PlanCommand,
}

#[derive(Parser)]
struct ExplainLine {
    #[command(flatten)]
    explain: Explain,
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("brokers.csv"), BROKERS).unwrap();
    fs::write(folder.path().join("replicas.csv"), REPLICAS).unwrap();
    folder
}

fn plan(arguments: &[&str]) -> Result<String, String> {
    plan_for(&folder(), arguments)
}

fn plan_for(folder: &tempfile::TempDir, arguments: &[&str]) -> Result<String, String> {
    with_notes(folder, arguments).map(|(text, _)| text)
}

fn with_notes(folder: &tempfile::TempDir, arguments: &[&str]) -> Result<(String, Vec<String>), String> {
    with_notes_for_path(folder.path(), arguments)
}

fn with_notes_for_path(path: &Path, arguments: &[&str]) -> Result<(String, Vec<String>), String> {
    let mut notes = Vec::new();
    let from = ["plan", "--from", path.to_str().unwrap()];
    let line = Line::try_parse_from(from.iter().chain(arguments)).map_err(|error| error.to_string())?;
    line.plan.answer(&mut notes).map(|text| (text, notes))
}

fn explain_for(folder: &tempfile::TempDir, arguments: &[&str]) -> Result<String, String> {
    explain_for_path(folder.path(), arguments)
}

fn explain_for_path(path: &Path, arguments: &[&str]) -> Result<String, String> {
    let from = ["explain", "--from", path.to_str().unwrap()];
    ExplainLine::try_parse_from(from.iter().chain(arguments)).unwrap().explain.answer()
}

#[test]
fn a_plan_is_shown_with_its_goals_brokers_and_changes() {
    expect![[r#"
        replicas moved: 1; copied: 100.0 MB; partitions changed: 1
        No plan that meets all goals moves fewer than 1: at most 0.0 % more than needed.
        1 of the replicas that move leave their rack.

        goal                                         before      after
        RackAwareGoal (hard)                            met        met
        ReplicaDistributionGoal                     not met        met

          broker disk before              after                          replicas        leaders  cpu, in, out, disk %
               1 ███████░░░░░░░░░░░░░░░ → ████░░░░░░░░░░░░░░░░░░            3 → 2          3 → 2  6/3/3/30 → 4/2/2/20
               2 ███████░░░░░░░░░░░░░░░ → ███████░░░░░░░░░░░░░░░            3 → 3          0 → 0  3/3/0/30 → 3/3/0/30
               3 ░░░░░░░░░░░░░░░░░░░░░░ → ██░░░░░░░░░░░░░░░░░░░░            0 → 1          0 → 1  0/0/0/0 → 2/1/1/10

        First what matters most for the bytes it takes:
          t-2: 1,2 → 3,2, led by 3  (ReplicaDistributionGoal, nearer by 1 replica)
    "#]].assert_eq(&plan(&["--goals", "RackAwareGoal,ReplicaDistributionGoal"]).unwrap());
}

#[test]
fn a_reassignment_names_what_changes_and_puts_a_new_leader_first() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("moves.json");
    let goals = "RackAwareGoal,ReplicaDistributionGoal,LeaderReplicaDistributionGoal";
    plan(&["--goals", goals, "--reassignment-json", file.to_str().unwrap()]).unwrap();
    expect![[r#"
        {"partitions":[{"partition":1,"replicas":[3,2],"topic":"t"},{"partition":2,"replicas":[2,1],"topic":"t"}],"version":1}
    "#]].assert_eq(&fs::read_to_string(file).unwrap());
}

#[test]
fn usage_names_all_that_would_do() {
    let error = |line: Result<Line, clap::Error>| line.map(drop).unwrap_err().to_string();
    let plan = error(Line::try_parse_from(["plan"]));
    assert!(plan.contains("<--from <PATH>|--bootstrap-servers <HOST:PORT,...>>"), "{plan}");
    let both = error(Line::try_parse_from(["plan", "--from", "x", "--bootstrap-servers", "a:1"]));
    assert!(both.contains("cannot be used with"), "{both}");
    let explain = ExplainLine::try_parse_from(["explain", "--from", "x"]).map(drop).unwrap_err().to_string();
    assert!(explain.contains("<--partition <TOPIC-NUMBER>|--broker <ID>>"), "{explain}");
}

#[test]
fn a_file_that_cannot_be_written_is_the_only_thing_said() {
    let file = tempfile::tempdir().unwrap().path().join("none/moves.json");
    let goals = "RackAwareGoal,ReplicaDistributionGoal,LeaderReplicaDistributionGoal";
    let arguments = ["--goals", goals, "--reassignment-json", file.to_str().unwrap()];
    let mut notes = Vec::new();
    let folder = folder();
    let from = ["plan", "--from", folder.path().to_str().unwrap()];
    let line = Line::try_parse_from(from.iter().chain(&arguments)).unwrap();
    let why = line.plan.answer(&mut notes).unwrap_err();
    assert!(why.starts_with("cannot write ") && notes.is_empty(), "{why}; {notes:?}");
}

#[test]
fn a_goal_that_is_met_is_not_said_to_be_missed() {
    let folder = folder();
    fs::write(
        folder.path().join("brokers.csv"),
        BROKERS.replace("2,b,ALIVE", "2,b,DEAD").replace("3,c,ALIVE", "3,c,DEAD"),
    )
    .unwrap();
    let text = plan_for(&folder, &["--goals", "RackAwareGoal"]).unwrap();
    let said =
        "in the way of RackAwareGoal, which is met as things stand: needs 1 rack more: 1 live, 2 replicas\n";
    assert!(text.contains(said), "{text}");
}

#[test]
fn what_stands_in_the_way_is_said_down_to_brokers() {
    let folder = folder();
    // Broker 3 has a rack of its own, and disk for less than one replica.
    let brokers = BROKERS
        .replace("2,b,", "2,a,")
        .replace("3,c,ALIVE,100,1000,1000,1000", "3,c,ALIVE,100,1000,1000,100");
    fs::write(folder.path().join("brokers.csv"), brokers).unwrap();
    let text = plan_for(&folder, &["--goals", "RackAwareGoal,DiskCapacityGoal"]).unwrap();
    let said: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("in the way")).take(3).collect();
    expect![[r#"
        in the way of RackAwareGoal: 3 partitions
          t-0: broker 3 (rack c) lacks 20.0 MB of disk
          and 2 partitions more"#]]
    .assert_eq(&said.join("\n"));
    let one =
        explain_for(&folder, &["--goals", "RackAwareGoal,DiskCapacityGoal", "--partition", "t-2"]).unwrap();
    assert!(
        one.ends_with("RackAwareGoal is not met here: broker 3 (rack c) lacks 20.0 MB of disk\n"),
        "{one}"
    );
    let json = plan_for(&folder, &["--goals", "RackAwareGoal,DiskCapacityGoal", "--json"]).unwrap();
    let unmet = serde_json::from_str::<serde_json::Value>(&json).unwrap()["unmet"][0].clone();
    let step = &unmet["barred"][0]["steps"][0];
    assert_eq!((&unmet["offenders"], &step["why"]), (&3.into(), &"limit".into()), "{unmet:#}");
    assert_eq!((&step["broker"], &step["by"], &step["unit"]), (&3.into(), &20.0.into(), &"MB".into()));
    let excluded = ["--goals", "RackAwareGoal,DiskCapacityGoal", "--exclude-brokers", "3"];
    let text = plan_for(&folder, &excluded).unwrap();
    assert!(text.contains("  t-0: no broker of rack c may take replicas\n"), "{text}");
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let refused = |arguments: &[&str]| plan(arguments).unwrap_err();
    assert_eq!(refused(&["--mode", "drain"]), "this mode needs --brokers");
    assert_eq!(refused(&["--brokers", "1"]), "this mode takes no --brokers");
    assert_eq!(refused(&["--mode", "drain", "--brokers", "9"]), "there is no broker 9");
    assert_eq!(refused(&["--topics", "t"]), "this mode takes no --topics");
    assert_eq!(refused(&["--watermark", "0.5"]), "this mode takes no --watermark");
    assert_eq!(refused(&["--factor", "2"]), "this mode takes no --factor");
    assert_eq!(refused(&["--exclude-topics", "x"]), "there is no topic x");
    assert_eq!(refused(&["--exclude-brokers", "9"]), "there is no broker 9");
    for (goal, option) in
        [("BrokerSetAwareGoal", "--bind"), ("MinTopicLeadersPerBrokerGoal", "--min-leaders")]
    {
        let why = format!("{goal} judges no topic: {option} names some");
        assert_eq!(refused(&["--goals", goal]), why);
    }
    assert_eq!(refused(&["--mode", "drain", "--brokers", "1,1"]), "--brokers: broker 1 is named twice");
    assert_eq!(refused(&["--network-in-limit", "-1"]), "a limit is more than 0 and below 100 PB/s");
    let own = "relieve has goals of its own: it takes no --goals and no --hard-goals";
    assert_eq!(refused(&["--mode", "relieve", "--goals", "RackAwareGoal"]), own);
    assert_eq!(refused(&["--mode", "replication-factor", "--topics", "x"]), "there is no topic x");
    let fancy = refused(&["--goals", "FancyGoal"]);
    assert!(fancy.starts_with("there is no goal \"FancyGoal\": the goals are RackAwareGoal, "), "{fancy}");
    assert_eq!(refused(&["--goals", "RackAwareGoal,RackAwareGoal"]), "RackAwareGoal is named twice");
    assert_eq!(refused(&["--prefer", "Quickly"]), "there is no preference Quickly");
    assert_eq!(refused(&["--network-in-limit", "0"]), "a limit is more than 0 and below 100 PB/s");
    assert_eq!(
        refused(&["--goals", "RackAwareGoal", "--hard-goals", "CpuCapacityGoal"]),
        "CpuCapacityGoal is not among the goals"
    );
    assert_eq!(
        refused(&["--mode", "relieve", "--watermark", "80"]),
        "the watermark is a share between 0 and 1"
    );
}

#[test]
fn what_is_said_of_brokers_and_topics_is_refused_where_it_makes_no_sense() {
    let refused = |arguments: &[&str]| plan(arguments).unwrap_err();
    assert_eq!(refused(&["--exclude-leadership", "9"]), "there is no broker 9");
    assert_eq!(refused(&["--exclude-brokers", "-1"]), "there is no broker -1");
    assert_eq!(refused(&["--freeze", "t-9"]), "there is no partition t-9");
    assert_eq!(refused(&["--min-leaders", "x=1"]), "there is no topic x");
    assert_eq!(refused(&["--min-leaders", "t=0"]), "--min-leaders: t needs a number of 1 or more");
    assert_eq!(refused(&["--min-leaders", "t"]), "--min-leaders: `t` is not TOPIC=NUMBER");
    assert_eq!(refused(&["--min-leaders", "t=1,t=2"]), "--min-leaders: t is named twice");
    assert_eq!(refused(&["--bind", "t=blue"]), "there is no broker set blue");
    let blue = ["--broker-set", "blue=1,2"];
    assert_eq!(refused(&blue), "no topic is bound to broker set blue: --bind does that");
    let both = [&blue[..], &["--broker-set", "green=2", "--bind", "t=blue"]].concat();
    assert_eq!(refused(&both), "broker 2 is in two sets, blue and green");
    assert_eq!(refused(&["--broker-set", "blue=1,x", "--bind", "t=blue"]), "--broker-set blue: `x` is no id");
    let twice = ["--broker-set", "blue=1,1", "--bind", "t=blue"];
    assert_eq!(refused(&twice), "--broker-set blue: broker 1 is named twice");
    let unnamed = ["--goals", "RackAwareGoal", "--min-leaders", "t=1"];
    assert_eq!(refused(&unnamed), "MinTopicLeadersPerBrokerGoal is not among the goals");
    for bytes in ["ten", "-1", "10XB", "1e400", ""] {
        let why = refused(&["--max-bytes", bytes]);
        assert!(why.contains("is not an amount of bytes: write it like"), "{why}");
    }
}

#[test]
fn what_is_said_of_brokers_and_topics_holds() {
    let changes = |arguments: &[&str]| -> Vec<serde_json::Value> {
        let json: serde_json::Value =
            serde_json::from_str(&plan(&[arguments, &["--json"]].concat()).unwrap()).unwrap();
        json["changes"].as_array().unwrap().clone()
    };
    let after = |arguments: &[&str]| -> Vec<(i64, Vec<i64>, i64)> {
        let list =
            |value: &serde_json::Value| value.as_array().unwrap().iter().filter_map(|b| b.as_i64()).collect();
        let of = |c: &serde_json::Value| {
            (c["partition"].as_i64().unwrap(), list(&c["after"]), c["leader"].as_i64().unwrap())
        };
        changes(arguments).iter().map(of).collect()
    };
    // All stands on 1 and 2, led by 1.
    let bound = after(&["--broker-set", "s=2,3", "--bind", "t=s", "--goals", "BrokerSetAwareGoal"]);
    assert!(bound.len() == 3 && bound.iter().all(|(_, list, _)| !list.contains(&1)), "{bound:?}");
    let led = after(&["--min-leaders", "t=1", "--goals", "MinTopicLeadersPerBrokerGoal"]);
    let by: std::collections::BTreeSet<i64> = led.iter().map(|(.., leader)| *leader).collect();
    assert_eq!(by, [2, 3].into(), "the third is led by 1 still: {led:?}");
    let goals = ["--goals", "ReplicaDistributionGoal,LeaderReplicaDistributionGoal"];
    assert!(after(&goals).iter().any(|(.., leader)| *leader != 1));
    let without = after(&[&goals[..], &["--exclude-leadership", "2,3"]].concat());
    assert!(without.iter().all(|(.., leader)| *leader == 1), "{without:?}");
    let frozen = after(&[&goals[..], &["--freeze", "t-0,t-1,t-2"]].concat());
    assert_eq!(frozen, vec![]);
    let balance = ["--goals", "ReplicaDistributionGoal"];
    assert_eq!(after(&[&balance[..], &["--max-bytes", "99MB"]].concat()), vec![]);
    assert_eq!(after(&[&balance[..], &["--max-bytes", "0.1GB"]].concat()).len(), 1);
}

#[test]
fn a_capacity_that_is_not_known_is_named() {
    let folder = folder();
    fs::write(
        folder.path().join("brokers.csv"),
        BROKERS.replace("3,c,ALIVE,100,1000,1000,1000", "3,c,ALIVE,100,1000,1000,0"),
    )
    .unwrap();
    let text = plan_for(&folder, &["--goals", "DiskCapacityGoal,DiskUsageDistributionGoal"]).unwrap();
    assert!(text.contains("not known: what broker 3 can carry of disk: nothing limits it there"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&plan_for(&folder, &["--json"]).unwrap()).unwrap();
    assert_eq!(json["unknown_capacities"], serde_json::json!([{"broker": 3, "resources": ["disk"]}]));
}

#[test]
fn the_fewest_moves_are_told_where_that_is_true() {
    let line = |arguments: &[&str]| {
        let text = plan(arguments).unwrap();
        text.lines().find(|line| line.contains("fewer than") || line.contains("at least")).map(str::to_owned)
    };
    let possible =
        "No plan that meets all goals that can be met moves fewer than 1: at most 0.0 % more than needed.";
    let goals = "ReplicaCapacityGoal,ReplicaDistributionGoal";
    assert_eq!(line(&["--goals", goals, "--max-replicas", "1"]), Some(possible.to_owned()));
    assert_eq!(line(&["--mode", "demote", "--brokers", "1"]), None);
    assert_eq!(line(&["--mode", "leaders"]), None);
}

#[test]
fn standing_limits_and_preferences_are_chosen_by_name() {
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&plan(&[arguments, &["--json"]].concat()).unwrap()).unwrap()
    };
    let goals = ["--goals", "ReplicaDistributionGoal,RackAwareGoal"];
    let chosen = json(&[&goals[..], &["--hard-goals", "ReplicaDistributionGoal"]].concat());
    let hard: Vec<&serde_json::Value> =
        chosen["goals"].as_array().unwrap().iter().map(|g| &g["hard"]).collect();
    assert_eq!(hard, [&true, &false]);
    // Three leaders of 10 KB/s each stand on broker 1: one may stay.
    let limited = json(&["--goals", "RackAwareGoal", "--network-out-limit", "15"]);
    let limit = limited["goals"].as_array().unwrap().iter().find(|g| g["name"] == "NetworkOutboundLimitGoal");
    assert_eq!(limit.unwrap()["after"], 0.0, "{limited:#}");
    let moves = |arguments: &[&str]| json(arguments)["moves"].as_u64().unwrap();
    assert_eq!(
        moves(&["--goals", "RackAwareGoal", "--network-out-limit", "20", "--prefer", "LeaderElectionFirst"]),
        0
    );
}

#[test]
fn every_mode_plans() {
    for arguments in [
        &["--mode", "heal"][..],
        &["--mode", "drain", "--brokers", "2"],
        &["--mode", "add", "--brokers", "3"],
        &["--mode", "demote", "--brokers", "1"],
        &["--mode", "relieve", "--watermark", "0.2"],
        &["--mode", "leaders"],
        &["--mode", "replication-factor", "--topics", "t", "--factor", "3"],
    ] {
        let json: serde_json::Value =
            serde_json::from_str(&plan(&[arguments, &["--json"]].concat()).unwrap()).unwrap();
        let changes = json["changes"].as_array().unwrap().len();
        let nothing = arguments == ["--mode", "heal"];
        assert_eq!(changes == 0, nothing, "{arguments:?}: {json:#}");
    }
}

/// Whether a plan for brokers of this file can be made, and as JSON.
fn on_brokers(brokers: &str, arguments: &[&str]) -> Result<serde_json::Value, String> {
    let folder = folder();
    fs::write(folder.path().join("brokers.csv"), brokers).unwrap();
    let text = plan_for(&folder, &[arguments, &["--json"]].concat())?;
    Ok(serde_json::from_str(&text).unwrap())
}

#[test]
fn a_dead_broker_is_not_added() {
    let dead = BROKERS.replace("3,c,ALIVE", "3,c,DEAD");
    let refused = on_brokers(&dead, &["--mode", "add", "--brokers", "3"]).unwrap_err();
    assert_eq!(refused, "broker 3 is dead: nothing can be given to it");
}

#[test]
fn an_unknown_capacity_overloads_no_broker_and_its_goals_are_not_judged() {
    let unknown = BROKERS.replace("100,1000,1000,1000", "0,0,0,1000");
    let relieved = on_brokers(&unknown, &["--mode", "relieve"]).unwrap();
    assert_eq!(relieved["changes"].as_array().unwrap().len(), 0, "{relieved:#}");
    let names: Vec<&str> =
        relieved["not_judged"].as_array().unwrap().iter().filter_map(|row| row["goal"].as_str()).collect();
    assert!(names.contains(&"CpuCapacityGoal") && !names.contains(&"DiskCapacityGoal"), "{names:?}");
    let none = BROKERS.replace("100,1000,1000,1000", "0,0,0,0");
    let refused = on_brokers(&none, &["--mode", "relieve"]).unwrap_err();
    assert_eq!(refused, "relieve needs the capacity of brokers, and none is known");
}

#[test]
fn excluded_topics_stay_and_excluded_brokers_get_nothing() {
    let changes = |arguments: &[&str]| on_brokers(BROKERS, arguments).unwrap()["changes"].clone();
    assert_ne!(changes(&[]), serde_json::json!([]));
    assert_eq!(changes(&["--exclude-topics", "t"]), serde_json::json!([]));
    let elsewhere = changes(&["--exclude-brokers", "3"]);
    let to_third = |row: &serde_json::Value| row["after"].as_array().unwrap().contains(&serde_json::json!(3));
    assert!(!elsewhere.as_array().unwrap().iter().any(to_third), "{elsewhere:#}");
}

#[test]
fn at_most_so_many_replicas_stand_on_a_broker() {
    let most = on_brokers(BROKERS, &["--goals", "ReplicaCapacityGoal", "--max-replicas", "2"]).unwrap();
    let counts: Vec<&serde_json::Value> =
        most["brokers"].as_array().unwrap().iter().map(|row| &row["after"]["replicas"]).collect();
    assert_eq!(counts, [&2, &2, &2]);
}

#[test]
fn no_ratio_is_claimed_where_goals_are_left() {
    let text = plan(&["--max-moves", "0"]).unwrap();
    assert!(
        text.contains("A plan that meets all goals needs at least") && !text.contains("than needed"),
        "{text}"
    );
}

#[test]
fn a_partition_that_stays_says_why() {
    let folder = tripled();
    fs::write(folder.path().join("brokers.csv"), BROKERS.replace("3,c,ALIVE", "3,c,DEAD")).unwrap();
    let explain = |arguments: &[&str]| {
        explain_for(&folder, &[&["--goals", "RackAwareGoal", "--partition", "t-0"], arguments].concat())
            .unwrap()
    };
    let unplaced = "it stays as it is\nt-0 keeps a replica where none can serve: every living broker that may take one of \
                    its replicas holds one, or did before\n";
    assert!(explain(&[]).ends_with(unplaced), "{}", explain(&[]));
    let excluded = explain(&["--exclude-topics", "t"]);
    assert!(excluded.contains("it stays as it is: it is excluded\n"), "{excluded}");
    let cut = explain_for(&self::folder(), &["--max-moves", "0", "--partition", "t-1"]).unwrap()
        + &explain_for(&self::folder(), &["--max-moves", "0", "--partition", "t-2"]).unwrap();
    assert!(cut.contains("it stays as it is: the budget ends before it\n"), "{cut}");
    let text = plan_for(&folder, &["--goals", "RackAwareGoal"]).unwrap();
    assert!(text.contains("t-2 keeps a replica where none can serve"), "{text}");
}

#[test]
fn a_budget_bounds_what_is_copied() {
    let json: serde_json::Value =
        serde_json::from_str(&plan(&["--json", "--max-bytes", "150000000"]).unwrap()).unwrap();
    assert!(json["bytes"].as_u64().unwrap() <= 150_000_000);
}

#[test]
fn partitions_and_brokers_are_explained() {
    let folder = folder();
    let explain = |arguments: &[&str]| {
        explain_for(&folder, &[&["--goals", "ReplicaDistributionGoal"], arguments].concat())
    };
    let all =
        [explain(&["--partition", "t-0"]), explain(&["--partition", "t-2"]), explain(&["--broker", "3"])];
    expect![[r#"
        t-0 stands on 1 (leads), 2
        it stays as it is: no goal needs a change of it

        t-2 stands on 1 (leads), 2
        it goes to 3, 2, led by 3
        because: ReplicaDistributionGoal, nearer by 1 replica; it is change 1 of 1

        broker 3
          replicas 0 → 1
          leaders  0 → 1
          cpu 0.0 % → 2.0 %
          network in 0.0 % → 1.0 %
          network out 0.0 % → 1.0 %
          disk 0.0 % → 10.0 %
          0 replicas leave, 1 comes
    "#]]
    .assert_eq(&all.map(Result::unwrap).join("\n"));
    assert_eq!(explain(&["--partition", "t-9"]).unwrap_err(), "there is no partition t-9");
}

#[test]
fn a_reassignment_names_no_dead_broker_and_says_what_is_left_out() {
    let folder = tripled();
    let file = folder.path().join("moves.json");
    // Two of three replicas are offline, and there is one broker more.
    let brokers = BROKERS.replace("2,b,ALIVE", "2,b,DEAD").replace("3,c,ALIVE", "3,c,DEAD");
    fs::write(folder.path().join("brokers.csv"), format!("{brokers}4,d,ALIVE,100,1000,1000,1000\n")).unwrap();
    let to = ["--reassignment-json", file.to_str().unwrap()];
    let (_, notes) = with_notes(&folder, &[&["--goals", "RackAwareGoal"], &to[..]].concat()).unwrap();
    assert!(!file.exists());
    expect![[r#"
        3 partitions are left out of FILE (the first is t-0): the lists would still name a broker that is not alive, and Kafka refuses a file that names one
        FILE is not written: there is nothing to reassign"#]]
        .assert_eq(&notes.join("\n").replace(file.to_str().unwrap(), "FILE"));
}

#[test]
fn no_reassignment_is_written_where_nothing_changes() {
    let folder = folder();
    let file = folder.path().join("moves.json");
    let (text, notes) =
        with_notes(&folder, &["--mode", "heal", "--reassignment-json", file.to_str().unwrap()]).unwrap();
    assert!(text.contains("Nothing is to be changed."));
    assert!(
        notes.len() == 1 && notes[0].ends_with("is not written: there is nothing to reassign"),
        "{notes:?}"
    );
    assert!(!file.exists());
}

/// Each of three brokers holds every partition.
fn tripled() -> tempfile::TempDir {
    let folder = folder();
    let third = |number: u32| format!("t,{number},2,3,0,1,10,0,100,1,0\n");
    let mut lines = String::new();
    for (at, line) in REPLICAS.lines().enumerate() {
        lines.push_str(&format!("{line}\n"));
        if at > 0 && at % 2 == 0 {
            lines.push_str(&third(at as u32 / 2 - 1));
        }
    }
    fs::write(folder.path().join("replicas.csv"), lines).unwrap();
    folder
}

/// All that is said of a change of the replication factor.
fn resized(folder: &tempfile::TempDir, factor: &str) -> String {
    let mode =
        ["--mode", "replication-factor", "--topics", "t", "--factor", factor, "--goals", "RackAwareGoal"];
    let file = folder.path().join("moves.json");
    let text =
        plan_for(folder, &[&mode[..], &["--reassignment-json", file.to_str().unwrap()]].concat()).unwrap();
    let json: serde_json::Value =
        serde_json::from_str(&plan_for(folder, &[&mode[..], &["--json"]].concat()).unwrap()).unwrap();
    let change = &json["changes"][0];
    let partition = explain_for(folder, &[&mode[..], &["--partition", "t-0"]].concat()).unwrap();
    let broker = explain_for(folder, &[&mode[..], &["--broker", "3"]].concat()).unwrap();
    let counts = format!("moves {} created {} removed {}", json["moves"], json["created"], json["removed"]);
    let broker_before = &json["brokers"][2]["before"]["replicas"];
    format!(
        "{text}\n{counts} before {broker_before}\n{change}\n\n{partition}\n{broker}\n{}",
        fs::read_to_string(file).unwrap()
    )
}

#[test]
fn a_smaller_replication_factor_is_shown_as_what_it_removes() {
    expect![[r#"
        replicas moved: 0; removed: 3; copied: 0 B; partitions changed: 3

        goal                                         before      after
        RackAwareGoal (hard)                            met        met

          broker disk before              after                          replicas        leaders  cpu, in, out, disk %
               1 ███████░░░░░░░░░░░░░░░ → ███████░░░░░░░░░░░░░░░            3 → 3          3 → 3  6/3/3/30 → 6/3/3/30
               2 ███████░░░░░░░░░░░░░░░ → ███████░░░░░░░░░░░░░░░            3 → 3          0 → 0  3/3/0/30 → 3/3/0/30
               3 ███████░░░░░░░░░░░░░░░ → ░░░░░░░░░░░░░░░░░░░░░░            3 → 0          0 → 0  3/3/0/30 → 0/0/0/0

        First what matters most for the bytes it takes:
          t-0: 1,2,3 → 1,2  (1 replica fewer, as asked for)
          t-1: 1,2,3 → 1,2  (1 replica fewer, as asked for)
          t-2: 1,2,3 → 1,2  (1 replica fewer, as asked for)

        moves 0 created 0 removed 3 before 3
        {"after":[1,2],"before":[1,2,3],"created":0,"gain":1.0,"leader":1,"led_by":1,"partition":0,"reason":"removed","removed":1,"room":null,"topic":"t","unit":"replicas"}

        t-0 stands on 1 (leads), 2, 3
        it goes to 1, 2, led by 1
        because: 1 replica fewer, as asked for; it is change 1 of 3

        broker 3
          replicas 3 → 0
          leaders  0 → 0
          cpu 3.0 % → 0.0 %
          network in 3.0 % → 0.0 %
          network out 0.0 % → 0.0 %
          disk 30.0 % → 0.0 %
          3 replicas leave, 0 come

        {"partitions":[{"partition":0,"replicas":[1,2],"topic":"t"},{"partition":1,"replicas":[1,2],"topic":"t"},{"partition":2,"replicas":[1,2],"topic":"t"}],"version":1}
    "#]].assert_eq(&resized(&tripled(), "2"));
}

#[test]
fn a_larger_replication_factor_is_shown_as_what_it_creates() {
    expect![[r#"
        replicas moved: 0; created: 3; copied: 300.0 MB; partitions changed: 3
        No plan that meets all goals moves fewer than 3: at most 0.0 % more than needed.

        goal                                         before      after
        RackAwareGoal (hard)                            met        met
        replicas yet to be created                        3          0

          broker disk before              after                          replicas        leaders  cpu, in, out, disk %
               1 ███████░░░░░░░░░░░░░░░ → ███████░░░░░░░░░░░░░░░            3 → 3          3 → 3  6/3/3/30 → 6/3/3/30
               2 ███████░░░░░░░░░░░░░░░ → ███████░░░░░░░░░░░░░░░            3 → 3          0 → 0  3/3/0/30 → 3/3/0/30
               3 ░░░░░░░░░░░░░░░░░░░░░░ → ███████░░░░░░░░░░░░░░░            0 → 3          0 → 0  0/0/0/0 → 3/3/0/30

        First what matters most for the bytes it takes:
          t-0: 1,2 → 1,2,3  (1 replica more, as asked for)
          t-1: 1,2 → 1,2,3  (1 replica more, as asked for)
          t-2: 1,2 → 1,2,3  (1 replica more, as asked for)

        moves 0 created 3 removed 0 before 0
        {"after":[1,2,3],"before":[1,2],"created":1,"gain":1.0,"leader":1,"led_by":1,"partition":0,"reason":"created","removed":0,"room":null,"topic":"t","unit":"replicas"}

        t-0 stands on 1 (leads), 2
        it goes to 1, 2, 3, led by 1
        because: 1 replica more, as asked for; it is change 1 of 3

        broker 3
          replicas 0 → 3
          leaders  0 → 0
          cpu 0.0 % → 3.0 %
          network in 0.0 % → 3.0 %
          network out 0.0 % → 0.0 %
          disk 0.0 % → 30.0 %
          0 replicas leave, 3 come

        {"partitions":[{"partition":0,"replicas":[1,2,3],"topic":"t"},{"partition":1,"replicas":[1,2,3],"topic":"t"},{"partition":2,"replicas":[1,2,3],"topic":"t"}],"version":1}
    "#]].assert_eq(&resized(&folder(), "3"));
}
