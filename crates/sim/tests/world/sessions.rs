//! Who is alive, and who leads.

use expect_test::expect;

use crate::{FOUR, after, partitions, quiet, world, world_with};

#[test]
fn a_killed_broker_is_dropped_when_its_session_ends() {
    let mut world = world(FOUR);
    expect![[r#"
        000030.000 fault: kill b2
        000037.444 broker 2 dropped
        000037.444 t-0: 1* 2~ 3
        000037.444 t-1: 2~ 3* 4
    "#]]
    .assert_eq(&after(&mut world, "at 30s kill b2", 60));
}

#[test]
fn a_restarted_broker_gives_its_leaderships_away_first_and_catches_up() {
    let mut world = world(FOUR);
    expect![[r#"
        000030.000 fault: restart b2
        000030.000 t-0: 1* 2~ 3
        000030.000 t-1: 2~ 3* 4
        000030.500 broker 2 dropped
        000034.500 broker 2 alive
        000035.000 t-0: 1* 2 3
        000035.000 t-1: 2 3* 4
    "#]]
    .assert_eq(&after(&mut world, "at 30s restart b2", 60));
}

#[test]
fn a_broker_that_is_started_again_at_once_waits_for_the_end_of_its_old_session() {
    let mut world = world(FOUR);
    expect![[r#"
        000030.000 fault: kill b2
        000031.000 fault: restart b2
        000037.444 broker 2 dropped
        000037.444 t-0: 1* 2~ 3
        000037.444 t-1: 2~ 3* 4
        000037.644 broker 2 alive
        000038.144 t-0: 1* 2 3
        000038.144 t-1: 2 3* 4
    "#]]
    .assert_eq(&after(&mut world, "at 30s kill b2\nat 31s restart b2", 60));
}

#[test]
fn a_short_pause_is_not_noticed_and_a_long_one_is() {
    let mut world = world(FOUR);
    assert_eq!(after(&mut world, "at 30s pause b2 6s", 60), "000030.000 fault: pause b2 6s\n");
    expect![[r#"
        000060.000 fault: pause b2 20s
        000067.444 broker 2 dropped
        000067.444 t-0: 1* 2~ 3
        000067.444 t-1: 2~ 3* 4
        000082.000 broker 2 alive
        000082.500 t-0: 1* 2 3
        000082.500 t-1: 2 3* 4
    "#]]
    .assert_eq(&after(&mut world, "at 0s pause b2 20s", 60));
}

#[test]
fn nobody_leads_who_lacks_something() {
    let mut world = world("b1\nb2\nb3\nt-0: 1* 2 3~\nt-1: 3* 2");
    let _ = after(&mut world, "at 0s pause b3 1h\nat 1m kill b2\nat 2m kill b1", 180);
    expect![[r#"
        t-0: 1~ 2~ 3~
        t-1: 3~ 2~
    "#]]
    .assert_eq(&partitions(&mut world));
    let _ = after(&mut world, "at 0s restart b2", 60);
    expect![[r#"
        t-0: 1~ 2~ 3~
        t-1: 3~ 2*
    "#]]
    .assert_eq(&partitions(&mut world));
    let _ = after(&mut world, "at 0s restart b1", 60);
    expect![[r#"
        t-0: 1* 2 3~
        t-1: 3~ 2*
    "#]]
    .assert_eq(&partitions(&mut world));
}

#[test]
fn without_eligible_leaders_the_last_in_sync_replica_stays_one() {
    let rules = sim::Rules { leader_rebalance: None, ..sim::Rules::kraft_3_9() };
    let settings = sim::Settings { rules, min_in_sync: 2, ..quiet() };
    let mut world = world_with("b1\nb2\nt-0: 1* 2", settings);
    let _ = after(&mut world, "at 0s shut-down b2\nat 1m shut-down b1\nat 2m restart b2", 180);
    assert_eq!(partitions(&mut world), "t-0: 1 2~\n");
}

#[test]
fn an_eligible_leader_leads_unless_it_was_killed() {
    let settings = sim::Settings { min_in_sync: 2, ..quiet() };
    for (end, leads) in [("shut-down", "t-0: 1~ 2*\n"), ("kill", "t-0: 1~ 2~\n")] {
        let mut world = world_with("b1\nb2\nt-0: 1* 2", settings.clone());
        let faults = format!("at 0s {end} b2\nat 1m kill b1\nat 2m restart b2");
        let _ = after(&mut world, &faults, 180);
        assert_eq!(partitions(&mut world), leads, "{end}");
        let _ = after(&mut world, "at 0s restart b1", 60);
        assert!(!partitions(&mut world).contains('~'), "{}", partitions(&mut world));
    }
}

#[test]
fn a_broker_cut_off_from_the_controller_is_dropped_although_it_runs() {
    let mut world = world(FOUR);
    expect![[r#"
        000010.000 fault: isolate b3 from controller for 30 s
        000017.090 broker 3 dropped
        000017.090 t-0: 1* 2 3~
        000017.090 t-1: 2* 3~ 4
        000042.000 broker 3 alive
        000042.500 t-0: 1* 2 3
        000042.500 t-1: 2* 3 4
    "#]]
    .assert_eq(&after(&mut world, "at 10s isolate b3 from controller for 30s", 60));
}

#[test]
fn a_broker_with_a_long_log_recovery_comes_back_late() {
    let mut world = world(FOUR);
    let history = after(&mut world, "at 10s recover b3 40m", 3600);
    let alive = history.lines().find(|line| line.contains("alive")).unwrap();
    assert_eq!(alive, "002414.000 broker 3 alive");
}

#[test]
fn preferred_leaders_lead_again_in_time() {
    let settings = sim::Settings::default();
    let mut world = world_with(FOUR, settings);
    let _ = after(&mut world, "at 10s restart b1", 290);
    assert!(partitions(&mut world).contains("t-0: 1 2* 3"));
    let _ = after(&mut world, "", 20);
    assert!(partitions(&mut world).contains("t-0: 1* 2 3"));
}

#[test]
fn a_flapping_broker_goes_and_comes_six_times() {
    let mut world = world(FOUR);
    let history = after(&mut world, "at 10s flap b3", 600);
    assert_eq!(history.matches("broker 3 dropped").count(), 6, "{history}");
    assert_eq!(history.matches("broker 3 alive").count(), 6, "{history}");
}

#[test]
fn a_full_volume_ends_a_broker_that_has_no_other() {
    let mut world = world(FOUR);
    let history = after(&mut world, "at 10s fill b3", 60);
    assert!(history.contains("a log dir of broker 3 has failed"), "{history}");
    assert!(history.contains("broker 3 dropped"), "{history}");
    let history = after(&mut world, "at 0s calm", 60);
    assert!(history.contains("broker 3 alive"), "{history}");
}

#[test]
fn a_failed_log_directory_takes_only_its_own_replicas_along() {
    let mut settings = quiet();
    settings.hardware.dirs = 2;
    let text = "b1\nb2\nb3\nt-0: 1* 2\nt-1: 1* 2\nt-2: 3* 2\nt-3: 3* 2";
    let mut world = world_with(text, settings);
    let _ = after(&mut world, "at 10s fill b1", 60);
    let lost: Vec<bool> = partitions(&mut world).lines().take(2).map(|line| line.contains("1~ 2*")).collect();
    assert_eq!(lost.iter().filter(|lost| **lost).count(), 1, "{}", partitions(&mut world));
    let _ = after(&mut world, "at 10s fill b1", 60);
    assert!(world.text(false).to_string().contains("b1 dead"), "its last log directory has failed");
}

#[test]
fn what_is_done_to_a_broker_that_is_down_is_told_to_be_in_vain() {
    let mut world = world(FOUR);
    let history = after(&mut world, "at 1s kill b1\nat 20s kill b1\nat 21s pause b1 9s", 22);
    assert_eq!(history.matches("broker 1 is down already").count(), 2, "{history}");
}
