//! Brokers: their processes, and what the controller holds of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cluster::{Broker, BrokerId};

use super::metadata::Frozen;
use super::{Event, World, push_bounded};
use crate::fault::{Cut, FLAP_DOWN, FLAP_EVERY, FLAPS};
use crate::time::Moment;
use crate::world::history::Happening;

/// A broker.
pub(super) struct BrokerModel {
    pub(super) broker: Broker,
    pub(super) process: Process,
    /// Grows with each change of the process, so that what was planned for an earlier run does not happen.
    pub(super) run: u64,
    /// Whether the controller holds it to be alive (unfenced in KRaft mode, registered with ZooKeeper).
    pub(super) live: bool,
    /// When that changed, the newest last; the beginning counts as a change. Bounded.
    pub(super) changes: VecDeque<(Moment, bool)>,
    /// When it began, or ceased, to answer DoctorKafka, the newest last. Bounded.
    pub(super) answers: VecDeque<(Moment, bool)>,
    /// Whether its last run ended without a chance to say goodbye: what it had not written to disk may be lost, and it is
    /// no eligible leader any more when it comes back.
    pub(super) unclean: bool,
    /// Whether it is being shut down: it neither leads nor joins in-sync replicas any more.
    pub(super) leaving: bool,
    /// Grows with each sign of life that comes after a gap.
    pub(super) session: u64,
    /// When its session ends, while signs of life are missing.
    pub(super) session_end: Option<Moment>,
    /// Its signs of life are sent at so many milliseconds after each multiple of the heartbeat's interval.
    pub(super) phase: u64,
    /// How far its metadata is behind the controller's.
    pub(super) delay: Duration,
    /// Its metadata, while they stand still.
    pub(super) frozen: Option<Frozen>,
    pub(super) dirs: Vec<DirModel>,
    pub(super) nic_in: u64,
    pub(super) nic_out: u64,
    pub(super) disk_rate: u64,
    /// The partitions of which it holds a replica, with the log directory.
    pub(super) partitions: BTreeMap<usize, u8>,
}

/// A log directory.
pub(super) struct DirModel {
    pub(super) path: Arc<str>,
    pub(super) total: u64,
    /// Bytes of it that are not Kafka's.
    pub(super) other: u64,
    pub(super) failed: bool,
}

/// What a broker's process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// It works.
    Runs,
    /// It stands still (`SIGSTOP`, or a very long pause of the garbage collector).
    Stopped,
    /// It is on its way up and answers nobody.
    Starts,
    /// There is none.
    Down,
}

/// An absence of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// When the controller dropped it.
    pub dropped: Moment,
    /// How long the controller has held it to be gone.
    pub lasted: Duration,
    /// Since when it had not answered DoctorKafka before that: the newest moment first, then those to which the silence goes
    /// back for one who has not seen the short times in which it answered. Empty if it answered to the last.
    pub silent: Vec<Moment>,
}

/// The newest time of `false` in a history of changes that lasts at the moment `at`, or ended at most `within` before:
/// the moments at which it may be held to have begun, the newest first, and its end, at the latest `at`. Times of `true`
/// of at most `gap` within it may be seen or not: it begins anew after each of them, or is one with what was before.
fn stretch(
    history: &VecDeque<(Moment, bool)>,
    at: Moment,
    within: Duration,
    gap: Duration,
) -> Option<(Vec<Moment>, Moment)> {
    let mut begins = Vec::new();
    let mut last = None;
    let mut end = at;
    for (since, value) in history.iter().rev().filter(|(since, _)| *since <= at) {
        let most = if last.is_some() { gap } else { within };
        if *value && end.since(*since) > most {
            break;
        }
        if !*value {
            begins.push(*since);
            last.get_or_insert(end);
        }
        end = *since;
    }
    last.map(|last| (begins, last))
}

/// So many changes of who is alive are kept of each broker.
const CHANGES: usize = 16;

/// From handing its leaderships over to its end, a broker that is shut down has so long to go.
const GOODBYE: Duration = Duration::from_millis(500);

