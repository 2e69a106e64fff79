use std::time::Duration;

use expect_test::{Expect, expect};

use super::*;
use crate::attributes::BrokerReport;
use crate::by_hand::ByHand;
use crate::listed::Listed;
use crate::testing::{Cycle, World};
use crate::time::Timestamp;

const CLUSTER: &str = "
    b1
    b2
    b3 dead
    b4
    t-0: 1* 2 3~
    t-1: 2* 4 3~
";

fn report(age: u64) -> BrokerReport {
    BrokerReport { age: Duration::from_secs(age), ..BrokerReport::default() }
}

/// A broker is dead, replacing goes first, and every sign agrees.
fn world(text: &str) -> World {
    let mut world = World::new(text);
    world.replacing = Some(Config::default());
    world.recovery.on_dead_broker = OnDeadBroker::ReplaceFirst;
    world.voters = Some(QuorumVoters { voters: [BrokerId(100)].into() });
    let reports = [(1, 20), (2, 20), (3, 600), (4, 20)].map(|(id, age)| (BrokerId(id), report(age)));
    world.reports = Some(BrokerReports {
        brokers: reports.into(),
        unreadable: 0,
        caught_up: true,
        read_to_end_ago: Some(Duration::ZERO),
    });
    world
}

/// What is said and asked for about hosts.
fn about_hosts(cycle: &Cycle) -> String {
    let is_about =
        |line: &&str| line.contains("replac") && !line.contains("reassign") && !line.contains("get new");
    let lines: Vec<String> = cycle.text().lines().filter(is_about).map(|line| format!("{line}\n")).collect();
    if lines.is_empty() { "nothing\n".to_owned() } else { lines.concat() }
}

fn says(world: &mut World, expected: Expect) {
    expected.assert_eq(&about_hosts(&world.watch(300)));
}

