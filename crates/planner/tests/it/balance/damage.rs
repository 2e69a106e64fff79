//! Each kind of damage to a plan is seen by the audit, and named.

use planner::balance::{
    Budget, Change, Cluster, Goal, Hindrance, Leaders, Mark, Moves, Obstacle, Plan, Policy, Purpose, Room,
    Step, Unmet, Violation, Why, audit, solve,
};
use proptest::prelude::*;
use proptest::sample::Index;

use super::clusters::{policy, sketch};

const FREE: Budget = Budget { moves: None, disk: None };

/// A sound plan and where to strike.
struct Patient {
    cluster: Cluster,
    policy: Policy,
    plan: Plan,
    at: [Index; 3],
}

impl Patient {
    fn partition(&self) -> u32 {
        self.at[0].index(self.cluster.partitions() as usize) as u32
    }

    /// The change of the partition, added if there is none.
    fn change(&mut self) -> &mut Change {
        let partition = self.partition();
        let known = self.plan.changes.iter().position(|change| change.partition == partition);
        let at = known.unwrap_or_else(|| {
            let replicas = self.cluster.replicas(partition).to_vec();
            self.plan.changes.push(Change { partition, replicas, leader: self.cluster.leader(partition) });
            self.plan.changes.len() - 1
        });
        &mut self.plan.changes[at]
    }

    fn position(&self) -> usize {
        self.at[1].index(self.cluster.replicas(self.partition()).len())
    }

    /// The place of a change, if there is one.
    fn a_change(&self) -> Option<usize> {
        let changes = self.plan.changes.len();
        (changes > 0).then(|| self.at[0].index(changes))
    }

    /// A broker that holds nothing of the partition, before or after, if one of that sort exists.
    fn other_broker(&mut self, wanted: impl Fn(&Cluster, u32) -> bool) -> Option<u32> {
        let held = self.change().replicas.clone();
        let old = self.cluster.replicas(self.partition());
        let free = |broker: &u32| !held.contains(broker) && !old.contains(broker);
        let fit: Vec<u32> = (0..self.cluster.brokers().len() as u32)
            .filter(|broker| free(broker) && wanted(&self.cluster, *broker))
            .collect();
        (!fit.is_empty()).then(|| fit[self.at[2].index(fit.len())])
    }

    /// The score of the cluster after the changes, as the solver's own meter has it.
    fn true_score(&self) -> planner::balance::Score {
        solve(&self.plan.applied_to(&self.cluster), &self.policy, &Budget { moves: Some(0), disk: None })
            .before
    }

    fn findings(&self) -> Vec<Violation> {
        audit(&self.cluster, &self.policy, &FREE, &self.plan).err().unwrap_or_default()
    }
}

fn takes(cluster: &Cluster, broker: u32) -> bool {
    let broker = &cluster.brokers()[broker as usize];
    broker.alive && broker.takes_replicas
}

/// Strikes, and says what must be found; nothing where there is nothing to strike at.
type Strike = fn(&mut Patient) -> Option<Violation>;

