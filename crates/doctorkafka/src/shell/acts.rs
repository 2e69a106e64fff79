//! Events on their way through actions.
//!
//! Every act ends in exactly one [`Outcome`] within bounded time, whatever the action does: it may fail, hang, or
//! panic.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use control::guard::ACT_WITHOUT_OWNER;
use control::{ActError, Action, Deliveries, Done, Effect, Event, ExecutionId, Finding, Outcome, Severity};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

/// Bounds of the acts of one cluster.
#[derive(Clone, Copy, Debug)]
pub struct ActLimits {
    /// How long an action may take for one event, unless it says otherwise. What it was doing is dropped then.
    pub time: Duration,
    /// How many events one action works on at once; others wait for their turn. A hanging action does not take the
    /// turns of another.
    pub at_once: usize,
    /// How many acts may be under way or waiting for their turn, over all actions. More are refused.
    pub in_all: usize,
}

impl Default for ActLimits {
    fn default() -> Self {
        // A minute: a batch of 500 reassignments on a slow controller takes seconds, a mail server's greylisting
        // and a script's start stay well below it. 2,000 acts are two for each record of a busy cycle.
        Self { time: Duration::from_secs(60), at_once: 8, in_all: 2_000 }
    }
}

/// Runs acts, and sends what came of them.
pub struct Acts {
    actions: BTreeMap<String, Slot>,
    outcomes: mpsc::UnboundedSender<Outcome>,
    under_way: Arc<AtomicUsize>,
    running: Running,
    /// Acts that go on although nobody waits for them, until somebody does again.
    left: Vec<Begun>,
    limits: ActLimits,
}

/// The acts that may still be doing something.
type Running = Arc<Mutex<Vec<Begun>>>;

/// An act that was begun.
#[derive(Clone)]
struct Begun {
    action: String,
    act: Act,
    work: AbortHandle,
}

/// What is to be done.
#[derive(Clone)]
struct Act {
    execution: ExecutionId,
    sequence: u32,
    event: Arc<Event>,
    dry_run: bool,
    answer: Arc<Mutex<Answer>>,
}

/// Where the outcome of an act goes.
enum Answer {
    To {
        receiver: mpsc::UnboundedSender<Outcome>,
        _counted: Counted,
    },
    /// To whoever asks for it; once the act has ended it is there.
    Kept(Option<Outcome>),
}

impl Begun {
    fn has_ended(&self) -> bool {
        matches!(&*self.act.answer(), Answer::Kept(Some(_)))
    }

    fn finding(&self) -> Finding {
        let Event { name, target, .. } = &*self.act.event;
        let message = format!(
            "{} still works on {} for {target}, which this service began before it lost the lease: nobody else knows of it",
            self.action,
            name.replace('_', " "),
        );
        Finding::new(ACT_WITHOUT_OWNER, target.clone(), Severity::Critical, message).waiting_for("it to end")
    }
}

impl Act {
    fn answer(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, result: Result<Done, ActError>) {
        let outcome = Outcome { execution: self.execution, sequence: self.sequence, result };
        let mut answer = self.answer();
        if let Answer::To { receiver, .. } = &*answer {
            // Nobody listens any more when the loop has ended: the journal says that the act was under way.
            let _ = receiver.send(outcome.clone());
        } else {
            let said = outcome.result.as_ref().map_or_else(|error| &error.message, |done| &done.summary);
            tracing::warn!(event = self.event.name, target = %self.event.target, result = said,
                "an act that was begun before the lease was lost has ended");
        }
        *answer = Answer::Kept(Some(outcome));
    }

    /// Until somebody waits for it again.
    fn keep_answer(&self) {
        let mut answer = self.answer();
        if let Answer::To { .. } = *answer {
            *answer = Answer::Kept(None);
        }
    }

    /// Whoever knows of it waits for it again, or has what came of it.
    fn answer_to(&self, acts: &Acts) {
        let mut answer = self.answer();
        if let Answer::Kept(Some(outcome)) = &*answer {
            let _ = acts.outcomes.send(outcome.clone());
        } else {
            *answer = acts.answer();
        }
    }
}

struct Slot {
    action: Arc<dyn Action>,
    turns: Arc<Semaphore>,
}

