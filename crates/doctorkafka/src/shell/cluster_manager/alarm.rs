//! What the core can tell nobody, as it does nothing then: that the state store cannot be used, or that it is another cluster.
//!
//! Such an alarm goes to the mails and webhooks that are subscribed to the general alert, past executions and journal. It is in
//! memory alone: a service that starts while the trouble lasts tells it once more, and each service that has it tells its own.

use std::collections::BTreeMap;

use control::event::{Alerted, Message, Resolved, names};
use control::step::IDENTITY_MISMATCH;
use control::{Event, IncidentKey, Tick};

use super::*;

/// Trouble is told when it has lasted for so long: a store whose servers elect another leader is back by then.
const TELL_AFTER: Duration = Duration::from_secs(30);
/// It is over when it has been gone for so long: people are not told so between two failures.
const OVER_AFTER: Duration = Duration::from_secs(30);

/// The trouble that people are told of, by the kind of its finding.
#[derive(Default)]
pub(super) struct Alarm {
    open: BTreeMap<&'static str, Trouble>,
}

struct Trouble {
    message: String,
    since: Now,
    seen: Tick,
    told: bool,
}

impl Alarm {
    /// Takes in what is wrong at this moment, and returns what people are to be told.
    fn look(&mut self, wrong: Vec<(&'static str, String)>, now: Now) -> Vec<Event> {
        for (kind, message) in wrong {
            let began = Trouble { message: String::new(), since: now, seen: now.tick, told: false };
            let trouble = self.open.entry(kind).or_insert(began);
            (trouble.message, trouble.seen) = (message, now.tick);
        }
        let mut events = Vec::new();
        self.open.retain(|kind, trouble| {
            let lasts = trouble.seen == now.tick;
            if lasts && !trouble.told && now.tick.since(trouble.since.tick) >= TELL_AFTER {
                trouble.told = true;
                events.push(alert(kind, trouble));
            }
            let over = now.tick.since(trouble.seen) >= OVER_AFTER;
            if over && trouble.told {
                events.push(end(kind, trouble));
            }
            !over
        });
        events
    }
}

fn alert(kind: &str, trouble: &Trouble) -> Event {
    let message = Message {
        subject: trouble.message.clone(),
        body: format!(
            "{}.\nNothing is done to the cluster until this is over; looking goes on.",
            trouble.message
        ),
        severity: Severity::Critical,
    };
    event(names::ALERT_INCIDENT, kind, trouble, &message, "")
}

fn end(kind: &str, trouble: &Trouble) -> Event {
    let told = Alerted {
        event: names::ALERT_INCIDENT.to_owned(),
        target: Target::Cluster,
        severity: Severity::Critical,
    };
    let message = Resolved {
        subject: format!("resolved: {}", trouble.message),
        body: format!("{kind} is over, which was: {}.", trouble.message),
        severity: Severity::Info,
        alerts: vec![told],
    };
    event(names::ALERT_RESOLVED, kind, trouble, &message, "-over")
}

fn event(name: &str, kind: &str, trouble: &Trouble, payload: &impl serde::Serialize, end: &str) -> Event {
    let event = Event::new(name, Target::Cluster, trouble.message.as_str(), payload);
    let mut event = event.caused_by(IncidentKey::new(kind, Target::Cluster));
    event.id = format!("{kind}-{}{end}", trouble.since.wall.0);
    event
}

impl ClusterManager {
    /// Tells people what is wrong where the core can tell nobody.
    pub(super) fn sound_alarm(&mut self, now: Now) {
        let mut wrong = Vec::new();
        if let Some(why) = &self.store_trouble {
            wrong.push((STORE_TROUBLE, format!("the state store cannot be used: {why}")));
        }
        if let Some(other) = self.memory.incidents.get(IDENTITY_MISMATCH, &Target::Cluster) {
            wrong.push((IDENTITY_MISMATCH, other.message.clone()));
        }
        for event in self.alarm.look(wrong, now) {
            let slots = self.looking.core.actions().iter();
            for slot in slots.filter(|slot| slot.subscribed.contains(&event.name)) {
                self.acts.tell(&slot.name, event.clone(), slot.dry_run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use control::Timestamp;

    use super::*;

    fn at(second: i64) -> Now {
        Now { tick: Tick(u64::try_from(second).unwrap() * 1_000), wall: Timestamp(second * 1_000) }
    }

    fn told(alarm: &mut Alarm, second: i64, wrong: Option<&str>) -> Vec<(String, String)> {
        let wrong = wrong.map(|why| (STORE_TROUBLE, why.to_owned())).into_iter().collect();
        alarm.look(wrong, at(second)).into_iter().map(|event| (event.name, event.id)).collect()
    }

    #[test]
    fn trouble_is_told_once_when_it_lasts_and_its_end_when_that_lasts() {
        let mut alarm = Alarm::default();
        let nothing: [(String, String); 0] = [];
        let one = |name: &str, id: &str| [(name.to_owned(), id.to_owned())];
        assert_eq!(told(&mut alarm, 100, Some("it burns")), nothing);
        assert_eq!(told(&mut alarm, 129, Some("it burns")), nothing);
        // It comes and goes: that is one trouble.
        assert_eq!(told(&mut alarm, 131, None), nothing);
        let alert = one("alert_incident", "state_store_unusable-100000");
        assert_eq!(told(&mut alarm, 132, Some("it burns more")), alert);
        assert_eq!(told(&mut alarm, 500, Some("it burns")), nothing);
        assert_eq!(told(&mut alarm, 529, None), nothing);
        let over = one("alert_resolved", "state_store_unusable-100000-over");
        assert_eq!(told(&mut alarm, 531, None), over);
        assert_eq!(told(&mut alarm, 600, None), nothing);
        // What was not told has no end to tell.
        assert_eq!(told(&mut alarm, 700, Some("again")), nothing);
        assert_eq!(told(&mut alarm, 740, None), nothing);
        assert_eq!(told(&mut alarm, 741, Some("again")), nothing);
    }
}
