//! Who is dead.
//!
//! A broker is **dead** when Kafka has dropped it from its live brokers (by the majority of the brokers that answer)
//! *and* it does not answer our own probe, or its address has never been known to us, for the whole grace, watched by
//! this process without a gap. Neither a failing probe nor a silent agent alone makes a broker dead, and nothing
//! does while it is not known who is alive.
//!
//! Kafka takes a session time-out to notice a death that our probe sees at once. If the probe began to fail at most
//! `session_allowance` before the drop, both saw the same death, and the grace counts from the first failing probe.
//! If it had been failing for longer, the way from us to the broker is broken and tells nothing of the death: the grace
//! counts from the drop, or a broker that only we cannot reach would be dead in the first second of its next restart.
//!
//! The grace is 5 minutes where nothing else is configured. A clean restart of a broker takes up to two minutes, a
//! host's reboot three to five, and the recovery of logs after a crash some minutes more. With replication factor 3
//! and `min.insync.replicas` 2 everything stays available meanwhile. A shorter grace gains little and copies the
//! data of brokers that are about to come back; a longer one leaves partitions a second failure away from
//! standing still.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cluster::{BrokerAddress, BrokerId};
use serde::{Deserialize, Serialize};

use super::{flapping, kinds, maintenance};
use crate::attributes::{
    DeadBroker, DeadBrokers, KnownBrokers, Liveness, Maintenance, Probes, Suspect, Topics,
};
use crate::config::HumanDuration;
use crate::finding::{Finding, Severity, Target};
use crate::holders::Holders;
use crate::incident::{ClosedIncident, Incident};
use crate::plugin::{Flow, Monitor};
use crate::state::{Fact, State, Unknown};
use crate::time::{Tick, Timestamp};

/// How long a broker that is gone and to which nothing refers is still reported, after it was last seen alive. A day:
/// somebody who has stopped it by mistake has found out by then.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);

/// For so long, watched by us, a broker that is gone still counts among the absent: with others that go at the
/// same time it may be the first sign that a switch or a rack is lost. Failures of one cause lie within minutes.
const GONE_COUNTS: Duration = Duration::from_secs(15 * 60);

/// What this monitor says of brokers while it is known who is alive.
const ABOUT_LIVENESS: [&str; 5] = [
    kinds::BROKER_ABSENT,
    kinds::BROKER_DROPPED,
    kinds::BROKER_UNJUDGED,
    kinds::BROKER_UNREACHABLE,
    kinds::BROKER_DOWN_FOR_MAINTENANCE,
];

/// What lies no further apart than a few looks happened at the same moment.
const SAME_MOMENT: Duration = Duration::from_secs(3);

/// Configuration of the monitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long a broker has to be dropped by Kafka and unreachable before it is dead. Default 5 minutes; the
    /// module says why.
    pub grace: HumanDuration,
    /// How long before Kafka drops a broker our probe may begin to fail for the same reason. Default 20 s: Kafka's
    /// session time-outs (9 s in KRaft mode, 18 s with ZooKeeper) and a look.
    pub session_allowance: HumanDuration,
    /// How old the knowledge of who is alive may be. Default 10 s: ten looks.
    pub max_liveness_age: HumanDuration,
    /// How old our own probes may be. Default 30 s.
    pub max_probe_age: HumanDuration,
    /// Over which time absences are summed to find brokers that keep going and coming. Default 1 hour.
    pub flapping_window: HumanDuration,
    /// With so many absences in the window a broker is flapping. Default 3.
    pub flapping_absences: u32,
    /// With two absences or more in the window of this length in all a broker is flapping, too. Default: the grace.
    pub flapping_total: Option<HumanDuration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            grace: HumanDuration::seconds(300),
            session_allowance: HumanDuration::seconds(20),
            max_liveness_age: HumanDuration::seconds(10),
            max_probe_age: HumanDuration::seconds(30),
            flapping_window: HumanDuration::seconds(3600),
            flapping_absences: 3,
            flapping_total: None,
        }
    }
}

