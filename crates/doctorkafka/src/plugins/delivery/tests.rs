//! Messages against a made-up other side, on virtual time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::{BoxFuture, BrokerId};
use control::event::Message;
use control::{Action, Event, IncidentKey, Severity, Target, Timestamp};
use tokio::time::Instant;

use super::*;
use crate::plugin::BuildContext;
use crate::plugins::fakes::{Fake, context, until};

/// An alert to `somebody`.
pub(crate) fn parcel(event: &str, subject: &str) -> Parcel {
    let notice = Notice::of(&message(event, "b1", subject), "test", Timestamp(1_700_000_000_000));
    let queued = notice.at;
    Parcel { number: 1, to: "ops@example.org".to_owned(), notice, held_back: 0, queued, held_until: None }
}

/// A message about broker 3, delivered under `id`.
pub(crate) fn message(event: &str, id: &str, subject: &str) -> Event {
    let message =
        Message { subject: subject.to_owned(), body: "Look at it.".to_owned(), severity: Severity::Warning };
    let mut event = Event::new(event, Target::Broker(BrokerId(3)), "it burns", &message);
    event.cause = Some(IncidentKey::new("broker_dead", Target::Broker(BrokerId(3))));
    event.id = id.to_owned();
    event
}

/// The other side: what it answers, and what it got.
#[derive(Default)]
struct World {
    /// For everybody; nothing: it takes what comes.
    answer: Option<Failure>,
    /// For one recipient.
    answers: BTreeMap<String, Failure>,
    /// It never answers.
    hangs: bool,
    /// Each try, with the seconds since the start.
    tries: Vec<u64>,
    /// Recipient, subject, id and number held back of what it has taken.
    taken: Vec<(String, String, String, u32)>,
}

struct FakeCourier(Arc<Mutex<World>>, Instant);

impl Courier for FakeCourier {
    fn deliver<'a>(&'a mut self, parcel: &'a Parcel) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let hangs = {
                let mut world = self.0.lock().unwrap();
                world.tries.push(self.1.elapsed().as_secs());
                world.hangs
            };
            if hangs {
                std::future::pending::<()>().await;
            }
            let mut world = self.0.lock().unwrap();
            if let Some(failure) = world.answers.get(&parcel.to).or(world.answer.as_ref()) {
                return Err(failure.clone());
            }
            let (to, notice) = (parcel.to.clone(), &parcel.notice);
            world.taken.push((to, notice.subject.clone(), notice.id.clone(), parcel.held_back));
            Ok(())
        })
    }

    fn place(&self) -> String {
        "the other side".to_owned()
    }
}

/// An action in a folder, and the other side.
pub(super) struct Test {
    action: Arc<dyn Action>,
    world: Arc<Mutex<World>>,
}

pub(super) const LIMITS: Limits = Limits {
    attempt: Duration::from_secs(30),
    most: 10,
    snooze: Duration::ZERO,
    give_up_after: Duration::from_secs(3 * 24 * 3_600),
};

pub(super) fn start(folder: &Path, to: &[&str], limits: Limits) -> Test {
    start_in(BuildContext { folder: folder.to_owned(), ..context(&Arc::new(Fake::default())) }, to, limits)
}

pub(super) fn start_in(context: BuildContext, to: &[&str], limits: Limits) -> Test {
    let to: Vec<String> = to.iter().map(|to| (*to).to_owned()).collect();
    let world = Arc::new(Mutex::new(World::default()));
    let courier = FakeCourier(Arc::clone(&world), Instant::now());
    let action = post(&context, limits, Box::new(move |_| to.clone()), Box::new(courier));
    Test { action, world }
}

impl Test {
    pub(super) fn answer(&self, failure: Option<Failure>) {
        self.world.lock().unwrap().answer = failure;
    }

    pub(super) fn subjects(&self) -> Vec<String> {
        self.world.lock().unwrap().taken.iter().map(|(_, subject, _, _)| subject.clone()).collect()
    }

    pub(super) fn taken(&self) -> Vec<(String, String, String, u32)> {
        self.world.lock().unwrap().taken.clone()
    }

    pub(super) async fn send(&self, event: &Event) -> String {
        match self.action.execute(event, false).await {
            Ok(done) => done.summary,
            Err(error) => {
                format!("failed, {}: {}", if error.retry { "again" } else { "for good" }, error.message)
            }
        }
    }

