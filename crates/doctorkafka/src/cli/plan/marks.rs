//! What a question says of single brokers, topics and partitions.

use std::collections::BTreeMap;

use clap::Args;
use placement::Named;
use planner::balance::{Cluster, Goal};

use super::{ordinal, partition_ordinal, topics, twice};

/// What sets brokers, topics and partitions apart.
#[derive(Args, Debug, Default)]
pub(super) struct Marks {
    /// Brokers that are given no leadership. What they lead they may keep.
    #[arg(long, value_name = "ID,...", value_delimiter = ',', allow_negative_numbers = true)]
    exclude_leadership: Vec<i32>,
    /// Partitions that stay as they are, but for replicas on dead brokers, such as `orders-3`.
    #[arg(long, value_name = "TOPIC-NUMBER,...", value_delimiter = ',')]
    freeze: Vec<String>,
    /// MinTopicLeadersPerBrokerGoal: each broker leads so many partitions of a topic.
    #[arg(long, value_name = "TOPIC=NUMBER,...", value_delimiter = ',')]
    min_leaders: Vec<String>,
    /// A broker set, such as `blue=1,2,3`. Once for each set.
    #[arg(long, value_name = "SET=ID,...")]
    broker_set: Vec<String>,
    /// BrokerSetAwareGoal: replicas of a topic stand on brokers of a set.
    #[arg(long, value_name = "TOPIC=SET,...", value_delimiter = ',')]
    bind: Vec<String>,
}

impl Marks {
    /// Goals that judge named topics alone, and the option that names some where none does.
    pub(super) fn topics_of_goals(&self) -> [(Goal, Result<(), &'static str>); 2] {
        let named =
            |option: &'static str, some: &[String]| if some.is_empty() { Err(option) } else { Ok(()) };
        [
            (Goal::BrokerSetAware, named("--bind", &self.bind)),
            (Goal::MinTopicLeaders, named("--min-leaders", &self.min_leaders)),
        ]
    }

    /// The cluster with all that is said of it.
    pub(super) fn set(&self, named: &Named) -> Result<Cluster, String> {
        let brokers =
            |ids: &[i32]| ids.iter().map(|id| ordinal(named, *id)).collect::<Result<Vec<u32>, String>>();
        let topic = |name: &str| Ok::<u32, String>(topics(named, &[name.to_owned()])?[0]);
        let mut cluster = named.cluster.clone().without_leadership(&brokers(&self.exclude_leadership)?);
        let frozen: Result<Vec<u32>, String> =
            self.freeze.iter().map(|name| partition_ordinal(named, name)).collect();
        cluster = cluster.with_frozen(&frozen?);
        for (name, least) in pairs(&self.min_leaders, "--min-leaders", "TOPIC=NUMBER")? {
            let least = least.parse().ok().filter(|least| *least > 0);
            let least = least.ok_or_else(|| format!("--min-leaders: {name} needs a number of 1 or more"))?;
            cluster = cluster.with_required_leaders(topic(name)?, least);
        }
        let sets = pairs(&self.broker_set, "--broker-set", "SET=ID,...")?;
        let bound = pairs(&self.bind, "--bind", "TOPIC=SET")?;
        if let Some(stranger) = bound.values().find(|set| !sets.contains_key(*set)) {
            return Err(format!("there is no broker set {stranger}"));
        }
        let mut taken: BTreeMap<i32, &str> = BTreeMap::new();
        for ((set, ids), number) in sets.iter().zip(0..) {
            let id = |id: &str| id.trim().parse().map_err(|_| format!("--broker-set {set}: `{id}` is no id"));
            let ids = ids.split(',').map(id).collect::<Result<Vec<i32>, String>>()?;
            if let Some((id, other)) = ids.iter().find_map(|id| Some((id, *taken.get(id)?))) {
                return Err(format!("broker {id} is in two sets, {other} and {set}"));
            }
            if let Some(id) = twice(&ids) {
                return Err(format!("--broker-set {set}: broker {id} is named twice"));
            }
            taken.extend(ids.iter().map(|id| (*id, *set)));
            let own = bound.iter().filter(|(_, of)| *of == set).map(|(name, _)| topic(name));
            let own = own.collect::<Result<Vec<u32>, String>>()?;
            if own.is_empty() {
                return Err(format!("no topic is bound to broker set {set}: --bind does that"));
            }
            cluster = cluster.with_broker_set(number, &brokers(&ids)?, &own);
        }
        Ok(cluster)
    }
}

/// What stands on both sides of an equals sign, by the left.
fn pairs<'a>(given: &'a [String], option: &str, form: &str) -> Result<BTreeMap<&'a str, &'a str>, String> {
    let mut pairs = BTreeMap::new();
    for text in given {
        let pair = text.split_once('=').filter(|(left, right)| !left.is_empty() && !right.is_empty());
        let (left, right) = pair.ok_or_else(|| format!("{option}: `{text}` is not {form}"))?;
        if pairs.insert(left, right).is_some() {
            return Err(format!("{option}: {left} is named twice"));
        }
    }
    Ok(pairs)
}