impl Config {
    /// Makes the monitor.
    pub fn build(&self, name: impl Into<String>) -> DeadBrokersMonitor {
        DeadBrokersMonitor { name: name.into(), config: self.clone() }
    }
}

/// Writes [`DeadBrokers`], unless it is not known who is alive: then the attribute is absent from the State, which is
/// not the same as nobody being dead.
#[derive(Clone, Debug)]
pub struct DeadBrokersMonitor {
    name: String,
    config: Config,
}

impl Monitor for DeadBrokersMonitor {
    fn name(&self) -> &str {
        &self.name
    }

    fn observe(&self, state: &mut State) -> Flow {
        let mut findings = Vec::new();
        let seen = match self.liveness(state) {
            Ok(liveness) => {
                let look = Look::new(&self.config, state, liveness);
                Some((look.judge_all(&mut findings), liveness.as_of))
            }
            Err(why) => {
                findings.push(
                    Finding::new(kinds::LIVENESS_UNKNOWN, Target::Cluster, Severity::Warning, why)
                        .waiting_for("brokers to say who is alive; until then none is held to be dead"),
                );
                // Nothing is known to be over. What is not watched meanwhile does not count for the grace.
                findings.extend(state.incidents().unseen(&ABOUT_LIVENESS));
                for dead in state.incidents().of_kind(kinds::BROKER_DEAD) {
                    findings.push(still_dead(&dead.key.subject, "who is alive to be known"));
                }
                None
            }
        };
        self.find_flapping(state, &mut findings);
        for finding in findings {
            state.report(finding);
        }
        if let Some((attribute, as_of)) = seen {
            state.put(attribute, as_of);
        }
        Flow::Continue
    }
}

impl DeadBrokersMonitor {
    /// Who is alive, or why it is not known.
    fn liveness<'a>(&self, state: &'a State) -> Result<Fact<'a, Liveness>, String> {
        let known = state.fresh::<Liveness>(self.config.max_liveness_age.0);
        known.map_err(|unknown| format!("who is alive is not known: {unknown}"))?;
        let fact = state.get::<Liveness>().ok_or("who is alive is not known")?;
        if fact.value.answered == 0 {
            return Err(format!("who is alive is not known: none of {} brokers answered", fact.value.asked));
        }
        Ok(fact)
    }

    fn find_flapping(&self, state: &State, findings: &mut Vec<Finding>) {
        let config = &self.config;
        let window = config.flapping_window;
        let total = config.flapping_total.unwrap_or(config.grace).0;
        for (id, absences) in flapping::absences(state.incidents(), state.now().wall, window.0) {
            let often = absences.count >= config.flapping_absences.max(2);
            if often || (absences.count >= 2 && absences.total >= total) {
                let message = format!(
                    "broker {id} keeps going and coming: {} absences in the last {window}, {} in all",
                    absences.count,
                    whole_seconds(absences.total)
                );
                findings.push(Finding::new(
                    kinds::BROKER_FLAPPING,
                    Target::Broker(id),
                    Severity::Warning,
                    message,
                ));
            }
        }
    }
}

/// One cycle's look at all brokers.
struct Look<'a> {
    config: &'a Config,
    state: &'a State,
    liveness: &'a Liveness,
    as_of: Tick,
    /// Whether most of the brokers that answered have the same view. While they do not (it takes a moment until all
    /// have heard of a change), absences are watched on, but nobody becomes dead.
    decided: bool,
    known: Option<&'a KnownBrokers>,
    probes: Result<&'a Probes, Unknown>,
    maintenance: Maintenance,
    /// Brokers that are in some replica list, where the topics are known.
    holders: Option<Holders>,
}

/// What our own probe says of a broker that Kafka has dropped.
enum Probed {
    /// It does not answer; how.
    Fails(String),
    /// It answers; what would have to change.
    Answers(String),
    /// It has not looked, or too long ago; what is waited for.
    Unknown(String),
}

