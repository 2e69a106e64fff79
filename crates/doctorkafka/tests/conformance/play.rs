//! Plays a script on a cluster, simulated or real, and writes down what can be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, bail};
use cluster::{
    BoxFuture, BrokerAddress, BrokerId, ClientError, ConfigChange, ConfigResource, LogWriter, NewRecord,
    Reader, TopicPartition, Writer,
};
use sim::Fault;
use sim::fault::{Party, Who};
use sim::scenario::Act;

use super::account::{Account, Scene};
use super::look::Look;
use super::script::{BROKERS, Script, Step};

/// A cluster on which scripts are played.
pub(crate) trait Stage {
    fn reader(&self) -> &dyn Reader;
    fn writer(&self) -> &dyn Writer;
    fn log_writer(&self) -> &dyn LogWriter;
    /// Where a broker listens.
    fn address(&self, id: BrokerId) -> Result<BrokerAddress>;
    /// Lets faults happen, one right after the other. The future ends when that has happened (a pause: when it is over);
    /// they happen without anybody waiting for it.
    fn inflict(&self, faults: Vec<Fault>) -> BoxFuture<'static, Result<()>>;
    /// The time since the beginning.
    fn now(&self) -> Duration;
    /// Lets time go by.
    fn sleep(&self, time: Duration) -> BoxFuture<'_, ()>;
    fn patience(&self) -> Patience;
}

/// How a cluster is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How often to look.
    pub(crate) every: Duration,
    /// All is calm when nothing has changed for so long.
    pub(crate) calm: Duration,
    /// A step that has not come to its end by then is given up.
    pub(crate) limit: Duration,
}

/// A broker learns of what the controller does within this time. A reassignment that only takes replicas away and is
/// cancelled cannot be told from one that the broker has not heard of.
const LAG: Duration = Duration::from_secs(1);

/// A record that can be written is acknowledged within this time.
const WRITE: Duration = Duration::from_secs(4);

/// A broker that is asked who is alive answers within this time.
const ANSWER: Duration = Duration::from_secs(3);

/// The throttle's rate in bytes per second: less than one record.
const RATE: &str = "1";

/// Plays `script`. With an account to compare with, a step ends when what it tells has been seen (or after a limit),
/// else when nothing happens any more.
pub(crate) async fn play(stage: &dyn Stage, script: &Script, expected: Option<&Account>) -> Result<Account> {
    let up: BTreeSet<BrokerId> = (1..=BROKERS as i32).map(BrokerId).collect();
    let mut player = Player { stage, script, all: BTreeSet::clone(&up), up };
    let opening = Step { text: "at first".to_owned(), acts: Vec::new() };
    let mut account = Account::default();
    for (number, step) in std::iter::once(&opening).chain(&script.steps).enumerate() {
        let scene = expected.and_then(|account| account.scenes.get(number));
        let before = account.scenes.last().map(Scene::end).unwrap_or_default();
        account.scenes.push(player.step(step, before, scene).await?);
        if let Some(Err(_)) = scene.map(|scene| account.scenes[number].agrees(scene)) {
            // What follows would be about another cluster.
            break;
        }
    }
    if expected.is_none() && player.up != player.all {
        bail!("a script ends with all brokers alive: others are to follow");
    }
    Ok(account)
}

struct Player<'a> {
    stage: &'a dyn Stage,
    script: &'a Script,
    all: BTreeSet<BrokerId>,
    /// The brokers that run, and hear of what the controller does.
    up: BTreeSet<BrokerId>,
}