/// Counts an act as under way for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Acts {
    /// Acts of `actions`; what comes of them can be received from the other end. That queue is unbounded in form
    /// only: it holds at most one outcome for each act that was let in.
    pub fn new(actions: Vec<Arc<dyn Action>>, limits: ActLimits) -> (Self, mpsc::UnboundedReceiver<Outcome>) {
        let (outcomes, received) = mpsc::unbounded_channel();
        let slot = |action: Arc<dyn Action>| {
            let turns = Arc::new(Semaphore::new(limits.at_once.max(1)));
            (action.name().to_owned(), Slot { action, turns })
        };
        let actions = actions.into_iter().map(slot).collect();
        let (under_way, running, left) = (Arc::default(), Running::default(), Vec::new());
        let acts = Self { actions, outcomes, under_way, running, left, limits };
        (acts, received)
    }

    /// What the actions say is wrong with themselves, and what goes on without an owner. One that panics says nothing.
    pub fn findings(&self) -> Vec<Finding> {
        let ask = |slot: &Slot| catch_unwind(AssertUnwindSafe(|| slot.action.findings())).unwrap_or_default();
        let left = self.left.iter().filter(|begun| !begun.has_ended()).map(Begun::finding);
        self.actions.values().flat_map(ask).chain(left).collect()
    }

    /// How the messages of the actions get out, by the action's name. One that panics says nothing.
    pub fn deliveries(&self) -> BTreeMap<String, Deliveries> {
        let ask =
            |slot: &Slot| catch_unwind(AssertUnwindSafe(|| slot.action.deliveries())).unwrap_or_default();
        self.actions.iter().filter_map(|(name, slot)| Some((name.clone(), ask(slot)?))).collect()
    }

    /// How many acts are under way or wait for their turn.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Starts an [`Effect::Act`] and returns at once. Other effects are none of its business.
    pub fn start(&self, effect: Effect) {
        if self.under_way() >= self.limits.in_all {
            self.refuse(&effect, "too many acts are under way");
            return;
        }
        let Effect::Act { ref action, .. } = effect else { return };
        let Some(slot) = self.actions.get(action) else {
            self.refuse(&effect, "there is no such action");
            return;
        };
        let Effect::Act { execution, sequence, event, dry_run, .. } = effect else { return };
        let (action, turns) = (Arc::clone(&slot.action), Arc::clone(&slot.turns));
        let limit = action.time_limit().unwrap_or(self.limits.time);
        let answer = Arc::new(Mutex::new(self.answer()));
        let act = Act { execution, sequence, event: Arc::new(event), dry_run, answer };
        let running = Arc::clone(&self.running);
        tokio::spawn(async move {
            let result = in_turn(action, turns, &act, limit, &running).await;
            act.end(result);
        });
    }

    /// To the loop, which waits for it.
    fn answer(&self) -> Answer {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Answer::To { receiver: self.outcomes.clone(), _counted: Counted(Arc::clone(&self.under_way)) }
    }

    /// Has an action that sends messages send this one, past executions and the journal. Nobody waits for what comes of it: such an
    /// action says itself what does not get out.
    pub fn tell(&self, action: &str, event: Event, dry_run: bool) {
        let Some(slot) = self.actions.get(action) else { return };
        let action = Arc::clone(&slot.action);
        if !catch_unwind(AssertUnwindSafe(|| action.deliveries().is_some())).unwrap_or(false) {
            return;
        }
        tokio::spawn(async move {
            let said = action.execute(&event, dry_run).await;
            let said = said.map_or_else(|error| error.message, |done| done.summary);
            tracing::info!(
                action = action.name(),
                event = event.name,
                result = said,
                "told past the journal"
            );
        });
    }

    /// Asks what an action does for the event with this id to end; what comes of it is its outcome as always.
    pub fn stop(&self, action: &str, event: &str) {
        if let Some(slot) = self.actions.get(action) {
            let _ = catch_unwind(AssertUnwindSafe(|| slot.action.stop(Some(event))));
        }
    }

    /// The same of all that is under way and can be stopped. Says whether there is any such thing.
    pub fn stop_all(&self) -> bool {
        let stop = |slot: &Slot| catch_unwind(AssertUnwindSafe(|| slot.action.stop(None))).unwrap_or(false);
        self.actions.values().map(stop).filter(|stopped| *stopped).count() > 0
    }

    /// Nobody here waits any more for what comes of the acts under way: another service may act. They are dropped where they
    /// stand, but for those of `at_most_once`, which would not be done again: half of one is worse than the whole. What
    /// comes of later acts can be received from the other end.
    pub fn abandon(&mut self, at_most_once: &BTreeSet<String>) -> mpsc::UnboundedReceiver<Outcome> {
        let running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        for begun in running {
            if at_most_once.contains(&begun.action) {
                // Whoever was told of the end of one may not have written it down yet.
                begun.act.keep_answer();
                self.left.push(begun);
            } else {
                begun.work.abort();
            }
        }
        let (outcomes, received) = mpsc::unbounded_channel();
        self.outcomes = outcomes;
        self.under_way = Arc::default();
        received
    }

    /// Whether acts go on of which nobody waits for the end.
    pub fn has_left(&self) -> bool {
        self.left.iter().any(|begun| !begun.has_ended())
    }

    /// Waits again for what comes of abandoned acts, of those that the caller still knows as under way. The others go on, and are told of as
    /// a finding until they end.
    pub fn take_up(&mut self, mut knows: impl FnMut(ExecutionId, u32, &str) -> bool) {
        for begun in std::mem::take(&mut self.left) {
            let act = &begun.act;
            if knows(act.execution, act.sequence, &act.event.id) {
                act.answer_to(self);
                self.running.lock().unwrap_or_else(PoisonError::into_inner).push(begun);
            } else if !begun.has_ended() {
                self.left.push(begun);
            }
        }
    }

    /// Answers an act that is not carried out.
    pub fn refuse(&self, effect: &Effect, why: &str) {
        if let Some(outcome) = effect.not_done(why) {
            let _ = self.outcomes.send(outcome);
        }
    }
}

