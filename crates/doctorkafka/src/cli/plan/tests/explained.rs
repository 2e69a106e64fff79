//! What is said of one broker or partition.

use serde_json::{Value, json};

use super::*;

const GOALS: [&str; 6] =
    ["--goals", "ReplicaCapacityGoal,RackAwareGoal", "--max-replicas", "1", "--network-in-limit", "5"];

fn json_of(arguments: &[&str]) -> Value {
    let text = explain_for(&folder(), &[arguments, &["--json"]].concat()).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_broker_is_told_all_goals_that_it_is_outside_of_and_the_nearest_step() {
    // Broker 1 is as far from both, and comes before it.
    let text =
        explain_for(&folder(), &[&GOALS[..], &["--max-moves", "0", "--broker", "2"]].concat()).unwrap();
    let lines = text.lines().skip_while(|line| !line.contains("is not met"));
    let said: Vec<&str> = lines.map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
    expect![[r#"
          ReplicaCapacityGoal is not met: broker 2 stays 2 replicas above its limits
            nearest to help is t-0 from broker 2 to 3, but broker 3 (rack c) lacks 5.0 kB/s of inbound network
          NetworkInboundLimitGoal is not met: broker 2 stays 25.0 kB/s above its limits
            nearest to help is t-0 from broker 2 to 3, but broker 3 (rack c) lacks 5.0 kB/s of inbound network"#]].assert_eq(&said.join("\n"));
    let cut = ["--goals", "ReplicaDistributionGoal", "--max-moves", "0", "--broker", "3"];
    let text = explain_for(&folder(), &cut).unwrap();
    assert!(text.ends_with(", but the budget ends before it\n"), "{text}");
}

#[test]
fn a_broker_is_explained_to_scripts() {
    let of = json_of(&[&GOALS[..], &["--max-moves", "0", "--broker", "2"]].concat());
    assert_eq!(
        (&of["id"], &of["alive"], &of["leave"], &of["come"]),
        (&json!(2), &json!(true), &json!(0), &json!(0))
    );
    assert_eq!(of["before"]["replicas"], 3);
    let unmet = &of["unmet"][0];
    let said = (&unmet["goal"], &unmet["hard"], &unmet["by"], &unmet["unit"]);
    assert_eq!(said, (&json!("ReplicaCapacityGoal"), &json!(true), &json!(2.0), &json!("replicas")));
    assert_eq!((&unmet["step"]["from"], &unmet["step"]["to"]), (&json!(2), &json!(3)), "{of:#}");
    let met = json_of(&["--goals", "ReplicaDistributionGoal", "--broker", "3"]);
    assert_eq!((&met["unmet"], &met["come"]), (&json!([]), &json!(1)));
}

#[test]
fn a_partition_is_explained_to_scripts() {
    let moves = json_of(&["--goals", "ReplicaDistributionGoal", "--partition", "t-2"]);
    let said = (&moves["topic"], &moves["partition"], &moves["before"], &moves["after"], &moves["stays"]);
    assert_eq!(said, (&json!("t"), &json!(2), &json!([1, 2]), &json!([3, 2]), &Value::Null));
    let change = &moves["change"];
    let said = (&change["reason"], &change["number"], &change["of"]);
    assert_eq!(said, (&json!("ReplicaDistributionGoal"), &json!(1), &json!(1)));
    let stays = json_of(&["--goals", "ReplicaDistributionGoal", "--partition", "t-0"]);
    assert_eq!(stays["change"], Value::Null);
    assert_eq!(stays["stays"], "no goal needs a change of it");
}

#[test]
fn a_partition_that_is_not_as_a_goal_wants_it_says_so_to_scripts() {
    let folder = folder();
    fs::write(folder.path().join("brokers.csv"), BROKERS.replace("2,b,", "2,a,")).unwrap();
    let text = explain_for(
        &folder,
        &["--goals", "RackAwareGoal", "--exclude-brokers", "3", "--partition", "t-1", "--json"],
    );
    let of: Value = serde_json::from_str(&text.unwrap()).unwrap();
    let unmet = &of["unmet"][0];
    assert_eq!((&unmet["goal"], &unmet["steps"][0]["why"]), (&json!("RackAwareGoal"), &json!("excluded")));
    assert_eq!(unmet["text"], "no broker of rack c may take replicas");
}

#[test]
fn what_waits_to_be_healed_is_not_said_to_be_frozen() {
    let folder = folder();
    fs::write(folder.path().join("brokers.csv"), BROKERS.replace("2,b,ALIVE", "2,b,DEAD")).unwrap();
    let of = |arguments: &[&str]| {
        let relieve = ["--mode", "relieve", "--watermark", "0.1", "--broker", "1"];
        explain_for(&folder, &[&relieve[..], arguments].concat()).unwrap()
    };
    let waits = of(&[]);
    let offline =
        "of each partition that it holds a replica is offline, which is left to be healed (mode heal)\n";
    assert!(waits.contains(offline), "{waits}");
    let json: Value = serde_json::from_str(&of(&["--json"])).unwrap();
    assert_eq!(json["unmet"][0]["step"]["why"], "offline", "{json:#}");
    // What is frozen stands still for another reason.
    let alone = "t,3,0,1,1,2,10,10,100,1,0\n";
    fs::write(folder.path().join("replicas.csv"), format!("{REPLICAS}{alone}")).unwrap();
    let both = of(&["--freeze", "t-3"]);
    let said = "all that it holds is excluded or frozen, or left to be healed (mode heal), as a replica of the partition is offline\n";
    assert!(both.contains(said), "{both}");
}

#[test]
fn a_number_of_moves_promises_no_plan_that_meets_what_is_left() {
    let text = plan(&["--max-moves", "0", "--goals", "ReplicaDistributionGoal"]).unwrap();
    assert!(text.contains("A plan that meets all goals needs at least 1 move, if there is one.\n"), "{text}");
}
