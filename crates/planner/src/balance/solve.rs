//! From a cluster to a plan.

use std::collections::BTreeSet;

use super::arrive::{arrive, spill};
use super::bands::Proofs;
use super::bearers::unburden;
use super::bound::fewest_moves;
use super::cluster::{Cluster, Mark};
use super::depart::depart;
use super::dirs::{Held, Seats};
use super::foremost::foremost_first;
use super::heirs::ease;
use super::last::take_last_steps;
use super::lead::{hand_over, prefer_first, seat_leaders};
use super::order::{moved, order, soundly, within};
use super::part::{part, place_the_left};
use super::policy::{Goal, Leaders, Moves, Policy};
use super::polish::polish;
use super::prefer::{keep_racks, preferring};
use super::reason::Reason;
use super::refine::{MEDIUM, refine};
use super::room::{Room, rooms};
use super::scarce::{is_scarce, place_smallest};
use super::score::{Distance, Meter, Score};
use super::search::{Dice, mend};
use super::settle::{Found, as_one_plan, settle};
use super::state::{Brokers, State};
use super::stuck::{Stuck, stuck};
use super::thrift::save_moves;
use super::topics::even_topics;
use super::unmet::{Unmet, unmet};
use super::watch::{NOBODY, Progress};

/// How much a plan may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// At most so many replicas moved. None: no bound.
    pub moves: Option<u64>,
    /// At most so much of the disk unit copied. None: no bound.
    pub disk: Option<i64>,
}

/// One partition's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The partition.
    pub partition: u32,
    /// Its brokers by position; those it keeps stay at their place.
    pub replicas: Vec<u32>,
    /// Position of the leader.
    pub leader: u32,
}

/// What to change, and what that does to the score.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    /// At most one for each partition: what brings replicas off dead brokers first, then what mends racks, then by
    /// benefit per byte.
    pub changes: Vec<Change>,
    /// Why each of them is done, in the same order.
    pub reasons: Vec<Reason>,
    /// What each of them makes room for that has no purpose of its own, in the same order.
    pub rooms: Vec<Option<Room>>,
    /// To which log dirs replicas go on brokers with several: Kafka would choose by the number of replicas.
    pub log_dirs: Seats,
    /// Before.
    pub before: Score,
    /// After.
    pub after: Score,
    /// What stands in the way of goals: of every goal that is not met after the plan, and of such that are met but could
    /// not be served if they were not.
    pub unmet: Vec<Unmet>,
    /// Partitions that keep replicas offline, or a leader that was to pass on, and why; in order.
    pub stuck: Vec<Stuck>,
    /// Partitions whose changes the budget cuts off, in the order in which they would come.
    pub postponed: Vec<u32>,
    /// How many of the replicas that move leave their rack.
    pub leave_rack: u64,
    /// No plan that brings off dead brokers what this one does and meets all goals that [obstacles](super::Obstacle) do not prove
    /// impossible, shares no more racks than there are too few, and is as even in numbers of replicas as racks allow if this one is,
    /// moves fewer replicas. Tells how far from the best a plan can be at most. Nothing where nothing is proven:
    /// where replicas have to stay on dead brokers, and where a plan leaves goals and moves fewer for that.
    pub fewest_moves: Option<u64>,
}

impl Plan {
    /// The cluster once the plan is done.
    #[must_use]
    pub fn applied_to(&self, cluster: &Cluster) -> Cluster {
        let (mut place, mut leader) = (cluster.place.clone(), cluster.leaders());
        for change in &self.changes {
            let row = cluster.row(change.partition);
            leader[change.partition as usize] = row.start as u32 + change.leader;
            place[row].copy_from_slice(&change.replicas);
        }
        let mut applied = cluster.placed(&place, &leader);
        for ((partition, position), dir) in &self.log_dirs {
            applied.put_in(cluster.start[*partition as usize] + position, *dir);
        }
        applied
    }
}

/// Rounds of planning on from what the round before has reached. Each makes the score better, so that few are needed.
const ROUNDS: usize = 64;
/// The same in clusters of more replicas than are refined, where a round takes long and what is still found is little.
const FEW_ROUNDS: usize = 8;

