//! The action: takes events in, and has them carried by a task of its own.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::BoxFuture;
use control::{ActError, Action, Deliveries, Done, Event, Finding, Now, Severity, Target, Tick};
use tokio::sync::mpsc::{self, UnboundedSender};

use super::outbox::{Left, Outbox};
use super::queue::{Change, Next, Placed, Queue};
use super::{Courier, Failure, Limits, Notice, Parcel, one_line};
use crate::plugin::{BuildContext, Clock};
use crate::plugins::task::Task;
use crate::store::Term;

/// How long an event waits to be handed over before it is said to be queued. Well under the five seconds within which
/// the service ends.
const WAIT: Duration = Duration::from_secs(3);
/// Events on their way to the task.
const JOBS: usize = 256;
/// For how long what was given up is a finding.
const TELL_LOST: Duration = Duration::from_secs(24 * 3_600);
/// How much of what is given up is remembered for that.
const MOST_LOST: usize = 1_000;

/// Changes that are kept for a disk that cannot be written.
const MOST_UNWRITTEN: usize = 10_000;
/// How often it is looked whether a shared outbox is this service's.
const LOOK: Duration = Duration::from_secs(1);

/// Who gets a notice.
pub(crate) type Addresses = Box<dyn Fn(&Notice) -> Vec<String> + Send + Sync>;

/// An action that tells events to people. Must be called within a tokio runtime.
pub(crate) fn post(
    context: &BuildContext,
    limits: Limits,
    addresses: Addresses,
    courier: Box<dyn Courier>,
) -> Arc<dyn Action> {
    let (jobs, incoming) = mpsc::channel(JOBS);
    let outlook = Outlook::default();
    let place = courier.place();
    let outbox = Outbox::of(context);
    let kept = outbox.place();
    let desk = Desk {
        name: context.name.clone(),
        place: place.clone(),
        queue: Queue::new(limits),
        outbox,
        term: None,
        clock: Arc::clone(&context.clock),
        unwritten: Vec::new(),
        listeners: BTreeMap::new(),
        outlook: outlook.clone(),
    };
    let task = Task::spawn(Carrier { courier, desk, attempt: limits.attempt }.run(incoming));
    Arc::new(Post {
        name: context.name.clone(),
        cluster: Arc::clone(&context.cluster),
        clock: Arc::clone(&context.clock),
        place,
        kept,
        addresses,
        jobs,
        outlook,
        _task: task,
    })
}

/// A notice on its way to the task.
struct Job {
    notice: Notice,
    to: Vec<String>,
    heard: UnboundedSender<Told>,
}

/// What the task tells whoever handed in a notice.
enum Told {
    /// It was taken in: for so many recipients it waits, and is written down or not; for the others it is held back or
    /// was known.
    Taken { waiting: usize, held: Option<Duration>, written: Result<(), String> },
    /// A recipient has it.
    Sent(String),
    /// It was given up for a recipient.
    Refused(String, String),
    /// It waits, because of this.
    Waits(String),
}

/// What is shown of the task's work.
#[derive(Clone, Default)]
struct Outlook(Arc<Mutex<Shown>>);

#[derive(Clone, Default)]
struct Shown {
    counts: Deliveries,
    /// Why nothing gets out, or a parcel does not.
    trouble: Option<String>,
    /// Why parcels are not on disk.
    disk: Option<String>,
    /// What was given up, with the moment.
    lost: VecDeque<(Tick, String)>,
}

