//! Heals under-replication: new replicas for those on dead brokers, and a reason for every other replica that is out
//! of sync.
//!
//! One `reassign_partitions` event is emitted for all dead brokers together, with the cluster as its target: a partition
//! with replicas on two dead brokers is moved once. Its cause is the incident `broker_dead` of the
//! one that died last: each death makes it a new event, so that a dry run tells of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::{BrokerId, TopicPartition};
use serde::{Deserialize, Serialize};

use super::kinds;
use super::out_of_sync::{Reason, Signs};
use crate::attributes::{
    BrokerReports, DeadBrokers, DegradedBrokers, Disks, Liveness, Maintenance, NoBrokerStats,
    OngoingReassignments, PartitionLoads, ToBeReplaced, Topics, UnderReplicatedPartition,
    UnderReplicatedPartitions,
};
use crate::config::{ByteSize, HumanDuration};
use crate::event::{Event, Message, ReassignPartitions, Repeat, names};
use crate::finding::{Finding, Severity, Target};
use crate::incident::{Incident, IncidentKey};
use crate::monitors::{kinds as seen, maintenance};
use crate::planning::network::Loads;
use crate::planning::{Facts, Healing, PlanningError, Unhealable, heal};
use crate::plugin::{Operator, Verdict};
use crate::state::{State, Unknown};

mod drain;
mod findings;
mod held_up;

/// The finding of monitor `kafka_metadata` on a broker whose log dirs it could not read.
const LOG_DIRS_UNREADABLE: &str = "log_dirs_unreadable";

/// Configuration of the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// After so long an under-replication that is not being moved is alerted. Default 2 hours.
    pub prolong_urp_alert_seconds: HumanDuration,
    /// After so long a replica on a live broker that does not catch up, for no known reason, is alerted. Default 10
    /// minutes: log recovery and catching up after a restart have passed by then.
    pub unsure_alert_after: HumanDuration,
    /// For so long after its return a broker's replicas count as catching up. Default 1 hour.
    pub catch_up_time: HumanDuration,
    /// What each direction of a broker's network can carry, in MB (1,000,000 bytes) per second. Default: not known,
    /// and nothing is reserved.
    pub network_bandwidth_max_mb: Option<u32>,
    /// How much of the network, in percent, is kept free of what plans reserve. Default 10.
    pub network_headroom_percent: u8,
    /// How full, in percent, the fullest log dir of a target may become. Default 85.
    pub disk_watermark_percent: u8,
    /// Whether brokers that are taken out of service are emptied while they live. Default: yes.
    pub drain_decommissioned: bool,
    /// Throttle of the moves, in bytes per second and broker. Default: none.
    pub throttle: Option<ByteSize>,
    /// How many replicas one event may move; the rest follows. Default 10,000.
    pub max_moves: u32,
    /// How old the knowledge of who is alive may be. Default 10 s.
    pub max_liveness_age: HumanDuration,
    /// How old topics and reassignments may be. Default 90 s: three full looks.
    pub max_metadata_age: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            prolong_urp_alert_seconds: HumanDuration::seconds(7200),
            unsure_alert_after: HumanDuration::seconds(600),
            catch_up_time: HumanDuration::seconds(3600),
            network_bandwidth_max_mb: None,
            network_headroom_percent: 10,
            disk_watermark_percent: 85,
            drain_decommissioned: true,
            throttle: None,
            max_moves: 10_000,
            max_liveness_age: HumanDuration::seconds(10),
            max_metadata_age: HumanDuration::seconds(90),
        }
    }
}

impl Config {
    /// Makes the operator.
    pub fn build(&self, name: impl Into<String>) -> UnderReplicatedPartitionsOperator {
        UnderReplicatedPartitionsOperator { name: name.into(), config: self.clone() }
    }
}

/// The names of the events that the operator can emit.
pub const EMITS: [&str; 4] = [
    names::REASSIGN_PARTITIONS,
    names::ALERT_URP_HANDLING_FAILURE,
    names::ALERT_PROLONG_URP,
    names::ALERT_FLAPPING_BROKER,
];

