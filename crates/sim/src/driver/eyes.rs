//! What the source monitors of the service see: who is alive by the votes of some brokers, topics and reassignments as a
//! broker of the majority knows them, log directories, our own probes, the agents' reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cluster::{Broker, BrokerAddress, BrokerId, Reader};
use control::effect::Contribution;
use control::state::NamedValue;
use control::votes::{self, View};
use control::{
    Disks, Finding, KnownBrokers, Liveness, Now, OngoingReassignments, Probe, Probes, QuorumVoters, Severity,
    State, Target, Tick, Topics, is_something_going_on,
};

use super::reports::Reports;
use crate::access::Access;
use crate::time::Moment;
use crate::world::{Client, World};

/// How many brokers are asked who is alive.
const ASKED: usize = 5;
/// How long one of them may take to answer.
const LIMIT: Duration = Duration::from_secs(2);
/// How often topics and reassignments are read while nothing is going on.
const TOPICS_EVERY: Duration = Duration::from_secs(30);
/// How often log directories are read.
const DISKS_EVERY: Duration = Duration::from_secs(300);

/// A view with the moment at which it held.
type Seen<T> = Option<(Arc<T>, Tick)>;

pub(super) struct Eyes {
    access: Access,
    /// Brokers that did not answer the last time.
    failing: BTreeSet<BrokerAddress>,
    known: BTreeMap<BrokerId, BrokerAddress>,
    going: bool,
    liveness: Seen<Liveness>,
    topics: Seen<Topics>,
    ongoing: Seen<OngoingReassignments>,
    disks: Seen<Disks>,
    probes: Seen<Probes>,
    /// Those who vote in the metadata quorum, as they are configured.
    quorum: QuorumVoters,
    voters: Seen<QuorumVoters>,
    reports: Reports,
    topics_due: Moment,
    disks_due: Moment,
    /// With whom the next read of the topics begins.
    turn: usize,
    /// When who is alive, and topics and reassignments, were read in truth.
    read: [Option<Moment>; 2],
}

impl Eyes {
    pub(super) fn new(access: Access, voters: &BTreeSet<BrokerId>) -> Self {
        Self {
            access,
            quorum: QuorumVoters { voters: voters.clone() },
            failing: BTreeSet::new(),
            known: BTreeMap::new(),
            going: false,
            liveness: None,
            topics: None,
            ongoing: None,
            disks: None,
            probes: None,
            voters: None,
            reports: Reports::default(),
            topics_due: Moment::default(),
            disks_due: Moment::default(),
            turn: 0,
            read: [None; 2],
        }
    }

    /// Looks at everything that is due.
    pub(super) fn look(&mut self, world: &mut World, now: Now, at: Moment) -> Contribution {
        let mut findings = Vec::new();
        let moved = self.ask(world, now.tick, &mut findings);
        if moved {
            self.topics_due = at;
            self.disks_due = at;
        }
        if self.topics_due <= at || self.going {
            self.topics_due = at.plus(TOPICS_EVERY);
            self.read_topics(world, now.tick);
        }
        if self.disks_due <= at {
            self.disks_due = at.plus(DISKS_EVERY);
            self.read_disks(world, now.tick);
        }
        self.probe(world, now.tick);
        self.reports.read(world, now);
        let attributes = [
            seen(self.liveness.as_ref()),
            seen(self.topics.as_ref()),
            seen(self.ongoing.as_ref()),
            seen(self.disks.as_ref()),
            seen(self.probes.as_ref()),
            seen(self.voters.as_ref()),
            self.reports.attribute(),
        ];
        Contribution { attributes: attributes.into_iter().flatten().collect(), findings }
    }

    /// How long before `look` the oldest of what acts rest on was read, whatever its age is said to be.
    pub(super) fn read_ago(&self, look: Moment) -> Option<Duration> {
        let [liveness, topics] = self.read;
        Some(look.since(liveness?.min(topics?)))
    }

    /// Is told what the step knew: while something is going on, topics are read in every look.
    pub(super) fn after_cycle(&mut self, state: &State) {
        if let Some(known) = state.get::<KnownBrokers>() {
            let known = known.value.0.iter().map(|(id, known)| (id, &known.broker.address));
            if !known.clone().eq(&self.known) {
                self.known = known.map(|(id, at)| (*id, at.clone())).collect();
            }
        }
        self.going = is_something_going_on(state);
    }