impl Outlook {
    fn change(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn get(&self) -> Shown {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Post {
    name: String,
    cluster: Arc<str>,
    clock: Arc<dyn Clock>,
    place: String,
    /// Where parcels are kept, in words.
    kept: &'static str,
    addresses: Addresses,
    jobs: mpsc::Sender<Job>,
    outlook: Outlook,
    _task: Task,
}

impl Action for Post {
    fn name(&self) -> &str {
        &self.name
    }

    fn findings(&self) -> Vec<Finding> {
        let (name, place, now) = (&self.name, &self.place, self.clock.now().tick);
        let shown = self.outlook.get();
        let mut findings = Vec::new();
        if let Some(why) = shown.trouble.filter(|_| shown.counts.waiting > 0) {
            let message = waiting_words(shown.counts.waiting, name, place, &why);
            let finding = Finding::new(
                &format!("messages_waiting:{name}"),
                Target::Cluster,
                Severity::Warning,
                message,
            );
            findings.push(finding.waiting_for("the other side to take them; they are tried again and again"));
        }
        if let Some(why) = shown.disk {
            let message = format!(
                "messages of {name} cannot be written to {}, and a restart loses them: {why}",
                self.kept
            );
            findings.push(Finding::new(
                &format!("messages_unsaved:{name}"),
                Target::Cluster,
                Severity::Warning,
                message,
            ));
        }
        let lost: Vec<&String> =
            shown.lost.iter().filter(|(at, _)| now.since(*at) < TELL_LOST).map(|(_, what)| what).collect();
        if let Some(last) = lost.last() {
            let message = format!("{} of {name} given up within a day, the last one {last}", lost.len());
            findings.push(Finding::new(
                &format!("messages_lost:{name}"),
                Target::Cluster,
                Severity::Warning,
                message,
            ));
        }
        findings
    }

    fn deliveries(&self) -> Option<Deliveries> {
        Some(self.outlook.get().counts)
    }

    fn execute<'a>(&'a self, event: &'a Event, dry_run: bool) -> BoxFuture<'a, Result<Done, ActError>> {
        Box::pin(self.send(event, dry_run))
    }
}

fn waiting_words(count: u64, name: &str, place: &str, why: &str) -> String {
    match count {
        1 => format!("a message of {name} to {place} waits: {why}"),
        _ => format!("{count} messages of {name} to {place} wait: {why}"),
    }
}

impl Post {
    async fn send(&self, event: &Event, dry_run: bool) -> Result<Done, ActError> {
        let notice = Notice::of(event, &self.cluster, self.clock.now().wall);
        let to = (self.addresses)(&notice);
        if dry_run {
            let summary = format!("would send \"{}\" to {}", notice.subject, to.join(", "));
            return Ok(Done { summary, ..Done::default() });
        }
        let (heard, mut ears) = mpsc::unbounded_channel();
        let mut heard_so_far = Heard { recipients: to.len(), kept: self.kept, ..Heard::default() };
        let listening = async {
            // The task never ends before this action does.
            let _ = self.jobs.send(Job { notice, to, heard }).await;
            while !heard_so_far.is_settled()
                && let Some(told) = ears.recv().await
            {
                heard_so_far.take(told);
            }
        };
        let _ = tokio::time::timeout(WAIT, listening).await;
        heard_so_far.into_result()
    }
}

/// What whoever handed in a notice has heard of it.
#[derive(Default)]
struct Heard {
    recipients: usize,
    kept: &'static str,
    taken: Option<usize>,
    held: Option<Duration>,
    unwritten: Option<String>,
    sent: Vec<String>,
    refused: Vec<String>,
    waits: Vec<String>,
}

impl Heard {
    fn take(&mut self, told: Told) {
        match told {
            Told::Taken { waiting, held, written } => {
                self.taken = Some(waiting);
                self.held = held;
                self.unwritten = written.err();
            }
            Told::Sent(to) => self.sent.push(to),
            Told::Refused(to, why) => self.refused.push(format!("{to}: {why}")),
            Told::Waits(why) => self.waits.push(why),
        }
    }

    fn is_settled(&self) -> bool {
        let heard = self.sent.len() + self.refused.len() + self.waits.len();
        self.taken.is_some_and(|waiting| heard >= waiting)
    }

    fn into_result(self) -> Result<Done, ActError> {
        let failed = |message: String, retry| Err(ActError { message, maybe_applied: false, retry });
        let Some(waiting) = self.taken else {
            return failed("the message was not taken in time".to_owned(), true);
        };
        let mut parts = Vec::new();
        if !self.sent.is_empty() {
            parts.push(format!("sent to {}", self.sent.join(", ")));
        }
        if !self.refused.is_empty() {
            parts.push(format!("given up for {}", self.refused.join(", ")));
            return failed(parts.join("; "), false);
        }
        let open = waiting.saturating_sub(self.sent.len());
        if let Some(why) = self.unwritten.filter(|_| open > 0) {
            return failed(format!("neither sent nor written to {}: {why}", self.kept), true);
        }
        if open > 0 {
            let why = self.waits.first().map(|why| format!(": {why}")).unwrap_or_default();
            parts.push(format!("queued{why}"));
        }
        if let Some(time) = self.held {
            let seconds = time.as_secs();
            parts.push(format!("held back for {seconds} s, as the like was sent a moment ago"));
        }
        if parts.is_empty() {
            parts.push(
                if self.recipients == 0 { "nobody to send it to" } else { "was taken before" }.to_owned(),
            );
        }
        Ok(Done { summary: parts.join("; "), ..Done::default() })
    }
}

/// The task that carries parcels.
struct Carrier {
    courier: Box<dyn Courier>,
    desk: Desk,
    attempt: Duration,
}

/// Where parcels are taken in and crossed out.
struct Desk {
    name: String,
    place: String,
    queue: Queue,
    outbox: Outbox,
    /// The term in which the outbox was read. Without one, what comes in is in memory alone.
    term: Option<Term>,
    clock: Arc<dyn Clock>,
    /// What could not be written, and is tried again with the next.
    unwritten: Vec<Change>,
    /// Who wants to hear of a parcel, by its number.
    listeners: BTreeMap<u64, UnboundedSender<Told>>,
    outlook: Outlook,
}

impl Carrier {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        loop {
            self.desk.keep_up_with_the_term().await;
            let now = self.desk.clock.now();
            self.desk.give_up_the_old(now).await;
            let pause = match self.desk.queue.next(now.tick) {
                Next::Due(number) => {
                    self.carry(number, &mut jobs).await;
                    continue;
                }
                Next::At(tick) => Some(tick.since(now.tick)),
                Next::Nothing => {
                    self.courier.rest().await;
                    None
                }
            };
            let pause = if self.desk.outbox.is_shared() {
                Some(pause.map_or(LOOK, |pause| pause.min(LOOK)))
            } else {
                pause
            };
            let over = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            let job = tokio::select! {
                () = over => continue,
                job = jobs.recv() => job,
            };
            let Some(job) = job else { return };
            // The first message of a term may come before the next look.
            self.desk.keep_up_with_the_term().await;
            self.desk.take_in(job).await;
        }
    }

    /// Hands a parcel over, and takes in what comes meanwhile.
    async fn carry(&mut self, number: u64, jobs: &mut mpsc::Receiver<Job>) {
        let Some(parcel) = self.desk.queue.parcel(number).cloned() else { return };
        let limit = self.attempt;
        let attempt = tokio::time::timeout(limit, self.courier.deliver(&parcel));
        tokio::pin!(attempt);
        let result = loop {
            tokio::select! {
                result = &mut attempt => break result,
                Some(job) = jobs.recv() => self.desk.take_in(job).await,
            }
        };
        let late = || Failure::unreachable(format!("no answer within {} s", limit.as_secs()));
        self.desk.settle(&parcel, result.unwrap_or_else(|_| Err(late()))).await;
    }
}

impl Desk {
    /// What waits is the business of whoever acts: read when a term begins, forgotten when it is over.
    async fn keep_up_with_the_term(&mut self) {
        let term = self.outbox.term();
        if term == self.term {
            return;
        }
        if self.term.take().is_some() {
            // What is not in the store was not said to be taken, so that whoever acts next has it from the journal.
            self.queue.clear();
            self.unwritten.clear();
            self.listeners.clear();
            self.outlook.change(|shown| (shown.trouble, shown.disk) = (None, None));
        }
        if let Some(term) = term {
            self.restore(term).await;
        }
        self.show();
    }

    async fn restore(&mut self, term: Term) {
        let left = match self.outbox.load().await {
            Ok(left) => left,
            Err(error) => {
                self.disk_trouble(Some(&error));
                if self.outbox.is_shared() {
                    // Tried again with the next look.
                    return;
                }
                Left::default()
            }
        };
        let waiting = left.parcels.len() + left.elsewhere.len();
        if waiting > 0 {
            tracing::info!(action = %self.name, waiting,
                "messages that an earlier process or another service has left are sent");
        }
        let now = self.clock.now();
        // What came in while another service acted, or nobody could: of the store itself.
        let own: Vec<Parcel> = self.queue.parcels().cloned().collect();
        self.queue.clear();
        self.listeners.clear();
        self.term = Some(term);
        self.queue.restore(left.parcels, now);
        let numbers = left.elsewhere.iter().map(|parcel| parcel.number).collect();
        let mut changes = Vec::new();
        self.queue.adopt(left.elsewhere, now, &mut changes);
        self.queue.adopt(own, now, &mut changes);
        if self.write(changes).await.is_ok() {
            self.outbox.forget_elsewhere(numbers).await;
        }
    }

    async fn take_in(&mut self, job: Job) {
        let now = self.clock.now();
        let mut changes = Vec::new();
        let (mut waiting, mut held) = (Vec::new(), None);
        for to in &job.to {
            match self.queue.push(&job.notice, to, now, &mut changes) {
                Placed::Waits(number) => waiting.push(number),
                Placed::Held(time) => held = held.max(Some(time)),
                Placed::Known => {}
            }
        }
        for parcel in self.queue.take_pushed_out() {
            self.lost(&parcel, "there are too many messages", now);
        }
        let written = self.write(changes).await.map_err(|error| error.to_string());
        // Whoever handed it in may have stopped listening.
        let _ = job.heard.send(Told::Taken { waiting: waiting.len(), held, written });
        for number in waiting {
            // Nobody need wait for what is known not to get out at present.
            match self.outlook.get().trouble.filter(|_| self.queue.is_paused(now.tick)) {
                Some(why) => drop(job.heard.send(Told::Waits(why))),
                None => drop(self.listeners.insert(number, job.heard.clone())),
            }
        }
        self.show();
    }

    /// Takes note of what became of a parcel.
    async fn settle(&mut self, parcel: &Parcel, result: Result<(), Failure>) {
        let now = self.clock.now();
        let listener = self.listeners.remove(&parcel.number);
        let to = parcel.to.clone();
        let told = match result {
            Ok(()) => {
                self.outlook.change(|shown| shown.trouble = None);
                let change = self.queue.delivered(parcel.number);
                // One that stays on disk is sent again by the next process, with the same id.
                let _ = self.write(vec![change]).await;
                Told::Sent(to)
            }
            Err(failure) => {
                let why = one_line(failure.why());
                match self.queue.failed(parcel.number, &failure, now.tick) {
                    Some(gone) => {
                        self.lost(&gone, &why, now);
                        let _ = self.write(vec![Change::Remove(gone.number)]).await;
                        Told::Refused(to, why)
                    }
                    None => {
                        tracing::warn!(action = %self.name, %to, place = %self.place, error = %why,
                            waiting = self.queue.counts().waiting, "a message does not get out, it is tried again");
                        self.outlook.change(|shown| shown.trouble = Some(why.clone()));
                        Told::Waits(why)
                    }
                }
            }
        };
        self.show();
        // Whoever handed it in may have stopped listening.
        let _ = listener.map(|listener| listener.send(told));
    }

    async fn give_up_the_old(&mut self, now: Now) {
        let old = self.queue.expire(now.tick);
        if old.is_empty() {
            return;
        }
        let mut changes = Vec::new();
        for parcel in &old {
            self.listeners.remove(&parcel.number);
            self.lost(parcel, "it was tried for too long", now);
            changes.push(Change::Remove(parcel.number));
        }
        let _ = self.write(changes).await;
        self.show();
    }

    /// Says that a parcel was given up.
    fn lost(&self, parcel: &Parcel, why: &str, now: Now) {
        let (subject, to) = (&parcel.notice.subject, &parcel.to);
        tracing::warn!(action = %self.name, %to, %subject, why, "a message is given up");
        self.outlook.change(|shown| {
            shown.lost.push_back((now.tick, format!("\"{subject}\" to {to}: {why}")));
            while shown.lost.len() > MOST_LOST {
                shown.lost.pop_front();
            }
        });
    }

    async fn write(&mut self, mut changes: Vec<Change>) -> io::Result<()> {
        if self.outbox.term().is_none_or(|term| self.term != Some(term)) {
            // What still waits when a term begins is written then.
            return Err(io::Error::other("this service does not act on the cluster"));
        }
        let mut all = std::mem::take(&mut self.unwritten);
        all.append(&mut changes);
        if all.is_empty() {
            return Ok(());
        }
        let written = self.outbox.apply(all.clone()).await;
        if written.is_err() {
            self.unwritten = all;
        }
        let too_many = self.unwritten.len().saturating_sub(MOST_UNWRITTEN);
        self.unwritten.drain(..too_many);
        self.disk_trouble(written.as_ref().err());
        written
    }

    fn disk_trouble(&self, error: Option<&io::Error>) {
        if let Some(error) = error {
            let place = self.outbox.place();
            tracing::warn!(action = %self.name, %error, "messages cannot be written to {place}, or not be read");
        }
        self.outlook.change(|shown| shown.disk = error.map(ToString::to_string));
    }

    fn show(&self) {
        let counts = self.queue.counts();
        self.outlook.change(|shown| shown.counts = counts);
    }
}