/// What the operator says while it knows enough.
const ABOUT_REPLICAS: [&str; 9] = [
    kinds::UNDER_REPLICATED,
    kinds::PARTITIONS_WITHOUT_LEADER,
    kinds::PARTITIONS_LOST,
    kinds::CANNOT_HEAL,
    kinds::HEALING_WAITS,
    kinds::MOVES_HELD_UP,
    kinds::PLAN_REFUSED,
    kinds::DRAINING,
    kinds::CANNOT_DRAIN,
];

/// What it says of replicas on dead brokers, when it plans for them.
const ABOUT_THE_DEAD: [&str; 4] =
    [kinds::PARTITIONS_LOST, kinds::CANNOT_HEAL, kinds::HEALING_WAITS, kinds::PLAN_REFUSED];

/// The operator. Needs the monitors `kafka_metadata`, `broker_probe`, `dead_brokers` and
/// `under_replicated_partitions`; uses figures of load and disks where there are any.
#[derive(Clone, Debug)]
pub struct UnderReplicatedPartitionsOperator {
    name: String,
    config: Config,
}

impl Operator for UnderReplicatedPartitionsOperator {
    fn name(&self) -> &str {
        &self.name
    }

    fn emits(&self) -> Vec<String> {
        EMITS.map(str::to_owned).to_vec()
    }

    fn operate(&self, state: &State) -> Verdict {
        let mut verdict = Verdict::default();
        alert_flapping(state, &mut verdict);
        verdict.findings.extend(findings::needless(state));
        self.alert_undecided(state, &mut verdict);
        match Known::of(state, &self.config) {
            Ok(known) => {
                self.decide(state, &known, &mut verdict);
                self.drain(state, &known, &mut verdict);
            }
            Err(why) => {
                // At the start nothing is there yet; what was there and has grown old needs eyes.
                let severity = match why {
                    Unknown::Missing { .. } => Severity::Info,
                    Unknown::Stale { .. } => Severity::Warning,
                };
                let message = format!("nothing is decided about healing: {why}");
                let finding = Finding::new(kinds::HEALING_BLIND, Target::Cluster, severity, message);
                verdict.findings.push(finding.waiting_for("fresh knowledge of the cluster"));
                verdict.findings.extend(state.incidents().unseen(&ABOUT_REPLICAS));
            }
        }
        verdict
    }
}

/// What is known, and fresh enough to decide on.
struct Known<'a> {
    liveness: &'a Liveness,
    topics: &'a Topics,
    reassignments: &'a OngoingReassignments,
    dead: &'a DeadBrokers,
    under_replicated: &'a UnderReplicatedPartitions,
    maintenance: Maintenance,
}

impl<'a> Known<'a> {
    fn of(state: &'a State, config: &Config) -> Result<Self, Unknown> {
        let (alive, metadata) = (config.max_liveness_age.0, config.max_metadata_age.0);
        Ok(Self {
            liveness: state.fresh(alive)?,
            dead: state.fresh(alive)?,
            topics: state.fresh(metadata)?,
            under_replicated: state.fresh(metadata)?,
            reassignments: state.fresh(metadata)?,
            maintenance: maintenance::current(state),
        })
    }

    /// Whether there is anything to plan for: a broker may stay dead for days after its replicas have gone elsewhere.
    /// A replica on a dead broker is out of sync, or the last one of a partition without a leader.
    fn has_replicas_on_the_dead(&self) -> bool {
        let dead = &self.dead.dead;
        let concerned =
            |partition: &UnderReplicatedPartition| partition.replicas.iter().any(|id| dead.contains_key(id));
        !dead.is_empty() && self.under_replicated.partitions.values().any(concerned)
    }

    /// Whether replicas are on brokers that are absent and not (yet) held to be dead.
    fn has_replicas_on_the_absent(&self) -> bool {
        let absent = &self.dead.suspects;
        let concerned = |partition: &UnderReplicatedPartition| {
            partition.replicas.iter().any(|id| absent.contains_key(id))
        };
        !absent.is_empty() && self.under_replicated.partitions.values().any(concerned)
    }
}