    /// Some of the live brokers, spread over the ids; where none of them answers, everybody who may.
    fn ask(&mut self, world: &World, tick: Tick, findings: &mut Vec<Finding>) -> bool {
        let live: Vec<BrokerAddress> = match &self.liveness {
            Some((liveness, _)) => liveness.live.values().map(|broker| broker.address.clone()).collect(),
            None => Vec::new(),
        };
        let (failing, willing): (Vec<_>, Vec<_>) = live.into_iter().partition(|at| self.failing.contains(at));
        let count = ASKED.min(willing.len());
        let mut targets: BTreeSet<BrokerAddress> =
            (0..count).map(|i| willing[i * willing.len() / count].clone()).collect();
        targets.extend(failing.into_iter().take(ASKED));
        let mut views = self.views(world, tick, &targets);
        if views.is_empty() {
            targets.extend(self.access.bootstrap());
            targets.extend(self.known.values().cloned());
            views = self.views(world, tick, &targets);
        }
        let before = self.liveness.as_ref().map(|(liveness, _)| &**liveness);
        let Some(decided) = votes::count(&views, targets.len(), before) else {
            let message = "no broker can be reached, or they belong to different clusters";
            let finding = Finding::new("cluster_unreachable", Target::Cluster, Severity::Critical, message);
            findings.push(finding.waiting_for("any broker of the cluster to answer"));
            return false;
        };
        let moved = before.is_none_or(|before| !before.live.keys().eq(decided.liveness.live.keys()));
        keep(&mut self.liveness, decided.liveness, decided.as_of);
        self.read[0] = Some(world.now());
        moved
    }

    fn views(
        &mut self,
        world: &World,
        tick: Tick,
        targets: &BTreeSet<BrokerAddress>,
    ) -> BTreeMap<BrokerAddress, View> {
        self.failing.clear();
        let mut views = BTreeMap::new();
        for at in targets {
            match world.ask(Client::Us, at, LIMIT) {
                Ok(answer) => {
                    views.insert(at.clone(), View { asked_at: tick, answer });
                }
                Err(_) => {
                    self.failing.insert(at.clone());
                }
            }
        }
        views
    }

    /// Reads topics from a broker that agrees with the majority.
    fn read_topics(&mut self, world: &mut World, tick: Tick) {
        let Some((liveness, _)) = &self.liveness else { return };
        let agrees = |broker: &&Broker| {
            let live = world.live_told_at(Client::Us, &broker.address, LIMIT);
            live.is_ok_and(|live| live.keys().eq(liveness.live.keys()))
        };
        let agreeing: Vec<&Broker> = liveness.live.values().filter(agrees).collect();
        let Some(turn) = self.turn.checked_rem(agreeing.len()) else { return };
        let broker = agreeing[turn];
        self.turn = self.turn.wrapping_add(1);
        let Ok(from) = world.reach(Client::Us, &broker.address, LIMIT) else { return };
        if world.reach_any(Client::Us, 0).is_err() || world.hides_topics(Client::Us) {
            return;
        }
        self.read[1] = Some(world.now());
        keep(&mut self.ongoing, OngoingReassignments(world.reassignments()), tick);
        let topics = world.topics_known_to(from);
        match &mut self.topics {
            Some((old, as_of)) if Arc::ptr_eq(old, &topics) => *as_of = tick,
            seen => *seen = Some((topics, tick)),
        }
    }

    fn read_disks(&mut self, world: &World, tick: Tick) {
        let Some((liveness, _)) = &self.liveness else { return };
        let reach = |broker: &Broker| world.reach(Client::Us, &broker.address, LIMIT).ok();
        let reached: Vec<usize> = liveness.live.values().filter_map(reach).collect();
        if !reached.is_empty() {
            keep(&mut self.voters, self.quorum.clone(), tick);
        }
        keep(&mut self.disks, world.disks_of(&reached), tick);
    }

    /// Probes every broker that was ever seen.
    fn probe(&mut self, world: &World, tick: Tick) {
        if let Some((liveness, _)) = &self.liveness {
            for Broker { id, address, .. } in liveness.live.values() {
                if self.known.get(id) != Some(address) {
                    self.known.insert(*id, address.clone());
                }
            }
        }
        let probe = |(id, at): (&BrokerId, &BrokerAddress)| {
            let failure = world.reach(Client::Us, at, LIMIT).err().map(|why| why.to_string());
            let took = if failure.is_some() { LIMIT } else { Duration::from_millis(1) };
            (*id, Probe { address: at.clone(), failure, took, usual: None })
        };
        let probes = self.known.iter().map(probe);
        let is_same = |old: &Probes| {
            let as_before = |((id, old), (now, probe)): ((&BrokerId, &Probe), _)| *id == now && *old == probe;
            old.0.len() == self.known.len() && old.0.iter().zip(probes.clone()).all(as_before)
        };
        match &mut self.probes {
            // Mostly nothing has changed, and no map need be made.
            Some((old, as_of)) if is_same(old) => *as_of = tick,
            seen => *seen = Some((Arc::new(Probes(probes.collect())), tick)),
        }
    }
}

/// Keeps the old value where the new one equals it, so that it stays shared.
fn keep<T: PartialEq>(kept: &mut Seen<T>, value: T, as_of: Tick) {
    match kept {
        Some((old, old_as_of)) if **old == value => *old_as_of = as_of,
        _ => *kept = Some((Arc::new(value), as_of)),
    }
}

fn seen<T: control::Attribute>(what: Option<&(Arc<T>, Tick)>) -> Option<NamedValue> {
    what.map(|(value, as_of)| NamedValue::of(Arc::clone(value), *as_of))
}