impl<'a> Look<'a> {
    fn new(config: &'a Config, state: &'a State, liveness: Fact<'a, Liveness>) -> Self {
        Self {
            config,
            state,
            liveness: liveness.value,
            as_of: liveness.as_of,
            decided: liveness.value.agreeing.saturating_mul(2) > liveness.value.answered,
            known: state.get::<KnownBrokers>().map(|fact| fact.value),
            probes: state.fresh::<Probes>(config.max_probe_age.0),
            maintenance: maintenance::current(state),
            holders: state.get::<Topics>().map(|fact| Holders::of(&fact.value.0)),
        }
    }

    fn judge_all(&self, findings: &mut Vec<Finding>) -> DeadBrokers {
        let mut seen = DeadBrokers { grace: self.config.grace.0, ..DeadBrokers::default() };
        self.find_unreachable(&mut seen, findings);
        let known = self.known.iter().flat_map(|known| known.0.keys());
        let held = self.holders.iter().flat_map(Holders::ids);
        let all = known.chain(self.liveness.fenced.keys()).copied().chain(held);
        let absent: BTreeSet<BrokerId> = all.filter(|id| !self.liveness.live.contains_key(id)).collect();
        for id in absent {
            self.judge(id, &mut seen, findings);
        }
        seen
    }

    /// Live for Kafka, but not answering us.
    fn find_unreachable(&self, seen: &mut DeadBrokers, findings: &mut Vec<Finding>) {
        let Ok(probes) = &self.probes else { return };
        for (id, probe) in &probes.0 {
            let Some(failure) = &probe.failure else { continue };
            if !self.liveness.live.contains_key(id) {
                continue;
            }
            seen.unreachable.insert(*id);
            let incident = self.state.incidents().get(kinds::BROKER_UNREACHABLE, &Target::Broker(*id));
            let lasted = incident.map_or(Duration::ZERO, |incident| incident.lasted(self.state.now()));
            if lasted <= self.config.session_allowance.0 {
                seen.newly_unreachable.insert(*id);
            }
            if !self.maintenance.brokers.contains_key(id) {
                let message = format!(
                    "broker {id} is alive for Kafka, but cannot be reached from here at {}: {failure}",
                    probe.address
                );
                let finding =
                    Finding::new(kinds::BROKER_UNREACHABLE, Target::Broker(*id), Severity::Warning, message);
                findings
                    .push(finding.waiting_for("it to answer; Kafka has not dropped it, so it is not dead"));
            }
        }
    }

    /// A broker that is not alive for Kafka.
    fn judge(&self, id: BrokerId, seen: &mut DeadBrokers, findings: &mut Vec<Finding>) {
        let subject = Target::Broker(id);
        if let Some(wish) = self.maintenance.brokers.get(&id) {
            let message = format!("broker {id} is down, and under maintenance by {}", wish.by);
            let waits_for = "the end of its maintenance".to_owned();
            let kind = kinds::BROKER_DOWN_FOR_MAINTENANCE;
            findings
                .push(Finding::new(kind, subject, Severity::Info, message).waiting_for(waits_for.clone()));
            if self.is_open(kinds::BROKER_DEAD, &Target::Broker(id)) {
                findings.push(still_dead(&Target::Broker(id), &waits_for));
            }
            let since = self.first_seen(kind, id);
            seen.suspects.insert(id, Suspect { since, watched: Duration::ZERO, waits_for });
            return;
        }
        if self.is_gone(id, seen, findings) {
            return;
        }
        if self.is_idle(id) {
            seen.idle.insert(id);
        }
        match self.probed(id) {
            Probed::Fails(how) => self.judge_absent(id, &how, seen, findings),
            Probed::Unknown(waits_for) if self.is_open(kinds::BROKER_ABSENT, &subject) => {
                self.judge_unseen(id, waits_for, seen, findings);
            }
            Probed::Answers(waits_for) | Probed::Unknown(waits_for) => {
                let message = format!("Kafka has dropped broker {id}");
                let kind = kinds::BROKER_DROPPED;
                findings.push(
                    Finding::new(kind, subject.clone(), Severity::Warning, message)
                        .waiting_for(waits_for.clone()),
                );
                if self.is_open(kinds::BROKER_DEAD, &subject) {
                    findings.push(still_dead(&subject, &waits_for));
                }
                let since = self.first_seen(kind, id);
                seen.suspects.insert(id, Suspect { since, watched: Duration::ZERO, waits_for });
            }
        }
    }

