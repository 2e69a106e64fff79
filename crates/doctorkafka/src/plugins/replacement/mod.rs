//! The action `script_instance_replacement`: has a program replace the host of a broker.
//!
//! What was decided is some moments old when this runs: it looks once more, at several brokers and at the address itself, before
//! it starts anything. The order, and the cooldown that follows from it, are in the state store by then. Nothing is guessed: a
//! program that was killed, or that was running when the service ended, may have done its work, and is not started again.

mod look;
mod run;
mod said;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cluster::{BoxFuture, BrokerId};
use control::config::HumanDuration;
use control::event::{Message, ReplaceInstance, ReplaceResult, names};
use control::{ActError, Action, Done, Event, Finding, Severity, Target};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use self::run::{Ran, Talk};
use self::said::Heard;
use crate::plugin::{ActionConfig, BuildContext, ConfigProblem};
use crate::plugins::task::Task;
use crate::programs::cannot_start;
use crate::store::Term;

/// `type: script_instance_replacement`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptInstanceReplacementConfig {
    /// The program that replaces the host, and its arguments. It ends with code 0 when the host is replaced.
    pub command: Vec<String>,
    /// After this time it is asked to end, and killed 10 s later. Default 30 minutes.
    #[serde(default = "default_timeout")]
    pub timeout: HumanDuration,
    /// After this time it is said that it is slow. Default 10 minutes.
    #[serde(default = "default_slow_after")]
    pub slow_after: HumanDuration,
    /// A program that is run first, to restart the broker. If that does not bring it back it is decided anew whether its host is to be
    /// replaced, on all that is known by then.
    #[serde(default)]
    pub restart: Option<Vec<String>>,
    /// How long the broker may take to be back after that. Default 5 minutes.
    #[serde(default = "default_restart_wait")]
    pub restart_wait: HumanDuration,
}

const fn default_timeout() -> HumanDuration {
    HumanDuration::seconds(1_800)
}

const fn default_slow_after() -> HumanDuration {
    HumanDuration::seconds(600)
}

const fn default_restart_wait() -> HumanDuration {
    HumanDuration::seconds(300)
}

/// The kind of the finding that a script runs. What it prints goes with it.
pub(crate) const RUNS: &str = "replacement_runs";

/// The kind of the finding that the programs cannot be started here.
pub(crate) const IMPOSSIBLE: &str = "replacement_impossible";

/// The names of the events that the action can emit.
const EMITS: [&str; 1] = [names::NOTIFY_REPLACEMENT];

impl ActionConfig for ScriptInstanceReplacementConfig {
    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut problem = |path: &str, message: &str| {
            problems.push(ConfigProblem { path: path.to_owned(), message: message.to_owned() });
        };
        let names_one = |command: &[String]| command.first().is_some_and(|program| !program.is_empty());
        if !names_one(&self.command) {
            problem("command", "the list names no program");
        }
        if self.restart.as_deref().is_some_and(|restart| !names_one(restart)) {
            problem("restart", "the list names no program: leave it out for no restart");
        }
        for (path, time) in [("timeout", self.timeout), ("restart_wait", self.restart_wait)] {
            if time.0 < Duration::from_secs(1) {
                problem(path, "must be at least 1s");
            }
        }
        problems
    }

    fn changes_things(&self) -> bool {
        true
    }

    fn at_most_once(&self) -> bool {
        true
    }

    fn can_stop(&self) -> bool {
        true
    }

    fn replaces_hosts(&self) -> bool {
        true
    }

    fn emits(&self) -> Vec<String> {
        EMITS.map(str::to_owned).to_vec()
    }

    fn build(&self, context: &BuildContext) -> Result<Arc<dyn Action>, String> {
        let missing = Arc::default();
        let programs: Vec<String> = [Some(&self.command), self.restart.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|it| it.first().cloned())
            .collect();
        let watch = Task::spawn(look_for(programs, Arc::clone(&missing)));
        let (config, context, running) = (self.clone(), context.clone(), Mutex::default());
        let (put_off, ends) = (Mutex::default(), AtomicBool::new(false));
        Ok(Arc::new(Replacer { config, context, running, put_off, ends, missing, _watch: watch }))
    }
}

/// Why the programs cannot be started, where they cannot.
type Missing = Arc<Mutex<Option<String>>>;

/// How often it is looked whether the programs are there.
const LOOK: Duration = Duration::from_secs(60);

