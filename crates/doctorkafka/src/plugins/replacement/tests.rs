use std::path::Path;

use cluster::{BrokerAddress, BrokerId};
use serde_json::json;

use super::*;
use crate::plugins::fakes::{Fake, context};

fn at(host: &str) -> BrokerAddress {
    BrokerAddress { host: host.into(), port: 9092 }
}

/// A cluster whose broker 1 answers at `b1`.
fn fake() -> Arc<Fake> {
    let fake = Arc::new(Fake::default());
    fake.answer_at(&at("b1"), "ours");
    fake
}

fn event() -> Event {
    let order = ReplaceInstance {
        broker: BrokerId(3),
        host: "\"; rm -rf / #".to_owned(),
        address: Some(at("b3")),
        rack: None,
        live: false,
        accept_data_loss: false,
        no_restart: false,
        by_hand: false,
    };
    let mut event = Event::new(names::REPLACE_INSTANCE, Target::Broker(order.broker), "it is dead", &order);
    event.id = "17-1".to_owned();
    event
}

/// An action that runs this shell text, and what else is configured.
fn action(fake: &Arc<Fake>, text: &str, more: serde_json::Value) -> Arc<dyn Action> {
    let mut section = json!({"command": ["sh", "-c", text]});
    section.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let config: ScriptInstanceReplacementConfig = serde_json::from_value(section).unwrap();
    assert_eq!(config.check(), []);
    config.build(&context(fake)).unwrap()
}

/// Broker 1 says that broker 3 lives.
fn comes_back(fake: &Fake) {
    let mut answers = fake.answers.lock().unwrap();
    let broker = cluster::Broker { id: BrokerId(3), address: at("b3"), rack: None };
    answers.get_mut(&at("b1")).unwrap().live.insert(broker.id, broker);
}

fn touch(file: &Path) -> String {
    format!("touch {}", file.display())
}

#[tokio::test]
async fn starts_nothing_for_a_broker_that_lives_or_when_nobody_can_say() {
    // It waits between looks; programs need the real time.
    tokio::time::pause();
    let folder = tempfile::tempdir().unwrap();
    let witness = folder.path().join("witness");
    let refusal = async |fake: &Arc<Fake>| {
        let action = action(fake, &touch(&witness), json!({}));
        // Twice it is decided anew, then a person is needed.
        for _ in 0..2 {
            let error = action.execute(&event(), false).await.unwrap_err();
            assert!(error.retry && !error.maybe_applied && !witness.exists(), "{error:?}");
        }
        let done = action.execute(&event(), false).await.unwrap();
        assert!(done.detail["not_started"] == true && done.follow_ups.is_empty() && !witness.exists());
        done.summary.trim_start_matches("not begun: ").to_owned()
    };
    let back = fake();
    comes_back(&back);
    assert_eq!(refusal(&back).await, "broker 3 is alive again, as 1 of 1 brokers say");
    let nobody = Arc::new(Fake::default());
    assert!(refusal(&nobody).await.starts_with("no broker answers"));
    // Kafka has dropped it, but it answers at its address.
    let answers = fake();
    answers.answer_at(&at("b3"), "ours");
    assert_eq!(refusal(&answers).await, "broker 3 answers at b3:9092");
    tokio::time::resume();
    // Its address has gone to another cluster: that is not it.
    let moved = fake();
    moved.answer_at(&at("b3"), "other");
    cluster::Reader::expect_cluster(&*moved, Some(&cluster::ClusterId("ours".into())));
    let done = action(&moved, &touch(&witness), json!({})).execute(&event(), false).await;
    assert!(done.is_ok() && witness.exists(), "{done:?}");
}

#[tokio::test]
async fn tells_people_what_the_script_did() {
    let text = "echo \"$DOCTORKAFKA_BROKER_ID $DOCTORKAFKA_HOST $DOCTORKAFKA_REPLACEMENT_ID\"";
    let done = action(&fake(), text, json!({})).execute(&event(), false).await.unwrap();
    let said = "sh replaced the host of broker 3 in 0 s, saying: 3 \"; rm -rf / # 17-1";
    assert_eq!(done.summary, said);
    let notice = &done.follow_ups[0];
    assert_eq!(
        (notice.name.as_str(), &notice.target),
        (names::NOTIFY_REPLACEMENT, &Target::Broker(BrokerId(3)))
    );
    let message: Message = notice.payload_as().unwrap();
    assert!(message.body.contains("Why: it is dead.") && message.body.contains("Replacement: 17-1."));
}

#[tokio::test]
async fn a_dry_run_starts_nothing_and_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let witness = folder.path().join("witness");
    let done = action(&fake(), &touch(&witness), json!({})).execute(&event(), true).await.unwrap();
    assert_eq!(done.summary, "would replace the host of broker 3 by sh");
    assert!(!witness.exists() && done.follow_ups[0].name == names::NOTIFY_REPLACEMENT);
}