/// Finds a plan: never worse than what is there, and the same for the same input. A smaller budget gives a prefix.
pub fn solve(cluster: &Cluster, policy: &Policy, budget: &Budget) -> Plan {
    solve_watched(cluster, policy, budget, NOBODY)
}

/// The same, and tells now and then how far it is.
pub fn solve_watched(cluster: &Cluster, policy: &Policy, budget: &Budget, watch: &dyn Fn(Progress)) -> Plan {
    let mut best = Meter::new(cluster, policy, cluster.place.clone(), cluster.leaders());
    let before = best.score();
    if is_settled(cluster, policy, &before) {
        let unmet = unmet((cluster, policy), &best, &before, &BTreeSet::new());
        return Plan {
            changes: vec![],
            reasons: vec![],
            rooms: vec![],
            log_dirs: Seats::new(),
            after: before.clone(),
            before,
            unmet,
            stuck: vec![],
            postponed: vec![],
            leave_rack: 0,
            fewest_moves: Some(0),
        };
    }
    let start = State::watched(cluster, policy, watch);
    let brokers = start.brokers();
    let mut fewest = fewest_moves(&start, true);
    best = in_rounds(cluster, policy, &brokers, best, next(policy, start, fewest), watch);
    best = foremost_first(cluster, policy, &brokers, best, watch);
    best = ease(cluster, policy, &before, best);
    unburden(cluster, policy, &before, &mut best);
    let held = best.seats();
    let mut log_dirs = seats(cluster, &held);
    let found = (changes(cluster, &best), &log_dirs);
    let ordered = order(cluster, policy, &brokers, found, watch);
    let (mut changes, mut reasons) = soundly(cluster, policy, &before, ordered, &held);
    let unbounded = best.score();
    // What has to stay on dead brokers was counted among what must leave them, and what goals need that are left.
    let moves: usize = changes.iter().map(|change| moved(cluster, change).count()).sum();
    if !comes_nearest(cluster, policy, &unbounded) {
        fewest = fewest_moves(&State::watched(cluster, policy, NOBODY), false);
    }
    let is_proven = |fewest: &u64| unbounded.offline == locked_offline(cluster) && *fewest <= moves as u64;
    let fewest_moves = fewest.filter(is_proven);
    let mut postponed = Vec::new();
    if *budget != Budget::default() {
        postponed = changes.iter().map(|change| change.partition).collect();
        (changes, best) = within(cluster, policy, budget, &before, (changes, &held));
        reasons.truncate(changes.len());
        postponed.drain(..changes.len());
        let cut: BTreeSet<u32> = postponed.iter().copied().collect();
        log_dirs.retain(|(partition, _), _| !cut.contains(partition));
    }
    let cut_off = postponed.iter().copied().collect();
    let stuck = stuck(cluster, policy, &best, &cut_off);
    let (unmet, after) = (unmet((cluster, policy), &best, &unbounded, &cut_off), best.score());
    let leave_rack = leave_rack(cluster, &changes);
    let rooms = rooms(cluster, &changes, &reasons);
    Plan {
        changes,
        reasons,
        rooms,
        log_dirs,
        before,
        after,
        unmet,
        stuck,
        postponed,
        leave_rack,
        fewest_moves,
    }
}