impl Player<'_> {
    async fn step(&mut self, step: &Step, before: Look, expected: Option<&Scene>) -> Result<Scene> {
        let began = self.stage.now();
        let mut scene = Scene::new(step, before);
        let mut faults = Vec::new();
        let mut calm = self.stage.patience().calm;
        let mut up = self.up.clone();
        for act in &step.acts {
            match act {
                Act::Fault(Fault::Calm) => {
                    up = self.all.clone();
                    faults.push(Fault::Calm);
                }
                Act::Fault(fault) => {
                    let (id, comes_back) = subject(fault)?;
                    self.up.remove(&id);
                    up.remove(&id);
                    if comes_back {
                        up.insert(id);
                    }
                    faults.push(fault.clone());
                }
                Act::Wait(time) => calm = calm.max(*time),
                other => scene.results.extend(self.ask_for(other).await?),
            }
        }
        let witness = self.up.first().copied();
        let Some(witness) = witness else { bail!("{}: nobody is left to look", step.text) };
        let mut faults = tokio::spawn(self.stage.inflict(faults));
        self.watch(&mut scene, witness, &mut faults, (began, calm), expected).await?;
        self.up = up;
        self.all_agree(&mut scene, began).await?;
        Ok(scene)
    }

    /// Looks until the step has come to its end.
    async fn watch(
        &self,
        scene: &mut Scene,
        witness: BrokerId,
        faults: &mut tokio::task::JoinHandle<Result<()>>,
        (began, calm): (Duration, Duration),
        expected: Option<&Scene>,
    ) -> Result<()> {
        let patience = self.stage.patience();
        let (mut changed, mut current) = (began, began);
        loop {
            // What fails amid a change is asked again; in the end it shows as what has not been seen.
            if let Ok(look) = self.look(witness).await {
                let now = self.stage.now();
                let waits = now.saturating_sub(current) < LAG && look.lags_behind(&scene.end());
                if !waits {
                    current = now;
                }
                if !waits && scene.saw(now, look) {
                    changed = now;
                }
            }
            let now = self.stage.now();
            if faults.is_finished() {
                let is_calm = now.saturating_sub(changed) >= calm;
                let right = expected.is_none_or(|expected| scene.agrees(expected).is_ok());
                if (is_calm && right) || now.saturating_sub(began) >= patience.limit {
                    break;
                }
            }
            self.stage.sleep(patience.every).await;
            tokio::task::yield_now().await;
        }
        faults.await?
    }

    /// Every broker that runs has to know the same in the end.
    async fn all_agree(&self, scene: &mut Scene, began: Duration) -> Result<()> {
        for id in &self.up {
            loop {
                let look = self.look(*id).await;
                if look.as_ref().is_ok_and(|look| *look == scene.end()) {
                    break;
                }
                let Patience { every, limit, .. } = self.stage.patience();
                if self.stage.now().saturating_sub(began) >= limit {
                    let text = look.map_or_else(|error| format!("{error:#}"), |look| look.text());
                    scene.results.push(format!("but broker {id} sees {text}"));
                    return Ok(());
                }
                self.stage.sleep(every).await;
            }
        }
        scene.ends(self.stage.now());
        Ok(())
    }

    async fn look(&self, through: BrokerId) -> Result<Look> {
        Look::take(self.stage.reader(), &self.stage.address(through)?, self.script).await
    }

    /// What a client asks for, and the answer.
    async fn ask_for(&self, act: &Act) -> Result<Option<String>> {
        let writer = self.stage.writer();
        let reassign = async |at: &TopicPartition, to: Option<Vec<BrokerId>>| {
            let answer = writer.reassign(&[(at.clone(), to)].into()).await;
            answer.and_then(|all| all.into_values().collect::<Result<Vec<()>, _>>()).map(|_| ())
        };
        let outcome = match act {
            Act::Reassign(at, to) => reassign(at, Some(to.clone())).await,
            Act::Cancel(at) => reassign(at, None).await,
            Act::Elect(at) => {
                let answer = writer.elect_preferred(std::slice::from_ref(at)).await;
                answer.and_then(|all| all.into_values().collect::<Result<Vec<()>, _>>()).map(|_| ())
            }
            Act::Write(at) => {
                let partition = Some(at.partition);
                let record = NewRecord { partition, value: vec![1; 100], ..NewRecord::default() };
                let acknowledged = tokio::select! {
                    biased;
                    outcome = self.stage.log_writer().append(&at.topic, record) => outcome.is_ok(),
                    // A client tries for longer.
                    () = self.stage.sleep(WRITE) => false,
                };
                let word = if acknowledged { "acknowledged" } else { "not acknowledged" };
                return Ok(Some(word.to_owned()));
            }
            Act::Ask(id) => {
                let answer = self.stage.reader().ask(&self.stage.address(*id)?, ANSWER).await;
                return Ok(Some(answer.map_or_else(
                    |why| format!("failed: {why}"),
                    |answer| Look { live: answer.live.into_keys().collect(), ..Look::default() }.live_line(),
                )));
            }
            Act::Throttle(id) => return self.throttle(*id, true).await.map(|()| None),
            Act::Unthrottle(id) => return self.throttle(*id, false).await.map(|()| None),
            Act::Fault(_) | Act::Wait(_) => return Ok(None),
        };
        Ok(Some(answer(outcome)))
    }

    async fn throttle(&self, id: BrokerId, on: bool) -> Result<()> {
        let change = |key: &str, value: &str| {
            let key = key.to_owned();
            vec![if on { ConfigChange::Set(key, value.to_owned()) } else { ConfigChange::Delete(key) }]
        };
        let mut changes = BTreeMap::new();
        changes.insert(ConfigResource::Broker(id), change("follower.replication.throttled.rate", RATE));
        for name in self.script.cluster.topics.keys().filter(|_| on) {
            let topic = ConfigResource::Topic(name.clone());
            changes.insert(topic, change("follower.replication.throttled.replicas", "*"));
        }
        for outcome in self.stage.writer().alter_configs(&changes).await?.into_values() {
            outcome?;
        }
        Ok(())
    }
}

/// The broker that a fault is about, and whether it runs, and hears of what the controller does, when the fault is over.
fn subject(fault: &Fault) -> Result<(BrokerId, bool)> {
    Ok(match fault {
        Fault::Kill(Who::Broker(id)) | Fault::ShutDown(Who::Broker(id)) => (*id, false),
        Fault::Restart(Who::Broker(id)) | Fault::Replace(Who::Broker(id)) => (*id, true),
        Fault::Pause(Who::Broker(id), _) => (*id, true),
        Fault::Isolate(Who::Broker(id), Party::Controller) => (*id, false),
        other => bail!("{other} cannot be done to a real cluster here"),
    })
}

/// An answer in Kafka's terms; its words differ between versions.
fn answer(outcome: Result<(), ClientError>) -> String {
    match outcome {
        Ok(()) => "taken".to_owned(),
        Err(ClientError::Refused { code, .. }) => format!("refused: {code}"),
        Err(ClientError::UnknownTopic { .. }) => "refused: UNKNOWN_TOPIC_OR_PARTITION".to_owned(),
        Err(other) => format!("failed: {other}"),
    }
}
