//! Who is alive: what most of the brokers that were asked say.
//!
//! A broker that is cut off from the controller goes on answering, promptly, with metadata that stands still. So no
//! single answer is believed: each broker that answered has one vote on each other broker.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{Broker, BrokerAddress, BrokerAnswer, BrokerId, Capabilities, ClusterId};

use crate::attributes::Liveness;
use crate::time::Tick;

/// What one broker said, and when it was asked: what it says held then at the latest.
#[derive(Clone, Debug)]
pub struct View {
    /// When it was asked.
    pub asked_at: Tick,
    /// What it said.
    pub answer: BrokerAnswer,
}

/// The outcome of a vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Who is alive.
    pub liveness: Liveness,
    /// The moment at which a majority of the votes held.
    pub as_of: Tick,
    /// Brokers on which the votes were even: they count as they did before.
    pub undecided: BTreeSet<BrokerId>,
    /// Brokers that answered for another cluster.
    pub strangers: BTreeMap<BrokerAddress, ClusterId>,
}

/// Counts the votes. `asked` is the number of brokers that were asked; `before` is the last outcome. `None` if
/// nobody has answered, or if as many answer for one cluster as for another.
pub fn count(
    views: &BTreeMap<BrokerAddress, View>,
    asked: usize,
    before: Option<&Liveness>,
) -> Option<Decided> {
    let cluster_id = common_cluster(views, before)?;
    let (ours, others): (Vec<_>, Vec<_>) =
        views.iter().partition(|(_, view)| view.answer.cluster_id == cluster_id);
    let strangers = others.iter().map(|(at, view)| ((*at).clone(), view.answer.cluster_id.clone())).collect();
    let ours: Vec<&View> = ours.into_iter().map(|(_, view)| view).collect();

    let (live, undecided) = live_by_votes(&ours, before);
    let mut fenced = BTreeMap::new();
    for view in &ours {
        let not_live = view.answer.fenced.iter().filter(|(id, _)| !live.contains_key(id));
        fenced.extend(not_live.map(|(id, broker)| (*id, broker.clone())));
    }
    let agreeing = ours.iter().filter(|view| view.answer.live.keys().eq(live.keys())).count();
    let liveness = Liveness {
        cluster_id,
        controller: most_common(ours.iter().filter_map(|view| view.answer.controller)),
        live,
        fenced,
        asked: small(asked.max(ours.len())),
        answered: small(ours.len()),
        agreeing: small(agreeing),
        capabilities: Capabilities {
            kraft: ours.iter().all(|view| view.answer.capabilities.kraft),
            completes_with_dead_targets: ours
                .iter()
                .all(|view| view.answer.capabilities.completes_with_dead_targets),
        },
    };
    Some(Decided { liveness, as_of: majority_held_at(&ours), undecided, strangers })
}

/// Who is alive, and on whom the votes are even.
fn live_by_votes(
    ours: &[&View],
    before: Option<&Liveness>,
) -> (BTreeMap<BrokerId, Broker>, BTreeSet<BrokerId>) {
    // Nearly always all say the same.
    if let Some((first, others)) = ours.split_first()
        && others.iter().all(|other| other.answer.live == first.answer.live)
    {
        return (first.answer.live.clone(), BTreeSet::new());
    }
    let mut live = BTreeMap::new();
    let mut undecided = BTreeSet::new();
    let candidates: BTreeSet<BrokerId> =
        ours.iter().flat_map(|view| view.answer.live.keys().copied()).collect();
    for id in candidates {
        let votes: Vec<&Broker> = ours.iter().filter_map(|view| view.answer.live.get(&id)).collect();
        let even = votes.len() * 2 == ours.len();
        if even {
            undecided.insert(id);
        }
        let was_live = before.is_none_or(|before| before.live.contains_key(&id));
        if votes.len() * 2 > ours.len() || (even && was_live) {
            // `votes` is not empty: somebody has named the broker.
            live.extend(votes.first().map(|broker| (id, (*broker).clone())));
        }
    }
    (live, undecided)
}

