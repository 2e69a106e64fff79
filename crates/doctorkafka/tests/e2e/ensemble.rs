//! Three ZooKeeper servers that elect a leader, and logins to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use doctorkafka::store::{ClusterStore, Standing, StoreConfig, StoreError, Term};
use lab::Ensemble;
use serde_json::json;

use crate::stores::{Service, config, holds};
use crate::zookeeper::unknown;

/// What the servers grant a session at most: 20 of their ticks.
const GRANTED: Duration = Duration::from_secs(10);

fn store(ensemble: &Ensemble, auth: serde_json::Value) -> Result<StoreConfig> {
    let mut text = json!({"type": "zookeeper", "connect": ensemble.connect(), "lease": "15s"});
    if !auth.is_null() {
        (text["acl"], text["auth"]) = ("creator".into(), auth);
    }
    config(text)
}

fn term(opened: &ClusterStore) -> Option<Term> {
    match opened.lease.standing() {
        Standing::Holds(term) => Some(term),
        _ => None,
    }
}

/// Looks again and again who holds the lease, and never finds two.
struct Watch {
    goes_on: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
    twice: Arc<AtomicUsize>,
}

impl Watch {
    fn over(services: &[&ClusterStore]) -> Self {
        let leases: Vec<_> = services.iter().map(|opened| Arc::clone(&opened.lease)).collect();
        let (goes_on, looks, twice) = (Arc::new(AtomicBool::new(true)), Arc::default(), Arc::default());
        let watch = Self { goes_on, looks, twice };
        let (goes_on, looks, twice) =
            (Arc::clone(&watch.goes_on), Arc::clone(&watch.looks), Arc::clone(&watch.twice));
        std::thread::spawn(move || {
            while goes_on.load(Ordering::Relaxed) {
                let hold =
                    leases.iter().filter(|lease| matches!(lease.standing(), Standing::Holds(_))).count();
                looks.fetch_add(1, Ordering::Relaxed);
                twice.fetch_add(usize::from(hold > 1), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        watch
    }

    fn end(&self) -> Result<()> {
        self.goes_on.store(false, Ordering::Relaxed);
        let (looks, twice) = (self.looks.load(Ordering::Relaxed), self.twice.load(Ordering::Relaxed));
        println!("looked {looks} times who holds the lease");
        ensure!(looks > 1_000 && twice == 0, "two held the lease in {twice} of {looks} looks");
        Ok(())
    }
}

/// Until it is written: how long that took.
async fn written(opened: &ClusterStore, value: &str, within: Duration) -> Result<Duration> {
    let began = Instant::now();
    loop {
        match opened.store.put("key", value.as_bytes().to_vec()).await {
            Ok(_) => return Ok(began.elapsed()),
            Err(error) => {
                ensure!(began.elapsed() < within, "{error:?}: {:?}", opened.lease.standing());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

#[test]
fn a_leader_of_zookeeper_that_is_killed_or_hangs_costs_no_lease_that_lives_and_gives_none_to_two()
-> Result<()> {
    let ensemble = Ensemble::start(&[])?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let config = store(&ensemble, serde_json::Value::Null)?;
        let (one, two) = (Service::new("one", &config)?, Service::new("two", &config)?);
        let first = one.open_to_write().await?;
        let second = two.open(&[])?;
        let watch = Watch::over(&[&first, &second]);
        let before = term(&first).context("it holds the lease")?;
        written(&first, "before", GRANTED).await?;

        // Killed: another is elected, the session goes on there, and so does the lease.
        let leader = ensemble.leader()?;
        ensemble.kill(leader)?;
        let took = written(&first, "without a leader", GRANTED * 3).await?;
        println!("written {took:.1?} after the leader was killed");
        ensure!(term(&first).is_some(), "it was lost: {:?}", first.lease.standing());
        let elected = tokio::task::block_in_place(|| ensemble.wait_serving())?;
        println!("a server leads after {elected:.1?} more");
        if took < GRANTED / 2 {
            ensure!(
                term(&first) == Some(before),
                "a lease was lost that lived: {:?}",
                first.lease.standing()
            );
        }
        tokio::task::block_in_place(|| ensemble.restart(leader))?;

        // Hung: it answers nobody, and is found out by the others.
        let leader = ensemble.leader()?;
        let before = term(&first).context("it holds the lease")?;
        ensemble.pause(leader)?;
        let took = written(&first, "with a leader that hangs", GRANTED * 6).await;
        ensemble.resume(leader)?;
        // Another service may have taken over: it depends on how soon the others have found out.
        let acts = match took {
            Ok(took) => {
                println!("written {took:.1?} after the leader was stopped");
                &first
            }
            Err(_) => &second,
        };
        holds(acts, GRANTED * 3).await?;
        ensure!(term(acts).is_some_and(|now| now.0 >= before.0), "terms do not grow");

        // The service that acts is gone: the other one takes over with what was written.
        let (acts, other) = if term(&first).is_some() { (first, second) } else { (second, first) };
        let kept = acts.store.get("key").await?.context("nothing is lost")?;
        drop(acts);
        let began = Instant::now();
        holds(&other, GRANTED * 3).await?;
        println!("taken over after {:.1?}", began.elapsed());
        let read = other.store.get("key").await?.context("nothing is lost")?;
        ensure!(read == kept, "{read:?} after {kept:?}");
        watch.end()
    })
}

#[test]
fn services_log_in_to_zookeeper_by_sasl_and_nobody_else_gets_at_what_is_theirs() -> Result<()> {
    let ensemble = Ensemble::start(&[("doctor", "hunter 2"), ("other", "swordfish")])?;
    let folder = tempfile::tempdir()?;
    let login = |user: &str, password: &str, scheme: &str| -> Result<serde_json::Value> {
        let file = folder.path().join(format!("{user}-{password}"));
        std::fs::write(&file, format!("{password}\n"))?;
        Ok(json!({"user": user, "password_file": file, "scheme": scheme}))
    };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let right = store(&ensemble, login("doctor", "hunter 2", "sasl")?)?;
        let owner = Service::new("owner", &right)?.open_to_write().await?;
        owner.store.put("key", b"secret".to_vec()).await?;
        for (what, auth, why) in [
            ("a wrong password", login("doctor", "hunter 3", "sasl")?, "refuses the login"),
            ("nobody that is known", login("nobody", "hunter 4", "sasl")?, "refuses the login"),
            ("scheme digest", login("doctor", "hunter 2", "digest")?, "wants one"),
            ("no login", serde_json::Value::Null, "wants one"),
            ("another user", login("other", "swordfish", "sasl")?, "we may not do this"),
        ] {
            let stranger = Service::new("stranger", &store(&ensemble, auth)?)?;
            let opened = stranger.open(&[])?;
            let told = unknown(&opened, GRANTED * 2).await.with_context(|| what.to_owned())?;
            ensure!(told.contains(why) && !told.contains("hunter"), "{what}: {told}");
            let read = opened.store.get("key").await;
            ensure!(matches!(read, Err(StoreError::Read { .. })), "{what}: {read:?}");
        }
        // The session, and with it the login, goes on at another server.
        let leader = ensemble.leader()?;
        ensemble.kill(leader)?;
        let took = written(&owner, "after an election", GRANTED * 3).await?;
        println!("written {took:.1?} after the leader was killed");
        Ok(())
    })
}