impl UnderReplicatedPartitionsOperator {
    /// A broker that Kafka has dropped and that answers us is not dead, nor is one that our probe does not look at, and
    /// nothing heals their replicas: when that lasts, somebody has to look.
    fn alert_undecided(&self, state: &State, verdict: &mut Verdict) {
        let incidents = state.incidents();
        // Of an absence that is being watched at this moment it will soon be known.
        let unjudged =
            incidents.of_kind(seen::BROKER_UNJUDGED).filter(|incident| incident.watched_since.is_some());
        for incident in incidents.of_kind(seen::BROKER_DROPPED).chain(unjudged) {
            if incident.lasted(state.now()) < self.config.unsure_alert_after.0 {
                continue;
            }
            let waits = incident.waits_for.as_deref().unwrap_or("a person");
            let body = format!(
                "{}.\nIts replicas are not moved while it is not sure that it is dead; that waits for {waits}.",
                incident.message
            );
            alert_incident(state, verdict, names::ALERT_URP_HANDLING_FAILURE, incident, body);
        }
    }

    fn decide(&self, state: &State, known: &Known<'_>, verdict: &mut Verdict) {
        if known.under_replicated.partitions.is_empty() && known.dead.dead.is_empty() {
            return;
        }
        let loads = self.loads(state, known);
        let work = WorkInFlight::of(state);
        if known.has_replicas_on_the_dead() || held_up::is_any(state) {
            self.plan(state, known, loads.as_ref(), &work, verdict);
        } else if known.has_replicas_on_the_absent() {
            // As after a restart, when a whole grace must be watched anew: nothing says that it is over.
            verdict.findings.extend(state.incidents().unseen(&ABOUT_THE_DEAD));
        }
        let returned = returned(state, self.config.catch_up_time.0);
        let failed = with_failed_log_dir(state);
        let signs = Signs {
            failed: &failed,
            liveness: known.liveness,
            dead: known.dead,
            maintenance: &known.maintenance,
            loads: loads.as_ref(),
            returned: &returned,
        };
        self.explain(state, known, &signs, &work.moving, verdict);
        findings::without_leader(known, verdict);
    }

    fn loads(&self, state: &State, known: &Known<'_>) -> Option<Loads> {
        let capacity = u64::from(self.config.network_bandwidth_max_mb?) * 1_000_000;
        let reports = state.get::<BrokerReports>()?.value;
        Some(Loads::new(capacity, reports, &known.topics.0))
    }

    /// Plans new replicas for those on dead brokers.
    fn plan(
        &self,
        state: &State,
        known: &Known<'_>,
        loads: Option<&Loads>,
        work: &WorkInFlight,
        verdict: &mut Verdict,
    ) {
        let disks = state.get::<Disks>().map(|fact| fact.value);
        let at_peak = loads.map(|loads| match state.get::<PartitionLoads>() {
            Some(needs) => loads.clone().at_peak(needs.value),
            None => loads.clone(),
        });
        let avoid = to_avoid(state, known.liveness, disks);
        let arriving = work.arriving(known, disks);
        let facts = Facts {
            liveness: known.liveness,
            topics: known.topics,
            reassignments: known.reassignments,
            dead: known.dead,
            maintenance: &known.maintenance,
            to_be_replaced: state.get::<ToBeReplaced>().map(|fact| fact.value),
            disks,
            loads: at_peak.as_ref(),
            busy: &work.moving,
            arriving: &arriving,
            avoid: &avoid,
            leaving: &BTreeSet::new(),
        };
        let limits = self.limits(known);
        let healing = best(&facts, loads, &limits);
        held_up::judge(state, &facts, healing.as_ref().ok(), |facts| best(facts, loads, &limits), verdict);
        match healing {
            Ok(healing) => self.emit(state, known, &healing, verdict),
            Err(error) => refused(state, &error, verdict),
        }
    }

