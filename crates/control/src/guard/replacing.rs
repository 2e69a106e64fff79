//! What the guard says to replacements of hosts, and to moves that a replacement would make needless.

use cluster::BrokerId;

use super::brake::duration_words;
use super::{Check, Guard};
use crate::attributes::DeadBrokers;
use crate::event::{Event, ReplaceInstance, names};
use crate::finding::Target;
use crate::monitors::maintenance;
use crate::operators::kinds;
use crate::replacement::{OnDeadBroker, Replaced, Replacement, Replacements};
use crate::time::{Now, Timestamp};

/// The kind of the finding that another service looks after the cluster, or this one under another name.
pub const ANOTHER_SERVICE: &str = "another_service";
/// The kind of the finding that it is not known yet whether one does.
pub const NEIGHBOURS_UNKNOWN: &str = "neighbours_unknown";
/// The kind of the finding that an act goes on of which nobody who may act knows.
pub const ACT_WITHOUT_OWNER: &str = "act_without_owner";
const NOT_ALONE: [&str; 3] = [ANOTHER_SERVICE, NEIGHBOURS_UNKNOWN, ACT_WITHOUT_OWNER];

/// That another replacement was begun a while ago, in words.
pub(crate) fn cools(last: &Replacement, until: Timestamp, now: Now) -> String {
    format!(
        "the replacement of the host of broker {} was begun {} ago; the next one may be begun in {}",
        last.broker,
        duration_words(now.wall.since(last.begun)),
        duration_words(until.since(now.wall)),
    )
}

impl Guard<'_> {
    /// One at a time, and none for a while after the last one was begun, whatever came of it. What cannot be read could not be
    /// remembered.
    pub(super) fn objects_to_replacing(&self, event: &Event) -> Option<(Check, String)> {
        if let Some(reason) = self.may_not_be_alone() {
            return Some((Check::Owner, reason));
        }
        let order = match event.payload_as::<ReplaceInstance>() {
            Ok(order) => order,
            Err(error) => return Some((Check::Facts, format!("its payload cannot be read: {error}"))),
        };
        let is_one = |name: &str| name == names::REPLACE_INSTANCE;
        let mut running = self.executions.iter().filter(|e| e.is_running() && !e.event.dry_run);
        if let Some(running) = running.find(|e| is_one(&e.event.name)) {
            let reason = format!("execution {} replaces {} already", running.id.0, running.event.target);
            return Some((Check::InFlight, reason));
        }
        let replacements = self.state.get::<Replacements>()?.value;
        let (now, cooldown) = (self.state.now(), self.config.replacement_cooldown);
        let (until, last) = match order.no_restart {
            true => replacements.cools_until_for(order.broker, now, cooldown),
            false => replacements.cools_until(now, cooldown),
        }?;
        Some((Check::CoolDown, cools(last, until, now)))
    }

    /// Two services that do not know of each other's replacements would replace two hosts where one was meant, or one twice.
    fn may_not_be_alone(&self) -> Option<String> {
        let said = self.state.findings().iter().find(|it| NOT_ALONE.contains(&it.kind.as_str()))?;
        Some(said.message.clone())
    }

    /// Why the replicas of a dead broker are not moved yet: its host is to be replaced first, or is being replaced, which may have
    /// taken a live broker down.
    pub(super) fn is_replaced_first(&self, broker: BrokerId) -> Option<String> {
        let replacements = self.state.get::<Replacements>()?.value;
        if let Some(reason) = self.is_being_replaced(broker, replacements) {
            return Some(reason);
        }
        let fact = self.state.get::<DeadBrokers>()?.value;
        let dead = fact.dead.get(&broker)?;
        if self.state.findings().iter().any(|it| it.kind == ANOTHER_SERVICE) {
            return None;
        }
        let last = replacements.of(broker, dead.since);
        let has_died_of_it = last.is_some_and(|it| it.begun < dead.since);
        if self.config.on_dead_broker == OnDeadBroker::Heal && !has_died_of_it {
            return None;
        }
        if maintenance::current(self.state).decommissioned.contains_key(&broker) {
            return None;
        }
        let limit = fact.grace.saturating_add(self.config.replace_timeout);
        let left = limit.checked_sub(dead.absent_for).filter(|left| !left.is_zero())?;
        let ended = last.map(|it| &it.ended);
        if let Some(Some((_, Replaced::Unanswered(_)))) = ended {
            return Some(format!(
                "it is not known what came of the program that replaces the host of broker {broker}, which may still run: its \
                 replicas are moved if it is not back in {}",
                duration_words(left)
            ));
        }
        let is_refused = |kind: &str, subject: &Target| {
            kind == kinds::REPLACEMENT_REFUSED && *subject == Target::Broker(broker)
        };
        if self.state.findings().iter().any(|it| is_refused(&it.kind, &it.subject)) {
            return None;
        }
        match ended {
            Some(Some((_, Replaced::Failed(_) | Replaced::Unknown(_) | Replaced::NotStarted(_)))) => {
                return None;
            }
            Some(_) => {}
            None => {
                let cooldown = self.config.replacement_cooldown;
                if replacements.cools_until(self.state.now(), cooldown).is_some() {
                    return None;
                }
            }
        }
        let left = duration_words(left);
        Some(format!(
            "the host of broker {broker} is to be replaced first: its replicas are moved if it is not back in {left}"
        ))
    }

    /// While a program works on its host, for as long as that may take by a clock that nobody sets.
    fn is_being_replaced(&self, broker: BrokerId, replacements: &Replacements) -> Option<String> {
        let is_it = |event: &Event| {
            event.name == names::REPLACE_INSTANCE && event.target == Target::Broker(broker) && !event.dry_run
        };
        let execution = self.executions.iter().find(|e| e.is_running() && is_it(&e.event))?;
        let replacement = replacements.last.iter().rfind(|it| it.id == execution.event.id)?;
        let passed = replacement.watched(self.state.now());
        let left = self.config.replace_timeout.checked_sub(passed).filter(|left| !left.is_zero())?;
        Some(format!(
            "the host of broker {broker} is being replaced by execution {}: its replicas are moved if it is not back in {}",
            execution.id.0,
            duration_words(left)
        ))
    }
}