async fn in_turn(
    action: Arc<dyn Action>,
    turns: Arc<Semaphore>,
    act: &Act,
    limit: Duration,
    running: &Running,
) -> Result<Done, ActError> {
    let _turn = turns.acquire_owned().await;
    let name = action.name().to_owned();
    let (event, dry_run) = (Arc::clone(&act.event), act.dry_run);
    // A task of its own, so that a panic ends there.
    let work = tokio::spawn(async move { action.execute(&event, dry_run).await });
    let abort = work.abort_handle();
    {
        let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|begun| !begun.work.is_finished());
        running.push(Begun { action: name.clone(), act: act.clone(), work: abort.clone() });
    }
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(ended)) => {
            let what = if ended.is_panic() { "panicked" } else { "was cancelled" };
            if ended.is_panic() {
                tracing::error!(action = %name, "an action panicked");
            }
            Err(ActError { message: format!("the action {name} {what}"), maybe_applied: true, retry: false })
        }
        Err(_elapsed) => {
            abort.abort();
            let message = format!("the action {name} took longer than {} s", limit.as_secs());
            Err(ActError { message, maybe_applied: true, retry: true })
        }
    }
}

#[cfg(test)]
mod tests {
    use cluster::BoxFuture;
    use control::Target;

    use super::*;

    /// Takes ten seconds.
    struct Slow(Option<Duration>);

    impl Action for Slow {
        fn name(&self) -> &str {
            "slow"
        }

        fn time_limit(&self) -> Option<Duration> {
            self.0
        }

        fn execute<'a>(&'a self, _: &'a Event, _: bool) -> BoxFuture<'a, Result<Done, ActError>> {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(10)).await;
                Ok(Done::default())
            })
        }
    }

    async fn outcome(of: Slow) -> Result<Done, ActError> {
        let limits = ActLimits { time: Duration::from_secs(5), ..ActLimits::default() };
        let (acts, mut outcomes) = Acts::new(vec![Arc::new(of)], limits);
        let event = Event::new("anything", Target::Cluster, "why not", &());
        let (execution, action) = (ExecutionId(1), "slow".to_owned());
        acts.start(Effect::Act { execution, sequence: 1, action, event, dry_run: false });
        outcomes.recv().await.unwrap().result
    }

    #[tokio::test(start_paused = true)]
    async fn an_act_that_is_abandoned_does_nothing_more_and_answers_to_nobody() {
        let limits = ActLimits { time: Duration::from_secs(60), ..ActLimits::default() };
        let slow = Arc::new(Slow(None));
        let (mut acts, mut before) = Acts::new(vec![Arc::clone(&slow) as Arc<dyn Action>], limits);
        let start = |acts: &Acts| {
            let event = Event::new("anything", Target::Cluster, "why not", &());
            let (execution, action) = (ExecutionId(1), "slow".to_owned());
            acts.start(Effect::Act { execution, sequence: 1, action, event, dry_run: false });
        };
        start(&acts);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut outcomes = acts.abandon(&BTreeSet::new());
        assert_eq!(acts.under_way(), 0);
        let left = before.recv().await.map(|outcome| outcome.result.unwrap_err().message);
        assert_eq!(left.as_deref(), Some("the action slow was cancelled"));
        assert!(before.recv().await.is_none());
        start(&acts);
        assert!(outcomes.recv().await.unwrap().result.is_ok());

        // What must not be done twice goes on, and what comes of it is told to whoever still knows of it.
        let once = BTreeSet::from(["slow".to_owned()]);
        for (later, knows) in [(1, true), (20, true), (1, false)] {
            start(&acts);
            tokio::time::sleep(Duration::from_secs(1)).await;
            outcomes = acts.abandon(&once);
            tokio::time::sleep(Duration::from_secs(later)).await;
            assert_eq!(acts.findings().len(), usize::from(later < 10));
            acts.take_up(|execution, sequence, _| knows && (execution, sequence) == (ExecutionId(1), 1));
            assert_eq!(acts.under_way(), usize::from(knows && later < 10), "whoever ends waits for it");
            let told = tokio::time::timeout(Duration::from_secs(20), outcomes.recv()).await;
            assert_eq!(told.is_ok_and(|told| told.unwrap().result.is_ok()), knows, "{later} s later");
            assert!(acts.findings().is_empty() && acts.under_way() == 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_action_has_the_usual_time_or_its_own() {
        let late = outcome(Slow(None)).await.unwrap_err();
        assert_eq!(late.message, "the action slow took longer than 5 s");
        assert!(late.maybe_applied);
        outcome(Slow(Some(Duration::from_secs(11)))).await.unwrap();
    }
}