    fn limits(&self, known: &Known<'_>) -> planner::Limits {
        planner::Limits {
            disk_watermark_percent: self.config.disk_watermark_percent,
            network_headroom_percent: self.config.network_headroom_percent,
            max_moves: Some(self.config.max_moves),
            allow_down_in_target_list: known.liveness.capabilities.completes_with_dead_targets,
            ..planner::Limits::default()
        }
    }

    fn emit(&self, state: &State, known: &Known<'_>, healing: &Healing, verdict: &mut Verdict) {
        findings::unhealed(known, &healing.unhealed, verdict);
        alert_cause(state, verdict, names::ALERT_URP_HANDLING_FAILURE, kinds::CANNOT_HEAL);
        let last = known.dead.dead.iter().max_by_key(|(_, dead)| dead.since);
        let Some((last, _)) = last.filter(|_| !healing.moves.is_empty()) else { return };
        let dead: Vec<String> = known.dead.dead.keys().map(ToString::to_string).collect();
        let reason = format!(
            "{} of dead {} get new replicas",
            counted(healing.moves.len(), "partition"),
            if dead.len() == 1 {
                format!("broker {}", dead[0])
            } else {
                format!("brokers {}", dead.join(", "))
            },
        );
        let order = ReassignPartitions {
            moves: healing.moves.clone(),
            throttle_bytes_per_second: self.config.throttle.map(|throttle| throttle.0),
        };
        let cause = IncidentKey::new(seen::BROKER_DEAD, Target::Broker(*last));
        let event = Event::new(names::REASSIGN_PARTITIONS, Target::Cluster, reason, &order);
        verdict.events.push(event.caused_by(cause));
    }

    /// Says of each broker why its replicas are out of sync, and alerts what has lasted too long.
    fn explain(
        &self,
        state: &State,
        known: &Known<'_>,
        signs: &Signs<'_>,
        moved: &BTreeSet<TopicPartition>,
        verdict: &mut Verdict,
    ) {
        for (id, group) in groups(known, signs, moved) {
            let subject = Target::Broker(id);
            verdict.findings.push(group.finding(id, known));
            let Some(incident) = state.incidents().get(kinds::UNDER_REPLICATED, &subject) else { continue };
            let lasted = incident.lasted(state.now());
            let how_long = HumanDuration::seconds(lasted.as_secs());
            let alert = |name: &str, what: String| {
                let message = Message {
                    subject: format!("{}: {what}", state.cluster()),
                    body: format!("{what}.\n{}", group.finding(id, known).message),
                    severity: Severity::Warning,
                };
                Event::new(name, subject.clone(), what, &message)
                    .caused_by(IncidentKey::new(kinds::UNDER_REPLICATED, subject.clone()))
                    .repeated(Repeat::OncePerIncident)
            };
            if group.unsure > 0 && lasted >= self.config.unsure_alert_after.0 {
                let replicas = counted(group.unsure, "replica");
                let what = format!("{replicas} on live broker {id} not in sync, and it is not sure why");
                verdict.events.push(alert(names::ALERT_URP_HANDLING_FAILURE, what));
            }
            let stands_still = group.moving < group.partitions;
            if stands_still && lasted >= self.config.prolong_urp_alert_seconds.0 {
                let what = format!("replicas on broker {id} have been out of sync for {how_long}");
                verdict.events.push(alert(names::ALERT_PROLONG_URP, what));
            }
        }
    }
}

/// Plans with the loads of `facts`, those at the peak, and once more with the present `loads` where more can be healed so: what
/// fits now must not wait for the peak to be forgotten. Loads make a choice better, and forbid no more than they do at this moment.
fn best(
    facts: &Facts<'_>,
    loads: Option<&Loads>,
    limits: &planner::Limits,
) -> Result<Healing, PlanningError> {
    let healing = heal(facts, limits);
    if facts.loads == loads || healing.as_ref().is_ok_and(|healing| healing.unhealed.is_empty()) {
        return healing;
    }
    let now = heal(&Facts { loads, ..facts.clone() }, limits);
    let fewer = |(now, at_peak): (&Healing, &Healing)| now.unhealed.len() < at_peak.unhealed.len();
    if now.as_ref().ok().zip(healing.as_ref().ok()).is_some_and(fewer) { now } else { healing }
}

