//! Replaces the host of a broker that is dead for sure, or that somebody has marked.
//!
//! A wrong replacement destroys a healthy broker. So at most one broker is chosen, several signs that do not depend on each other
//! must agree at this moment, and what does not fit is said and alerted, not acted on:
//!
//! * Kafka has dropped the broker, and it does not answer us, for the whole grace (monitor `dead_brokers`);
//! * its agent is silent too, while agents of other brokers are heard: if nobody is heard, silence tells nothing;
//! * nobody counts it in sync any more, and each of its partitions has another copy that is in sync on a live broker;
//! * it is no voter of the metadata quorum, whose disk may hold what has been committed;
//! * no more brokers are absent than `max_unhealthy_brokers`: many at once have another cause than their hosts;
//! * nobody has put it under maintenance.
//!
//! The cooldown, and that only one is replaced at a time, are the guard's.

use std::collections::BTreeSet;

use cluster::{Broker, BrokerAddress, BrokerId, Partition, TopicPartition};
use serde::{Deserialize, Serialize};

use super::kinds;
use crate::attributes::{
    BrokerReports, DeadBroker, DeadBrokers, Degraded, DegradedBrokers, KnownBrokers, Liveness, Maintenance,
    OngoingReassignments, QuorumVoters, ToBeReplaced, Topics,
};
use crate::by_hand::ByHand;
use crate::config::HumanDuration;
use crate::event::{ElectLeaders, Event, Message, Repeat, ReplaceInstance, names};
use crate::execution::MovePhase;
use crate::finding::{Finding, Severity, Target};
use crate::guard::brake::duration_words;
use crate::incident::IncidentKey;
use crate::memory::KnownBroker;
use crate::monitors::{kinds as seen, maintenance};
use crate::plugin::{Operator, Verdict};
use crate::replacement::{OnDeadBroker, Replaced, Replacement, Replacements};
use crate::state::{State, Unknown};

mod by_hand;
mod checks;

/// Configuration of the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// More brokers than these absent at once, and nothing is replaced. Default 1.
    pub max_unhealthy_brokers: usize,
    /// For so long a broker's agent must have been silent. Default 3 minutes: three reports. Three of the intervals that its own reports
    /// tell are waited for where they are longer.
    pub agent_silent_after: HumanDuration,
    /// Whether a broker is replaced in a cluster whose brokers have no agents. Default: not.
    pub without_agents: bool,
    /// Whether a broker is replaced although a live one advertises the same host: where all are behind one name, each with a port of
    /// its own. Default: not.
    pub hosts_are_shared: bool,
    /// Whether live brokers are replaced that a plugin has marked (`to_be_replaced`). Default: yes.
    pub replace_marked: bool,
    /// Whether live brokers are replaced with a log directory that has failed or cannot be written (monitor `degraded_brokers`), where
    /// nothing is lost by it. Default: not.
    pub replace_degraded: bool,
    /// How old the knowledge of who is alive may be. Default 10 s.
    pub max_liveness_age: HumanDuration,
    /// How old the marks of a plugin may be. Default 15 minutes: one that has failed since then marks nobody.
    pub max_marks_age: HumanDuration,
    /// How old topics and reassignments may be. Default 90 s.
    pub max_metadata_age: HumanDuration,
    /// How old the knowledge of the quorum's voters may be. Default 15 minutes.
    pub max_voters_age: HumanDuration,
    /// For so long a replaced broker is waited for before people are told that it has not become whole. Default 2 hours.
    pub alert_not_whole_after: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_unhealthy_brokers: 1,
            agent_silent_after: HumanDuration::seconds(180),
            without_agents: false,
            hosts_are_shared: false,
            replace_marked: true,
            replace_degraded: false,
            max_liveness_age: HumanDuration::seconds(10),
            max_marks_age: HumanDuration::seconds(900),
            max_metadata_age: HumanDuration::seconds(90),
            max_voters_age: HumanDuration::seconds(900),
            alert_not_whole_after: HumanDuration::seconds(7_200),
        }
    }
}

impl Config {
    /// Makes the operator.
    pub fn build(&self, name: impl Into<String>) -> BrokerReplacementOperator {
        BrokerReplacementOperator { name: name.into(), config: self.clone() }
    }
}

/// The names of the events that the operator can emit.
pub const EMITS: [&str; 3] = [names::REPLACE_INSTANCE, names::ALERT_REPLACEMENT_HELD, names::ELECT_LEADERS];

/// What the operator says while it knows enough.
const ABOUT_HOSTS: [&str; 3] = [kinds::REPLACEMENT_WAITS, kinds::REPLACEMENT_REFUSED, kinds::BROKER_REPLACED];

