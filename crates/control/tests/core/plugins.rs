//! An operator and a monitor for tests that look at what the core does with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster::{BrokerId, TopicPartition};
use control::event::{ReassignPartitions, names};
use control::*;

/// Plans, without much thought, a new replica for each one on a dead broker.
pub(crate) struct Healer {
    pub(crate) throttle: Option<u64>,
}

impl Operator for Healer {
    fn name(&self) -> &str {
        "healer"
    }
    fn emits(&self) -> Vec<String> {
        vec![names::REASSIGN_PARTITIONS.to_owned()]
    }
    fn operate(&self, state: &State) -> Verdict {
        let (Some(topics), Some(liveness), Some(dead)) =
            (state.get::<Topics>(), state.get::<Liveness>(), state.get::<DeadBrokers>())
        else {
            return Verdict::default();
        };
        let mut order = ReassignPartitions { throttle_bytes_per_second: self.throttle, ..Default::default() };
        for (name, topic) in &topics.value.0 {
            for (number, p) in topic.partitions.iter().enumerate() {
                let gone: Vec<BrokerId> =
                    p.replicas.iter().copied().filter(|b| dead.value.dead.contains_key(b)).collect();
                let mut to = p.replicas.to_vec();
                let mut free = liveness.value.live.keys().filter(|b| !p.replicas.contains(b));
                for replica in to.iter_mut().filter(|b| gone.contains(b)) {
                    if let Some(free) = free.next() {
                        *replica = *free;
                    }
                }
                if !gone.is_empty() && to != *p.replicas {
                    order.moves.push(control::event::PartitionMove {
                        partition: TopicPartition::new(name.clone(), number as i32),
                        from: p.replicas.to_vec(),
                        to,
                        dead: gone,
                        leaving: Vec::new(),
                        bytes: Some(1_000),
                        in_sync: p.isr.len() as u32,
                        reason: String::new(),
                    });
                }
            }
        }
        let may_give_up = self.may_give_up(state, liveness.value, dead.value);
        if order.moves.is_empty() {
            return Verdict { may_give_up, ..Verdict::default() };
        }
        let cause = IncidentKey::new("under_replicated", Target::Cluster);
        let event = Event::new(names::REASSIGN_PARTITIONS, Target::Cluster, "replicas are dead", &order);
        Verdict { events: vec![event.caused_by(cause)], findings: Vec::new(), may_give_up }
    }
}

/// A monitor that stops the cycle when it is told to.
pub(crate) struct Stopper(pub(crate) Arc<AtomicBool>);

impl Monitor for Stopper {
    fn name(&self) -> &str {
        "stopper"
    }
    fn observe(&self, state: &mut State) -> Flow {
        if !self.0.load(Ordering::Relaxed) {
            return Flow::Continue;
        }
        state.report(Finding::new("blind", Target::Cluster, Severity::Critical, "nothing can be seen"));
        Flow::Stop
    }
}