    pub(super) async fn until_taken(&self, count: usize) {
        until("messages are taken", || self.world.lock().unwrap().taken.len() >= count).await;
    }

    pub(super) fn kinds(&self) -> Vec<String> {
        self.action.findings().into_iter().map(|finding| finding.kind).collect()
    }
}

pub(super) fn down() -> Option<Failure> {
    Some(Failure::unreachable("connection refused"))
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_for_ten_minutes_is_tried_ever_more_seldom_and_arrives_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let test = start(folder.path(), &["a"], LIMITS);
    test.answer(down());
    let said = test.send(&message("alert_x", "1-1", "broker 3 is gone")).await;
    assert_eq!(said, "queued: connection refused");
    // What comes while nothing gets out is told so at once.
    let asked = Instant::now();
    let said = test.send(&message("alert_y", "1-2", "and another thing")).await;
    assert_eq!((said.as_str(), asked.elapsed()), ("queued: connection refused", Duration::ZERO));
    tokio::time::sleep(Duration::from_secs(600)).await;
    let tries = test.world.lock().unwrap().tries.clone();
    assert_eq!(tries[..8], [0, 1, 3, 7, 15, 31, 63, 123], "the pauses double up to a minute");
    assert_eq!(tries.len(), 15, "{tries:?}");
    let found = test.action.findings();
    assert_eq!(test.kinds(), ["messages_waiting:plugin"]);
    assert_eq!(found[0].message, "2 messages of plugin to the other side wait: connection refused");
    test.answer(None);
    let back = Instant::now();
    test.until_taken(2).await;
    assert!(back.elapsed() <= Duration::from_secs(60), "{:?}", back.elapsed());
    assert_eq!(test.kinds(), [] as [&str; 0]);
    let counts = test.action.deliveries().unwrap();
    assert_eq!((counts.sent, counts.waiting, counts.undeliverable), (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_restart_loses_nothing_and_keeps_the_id() {
    let folder = tempfile::tempdir().unwrap();
    let test = start(folder.path(), &["a", "b"], LIMITS);
    test.answer(down());
    test.send(&message("alert_x", "1-1", "first")).await;
    test.send(&message("alert_y", "1-2", "second")).await;
    drop(test);
    let test = start(folder.path(), &["a", "b"], LIMITS);
    test.until_taken(4).await;
    let mut taken = test.world.lock().unwrap().taken.clone();
    taken.sort();
    let one = |to: &str, subject: &str, id: &str| (to.to_owned(), subject.to_owned(), id.to_owned(), 0);
    let expected = [
        one("a", "first", "1-1"),
        one("a", "second", "1-2"),
        one("b", "first", "1-1"),
        one("b", "second", "1-2"),
    ];
    assert_eq!(taken, expected);
    // The core gives it once more, as it does not know what became of it.
    assert_eq!(test.send(&message("alert_x", "1-1", "first")).await, "was taken before");
    drop(test);
    let test = start(folder.path(), &["a", "b"], LIMITS);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(test.subjects(), [] as [&str; 0], "what was sent is not on disk any more");
}

#[tokio::test(start_paused = true)]
async fn drk_36_a_server_that_hangs_holds_up_neither_the_action_nor_what_comes() {
    let folder = tempfile::tempdir().unwrap();
    let test = start(folder.path(), &["a"], LIMITS);
    test.world.lock().unwrap().hangs = true;
    let began = Instant::now();
    for n in 0..3 {
        let said = test.send(&message("alert_x", &format!("1-{n}"), "it hangs")).await;
        assert!(said.starts_with("queued"), "{said}");
    }
    assert!(began.elapsed() <= Duration::from_secs(10), "{:?}", began.elapsed());
    let on_disk = std::fs::read_dir(folder.path().join("plugin.outbox")).unwrap().count();
    assert_eq!(on_disk, 3, "each is written down before it counts as taken");
    test.world.lock().unwrap().hangs = false;
    test.until_taken(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_recipient_that_is_refused_costs_nobody_else_anything_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let test = start(folder.path(), &["a", "wrong", "b"], LIMITS);
    let no = Failure::Refused("550 no such mailbox".to_owned());
    test.world.lock().unwrap().answers.insert("wrong".to_owned(), no);
    let said = test.send(&message("alert_x", "1-1", "broker 3 is gone")).await;
    assert_eq!(said, "failed, for good: sent to a, b; given up for wrong: 550 no such mailbox");
    let counts = test.action.deliveries().unwrap();
    assert_eq!((counts.sent, counts.waiting, counts.undeliverable), (2, 0, 1));
    let found = test.action.findings();
    assert_eq!(test.kinds(), ["messages_lost:plugin"]);
    assert!(found[0].message.ends_with("\"broker 3 is gone\" to wrong: 550 no such mailbox"), "{found:?}");
    tokio::time::sleep(Duration::from_secs(25 * 3_600)).await;
    assert_eq!(test.kinds(), [] as [&str; 0]);
    assert_eq!(test.action.deliveries().unwrap().undeliverable, 1);
}

#[tokio::test(start_paused = true)]
async fn a_recipient_that_is_put_off_waits_alone() {
    let folder = tempfile::tempdir().unwrap();
    let test = start(folder.path(), &["grey", "b"], LIMITS);
    let later = Failure::Later("450 try again".to_owned());
    test.world.lock().unwrap().answers.insert("grey".to_owned(), later);
    test.send(&message("alert_x", "1-1", "first")).await;
    test.send(&message("alert_y", "1-2", "second")).await;
    assert_eq!(test.subjects(), ["first", "second"], "to b");
    tokio::time::sleep(Duration::from_secs(300)).await;
    test.world.lock().unwrap().answers.clear();
    test.until_taken(4).await;
    assert_eq!(test.subjects()[2..], ["first", "second"], "what belongs together arrives in its order");
}

#[tokio::test(start_paused = true)]
async fn no_message_overtakes_an_earlier_one_of_its_incident() {
    let folder = tempfile::tempdir().unwrap();
    let test = start(folder.path(), &["grey"], LIMITS);
    test.answer(Some(Failure::Later("450 try again".to_owned())));
    test.send(&message("alert_x", "1-1", "broker 3 is gone")).await;
    test.answer(None);
    test.send(&message("alert_resolved", "1-2", "it is back")).await;
    let mut other = message("alert_x", "1-3", "another incident");
    other.cause = None;
    assert_eq!(test.send(&other).await, "sent to grey");
    test.until_taken(3).await;
    assert_eq!(test.subjects(), ["another incident", "broker 3 is gone", "it is back"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_or_too_much_is_given_up_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { most: 2, give_up_after: Duration::from_secs(7_200), ..LIMITS };
    let test = start(folder.path(), &["a"], limits);
    test.answer(down());
    for n in 0..3 {
        test.send(&message(&format!("alert_{n}"), &format!("1-{n}"), &format!("message {n}"))).await;
    }
    assert_eq!(test.action.deliveries().unwrap().undeliverable, 1);
    tokio::time::sleep(Duration::from_secs(7_300)).await;
    let counts = test.action.deliveries().unwrap();
    assert_eq!((counts.waiting, counts.undeliverable), (0, 3));
    assert_eq!(std::fs::read_dir(folder.path().join("plugin.outbox")).unwrap().count(), 0);
    assert!(test.kinds().contains(&"messages_lost:plugin".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn drk_49_what_is_snoozed_is_sent_at_its_end_with_how_many_there_were() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { snooze: Duration::from_secs(1_200), ..LIMITS };
    let test = start(folder.path(), &["a"], limits);
    assert_eq!(test.send(&message("alert_x", "1-1", "one")).await, "sent to a");
    tokio::time::sleep(Duration::from_secs(600)).await;
    let said = test.send(&message("alert_x", "1-2", "two")).await;
    assert_eq!(said, "held back for 600 s, as the like was sent a moment ago");
    test.send(&message("alert_x", "1-3", "three")).await;
    assert_eq!(test.send(&message("alert_other", "1-4", "another event")).await, "sent to a");
    assert_eq!(test.subjects(), ["one", "another event"]);
    drop(test);
    // Over a restart, too.
    let test = start(folder.path(), &["a"], limits);
    tokio::time::sleep(Duration::from_secs(1_201)).await;
    let taken = test.world.lock().unwrap().taken.clone();
    assert_eq!(taken, [("a".to_owned(), "three".to_owned(), "1-3".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_is_over_while_it_is_snoozed_is_not_told_after_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { snooze: Duration::from_secs(1_200), ..LIMITS };
    let test = start(folder.path(), &["a"], limits);
    test.send(&message("alert_x", "1-1", "alert")).await;
    test.send(&message("alert_x", "1-2", "alert again")).await;
    test.send(&message("alert_resolved", "1-3", "over")).await;
    assert_eq!(test.subjects(), ["alert", "over"]);
    // It comes and goes: the end that is held back is not told while it lasts.
    test.send(&message("alert_x", "1-4", "alert once more")).await;
    test.send(&message("alert_resolved", "1-5", "over again")).await;
    test.send(&message("alert_x", "1-6", "it lasts")).await;
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    assert_eq!(test.subjects(), ["alert", "over", "it lasts"]);
    assert_eq!(test.world.lock().unwrap().taken[2].3, 2, "two were not told");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_sends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let test = start(folder.path(), &["a"], LIMITS);
    let said = test.action.execute(&message("alert_x", "1-1", "broker 3 is gone"), true).await.unwrap();
    assert_eq!(said.summary, "would send \"broker 3 is gone\" to a");
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(test.world.lock().unwrap().tries, [] as [u64; 0]);
}

#[tokio::test(start_paused = true)]
async fn without_a_disk_messages_are_sent_and_what_cannot_be_sent_is_not_said_to_be_safe() {
    let folder = tempfile::tempdir().unwrap();
    // A file is where the folder should be.
    std::fs::write(folder.path().join("plugin.outbox"), "").unwrap();
    let test = start(folder.path(), &["a"], LIMITS);
    assert_eq!(test.send(&message("alert_x", "1-1", "sent all the same")).await, "sent to a");
    assert!(test.kinds().contains(&"messages_unsaved:plugin".to_owned()));
    test.answer(down());
    let event = message("alert_x", "1-2", "not safe");
    let said = test.send(&event).await;
    assert!(said.starts_with("failed, again: neither sent nor written to the state dir"), "{said}");
    let said = test.send(&event).await;
    assert!(said.starts_with("failed, again: neither sent nor written to the state dir"), "{said}");
    std::fs::remove_file(folder.path().join("plugin.outbox")).unwrap();
    std::fs::create_dir(folder.path().join("plugin.outbox")).unwrap();
    assert_eq!(test.send(&event).await, "queued: connection refused");
    assert!(!test.kinds().contains(&"messages_unsaved:plugin".to_owned()));
    assert_eq!(std::fs::read_dir(folder.path().join("plugin.outbox")).unwrap().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_a_crash_has_cut_off_costs_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let test = start(folder.path(), &["a"], LIMITS);
    test.answer(down());
    test.send(&message("alert_x", "1-1", "whole")).await;
    drop(test);
    let outbox = folder.path().join("plugin.outbox");
    std::fs::write(outbox.join("000000000002.json"), "{\"number\": 2, \"to").unwrap();
    let test = start(folder.path(), &["a"], LIMITS);
    test.until_taken(1).await;
    assert_eq!(test.subjects(), ["whole"]);
    assert!(outbox.join("000000000002.unreadable").exists());
}

#[tokio::test(start_paused = true)]
async fn drk_37_any_event_can_be_told_whatever_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let test = start(folder.path(), &["a"], LIMITS);
    let event = Event::new("my_event", Target::Cluster, "", &());
    assert_eq!(test.send(&event).await, "sent to a");
    assert_eq!(test.subjects(), ["my event for cluster"]);
}

#[test]
fn bounds_that_let_nothing_out_are_told_by_their_keys() {
    let fine = Limits {
        attempt: Duration::from_secs(1),
        most: 1,
        snooze: Duration::ZERO,
        give_up_after: Duration::from_secs(1),
    };
    assert!(fine.problems().is_empty());
    let none =
        Limits { attempt: Duration::ZERO, most: 0, snooze: Duration::ZERO, give_up_after: Duration::ZERO };
    let paths: Vec<String> = none.problems().into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, ["queue", "timeout", "give_up_after"]);
}