/// That a program is missing is said before it is needed. In a task of its own: a file system may take long.
async fn look_for(programs: Vec<String>, missing: Missing) {
    loop {
        let programs = programs.clone();
        let look = move || programs.iter().find_map(|program| cannot_start(program));
        if let Ok(found) = tokio::task::spawn_blocking(look).await {
            *missing.lock().unwrap_or_else(PoisonError::into_inner) = found;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What the last look has refused so often in a row is not decided anew any more.
const PUT_OFF: u32 = 3;
/// So long, and twice as long the second time, it is left before it is decided anew.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// What is longer ago is not in a row.
const IN_A_ROW: Duration = Duration::from_secs(600);

type PutOff = BTreeMap<BrokerId, (u32, Instant)>;

/// How long looking, and ending the programs, take at most.
const MARGIN: Duration = Duration::from_secs(90);

struct Replacer {
    config: ScriptInstanceReplacementConfig,
    context: BuildContext,
    /// What is being replaced.
    running: Mutex<Option<Run>>,
    /// How often in a row the last look has said no, and when it last did.
    put_off: Mutex<PutOff>,
    /// The service is about to end.
    ends: AtomicBool,
    missing: Missing,
    _watch: Task,
}

/// A replacement that runs, or has ended and has something to say that nobody has asked for yet.
struct Run {
    order: ReplaceInstance,
    /// The id of the event.
    id: String,
    stop: watch::Sender<bool>,
    since: Instant,
    ended: bool,
    said: Heard,
}

impl Action for Replacer {
    fn name(&self) -> &str {
        &self.context.name
    }

    fn emits(&self) -> Vec<String> {
        EMITS.map(str::to_owned).to_vec()
    }

    fn time_limit(&self) -> Option<Duration> {
        let restart =
            self.config.restart.as_ref().map(|_| self.config.timeout.0 + self.config.restart_wait.0);
        Some(self.config.timeout.0 + restart.unwrap_or_default() + MARGIN)
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = self.of_the_run();
        if let Some(why) = self.missing.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            let message = format!("no host could be replaced by {}: {why}", self.context.name);
            findings.push(Finding::new(IMPOSSIBLE, Target::Cluster, Severity::Critical, message));
        }
        findings
    }

    fn stop(&self, event: Option<&str>) -> bool {
        if event.is_none() {
            self.ends.store(true, Ordering::Relaxed);
        }
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let is_meant = |run: &&Run| !run.ended && event.is_none_or(|id| run.id == id);
        let Some(run) = running.as_ref().filter(is_meant) else { return false };
        run.stop.send_replace(true);
        true
    }

    fn execute<'a>(&'a self, event: &'a Event, dry_run: bool) -> BoxFuture<'a, Result<Done, ActError>> {
        Box::pin(self.replace(event, dry_run))
    }
}

impl Replacer {
    /// What is to be said of the replacement that runs.
    fn of_the_run(&self) -> Vec<Finding> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(run) = running.as_ref() else { return Vec::new() };
        let output = run.said.output(Instant::now(), run.ended);
        let broker = run.order.broker;
        let over = run.ended;
        let (since, slow) = (run.since, run.since.elapsed() >= self.config.slow_after.0);
        if over {
            *running = None;
            if output.news.is_empty() {
                return Vec::new();
            }
        }
        let about = Target::Broker(broker);
        let ends = format!("the script to end; it is killed after {}", self.config.timeout);
        let message = format!("a script replaces the host of broker {broker}");
        let runs = Finding::new(RUNS, about.clone(), Severity::Info, message).waiting_for(ends.as_str());
        let mut findings = vec![Finding { output: Some(Box::new(output)), ..runs }];
        if slow && !over {
            let minutes = since.elapsed().as_secs() / 60;
            let message =
                format!("the replacement of the host of broker {broker} has been running for {minutes} min");
            let slow = Finding::new("replacement_slow", about, Severity::Critical, message);
            findings.push(slow.waiting_for(ends));
        }
        findings
    }

    async fn replace(&self, event: &Event, dry_run: bool) -> Result<Done, ActError> {
        let order: ReplaceInstance =
            event.payload_as().map_err(|why| not_done(format!("its payload cannot be read: {why}")))?;
        let program = self.config.command.first().map(String::as_str).unwrap_or_default();
        if dry_run {
            let summary = format!("would replace the host of broker {} by {program}", order.broker);
            return Ok(self.done(event, &order, summary));
        }
        let term = self.context.tenure.term().ok_or_else(no_lease)?;
        let (stop, told) = watch::channel(false);
        let talk = Talk { said: Heard::default(), stop: told };
        // It can be stopped from here on: looking takes its time, too.
        let _running = Running::begin(&self.running, event, &order, stop, &talk);
        let mut asked_to_end = talk.stop.clone();
        if self.ends() {
            return Err(later("the service ends"));
        }
        let looked = tokio::select! {
            biased;
            () = run::stopped(&mut asked_to_end) => Err("it was stopped before".to_owned()),
            looked = look::once_more(&self.context, &order) => looked,
        };
        if let Err(why) = looked {
            return self.not_now(&order, &talk, why).await;
        }
        self.put_off().remove(&order.broker);
        self.run(event, &order, term, &talk).await
    }

    /// The last look says no, or it was stopped meanwhile. Most of that passes, and is decided anew after a while; what comes again and again,
    /// and what a person has ordered or stopped, is for a person.
    async fn not_now(&self, order: &ReplaceInstance, talk: &Talk, why: String) -> Result<Done, ActError> {
        if !*talk.stop.borrow() {
            let times = self.put_off_again(order.broker);
            if times >= PUT_OFF || order.by_hand {
                self.put_off().remove(&order.broker);
                return Ok(not_started(format!("not begun: {why}")));
            }
            let mut asked_to_end = talk.stop.clone();
            tokio::select! {
                () = tokio::time::sleep(AGAIN_AFTER * times) => return Err(later(&why)),
                () = run::stopped(&mut asked_to_end) => {}
            }
        }
        if self.ends() {
            return Err(later("the service ends"));
        }
        Ok(not_started("not begun: it was stopped before".to_owned()))
    }

    /// Whether the service is about to end.
    fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// How often in a row that makes.
    fn put_off_again(&self, broker: BrokerId) -> u32 {
        let mut put_off = self.put_off();
        put_off.retain(|_, (_, last)| last.elapsed() < IN_A_ROW);
        let (times, last) = put_off.entry(broker).or_insert((0, Instant::now()));
        (*times, *last) = (*times + 1, Instant::now());
        *times
    }

    fn put_off(&self) -> MutexGuard<'_, PutOff> {
        self.put_off.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(
        &self,
        event: &Event,
        order: &ReplaceInstance,
        term: Term,
        talk: &Talk,
    ) -> Result<Done, ActError> {
        if let Some(restart) = self.config.restart.as_ref().filter(|_| !order.live && !order.no_restart) {
            self.may_still(term, order.broker)?;
            return self.restart(restart, event, order, talk).await;
        }
        let broker = order.broker;
        let began = Instant::now();
        let program = self.config.command.first().map(String::as_str).unwrap_or_default();
        self.may_still(term, broker)?;
        let ran = self.start(&self.config.command, event, order, talk).await;
        let took = format!("{:.0} s", began.elapsed().as_secs_f64());
        match ran {
            Ran::Well { said } => {
                let said = last_line(&said);
                let summary = format!("{program} replaced the host of broker {broker} in {took}{said}");
                Ok(self.done(event, order, summary))
            }
            Ran::NotStarted { why } => Ok(not_started(format!("cannot start {why}"))),
            Ran::Badly { status, said } => {
                Err(not_done(format!("{program} ended with {status} after {took}{}", last_line(&said))))
            }
            Ran::Killed { status, said } => Err(not_known(format!(
                "{program} was ended by somebody else ({status}) after {took}{}",
                last_line(&said)
            ))),
            Ran::TooLong { said } => {
                let said = last_line(&said);
                Err(not_known(format!(
                    "{program} did not end within {} and was killed{said}",
                    self.config.timeout
                )))
            }
            Ran::Stopped { said } => {
                Err(not_known(format!("{program} was stopped after {took}{}", last_line(&said))))
            }
        }
    }

    /// What was known before a restart is minutes old after it: its host may live, others may have gone, a person may be at work. So
    /// nothing follows from it here.
    async fn restart(
        &self,
        restart: &[String],
        event: &Event,
        order: &ReplaceInstance,
        talk: &Talk,
    ) -> Result<Done, ActError> {
        let broker = order.broker;
        let how = match self.start(restart, event, order, talk).await {
            Ran::Stopped { said } if !self.ends() => {
                return Err(not_done(format!(
                    "the restart of broker {broker} was stopped{}",
                    last_line(&said)
                )));
            }
            Ran::Well { .. } if self.comes_back(order, talk).await? => {
                let done = self.done(event, order, format!("restarted broker {broker}, which is back"));
                return Ok(Done {
                    detail: detail(ReplaceResult { restarted: true, ..ReplaceResult::default() }),
                    ..done
                });
            }
            Ran::Well { .. } | Ran::Stopped { .. } if self.ends() => {
                "the service has ended meanwhile".to_owned()
            }
            Ran::Well { .. } => format!("it was not back {} later", self.config.restart_wait),
            Ran::Stopped { said } => format!("it was stopped{}", last_line(&said)),
            Ran::NotStarted { why } => format!("cannot start {why}"),
            Ran::Badly { status, said } | Ran::Killed { status, said } => {
                format!("the program ended with {status}{}", last_line(&said))
            }
            Ran::TooLong { said } => {
                format!(
                    "the program did not end within {} and was killed{}",
                    self.config.timeout,
                    last_line(&said)
                )
            }
        };
        let summary = format!(
            "a restart has not brought broker {broker} back: {how}; whether its host is to be replaced is decided anew"
        );
        let detail = detail(ReplaceResult { restarted_in_vain: true, ..ReplaceResult::default() });
        Ok(Done { summary, detail, follow_ups: Vec::new() })
    }

    /// Whether the broker is back in time after a restart.
    async fn comes_back(&self, order: &ReplaceInstance, talk: &Talk) -> Result<bool, ActError> {
        let mut stop = talk.stop.clone();
        tokio::select! {
            back = look::comes_back(&self.context, order, self.config.restart_wait.0) => Ok(back),
            () = run::stopped(&mut stop) => match self.ends() {
                true => Ok(false),
                false => {
                    let broker = order.broker;
                    Err(not_done(format!("broker {broker} was restarted, and is not waited for any more")))
                }
            }
        }
    }

    /// Whether the lease is held in the same term, and nobody has asked for the broker to be left alone meanwhile: another service may have
    /// taken over while this one looked, or was stopped.
    fn may_still(&self, term: Term, broker: BrokerId) -> Result<(), ActError> {
        if self.context.tenure.term() != Some(term) {
            return Err(no_lease());
        }
        self.context.tenure.objects_to(broker).map_or(Ok(()), |why| Err(later(&why)))
    }

    async fn start(&self, command: &[String], event: &Event, order: &ReplaceInstance, talk: &Talk) -> Ran {
        let env = [
            ("DOCTORKAFKA_CLUSTER", self.context.cluster.to_string()),
            ("DOCTORKAFKA_BROKER_ID", order.broker.to_string()),
            ("DOCTORKAFKA_HOST", order.host.clone()),
            ("DOCTORKAFKA_RACK", order.rack.clone().unwrap_or_default()),
            ("DOCTORKAFKA_REASON", event.reason.clone()),
            ("DOCTORKAFKA_REPLACEMENT_ID", event.id.clone()),
        ];
        let input = serde_json::json!({"cluster": &*self.context.cluster, "event": event});
        run::run(command, &env, &input, self.config.timeout.0, talk).await
    }

    fn done(&self, event: &Event, order: &ReplaceInstance, summary: String) -> Done {
        let body =
            format!("{summary}.\nHost: {}.\nWhy: {}.\nReplacement: {}.", order.host, event.reason, event.id);
        let subject = format!("{}: {summary}", self.context.cluster);
        let message = Message { subject, body, severity: Severity::Warning };
        let target = Target::Broker(order.broker);
        let mut notice = Event::new(names::NOTIFY_REPLACEMENT, target, summary.as_str(), &message);
        notice.cause.clone_from(&event.cause);
        Done { summary, detail: serde_json::Value::Null, follow_ups: vec![notice] }
    }
}

/// That a replacement runs: until this is dropped, also where nobody waits for its end any more.
struct Running<'a> {
    of: &'a Mutex<Option<Run>>,
    /// The id of the event.
    id: String,
}