impl World {
    /// A broker's absence at the moment `at`, by the controller's word: that one, or one that ended at most `within`
    /// before. `None` for one that was alive all that time, and for one that there is not. Whoever looks now and then
    /// does not see gaps of at most `gap`, so that what they part counts as one.
    pub fn absence(&self, id: BrokerId, at: Moment, within: Duration, gap: Duration) -> Option<Absence> {
        let it = &self.brokers[*self.by_id.get(&id)?];
        let (dropped, end) = stretch(&it.changes, at, within, gap)?;
        let dropped = *dropped.last()?;
        let silent = stretch(&it.answers, dropped, gap, gap).map_or_else(Vec::new, |(silent, _)| silent);
        Some(Absence { dropped, lasted: end.since(dropped), silent })
    }

    /// Whether a broker is alive, by the controller's word, or was at most `within` ago.
    pub fn was_live_lately(&self, id: BrokerId, within: Duration) -> bool {
        let Some(it) = self.by_id.get(&id).map(|broker| &self.brokers[*broker]) else { return false };
        it.live
            || it.changes.back().is_some_and(|(at, _)| self.now.since(*at) <= within && it.changes.len() > 1)
    }

    /// For how long a broker has answered DoctorKafka without a gap; `None` for one that does not now.
    pub fn answers_us_for(&self, id: BrokerId) -> Option<Duration> {
        let (since, answers) = self.brokers[*self.by_id.get(&id)?].answers.back()?;
        answers.then(|| self.now.since(*since))
    }

    /// Is called after anything that may keep a broker from answering DoctorKafka, or let it answer again.
    pub(super) fn watch_answers(&mut self, broker: usize) {
        let answers = self.runs(broker) && !self.cut.contains(&(broker, Cut::Us));
        let it = &mut self.brokers[broker].answers;
        if it.back().is_none_or(|(_, before)| *before != answers) {
            push_bounded(it, (self.now, answers), CHANGES);
        }
    }

    /// Whether a broker holds any replica.
    pub fn holds_replicas(&self, id: BrokerId) -> bool {
        self.by_id.get(&id).is_some_and(|broker| !self.brokers[*broker].partitions.is_empty())
    }

    /// Brokers that are alive, by the controller's word.
    pub fn live(&self) -> Vec<BrokerId> {
        self.brokers.iter().filter(|it| it.live).map(|it| it.broker.id).collect()
    }

    /// Brokers that have a process: they are alive, or will be.
    pub fn up(&self) -> Vec<BrokerId> {
        self.brokers.iter().filter(|it| it.process != Process::Down).map(|it| it.broker.id).collect()
    }

    /// Brokers that have been away, by the controller's word, for at least `time`.
    pub fn absent_for(&self, time: Duration) -> Vec<BrokerId> {
        let away = self
            .brokers
            .iter()
            .filter(|it| !it.live && it.changes.back().is_some_and(|(at, _)| self.now.since(*at) >= time));
        away.map(|it| it.broker.id).collect()
    }

    /// Whether a broker's process answers requests.
    pub(super) fn runs(&self, broker: usize) -> bool {
        self.brokers[broker].process == Process::Runs
    }

    fn shows_life(&self, broker: usize) -> bool {
        self.runs(broker) && !self.cut.contains(&(broker, Cut::Controller))
    }

    /// Is called after anything that may keep a broker's signs of life from the controller, or let them through again.
    pub(super) fn watch_session(&mut self, broker: usize) {
        let shows_life = self.shows_life(broker);
        let rules = &self.settings.rules;
        let (beat, session) = (crate::time::millis(rules.heartbeat).max(1), rules.session);
        let now = self.now;
        let it = &mut self.brokers[broker];
        match (shows_life, it.session_end) {
            (false, None) if it.live => {
                let since_last = (now.0 + beat - it.phase % beat) % beat;
                let end = Moment(now.0.saturating_sub(since_last)).plus(session);
                it.session_end = Some(end);
                let session = it.session;
                self.schedule_at(end.max(now), Event::SessionEnds { broker, session });
            }
            (true, Some(_)) if it.live => {
                it.session += 1;
                it.session_end = None;
            }
            (true, _) if !it.live => {
                // It finds out with its next sign of life that it has been dropped, and registers anew.
                it.session += 1;
                it.session_end = None;
                let run = it.run;
                self.schedule(Duration::from_millis(beat), Event::Serves { broker, run });
            }
            _ => {}
        }
    }

