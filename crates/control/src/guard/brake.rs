//! The brake: when many brokers are gone at once, the cause is rarely many dead brokers. It is a switch, a power
//! feed, a bad deployment, or we ourselves are cut off; and moving the data would do more harm than waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cluster::BrokerId;

use crate::attributes::{DeadBrokers, KnownBrokers, Liveness};
use crate::event::{Event, Message, names};
use crate::finding::{Finding, Severity, Target};
use crate::guard::{GuardConfig, brokers_in_maintenance, words};
use crate::incident::{Incident, IncidentKey};
use crate::monitors::maintenance;
use crate::state::State;
use crate::time::Tick;

/// The kind of the finding.
pub const MASS_FAILURE: &str = "mass_failure";

/// Where the brake stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brake {
    /// Few enough brokers are absent.
    Off,
    /// Too many are absent: healing is held, for this reason.
    On(String),
    /// Too many are absent, but healing goes on, for this reason.
    Released(String),
    /// It is not known who is absent, so that healing is held.
    Unknown(String),
}

/// What the brake remembers from cycle to cycle. It is not stored: after a restart the time is watched anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// Who was absent in the last cycle in which that was known.
    absent: BTreeSet<BrokerId>,
    /// Since when nobody has gone who was not among them.
    since: Tick,
    /// Whether healing went on in the last cycle although many were absent.
    released: bool,
    /// Whether it is held again, because more have gone.
    pub(crate) holds_again: bool,
}

impl Watch {
    /// Who was absent when it was last known.
    pub(crate) fn absent(&self) -> &BTreeSet<BrokerId> {
        &self.absent
    }

    fn see(&mut self, absent: &BTreeSet<BrokerId>, now: Tick) {
        if !absent.is_subset(&self.absent) {
            self.since = now;
        }
        self.absent.clone_from(absent);
    }
}

/// Looks at who is absent. Suspects count: after a lost switch brokers are declared dead one after the other, and the
/// first of them must not slip through.
pub(crate) fn assess(state: &State, config: &GuardConfig, watch: &mut Watch) -> (Brake, Option<Finding>) {
    let Some(dead) = state.get::<DeadBrokers>() else {
        let kept = state.incidents().get(MASS_FAILURE, &Target::Cluster).map(Incident::unseen);
        return (Brake::Unknown("it is not known which brokers are dead".to_owned()), kept);
    };
    // A broker that a person has put under maintenance, or takes out of service, is absent on purpose.
    let mut excused = brokers_in_maintenance(state);
    excused.extend(maintenance::current(state).decommissioned.into_keys());
    let down = dead.value.dead.keys().chain(dead.value.suspects.keys()).copied();
    let down: BTreeSet<BrokerId> = down.filter(|id| !dead.value.idle.contains(id)).collect();
    let absent: BTreeSet<BrokerId> = down.difference(&excused).copied().collect();
    watch.see(&absent, state.now().tick);
    let mut known = known_brokers(state, &absent);
    known.retain(|id, _| !dead.value.idle.contains(id));
    let Some(what) = too_many(&absent, &down, &known, config) else {
        let going = dead.value.newly_unreachable.difference(&excused).copied().collect();
        (watch.released, watch.holds_again) = (false, false);
        let brake = wait_for_the_next(&absent, &going, &down, &known, config);
        return (brake.filter(|_| release(state, config, watch).is_none()).unwrap_or(Brake::Off), None);
    };
    let brake = release(state, config, watch).map_or_else(|| Brake::On(what.clone()), Brake::Released);
    watch.holds_again = watch.released && matches!(brake, Brake::On(_));
    watch.released = matches!(brake, Brake::Released(_));
    let waits_for = match (&brake, config.mass_failure_grace) {
        (Brake::On(_), Some(grace)) => Some(format!(
            "a person to approve (doctorkafka approve), or {} without change",
            duration_words(grace)
        )),
        (Brake::On(_), None) => Some("a person to approve (doctorkafka approve)".to_owned()),
        _ => None,
    };
    let message = match &brake {
        Brake::Released(why) => format!("{what}; healing goes on: {why}"),
        _ => format!("{what}; healing is held"),
    };
    let mut finding =
        Finding::new(MASS_FAILURE, Target::Cluster, Severity::Critical, message).concerning(absent.len());
    finding.waits_for = waits_for;
    (brake, Some(finding))
}

