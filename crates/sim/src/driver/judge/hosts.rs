//! What must hold when the host of a broker is replaced, which destroys what it has.

use super::*;

/// After this time a report that has reached the stats topic has been read, or it is known that the topic could not be read: half of the
/// silence that is waited for, the half minute for which the simulator shows what it has read, and two looks.
const READ_BY: Duration = Duration::from_secs(140);

/// What was replaced, and is being replaced.
#[derive(Debug)]
pub(super) struct Hosts {
    cooldown: Duration,
    /// For so long the agent of a broker must have been silent; `None`: there are none.
    silent_after: Option<Duration>,
    voters: BTreeSet<BrokerId>,
    /// From which look the last replacement followed.
    last: Option<(Moment, BrokerId)>,
    /// What this process has begun to replace.
    under_way: BTreeSet<BrokerId>,
}

impl Hosts {
    pub(super) fn new(config: &DriverConfig) -> Self {
        let operator = config.replacement.as_ref().filter(|operator| !operator.without_agents);
        Self {
            cooldown: config.guard.replacement_cooldown,
            silent_after: operator.map(|operator| operator.agent_silent_after.0),
            voters: config.voters.clone(),
            last: None,
            under_way: BTreeSet::new(),
        }
    }

    pub(super) fn is_being_replaced(&self, id: BrokerId) -> bool {
        self.under_way.contains(&id)
    }
}

impl Judge {
    /// Looks at the replacement of the host of a broker that has died: it must be gone for sure, and others must have all of it.
    pub(in crate::driver) fn replaces(&mut self, world: &World, memory: &Memory, id: BrokerId) {
        self.begins_to_replace(world, memory, id);
        self.gives_up(world, id, "the host of a broker is replaced");
        self.its_agent_is_silent(world, id);
        let others: Vec<BrokerId> = world.live().into_iter().filter(|other| *other != id).collect();
        let is_last =
            |at: &TopicPartition| world.is_copy_among(at, &[id]) && !world.is_copy_among(at, &others);
        if let Some(at) = world.held_by(id).find(is_last) {
            self.wrong(format!("the last copy of {at} goes with the host of broker {id}"));
        }
    }

    /// Looks at the replacement of a live broker's host: no partition is down to its last copy meanwhile.
    pub(in crate::driver) fn replaces_living(&mut self, world: &World, memory: &Memory, id: BrokerId) {
        self.begins_to_replace(world, memory, id);
        for at in world.held_by(id) {
            let live = world.live();
            let others = world.partition(&at).map_or(0, |truth| {
                truth.isr.iter().filter(|other| **other != id && live.contains(other)).count()
            });
            if others < 2 {
                self.wrong(format!(
                    "{at} has {others} copies while the host of live broker {id} is replaced"
                ));
            }
        }
    }

    /// The host is another, or will not be.
    pub(in crate::driver) fn replaced(&mut self, id: BrokerId) {
        self.hosts.under_way.remove(&id);
    }

    /// Nobody knows any more what the process that was killed has begun.
    pub(in crate::driver) fn forgets_what_is_replaced(&mut self) {
        self.hosts.under_way.clear();
    }

    fn begins_to_replace(&mut self, world: &World, memory: &Memory, id: BrokerId) {
        self.writes();
        self.brake(world, memory);
        self.is_the_only_one(id);
        let wishes = &memory.wishes;
        if wishes.broker_maintenance.contains_key(&id) || wishes.decommissioned.contains_key(&id) {
            self.wrong(format!("the host of broker {id} is replaced though a person takes care of it"));
        }
        if self.hosts.voters.contains(&id) {
            self.wrong(format!("the host of broker {id} is replaced, which votes in the metadata quorum"));
        }
        let leaves = |runs: &cluster::Reassignment| runs.removing.contains(&id);
        let ongoing = world.reassignments();
        let ours = ongoing.iter().find(|(at, runs)| leaves(runs) && self.is_ours_still(at, &runs.target()));
        if let Some((at, _)) = ours {
            self.wrong(format!("the host of broker {id} is replaced while {at} is being moved away from it"));
        }
        self.hosts.under_way.insert(id);
    }

    /// One for each cooldown, whoever was killed, and whatever clocks were set to, since the last one.
    fn is_the_only_one(&mut self, id: BrokerId) {
        let before = self.hosts.last.replace((self.look, id));
        let Some((last, other)) = before else { return };
        let passed = self.look.since(last);
        if passed < self.hosts.cooldown {
            self.wrong(format!(
                "the host of broker {id} is replaced {} s after that of broker {other}, within a cooldown of {} s",
                passed.as_secs(),
                self.hosts.cooldown.as_secs()
            ));
        }
    }