    pub(super) fn session_ends(&mut self, broker: usize, session: u64) {
        let it = &mut self.brokers[broker];
        if it.session != session || it.session_end.is_none() {
            return;
        }
        it.session_end = None;
        self.drop_broker(broker);
    }

    /// The controller drops a broker.
    fn drop_broker(&mut self, broker: usize) {
        if !std::mem::take(&mut self.brokers[broker].live) {
            return;
        }
        push_bounded(&mut self.brokers[broker].changes, (self.now, false), CHANGES);
        self.brokers[broker].session += 1;
        self.brokers[broker].session_end = None;
        self.history.push(self.now, Happening::Dropped(self.id(broker)));
        self.publish_live();
        for p in self.partitions_of(broker) {
            self.take_out(p, broker);
        }
    }

    /// A broker's process is up and registered, if it is still the same run.
    pub(super) fn serves(&mut self, broker: usize, run: u64) {
        if self.brokers[broker].run != run || self.brokers[broker].live {
            return;
        }
        if self.brokers[broker].process == Process::Starts {
            // It tries all its log directories anew, and ends if none can be written to.
            self.brokers[broker].dirs.iter_mut().for_each(|dir| dir.failed = false);
            self.fail_full_dirs(broker);
            if self.has_no_dir(broker) {
                self.kill(broker);
                return;
            }
            self.brokers[broker].process = Process::Runs;
            self.watch_answers(broker);
        }
        if !self.shows_life(broker) {
            return;
        }
        self.brokers[broker].live = true;
        push_bounded(&mut self.brokers[broker].changes, (self.now, true), CHANGES);
        self.brokers[broker].session_end = None;
        self.history.push(self.now, Happening::Alive(self.id(broker)));
        self.publish_live();
        let unclean = std::mem::take(&mut self.brokers[broker].unclean);
        for p in self.partitions_of(broker) {
            if unclean && self.partitions[p].eligible.contains(&broker) {
                self.change(p, |it| it.eligible.retain(|other| *other != broker));
            }
            self.take_in(p);
        }
        self.loads_due = true;
        self.wake_replication();
    }

    /// A broker's process ends at once.
    pub(super) fn kill(&mut self, broker: usize) {
        if self.brokers[broker].process == Process::Down {
            return;
        }
        self.brokers[broker].unclean = true;
        self.brokers[broker].leaving = false;
        self.become_process(broker, Process::Down);
    }

    /// A broker's process stands still for so long.
    pub(super) fn pause(&mut self, broker: usize, time: Duration) {
        if self.brokers[broker].process != Process::Runs {
            return;
        }
        self.become_process(broker, Process::Stopped);
        let run = self.brokers[broker].run;
        self.schedule(time, Event::GoesOn { broker, run });
    }

    pub(super) fn goes_on(&mut self, broker: usize, run: u64) {
        if self.brokers[broker].run == run && self.brokers[broker].process == Process::Stopped {
            self.become_process(broker, Process::Runs);
        }
    }

    /// Shuts a running broker down in an orderly way, and starts it again or not: it gives its leaderships away and is
    /// taken out of the in-sync replicas before it ends.
    pub(super) fn shut_down(&mut self, broker: usize, again: bool) {
        if !self.shows_life(broker) || !self.brokers[broker].live {
            self.kill(broker);
            if again {
                self.start(broker, Duration::ZERO);
            }
            return;
        }
        self.brokers[broker].leaving = true;
        for p in self.partitions_of(broker) {
            // ZooKeeper's controller leaves it what nobody else could lead.
            let partition = &self.partitions[p];
            let another = partition.replicas.iter().any(|other| *other != broker && self.may_lead(p, *other));
            if self.settings.rules.capabilities.kraft || another || partition.leader != Some(broker) {
                self.take_out(p, broker);
            }
        }
        let run = self.brokers[broker].run;
        self.schedule(GOODBYE, Event::Leaves { broker, run, again });
    }