    /// Absent, and out of sight of our probe: nothing says that it answers, so that the same absence goes on, but it is not
    /// watched.
    fn judge_unseen(
        &self,
        id: BrokerId,
        waits_for: String,
        seen: &mut DeadBrokers,
        findings: &mut Vec<Finding>,
    ) {
        let subject = Target::Broker(id);
        let absence = self.state.incidents().get(kinds::BROKER_ABSENT, &subject);
        findings.extend(absence.map(|absence| absence.unseen().waiting_for(waits_for.clone())));
        if self.is_open(kinds::BROKER_DEAD, &subject) {
            findings.push(still_dead(&subject, &waits_for));
        }
        // In the first look of a process nothing has been probed yet, and soon after it little.
        if absence.is_some_and(|absence| absence.watched_until.is_some()) {
            let (probe, severity) = match self.probes {
                Err(Unknown::Stale { .. }) => ("is stale", Severity::Warning),
                _ => ("has not looked at it", Severity::Info),
            };
            let message = format!(
                "Kafka has dropped broker {id}, and our own probe {probe}, so that nobody can say whether it is dead"
            );
            let unjudged = Finding::new(kinds::BROKER_UNJUDGED, subject, severity, message);
            findings.push(unjudged.waiting_for(waits_for.clone()));
        }
        let since = self.first_seen(kinds::BROKER_ABSENT, id);
        seen.suspects.insert(id, Suspect { since, watched: Duration::ZERO, waits_for });
    }

    /// Whether a broker has left, and nothing refers to it: it is neither registered nor in a replica list, and was
    /// not found dead while it still was.
    fn is_gone(&self, id: BrokerId, seen: &mut DeadBrokers, findings: &mut Vec<Finding>) -> bool {
        let Some(holders) = &self.holders else { return false };
        if holders.contains(id) || self.liveness.fenced.contains_key(&id) {
            return false;
        }
        let recent = self.away(id) < FORGET_AFTER;
        let subject = Target::Broker(id);
        if recent && self.state.incidents().get(kinds::BROKER_DEAD, &subject).is_some() {
            return false;
        }
        if recent {
            let message = format!("broker {id} is gone; it holds no replica, so nothing waits for it");
            findings.push(Finding::new(kinds::BROKER_GONE, subject, Severity::Info, message));
        }
        if recent && self.watched(kinds::BROKER_GONE, id).is_none_or(|watched| watched < GONE_COUNTS) {
            let waits_for = "nothing: it holds no replica".to_owned();
            let known = self.known.and_then(|known| known.0.get(&id));
            let since = known.map_or(Timestamp::default(), |known| known.last_live);
            seen.suspects.insert(id, Suspect { since, watched: Duration::ZERO, waits_for });
        } else {
            // Else the others of its rack would never be all of it.
            seen.idle.insert(id);
        }
        true
    }

    /// Whether a registered broker has been away for long, and holds no replica. In KRaft mode one that is never unregistered
    /// stays so for ever. The wall clock, which may be set, counts only for what is far longer.
    fn is_idle(&self, id: BrokerId) -> bool {
        let is_empty = self.holders.as_ref().is_some_and(|holders| !holders.contains(id));
        let watched = self.watched(kinds::BROKER_ABSENT, id);
        is_empty && (watched.is_some_and(|watched| watched >= GONE_COUNTS) || self.away(id) >= FORGET_AFTER)
    }

    /// How long we have watched an incident of a broker, by a clock that nobody sets.
    fn watched(&self, kind: &str, id: BrokerId) -> Option<Duration> {
        let incident = self.state.incidents().get(kind, &Target::Broker(id))?;
        Some(self.as_of.since(incident.watched_since?))
    }

    /// How long ago it was last alive for Kafka; very long if we have never seen it so.
    fn away(&self, id: BrokerId) -> Duration {
        let known = self.known.and_then(|known| known.0.get(&id));
        self.state.now().wall.since(known.map_or(Timestamp::default(), |known| known.last_live))
    }