/// Brokers that die together are dropped by Kafka one after the other, within the time between two signs of life of a
/// broker. Those whose probe has just begun to fail may be next, so that the first one waits until that is known.
fn wait_for_the_next(
    absent: &BTreeSet<BrokerId>,
    going: &BTreeSet<BrokerId>,
    down: &BTreeSet<BrokerId>,
    known: &BTreeMap<BrokerId, Option<Arc<str>>>,
    config: &GuardConfig,
) -> Option<Brake> {
    if absent.is_empty() || going.is_empty() {
        return None;
    }
    let with = |some: &BTreeSet<BrokerId>| some.union(going).copied().collect::<BTreeSet<BrokerId>>();
    too_many(&with(absent), &with(down), known, config)?;
    let ids: Vec<String> = going.iter().take(20).map(ToString::to_string).collect();
    let more = if going.len() > 20 { ", …" } else { "" };
    let (ids, s) = (ids.join(", "), if going.len() == 1 { "" } else { "s" });
    Some(Brake::Unknown(format!(
        "broker{s} {ids}{more} stopped answering us a moment ago: Kafka may be about to drop more than may be absent"
    )))
}

/// The known brokers with their racks.
fn known_brokers(state: &State, absent: &BTreeSet<BrokerId>) -> BTreeMap<BrokerId, Option<Arc<str>>> {
    let mut known: BTreeMap<BrokerId, Option<Arc<str>>> = absent.iter().map(|id| (*id, None)).collect();
    if let Some(brokers) = state.get::<KnownBrokers>() {
        known.extend(brokers.value.0.iter().map(|(id, known)| (*id, known.broker.rack.clone())));
    }
    if let Some(liveness) = state.get::<Liveness>() {
        known.extend(liveness.value.live.iter().map(|(id, broker)| (*id, broker.rack.clone())));
    }
    known
}

/// Says what is too much, if it is: more than a tenth (or one) of the brokers, or a whole rack of two or more. Of a rack
/// those count, too, that are `down` on purpose.
fn too_many(
    absent: &BTreeSet<BrokerId>,
    down: &BTreeSet<BrokerId>,
    known: &BTreeMap<BrokerId, Option<Arc<str>>>,
    config: &GuardConfig,
) -> Option<String> {
    let limit = (known.len() * config.brake_percent as usize / 100).max(1);
    if absent.len() > limit {
        let ids: Vec<String> = absent.iter().take(20).map(ToString::to_string).collect();
        let more = if absent.len() > 20 { ", …" } else { "" };
        return Some(format!(
            "{} of {} brokers are absent ({}{more}), at most {limit} may be",
            absent.len(),
            known.len(),
            ids.join(", "),
        ));
    }
    #[derive(Default)]
    struct Rack {
        all: usize,
        down: usize,
        absent: usize,
    }
    let mut racks = BTreeMap::<&Arc<str>, Rack>::new();
    for (id, rack) in known {
        let Some(rack) = rack else { continue };
        let rack = racks.entry(rack).or_default();
        rack.all += 1;
        rack.down += usize::from(down.contains(id));
        rack.absent += usize::from(absent.contains(id));
    }
    racks
        .into_iter()
        .find(|(_, rack)| rack.all >= 2 && rack.all == rack.down && rack.absent > 0)
        .map(|(name, rack)| format!("the whole rack {name} is absent ({} brokers)", rack.all))
}

/// Why healing may go on all the same. An approval, and the time, are for those that are absent: they know nothing of
/// brokers that go afterwards.
fn release(state: &State, config: &GuardConfig, watch: &Watch) -> Option<String> {
    if let Some(wish) = &state.wishes().approved
        && state.wishes().approved_brokers.as_ref().is_some_and(|approved| watch.absent.is_subset(approved))
    {
        return Some(format!("approved{}", words(wish)));
    }
    let incident = state.incidents().get(MASS_FAILURE, &Target::Cluster)?;
    let now = state.now().tick;
    let watched = now.since(incident.watched_since?).min(now.since(watch.since));
    let grace = config.mass_failure_grace?;
    (watched >= grace).then(|| format!("it has lasted for {}", duration_words(grace)))
}

/// The alert that goes out when the brake holds.
pub(crate) fn alert(brake: &Brake, finding: Option<&Finding>) -> Option<Event> {
    let (Brake::On(why), Some(finding)) = (brake, finding) else { return None };
    let body = match &finding.waits_for {
        Some(what) => format!("{}. Waiting for: {what}.", finding.message),
        None => format!("{}.", finding.message),
    };
    let message = Message { subject: format!("healing is held: {why}"), body, severity: Severity::Critical };
    let event = Event::new(names::ALERT_MASS_FAILURE, Target::Cluster, why.clone(), &message)
        .caused_by(IncidentKey::from(finding))
        .repeated(crate::event::Repeat::OncePerIncident);
    Some(event)
}

/// A duration as people write it.
pub(crate) fn duration_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}