#[tokio::test]
async fn drk_33_what_fails_has_failed_and_what_was_killed_is_not_known() {
    let failed = action(&fake(), "echo no quota >&2; exit 3", json!({})).execute(&event(), false).await;
    let failed = failed.unwrap_err();
    assert!(!failed.maybe_applied, "{failed:?}");
    assert!(failed.message.contains("exit status: 3") && failed.message.ends_with("saying: no quota"));
    let hangs = action(&fake(), "sleep 1000", json!({"timeout": "1s"})).execute(&event(), false).await;
    let hangs = hangs.unwrap_err();
    assert!(
        hangs.maybe_applied && !hangs.retry && hangs.message.contains("did not end within 1s"),
        "{hangs:?}"
    );
}

#[tokio::test]
async fn a_restart_comes_first_and_the_host_goes_only_if_that_is_of_no_use() {
    let folder = tempfile::tempdir().unwrap();
    let (restarted, replaced) = (folder.path().join("restarted"), folder.path().join("replaced"));
    let restart = json!({"restart": ["touch", restarted], "restart_wait": "1s"});
    let done = action(&fake(), &touch(&replaced), restart.clone()).execute(&event(), false).await.unwrap();
    assert!(restarted.exists() && !replaced.exists(), "{done:?}");
    assert!(done.summary.contains("it was not back 1s later") && done.follow_ups.is_empty(), "{done:?}");
    assert_eq!(done.detail, json!({"restarted_in_vain": true, "restarted": false, "not_started": false}));

    // It was decided anew.
    std::fs::remove_file(&restarted).unwrap();
    let mut again = event();
    again.payload["no_restart"] = true.into();
    let done = action(&fake(), &touch(&replaced), restart.clone()).execute(&again, false).await.unwrap();
    assert!(!restarted.exists() && replaced.exists() && done.detail.is_null(), "{done:?}");

    std::fs::remove_file(&replaced).unwrap();
    let cluster = fake();
    let action =
        action(&cluster, &touch(&replaced), json!({"restart": ["touch", restarted], "restart_wait": "1m"}));
    let running = tokio::spawn(async move { action.execute(&event(), false).await });
    while !restarted.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    comes_back(&cluster);
    let done = running.await.unwrap().unwrap();
    assert_eq!(done.summary, "restarted broker 3, which is back");
    assert_eq!(done.detail["restarted"], true);
    assert!(!replaced.exists());
}

#[tokio::test]
async fn a_program_that_is_missing_is_said_before_it_is_needed() {
    let config = json!({"command": ["/no/such/program"], "restart": ["sh"]});
    let config: ScriptInstanceReplacementConfig = serde_json::from_value(config).unwrap();
    let action = config.build(&context(&fake())).unwrap();
    let found = loop {
        if let Some(found) = action.findings().pop() {
            break found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((found.kind.as_str(), found.severity), (IMPOSSIBLE, Severity::Critical));
    assert!(found.message.contains("/no/such/program cannot be found"), "{found:?}");
}

#[tokio::test]
async fn drk_35_a_slow_replacement_is_said_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let go_on = folder.path().join("go-on");
    let text = format!("while [ ! -e {} ]; do sleep 0.01; done", go_on.display());
    let action = action(&fake(), &text, json!({"slow_after": "0s"}));
    assert_eq!(action.findings(), []);
    let running = tokio::spawn({
        let action = Arc::clone(&action);
        async move { action.execute(&event(), false).await }
    });
    let found = loop {
        if let Some(found) = action.findings().into_iter().find(|it| it.kind == "replacement_slow") {
            break found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((found.kind.as_str(), &found.subject), ("replacement_slow", &Target::Broker(BrokerId(3))));
    std::fs::write(&go_on, "").unwrap();
    assert!(running.await.unwrap().is_ok());
    assert_eq!(action.findings(), []);

    // Whoever waited for it has given up.
    std::fs::remove_file(&go_on).unwrap();
    let execution = event();
    let given_up = tokio::time::timeout(Duration::from_millis(300), action.execute(&execution, false)).await;
    assert!(given_up.is_err());
    assert_eq!(action.findings(), []);
}

#[test]
fn names_what_cannot_be_in_its_configuration() {
    let config: ScriptInstanceReplacementConfig = serde_json::from_value(
        json!({"command": [""], "restart": [], "timeout": "0s", "restart_wait": "0s"}),
    )
    .unwrap();
    let paths: Vec<String> = config.check().into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, ["command", "restart", "timeout", "restart_wait"]);
}

#[tokio::test]
async fn what_the_script_prints_is_heard_while_it_runs_and_what_is_left_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let go_on = folder.path().join("go-on");
    let text = format!("echo begun; while [ ! -e {} ]; do sleep 0.01; done; echo ended >&2", go_on.display());
    let action = action(&fake(), &text, json!({}));
    let running = tokio::spawn({
        let action = Arc::clone(&action);
        async move { action.execute(&event(), false).await }
    });
    let news = |action: &Arc<dyn Action>| -> Vec<String> {
        let outputs = action.findings().into_iter().filter_map(|finding| finding.output);
        outputs.flat_map(|output| output.news).collect()
    };
    loop {
        match news(&action) {
            none if none.is_empty() => tokio::time::sleep(Duration::from_millis(5)).await,
            some => break assert_eq!(some, ["begun"]),
        }
    }
    std::fs::write(&go_on, "").unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(news(&action), ["ended"]);
    assert_eq!(action.findings(), []);
}

#[tokio::test]
async fn drk_39_a_host_with_an_evil_name_is_only_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let witness = folder.path().join("witness");
    std::fs::write(&witness, "").unwrap();
    let name = format!("\"; rm -rf {} #$(rm {0})`rm {0}`\n\u{1b}[31m\0", witness.display());
    let mut event = event();
    let mut order: ReplaceInstance = event.payload_as().unwrap();
    order.host.clone_from(&name);
    event.payload = serde_json::to_value(&order).unwrap();
    event.reason = format!("the host {name} is dead");
    let seen = folder.path().join("seen");
    let text = format!("printf %s \"$DOCTORKAFKA_HOST\" > {}; echo \"$DOCTORKAFKA_HOST\"", seen.display());
    let action = action(&fake(), &text, json!({}));
    let done = action.execute(&event, false).await.unwrap();
    // A zero byte ends a string for the kernel.
    assert_eq!(std::fs::read_to_string(seen).unwrap(), name.replace('\0', ""));
    assert!(witness.exists());
    // What goes to the log, the record, the status and the subject of mails is one line without control characters.
    assert!(!done.summary.contains(char::is_control), "{:?}", done.summary);
    let outputs = action.findings().into_iter().filter_map(|finding| finding.output);
    let lines: Vec<String> = outputs.flat_map(|output| output.last).collect();
    assert!(!lines.is_empty() && !lines.iter().any(|line| line.contains(char::is_control)), "{lines:?}");
    let message: Message = done.follow_ups[0].payload_as().unwrap();
    assert!(!message.subject.contains(char::is_control) && message.body.contains("rm -rf"));
}

