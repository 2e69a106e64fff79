//! Messages of several services with one store.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::BoxFuture;

use super::tests::{LIMITS, Test, down, message, start, start_in};
use crate::plugin::BuildContext;
use crate::plugins::fakes::{Fake, context};
use crate::shell::journal::{Journal, MESSAGES};
use crate::store::memory::MemoryStore;
use crate::store::{Lease, Standing, StateStore, Tenure, Term};

/// A lease as the test says.
struct Said(Mutex<Standing>);

impl Lease for Said {
    fn standing(&self) -> Standing {
        self.0.lock().unwrap().clone()
    }

    fn release(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// One of several services, with a folder of its own.
struct Service {
    lease: Arc<Said>,
    tenure: Arc<Tenure>,
    folder: tempfile::TempDir,
    test: Test,
}

fn service(store: &Arc<MemoryStore>) -> Service {
    service_in(store, tempfile::tempdir().unwrap())
}

fn service_in(store: &Arc<MemoryStore>, folder: tempfile::TempDir) -> Service {
    let lease = Arc::new(Said(Mutex::new(Standing::LooksOn { why: "a test".to_owned() })));
    let tenure = Tenure::new(Arc::clone(&lease) as Arc<dyn Lease>);
    let shared = Some(Journal::new(Arc::clone(store) as Arc<dyn StateStore>, "test"));
    let context = BuildContext {
        folder: folder.path().to_owned(),
        shared,
        tenure: Arc::clone(&tenure),
        ..context(&Arc::new(Fake::default()))
    };
    let test = start_in(context, &["a"], LIMITS);
    Service { lease, tenure, folder, test }
}

impl Service {
    fn acts(&self, term: u64) {
        *self.lease.0.lock().unwrap() = Standing::Holds(Term(term));
        self.tenure.act_in(Some(Term(term)));
    }

    fn looks_on(&self) {
        *self.lease.0.lock().unwrap() = Standing::LooksOn { why: "a test".to_owned() };
        self.tenure.act_in(None);
    }
}

async fn stored(store: &Arc<MemoryStore>) -> usize {
    store.list(&format!("clusters/test/{MESSAGES}")).await.unwrap().len()
}

/// Longer than it takes to see that a term has begun or is over.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_sent_by_the_service_that_acts_next() {
    let store = Arc::new(MemoryStore::default());
    let (first, second) = (service(&store), service(&store));
    first.acts(7);
    a_while().await;
    first.test.answer(down());
    assert_eq!(first.test.send(&message("alert_x", "1-1", "first")).await, "queued: connection refused");
    first.test.send(&message("alert_y", "1-2", "second")).await;
    assert_eq!(stored(&store).await, 2);
    a_while().await;
    assert_eq!(second.test.subjects(), [] as [&str; 0], "it does not act");
    // Its host is gone.
    drop(first);
    second.acts(8);
    second.test.until_taken(2).await;
    let ids: Vec<String> = second.test.taken().into_iter().map(|(_, _, id, _)| id).collect();
    assert_eq!(ids, ["1-1", "1-2"], "as they would have been sent by the other");
    a_while().await;
    assert_eq!(stored(&store).await, 0);
}

#[tokio::test(start_paused = true)]
async fn who_acts_no_longer_leaves_what_waits_to_the_other() {
    let store = Arc::new(MemoryStore::default());
    let (first, second) = (service(&store), service(&store));
    first.acts(7);
    a_while().await;
    first.test.answer(down());
    first.test.send(&message("alert_x", "1-1", "first")).await;
    first.looks_on();
    a_while().await;
    first.test.answer(None);
    second.acts(8);
    second.test.until_taken(1).await;
    second.looks_on();
    first.acts(9);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(first.test.subjects(), [] as [&str; 0]);
    assert_eq!(first.test.send(&message("alert_x", "1-2", "next")).await, "sent to a");
    assert_eq!(second.test.subjects(), ["first"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_the_store_is_not_said_to_be_taken() {
    let store = Arc::new(MemoryStore::default());
    let one = service(&store);
    one.acts(7);
    a_while().await;
    one.test.answer(down());
    store.unwritable.store(true, Ordering::SeqCst);
    let said = one.test.send(&message("alert_x", "1-1", "not safe")).await;
    assert!(said.starts_with("failed, again: neither sent nor written to the state store"), "{said}");
    assert!(one.test.kinds().contains(&"messages_unsaved:plugin".to_owned()));
    store.unwritable.store(false, Ordering::SeqCst);
    let said = one.test.send(&message("alert_x", "1-1", "not safe")).await;
    assert!(said.starts_with("queued"), "{said}");
    assert_eq!(stored(&store).await, 1);
    // It was taken by nobody when the term was over: the core of whoever acts next gives it again, also to this one.
    store.unwritable.store(true, Ordering::SeqCst);
    one.test.send(&message("alert_x", "1-2", "lost with the term")).await;
    one.looks_on();
    a_while().await;
    store.unwritable.store(false, Ordering::SeqCst);
    one.test.answer(None);
    one.acts(9);
    one.test.until_taken(1).await;
    assert_eq!(one.test.send(&message("alert_x", "1-2", "given again")).await, "sent to a");
    assert_eq!(one.test.subjects(), ["not safe", "given again"]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_without_a_store_is_sent_from_memory_and_kept_as_soon_as_that_can_be() {
    let store = Arc::new(MemoryStore::default());
    let one = service(&store);
    assert_eq!(one.test.send(&message("alert_x", "1-1", "the store is gone")).await, "sent to a");
    one.test.answer(down());
    one.test.send(&message("alert_y", "1-2", "and the mail server")).await;
    assert_eq!(stored(&store).await, 0);
    one.acts(7);
    a_while().await;
    assert_eq!(stored(&store).await, 1);
    one.test.answer(None);
    one.test.until_taken(2).await;
    a_while().await;
    assert_eq!((stored(&store).await, one.test.subjects().len()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn messages_move_from_the_state_dir_into_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let alone = start(folder.path(), &["a"], LIMITS);
    alone.answer(down());
    alone.send(&message("alert_x", "1-1", "from before")).await;
    drop(alone);
    let store = Arc::new(MemoryStore::default());
    let one = service_in(&store, folder);
    one.test.answer(down());
    one.acts(7);
    a_while().await;
    assert_eq!(stored(&store).await, 1);
    let left = std::fs::read_dir(one.folder.path().join("plugin.outbox")).unwrap().count();
    assert_eq!(left, 0);
    one.test.answer(None);
    one.test.until_taken(1).await;
    assert_eq!(one.test.subjects(), ["from before"]);
}

#[tokio::test]
async fn messages_are_no_part_of_the_core_s_memory() {
    let store = Arc::new(MemoryStore::default());
    let journal = Journal::new(Arc::clone(&store) as Arc<dyn StateStore>, "test");
    store.put(&format!("clusters/test/{MESSAGES}mail/1"), b"not even JSON".to_vec()).await.unwrap();
    assert!(journal.load().await.is_ok());
}