/// The operator. Needs the monitors `kafka_metadata`, `broker_probe`, `dead_brokers` and, unless it is told to do without,
/// `broker_stats`.
#[derive(Clone, Debug)]
pub struct BrokerReplacementOperator {
    name: String,
    config: Config,
}

/// Why a host may be to be replaced, for the middle of a sentence.
const DEAD: &str = "which is dead";
const MARKED: &str = "whose host is marked";
const DEGRADED: &str = "which is degraded";

/// What is known, and fresh enough to decide on.
struct Known<'a> {
    state: &'a State,
    config: &'a Config,
    liveness: &'a Liveness,
    dead: &'a DeadBrokers,
    topics: &'a Topics,
    reassignments: &'a OngoingReassignments,
    replacements: &'a Replacements,
    maintenance: Maintenance,
}

/// Why a host is not replaced.
enum Objection {
    /// It may pass by itself: what is the matter, and what is waited for.
    Waits(String, String),
    /// A person is needed.
    Refused(String),
}

impl Operator for BrokerReplacementOperator {
    fn name(&self) -> &str {
        &self.name
    }

    fn emits(&self) -> Vec<String> {
        EMITS.map(str::to_owned).to_vec()
    }

    fn operate(&self, state: &State) -> Verdict {
        let mut verdict = Verdict::default();
        match self.known(state) {
            Ok(known) => known.decide(&mut verdict),
            // What keeps it from knowing is said by others. What it has said holds until it knows better.
            Err(_) => verdict.findings.extend(state.incidents().unseen(&ABOUT_HOSTS)),
        }
        verdict
    }

    fn by_hand(&self, state: &State, wanted: &ByHand) -> Option<Result<Event, Vec<String>>> {
        Some(match self.known(state) {
            Ok(known) => known.by_hand(wanted),
            Err(why) => Err(vec![format!("what must be known is not: {why}")]),
        })
    }
}

impl BrokerReplacementOperator {
    fn known<'a>(&'a self, state: &'a State) -> Result<Known<'a>, Unknown> {
        let (alive, metadata) = (self.config.max_liveness_age.0, self.config.max_metadata_age.0);
        Ok(Known {
            state,
            config: &self.config,
            liveness: state.fresh(alive)?,
            dead: state.fresh(alive)?,
            topics: state.fresh(metadata)?,
            reassignments: state.fresh(metadata)?,
            replacements: state.fresh(alive)?,
            maintenance: maintenance::current(state),
        })
    }
}

