//! Real Kafka does what the accounts of the conformance scripts tell, and so what the simulator does
//! (`conformance_sim.rs`). One cluster of each version serves all scripts, each on topics of its own; the versions run
//! side by side, because most of the time they wait for sessions to end.

mod conformance;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use cluster::{
    BoxFuture, BrokerAddress, BrokerId, ConfigChange, ConfigResource, LogWriter, NewRecord, Reader, Writer,
};
use conformance::play::{Patience, Stage, play};
use conformance::script::{self, BROKERS, Script};
use conformance::simulated::{Simulated, VERSIONS};
use kafka::{ConnectionConfig, Kafka, Security, parse_bootstrap};
use lab::{Cluster, Cut, Mode, Version};
use sim::fault::{Party, Who};
use sim::{Fault, Random};

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// A record, and what a follower takes at once: a throttled one has no more for a while.
const RECORD: usize = 4 << 10;
const FETCH: &str = "8192";

#[test]
fn real_kafka_does_what_the_accounts_tell() -> Result<()> {
    let scripts = script::all()?;
    let scripts = &scripts;
    thread::scope(|scope| {
        let runs = VERSIONS.map(|version| (version, scope.spawn(move || on(version, scripts))));
        let mut wrong = Vec::new();
        for (version, run) in runs {
            let outcome = run.join().map_err(|_| anyhow!("{version}: panicked"))?;
            wrong.extend(outcome.with_context(|| format!("on {version}"))?);
        }
        ensure!(wrong.is_empty(), "{} scripts differ:\n\n{}", wrong.len(), wrong.join(", "));
        Ok(())
    })
}

/// Plays all scripts on one cluster, and gives what differs.
fn on(version: &str, scripts: &[Script]) -> Result<Vec<String>> {
    let began = Instant::now();
    let (kafka, mode) = match version {
        "zookeeper" => (Version::V3_9, Mode::ZooKeeper),
        "3.9" => (Version::V3_9, Mode::KraftIsolated),
        _ => (Version::V4_3, Mode::KraftIsolated),
    };
    let cluster = Cluster::builder()
        .version(kafka)
        .mode(mode)
        .brokers(BROKERS)
        .property("auto.leader.rebalance.enable", "false")
        .property("replica.fetch.max.bytes", FETCH)
        .groups(true)
        .start()?;
    println!("{version}: ready after {:.0?}", began.elapsed());
    let cluster = Arc::new(cluster);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut wrong = Vec::new();
    for script in scripts {
        let began = Instant::now();
        let expected = runtime.block_on(play(&Simulated::new(script, version, 0), script, None))?;
        let stage = Real::new(Arc::clone(&cluster), runtime.handle().clone())?;
        runtime.block_on(stage.create(script)).with_context(|| format!("preparing {}", script.name))?;
        let seen = runtime.block_on(play(&stage, script, Some(&expected)));
        let seen = seen.with_context(|| script.name.clone())?;
        let outcome = seen.agrees(&expected);
        let word = if outcome.is_ok() { "as expected" } else { "DIFFERS" };
        println!("{version}: {} {word} after {:.1?}", script.name, began.elapsed());
        if let Err(why) = outcome {
            println!("{why}");
            wrong.push(format!("{} on {version}", script.name));
            stage.cuts().clear();
            clean_up(&cluster)?;
            runtime.block_on(lift_throttles(&stage))?;
        }
    }
    Ok(wrong)
}

/// After a script that was not played to its end: the next one finds a cluster that is well.
fn clean_up(cluster: &Cluster) -> Result<()> {
    for id in cluster.broker_ids() {
        if cluster.pid(id)?.is_none() {
            cluster.start(id)?;
        }
    }
    cluster.wait_ready()?;
    let ongoing = cluster.ongoing()?;
    let cancels: Vec<_> = ongoing.iter().map(|it| (&*it.topic, it.partition, None)).collect();
    if !cancels.is_empty() {
        cluster.alter_reassignments(&cancels)?;
    }
    Ok(())
}

/// See [`clean_up`].
async fn lift_throttles(stage: &Real) -> Result<()> {
    let brokers = stage.cluster.broker_ids().into_iter().map(|id| ConfigResource::Broker(BrokerId(id)));
    let lift = || vec![ConfigChange::Delete("follower.replication.throttled.rate".to_owned())];
    for outcome in stage.kafka.alter_configs(&brokers.map(|of| (of, lift())).collect()).await?.into_values() {
        outcome?;
    }
    Ok(())
}