/// Says that a plan is wrong.
fn refused(state: &State, error: &PlanningError, verdict: &mut Verdict) {
    let message = format!("the plan to heal is not used: {error}");
    let finding = Finding::new(kinds::PLAN_REFUSED, Target::Cluster, Severity::Critical, message);
    verdict.findings.push(finding.waiting_for("a person: this is an error in DoctorKafka"));
    alert_cause(state, verdict, names::ALERT_URP_HANDLING_FAILURE, kinds::PLAN_REFUSED);
}

/// What is out of sync on one broker.
#[derive(Debug, Default)]
struct Group {
    partitions: usize,
    reasons: BTreeMap<Reason, usize>,
    /// Partitions with one live in-sync replica left because brokers are dead. In-sync sets that shrink and grow again
    /// under load do not count.
    last_copies: usize,
    /// Such with none.
    no_copies: usize,
    unsure: usize,
    /// Partitions that are being moved or reassigned.
    moving: usize,
}

fn groups(
    known: &Known<'_>,
    signs: &Signs<'_>,
    moved: &BTreeSet<TopicPartition>,
) -> BTreeMap<BrokerId, Group> {
    let mut groups = BTreeMap::<BrokerId, Group>::new();
    for (key, partition) in &known.under_replicated.partitions {
        let moving = partition.being_reassigned || moved.contains(key);
        let in_sync = partition.isr.iter().filter(|id| known.liveness.live.contains_key(id)).count();
        for id in &partition.out_of_sync {
            let reason = signs.reason(*id, partition);
            let group = groups.entry(*id).or_default();
            group.partitions += 1;
            *group.reasons.entry(reason).or_default() += 1;
            group.moving += usize::from(moving);
            group.unsure += usize::from(reason.is_unsure() && !moving);
            if !reason.passes() && !reason.is_unsure() {
                group.last_copies += usize::from(in_sync == 1);
                group.no_copies += usize::from(in_sync == 0);
            }
        }
    }
    groups
}

/// Our own moves that have not ended.
#[derive(Debug, Default)]
struct WorkInFlight {
    /// The partitions.
    moving: BTreeSet<TopicPartition>,
    /// What the moves that have not ended bring to whom.
    bringing: Vec<(TopicPartition, BrokerId, u64)>,
}

impl WorkInFlight {
    fn of(state: &State) -> Self {
        let mut work = Self::default();
        for execution in state.executions().iter().filter(|e| e.is_running() && !e.dry_run) {
            for step in execution.moves().iter().filter(|step| !step.phase.is_final()) {
                let key = &step.order.partition;
                let bytes = step.order.bytes.unwrap_or(0);
                work.bringing.extend(step.order.added().map(|id| (key.clone(), id, bytes)));
                work.moving.insert(key.clone());
            }
        }
        work
    }

    /// Bytes that are still to arrive at each broker: of ongoing reassignments, and of our moves that are not among
    /// them. How much has come already is not known, so that all of it counts.
    fn arriving(&self, known: &Known<'_>, disks: Option<&Disks>) -> BTreeMap<BrokerId, u64> {
        let mut arriving = BTreeMap::<BrokerId, u64>::new();
        let mut add = |id: BrokerId, bytes: u64| {
            let sum = arriving.entry(id).or_default();
            *sum = sum.saturating_add(bytes);
        };
        for (key, reassignment) in &known.reassignments.0 {
            let bytes = disks.and_then(|disks| disks.sizes.get(key)).copied().unwrap_or(0);
            for id in &reassignment.adding {
                add(*id, bytes);
            }
        }
        for (key, id, bytes) in &self.bringing {
            if !known.reassignments.0.contains_key(key) {
                add(*id, *bytes);
            }
        }
        arriving
    }
}

