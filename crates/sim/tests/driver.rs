//! The core with its own monitors and operators against a simulated cluster.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::time::Duration;

use cluster::BrokerId;
use cluster::notation::ClusterText;
use control::config::HumanDuration;
use control::order::OrderKind;
use control::{Order, Scope, monitors, operators};
use expect_test::expect;
use sim::driver::Between;
use sim::settings::{Agents, Traffic};
use sim::{Driver, DriverConfig, Settings, World};

const SIX: &str = "
    b1 rack=r1
    b2 rack=r2
    b3 rack=r3
    b4 rack=r1
    b5 rack=r2
    b6 rack=r3
    t-0: 1* 2 3 size=1GiB
    t-1: 2* 3 4 size=1GiB
    t-2: 3* 4 5 size=1GiB
    t-3: 4* 5 6 size=1GiB
    t-4: 5* 6 1 size=1GiB
    t-5: 6* 1 2 size=1GiB
";

fn config() -> DriverConfig {
    let dead_brokers = monitors::dead_brokers::Config {
        grace: HumanDuration::seconds(30),
        ..monitors::dead_brokers::Config::default()
    };
    DriverConfig { dead_brokers, interval: Duration::from_secs(5), ..DriverConfig::default() }
}

struct Site {
    driver: Driver,
}

impl Site {
    fn new(text: &str) -> Self {
        Self::with(text, Settings::default(), &config())
    }

    fn with(text: &str, settings: Settings, config: &DriverConfig) -> Self {
        let world = World::new(&text.parse().unwrap(), settings);
        Self { driver: Driver::new(world, config).unwrap() }
    }

    /// Plans the faults, lets so many seconds go by, and gives the account of them.
    fn run(&mut self, faults: &str, seconds: u64) -> String {
        self.driver.world().lock().plan(&faults.parse().unwrap());
        self.driver.run(Duration::from_secs(seconds)).unwrap();
        self.account()
    }

    fn account(&mut self) -> String {
        let mut text = String::new();
        for entry in self.driver.take_account() {
            writeln!(text, "{entry}").unwrap();
        }
        text
    }

    fn order(&mut self, what: OrderKind) {
        self.driver.order(Order { by: "ann".into(), reason: "because".into(), what });
    }

    fn partitions(&self) -> String {
        let text = self.driver.world().lock().text(false);
        ClusterText { brokers: Default::default(), ..text }.to_string()
    }

    /// Nothing is left over: no reassignment, no throttle, no execution, no incident.
    fn is_at_rest(&self) {
        let mut world = self.driver.world().lock();
        assert!(world.reassignments().is_empty());
        assert!(world.configs().is_empty(), "{:?}", world.configs());
        let memory = self.driver.memory();
        assert!(memory.executions.iter().all(|execution| !execution.is_running()));
        assert!(memory.incidents.open.is_empty(), "{:?}", memory.incidents.open);
        assert!(!world.text(false).to_string().contains('~'), "{}", world.text(false));
    }
}

fn acts(account: &str) -> usize {
    account.lines().filter(|line| line.contains(" act reassign_partitions ")).count()
}

#[test]
fn the_host_of_a_dead_broker_is_replaced_where_that_is_wanted() {
    let operator = operators::broker_replacement::Config { without_agents: true, ..Default::default() };
    let mut config = DriverConfig { replacement: Some(operator), ..config() };
    config.guard.on_dead_broker = control::OnDeadBroker::ReplaceFirst;
    let mut site = Site::with(SIX, Settings::default(), &config);
    let before = site.partitions();
    let account = site.run("at 10s kill b3", 600);
    assert!(account.contains("replace_instance [broker 3] the host of broker 3 is another"), "{account}");
    assert!(!account.contains("submitting"), "{account}");
    assert_eq!((site.driver.take_wrongs(), site.partitions()), (Vec::<String>::new(), before));
}

#[test]
fn an_order_of_which_nothing_was_heard_for_a_crash_is_given_again() {
    let mut site = Site::new(SIX);
    site.run("", 20);
    site.driver.crash_after(0);
    site.order(OrderKind::MaintenanceOn { scope: Scope::Cluster, until: None });
    let account = site.run("", 20);
    let (_, after) = account.split_once("crashed after 0 of").unwrap();
    assert!(after.contains("order maintenance_on [cluster] maintenance is on"), "{account}");
    assert!(site.driver.memory().wishes.maintenance.is_some());
}