/// The cluster for which most answer.
fn common_cluster(views: &BTreeMap<BrokerAddress, View>, before: Option<&Liveness>) -> Option<ClusterId> {
    let mut votes: BTreeMap<&ClusterId, usize> = BTreeMap::new();
    for view in views.values() {
        *votes.entry(&view.answer.cluster_id).or_default() += 1;
    }
    let most = votes.values().copied().max()?;
    let mut winners = votes.iter().filter(|(_, n)| **n == most).map(|(id, _)| *id);
    let first = winners.next()?;
    if winners.next().is_none() {
        return Some(first.clone());
    }
    // Even votes: the cluster that it was before, if it is among them.
    before.map(|before| &before.cluster_id).filter(|id| votes.get(id) == Some(&most)).cloned()
}

/// The moment at which more than half of the views held: the oldest of the newest majority.
fn majority_held_at(views: &[&View]) -> Tick {
    let mut asked: Vec<Tick> = views.iter().map(|view| view.asked_at).collect();
    asked.sort_unstable_by(|a, b| b.cmp(a));
    asked.get(views.len() / 2).copied().unwrap_or_default()
}

fn most_common(ids: impl Iterator<Item = BrokerId>) -> Option<BrokerId> {
    let mut votes: BTreeMap<BrokerId, usize> = BTreeMap::new();
    for id in ids {
        *votes.entry(id).or_default() += 1;
    }
    // The lowest id among those with the most votes, so that equal input gives an equal answer.
    votes.into_iter().max_by_key(|(id, n)| (*n, std::cmp::Reverse(*id))).map(|(id, _)| id)
}

fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn address(id: i32) -> BrokerAddress {
        BrokerAddress { host: format!("b{id}").into(), port: 9092 }
    }

    fn brokers(ids: &[i32]) -> BTreeMap<BrokerId, Broker> {
        let of = |id: &i32| (BrokerId(*id), Broker { id: BrokerId(*id), address: address(*id), rack: None });
        ids.iter().map(of).collect()
    }

    fn views(said: &[(i32, u64, &[i32])]) -> BTreeMap<BrokerAddress, View> {
        let view = |(by, at, live): &(i32, u64, &[i32])| {
            let answer = BrokerAnswer {
                cluster_id: ClusterId("c".into()),
                controller: Some(BrokerId(*by)),
                live: brokers(live),
                fenced: BTreeMap::new(),
                capabilities: Capabilities::default(),
                took: Duration::ZERO,
            };
            (address(*by), View { asked_at: Tick(*at), answer })
        };
        said.iter().map(view).collect()
    }

    fn live(decided: &Decided) -> Vec<i32> {
        decided.liveness.live.keys().map(|id| id.0).collect()
    }

    #[test]
    fn nobody_answering_decides_nothing() {
        assert_eq!(count(&BTreeMap::new(), 3, None), None);
    }

    #[test]
    fn a_broker_with_frozen_metadata_is_outvoted() {
        let said = views(&[(1, 10, &[1, 2, 3]), (2, 10, &[1, 2]), (4, 10, &[1, 2])]);
        let decided = count(&said, 3, None).unwrap();
        assert_eq!((live(&decided), decided.liveness.agreeing), (vec![1, 2], 2));
    }

    #[test]
    fn an_even_vote_leaves_things_as_they_were() {
        let said = views(&[(1, 10, &[1, 2, 3]), (2, 10, &[1, 2])]);
        let first = count(&said, 2, None).unwrap();
        assert_eq!((live(&first), first.undecided.len()), (vec![1, 2, 3], 1));
        let before = Liveness { live: brokers(&[1, 2]), ..first.liveness };
        assert_eq!(live(&count(&said, 2, Some(&before)).unwrap()), [1, 2]);
    }

    #[test]
    fn a_fact_is_as_old_as_the_majority_that_holds_it() {
        let said = views(&[(1, 10, &[1]), (2, 30, &[1]), (3, 20, &[1])]);
        assert_eq!(count(&said, 3, None).unwrap().as_of, Tick(20));
    }

    #[test]
    fn another_cluster_behind_an_address_has_no_vote() {
        let mut said = views(&[(1, 10, &[1, 2, 3]), (2, 10, &[1, 2, 3]), (3, 10, &[7])]);
        said.get_mut(&address(3)).unwrap().answer.cluster_id = ClusterId("other".into());
        let decided = count(&said, 3, None).unwrap();
        assert_eq!((live(&decided), decided.strangers.len()), (vec![1, 2, 3], 1));
        said.remove(&address(2));
        assert_eq!(count(&said, 2, None), None, "one against one decides nothing");
    }
}