#[tokio::test]
async fn what_is_stopped_while_it_is_looked_once_more_is_not_started() {
    let folder = tempfile::tempdir().unwrap();
    let witness = folder.path().join("witness");
    let event = event();
    let stopped = async |by: Option<&str>| {
        let action = action(&fake(), &touch(&witness), json!({}));
        let stops = async {
            // It is looked for some moments at least.
            while !action.stop(by) {
                tokio::task::yield_now().await;
            }
        };
        let (done, ()) = tokio::join!(action.execute(&event, false), stops);
        assert!(!witness.exists(), "{done:?}");
        done
    };
    let by_a_person = stopped(Some("17-1")).await.unwrap();
    assert!(by_a_person.detail["not_started"] == true, "{by_a_person:?}");
    assert_eq!(by_a_person.summary, "not begun: it was stopped before");
    // Whoever comes after a service that ends decides anew.
    let by_its_end = stopped(None).await.unwrap_err();
    assert!(by_its_end.retry && !by_its_end.maybe_applied, "{by_its_end:?}");
}

#[tokio::test]
async fn whoever_has_no_lease_starts_nothing_and_it_is_decided_anew() {
    let folder = tempfile::tempdir().unwrap();
    let witness = folder.path().join("witness");
    let context = context(&fake());
    context.tenure.act_in(None);
    let section = json!({"command": ["sh", "-c", touch(&witness)]});
    let config: ScriptInstanceReplacementConfig = serde_json::from_value(section).unwrap();
    let error = config.build(&context).unwrap().execute(&event(), false).await.unwrap_err();
    assert!(error.retry && !error.maybe_applied && !witness.exists(), "{error:?}");
}

#[tokio::test]
async fn what_people_ask_for_while_it_is_looked_keeps_the_program_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let witness = folder.path().join("witness");
    let wish = || control::Wish {
        by: "ann".to_owned(),
        reason: String::new(),
        since: control::Timestamp(1),
        until: None,
    };
    let none = control::Wishes::default;
    let of_broker = || [(BrokerId(3), wish())].into();
    for (wishes, why) in [
        (control::Wishes { paused: Some(wish()), ..none() }, "paused by ann"),
        (control::Wishes { broker_maintenance: of_broker(), ..none() }, "it is under maintenance by ann"),
        (control::Wishes { decommissioned: of_broker(), ..none() }, "it is taken out of service by ann"),
    ] {
        let context = context(&fake());
        context.tenure.heed(Arc::new(wishes));
        let section = json!({"command": ["sh", "-c", touch(&witness)]});
        let config: ScriptInstanceReplacementConfig = serde_json::from_value(section).unwrap();
        let error = config.build(&context).unwrap().execute(&event(), false).await.unwrap_err();
        assert!(error.retry && error.message == why && !witness.exists(), "{error:?}");
    }
}