/// Live brokers that are worse targets than others: with a failed log dir, with log dirs that cannot be read while those of
/// others can (nobody knows how full they are), going and coming, degraded, or with a silent agent.
fn to_avoid(state: &State, liveness: &Liveness, disks: Option<&Disks>) -> BTreeSet<BrokerId> {
    let mut avoid = BTreeSet::new();
    for (id, disks) in disks.iter().flat_map(|disks| &disks.brokers) {
        if disks.dirs.iter().any(|dir| dir.error.is_some()) {
            avoid.insert(*id);
        }
    }
    if let Some(disks) = disks.filter(|disks| !disks.brokers.is_empty()) {
        avoid.extend(liveness.live.keys().filter(|id| !disks.brokers.contains_key(id)));
    }
    let incidents = state.incidents();
    for incident in incidents.of_kind(seen::BROKER_FLAPPING).chain(incidents.of_kind(LOG_DIRS_UNREADABLE)) {
        if let Target::Broker(id) = incident.key.subject {
            avoid.insert(id);
        }
    }
    if let Some(degraded) = state.get::<DegradedBrokers>() {
        avoid.extend(degraded.value.brokers.keys());
    }
    if let Some(silent) = state.get::<NoBrokerStats>() {
        avoid.extend(silent.value.brokers.keys());
    }
    avoid
}

/// Brokers of which monitor `degraded_brokers` says that a log dir has failed.
fn with_failed_log_dir(state: &State) -> BTreeSet<BrokerId> {
    let Some(degraded) = state.get::<DegradedBrokers>() else { return BTreeSet::new() };
    let all = degraded.value.brokers.iter();
    let failed = all.filter(|(_, it)| it.reasons.iter().any(|reason| reason.kind == seen::LOG_DIR_FAILED));
    failed.map(|(id, _)| *id).collect()
}

/// Brokers that were absent within the time `within`.
fn returned(state: &State, within: Duration) -> BTreeSet<BrokerId> {
    let now = state.now().wall;
    let absences = [seen::BROKER_ABSENT, seen::BROKER_DROPPED, seen::BROKER_DOWN_FOR_MAINTENANCE];
    let closed =
        state.incidents().closed.iter().filter(|closed| {
            absences.contains(&closed.key.kind.as_str()) && now.since(closed.closed) < within
        });
    closed
        .filter_map(|closed| match closed.key.subject {
            Target::Broker(id) => Some(id),
            _ => None,
        })
        .collect()
}

fn alert_flapping(state: &State, verdict: &mut Verdict) {
    for incident in state.incidents().of_kind(seen::BROKER_FLAPPING) {
        let body =
            format!("{}.\nEach time its replicas fall out of sync and catch up again.", incident.message);
        alert_incident(state, verdict, names::ALERT_FLAPPING_BROKER, incident, body);
    }
}

/// Alerts an open incident, once.
fn alert_incident(state: &State, verdict: &mut Verdict, name: &str, incident: &Incident, body: String) {
    let subject = format!("{}: {}", state.cluster(), incident.message);
    let message = Message { subject, body, severity: Severity::Warning };
    let event = Event::new(name, incident.key.subject.clone(), incident.message.clone(), &message);
    verdict.events.push(event.caused_by(incident.key.clone()).repeated(Repeat::OncePerIncident));
}

/// Alerts a finding about the cluster that this verdict makes, once it is an incident.
fn alert_cause(state: &State, verdict: &mut Verdict, name: &str, kind: &str) {
    let Some(finding) = verdict.findings.iter().find(|finding| finding.kind == kind) else { return };
    if state.incidents().get(kind, &finding.subject).is_none() {
        return;
    }
    let message = Message {
        subject: format!("{}: {}", state.cluster(), finding.message),
        body: finding.message.clone(),
        severity: finding.severity,
    };
    let event = Event::new(name, finding.subject.clone(), finding.message.clone(), &message)
        .caused_by(IncidentKey::from(finding))
        .repeated(Repeat::OncePerIncident);
    verdict.events.push(event);
}

/// "1 partition", "2 partitions".
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
#[path = "under_replicated_partitions_tests.rs"]
mod tests;