const STRIKES: [(&str, Strike); 34] = [
    ("a replica more that leaves its rack", |patient| {
        patient.plan.leave_rack += 1;
        Some(Violation::RacksUntrue)
    }),
    ("a partition that there is not", |patient| {
        let partition = patient.cluster.partitions();
        patient.change().partition = partition;
        Some(Violation::UnknownPartition { partition })
    }),
    ("a partition twice", |patient| {
        let change = patient.change().clone();
        let partition = change.partition;
        patient.plan.changes.push(change);
        Some(Violation::PartitionTwice { partition })
    }),
    ("nothing changed", |patient| {
        let partition = patient.partition();
        patient.change().replicas = patient.cluster.replicas(partition).to_vec();
        patient.change().leader = patient.cluster.leader(partition);
        Some(Violation::NoChange { partition })
    }),
    ("a replica lost", |patient| {
        let partition = patient.partition();
        patient.change().replicas.pop();
        Some(Violation::ReplicationFactor { partition })
    }),
    ("a replica too many", |patient| {
        let partition = patient.partition();
        let broker = patient.other_broker(takes)?;
        patient.change().replicas.push(broker);
        Some(Violation::ReplicationFactor { partition })
    }),
    ("a broker that there is not", |patient| {
        let (partition, position) = (patient.partition(), patient.position());
        let broker = patient.cluster.brokers().len() as u32;
        patient.change().replicas[position] = broker;
        Some(Violation::UnknownBroker { partition, broker })
    }),
    ("a broker twice", |patient| {
        let (partition, position) = (patient.partition(), patient.position());
        let list = &mut patient.change().replicas;
        if list.len() == 1 {
            return None;
        }
        let broker = list[(position + 1) % list.len()];
        list[position] = broker;
        Some(Violation::DuplicateReplica { partition, broker })
    }),
    ("kept brokers in another order", |patient| {
        let partition = patient.partition();
        let old = patient.cluster.replicas(partition).to_vec();
        if old.len() == 1 {
            return None;
        }
        let list = &mut patient.change().replicas;
        *list = old.clone();
        list.rotate_left(1);
        Some(Violation::Permuted { partition, broker: old[0] })
    }),
    ("a leader outside the list", |patient| {
        let partition = patient.partition();
        let change = patient.change();
        change.leader = change.replicas.len() as u32;
        Some(Violation::LeaderOutOfRange { partition })
    }),
    ("a target that takes nothing", |patient| {
        let (partition, position) = (patient.partition(), patient.position());
        let broker = patient.other_broker(|cluster, broker| !takes(cluster, broker))?;
        patient.change().replicas[position] = broker;
        Some(Violation::Target { partition, broker })
    }),
    ("a target outside the topic's set", |patient| {
        let (partition, position) = (patient.partition(), patient.position());
        let set = patient.cluster.bound_set(patient.cluster.topic(partition))?;
        let outside = |cluster: &Cluster, broker| cluster.brokers()[broker as usize].set != Some(set);
        let broker = patient.other_broker(outside)?;
        patient.change().replicas[position] = broker;
        Some(Violation::Target { partition, broker })
    }),
    ("a leader that may not lead", |patient| {
        let partition = patient.partition();
        let cluster = patient.cluster.clone();
        let led_by = cluster.replicas(partition)[cluster.leader(partition) as usize];
        let change = patient.change();
        let leads = |broker: u32| {
            let known = &cluster.brokers()[broker as usize];
            known.alive && known.takes_leadership
        };
        let position = change.replicas.iter().position(|broker| !leads(*broker) && *broker != led_by)?;
        change.leader = position as u32;
        Some(Violation::Leader { partition, broker: change.replicas[position] })
    }),
    ("a frozen partition", |patient| {
        let cluster = patient.cluster.clone();
        let alive = |broker: u32| cluster.brokers()[broker as usize].alive;
        let partition = (0..cluster.partitions()).find(|partition| {
            cluster.frozen(*partition) && cluster.replicas(*partition).iter().all(|b| alive(*b))
        })?;
        patient.plan.changes.retain(|change| change.partition != partition);
        let mut replicas = cluster.replicas(partition).to_vec();
        let to =
            (0..cluster.brokers().len() as u32).find(|b| !replicas.contains(b) && takes(&cluster, *b))?;
        replicas[0] = to;
        patient.plan.changes.push(Change { partition, replicas, leader: cluster.leader(partition) });
        Some(Violation::Frozen { partition })
    }),
    ("a false score before", |patient| {
        let goal = patient.at[0].index(patient.plan.before.goals.len());
        patient.plan.before.goals[goal].excess += 1;
        Some(Violation::BeforeUntrue)
    }),
    ("a false score after", |patient| {
        let goal = patient.at[0].index(patient.plan.after.goals.len());
        let excess = &mut patient.plan.after.goals[goal].excess;
        *excess = if *excess > 0 { *excess - 1 } else { 1 };
        Some(Violation::AfterUntrue)
    }),
    ("a replica that should stay", |patient| {
        patient.policy.moves = Moves::Nothing;
        let (partition, position) = (patient.partition(), patient.position());
        let broker = patient.other_broker(takes)?;
        patient.change().replicas[position] = broker;
        Some(Violation::Move { partition, position: position as u32 })
    }),
    ("a move to an old broker where only new ones wait", |patient| {
        patient.policy.moves = Moves::ToNew;
        let (partition, position) = (patient.partition(), patient.position());
        let old = patient.cluster.replicas(partition)[position];
        let broker = patient.other_broker(|cluster, b| {
            takes(cluster, b) && cluster.brokers()[b as usize].mark != Mark::New
        })?;
        patient.change().replicas[position] = broker;
        let alive = patient.cluster.brokers()[old as usize].alive;
        alive.then_some(Violation::Move { partition, position: position as u32 })
    }),
    ("leadership that should stay", |patient| {
        patient.policy.leaders = Leaders::Orphaned;
        let (partition, position) = (patient.partition(), patient.position() as u32);
        let was = patient.cluster.leader(partition);
        let old = patient.cluster.replicas(partition).to_vec();
        let led_by = old[was as usize];
        patient.change().replicas = old;
        patient.change().leader = position;
        let alive = patient.cluster.brokers()[led_by as usize].alive;
        (alive && position != was).then_some(Violation::Leadership { partition })
    }),
    ("silence about a goal that is not met", |patient| {
        let silenced = patient.plan.unmet.iter().position(|unmet| unmet.excess > 0)?;
        let goal = patient.plan.unmet.remove(silenced).goal;
        Some(Violation::UnmetUntrue { goal })
    }),
    ("a gain too large", |patient| {
        let at = patient.a_change()?;
        patient.plan.reasons[at].gain += 1;
        Some(Violation::ReasonUntrue { partition: patient.plan.changes[at].partition })
    }),
    ("another purpose", |patient| {
        let at = patient.a_change()?;
        let said = &mut patient.plan.reasons[at].purpose;
        *said = if *said == Purpose::Room { Purpose::Goal(Goal::RackAware) } else { Purpose::Room };
        Some(Violation::ReasonUntrue { partition: patient.plan.changes[at].partition })
    }),
    ("a change without a reason", |patient| {
        patient.plan.reasons.pop()?;
        Some(Violation::Reasons)
    }),
    ("room for another", |patient| {
        let at = patient.plan.rooms.iter().position(Option::is_some)?;
        let room = patient.plan.rooms[at].as_mut()?;
        room.comes = !room.comes;
        Some(Violation::RoomUntrue { partition: patient.plan.changes[at].partition })
    }),
    ("room that a change with a purpose makes", |patient| {
        let at = patient.plan.reasons.iter().position(|reason| reason.purpose != Purpose::Room)?;
        patient.plan.rooms[at] = Some(Room { broker: 0, change: at, comes: true });
        Some(Violation::RoomUntrue { partition: patient.plan.changes[at].partition })
    }),
    ("an obstacle of another size", |patient| {
        let at = patient.at[0].index(patient.plan.unmet.len().max(1));
        let unmet = patient.plan.unmet.get_mut(at)?;
        match &mut unmet.obstacle {
            Obstacle::Racks { has, .. } => *has = has.wrapping_sub(1),
            Obstacle::Brokers { more } => *more += 1,
            Obstacle::Partitions { needs, .. } => *needs += 1,
            Obstacle::Broker { by, .. } => *by += by.signum(),
            Obstacle::RackShares { by, .. } => *by += by.signum(),
            Obstacle::Topic { by, .. } => *by += by.signum(),
            _ => return None,
        }
        Some(Violation::UnmetUntrue { goal: unmet.goal })
    }),
    ("a proof where there is none", |patient| {
        let unmet = patient.plan.unmet.iter_mut().find(|unmet| !unmet.is_proof())?;
        let takes = |broker: &planner::balance::Broker| broker.alive && broker.takes_replicas;
        if !patient.cluster.brokers().iter().any(takes) {
            return None;
        }
        unmet.obstacle = Obstacle::NothingTakesReplicas;
        Some(Violation::UnmetUntrue { goal: unmet.goal })
    }),
    ("an offender more", |patient| {
        let unmet = patient.plan.unmet.first_mut()?;
        unmet.offenders += 1;
        Some(Violation::UnmetUntrue { goal: unmet.goal })
    }),
    ("a step that could be taken", |patient| {
        let unmet = patient.plan.unmet.iter_mut().find(|unmet| !unmet.barred.is_empty())?;
        let step = unmet.barred[0].steps.first_mut()?;
        step.why = if step.why == Why::Possible { Why::Mode } else { Why::Possible };
        Some(Violation::UnmetUntrue { goal: unmet.goal })
    }),
    ("a limit passed by more", |patient| {
        let worse = |step: &&mut Step| matches!(step.why, Why::Worse { .. });
        let own = |unmet: &mut Unmet| {
            let steps = unmet.barred.iter_mut().flat_map(|barred| &mut barred.steps);
            let Why::Worse { by, .. } = &mut steps.into_iter().find(worse)?.why else { return None };
            *by += by.signum();
            Some(Violation::UnmetUntrue { goal: unmet.goal })
        };
        patient.plan.unmet.iter_mut().find_map(own)
    }),
    ("a way more", |patient| {
        let unmet = patient.plan.unmet.iter_mut().find(|unmet| !unmet.barred.is_empty())?;
        let own = &mut unmet.barred[0];
        // One step alone that stands for all has no ways to count.
        (own.partition.is_some() && own.steps[0].change.is_some()).then(|| {
            own.ways += 1;
            Violation::UnmetUntrue { goal: unmet.goal }
        })
    }),
    ("a distance that is less", |patient| {
        let unmet = patient.plan.unmet.iter_mut().find(|unmet| unmet.excess > 0)?;
        unmet.excess -= 1;
        Some(Violation::UnmetUntrue { goal: unmet.goal })
    }),
    ("a hindrance that is none", |patient| {
        let stuck = patient.plan.stuck.first_mut()?;
        stuck.why = match stuck.why {
            Hindrance::Budget => Hindrance::NoHeir,
            _ => Hindrance::Budget,
        };
        Some(Violation::StuckUntrue)
    }),
    ("a replica forgotten on a dead broker", |patient| {
        patient.plan.after.offline = patient.plan.after.offline.wrapping_sub(1);
        Some(Violation::AfterUntrue)
    }),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn sound_plans_pass(sketch in sketch(), policy in policy(), moves in prop::option::of(0_u64..40)) {
        let cluster = sketch.cluster();
        let budget = Budget { moves, disk: None };
        let plan = solve(&cluster, &policy, &budget);
        prop_assert_eq!(audit(&cluster, &policy, &budget, &plan), Ok(()), "{:#?}", plan);
    }

    #[test]
    fn every_strike_is_seen(sketch in sketch(), policy in policy(), at in any::<[Index; 3]>()) {
        let cluster = sketch.cluster();
        let plan = solve(&cluster, &policy, &FREE);
        for (name, strike) in STRIKES {
            let (cluster, policy, plan) = (cluster.clone(), policy.clone(), plan.clone());
            let mut patient = Patient { cluster, policy, plan, at };
            if let Some(expected) = strike(&mut patient) {
                let found = patient.findings();
                prop_assert!(found.contains(&expected), "{}: {:?} is not in {:?}", name, expected, found);
            }
        }
    }

    #[test]
    fn a_budget_one_too_small_is_seen(sketch in sketch(), policy in policy()) {
        let cluster = sketch.cluster();
        let plan = solve(&cluster, &policy, &FREE);
        let (mut moves, mut disk) = (0_u64, 0_i64);
        for change in &plan.changes {
            for (position, to) in change.replicas.iter().enumerate() {
                if cluster.replicas(change.partition)[position] != *to {
                    moves += 1;
                    disk += cluster.loads(change.partition)[position][3];
                }
            }
        }
        let over = Violation::OverBudget { moves, disk: i128::from(disk) };
        for (budget, enough) in [
            (Budget { moves: Some(moves), disk: Some(disk) }, true),
            (Budget { moves: moves.checked_sub(1), disk: None }, moves == 0),
            (Budget { moves: None, disk: (disk > 0).then(|| disk - 1) }, disk == 0),
        ] {
            let found = audit(&cluster, &policy, &budget, &plan).err().unwrap_or_default();
            prop_assert_eq!(found.contains(&over), !enough);
        }
    }

    #[test]
    fn a_harmful_change_with_true_claims_is_seen(
        sketch in sketch(), policy in policy(), at in any::<[Index; 3]>(), hard in 0_usize..7,
    ) {
        let cluster = sketch.cluster();
        // Judged by one hard goal first, so that both ways of being worse are met.
        let mut policy = policy;
        policy.goals.swap(0, hard);
        let before = solve(&cluster, &policy, &Budget { moves: Some(0), disk: None }).before;
        let after = before.clone();
        let plan = Plan { changes: vec![], reasons: vec![], rooms: vec![], log_dirs: Default::default(), before, after, unmet: vec![], stuck: vec![], postponed: vec![], leave_rack: 0, fewest_moves: None };
        let mut patient = Patient { cluster, policy, plan, at };
        let position = patient.position();
        if let Some(broker) = patient.other_broker(takes) {
            patient.change().replicas[position] = broker;
            patient.plan.after = patient.true_score();
            let (before, after) = (&patient.plan.before, &patient.plan.after);
            let (worse, healed) = (after > before, after.offline < before.offline || after.leaderless < before.leaderless);
            let worse_goals: Vec<Goal> = before.goals.iter().zip(&after.goals)
                .filter(|(old, new)| new.excess > old.excess && patient.policy.hard.contains(&old.goal))
                .map(|(old, _)| old.goal)
                .filter(|goal| !healed || *goal == Goal::DiskCapacity)
                .collect();
            let names = |violation: &Violation, goal: Goal| match violation {
                Violation::HardGoalWorse { goal: worse }
                | Violation::BrokerWorse { goal: worse, .. }
                | Violation::PartitionWorse { goal: worse, .. } => *worse == goal,
                _ => false,
            };
            let found = patient.findings();
            prop_assert_eq!(found.contains(&Violation::Worse), worse);
            for goal in &patient.policy.hard {
                // A broker can be worse where all together are not; never the other way round.
                let seen = found.iter().any(|violation| names(violation, *goal));
                prop_assert!(seen || !worse_goals.contains(goal));
            }
            prop_assert!(!found.contains(&Violation::AfterUntrue), "the meter and the audit agree");
            prop_assert!(!found.contains(&Violation::BeforeUntrue), "the meter and the audit agree");
        }
    }
}