/// Plans on from what was reached, beginning with what was found, until nothing better is found.
pub(super) fn in_rounds<'a>(
    cluster: &'a Cluster,
    policy: &'a Policy,
    brokers: &Brokers,
    mut best: Meter<'a>,
    mut found: Found,
    watch: &dyn Fn(Progress),
) -> Meter<'a> {
    let (first, mut reached): (Score, Option<Cluster>) = (best.score(), None);
    // Where moves lead nowhere, what leadership alone can do is left to be tried.
    let by_leaders = Policy { moves: Moves::Nothing, preferences: Vec::new(), ..policy.clone() };
    let mut moves = policy.moves != Moves::Nothing;
    let rounds = if cluster.replica_count() > MEDIUM { FEW_ROUNDS } else { ROUNDS };
    for _ in 0..rounds {
        let mut better = what_may_be(cluster, policy, brokers, &best, found.clone());
        if let (None, Some(reached)) = (&better, &reached) {
            // A plan goes on as another would that begins where it ends.
            let start = Meter::new(reached, policy, reached.place.clone(), reached.leaders());
            let brokers = State::watched(reached, policy, NOBODY).brokers();
            let sound = what_may_be(reached, policy, &brokers, &start, found)
                .or_else(|| take_last_steps(reached, policy, &start));
            let mut ways =
                sound.into_iter().flat_map(|sound| as_one_plan(cluster, policy, sound.placement()));
            better = ways.find_map(|found| what_may_be(cluster, policy, &brokers, &best, found));
        }
        let better = better.or_else(|| place_the_left(cluster, policy, &best, &first));
        match better.or_else(|| take_last_steps(cluster, policy, &best)) {
            Some(better) => {
                best = better;
                moves = policy.moves != Moves::Nothing;
            }
            None if !std::mem::take(&mut moves) || policy.leaders == Leaders::Orphaned => break,
            None => {}
        }
        if is_settled(cluster, policy, &best.score()) {
            break;
        }
        let start = best.cluster();
        let policy = if moves { policy } else { &by_leaders };
        found = next(policy, State::watched(&start, policy, watch), None);
        reached = Some(start);
    }
    // Where rounds end before they find nothing any more.
    let best = place_the_left(cluster, policy, &best, &first).unwrap_or(best);
    take_last_steps(cluster, policy, &best).unwrap_or(best)
}

/// What may be done of what was found, if that is better than what was reached.
pub(super) fn what_may_be<'a>(
    cluster: &'a Cluster,
    policy: &'a Policy,
    brokers: &Brokers,
    reached: &Meter<'a>,
    mut found: Found,
) -> Option<Meter<'a>> {
    if cluster.any_failed() {
        found = unless(cluster, reached, found, |at, list| comes_to_failed(cluster, at, list));
    }
    if !policy.exchange {
        found = settle(cluster, found);
    }
    if policy.moves != Moves::All {
        found = unless(cluster, reached, found, |at, list| moves_unasked(cluster, policy, at, list));
    }
    let (place, mut heirs) = found;
    seat_the_living(cluster, &place, &mut heirs);
    let (mut meter, before) = (reached.again(place, heirs), reached.score());
    let score = meter.score();
    if score < before && !(meter.is_acceptable(&before, &score) && keeps_leaders(cluster, policy, &meter)) {
        meter = part(cluster, policy, brokers, (reached, &before), &meter);
    }
    let score = meter.score();
    (score < before && meter.is_acceptable(&before, &score)).then_some(meter)
}

/// Searches on from where a state stands. Where it is known how many moves any plan needs, it saves moves beyond.
pub(super) fn next(policy: &Policy, start: State<'_>, fewest: Option<u64>) -> Found {
    let (cluster, watch) = (start.cluster, start.watch);
    if policy.preferences.is_empty() {
        return refine(cluster, policy, attempt(start, fewest));
    }
    preferring(cluster, policy, |cluster, policy| {
        refine(cluster, policy, attempt(State::watched(cluster, policy, watch), fewest))
    })
}

/// Judges a cluster as it stands.
pub fn judge(cluster: &Cluster, policy: &Policy) -> Score {
    Meter::new(cluster, policy, cluster.place.clone(), cluster.leaders()).score()
}

/// Whether numbers of replicas are as even as it is proven that racks can be.
fn comes_nearest(cluster: &Cluster, policy: &Policy, score: &Score) -> bool {
    let numbers = score.goals.iter().find(|distance| distance.goal == Goal::ReplicaDistribution);
    let excess = numbers.map_or(0, |numbers| numbers.excess);
    excess == 0 || excess == Proofs::new(cluster, policy).unavoidable(Goal::ReplicaDistribution)
}

