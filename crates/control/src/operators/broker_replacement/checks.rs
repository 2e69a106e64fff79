//! What must be true before a host is replaced.

use super::*;
use crate::attributes::RecoveryOwner;
use crate::guard::replacing::cools;

/// A host that is marked again within this time needs a person.
const MARKED_AGAIN: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3_600);

/// How long before a broker was last seen its log dirs must have been listed at least: a topic that we may not see may be younger.
const LISTED_WITHIN: std::time::Duration = std::time::Duration::from_secs(3_600);

/// Of an agent that reports at long intervals so many must have passed without a report: one comes late, and one may be lost.
const MISSED_REPORTS: u32 = 3;

/// More partitions than these are not named.
const NAMED: usize = 5;

impl Known<'_> {
    /// The first thing that speaks against replacing the host of a dead broker.
    pub(super) fn objects_to_dead(&self, id: BrokerId, dead: &DeadBroker) -> Option<Objection> {
        self.failed_before(id, dead)
            .or_else(|| self.is_a_stranger(id))
            .or_else(|| self.too_many())
            .or_else(|| self.votes(id))
            .or_else(|| self.sees_too_little(id))
            .or_else(|| self.shares_its_host(id))
            .or_else(|| self.holds_the_last_copy(id))
            .or_else(|| self.still_counts(id, false))
            .or_else(|| self.others_lag(id))
            .or_else(|| self.agent_speaks(id))
            .or_else(|| self.healing_goes_first(id, dead))
            .or_else(|| self.cools(id, self.is_restarted(id, dead)))
    }

    /// The first thing that speaks against replacing the host of a live broker that is degraded.
    pub(super) fn objects_to_degraded(
        &self,
        id: BrokerId,
        what: &Degraded,
        all: &DegradedBrokers,
    ) -> Option<Objection> {
        self.replaced_in_vain(id, what)
            .or_else(|| self.too_many_degraded(all))
            .or_else(|| self.somebody_is_absent())
            .or_else(|| self.others_need(id))
            .or_else(|| self.something_moves())
            .or_else(|| self.votes(id))
            .or_else(|| self.sees_too_little(id))
            .or_else(|| self.shares_its_host(id))
            .or_else(|| self.cools(id, false))
    }

    /// Whether it was restarted since its death, in vain, or a while before, which has not helped for long.
    pub(super) fn is_restarted(&self, id: BrokerId, dead: &DeadBroker) -> bool {
        let last = self.replacements.of(id, dead.since);
        let in_vain = last.is_some_and(|it| matches!(it.ended, Some((_, Replaced::Restarted(_)))));
        let cooldown = self.state.get::<RecoveryOwner>().map(|fact| fact.value.replacement_cooldown);
        let now = self.state.now();
        in_vain || cooldown.is_some_and(|cooldown| self.replacements.was_restarted(id, now, cooldown))
    }

    /// Since it has been degraded it has been tried.
    fn replaced_in_vain(&self, id: BrokerId, what: &Degraded) -> Option<Objection> {
        let last = self.replacements.of(id, what.since)?;
        let ago = duration_words(self.state.now().wall.since(last.begun));
        Some(match &last.ended {
            None => Objection::Waits(format!("that was begun {ago} ago"), "the script to end".to_owned()),
            // What was wrong is seen to be gone after a while only.
            Some((at, Replaced::Done(_)))
                if self.state.now().wall.since(*at) < self.config.alert_not_whole_after.0 =>
            {
                let waits_for = "it to be well again".to_owned();
                Objection::Waits(format!("its host was replaced, begun {ago} ago"), waits_for)
            }
            Some((_, Replaced::Done(_))) => {
                Objection::Refused(format!("its host was replaced, begun {ago} ago, and it still is"))
            }
            Some((
                _,
                Replaced::Failed(why)
                | Replaced::Unknown(why)
                | Replaced::Unanswered(why)
                | Replaced::NotStarted(why)
                | Replaced::Restarted(why)
                | Replaced::Back(why),
            )) => Objection::Refused(format!("that was tried {ago} ago ({why})")),
        })
    }

    /// What many brokers have at once has another cause than their hosts.
    fn too_many_degraded(&self, all: &DegradedBrokers) -> Option<Objection> {
        let ids: Vec<&BrokerId> = all.brokers.keys().filter(|id| !self.is_excused(id)).collect();
        let most = self.config.max_unhealthy_brokers;
        (ids.len() > most).then(|| {
            let named: Vec<String> = ids.iter().take(20).map(ToString::to_string).collect();
            Objection::Refused(format!(
                "{} brokers are degraded at once ({}), more than max_unhealthy_brokers ({most}): the cause is likely to be \
                 another than their hosts",
                ids.len(),
                named.join(", ")
            ))
        })
    }

    /// Whether the others can do without a live broker: each partition of the cluster has all its other replicas in sync, and each
    /// of those that it holds two of them at least, so that nothing is down to its last copy meanwhile, nor below a
    /// `min.insync.replicas` of two.
    pub(super) fn others_need(&self, id: BrokerId) -> Option<Objection> {
        let live = &self.liveness.live;
        for (name, p) in self.partitions() {
            let is_out = |other: &&BrokerId| !p.isr.contains(other) || !live.contains_key(other);
            let others: Vec<&BrokerId> = p.replicas.iter().filter(|other| **other != id).collect();
            let holds = others.len() < p.replicas.len();
            if holds && others.is_empty() {
                return Some(Objection::Refused(format!("it has the only replica of {name}")));
            }
            if let Some(out) = others.iter().find(|other| is_out(other)) {
                let why = format!("the replica of {name} on broker {out} is not in sync");
                return Some(Objection::Waits(why, "every replica of the others to be in sync".to_owned()));
            }
            if holds && others.len() < 2 {
                return Some(Objection::Refused(format!("one copy of {name} alone would be left meanwhile")));
            }
        }
        None
    }

    pub(super) fn somebody_is_absent(&self) -> Option<Objection> {
        let absent = self.absent();
        let first = absent.first()?;
        let waits_for = format!("broker {first} to be back, or to be taken out of service");
        Some(Objection::Waits(format!("broker {first} is absent"), waits_for))
    }

    pub(super) fn something_moves(&self) -> Option<Objection> {
        let waits_for = "the reassignments to end".to_owned();
        let moving = !self.reassignments.0.is_empty();
        moving.then(|| Objection::Waits("partitions are being reassigned".to_owned(), waits_for))
    }

    /// What a plugin wants is a mark, in whatever form: of a live host it is taken once, if at all.
    pub(super) fn holds_plugins(&self, id: BrokerId) -> Option<Objection> {
        if !self.config.replace_marked {
            let why =
                "replace_marked is false, and the broker lives: only a person may want its host replaced";
            return Some(Objection::Refused(why.to_owned()));
        }
        let now = self.state.now().wall;
        let mut before = self.replacements.last.iter().rev();
        let last =
            before.find(|it| it.broker == id && it.replaces() && now.since(it.begun) < MARKED_AGAIN)?;
        Some(Objection::Refused(format!(
            "its host was replaced, or that was tried, {} ago, and a plugin wants it again",
            duration_words(now.since(last.begun))
        )))
    }

    /// In other words than before: what a new host has too is not its host's fault.
    pub(super) fn marked_again(&self, id: BrokerId) -> Option<Objection> {
        let mark = format!("the host of broker {id} is marked: ");
        let last =
            self.replacements.last.iter().rfind(|it| it.broker == id && it.reason.starts_with(&mark))?;
        let ago = self.state.now().wall.since(last.begun);
        (ago < MARKED_AGAIN).then(|| {
            Objection::Refused(format!(
                "its host was replaced for a mark {} ago, and is marked again",
                duration_words(ago)
            ))
        })
    }

    /// The first thing that speaks against replacing the host of a live broker that somebody has marked.
    pub(super) fn objects_to_marked(&self, id: BrokerId) -> Option<Objection> {
        if let Some(absent) = self.somebody_is_absent() {
            return Some(absent);
        }
        let out = self.partitions().find(|(_, p)| p.is_under_replicated());
        if let Some((partition, _)) = out {
            let waits_for = "every replica to be in sync".to_owned();
            return Some(Objection::Waits(format!("{partition} is under-replicated"), waits_for));
        }
        self.others_need(id)
            .or_else(|| self.something_moves())
            .or_else(|| self.votes(id))
            .or_else(|| self.sees_too_little(id))
            .or_else(|| self.shares_its_host(id))
            .or_else(|| self.cools(id, false))
    }

    /// Since this death it has been tried.
    pub(super) fn failed_before(&self, id: BrokerId, dead: &DeadBroker) -> Option<Objection> {
        let last = self.replacements.of(id, dead.since)?;
        let ago = duration_words(self.state.now().wall.since(last.begun));
        match &last.ended {
            None => {
                Some(Objection::Waits(format!("that was begun {ago} ago"), "the script to end".to_owned()))
            }
            Some((at, Replaced::Done(_)))
                if self.state.now().wall.since(*at) < self.config.alert_not_whole_after.0 =>
            {
                let waits_for = "it to come back".to_owned();
                Some(Objection::Waits(format!("its host was replaced, begun {ago} ago"), waits_for))
            }
            Some((_, Replaced::Done(_))) => Some(Objection::Refused(format!(
                "its host was replaced, begun {ago} ago, and it has not come back"
            ))),
            Some((_, Replaced::Restarted(_) | Replaced::Back(_))) => None,
            Some((
                _,
                Replaced::Failed(why)
                | Replaced::Unknown(why)
                | Replaced::Unanswered(why)
                | Replaced::NotStarted(why),
            )) => Some(Objection::Refused(format!("that was tried {ago} ago ({why})"))),
        }
    }

    /// Brokers that are absent and not on purpose.
    fn absent(&self) -> BTreeSet<BrokerId> {
        let absent = self.dead.dead.keys().chain(self.dead.suspects.keys());
        let counts = |id: &&BrokerId| !self.dead.idle.contains(id) && !self.is_excused(id);
        absent.filter(counts).copied().collect()
    }

    pub(super) fn too_many(&self) -> Option<Objection> {
        let absent = self.absent();
        if absent.len() <= self.config.max_unhealthy_brokers {
            return None;
        }
        let ids: Vec<String> = absent.iter().take(20).map(ToString::to_string).collect();
        Some(Objection::Refused(format!(
            "{} brokers are absent at once ({}), more than max_unhealthy_brokers ({}): the cause is likely to be another \
             than their hosts",
            absent.len(),
            ids.join(", "),
            self.config.max_unhealthy_brokers
        )))
    }

    /// A voter's disk may hold what the quorum has committed.
    pub(super) fn votes(&self, id: BrokerId) -> Option<Objection> {
        if !self.liveness.capabilities.kraft {
            return None;
        }
        match self.state.fresh::<QuorumVoters>(self.config.max_voters_age.0) {
            Ok(voters) if voters.voters.contains(&id) => Some(Objection::Refused(
                "it is a voter of the metadata quorum, and an empty disk could lose what has been committed"
                    .to_owned(),
            )),
            Ok(_) => None,
            Err(why) => {
                let why = format!("it is not known whether it is a voter of the metadata quorum: {why}");
                Some(Objection::Waits(why, "the voters to be known".to_owned()))
            }
        }
    }

    pub(super) fn sees_too_little(&self, id: BrokerId) -> Option<Objection> {
        self.may_not_see(id).or_else(|| self.was_not_listed(id))
    }

    /// As a person asks: where every other disk shows nothing that we may not see, we are taken to see all of this one.
    pub(super) fn sees_too_little_by_hand(&self, id: BrokerId) -> Option<Objection> {
        let was_not_listed = || {
            let others = self.liveness.live.keys().find_map(|other| self.was_not_listed(*other));
            others.and_then(|_| self.was_not_listed(id))
        };
        self.may_not_see(id).or_else(was_not_listed)
    }

    /// Kafka leaves out without a word what we may not see. What is on a disk, or is told of by an agent, is there all the same, and may
    /// have no other copy.
    fn may_not_see(&self, id: BrokerId) -> Option<Objection> {
        let known = self.state.get::<KnownBrokers>().map(|fact| &*fact.value.0);
        // What others had when they went says nothing of what is there now.
        let is_there = |other: &BrokerId| *other == id || self.liveness.live.contains_key(other);
        let there = known.into_iter().flatten().filter(|(other, _)| is_there(other));
        let lists = there.filter_map(|(_, known)| known.listed.as_ref());
        let on_disk = lists.flat_map(|listed| &listed.unseen);
        let reports = self.state.get::<BrokerReports>().and_then(|fact| fact.value.brokers.get(&id));
        let told = reports.into_iter().flat_map(|report| report.partitions_bytes_in_per_second.keys());
        let mut all = on_disk.chain(told.map(|partition| &partition.topic));
        let unseen = all.find(|topic| !self.topics.0.contains_key(*topic))?;
        Some(Objection::Refused(format!(
            "topic {unseen} is not among those that this service may see, so that its last copy may go (right Describe on all \
             topics; of a topic that was just deleted this passes)"
        )))
    }

    /// What nobody has compared with the topics may hold some that this service may not see.
    fn was_not_listed(&self, id: BrokerId) -> Option<Objection> {
        let known = self.known(id)?;
        let why = match known.listed.as_ref().map(|listed| known.last_live.since(listed.at)) {
            Some(before) if before <= LISTED_WITHIN => return None,
            Some(before) => {
                format!("its log dirs were last listed {} before it was last seen", duration_words(before))
            }
            None => "its log dirs have not been listed".to_owned(),
        };
        let why = format!("{why}, so that it may hold topics that this service may not see");
        Some(if self.liveness.live.contains_key(&id) {
            Objection::Waits(why, "them to be listed (right Describe on Cluster)".to_owned())
        } else {
            Objection::Refused(format!(
                "{why} (a person may have it replaced: doctorkafka replace --broker {id})"
            ))
        })
    }

    /// Nobody could be told which host is meant, nor ask whether it answers.
    pub(super) fn is_a_stranger(&self, id: BrokerId) -> Option<Objection> {
        let known = self.address_of(id).is_some_and(|address| !address.host.is_empty());
        let why = "it has never been seen by this service, so that nobody knows which host is meant";
        (!known).then(|| Objection::Refused(why.to_owned()))
    }

    /// A live broker with the same host is the surest sign that the host lives, and would go with it.
    pub(super) fn shares_its_host(&self, id: BrokerId) -> Option<Objection> {
        if self.config.hosts_are_shared {
            return None;
        }
        let own = self.address_of(id)?.host;
        let same = |host: &str| host.trim_end_matches('.').eq_ignore_ascii_case(own.trim_end_matches('.'));
        let shares = |(other, broker): &(&BrokerId, &Broker)| **other != id && same(&broker.address.host);
        let (other, _) = self.liveness.live.iter().find(shares)?;
        Some(Objection::Refused(format!(
            "live broker {other} has the same host, {own} (hosts_are_shared: true where each has one of its own behind that name)"
        )))
    }

    /// Partitions of which no other live broker has a copy in sync.
    pub(super) fn holds_the_last_copy(&self, id: BrokerId) -> Option<Objection> {
        let is_last = |p: &Partition| self.is_last_copy(id, p);
        let last: Vec<String> =
            self.partitions().filter(|(_, p)| is_last(p)).map(|(partition, _)| partition).collect();
        let first = last.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if last.len() > NAMED { ", …" } else { "" };
        (!last.is_empty()).then(|| {
            Objection::Refused(format!(
                "it may hold the last copy of {} partition{} ({first}{more}), which a new host would not have",
                last.len(),
                if last.len() == 1 { "" } else { "s" }
            ))
        })
    }

    fn is_last_copy(&self, id: BrokerId, p: &Partition) -> bool {
        let live = &self.liveness.live;
        let has_other = p.isr.iter().any(|other| *other != id && live.contains_key(other));
        p.replicas.contains(&id) && (!has_other || p.leader.is_none())
    }

    /// Whoever counts it in sync, or lets it lead, does not hold it to be dead. Kafka never takes out the last one: where that is given
    /// up it says nothing.
    pub(super) fn still_counts(&self, id: BrokerId, gives_up_last_copies: bool) -> Option<Objection> {
        let counts = |p: &Partition| {
            (p.isr.contains(&id) || p.leader == Some(id))
                && !(gives_up_last_copies && self.is_last_copy(id, p))
        };
        let (partition, _) = self.partitions().find(|(_, p)| counts(p))?;
        let waits_for = "Kafka to take it out of the in-sync replicas".to_owned();
        Some(Objection::Waits(format!("Kafka still counts it in sync, for {partition}"), waits_for))
    }

    /// What its death does not explain: replicas on live brokers that are out of sync, whoever leads them. Then it is not certain that
    /// it is its host that has failed, nor that the others can do without it.
    pub(super) fn others_lag(&self, id: BrokerId) -> Option<Objection> {
        let lags = |p: &Partition, other: &BrokerId| {
            *other != id
                && !p.isr.contains(other)
                && self.liveness.live.contains_key(other)
                && !self.is_excused(other)
        };
        let moves = |partition: &TopicPartition| self.reassignments.0.contains_key(partition);
        let (partition, other) = self.topics.0.iter().find_map(|(name, topic)| {
            (0..).zip(&topic.partitions).find_map(|(number, p)| {
                let other = p.replicas.iter().find(|other| lags(p, other))?;
                let partition = TopicPartition::new(name.clone(), number);
                (!moves(&partition)).then_some((partition, *other))
            })
        })?;
        let why = format!(
            "the replica of {partition} on live broker {other} is not in sync, which its death does not explain"
        );
        Some(Objection::Waits(why, "the replicas on live brokers to be in sync".to_owned()))
    }

    /// An agent that reports runs on a host that lives. Its silence says something only where it was heard before, and others are heard.
    /// How long it must be is told by its own interval, too: one that reports every five minutes is not silent after three.
    pub(super) fn agent_speaks(&self, id: BrokerId) -> Option<Objection> {
        let reports = self.state.get::<BrokerReports>().map(|fact| fact.value);
        let interval = reports.and_then(|reports| reports.brokers.get(&id)?.interval).unwrap_or_default();
        let reports_missed = interval.saturating_mul(MISSED_REPORTS);
        let silent_after = self.config.agent_silent_after.0.max(reports_missed);
        let age = |id: &BrokerId| reports?.brokers.get(id).map(|report| report.age);
        if let Some(age) = age(&id).filter(|age| *age < silent_after) {
            let why = format!("its agent reported {} ago, so that its host lives", duration_words(age));
            let mut waits_for = format!("its agent to be silent for {}", duration_words(silent_after));
            if silent_after > self.config.agent_silent_after.0 {
                let interval = duration_words(interval);
                waits_for +=
                    &format!(", {MISSED_REPORTS} times the interval of {interval} that it reports at");
            }
            return Some(Objection::Waits(why, waits_for));
        }
        if self.config.without_agents {
            return None;
        }
        // Where the topic can be written no more, its agent falls silent with all others, and up to a report earlier than some of them.
        let recent = silent_after / 2;
        let waits = |why: &str, waits_for: &str| {
            let why = format!("{why}, so that the silence of its agent tells nothing");
            Some(Objection::Waits(why, format!("{waits_for} (without_agents: true does without)")))
        };
        if reports.and_then(|reports| reports.read_to_end_ago).is_none_or(|ago| ago >= recent) {
            return waits("the stats topic has not been read to its end lately", "all of it to be read");
        }
        let heard = |id: &BrokerId| age(id).is_some_and(|age| age < recent);
        if !self.liveness.live.keys().any(heard) {
            return waits("no agent of a live broker is heard", "reports of other brokers");
        }
        if age(&id).is_none() {
            return Some(Objection::Refused(
                "its agent was never heard, so that its silence tells nothing (without_agents: true does without)".to_owned(),
            ));
        }
        None
    }

    /// Two must not work on one broker.
    pub(super) fn healing_goes_first(&self, id: BrokerId, dead: &DeadBroker) -> Option<Objection> {
        let running = self.state.executions().iter().filter(|e| e.is_running());
        let open = running.flat_map(|e| e.moves()).filter(|it| !it.phase.is_final());
        let count = open.filter(|it| it.order.dead.contains(&id)).count();
        if count > 0 {
            let why = format!("{count} of its replicas are being moved to other brokers");
            return Some(Objection::Waits(why, "these moves to end".to_owned()));
        }
        let owner = self.state.get::<RecoveryOwner>()?.value;
        if owner.on_dead_broker == OnDeadBroker::ReplaceFirst {
            return None;
        }
        let holds = self.partitions().filter(|(_, p)| p.replicas.contains(&id)).count();
        let limit = self.dead.grace.saturating_add(owner.replace_timeout);
        let left = limit.checked_sub(dead.absent_for).filter(|left| !left.is_zero())?;
        (holds > 0).then(|| {
            let why = format!("healing goes first, and it still has {holds} replicas");
            Objection::Waits(why, format!("them to be moved, for {} at most", duration_words(left)))
        })
    }

    /// A broker that was restarted in vain need not wait for that.
    pub(super) fn cools(&self, id: BrokerId, restarted: bool) -> Option<Objection> {
        let owner = self.state.get::<RecoveryOwner>()?.value;
        let now = self.state.now();
        let (until, last) = match restarted {
            true => self.replacements.cools_until_for(id, now, owner.replacement_cooldown),
            false => self.replacements.cools_until(now, owner.replacement_cooldown),
        }?;
        let why = cools(last, until, now);
        Some(if last.broker == id {
            Objection::Waits(why, "the cooldown to be over".to_owned())
        } else {
            // A second host that is lost within the cooldown is no routine any more.
            Objection::Refused(why)
        })
    }
}