    /// In how many partitions that live brokers lead the broker is counted as in sync, by a look at the topics that is younger
    /// than its absence. A broker that Kafka drops leaves all of these; one that only lacks the listener at which we ask is not
    /// named among the live ones there, and leaves none.
    fn counted_in_sync(&self, id: BrokerId, absent: &Incident) -> usize {
        let Some(topics) = self.state.get::<Topics>() else { return 0 };
        if absent.watched_since.is_none_or(|since| topics.as_of <= since) {
            return 0;
        }
        let partitions = topics.value.0.values().flat_map(|topic| &topic.partitions);
        let led_by_another = |leader: BrokerId| leader != id && self.liveness.live.contains_key(&leader);
        partitions.filter(|p| p.isr.contains(&id) && p.leader.is_some_and(led_by_another)).count()
    }

    fn probed(&self, id: BrokerId) -> Probed {
        let probes = match &self.probes {
            Ok(probes) => Some(probes),
            Err(unknown) if self.address_was_known(id) => {
                return Probed::Unknown(format!("our own probe: {unknown}"));
            }
            Err(_) => None,
        };
        match probes.and_then(|probes| probes.0.get(&id)) {
            Some(probe) => match &probe.failure {
                Some(failure) => Probed::Fails(format!("does not answer at {} ({failure})", probe.address)),
                None => match self.whose_address(id, &probe.address) {
                    Some(other) => Probed::Fails(format!(
                        "has left its address {}: broker {other} has it now",
                        probe.address
                    )),
                    None => Probed::Answers(format!(
                        "it to stop answering: our probe reaches it at {}",
                        probe.address
                    )),
                },
            },
            None if self.address_was_known(id) => {
                Probed::Unknown("our own probe, which has not looked yet".into())
            }
            None => Probed::Fails("has never been seen by us, so that its address is not known".into()),
        }
    }

    /// The live broker that has taken an address of `id`: who answers there is not `id`.
    fn whose_address(&self, id: BrokerId, at: &BrokerAddress) -> Option<BrokerId> {
        let mut others = self.liveness.live.values().filter(|other| other.id != id);
        others.find(|other| other.address == *at).map(|other| other.id)
    }

    fn address_was_known(&self, id: BrokerId) -> bool {
        self.liveness.fenced.contains_key(&id) || self.known.is_some_and(|known| known.0.contains_key(&id))
    }