impl Known<'_> {
    fn decide(&self, verdict: &mut Verdict) {
        self.follow_the_last(verdict);
        if self.maintenance.cluster.is_some() {
            return;
        }
        let mut chosen: Option<Event> = None;
        for (id, dead) in self.dead.dead.iter().filter(|(id, _)| !self.is_excused(id)) {
            if !self.concerns(*id, dead) {
                continue;
            }
            match self.objects_to_dead(*id, dead) {
                Some(objection) => self.say(*id, DEAD, &objection, verdict),
                None if chosen.is_none() => chosen = Some(self.order_for_dead(*id, dead)),
                None => {}
            }
        }
        if chosen.is_none() && self.config.replace_marked {
            chosen = self.marked(verdict);
        }
        if chosen.is_none() && self.config.replace_degraded {
            chosen = self.degraded(verdict);
        }
        verdict.events.extend(chosen);
    }

    /// Whether it is up to us: a broker that holds nothing, from which we have moved nothing since it died, and of which no replacement was
    /// begun, was taken out of service on purpose.
    fn concerns(&self, id: BrokerId, dead: &DeadBroker) -> bool {
        let holds = || self.partitions().any(|(_, p)| p.replicas.contains(&id));
        let healed = || {
            let ours = self.state.executions().iter().filter(|e| e.admitted >= dead.since);
            let done = |it: &crate::execution::MoveState| {
                it.order.dead.contains(&id) && !matches!(it.phase, MovePhase::Dropped { .. })
            };
            ours.flat_map(|e| e.moves()).any(done)
        };
        holds() || healed() || self.replacements.of(id, dead.since).is_some()
    }

    /// Whether a person has put it under maintenance, or takes it out of service.
    fn is_excused(&self, id: &BrokerId) -> bool {
        self.maintenance.brokers.contains_key(id) || self.maintenance.decommissioned.contains_key(id)
    }

    fn partitions(&self) -> impl Iterator<Item = (String, &Partition)> {
        self.topics.0.iter().flat_map(|(name, topic)| {
            topic.partitions.iter().enumerate().map(move |(number, p)| (format!("{name}-{number}"), p))
        })
    }

    fn order_for_dead(&self, id: BrokerId, dead: &DeadBroker) -> Event {
        let reason = format!("broker {id} is dead: {}", dead.because);
        let no_restart = self.is_restarted(id, dead);
        let order = self.order_by(id, reason, ReplaceInstance { no_restart, ..self.host_of(id) });
        order.caused_by(IncidentKey::new(seen::BROKER_DEAD, Target::Broker(id)))
    }

    fn order_for_living(&self, id: BrokerId, reason: String) -> Event {
        self.order_by(id, reason, ReplaceInstance { live: true, ..self.host_of(id) })
    }

    fn order_by(&self, id: BrokerId, reason: String, order: ReplaceInstance) -> Event {
        Event::new(names::REPLACE_INSTANCE, Target::Broker(id), reason, &order)
    }

    fn known(&self, id: BrokerId) -> Option<&KnownBroker> {
        self.state.get::<KnownBrokers>().and_then(|fact| fact.value.0.get(&id))
    }

    fn address_of(&self, id: BrokerId) -> Option<BrokerAddress> {
        self.known(id).map(|known| known.broker.address.clone())
    }

    /// An order for the host of a broker that is dead.
    fn host_of(&self, id: BrokerId) -> ReplaceInstance {
        let address = self.address_of(id);
        let rack = self.known(id).and_then(|known| known.broker.rack.as_ref().map(ToString::to_string));
        let host = address.as_ref().map(|at| at.host.to_string()).unwrap_or_default();
        let (live, accept_data_loss, no_restart, by_hand) = (false, false, false, false);
        ReplaceInstance { broker: id, host, address, rack, live, accept_data_loss, no_restart, by_hand }
    }

    /// Says why nothing is done, and tells people where that is their business.
    fn say(&self, id: BrokerId, what: &str, objection: &Objection, verdict: &mut Verdict) {
        let subject = Target::Broker(id);
        let (finding, tells) = match objection {
            Objection::Waits(why, what_for) => {
                let message = format!("broker {id}, {what}, is not replaced yet: {why}");
                let finding =
                    Finding::new(kinds::REPLACEMENT_WAITS, subject.clone(), Severity::Warning, message);
                (finding.waiting_for(what_for), false)
            }
            Objection::Refused(why) => {
                let message = format!("broker {id}, {what}, is not replaced: {why}");
                let finding =
                    Finding::new(kinds::REPLACEMENT_REFUSED, subject.clone(), Severity::Critical, message);
                (finding.waiting_for("a person"), true)
            }
        };
        if tells {
            verdict.events.push(self.alert(&finding));
        }
        verdict.findings.push(finding);
    }

    fn alert(&self, finding: &Finding) -> Event {
        let waits = finding.waits_for.as_deref().unwrap_or("a person");
        let message = Message {
            subject: format!("{}: {}", self.state.cluster(), finding.message),
            body: format!("{}.\nWaiting for: {waits}.", finding.message),
            severity: finding.severity,
        };
        let about = finding.subject.clone();
        Event::new(names::ALERT_REPLACEMENT_HELD, about, finding.message.as_str(), &message)
            .caused_by(IncidentKey::from(finding))
            .repeated(Repeat::OncePerIncident)
    }

    /// A live broker whose host somebody has marked: only while everything else is well.
    fn marked(&self, verdict: &mut Verdict) -> Option<Event> {
        let marked = self.state.fresh::<ToBeReplaced>(self.config.max_marks_age.0).ok()?;
        let mut chosen = None;
        for (id, why) in &marked.0 {
            if !self.liveness.live.contains_key(id) || self.is_excused(id) {
                continue;
            }
            let reason = format!("the host of broker {id} is marked: {why}");
            // A mark that is still there after the host was replaced is no new one.
            if self.replacements.last.iter().any(|it| it.broker == *id && it.reason == reason) {
                continue;
            }
            match self.marked_again(*id).or_else(|| self.objects_to_marked(*id)) {
                Some(objection) => self.say(*id, MARKED, &objection, verdict),
                None if chosen.is_none() => chosen = Some(self.order_for_living(*id, reason)),
                None => {}
            }
        }
        chosen
    }

    /// A live broker with a disk that has failed: only where every other broker can do without it.
    fn degraded(&self, verdict: &mut Verdict) -> Option<Event> {
        let degraded = self.state.fresh::<DegradedBrokers>(self.config.max_liveness_age.0).ok()?;
        let mut chosen = None;
        for (id, what) in degraded.brokers.iter().filter(|(_, what)| is_of_a_disk(what)) {
            if !self.liveness.live.contains_key(id) || self.is_excused(id) {
                continue;
            }
            match self.objects_to_degraded(*id, what, degraded) {
                Some(objection) => self.say(*id, DEGRADED, &objection, verdict),
                None if chosen.is_none() => chosen = Some(self.order_for_degraded(*id, what)),
                None => {}
            }
        }
        chosen
    }

    fn order_for_degraded(&self, id: BrokerId, what: &Degraded) -> Event {
        let reasons: Vec<&str> = what.reasons.iter().map(|reason| reason.message.as_str()).collect();
        let order = self.order_for_living(id, format!("broker {id} is degraded: {}", reasons.join("; ")));
        match what.reasons.first() {
            Some(first) => order.caused_by(IncidentKey::new(&first.kind, Target::Broker(id))),
            None => order,
        }
    }

    /// Waits until the broker that was replaced last is whole, and lets it lead again.
    fn follow_the_last(&self, verdict: &mut Verdict) {
        let is_followed =
            |it: &&Replacement| it.replaces() || matches!(it.ended, Some((_, Replaced::Back(_))));
        let Some(last) = self.replacements.last.iter().rfind(is_followed) else { return };
        let Some((at, Replaced::Done(_) | Replaced::Back(_))) = &last.ended else { return };
        if last.whole.is_none() {
            let finding = self.not_whole(last);
            if self.state.now().wall.since(*at) >= self.config.alert_not_whole_after.0 {
                verdict.events.push(self.alert(&finding));
            }
            verdict.findings.push(finding);
            return;
        }
        // Its leaderships are elsewhere since it died.
        let leaderless_at_home: Vec<_> = self
            .topics
            .0
            .iter()
            .flat_map(|(topic, all)| {
                all.partitions.iter().enumerate().map(move |(number, p)| (topic, number, p))
            })
            .filter(|(_, _, p)| p.replicas.first() == Some(&last.broker) && p.isr.contains(&last.broker))
            .filter(|(_, _, p)| p.leader.is_some_and(|leader| leader != last.broker))
            .filter_map(|(topic, number, _)| {
                Some(cluster::TopicPartition { topic: topic.clone(), partition: i32::try_from(number).ok()? })
            })
            .filter(|partition| !self.reassignments.0.contains_key(partition))
            .collect();
        let elected_before = self.state.executions().iter().any(|e| {
            e.event.name == names::ELECT_LEADERS
                && e.event.target == Target::Broker(last.broker)
                && last.whole.is_some_and(|whole| e.admitted >= whole)
        });
        if !leaderless_at_home.is_empty() && !elected_before && self.is_recent(last) {
            let reason = if last.replaces() {
                format!("broker {}, whose host was replaced, is whole again", last.broker)
            } else {
                format!("broker {}, which was restarted, is whole again", last.broker)
            };
            let order = ElectLeaders { partitions: leaderless_at_home };
            verdict.events.push(Event::new(
                names::ELECT_LEADERS,
                Target::Broker(last.broker),
                reason,
                &order,
            ));
        }
    }

    /// Leadership that has gone elsewhere long after is not the replacement's business.
    fn is_recent(&self, it: &Replacement) -> bool {
        const RECENT: std::time::Duration = std::time::Duration::from_secs(600);
        it.whole.is_some_and(|whole| self.state.now().wall.since(whole) <= RECENT)
    }

    fn not_whole(&self, last: &Replacement) -> Finding {
        let id = last.broker;
        let lacks =
            self.partitions().filter(|(_, p)| p.replicas.contains(&id) && !p.isr.contains(&id)).count();
        let (what, waits_for) = if self.liveness.live.contains_key(&id) {
            (format!("{lacks} of its replicas are not in sync yet"), "its replicas to catch up")
        } else {
            ("it has not come back yet".to_owned(), "it to come back")
        };
        let ago = duration_words(self.state.now().wall.since(last.begun));
        let done = if last.replaces() { "the host of broker" } else { "broker" };
        let how = if last.replaces() { "replaced" } else { "restarted" };
        let message = format!("{done} {id} was {how}, begun {ago} ago: {what}");
        Finding::new(kinds::BROKER_REPLACED, Target::Broker(id), Severity::Warning, message)
            .waiting_for(waits_for)
    }
}

/// Load, a slow network or an agent that is in trouble itself are not mended by another host.
fn is_of_a_disk(what: &Degraded) -> bool {
    let kinds = [seen::LOG_DIR_FAILED, seen::LOG_DIR_READ_ONLY];
    what.reasons.iter().any(|reason| kinds.contains(&reason.kind.as_str()))
}

#[cfg(test)]
#[path = "broker_replacement_tests.rs"]
mod tests;
