//! Which parcel is due, and what becomes of one that was not handed over. Pure: the time is an argument.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use control::{Deliveries, Now, Tick, Timestamp};

use super::{Failure, Limits, Notice, NoticeKind, Parcel};

/// Pauses while the other side takes nothing: it doubles from a second to a minute, so that what waits is on its way
/// within a minute after the other side is back.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Pauses of a parcel that is not taken at present: greylisting wants a few minutes, a full mailbox longer.
const SHORTEST_DELAY: Duration = Duration::from_secs(30);
const LONGEST_DELAY: Duration = Duration::from_secs(30 * 60);
/// The longest that the other side may ask to be left alone.
const LONGEST_WISH: Duration = Duration::from_secs(3_600);
/// What an earlier process has left is tried for so long at least, however old it is.
const LAST_CHANCE: Duration = Duration::from_secs(3_600);
/// Deliveries whose ids are remembered, to know them when they come again.
const REMEMBERED: usize = 1_000;

/// What must be done to the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Write this parcel, in the place of one with its number.
    Save(Box<Parcel>),
    /// Remove the parcel with this number.
    Remove(u64),
}

/// What became of a notice for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// It waits for its turn, under this number.
    Waits(u64),
    /// It is held back for so long.
    Held(Duration),
    /// It came before.
    Known,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Hand over this parcel.
    Due(u64),
    /// Nothing before this moment.
    At(Tick),
    /// There is nothing.
    Nothing,
}

/// A parcel that waits.
#[derive(Debug)]
struct Waiting {
    parcel: Parcel,
    /// Until when it is held back; 0 for one that never was.
    hold: Tick,
    /// When it may be tried again.
    due: Tick,
    tries: u32,
    /// When it is given up.
    expires: Tick,
}

impl Waiting {
    fn is_held(&self, now: Tick) -> bool {
        self.hold > now
    }
}

