//! The plugins of a configuration that does not name any: enough to find and heal dead brokers by the Kafka protocol
//! alone.

use super::entries::{Kind, Plugin, Types};
use super::node::{Node, Value};

/// In the order in which they run: what reads comes before what derives from it.
const MONITORS: [&str; 6] = [
    "kafka_metadata",
    "broker_probe",
    "maintenance",
    "dead_brokers",
    "under_replicated_partitions",
    "degraded_brokers",
];
const OPERATORS: [&str; 1] = ["under_replicated_partitions"];
const ACTIONS: [&str; 3] = ["reassign_partitions", "elect_leaders", "report_operation"];

/// The plugins that take the place of an absent list, as far as their types are registered.
pub(super) fn plugins(kind: Kind, types: &Types<'_>) -> Vec<Plugin> {
    let (wanted, known): (&[&str], _) = match kind {
        Kind::Monitor => (&MONITORS, &types.monitors),
        Kind::Operator => (&OPERATORS, &types.operators),
        Kind::Action => (&ACTIONS, &types.actions),
    };
    let plugin = |name: &&str| Plugin {
        name: (*name).to_owned(),
        type_name: (*name).to_owned(),
        enabled: true,
        section: Node { span: None, value: Value::Mapping(Vec::new()) },
        span: None,
    };
    wanted.iter().filter(|name| known.contains(name)).map(plugin).collect()
}