    /// Dropped by Kafka and not answering: dead after the grace.
    fn judge_absent(&self, id: BrokerId, how: &str, seen: &mut DeadBrokers, findings: &mut Vec<Finding>) {
        let subject = Target::Broker(id);
        let grace = self.config.grace.0;
        let since = self.first_seen(kinds::BROKER_ABSENT, id);
        let incident = self.state.incidents().get(kinds::BROKER_ABSENT, &subject);
        // Up to the moment at which the fact held, not to the present one: only what was looked at is watched.
        let watched = incident.and_then(|i| Some((i, self.as_of.since(i.watched_since?))));
        let watched =
            watched.map_or(Duration::ZERO, |(i, watched)| watched + self.failing_before(i, watched));
        let left = grace.saturating_sub(watched);
        let over = incident.is_some() && left.is_zero();
        let was_dead = self.state.incidents().get(kinds::BROKER_DEAD, &subject).is_some();
        let in_sync = incident.filter(|_| over).map_or(0, |incident| self.counted_in_sync(id, incident));
        let is_dead = over && in_sync == 0 && (self.decided || was_dead);

        let message = format!("Kafka has dropped broker {id}, and it {how}");
        let absent = Finding::new(kinds::BROKER_ABSENT, subject.clone(), Severity::Warning, message);
        if is_dead {
            findings.push(absent);
            let because = format!(
                "Kafka has dropped it, and it {how}, for the whole grace of {}",
                HumanDuration(grace)
            );
            let message = format!("broker {id} is dead: {because}");
            findings.push(Finding::new(kinds::BROKER_DEAD, subject, Severity::Warning, message));
            let absent_for = incident.map_or(Duration::ZERO, |incident| incident.lasted(self.state.now()));
            seen.dead.insert(id, DeadBroker { since, absent_for, watched, rack: self.rack(id), because });
            return;
        }
        let waits_for = if in_sync > 0 {
            let s = if in_sync == 1 { "" } else { "s" };
            format!("Kafka to count it out of sync: it is in sync in {in_sync} partition{s} that others lead")
        } else if over {
            let Liveness { answered, agreeing, .. } = self.liveness;
            format!("the brokers to agree on who is alive: {agreeing} of {answered} that answer do")
        } else {
            format!("{} of the grace of {}", whole_seconds(left), HumanDuration(grace))
        };
        findings.push(absent.waiting_for(waits_for.clone()));
        // A probe that lags looks now and then, and each time the grace counts anew: while it has not been judged, that lasts.
        let unjudged = self.state.incidents().get(kinds::BROKER_UNJUDGED, &subject);
        if in_sync > 0 {
            let message = format!(
                "broker {id} is not among the live brokers, but Kafka counts it as in sync: it may lack the listener at which we ask"
            );
            let unjudged = Finding::new(kinds::BROKER_UNJUDGED, subject.clone(), Severity::Warning, message);
            findings.push(unjudged.waiting_for(waits_for.clone()));
        } else if let Some(unjudged) = unjudged.filter(|unjudged| unjudged.severity > Severity::Info) {
            let message = format!(
                "Kafka has dropped broker {id}, and our own probe was stale, so that it is not known yet whether it is dead"
            );
            findings.push(Finding { message, ..unjudged.unseen() }.waiting_for(waits_for.clone()));
        }
        if was_dead {
            findings.push(still_dead(&subject, &waits_for));
        }
        seen.suspects.insert(id, Suspect { since, watched, waits_for });
    }

    /// For how long our probe had been failing when Kafka dropped the broker, if both saw the same death.
    fn failing_before(&self, absent: &Incident, watched: Duration) -> Duration {
        // The moments are on the wall clock, so they only count if the absence was watched from its first moment on.
        let unwatched = absent.lasted(self.state.now()).saturating_sub(watched);
        if unwatched > SAME_MOMENT {
            return Duration::ZERO;
        }
        let closed = self.state.incidents().closed.iter().rev();
        let unreachable = closed
            .take_while(|incident| absent.first_seen.since(incident.closed) <= SAME_MOMENT)
            .find(|i| i.key.kind == kinds::BROKER_UNREACHABLE && i.key.subject == absent.key.subject);
        let failing = unreachable.map_or(Duration::ZERO, ClosedIncident::lasted);
        if failing <= self.config.session_allowance.0 { failing } else { Duration::ZERO }
    }

    fn is_open(&self, kind: &str, subject: &Target) -> bool {
        self.state.incidents().get(kind, subject).is_some()
    }

    fn first_seen(&self, kind: &str, id: BrokerId) -> Timestamp {
        let incident = self.state.incidents().get(kind, &Target::Broker(id));
        incident.map_or(self.state.now().wall, |incident| incident.first_seen)
    }

    fn rack(&self, id: BrokerId) -> Option<Arc<str>> {
        let fenced = self.liveness.fenced.get(&id);
        let known = || self.known.and_then(|known| known.0.get(&id)).map(|known| &known.broker);
        fenced.or_else(known).and_then(|broker| broker.rack.clone())
    }
}

/// Keeps the incident of a broker that was dead when it was last known, while it cannot be said again.
fn still_dead(subject: &Target, waits_for: &str) -> Finding {
    let message = format!("{subject} was dead when it was last looked at, and has not been seen alive since");
    Finding::new(kinds::BROKER_DEAD, subject.clone(), Severity::Warning, message).waiting_for(waits_for)
}

/// In whole seconds, rounded up: a grace that has hardly begun is shown in full.
fn whole_seconds(duration: Duration) -> HumanDuration {
    HumanDuration::seconds(duration.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "dead_brokers_tests.rs"]
mod tests;