    /// An agent that writes to the stats topic runs on a host that lives.
    fn its_agent_is_silent(&mut self, world: &World, id: BrokerId) {
        let Some(silent_after) = self.hosts.silent_after else { return };
        // Whoever reports seldom is not silent because a short time has passed.
        let interval = world.settings().agents.as_ref().map(|agents| agents.interval).unwrap_or_default();
        let silent_after = silent_after.max(interval * 3);
        // Where clocks differ it is only known between which looks a report has come.
        let read = READ_BY..silent_after.saturating_sub(self.gap);
        let heard = world.agent_was_heard(id).map(|at| self.look.since(at)).find(|ago| read.contains(ago));
        if let Some(ago) = heard {
            self.wrong(format!(
                "the host of broker {id} is replaced, whose agent reported {} s ago",
                ago.as_secs()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use control::{Timestamp, Wish, Wishes};

    use super::*;
    use crate::settings::{Agents, Settings};

    const CLUSTER: &str = "b1\nb2\nb3\nt-0: 1* 2 3\nbrokerstats-0: 3* 1";

    /// Broker 2 died a second after the beginning, unless another fault is given.
    fn world(faults: &str) -> World {
        let agents = Agents { topic: "brokerstats".to_owned(), interval: Duration::from_secs(60) };
        let settings = Settings { agents: Some(agents), ..Settings::default() };
        let mut world = World::new(&CLUSTER.parse().unwrap_or_default(), settings);
        world.plan(&faults.parse().unwrap_or_default());
        world.advance(Duration::from_secs(1_200));
        world
    }

    fn judge() -> Judge {
        let replacement = Some(control::operators::broker_replacement::Config::default());
        let mut config =
            DriverConfig { replacement, voters: [BrokerId(1)].into(), ..DriverConfig::default() };
        config.guard.replacement_cooldown = Duration::from_secs(600);
        Judge::new(&config)
    }

    fn wrongs(judge: &mut Judge, world: &World, memory: &Memory, id: i32) -> Vec<String> {
        judge.looks(world);
        judge.replaces(world, memory, BrokerId(id));
        judge.take_wrongs()
    }

    #[test]
    fn one_host_is_replaced_for_each_cooldown_whoever_was_killed_since() {
        let mut world = world("at 1s kill b2");
        let (mut judge, memory) = (judge(), Memory::default());
        assert_eq!(wrongs(&mut judge, &world, &memory, 2), [""; 0]);
        judge.replaced(BrokerId(2));
        judge.forgets_what_is_replaced();
        world.advance(Duration::from_secs(599));
        let wrong =
            "the host of broker 2 is replaced 599 s after that of broker 2, within a cooldown of 600 s";
        assert_eq!(wrongs(&mut judge, &world, &memory, 2), [wrong]);
        world.advance(Duration::from_secs(600));
        assert_eq!(wrongs(&mut judge, &world, &memory, 2), [""; 0]);
    }

    #[test]
    fn neither_a_voter_nor_one_that_a_person_takes_care_of_is_replaced() {
        let wish = || Wish { by: "ann".into(), reason: String::new(), since: Timestamp(0), until: None };
        let mut memory = Memory::default();
        let decommissioned = [(BrokerId(2), wish())].into();
        memory.wishes = Arc::new(Wishes { decommissioned, ..Wishes::default() });
        let wrong = "the host of broker 2 is replaced though a person takes care of it";
        assert_eq!(wrongs(&mut judge(), &world("at 1s kill b2"), &memory, 2), [wrong]);
        let wrong = "the host of broker 1 is replaced, which votes in the metadata quorum";
        assert_eq!(wrongs(&mut judge(), &world("at 1s kill b1"), &Memory::default(), 1), [wrong]);
    }

    #[test]
    fn a_broker_whose_agent_reports_is_not_replaced() {
        // It reports once a minute, and what it says is looked at for 40 s.
        let speaks = |faults: &str| {
            let mut world = world(faults);
            (0..3).any(|_| {
                world.advance(Duration::from_secs(20));
                let found = wrongs(&mut judge(), &world, &Memory::default(), 2);
                found.iter().any(|it| it.contains("whose agent reported 1"))
            })
        };
        // It checks its logs, and its agent says that it does not answer.
        assert!(speaks("at 1s recover b2 1h"));
        assert!(!speaks("at 1s recover b2 1h\nat 900s agent-silent b2 for 1h"));
        assert!(!speaks("at 1s kill b2"));
    }

    #[test]
    fn nothing_is_moved_from_a_broker_while_its_host_is_replaced_nor_the_other_way_round() {
        let (mut judge, world) = (judge(), world("at 1s kill b2"));
        assert_eq!(wrongs(&mut judge, &world, &Memory::default(), 2), [""; 0]);
        let at = TopicPartition::new("t", 0);
        let order = PartitionMove {
            partition: at.clone(),
            from: [1, 2, 3].map(BrokerId).to_vec(),
            to: [1, 3, 4].map(BrokerId).to_vec(),
            dead: vec![BrokerId(2)],
            leaving: Vec::new(),
            bytes: None,
            in_sync: 2,
            reason: String::new(),
        };
        judge.reads(&world, std::slice::from_ref(&order));
        let moved = |judge: &mut Judge| {
            judge.one_move(&world, &Memory::default(), &at, &order.to);
            judge
                .take_wrongs()
                .contains(&"t-0 is taken from broker 2 while its host is being replaced".to_owned())
        };
        assert!(moved(&mut judge));
        judge.replaced(BrokerId(2));
        assert!(!moved(&mut judge));
    }
}