#[test]
fn says_and_does_nothing_while_all_is_well() {
    assert_eq!(Site::new(SIX).run("", 21_600), "");
}

#[test]
fn heals_a_killed_broker_and_leaves_nothing_over() {
    let mut site = Site::new(SIX);
    expect![[r#"
        000030.000 incident broker_unreachable [broker 3] opened
        000040.000 incident broker_absent [broker 3] opened
        000040.000 incident broker_unreachable [broker 3] resolved after 10 s
        000040.000 incident under_replicated [broker 3] opened
        000060.000 incident broker_dead [broker 3] opened
        000060.000 decision reassign_partitions [cluster] admitted, for reassign_partitions
        000060.000 act reassign_partitions [cluster] submitting 3 moves
        000061.000 incident healing_waits [cluster] opened
        000061.000 decision notify_reassignment [cluster] admitted, for tell
        000061.000 act notify_reassignment [cluster] started
        000061.000 message notify_reassignment: 3 partitions are being moved
        000062.000 outcome notify_reassignment [cluster] told
        000087.000 incident healing_waits [cluster] resolved after 26 s
        000087.000 incident under_replicated [broker 3] resolved after 47 s
        000087.000 outcome reassign_partitions [cluster] 3 of 3 partitions moved in 27 s
        000087.000 decision elect_leaders [cluster] admitted, for elect_leaders
        000087.000 act elect_leaders [cluster] started
        000088.000 outcome elect_leaders [cluster] elected 1 preferred leaders
    "#]]
    .assert_eq(&site.run("at 30s kill b3", 600));
    expect![[r#"
        t-0: 1* 2 6
        t-1: 2* 6 4
        t-2: 6* 4 5
        t-3: 4* 5 6
        t-4: 5* 6 1
        t-5: 6* 1 2
    "#]]
    .assert_eq(&site.partitions());
    let account = site.run("at 0s restart b3", 3600);
    assert_eq!(acts(&account), 0, "{account}");
    site.is_at_rest();
    assert_eq!(site.run("", 3600), "");
}

#[test]
fn a_throttle_is_taken_away_again() {
    let throttle = Some("50MB".parse().unwrap());
    let healing = operators::under_replicated_partitions::Config { throttle, ..Default::default() };
    let mut site = Site::with(SIX, Settings::default(), &DriverConfig { healing, ..config() });
    let account = site.run("at 30s kill b3\nat 20m restart b3", 55);
    assert_eq!(acts(&account), 0, "{account}");
    let throttled = |driver: &mut Driver| !driver.world().lock().configs().is_empty();
    assert!(site.driver.run_until(Duration::from_secs(120), throttled).unwrap());
    let _ = site.run("", 3600);
    site.is_at_rest();
}

#[test]
fn does_nothing_about_a_broker_that_only_we_cannot_reach() {
    let mut site = Site::new(SIX);
    let account = site.run("at 30s isolate b1 from us for 1h", 3000);
    assert_eq!(acts(&account), 0, "{account}");
    assert!(account.contains("broker_unreachable"), "{account}");
    let _ = site.run("", 1200);
    site.is_at_rest();
}

#[test]
fn believes_no_broker_whose_metadata_stand_still() {
    let mut site = Site::new(SIX);
    // 3 is down for a moment while 1 looks away: 1 holds it to be alive, later it holds 4 to be dead no more than others.
    let account = site.run("at 10s frozen-metadata b1 for 20m\nat 30s kill b3", 600);
    assert_eq!(acts(&account), 1, "{account}");
    let account = site.run("at 0s restart b3", 3600);
    assert_eq!(acts(&account), 0, "{account}");
    site.is_at_rest();
}

#[test]
fn two_dead_of_four_are_held_by_the_brake_until_a_person_approves() {
    let mut site = Site::new("b1\nb2\nb3\nb4\nt-0: 1* 2 3\nt-1: 2* 3 4\nt-2: 3* 4 1\nt-3: 4* 1 2");
    let account = site.run("at 30s kill b3\nat 30s kill b4", 600);
    assert_eq!(acts(&account), 0, "{account}");
    assert!(account.contains("message alert_mass_failure"), "{account}");
    site.order(OrderKind::Approve);
    let account = site.run("", 600);
    assert!(acts(&account) > 0, "{account}");
    let _ = site.run("at 0s calm", 3600);
    site.is_at_rest();
}

#[test]
fn a_rack_without_power_is_held_by_the_brake() {
    let mut site = Site::new(SIX);
    let account = site.run("at 30s rack-down r2", 1800);
    assert_eq!(acts(&account), 0, "{account}");
    assert!(site.driver.held().iter().any(|held| held.check.name() == "brake"), "{:?}", site.driver.held());
    let _ = site.run("at 0s calm", 3600);
    site.is_at_rest();
}

#[test]
fn does_nothing_under_maintenance() {
    let mut site = Site::new(SIX);
    site.order(OrderKind::MaintenanceOn { scope: Scope::Broker(BrokerId(3)), until: None });
    let account = site.run("at 30s kill b3", 1800);
    assert_eq!(acts(&account), 0, "{account}");
    site.order(OrderKind::MaintenanceOff { scope: Scope::Broker(BrokerId(3)) });
    let account = site.run("", 600);
    assert_eq!(acts(&account), 1, "{account}");
}

/// Six brokers, of whose partitions `t-0` is larger than the others.
fn with_a_large_partition(size: &str, interval: Duration) -> Site {
    let settings = Settings { retention_bytes: 1 << 40, ..Settings::default() };
    let text = SIX.replace("t-0: 1* 2 3 size=1GiB", &format!("t-0: 1* 2 3 size={size}"));
    Site::with(&text, settings, &DriverConfig { interval, ..config() })
}

#[test]
fn leaves_the_reassignment_of_somebody_else_alone() {
    let mut site = with_a_large_partition("200GiB", Duration::from_secs(5));
    let account = site.run("at 10s foreign-reassignment t-0 1 2 5\nat 30s kill b3", 1500);
    assert_eq!(acts(&account), 1, "{account}");
    expect![[r#"
        t-0: 1* 2 +5~ -3~
        t-1: 2* 6 4
        t-2: 6* 4 5
        t-3: 4* 5 6
        t-4: 5* 6 1
        t-5: 6* 1 2
    "#]]
    .assert_eq(&site.partitions());
    let account = site.run("at 0s foreign-cancel t-0", 3600);
    assert_eq!(acts(&account), 1, "what nobody else moves is healed: {account}");
    expect![[r#"
        t-0: 1* 2 6
        t-1: 2* 6 4
        t-2: 6* 4 5
        t-3: 4* 5 6
        t-4: 5* 6 1
        t-5: 6* 1 2
    "#]]
    .assert_eq(&site.partitions());
}

/// The list of reassignments comes from the controller, the replicas from a broker whose metadata are a moment behind it.
/// In that moment the partition has the replicas of before and after, one of them on a dead broker, and nobody reassigns
/// it any more: "healing" it would leave it with four replicas for good.
#[test]
fn a_foreign_reassignment_that_has_just_completed_is_left_alone() {
    // It looks as often as replicas catch up, so that it does look in that moment.
    let mut site = with_a_large_partition("20GiB", Duration::from_millis(500));
    let _ = site.run("at 10s foreign-reassignment t-0 1 2 5\nat 30s kill b3", 900);
    assert!(site.partitions().contains("t-0: 1* 2 5\n"), "{}", site.partitions());
}

#[test]
fn a_rolling_restart_moves_nothing() {
    let mut site = Site::new(SIX);
    let script: Vec<String> = (1..=6).map(|id| format!("at {}m restart b{id}", id * 2)).collect();
    let account = site.run(&script.join("\n"), 3600);
    assert_eq!(acts(&account), 0, "{account}");
    site.is_at_rest();
}

#[test]
fn what_was_begun_before_a_crash_is_finished_after_it_wherever_it_happens() {
    let mut effects = 0;
    loop {
        let mut site = Site::new(SIX);
        site.driver.crash_after(effects);
        let account = site.run("at 30s kill b3", 300);
        assert!(!site.driver.is_about_to_crash(), "{account}");
        let crashed = account.lines().find_map(|line| line.split_once("crashed after ")).unwrap().1;
        let number = |word: usize| -> usize { crashed.split(' ').nth(word).unwrap().parse().unwrap() };
        assert_eq!(site.partitions().matches("3").count(), 1, "after {crashed}: {}", site.partitions());
        let _ = site.run("at 0s restart b3", 600);
        site.is_at_rest();
        if number(0) == number(2) {
            assert!(effects > 3, "{crashed}");
            return;
        }
        effects += 1;
    }
}

#[test]
fn our_own_crashes_and_a_jumping_clock_change_nothing_for_a_healthy_cluster() {
    let mut site = Site::new(SIX);
    let faults = "at 1m crash us\nat 5m clock +1h\nat 10m clock -2h\nat 20m crash us\nat 20m pause b4 8s";
    let account = site.run(faults, 3600);
    assert_eq!(acts(&account), 0, "{account}");
    site.is_at_rest();
}

#[test]
fn a_silent_agent_is_told_and_keeps_nothing_from_being_healed() {
    let settings = Settings {
        agents: Some(Agents { topic: "brokerstats".to_owned(), interval: Duration::from_secs(60) }),
        traffic: Some(Traffic { mean_bytes_in: 100_000, consumed_permille: 1000, hot_permille: 0 }),
        ..Settings::default()
    };
    let mut site = Site::with(SIX, settings, &config());
    let account = site.run("at 10m agent-silent b4", 3000);
    assert!(account.contains("no_broker_stats [broker 4] opened"), "{account}");
    assert_eq!(acts(&account), 0, "{account}");
    let account = site.run("at 10m kill b3", 1800);
    assert_eq!(acts(&account), 1, "{account}");
    let _ = site.run("at 0s calm", 3600);
    site.is_at_rest();
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut site = Site::with(SIX, Settings::default(), &DriverConfig { dry_run: true, ..config() });
    let account = site.run("at 30s kill b3", 1800);
    assert!(account.contains("dry run: would move"), "{account}");
    assert!(site.driver.world().lock().reassignments().is_empty());
    assert!(site.partitions().contains("3~"), "{}", site.partitions());
}

#[test]
fn a_stats_topic_that_nobody_reaches_keeps_nothing_from_being_healed() {
    let agents = Some(Agents { topic: "brokerstats".to_owned(), interval: Duration::from_secs(60) });
    let mut site = Site::with(SIX, Settings { agents, ..Settings::default() }, &config());
    let account = site.run("at 0s stats-unreachable\nat 20m kill b3", 3000);
    assert_eq!(acts(&account), 1, "{account}");
    let reports = |site: &Site| {
        let state = site.driver.state().unwrap();
        state.get::<control::BrokerReports>().map_or(0, |reports| reports.value.brokers.len())
    };
    assert_eq!(reports(&site), 0, "no report can be read");
    let _ = site.run("at 0s calm", 3600);
    assert_eq!(reports(&site), 6);
    site.is_at_rest();
}

#[test]
fn nothing_is_changed_in_another_cluster_than_the_one_remembered() {
    let mut site = Site::new(SIX);
    let _ = site.run("at 2m kill b3", 121);
    assert!(site.driver.change_identity(cluster::ClusterId("another".into())));
    let account = site.run("", 1800);
    assert!(account.contains("identity_mismatch"), "{account}");
    assert_eq!(acts(&account), 0, "{account}");
    assert!(site.driver.take_wrongs().is_empty());
}

/// Whatever somebody else orders between our look and our act is neither cancelled nor overridden.
#[test]
fn an_order_of_somebody_else_between_look_and_act_is_left_alone() {
    let between = Between { pause: Duration::from_secs(2), meddled_permille: 1000, ..Between::default() };
    let mut overtaken = 0;
    for seed in 0..8 {
        let settings = Settings { seed, ..Settings::default() };
        let mut site = Site::with(SIX, settings, &DriverConfig { between, ..config() });
        let account = site.run("at 30s kill b3", 1800);
        assert!(account.contains("somebody else: foreign-"), "{account}");
        overtaken += usize::from(account.contains("by somebody else"));
        assert_eq!(site.driver.take_wrongs(), Vec::<String>::new());
    }
    assert!(overtaken > 0);
}