impl<'a> Running<'a> {
    fn begin(
        of: &'a Mutex<Option<Run>>,
        event: &Event,
        order: &ReplaceInstance,
        stop: watch::Sender<bool>,
        talk: &Talk,
    ) -> Self {
        let (order, id, said) = (order.clone(), event.id.clone(), talk.said.clone());
        let run = Run { order, id, stop, since: Instant::now(), ended: false, said };
        *of.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
        Self { of, id: event.id.clone() }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut running = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = running.as_mut().filter(|run| run.id == self.id) {
            run.ended = true;
        }
    }
}

fn no_lease() -> ActError {
    later("this service does not hold the cluster's lease any more; no script was started")
}

/// Nothing was done, and it is decided anew, by whoever has the lease next.
fn later(why: &str) -> ActError {
    ActError { retry: true, ..not_done(why.to_owned()) }
}

/// No program was started.
fn not_started(summary: String) -> Done {
    let detail = detail(ReplaceResult { not_started: true, ..ReplaceResult::default() });
    Done { summary, detail, follow_ups: Vec::new() }
}

fn detail(result: ReplaceResult) -> serde_json::Value {
    serde_json::to_value(result).unwrap_or_default()
}

/// Nothing was replaced, or the script said that it was not.
fn not_done(message: String) -> ActError {
    ActError { message, maybe_applied: false, retry: false }
}

/// The program may have done its work.
fn not_known(message: String) -> ActError {
    ActError { message, maybe_applied: true, retry: false }
}

fn last_line(said: &str) -> String {
    match said.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => format!(", saying: {}", line.trim().chars().take(300).collect::<String>()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