/// Whether every goal is met as far as it can be.
fn is_settled(cluster: &Cluster, policy: &Policy, score: &Score) -> bool {
    let unmet: Vec<&Distance> = score.goals.iter().filter(|distance| distance.excess > 0).collect();
    (score.leaderless, score.offline, score.demoted) == (0, 0, 0)
        && (unmet.is_empty() || {
            let proofs = Proofs::new(cluster, policy);
            unmet.iter().all(|goal| goal.excess <= proofs.unavoidable(goal.goal))
        })
}

/// Searches once: a placement, and the leading replica of each partition.
fn attempt(mut state: State<'_>, fewest: Option<u64>) -> (Vec<u32>, Vec<u32>) {
    let mut dice = Dice::new(0x9e37_79b9_7f4a_7c15);
    hand_over(&mut state);
    // What nothing else may take room from comes first, and everything else in the next round, by what that leaves.
    if is_scarce(&state) && place_smallest(&mut state) {
        return (state.place, state.leader);
    }
    let pool = depart(&mut state, &mut dice);
    arrive(&mut state, &mut dice, pool);
    seat_leaders(&mut state);
    let steps = state.cluster.replica_count() * 4 + 1000;
    for _ in 0..6 {
        state.refresh_mean();
        if !mend(&mut state, &mut dice, steps) {
            break;
        }
    }
    polish(&mut state, &mut dice);
    even_topics(&mut state, &mut dice);
    if let Some(fewest) = fewest {
        save_moves(&mut state, &mut dice, fewest);
    }
    keep_racks(&mut state);
    spill(&mut state);
    prefer_first(&mut state);
    (state.place, state.leader)
}

/// Partitions stay as they were reached where something would become of them that is not allowed.
fn unless(
    cluster: &Cluster,
    reached: &Meter<'_>,
    (mut place, mut leader): Found,
    forbids: impl Fn(u32, &[u32]) -> bool,
) -> Found {
    for partition in 0..cluster.partitions() {
        let row = cluster.row(partition);
        if forbids(partition, &place[row.clone()]) {
            let (list, leads) = reached.list(partition);
            place[row.clone()].copy_from_slice(list);
            leader[partition as usize] = row.start as u32 + leads;
        }
    }
    (place, leader)
}

/// Whether another replica comes to a broker that one left because its log dir failed: a round after that one does not know of it
/// any more, and Kafka would take it for the replica that stays.
fn comes_to_failed(cluster: &Cluster, partition: u32, list: &[u32]) -> bool {
    let moved = cluster.row(partition).zip(list).filter(|(replica, to)| cluster.place[*replica] != **to);
    let mut left = moved.filter(|(replica, _)| cluster.failed(*replica as u32));
    left.any(|(replica, _)| list.contains(&cluster.place[replica]))
}

/// Whether a replica moves that the policy lets stand, or to where it lets nothing go: each search keeps to that by where it began.
fn moves_unasked(cluster: &Cluster, policy: &Policy, partition: u32, list: &[u32]) -> bool {
    let moved = cluster.row(partition).zip(list).filter(|(replica, to)| cluster.place[*replica] != **to);
    let mut stay = moved.filter(|(replica, _)| !cluster.homeless(*replica as u32));
    stay.any(|(replica, to)| match policy.moves {
        Moves::All => false,
        Moves::ToNew => cluster.brokers[*to as usize].mark != Mark::New,
        Moves::OffOverloaded => cluster.brokers[cluster.place[replica] as usize].mark != Mark::Overloaded,
        Moves::Offline | Moves::Nothing => true,
    })
}

/// Leadership passes only to those that may lead: where none of the replicas may, it stays where it is as long as that one is there.
fn seat_the_living(cluster: &Cluster, place: &[u32], leader: &mut [u32]) {
    if cluster.brokers.iter().all(|broker| broker.alive && broker.takes_leadership) {
        return;
    }
    for partition in 0..cluster.partitions() {
        let row = cluster.row(partition);
        let was = cluster.replicas(partition)[cluster.leader(partition) as usize];
        let leads = place[leader[partition as usize] as usize];
        if leads == was || may_take_over(cluster, leads) {
            continue;
        }
        let stays = |at: &usize| place[*at] == was;
        let takes = |at: &usize| may_take_over(cluster, place[*at]);
        if let Some(at) = row.clone().find(takes).or_else(|| row.clone().find(stays)) {
            leader[partition as usize] = at as u32;
        }
    }
}

