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
        // It keeps no service alive that ends.
        let leases: Vec<_> = services.iter().map(|opened| Arc::downgrade(&opened.lease)).collect();
        let (goes_on, looks, twice) = (Arc::new(AtomicBool::new(true)), Arc::default(), Arc::default());
        let watch = Self { goes_on, looks, twice };
        let (goes_on, looks, twice) =
            (Arc::clone(&watch.goes_on), Arc::clone(&watch.looks), Arc::clone(&watch.twice));
        std::thread::spawn(move || {
            while goes_on.load(Ordering::Relaxed) {
                let standings = leases.iter().filter_map(|lease| Some(lease.upgrade()?.standing()));
                let hold = standings.filter(|standing| matches!(standing, Standing::Holds(_))).count();
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

/// Until one of them has written it, and which that is.
async fn written<'a>(
    services: &[&'a ClusterStore],
    value: &str,
    within: Duration,
) -> Result<&'a ClusterStore> {
    let began = Instant::now();
    loop {
        for opened in services.iter().filter(|opened| term(opened).is_some()) {
            if opened.store.put("key", value.as_bytes().to_vec()).await.is_ok() {
                println!("{value}: written after {:.1?}", began.elapsed());
                return Ok(opened);
            }
        }
        let standings: Vec<_> = services.iter().map(|opened| opened.lease.standing()).collect();
        ensure!(began.elapsed() < within, "{value}: nobody writes: {standings:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_leader_of_zookeeper_that_is_killed_or_hangs_gives_the_lease_to_no_two_and_loses_nothing() -> Result<()> {
    let ensemble = Ensemble::start(&[])?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let config = store(&ensemble, serde_json::Value::Null)?;
        let (one, two) = (Service::new("one", &config)?, Service::new("two", &config)?);
        let first = one.open_to_write().await?;
        let second = two.open(&[])?;
        let watch = Watch::over(&[&first, &second]);
        written(&[&first], "before", GRANTED).await?;
        its_lease_outlives_an_election(&ensemble, &first).await?;
        what_was_confirmed_outlives_a_leader_that_is_killed(&ensemble, &[&first, &second]).await?;
        one_acts_when_a_leader_has_hung(&ensemble, &[&first, &second]).await?;

        // The service that acts is gone: the other one takes over with what was written.
        let (acts, other) = if term(&second).is_some() { (second, first) } else { (first, second) };
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

/// While nothing is written the session goes on at another server, for longer than it would last by itself.
async fn its_lease_outlives_an_election(ensemble: &Ensemble, first: &ClusterStore) -> Result<()> {
    let before = term(first).context("it holds the lease")?;
    let leader = ensemble.leader()?;
    ensemble.kill(leader)?;
    let elected = tokio::task::block_in_place(|| ensemble.wait_serving())?;
    println!("another server leads after {elected:.1?}");
    let until = Instant::now() + GRANTED + GRANTED / 2;
    while Instant::now() < until {
        ensure!(term(first) == Some(before), "a lease was lost that lives: {:?}", first.lease.standing());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    written(&[first], "after an election", GRANTED).await?;
    tokio::task::block_in_place(|| ensemble.restart(leader))
}

/// In the middle of writes: of the last one it may not be known whether it was written, and then another service may take over.
async fn what_was_confirmed_outlives_a_leader_that_is_killed(
    ensemble: &Ensemble,
    services: &[&ClusterStore],
) -> Result<()> {
    let first = services.first().context("a service")?;
    let leader = ensemble.leader()?;
    let confirmed = {
        let store = Arc::clone(&first.store);
        let (tells, mut told) = tokio::sync::watch::channel(0_u64);
        let writing = tokio::spawn(async move {
            let mut last = 0;
            while store.put("number", (last + 1).to_string().into_bytes()).await.is_ok() {
                last += 1;
                tells.send_replace(last);
            }
            last
        });
        // Amid writes, for sure.
        tokio::time::timeout(GRANTED, told.wait_for(|written| *written >= 20)).await??;
        ensemble.kill(leader)?;
        writing.await?
    };
    let acts = written(services, "after a leader that was killed amid writes", GRANTED * 4).await?;
    let read = acts.store.get("number").await?.context("nothing is lost")?;
    let found: u64 = String::from_utf8(read.value)?.parse()?;
    ensure!(found == confirmed || found == confirmed + 1, "{found} after {confirmed}");
    tokio::task::block_in_place(|| ensemble.restart(leader))
}

/// It keeps its connections and answers nobody; the other servers find that out.
async fn one_acts_when_a_leader_has_hung(ensemble: &Ensemble, services: &[&ClusterStore]) -> Result<()> {
    tokio::task::block_in_place(|| ensemble.wait_serving())?;
    let before = services.iter().find_map(|opened| term(opened)).context("one holds the lease")?;
    let leader = ensemble.leader()?;
    ensemble.pause(leader)?;
    let acts = written(services, "with a leader that hangs", GRANTED * 4).await?;
    ensemble.resume(leader)?;
    // For as long as whoever held the lease before could think that it does.
    tokio::time::sleep(GRANTED).await;
    let still = written(services, "after a leader that hung", GRANTED * 4).await?;
    ensure!(term(still).is_some_and(|now| now.0 >= before.0), "terms do not grow");
    println!("the same service acts: {}", std::ptr::eq(acts, still));
    Ok(())
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
        written(&[&owner], "after an election", GRANTED * 3).await?;
        Ok(())
    })
}
