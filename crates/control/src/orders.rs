//! Orders of people are applied at the beginning of a step.

use std::sync::Arc;

use crate::event::{Event, Message, names};
use crate::execution::{Execution, Work};
use crate::finding::{Severity, Target};
use crate::memory::Memory;
use crate::order::{Order, OrderKind, Scope, Wish, Wishes};
use crate::record::{CORE, Line, RecordKind};
use crate::step::IDENTITY_MISMATCH;
use crate::time::Now;

/// What came of the orders.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) lines: Vec<Line>,
    pub(crate) events: Vec<Event>,
}

/// Applies the orders, and ends wishes that were given a time.
pub(crate) fn apply(memory: &mut Memory, orders: Vec<Order>, now: Now) -> Applied {
    let mut applied = Applied::default();
    let mut wishes = Wishes::clone(&memory.wishes);
    for order in orders {
        let (name, target, result) = apply_one(memory, &mut wishes, &order, now, &mut applied);
        let line =
            Line::new(RecordKind::Order, &order.by, name, &target).because(&order.reason).result(result);
        applied.lines.push(line);
    }
    expire(&mut wishes, now, &mut applied);
    if *memory.wishes != wishes {
        memory.wishes = Arc::new(wishes);
    }
    applied
}

fn apply_one(
    memory: &mut Memory,
    wishes: &mut Wishes,
    order: &Order,
    now: Now,
    applied: &mut Applied,
) -> (&'static str, Target, String) {
    let wish = |until| Wish { by: order.by.clone(), reason: order.reason.clone(), since: now.wall, until };
    match &order.what {
        OrderKind::Pause => {
            wishes.paused = Some(wish(None));
            ("pause", Target::Cluster, "paused".to_owned())
        }
        OrderKind::Resume => {
            let was = wishes.paused.take().is_some();
            wishes.resumed = Some(now.wall);
            ("resume", Target::Cluster, if was { "resumed" } else { "was not paused" }.to_owned())
        }
        OrderKind::Approve => {
            wishes.approved = Some(wish(None));
            wishes.approved_brokers = None;
            ("approve", Target::Cluster, "approved".to_owned())
        }
        OrderKind::Cancel { execution } => {
            let count = cancel(memory, *execution, &order.by, now);
            (
                "cancel",
                Target::Cluster,
                format!("{count} execution{} cancelled", if count == 1 { "" } else { "s" }),
            )
        }
        OrderKind::MaintenanceOn { scope, until } => {
            match scope {
                Scope::Cluster => wishes.maintenance = Some(wish(*until)),
                Scope::Broker(broker) => {
                    wishes.broker_maintenance.insert(*broker, wish(*until));
                }
            }
            applied.events.push(maintenance_notice(target_of(*scope), true, &order.by, &order.reason));
            ("maintenance_on", target_of(*scope), "maintenance is on".to_owned())
        }
        OrderKind::MaintenanceOff { scope } => {
            let was = match scope {
                Scope::Cluster => wishes.maintenance.take().is_some(),
                Scope::Broker(broker) => wishes.broker_maintenance.remove(broker).is_some(),
            };
            if was {
                applied.events.push(maintenance_notice(target_of(*scope), false, &order.by, &order.reason));
            }
            let result = if was { "maintenance is off" } else { "was not under maintenance" };
            ("maintenance_off", target_of(*scope), result.to_owned())
        }
        OrderKind::AcceptIdentity => {
            let result = accept_identity(memory, now);
            ("accept_identity", Target::Cluster, result.to_owned())
        }
    }
}

/// Returns how many executions were cancelled.
fn cancel(memory: &mut Memory, only: Option<u64>, by: &str, now: Now) -> usize {
    let mut count = 0;
    let concerned = |execution: &Execution| {
        let changes = !crate::guard::is_message(&execution.event.name);
        execution.is_running() && only.map_or(changes, |only| execution.id.0 == only)
    };
    if !memory.executions.iter().any(|execution| concerned(execution)) {
        return 0;
    }
    for shared in Arc::make_mut(&mut memory.executions) {
        if !concerned(shared) {
            continue;
        }
        let execution = Arc::make_mut(shared);
        match &mut execution.work {
            Work::Reassign(work) => {
                work.cancelled.get_or_insert_with(|| by.to_owned());
                // A person may ask again after cancels that had no effect.
                for m in &mut work.moves {
                    m.tries = 0;
                }
                count += 1;
            }
            Work::Once(once) if once.under_way.is_none() => {
                execution.ended = Some((now.wall, format!("cancelled by {by}")));
                count += 1;
            }
            // An act that is out cannot be called back.
            Work::Once(_) => {}
        }
    }
    count
}

/// What was remembered belongs to the other cluster.
fn accept_identity(memory: &mut Memory, now: Now) -> &'static str {
    if memory.incidents.get(IDENTITY_MISMATCH, &Target::Cluster).is_none() {
        return "nothing to accept: the identity is as remembered";
    }
    memory.cluster_id = None;
    memory.brokers = Arc::default();
    if memory.executions.iter().any(|execution| execution.is_running()) {
        for shared in Arc::make_mut(&mut memory.executions).iter_mut().filter(|e| e.is_running()) {
            Arc::make_mut(shared).ended = Some((now.wall, "it belonged to another cluster".to_owned()));
        }
    }
    "the identity that is seen next is taken as the right one"
}

fn expire(wishes: &mut Wishes, now: Now, applied: &mut Applied) {
    let is_over = |wish: &Wish| wish.until.is_some_and(|until| until <= now.wall);
    let mut over = Vec::new();
    if wishes.maintenance.as_ref().is_some_and(is_over) {
        wishes.maintenance = None;
        over.push(Target::Cluster);
    }
    wishes.broker_maintenance.retain(|broker, wish| {
        if is_over(wish) {
            over.push(Target::Broker(*broker));
        }
        !is_over(wish)
    });
    for target in over {
        let why = "its time is over";
        let line = Line::new(RecordKind::Order, CORE, "maintenance_off", &target);
        applied.lines.push(line.because(why).result("maintenance is off"));
        applied.events.push(maintenance_notice(target, false, CORE, why));
    }
}

fn target_of(scope: Scope) -> Target {
    match scope {
        Scope::Cluster => Target::Cluster,
        Scope::Broker(broker) => Target::Broker(broker),
    }
}

fn maintenance_notice(target: Target, on: bool, by: &str, reason: &str) -> Event {
    let what = if on { "on" } else { "off" };
    let message = Message {
        subject: format!("maintenance of {target} is {what}"),
        body: format!("By {by}: {reason}"),
        severity: Severity::Info,
    };
    Event::new(names::NOTIFY_MAINTENANCE_MODE, target, reason, &message)
}