fn may_take_over(cluster: &Cluster, broker: u32) -> bool {
    let broker = &cluster.brokers[broker as usize];
    broker.alive && broker.takes_leadership
}

/// Whether leadership passes on only where the policy lets it, and to replicas that are in sync.
fn keeps_leaders(cluster: &Cluster, policy: &Policy, meter: &Meter<'_>) -> bool {
    if policy.leaders == Leaders::All && !cluster.any_behind() {
        return true;
    }
    (0..cluster.partitions()).all(|partition| {
        let (new, is) = meter.list(partition);
        !passes_unasked(cluster, policy, partition, new, is) && !passes_to_behind(cluster, partition, new, is)
    })
}

/// Whether leadership would pass on where the policy leaves it. Each search keeps to the policy by what it starts from; a
/// leader that one takes along and another brings to where a follower was has passed on in the end.
pub(super) fn passes_unasked(
    cluster: &Cluster,
    policy: &Policy,
    partition: u32,
    new: &[u32],
    is: u32,
) -> bool {
    let old = cluster.replicas(partition);
    let (was, leads) = (old[cluster.leader(partition) as usize], new[is as usize]);
    let led_by = &cluster.brokers[was as usize];
    let moved = !new.contains(&was);
    let asked = match policy.leaders {
        Leaders::All => true,
        Leaders::ToPlaced => cluster.homeless(cluster.row(partition).start as u32 + is),
        Leaders::Demoted => !led_by.takes_leadership,
        Leaders::Orphaned => false,
    };
    let orphan = !led_by.alive || cluster.offline(partition, cluster.leader(partition));
    was != leads && !orphan && !moved && !asked
}

/// Whether leadership would pass to a replica that is not in sync, or whose broker may not lead. One that left and came back, round by round, stays for Kafka.
pub(super) fn passes_to_behind(cluster: &Cluster, partition: u32, new: &[u32], is: u32) -> bool {
    let old = cluster.replicas(partition);
    let (was, leads) = (old[cluster.leader(partition) as usize], new[is as usize]);
    let behind = |(at, held): (u32, &u32)| *held == leads && !cluster.in_sync(partition, at);
    was != leads && (!may_take_over(cluster, leads) || (0..).zip(old).any(behind))
}

/// Replicas on dead brokers, or in failed log dirs, of partitions that are never touched.
fn locked_offline(cluster: &Cluster) -> u64 {
    let locked = (0..cluster.partitions()).filter(|partition| cluster.lock(*partition).is_some());
    locked.map(|partition| cluster.offline_in(partition, cluster.replicas(partition)).unsigned_abs()).sum()
}

/// The log dirs of arrivals, by partition and position.
fn seats(cluster: &Cluster, held: &Held) -> Seats {
    let at = |replica: u32| {
        let partition = cluster.start.partition_point(|start| *start <= replica) as u32 - 1;
        (partition, replica - cluster.start[partition as usize])
    };
    held.iter().map(|(replica, (_, dir))| (at(*replica), *dir)).collect()
}

fn leave_rack(cluster: &Cluster, changes: &[Change]) -> u64 {
    let rack = |broker: &u32| cluster.brokers[*broker as usize].rack;
    let pairs =
        changes.iter().flat_map(|change| cluster.replicas(change.partition).iter().zip(&change.replicas));
    pairs.filter(|(from, to)| from != to && rack(from) != rack(to)).count() as u64
}

fn changes(cluster: &Cluster, best: &Meter<'_>) -> Vec<Change> {
    let change = |partition: u32| {
        let (replicas, leader) = best.list(partition);
        let same = replicas == cluster.replicas(partition) && leader == cluster.leader(partition);
        (!same).then(|| Change { partition, replicas: replicas.to_vec(), leader })
    };
    (0..cluster.partitions()).filter_map(change).collect()
}