#[test]
fn replaces_a_broker_that_is_dead_by_every_sign() {
    let mut world = world(CLUSTER);
    assert!(!world.watch(299).names().contains(&names::REPLACE_INSTANCE.to_owned()));
    let cycle = world.watch(1);
    let event = cycle.events.iter().find(|event| event.name == names::REPLACE_INSTANCE).unwrap();
    let order: ReplaceInstance = event.payload_as().unwrap();
    assert_eq!((order.broker, order.host.as_str(), order.live), (BrokerId(3), "b3", false));
    expect![[r#"
        => replace_instance [broker 3] broker 3 is dead: Kafka has dropped it, and it does not answer at b3:9092 (connection refused), for the whole grace of 5m (cause: broker_dead of broker 3)
    "#]]
    .assert_eq(&about_hosts(&cycle));
}

#[test]
fn never_replaces_while_its_agent_speaks_or_none_is_heard() {
    let mut world = world(CLUSTER);
    let ages = |world: &mut World, ages: [u64; 4]| {
        let reports = (1..=4).map(BrokerId).zip(ages).map(|(id, age)| (id, report(age)));
        world.reports.as_mut().unwrap().brokers = reports.collect();
    };
    ages(&mut world, [20, 20, 100, 20]);
    says(
        &mut world,
        expect![[r#"
        warning replacement_waits [broker 3] broker 3, which is dead, is not replaced yet: its agent reported 100 s ago, so that its host lives -- waits for its agent to be silent for 3 min
    "#]],
    );
    ages(&mut world, [600, 600, 600, 600]);
    says(
        &mut world,
        expect![[r#"
        warning replacement_waits [broker 3] broker 3, which is dead, is not replaced yet: no agent of a live broker is heard, so that the silence of its agent tells nothing -- waits for reports of other brokers (without_agents: true does without)
    "#]],
    );
    world.reports = None;
    assert!(!world.watch(1).names().contains(&names::REPLACE_INSTANCE.to_owned()));
    world.replacing = Some(Config { without_agents: true, ..Config::default() });
    assert!(world.watch(1).names().contains(&names::REPLACE_INSTANCE.to_owned()));
}

#[test]
fn an_agent_that_reports_seldom_is_not_silent_because_a_short_time_has_passed() {
    let with = |own: u64, others: u64, read_ago: u64, interval: Option<u64>| {
        let mut world = world(CLUSTER);
        let reports = world.reports.as_mut().unwrap();
        let age = |id| if id == BrokerId(3) { own } else { others };
        reports.brokers = (1..=4).map(BrokerId).map(|id| (id, report(age(id)))).collect();
        let interval = interval.map(Duration::from_secs);
        reports.brokers.get_mut(&BrokerId(3)).unwrap().interval = interval;
        reports.read_to_end_ago = Some(Duration::from_secs(read_ago));
        about_hosts(&world.watch(300))
    };
    // It speaks every five minutes, and its broker recovers its log.
    let said = with(290, 20, 0, Some(300));
    let waits_for =
        "waits for its agent to be silent for 15 min, 3 times the interval of 5 min that it reports at";
    assert!(said.contains(waits_for) && !said.contains("=> replace_instance"), "{said}");
    assert!(with(899, 20, 0, Some(300)).contains(waits_for));
    assert!(with(901, 20, 0, Some(300)).starts_with("=> replace_instance"));
    // Whether others are heard, and the topic is read, is held to the same time.
    assert!(with(901, 290, 290, Some(300)).starts_with("=> replace_instance"));
    for silent in [with(901, 460, 0, Some(300)), with(901, 20, 460, Some(300))] {
        assert!(!silent.contains("=> replace_instance") && silent.contains("tells nothing"), "{silent}");
    }
    // One that reports often, or does not say how often, is silent when the time of the configuration is over.
    for interval in [None, Some(10), Some(60)] {
        assert!(with(181, 20, 0, interval).starts_with("=> replace_instance"));
        let said = with(179, 20, 0, interval);
        assert!(said.contains("waits for its agent to be silent for 3 min\n"), "{said}");
    }
}

#[test]
fn drk_10_a_silent_agent_alone_replaces_nobody() {
    let mut world = world("b1\nb2\nb3\nb4\nt-0: 1* 2 3\nt-1: 2* 4 3");
    // Broker 3 has not been heard for ten minutes, and lives.
    assert_eq!(about_hosts(&world.watch(600)), "nothing\n");
    // Our probe fails, too, but Kafka has it.
    world.odd_probes.insert(BrokerId(3));
    assert_eq!(about_hosts(&world.watch(600)), "nothing\n");
}

#[test]
fn never_replaces_a_voter_or_one_that_may_be_a_voter() {
    let mut world = world(CLUSTER);
    world.voters = Some(QuorumVoters { voters: [1, 2, 3].map(BrokerId).into() });
    says(
        &mut world,
        expect![[r#"
        critical replacement_refused [broker 3] broker 3, which is dead, is not replaced: it is a voter of the metadata quorum, and an empty disk could lose what has been committed -- waits for a person
        => alert_replacement_held [broker 3] broker 3, which is dead, is not replaced: it is a voter of the metadata quorum, and an empty disk could lose what has been committed (cause: replacement_refused of broker 3)
    "#]],
    );
    world.voters = None;
    says(
        &mut world,
        expect![[r#"
        warning replacement_waits [broker 3] broker 3, which is dead, is not replaced yet: it is not known whether it is a voter of the metadata quorum: quorum_voters is not known -- waits for the voters to be known
    "#]],
    );
}

#[test]
fn never_replaces_the_host_of_a_last_copy() {
    let mut world = world("b1\nb2\nb3 dead\nb4\nt-0: 1* 2 3~\nsingle-0: 3~\nalone-0: 3~ 1~");
    says(
        &mut world,
        expect![[r#"
        critical cannot_heal [cluster] replicas on dead brokers cannot be replaced: 1 (single-0): no replica on a live broker, so nothing to copy from until one returns; 1 (alone-0): only out-of-sync replicas live; an unclean election would lose records and is never done -- waits for a broker to return, or room for their replicas
        critical replacement_refused [broker 3] broker 3, which is dead, is not replaced: it may hold the last copy of 2 partitions (alone-0, single-0), which a new host would not have -- waits for a person
        => alert_replacement_held [broker 3] broker 3, which is dead, is not replaced: it may hold the last copy of 2 partitions (alone-0, single-0), which a new host would not have (cause: replacement_refused of broker 3)
    "#]],
    );
}

#[test]
fn never_replaces_when_several_are_gone() {
    let mut world = world("b1\nb2 dead\nb3 dead\nb4\nb5\nt-0: 1* 2~ 3~");
    says(
        &mut world,
        expect![[r#"
        critical replacement_refused [broker 2] broker 2, which is dead, is not replaced: 2 brokers are absent at once (2, 3), more than max_unhealthy_brokers (1): the cause is likely to be another than their hosts -- waits for a person
        critical replacement_refused [broker 3] broker 3, which is dead, is not replaced: 2 brokers are absent at once (2, 3), more than max_unhealthy_brokers (1): the cause is likely to be another than their hosts -- waits for a person
        => alert_replacement_held [broker 2] broker 2, which is dead, is not replaced: 2 brokers are absent at once (2, 3), more than max_unhealthy_brokers (1): the cause is likely to be another than their hosts (cause: replacement_refused of broker 2)
        => alert_replacement_held [broker 3] broker 3, which is dead, is not replaced: 2 brokers are absent at once (2, 3), more than max_unhealthy_brokers (1): the cause is likely to be another than their hosts (cause: replacement_refused of broker 3)
    "#]],
    );
}

#[test]
fn drk_11_leaves_alone_what_is_under_maintenance_or_was_taken_out_of_service() {
    let mut kept = world(CLUSTER);
    kept.wishes.broker_maintenance.insert(BrokerId(3), kept.wish(None));
    assert_eq!(about_hosts(&kept.watch(400)), "nothing\n");
    kept.wishes.broker_maintenance.clear();
    kept.wishes.maintenance = Some(kept.wish(None));
    assert_eq!(about_hosts(&kept.watch(400)), "nothing\n");
    kept.wishes.maintenance = None;
    kept.wishes.decommissioned.insert(BrokerId(3), kept.wish(None));
    assert_eq!(about_hosts(&kept.watch(400)), "nothing\n");
    // It holds nothing, and nothing was moved away from it.
    let mut empty = world("b1\nb2\nb3 dead\nt-0: 1* 2");
    assert_eq!(about_hosts(&empty.watch(400)), "nothing\n");
}

#[test]
fn healing_goes_first_unless_it_is_said_otherwise() {
    let mut world = world(CLUSTER);
    world.recovery.on_dead_broker = OnDeadBroker::Heal;
    says(
        &mut world,
        expect![[r#"
        warning replacement_waits [broker 3] broker 3, which is dead, is not replaced yet: healing goes first, and it still has 2 replicas -- waits for them to be moved, for 30 min at most
    "#]],
    );
    // It cannot be healed, and half an hour is over.
    assert!(world.watch(1_800).names().contains(&names::REPLACE_INSTANCE.to_owned()));
}

fn replacement(world: &World, broker: i32, ago: i64, ended: Option<Replaced>) -> Replacement {
    let begun = Timestamp(world.now.wall.0 - ago * 1_000);
    Replacement {
        id: "x".to_owned(),
        broker: BrokerId(broker),
        host: format!("b{broker}"),
        reason: "it was dead".to_owned(),
        begun,
        watched_ms: u64::try_from(ago).unwrap() * 1_000,
        watched_at: Some(world.now.tick),
        ended: ended.map(|ended| (Timestamp(begun.0 + 1_000), ended)),
        whole: None,
    }
}

#[test]
fn a_second_host_within_the_cooldown_needs_a_person() {
    let mut world = world(CLUSTER);
    let mut first = replacement(&world, 2, 3_600, Some(Replaced::Done("done".to_owned())));
    first.whole = Some(first.begun);
    world.replacements.last.push(first);
    says(
        &mut world,
        expect![[r#"
        critical replacement_refused [broker 3] broker 3, which is dead, is not replaced: the replacement of the host of broker 2 was begun 65 min ago; the next one may be begun in 10 h -- waits for a person
        => alert_replacement_held [broker 3] broker 3, which is dead, is not replaced: the replacement of the host of broker 2 was begun 65 min ago; the next one may be begun in 10 h (cause: replacement_refused of broker 3)
    "#]],
    );
    world.skip(11 * 3_600);
    assert!(world.watch(300).names().contains(&names::REPLACE_INSTANCE.to_owned()));
}

#[test]
fn what_failed_or_is_not_known_to_have_ended_is_not_tried_again() {
    for ended in [Replaced::Failed("exit status: 1".to_owned()), Replaced::Unknown("stopped".to_owned())] {
        let mut world = world(CLUSTER);
        world.recovery.replacement_cooldown = Duration::from_secs(1);
        world.watch(300);
        let tried = replacement(&world, 3, 100, Some(ended));
        world.replacements.last.push(tried);
        let cycle = world.watch(600);
        let names = cycle.names();
        assert!(!names.contains(&names::REPLACE_INSTANCE.to_owned()));
        assert!(names.contains(&names::ALERT_REPLACEMENT_HELD.to_owned()), "{}", cycle.text());
    }
}

#[test]
fn waits_for_the_new_host_to_be_whole_and_lets_it_lead_again() {
    let mut world = world("b1\nb2\nb3 dead\nb4\nt-0: 3~ 1* 2\nt-1: 2* 4 3~");
    world.watch(300);
    let done = replacement(&world, 3, 60, Some(Replaced::Done("done".to_owned())));
    world.replacements.last.push(done);
    says(
        &mut world,
        expect![[r#"
        warning broker_replaced [broker 3] the host of broker 3 was replaced, begun 6 min ago: it has not come back yet -- waits for it to come back
        warning replacement_waits [broker 3] broker 3, which is dead, is not replaced yet: its host was replaced, begun 6 min ago -- waits for it to come back
    "#]],
    );
    world.becomes("b1\nb2\nb3\nb4\nt-0: 3~ 1* 2\nt-1: 2* 4 3");
    says(
        &mut world,
        expect![[r#"
        warning broker_replaced [broker 3] the host of broker 3 was replaced, begun 11 min ago: 1 of its replicas are not in sync yet -- waits for its replicas to catch up
    "#]],
    );
    world.becomes("b1\nb2\nb3\nb4\nt-0: 3 1* 2\nt-1: 2* 4 3");
    world.replacements.last[0].whole = Some(world.now.wall);
    let cycle = world.watch(1);
    let event = cycle.events.iter().find(|event| event.name == names::ELECT_LEADERS).unwrap();
    let order: ElectLeaders = event.payload_as().unwrap();
    assert_eq!(order.partitions, [cluster::TopicPartition::new("t", 0)]);
}

#[test]
fn a_marked_host_is_replaced_only_while_everything_else_is_well() {
    let mut world = world("b1\nb2\nb3\nb4\nt-0: 1* 2 3\nt-1: 2* 4 3~");
    world.to_be_replaced = Some(ToBeReplaced([(BrokerId(3), "rack maintenance".to_owned())].into()));
    says(
        &mut world,
        expect![[r#"
        warning replacement_waits [broker 3] broker 3, whose host is marked, is not replaced yet: t-1 is under-replicated -- waits for every replica to be in sync
    "#]],
    );
    world.becomes("b1\nb2\nb3\nb4\nt-0: 1* 2 3\nt-1: 2* 4 3");
    says(
        &mut world,
        expect![[r#"
        => replace_instance [broker 3] the host of broker 3 is marked: rack maintenance (cause: none)
    "#]],
    );
    let mut done = replacement(&world, 3, 60, Some(Replaced::Done("done".to_owned())));
    done.reason = "the host of broker 3 is marked: rack maintenance".to_owned();
    done.whole = Some(done.begun);
    world.replacements.last.push(done);
    world.recovery.replacement_cooldown = Duration::from_secs(1);
    assert_eq!(about_hosts(&world.watch(300)), "nothing\n");
    // In other words.
    world.to_be_replaced = Some(ToBeReplaced([(BrokerId(3), "43 bad sectors".to_owned())].into()));
    let said = about_hosts(&world.watch(300));
    assert!(said.contains("and is marked again") && !said.contains("=> replace_instance"), "{said}");
}

#[test]
fn a_marked_host_is_never_replaced_while_one_copy_alone_would_be_left() {
    let mut world = world("b1\nb2\nb3\nb4\nt-0: 1* 2 3\npair-0: 3* 1");
    world.to_be_replaced = Some(ToBeReplaced([(BrokerId(3), "rack maintenance".to_owned())].into()));
    says(
        &mut world,
        expect![[r#"
            critical replacement_refused [broker 3] broker 3, whose host is marked, is not replaced: one copy of pair-0 alone would be left meanwhile -- waits for a person
            => alert_replacement_held [broker 3] broker 3, whose host is marked, is not replaced: one copy of pair-0 alone would be left meanwhile (cause: replacement_refused of broker 3)
        "#]],
    );
}

#[test]
fn the_silence_of_an_agent_tells_nothing_where_it_was_never_heard_or_nobody_can_be() {
    let with = |ages: &[(i32, u64)], read: Option<u64>| {
        let mut world = world(CLUSTER);
        let brokers = ages.iter().map(|(id, age)| (BrokerId(*id), report(*age))).collect();
        let read_to_end_ago = read.map(Duration::from_secs);
        world.reports = Some(BrokerReports { brokers, unreadable: 0, caught_up: true, read_to_end_ago });
        about_hosts(&world.watch(300))
    };
    assert!(with(&[(1, 20), (3, 181)], Some(1)).starts_with("=> replace_instance"));
    for (ages, read, why) in [
        (&[(1, 20), (2, 20)][..], Some(1), "its agent was never heard"),
        // The topic is down for all since 130 s.
        (&[(1, 130), (2, 150), (3, 181), (4, 170)], Some(1), "no agent of a live broker is heard"),
        // One of its partitions is.
        (&[(1, 20), (3, 181)], Some(120), "the stats topic has not been read to its end lately"),
        (&[(1, 20), (3, 181)], None, "the stats topic has not been read to its end lately"),
    ] {
        let said = with(ages, read);
        assert!(said.contains(why) && !said.contains("=> replace_instance"), "{said}");
    }
}

#[test]
fn a_host_that_a_live_broker_shares_is_not_replaced() {
    let shared = |hosts_are_shared: bool| {
        let mut world = world(CLUSTER);
        world.known.get_mut(&BrokerId(3)).unwrap().broker.address.host = "B2.".into();
        world.replacing = Some(Config { hosts_are_shared, ..Config::default() });
        about_hosts(&world.watch(300))
    };
    assert!(shared(false).contains("live broker 2 has the same host, B2."), "{}", shared(false));
    assert!(shared(true).starts_with("=> replace_instance"), "{}", shared(true));
}

#[test]
fn what_this_service_may_not_see_may_have_its_last_copy_there() {
    let why = "topic secret is not among those that this service may see";
    let mut told = world(CLUSTER);
    let report = told.reports.as_mut().unwrap().brokers.get_mut(&BrokerId(3)).unwrap();
    report.partitions_bytes_in_per_second =
        std::sync::Arc::new([(TopicPartition::new("secret", 3), 7)].into());
    let listed_of = |id: i32, topic: &str| {
        let mut world = world(CLUSTER);
        let listed = world.known.get_mut(&BrokerId(id)).unwrap().listed.as_mut().unwrap();
        listed.unseen.insert(topic.into());
        world
    };
    for mut world in [listed_of(3, "secret"), listed_of(1, "secret"), told] {
        let said = about_hosts(&world.watch(300));
        assert!(said.contains(why) && !said.contains("=> replace_instance"), "{said}");
    }
    let mut another_that_went = listed_of(3, "t");
    let mut known = listed_of(1, "secret").known.remove(&BrokerId(1)).unwrap();
    known.broker.id = BrokerId(9);
    another_that_went.known.insert(BrokerId(9), known);
    another_that_went.replacing = Some(Config { max_unhealthy_brokers: 2, ..Config::default() });
    for mut world in [listed_of(3, "t"), another_that_went] {
        let said = about_hosts(&world.watch(300));
        assert!(said.starts_with("=> replace_instance"), "{said}");
    }
}

#[test]
fn a_host_whose_log_dirs_were_not_listed_is_not_replaced() {
    let listed = |listed: Option<Listed>| {
        let mut world = world(CLUSTER);
        world.known.get_mut(&BrokerId(3)).unwrap().listed = listed;
        about_hosts(&world.watch(300))
    };
    let never = listed(None);
    assert!(
        never.contains("its log dirs have not been listed") && !never.contains("=> replace_instance"),
        "{never}"
    );
    let now = world(CLUSTER).now.wall;
    let long_ago = Listed { at: Timestamp(now.0 - 2 * 3_600_000), ..Listed::default() };
    let said = listed(Some(long_ago));
    assert!(said.contains("its log dirs were last listed 2 h before it was last seen"), "{said}");
    let lately = Listed { at: Timestamp(now.0 - 1_800_000), ..Listed::default() };
    assert!(listed(Some(lately)).starts_with("=> replace_instance"));
}

#[test]
fn a_person_and_no_plugin_may_have_a_host_replaced_that_was_not_listed_where_all_others_were() {
    let asked = |unlisted: &[i32], unseen: bool, is_plugin: bool| {
        let mut world = world(CLUSTER);
        for id in unlisted {
            world.known.get_mut(&BrokerId(*id)).unwrap().listed = None;
        }
        if unseen {
            let listed = world.known.get_mut(&BrokerId(1)).unwrap().listed.as_mut().unwrap();
            listed.unseen.insert("secret".into());
        }
        let state = world.watch(300).state;
        let (by, reason) = ("ann".to_owned(), String::new());
        let wanted =
            ByHand { broker: BrokerId(3), by, reason, accept_data_loss: false, only_ask: true, is_plugin };
        let answer = Config::default().build("replace").by_hand(&state, &wanted).unwrap();
        answer.map(|event| event.name).map_err(|held| held.join("; "))
    };
    assert_eq!(asked(&[3], false, false), Ok("replace_instance".to_owned()));
    assert!(asked(&[3], true, false).unwrap_err().contains("topic secret"));
    let why = asked(&[3, 1], false, false).unwrap_err();
    assert!(why.starts_with("its log dirs have not been listed"), "{why}");
    let why = asked(&[3], false, true).unwrap_err();
    assert!(why.starts_with("its log dirs have not been listed"), "{why}");
}

#[test]
fn a_plugin_has_no_host_replaced_again_that_was_a_while_ago_and_a_person_may() {
    let asked = |broker: i32, is_plugin: bool, replace_marked: bool| {
        let mut world = world("b1\nb2\nb3\nb4\nt-0: 1* 2 3\nt-1: 2* 4 3");
        world.watch(300);
        let unknown = Replaced::Unknown("exit status: 1".to_owned());
        world.replacements.last.push(replacement(&world, 3, 5 * 86_400, Some(unknown)));
        let state = world.watch(10).state;
        let (by, reason) = ("inventory".to_owned(), String::new());
        let (broker, accept_data_loss, only_ask) = (BrokerId(broker), false, false);
        let wanted = ByHand { broker, by, reason, accept_data_loss, only_ask, is_plugin };
        let operator = Config { replace_marked, ..Config::default() }.build("replace");
        operator.by_hand(&state, &wanted).unwrap().map_err(|held| held.join("; "))
    };
    let again = asked(3, true, true).unwrap_err();
    assert!(again.contains("a plugin wants it again"), "{again}");
    assert!(asked(3, false, false).is_ok() && asked(4, true, true).is_ok());
    let off = asked(4, true, false).unwrap_err();
    assert!(off.contains("replace_marked is false"), "{off}");
}

#[test]
fn a_host_that_nobody_knows_is_not_replaced() {
    let mut world = world(CLUSTER);
    world.known.remove(&BrokerId(3));
    let said = about_hosts(&world.watch(300));
    assert!(said.contains("it has never been seen") && !said.contains("=> replace_instance"), "{said}");
}

#[test]
fn what_a_death_does_not_explain_is_waited_for() {
    for odd in ["u-0: 4* 5~ 2", "u-0: 1* 4~ 3~"] {
        let mut world = world(&format!("b1\nb2\nb3 dead\nb4\nb5\nt-0: 1* 2 3~\n{odd}"));
        let said = about_hosts(&world.watch(300));
        assert!(said.contains("u-0 on live broker") && !said.contains("=>"), "{said}");
    }
    // What is being moved is not in sync yet.
    let mut world = world("b1\nb2\nb3 dead\nb4\nb5\nt-0: 1* 2 3~\nu-0: 1* 4 -2 +5~");
    assert!(about_hosts(&world.watch(300)).starts_with("=> replace_instance"));
}

#[test]
fn after_a_restart_in_vain_everything_must_still_speak_for_it_but_for_the_cooldown() {
    let restarted = |world: &mut World| {
        world.watch(300);
        let replaced = Replaced::Restarted("it did not come back".to_owned());
        world.replacements.last.push(replacement(world, 3, 0, Some(replaced)));
    };
    let mut well = world(CLUSTER);
    restarted(&mut well);
    let cycle = well.watch(1);
    let event = cycle.events.iter().find(|event| event.name == names::REPLACE_INSTANCE).unwrap();
    assert!(event.payload_as::<ReplaceInstance>().unwrap().no_restart);
    // Its host lives: it recovers its log.
    let mut recovers = world(CLUSTER);
    restarted(&mut recovers);
    recovers.reports.as_mut().unwrap().brokers.insert(BrokerId(3), report(2));
    assert!(about_hosts(&recovers.watch(1)).contains("its agent reported"));
    let mut maintained = world(CLUSTER);
    restarted(&mut maintained);
    maintained.wishes.broker_maintenance.insert(BrokerId(3), maintained.wish(None));
    assert!(!about_hosts(&maintained.watch(1)).contains("=>"));
    // Another one may not be replaced for that, nor this one after another.
    let mut other = world(CLUSTER);
    other.watch(300);
    other.replacements.last.push(replacement(&other, 4, 60, Some(Replaced::Done("done".to_owned()))));
    restarted(&mut other);
    assert!(about_hosts(&other.watch(1)).contains("the next one may be begun in"));
}

/// Broker 3 lives, and one of its log dirs has failed: its replicas are out of sync.
fn degraded(text: &str) -> World {
    let mut world = world(text);
    let report = world.reports.as_mut().unwrap().brokers.get_mut(&BrokerId(3)).unwrap();
    (report.age, report.failed_log_dirs) = (Duration::from_secs(20), vec!["/d".to_owned()]);
    world.replacing = Some(Config { replace_degraded: true, ..Config::default() });
    world
}

const FAILED_DIR: &str = "b1\nb2\nb3\nb4\nt-0: 1* 2 3~\nt-1: 2* 4 1";

#[test]
fn a_degraded_host_is_replaced_only_if_the_configuration_says_so() {
    let mut world = degraded(FAILED_DIR);
    says(
        &mut world,
        expect![[r#"
            => replace_instance [broker 3] broker 3 is degraded: a log dir of broker 3 has failed (/d) (cause: log_dir_failed of broker 3)
        "#]],
    );
    let cycle = world.watch(1);
    let event = cycle.events.iter().find(|event| event.name == names::REPLACE_INSTANCE).unwrap();
    assert!(event.payload_as::<ReplaceInstance>().unwrap().live);
    world.replacing = Some(Config::default());
    assert_eq!(about_hosts(&world.watch(300)), "nothing\n");
}

#[test]
fn what_another_host_would_not_mend_is_no_reason_to_replace_one() {
    let mut world = degraded("b1\nb2\nb3\nb4\nt-0: 1* 2 3\nt-1: 2* 4 1");
    let report = world.reports.as_mut().unwrap().brokers.get_mut(&BrokerId(3)).unwrap();
    report.failed_log_dirs.clear();
    report.request_handlers_idle_permille = Some(0);
    report.failure = Some("no answer".to_owned());
    report.failure_reason = Some("JmxConnectionFailure".to_owned());
    let cycle = world.watch(2_000);
    let degraded = cycle.state.get::<DegradedBrokers>().unwrap().value;
    assert_eq!(degraded.brokers[&BrokerId(3)].reasons.len(), 2);
    assert_eq!(about_hosts(&cycle), "nothing\n");
}

#[test]
fn a_degraded_host_is_never_replaced_while_others_need_it() {
    for (cluster, why) in [
        ("single-0: 3*", "it has the only replica of single-0 -- waits for a person"),
        ("pair-0: 3* 1", "one copy of pair-0 alone would be left meanwhile -- waits for a person"),
        ("sole-0: 3* 1~ 2~", "the replica of sole-0 on broker 1 is not in sync -- waits for every"),
        ("else-0: 1* 2~ 4", "the replica of else-0 on broker 2 is not in sync -- waits for every"),
        ("moved-0: 1* 2 -4 +3", "partitions are being reassigned -- waits for the reassignments to end"),
    ] {
        let mut world = degraded(&format!("{FAILED_DIR}\n{cluster}"));
        let text = world.watch(300).text();
        assert!(text.contains(why) && !text.contains("=> replace_instance"), "{cluster}: {text}");
    }
}

#[test]
fn a_degraded_host_is_never_replaced_when_it_votes_or_much_is_wrong() {
    let text = |world: &mut World| {
        let text = about_hosts(&world.watch(300));
        assert!(!text.contains("=> replace_instance"), "{text}");
        text
    };
    let mut voter = degraded(FAILED_DIR);
    voter.voters = Some(QuorumVoters { voters: [BrokerId(3)].into() });
    assert!(text(&mut voter).contains("it is a voter of the metadata quorum"));
    let mut absent = degraded("b1\nb2\nb3\nb4\nb5 dead\nt-0: 1* 2 3~");
    assert!(text(&mut absent).contains("broker 5 is absent -- waits for broker 5 to be back"));
    let mut two = degraded(FAILED_DIR);
    let reports = &mut two.reports.as_mut().unwrap().brokers;
    reports.get_mut(&BrokerId(2)).unwrap().failed_log_dirs = vec!["/d".to_owned()];
    assert!(
        text(&mut two).contains("2 brokers are degraded at once (2, 3), more than max_unhealthy_brokers (1)")
    );
    let mut kept = degraded(FAILED_DIR);
    kept.wishes.decommissioned.insert(BrokerId(3), kept.wish(None));
    assert_eq!(text(&mut kept), "nothing\n");
    let mut again = degraded(FAILED_DIR);
    again.watch(100);
    again.recovery.replacement_cooldown = Duration::from_secs(1);
    let done = replacement(&again, 3, 10, Some(Replaced::Done("done".to_owned())));
    again.replacements.last.push(Replacement { whole: Some(done.begun), ..done });
    assert!(
        text(&mut again).contains("its host was replaced, begun 5 min ago -- waits for it to be well again")
    );
    again.watch(7_000);
    assert!(
        text(&mut again)
            .contains("its host was replaced, begun 2 h ago, and it still is -- waits for a person")
    );
}
