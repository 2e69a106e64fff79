//! What a plan does rather, where goals are served as well by it.

use super::cluster::Cluster;
use super::policy::{Leaders, Moves, Policy, Preference};
use super::score::Meter;
use super::settle::Found;
use super::state::{State, add};

/// A placement as the policy prefers it, unless one is found that is better without that.
pub(crate) fn preferring(
    cluster: &Cluster,
    policy: &Policy,
    search: impl Fn(&Cluster, &Policy) -> Found,
) -> Found {
    let meter = |found: &Found| Meter::new(cluster, policy, found.0.clone(), found.1.clone());
    let score = |found: &Found| meter(found).score();
    let plain = search(cluster, &Policy { preferences: Vec::new(), ..policy.clone() });
    let preferred = match elected(cluster, policy, &search) {
        None => search(cluster, policy),
        Some(meter) if meter.score().is_clean() => meter.placement(),
        Some(meter) => search(&meter.cluster(), policy),
    };
    let as_good = score(&preferred) <= score(&plain) && {
        let before = Meter::new(cluster, policy, cluster.place.clone(), cluster.leaders()).score();
        meter(&preferred).is_acceptable(&before, &score(&preferred))
    };
    if as_good { preferred } else { plain }
}

/// All that passing leadership on can do, if it does any good and is asked for before data moves.
fn elected<'a>(
    cluster: &'a Cluster,
    policy: &'a Policy,
    search: impl Fn(&Cluster, &Policy) -> Found,
) -> Option<Meter<'a>> {
    let asked = policy.prefers(Preference::ElectionFirst)
        && policy.leaders == Leaders::All
        && policy.moves != Moves::Nothing;
    if !asked {
        return None;
    }
    let before = Meter::new(cluster, policy, cluster.place.clone(), cluster.leaders()).score();
    let (place, leader) = search(cluster, &Policy { moves: Moves::Nothing, ..policy.clone() });
    let meter = Meter::new(cluster, policy, place, leader);
    let score = meter.score();
    (score < before && meter.is_acceptable(&before, &score)).then_some(meter)
}

/// Sends replicas that have left their rack to another broker of it, where no broker is farther from its limits then.
pub(crate) fn keep_racks(state: &mut State<'_>) {
    if !state.policy.prefers(Preference::SameRack) {
        return;
    }
    for replica in 0..state.place.len() as u32 {
        let (here, rack) = (state.place[replica as usize], state.rack(state.home(replica)));
        if state.rack(here) == rack || state.topic_leave(replica, here) > 0 {
            continue;
        }
        let figures = state.figures(replica);
        let mut leaves = [0; super::bands::FIGURES];
        add(&mut leaves, &figures, -1);
        if !state.fits(here as usize, &leaves) {
            continue;
        }
        let near = (0..state.cost.len() as u32).filter(|to| state.rack(*to) == rack);
        let takes = |to: &u32| {
            state.legal(replica, *to)
                && state.fits(*to as usize, &figures)
                && state.topic_arrive(replica, *to) <= 0
        };
        let cost = |to: &u32| (state.cost_with(*to as usize, &figures, 1) - state.cost[*to as usize], *to);
        if let Some(to) = near.filter(takes).min_by_key(cost) {
            state.relocate(replica, to);
        }
    }
}