    pub(super) fn leaves(&mut self, broker: usize, run: u64, again: bool) {
        if self.brokers[broker].run != run {
            return;
        }
        self.drop_broker(broker);
        self.kill(broker);
        self.brokers[broker].unclean = false;
        if again {
            self.start(broker, Duration::ZERO);
        }
    }

    /// Starts a broker that is down. It checks its logs for `recovery` before it serves.
    pub(super) fn start(&mut self, broker: usize, recovery: Duration) {
        if self.brokers[broker].process != Process::Down {
            return;
        }
        self.become_process(broker, Process::Starts);
        let ready = self.now.plus(self.settings.rules.start_up).plus(recovery);
        // While the old session lasts there is no new one.
        let it = &self.brokers[broker];
        let ready = it.session_end.map_or(ready, |end| ready.max(end.plus(Duration::from_millis(200))));
        let run = it.run;
        self.schedule_at(ready, Event::Serves { broker, run });
    }

    /// Another host with empty disks takes the broker's place.
    pub(super) fn replace(&mut self, broker: usize) {
        self.kill(broker);
        for dir in &mut self.brokers[broker].dirs {
            dir.failed = false;
            dir.other = 0;
        }
        for p in self.partitions_of(broker) {
            self.wipe(p, broker);
        }
        self.start(broker, Duration::ZERO);
    }

    /// A flapping broker is killed, started again, and so on.
    pub(super) fn flap(&mut self, broker: usize) {
        self.flaps(broker, FLAPS);
    }

    pub(super) fn flaps(&mut self, broker: usize, left: u32) {
        self.kill(broker);
        self.schedule(FLAP_DOWN, Event::FlapsBack { broker });
        if left > 1 {
            self.schedule(FLAP_EVERY, Event::Flaps { broker, left: left - 1 });
        }
    }

    fn become_process(&mut self, broker: usize, process: Process) {
        self.brokers[broker].process = process;
        self.watch_answers(broker);
        self.brokers[broker].run += 1;
        self.loads_due = true;
        self.watch_session(broker);
        for p in self.partitions_of(broker) {
            self.follow(p);
        }
    }

    pub(super) fn partitions_of(&self, broker: usize) -> Vec<usize> {
        self.brokers[broker].partitions.keys().copied().collect()
    }

    /// Bytes that are used of each volume of a broker.
    pub(super) fn used(&self, broker: usize) -> Vec<u64> {
        let it = &self.brokers[broker];
        let mut used: Vec<u64> = it.dirs.iter().map(|dir| dir.other).collect();
        for (p, dir) in &it.partitions {
            if let Some(used) = used.get_mut(usize::from(*dir)) {
                *used = used.saturating_add(self.replica_bytes(*p, broker));
            }
        }
        used
    }

    /// Takes the log directories on full volumes out of service. Says whether there were any.
    fn fail_full_dirs(&mut self, broker: usize) -> bool {
        let used = self.used(broker);
        let dirs = self.brokers[broker].dirs.iter_mut().zip(used);
        let full = dirs.filter(|(dir, used)| !dir.failed && *used >= dir.total);
        let failed = full.map(|(dir, _)| dir.failed = true).count() > 0;
        if failed {
            self.history.push(self.now, Happening::DirFailed(self.id(broker)));
        }
        failed
    }

    fn has_no_dir(&self, broker: usize) -> bool {
        self.brokers[broker].dirs.iter().all(|dir| dir.failed)
    }

    /// A write to a full volume fails, and Kafka takes the log directory out of service; a broker without one left ends.
    pub(super) fn check_disks(&mut self) {
        for broker in 0..self.brokers.len() {
            if !self.runs(broker) || !self.fail_full_dirs(broker) {
                continue;
            }
            if self.has_no_dir(broker) {
                self.kill(broker);
                continue;
            }
            let it = &self.brokers[broker];
            let lost = it.partitions.iter().filter(|(_, dir)| it.dirs[usize::from(**dir)].failed);
            for p in lost.map(|(p, _)| *p).collect::<Vec<_>>() {
                self.take_out(p, broker);
            }
        }
    }
}