/// The parcels that wait.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    waiting: BTreeMap<u64, Waiting>,
    next_number: u64,
    /// By key and recipient: until when the like is held back. In memory alone: after a restart a message may be sent once
    /// more than it should be. The core's own marks ("once per incident") are in its journal.
    windows: BTreeMap<(String, String), Tick>,
    /// Ids and recipients of the last notices, the oldest first.
    known: VecDeque<(String, String)>,
    /// The last pause while the other side takes nothing; zero when it does.
    pause: Duration,
    paused_until: Tick,
    counts: Deliveries,
    /// Given up because there were too many, and not told yet.
    pushed_out: Vec<Parcel>,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: BTreeMap::new(),
            next_number: 1,
            windows: BTreeMap::new(),
            known: VecDeque::new(),
            pause: Duration::ZERO,
            paused_until: Tick::default(),
            counts: Deliveries::default(),
            pushed_out: Vec::new(),
        }
    }

    /// Takes in what an earlier process has left.
    pub(super) fn restore(&mut self, parcels: Vec<Parcel>, now: Now) {
        for parcel in parcels {
            let left = |until: Timestamp| until.since(now.wall).min(self.limits.snooze);
            let hold = parcel.held_until.map_or(Duration::ZERO, left);
            let age = now.wall.since(parcel.queued);
            let expires = now.tick.plus(self.limits.give_up_after.saturating_sub(age).max(LAST_CHANCE));
            let hold = if hold.is_zero() { Tick::default() } else { now.tick.plus(hold) };
            self.next_number = self.next_number.max(parcel.number.saturating_add(1));
            self.remember(&parcel.notice.id, &parcel.to);
            if hold > now.tick {
                self.windows.insert((parcel.notice.key(), parcel.to.clone()), hold);
            }
            let waiting = Waiting { hold, due: Tick::default(), tries: 0, expires, parcel };
            self.waiting.insert(waiting.parcel.number, waiting);
        }
    }

    /// Forgets all, also what was known: it is another's business, who may have done with it what is not known here.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.known.clear();
        self.pause = Duration::ZERO;
        self.paused_until = Tick::default();
    }

    /// The parcels that wait.
    pub(super) fn parcels(&self) -> impl Iterator<Item = &Parcel> {
        self.waiting.values().map(|waiting| &waiting.parcel)
    }

    /// Takes in what waited elsewhere, behind what is here.
    pub(super) fn adopt(&mut self, parcels: Vec<Parcel>, now: Now, changes: &mut Vec<Change>) {
        let mut adopted = Vec::new();
        for parcel in parcels {
            if self.knows(&parcel.notice.id, &parcel.to) {
                continue;
            }
            let number = self.next_number;
            self.next_number = number.saturating_add(1);
            adopted.push(Parcel { number, ..parcel });
        }
        changes.extend(adopted.iter().map(|parcel| Change::Save(Box::new(parcel.clone()))));
        self.restore(adopted, now);
    }

    fn knows(&self, id: &str, to: &str) -> bool {
        self.known.iter().any(|(known, whom)| known == id && whom == to)
    }

    /// Adds a notice for one recipient.
    pub(super) fn push(&mut self, notice: &Notice, to: &str, now: Now, changes: &mut Vec<Change>) -> Placed {
        if self.knows(&notice.id, to) {
            let same = |parcel: &Parcel| parcel.notice.id == notice.id && parcel.to == to;
            let waiting = self.waiting.values().find(|waiting| same(&waiting.parcel));
            return waiting.map_or(Placed::Known, |waiting| Placed::Waits(waiting.parcel.number));
        }
        self.remember(&notice.id, to);
        self.windows.retain(|_, end| *end > now.tick);
        let held_back = self.take_back_what_is_over(notice, to, now.tick, changes);
        let window = (notice.key(), to.to_owned());
        let end = self.windows.get(&window).copied().unwrap_or_default();
        if end <= now.tick {
            if !self.limits.snooze.is_zero() {
                self.windows.insert(window, now.tick.plus(self.limits.snooze));
            }
            let number = self.add(notice, to, held_back, Tick::default(), now, changes);
            self.make_room(changes);
            return Placed::Waits(number);
        }
        self.counts.held_back += 1;
        let like = self.waiting.values_mut().find(|waiting| {
            waiting.is_held(now.tick) && waiting.parcel.to == to && waiting.parcel.notice.key() == window.0
        });
        if let Some(like) = like {
            like.parcel.notice = notice.clone();
            like.parcel.held_back = like.parcel.held_back.saturating_add(1).saturating_add(held_back);
            changes.push(Change::Save(Box::new(like.parcel.clone())));
            return Placed::Held(like.hold.since(now.tick));
        }
        self.windows.insert(window, end.plus(self.limits.snooze));
        self.add(notice, to, held_back, end, now, changes);
        self.make_room(changes);
        Placed::Held(end.since(now.tick))
    }

    /// An alert that is held back while its incident ends need not be told any more, nor the end of one that has come
    /// again. Returns how many notices that were.
    fn take_back_what_is_over(
        &mut self,
        notice: &Notice,
        to: &str,
        now: Tick,
        changes: &mut Vec<Change>,
    ) -> u32 {
        let (thread, ends) = (notice.thread(), notice.kind == NoticeKind::Resolved);
        let is_over = |waiting: &Waiting| {
            let parcel = &waiting.parcel;
            waiting.is_held(now)
                && parcel.to == to
                && parcel.notice.thread() == thread
                && (parcel.notice.kind == NoticeKind::Resolved) != ends
        };
        let over: Vec<u64> = self.waiting.values().filter(|w| is_over(w)).map(|w| w.parcel.number).collect();
        let mut count: u32 = 0;
        for number in over {
            let Some(gone) = self.waiting.remove(&number) else { continue };
            count = count.saturating_add(gone.parcel.held_back).saturating_add(1);
            // What was to be sent at the end of the window is not: the next one may be.
            self.windows.insert((gone.parcel.notice.key(), to.to_owned()), gone.hold);
            changes.push(Change::Remove(number));
        }
        count
    }

    fn add(
        &mut self,
        notice: &Notice,
        to: &str,
        held_back: u32,
        hold: Tick,
        now: Now,
        changes: &mut Vec<Change>,
    ) -> u64 {
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        let left = i64::try_from(hold.since(now.tick).as_millis()).unwrap_or(i64::MAX);
        let parcel = Parcel {
            number,
            to: to.to_owned(),
            notice: notice.clone(),
            held_back,
            queued: now.wall,
            held_until: (left > 0).then(|| Timestamp(now.wall.0.saturating_add(left))),
        };
        changes.push(Change::Save(Box::new(parcel.clone())));
        let expires = now.tick.plus(self.limits.give_up_after);
        self.waiting.insert(number, Waiting { parcel, hold, due: Tick::default(), tries: 0, expires });
        number
    }

    /// Gives up the oldest when there are too many.
    fn make_room(&mut self, changes: &mut Vec<Change>) {
        while self.waiting.len() > self.limits.most
            && let Some((number, oldest)) = self.waiting.pop_first()
        {
            self.counts.undeliverable += 1;
            self.pushed_out.push(oldest.parcel);
            changes.push(Change::Remove(number));
        }
    }

    fn remember(&mut self, id: &str, to: &str) {
        self.known.push_back((id.to_owned(), to.to_owned()));
        while self.known.len() > REMEMBERED.max(2 * self.limits.most) {
            self.known.pop_front();
        }
    }

    /// What is to be done at this moment. Of the parcels of one thread the first alone is tried, so that they arrive in
    /// their order.
    pub(super) fn next(&self, now: Tick) -> Next {
        let mut threads = BTreeSet::new();
        let mut soonest: Option<Tick> = None;
        for (number, waiting) in &self.waiting {
            let at = if waiting.is_held(now) {
                waiting.hold
            } else if threads.insert((waiting.parcel.notice.thread(), &waiting.parcel.to)) {
                waiting.due.max(self.paused_until)
            } else {
                continue;
            };
            if at <= now {
                return Next::Due(*number);
            }
            soonest = Some(soonest.map_or(at, |soonest| soonest.min(at)));
        }
        soonest.map_or(Next::Nothing, Next::At)
    }

    /// Whether nothing is tried at this moment because the other side takes nothing.
    pub(super) fn is_paused(&self, now: Tick) -> bool {
        self.paused_until > now
    }

    /// The parcel with this number.
    pub(super) fn parcel(&self, number: u64) -> Option<&Parcel> {
        self.waiting.get(&number).map(|waiting| &waiting.parcel)
    }

    /// It was handed over.
    pub(super) fn delivered(&mut self, number: u64) -> Change {
        self.counts.sent += 1;
        self.pause = Duration::ZERO;
        self.waiting.remove(&number);
        Change::Remove(number)
    }

    /// It was not handed over. Returns whether it was given up.
    pub(super) fn failed(&mut self, number: u64, failure: &Failure, now: Tick) -> Option<Parcel> {
        match failure {
            Failure::Unreachable { after, .. } => {
                self.pause = (self.pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
                let wish = after.unwrap_or_default().min(LONGEST_WISH);
                self.paused_until = now.plus(self.pause.max(wish));
                None
            }
            Failure::Later(_) => {
                self.pause = Duration::ZERO;
                if let Some(waiting) = self.waiting.get_mut(&number) {
                    waiting.due = now.plus(delay_after(waiting.tries));
                    waiting.tries = waiting.tries.saturating_add(1);
                }
                None
            }
            Failure::Refused(_) => {
                self.pause = Duration::ZERO;
                self.counts.undeliverable += 1;
                self.waiting.remove(&number).map(|waiting| waiting.parcel)
            }
        }
    }

    /// What was given up because there were too many, since the last time.
    pub(super) fn take_pushed_out(&mut self) -> Vec<Parcel> {
        std::mem::take(&mut self.pushed_out)
    }

    /// Gives up what is too old.
    pub(super) fn expire(&mut self, now: Tick) -> Vec<Parcel> {
        let old: Vec<u64> =
            self.waiting.iter().filter(|(_, waiting)| waiting.expires <= now).map(|(n, _)| *n).collect();
        self.counts.undeliverable += old.len() as u64;
        old.iter().filter_map(|number| self.waiting.remove(number)).map(|waiting| waiting.parcel).collect()
    }

    /// The counts at this moment.
    pub(super) fn counts(&self) -> Deliveries {
        Deliveries { waiting: self.waiting.len() as u64, ..self.counts }
    }
}

fn delay_after(tries: u32) -> Duration {
    SHORTEST_DELAY.saturating_mul(1_u32.checked_shl(tries.min(16)).unwrap_or(u32::MAX)).min(LONGEST_DELAY)
}