/// A cluster of the lab.
struct Real {
    cluster: Arc<Cluster>,
    /// Brokers that do not reach the controller.
    cuts: Arc<Mutex<Vec<Cut>>>,
    kafka: Kafka,
    runtime: tokio::runtime::Handle,
    began: Instant,
}

impl Real {
    fn new(cluster: Arc<Cluster>, runtime: tokio::runtime::Handle) -> Result<Self> {
        let bootstrap = parse_bootstrap(&cluster.bootstrap())?;
        let client_id = "conformance".to_owned();
        let kafka = Kafka::new(ConnectionConfig { bootstrap, security: Security::plaintext(), client_id });
        Ok(Self { cluster, cuts: Arc::default(), kafka, runtime, began: Instant::now() })
    }

    fn cuts(&self) -> MutexGuard<'_, Vec<Cut>> {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a script's topics, with as many bytes as it says.
    async fn create(&self, script: &Script) -> Result<()> {
        let min_in_sync = script.min_in_sync.to_string();
        for (name, topic) in &script.cluster.topics {
            let lists: Vec<Vec<i32>> =
                topic.partitions.iter().map(|it| it.replicas.iter().map(|id| id.0).collect()).collect();
            let lists: Vec<&[i32]> = lists.iter().map(Vec::as_slice).collect();
            self.cluster.create_topic_with(name, &lists, &[("min.insync.replicas", &min_in_sync)])?;
        }
        let mut noise = Random::new(0);
        for (at, bytes) in &script.cluster.sizes {
            for _ in 0..*bytes / RECORD as u64 {
                let partition = Some(at.partition);
                // Clients compress records: noise stays as large as it is.
                let value = std::iter::repeat_with(|| noise.below(256) as u8).take(RECORD).collect();
                let record = NewRecord { partition, value, ..NewRecord::default() };
                self.kafka.append(&at.topic, record).await?;
            }
        }
        Ok(())
    }
}

impl Stage for Real {
    fn reader(&self) -> &dyn Reader {
        &self.kafka
    }

    fn writer(&self) -> &dyn Writer {
        &self.kafka
    }

    fn log_writer(&self) -> &dyn LogWriter {
        &self.kafka
    }

    fn address(&self, id: BrokerId) -> Result<BrokerAddress> {
        Ok(parse_bootstrap(&self.cluster.address(id.0)?)?.remove(0))
    }

    fn inflict(&self, faults: Vec<Fault>) -> BoxFuture<'static, Result<()>> {
        let (cluster, cuts) = (Arc::clone(&self.cluster), Arc::clone(&self.cuts));
        let all = move || {
            let mut cuts = cuts.lock().unwrap_or_else(PoisonError::into_inner);
            faults.iter().try_for_each(|fault| inflict(&cluster, &mut cuts, fault))
        };
        let done = self.runtime.spawn_blocking(all);
        Box::pin(async move { done.await? })
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    fn patience(&self) -> Patience {
        Patience { every: Duration::from_millis(60), calm: Duration::from_millis(700), limit: LIMIT }
    }
}

fn inflict(cluster: &Cluster, cuts: &mut Vec<Cut>, fault: &Fault) -> Result<()> {
    match fault {
        Fault::Isolate(Who::Broker(id), Party::Controller) => {
            cuts.push(cluster.cut_off(id.0)?);
            Ok(())
        }
        Fault::Calm => {
            cuts.clear();
            let down = |id: &i32| cluster.pid(*id).is_ok_and(|pid| pid.is_none());
            cluster.broker_ids().into_iter().filter(down).try_for_each(|id| cluster.start(id))
        }
        Fault::Kill(Who::Broker(id)) => cluster.kill(id.0),
        Fault::ShutDown(Who::Broker(id)) => {
            ensure!(cluster.stop(id.0)?, "broker {id} did not end by itself");
            Ok(())
        }
        Fault::Restart(Who::Broker(id)) => {
            if cluster.pid(id.0)?.is_some() {
                ensure!(cluster.stop(id.0)?, "broker {id} did not end by itself");
            }
            cluster.start(id.0)
        }
        Fault::Replace(Who::Broker(id)) => {
            if cluster.pid(id.0)?.is_some() {
                cluster.kill(id.0)?;
            }
            cluster.wipe(id.0)?;
            cluster.start(id.0)
        }
        Fault::Pause(Who::Broker(id), time) => {
            cluster.pause(id.0)?;
            thread::sleep(*time);
            cluster.resume(id.0)
        }
        other => bail!("the lab has no way to {other}"),
    }
}
