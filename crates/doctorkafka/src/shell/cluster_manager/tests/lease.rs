//! The lease is had by another, or comes and goes.

use super::*;
use control::guard::ACT_WITHOUT_OWNER;

/// A lease that is given and taken away as the test says.
struct Given(Mutex<Standing>);

impl Given {
    fn set(&self, standing: Standing) {
        *self.0.lock().unwrap() = standing;
    }
}

impl Lease for Given {
    fn standing(&self) -> Standing {
        self.0.lock().unwrap().clone()
    }
    fn release(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

fn looks_on() -> Standing {
    Standing::LooksOn { why: "the service b acts".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn who_looks_on_looks_and_does_nothing_until_it_holds_the_lease() {
    let (store, world) = parts();
    let lease = Arc::new(Given(Mutex::new(looks_on())));
    let looped = start_with(&store, &world, Arc::clone(&lease) as Arc<dyn Lease>);
    world.want("do_good");
    let seen = looped.until("it looks", |s| s.looks_on.is_some() && s.state.is_some()).await;
    assert_eq!(seen.trouble, None);
    let seen = looped.cycles(10).await;
    assert!(incident(&seen, LOOKS_ON).is_some() && incident(&seen, STORE_TROUBLE).is_none());
    assert!(seen.state.as_ref().unwrap().get::<Liveness>().is_some());
    let answer = looped.order(OrderKind::Pause).await.unwrap_err();
    assert!(answer.contains("looks on") && answer.contains("the service b acts"), "{answer}");
    assert_eq!((world.executed(), world.reported.load(Ordering::SeqCst)), (Vec::new(), 0));
    assert_eq!(store.list("").await.unwrap(), Vec::<String>::new());

    lease.set(Standing::Holds(Term(1)));
    let seen = looped.until("done", |s| ended(s, "do_good").is_some()).await;
    assert_eq!((seen.looks_on.clone(), incident(&seen, LOOKS_ON)), (None, None));
    assert_eq!(world.executed(), ["do_good"]);
}

#[tokio::test(start_paused = true)]
async fn who_loses_the_lease_writes_and_does_nothing_more_and_knows_later_what_others_wrote() {
    let (store, world) = parts();
    let lease = Arc::new(Given(Mutex::new(Standing::Holds(Term(1)))));
    let looped = start_with(&store, &world, Arc::clone(&lease) as Arc<dyn Lease>);
    world.want("do_slow");
    looped.until("it is at work", |s| s.acts > 0).await;
    looped.until("it is doing it", |_| world.executed() == ["do_slow"]).await;
    lease.set(looks_on());
    let seen = looped.until("it has stepped down", |s| s.looks_on.is_some()).await;
    assert_eq!(
        (seen.acts, seen.memory.executions.iter().count()),
        (0, 0),
        "it is another service's work now"
    );
    let stored = store.list("clusters/").await.unwrap();
    let values = async || {
        let mut values = Vec::new();
        for key in store.list("clusters/").await.unwrap() {
            values.push(store.get(&key).await.unwrap());
        }
        values
    };
    let before = values().await;
    // What it was doing comes to its end, and is told to nobody; what it is asked for it does not do.
    world.released.store(true, Ordering::SeqCst);
    world.want("do_good");
    looped.cycles(20).await;
    assert_eq!((store.list("clusters/").await.unwrap(), values().await), (stored, before));
    assert_eq!(world.executed(), ["do_slow"]);

    // The other one has paused, and is gone.
    let journal = Journal::new(Arc::clone(&store) as Arc<dyn StateStore>, "test");
    let paused = control::order::Wishes {
        paused: Some(control::order::Wish {
            by: "ann".to_owned(),
            reason: "x".to_owned(),
            since: Timestamp(1),
            until: None,
        }),
        ..control::order::Wishes::default()
    };
    journal.persist("wishes", Some(&serde_json::to_value(paused).unwrap())).await.unwrap();
    lease.set(Standing::Holds(Term(2)));
    let seen = looped.until("it acts again", |s| s.looks_on.is_none()).await;
    let by = |s: &Snapshot| s.memory.wishes.paused.as_ref().map(|wish| wish.by.clone());
    assert_eq!(by(&seen).as_deref(), Some("ann"));
    let seen = looped.cycles(10).await;
    assert!(!seen.held.is_empty() && seen.held.iter().all(|held| held.check == Check::Paused));
    assert_eq!(world.executed(), ["do_slow"]);
    looped.order(OrderKind::Resume).await.unwrap();
    looped.until("done", |_| world.executed().contains(&"do_good".to_owned())).await;
}

/// A service that works on what must not be done twice loses the lease for a moment.
async fn lost_in_the_middle(changed: bool) -> (Loop, Arc<World>, Arc<Given>) {
    let (store, world) = parts();
    let lease = Arc::new(Given(Mutex::new(Standing::Holds(Term(1)))));
    let looped = start_with(&store, &world, Arc::clone(&lease) as Arc<dyn Lease>);
    world.want("do_once");
    looped.until("it is doing it", |s| s.acts > 0 && world.executed() == ["do_once"]).await;
    // What is asked for without an incident is asked for anew after a look into the store.
    world.wanted.lock().unwrap().clear();
    lease.set(Standing::Unknown { why: "the store does not answer".to_owned() });
    looped.until("it has stepped down", |s| s.trouble.is_some()).await;
    let seen = looped.cycles(3).await;
    assert!(incident(&seen, ACT_WITHOUT_OWNER).is_some());
    if changed {
        // Another service has acted meanwhile, and has given up what it could not know of.
        for key in store.list("clusters/test/executions/").await.unwrap() {
            store.delete(&key).await.unwrap();
        }
    }
    lease.set(Standing::Holds(Term(2)));
    looped.until("it acts again", |s| s.trouble.is_none() && s.looks_on.is_none()).await;
    (looped, world, lease)
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_done_twice_is_waited_for_again_when_the_lease_is_back() {
    let (looped, world, _lease) = lost_in_the_middle(false).await;
    let seen = looped.cycles(5).await;
    assert_eq!((ended(&seen, "do_once"), incident(&seen, ACT_WITHOUT_OWNER)), (None, None));
    world.released.store(true, Ordering::SeqCst);
    let seen = looped.until("its end is known", |s| ended(s, "do_once").is_some()).await;
    assert_eq!(ended(&seen, "do_once").as_deref(), Some("did it slowly"));
    assert_eq!(world.executed(), ["do_once"]);
    looped.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_knows_of_any_more_is_told_until_it_ends() {
    let (looped, world, _lease) = lost_in_the_middle(true).await;
    let seen = looped.cycles(5).await;
    let told = incident(&seen, ACT_WITHOUT_OWNER).unwrap();
    assert!(told.contains("once still works on do once for cluster"), "{told}");
    world.released.store(true, Ordering::SeqCst);
    looped.until("it has ended", |s| incident(s, ACT_WITHOUT_OWNER).is_none()).await;
    looped.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_ends_waits_for_what_it_has_left_running() {
    let (store, world) = parts();
    let lease = Arc::new(Given(Mutex::new(Standing::Holds(Term(1)))));
    let looped = start_with(&store, &world, Arc::clone(&lease) as Arc<dyn Lease>);
    world.want("do_once");
    looped.until("it is doing it", |s| s.acts > 0 && world.executed() == ["do_once"]).await;
    lease.set(looks_on());
    looped.until("it has stepped down", |s| s.looks_on.is_some()).await;
    let began = Instant::now();
    looped.stop.send(true).unwrap();
    let releases = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        world.released.store(true, Ordering::SeqCst);
    };
    let ends = async {
        looped.task.await.unwrap();
        began.elapsed()
    };
    let ((), waited) = tokio::join!(releases, ends);
    assert!(waited >= Duration::from_millis(700) && waited < Duration::from_secs(1), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_ends_begins_nothing_that_the_next_would_have_to_guess_about() {
    let (store, world) = parts();
    let looped = start(&store, &world);
    world.want("do_slow");
    looped.until("it is doing it", |s| s.acts > 0 && world.executed() == ["do_slow"]).await;
    // It is asked for in the very cycles of the end.
    looped.stop.send(true).unwrap();
    world.want("do_once");
    world.released.store(true, Ordering::SeqCst);
    looped.task.await.unwrap();
    for key in store.list("clusters/test/executions/").await.unwrap() {
        let value = String::from_utf8(store.get(&key).await.unwrap().unwrap().value).unwrap();
        assert!(!value.contains("do_once"), "{key}: {value}");
    }
    assert_eq!(world.executed(), ["do_slow"]);
}
