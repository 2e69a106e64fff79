//! What is under maintenance: from what people have asked for.

use std::time::Duration;

use cluster::BrokerId;
use serde::{Deserialize, Serialize};

use super::kinds;
use crate::attributes::{Maintenance, Topics};
use crate::config::HumanDuration;
use crate::finding::{Finding, Severity, Target};
use crate::order::Wish;
use crate::plugin::{Flow, Monitor};
use crate::state::State;
use crate::time::{Now, Timestamp};

/// Configuration of the monitor: there is nothing to configure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

impl Config {
    /// Makes the monitor.
    pub fn build(&self, name: impl Into<String>) -> MaintenanceMonitor {
        MaintenanceMonitor { name: name.into() }
    }
}

/// Writes [`Maintenance`] and reports each maintenance that is on.
#[derive(Clone, Debug)]
pub struct MaintenanceMonitor {
    name: String,
}

impl Monitor for MaintenanceMonitor {
    fn name(&self) -> &str {
        &self.name
    }

    fn observe(&self, state: &mut State) -> Flow {
        let now = state.now();
        let maintenance = from_wishes(state);
        if let Some(wish) = &maintenance.cluster {
            state.report(finding(Target::Cluster, wish, now, "nothing is done to the cluster"));
        }
        for (broker, wish) in &maintenance.brokers {
            let effect = "it is neither healed away from nor given replicas";
            state.report(finding(Target::Broker(*broker), wish, now, effect));
        }
        for (broker, wish) in &maintenance.decommissioned {
            let held = held_by(*broker, state);
            state.report(decommission(*broker, wish, held, now));
        }
        state.put(maintenance, now.tick);
        Flow::Continue
    }
}

/// What is under maintenance in `state`: the attribute, or the wishes themselves where no monitor has written it, so
/// that a person's word holds whatever monitors are configured.
pub fn current(state: &State) -> Maintenance {
    state.get::<Maintenance>().map_or_else(|| from_wishes(state), |fact| fact.value.clone())
}

fn from_wishes(state: &State) -> Maintenance {
    let now = state.now().wall;
    let holds = |wish: &&Wish| wish.until.is_none_or(|until| now < until);
    let wishes = state.wishes();
    let brokers = wishes.broker_maintenance.iter().filter(|(_, wish)| holds(wish));
    let leaving = wishes.decommissioned.iter().filter(|(_, wish)| holds(wish));
    Maintenance {
        cluster: wishes.maintenance.as_ref().filter(holds).cloned(),
        brokers: brokers.map(|(id, wish)| (*id, wish.clone())).collect(),
        decommissioned: leaving.map(|(id, wish)| (*id, wish.clone())).collect(),
    }
}

fn finding(subject: Target, wish: &Wish, now: Now, effect: &str) -> Finding {
    let mut message = format!("{subject} is under maintenance by {}: {effect}", wish.by);
    if !wish.reason.is_empty() {
        message.push_str(&format!(" ({})", wish.reason));
    }
    let waits_for = match wish.until {
        Some(until) => format!("its end in {}", left(until, now)),
        None => "a person to end it".to_owned(),
    };
    Finding::new(kinds::MAINTENANCE, subject, Severity::Info, message).waiting_for(waits_for)
}

/// How many replicas a broker has, and how many of them are the only ones of their partitions. `None` if that is not known.
fn held_by(broker: BrokerId, state: &State) -> Option<(usize, usize)> {
    let topics = state.get::<Topics>()?.value;
    let mut held = (0, 0);
    for partition in topics.0.values().flat_map(|topic| &topic.partitions) {
        if partition.replicas.contains(&broker) {
            held.0 += 1;
            held.1 += usize::from(partition.isr.iter().all(|id| *id == broker));
        }
    }
    Some(held)
}

fn decommission(broker: BrokerId, wish: &Wish, held: Option<(usize, usize)>, now: Now) -> Finding {
    let then = match held {
        Some((0, _)) => "it is empty, and may be stopped".to_owned(),
        Some((all, 0)) => format!("it gets no replicas, and has {all}"),
        Some((all, only)) => {
            format!("it gets no replicas, and has {all}, of which {only} have no other copy in sync")
        }
        None => "it gets no replicas".to_owned(),
    };
    let mut message = format!("broker {broker} is taken out of service by {}: {then}", wish.by);
    if !wish.reason.is_empty() {
        message.push_str(&format!(" ({})", wish.reason));
    }
    let waits_for = match wish.until {
        Some(until) => format!("its end in {}", left(until, now)),
        None => "a person to take it back, if it is to stay".to_owned(),
    };
    let finding = Finding::new(kinds::DECOMMISSIONED, Target::Broker(broker), Severity::Info, message);
    finding.waiting_for(waits_for)
}

/// The time until `until` in whole seconds.
fn left(until: Timestamp, now: Now) -> HumanDuration {
    HumanDuration(Duration::from_secs(until.since(now.wall).as_secs()))
}

#[cfg(test)]
mod tests {
    use cluster::BrokerId;
    use expect_test::expect;

    use crate::attributes::Maintenance;
    use crate::testing::World;

    #[test]
    fn says_what_is_under_maintenance_until_it_ends() {
        let mut world = World::new("b1\nb2");
        world.wishes.maintenance = Some(world.wish(None));
        world.wishes.broker_maintenance.insert(BrokerId(2), world.wish(Some(60)));
        expect![[r"
            info maintenance [broker 2] broker 2 is under maintenance by ann: it is neither healed away from nor given replicas (new disks) -- waits for its end in 1s
            info maintenance [cluster] cluster is under maintenance by ann: nothing is done to the cluster (new disks) -- waits for a person to end it
        "]]
        .assert_eq(&world.watch(59).text());
        world.wishes.decommissioned.insert(BrokerId(1), world.wish(Some(60)));
        let cycle = world.watch(1);
        assert!(cycle.text().contains("broker 1 is taken out of service by ann"), "{}", cycle.text());
        let maintenance = cycle.state.get::<Maintenance>().unwrap().value;
        assert!(maintenance.brokers.is_empty() && maintenance.cluster.is_some());
    }
}
