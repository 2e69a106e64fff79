//! Orders of people are applied at the beginning of a step.

use std::sync::Arc;
use std::time::Duration;

use cluster::BrokerId;

use crate::by_hand::ByHand;
use crate::event::{Event, Message, names};
use crate::execution::{CANCELLED_BY_OTHERS, Execution, MovePhase, MoveState, Work};
use crate::finding::{Severity, Target};
use crate::guard::brake::{MASS_FAILURE, duration_words};
use crate::memory::Memory;
use crate::order::{Order, OrderKind, REFUSED, Scope, Wish, Wishes};
use crate::record::{CORE, Line, RecordKind};
use crate::step::IDENTITY_MISMATCH;
use crate::time::Now;

/// What a person may not expect of a cancel. Nothing is done again while the service is paused.
const AGAIN: &str = "; what is still needed is done again after a cool-down, unless the service is paused (doctorkafka pause)";
/// What becomes of an act that was out when it was cancelled.
const STOPPED: &str =
    "its program is asked to end, and killed if it does not; what it has done by then is not known";
/// More brokers than these are not listed to a person.
const LISTED: usize = 50;

/// What came of the orders.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) lines: Vec<Line>,
    pub(crate) events: Vec<Event>,
    /// Replacements that people ask for, with the places of their lines: what comes of them is known once the cluster was looked at.
    pub(crate) by_hand: Vec<(usize, ByHand)>,
}

/// Applies the orders, and ends wishes that were given a time.
pub(crate) fn apply(memory: &mut Memory, orders: Vec<Order>, now: Now) -> Applied {
    let mut applied = Applied::default();
    let mut wishes = Wishes::clone(&memory.wishes);
    for order in orders {
        let place = applied.lines.len();
        let (name, target, result) = apply_one(memory, &mut wishes, &order, now, place, &mut applied);
        let line =
            Line::new(RecordKind::Order, &order.by, name, &target).because(&order.reason).result(result);
        applied.lines.push(line);
    }
    wishes.count(now);
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
    place: usize,
    applied: &mut Applied,
) -> Taken {
    let wish = |until| Wish { by: order.by.clone(), reason: order.reason.clone(), since: now.wall, until };
    match &order.what {
        OrderKind::Pause => {
            wishes.paused = Some(wish(None));
            ("pause", Target::Cluster, "paused".to_owned() + &replacing(memory, Scope::Cluster))
        }
        OrderKind::Resume => {
            let was = wishes.paused.take().is_some();
            want_again(memory);
            (
                "resume",
                Target::Cluster,
                if was { "resumed" } else { "was not paused; what was cancelled may be done again" }
                    .to_owned(),
            )
        }
        OrderKind::Approve => ("approve", Target::Cluster, approve(memory, wishes, wish(None))),
        OrderKind::Cancel { execution } => {
            let count = cancel(memory, *execution, &order.by, now);
            let result = match (count, execution) {
                (0, Some(id)) => refused(&why_not_cancelled(memory, *id)),
                (0, None) => refused("nothing could be cancelled: no moves are under way"),
                (_, Some(id)) if is_being_stopped(memory, *id) => STOPPED.to_owned(),
                (1, _) => format!("1 execution cancelled{AGAIN}"),
                _ => format!("{count} executions cancelled{AGAIN}"),
            };
            ("cancel", Target::Cluster, result)
        }
        OrderKind::MaintenanceOn { scope, until } => {
            maintenance_on(memory, wishes, *scope, wish(*until), applied)
        }
        OrderKind::MaintenanceOff { scope } => maintenance_off(memory, wishes, *scope, order, applied),
        OrderKind::DecommissionOn { broker, until } => {
            decommission(memory, wishes, *broker, Some(wish(*until)), order, applied)
        }
        OrderKind::DecommissionOff { broker } => decommission(memory, wishes, *broker, None, order, applied),
        OrderKind::Replace { broker, accept_data_loss, only_ask } => {
            let target = Target::Broker(*broker);
            if let Some(why) = unknown_broker(memory, Scope::Broker(*broker)) {
                return ("replace", target, refused(&why));
            }
            let wanted = ByHand {
                broker: *broker,
                by: order.by.clone(),
                reason: order.reason.clone(),
                accept_data_loss: *accept_data_loss,
                only_ask: *only_ask,
                is_plugin: false,
            };
            applied.by_hand.push((place, wanted));
            ("replace", target, String::new())
        }
        OrderKind::AcceptIdentity => {
            let result = accept_identity(memory, now);
            ("accept_identity", Target::Cluster, result)
        }
    }
}

/// The name of an order, what it is about, and what came of it.
type Taken = (&'static str, Target, String);

fn maintenance_on(
    memory: &Memory,
    wishes: &mut Wishes,
    scope: Scope,
    wish: Wish,
    applied: &mut Applied,
) -> Taken {
    let (name, target) = ("maintenance_on", target_of(scope));
    if let Some(why) = unknown_broker(memory, scope) {
        return (name, target, refused(&why));
    }
    applied.events.push(notice("maintenance", target.clone(), true, &wish.by, &wish.reason));
    let result =
        format!("maintenance is on for {}{}{}", whom(&target), lasts(&wish), replacing(memory, scope));
    match scope {
        Scope::Cluster => wishes.maintenance = Some(wish),
        Scope::Broker(broker) => {
            wishes.broker_maintenance.insert(broker, wish);
        }
    }
    (name, target, result)
}

fn maintenance_off(
    memory: &Memory,
    wishes: &mut Wishes,
    scope: Scope,
    order: &Order,
    applied: &mut Applied,
) -> Taken {
    let target = target_of(scope);
    let was = match scope {
        Scope::Cluster => wishes.maintenance.take().is_some(),
        Scope::Broker(broker) => wishes.broker_maintenance.remove(&broker).is_some(),
    };
    if was {
        applied.events.push(notice("maintenance", target.clone(), false, &order.by, &order.reason));
    }
    let result = match unknown_broker(memory, scope) {
        _ if was => "maintenance is off".to_owned(),
        Some(why) => refused(&why),
        None => "was not under maintenance".to_owned(),
    };
    ("maintenance_off", target, result)
}

/// With a wish the broker is to go; without one it is to stay.
fn decommission(
    memory: &Memory,
    wishes: &mut Wishes,
    broker: BrokerId,
    wish: Option<Wish>,
    order: &Order,
    applied: &mut Applied,
) -> Taken {
    let (target, on) = (Target::Broker(broker), wish.is_some());
    let (name, result) = match wish {
        Some(wish) => {
            if let Some(why) = unknown_broker(memory, Scope::Broker(broker)) {
                return ("decommission_on", target, refused(&why));
            }
            let replacing = replacing(memory, Scope::Broker(broker));
            let result = format!("{target} is being taken out of service{}{replacing}", lasts(&wish));
            wishes.decommissioned.insert(broker, wish);
            ("decommission_on", result)
        }
        None if wishes.decommissioned.remove(&broker).is_none() => {
            return ("decommission_off", target, "it was not being taken out of service".to_owned());
        }
        None => ("decommission_off", format!("{target} stays in service")),
    };
    applied.events.push(notice("decommission", target.clone(), on, &order.by, &order.reason));
    (name, target, result)
}

/// A program that runs already is not ended by a wish; whoever has one must know.
fn replacing(memory: &Memory, scope: Scope) -> String {
    let concerns = |target: &Target| scope == Scope::Cluster || *target == target_of(scope);
    let mut running = memory.executions.iter().filter(|execution| execution.is_running());
    let found = running.find(|it| it.event.name == names::REPLACE_INSTANCE && concerns(&it.event.target));
    found.map_or_else(String::new, |it| {
        let (id, target) = (it.id.0, &it.event.target);
        format!("; the host of {target} is being replaced at this moment: doctorkafka cancel {id} stops that")
    })
}

fn whom(target: &Target) -> String {
    match target {
        Target::Cluster => "the whole cluster".to_owned(),
        other => other.to_string(),
    }
}

/// For how long a wish holds from its beginning, so that a slip is seen at once.
fn lasts(wish: &Wish) -> String {
    match wish.until {
        // It is some moments from the order to here.
        Some(until) => {
            let seconds = until.since(wish.since).as_millis().div_ceil(5_000) * 5;
            format!(
                ", for {}",
                duration_words(Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)))
            )
        }
        None => ", until it is taken back".to_owned(),
    }
}

/// An approval is for the brokers that are seen to be absent, and for nobody else.
fn approve(memory: &Memory, wishes: &mut Wishes, wish: Wish) -> String {
    if memory.incidents.get(MASS_FAILURE, &Target::Cluster).is_none() {
        return refused("there is nothing to approve: no mass failure");
    }
    let absent = memory.brake.absent();
    if absent.is_empty() {
        return refused(
            "it is not known yet which brokers are absent: please repeat it once doctorkafka status shows them",
        );
    }
    wishes.approved = Some(wish);
    wishes.approved_brokers = Some(absent.clone());
    "approved".to_owned()
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
                if work.only_its_throttle_is_left() {
                    // Only where it is meant: whoever cancels all moves does not mean throttles of brokers that are away.
                    if only.is_none() {
                        continue;
                    }
                    work.leave_throttle = true;
                }
                work.cancelled.get_or_insert_with(|| by.to_owned());
                work.wanted_again = false;
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
            // Only where it is meant: whoever cancels all moves does not mean a program that replaces a host.
            Work::Once(once) if once.can_stop && only.is_some() => {
                once.cancelled.get_or_insert_with(|| by.to_owned());
                count += 1;
            }
            // It cannot be called back.
            Work::Once(_) => {}
        }
    }
    count
}

fn is_being_stopped(memory: &Memory, id: u64) -> bool {
    let stops = |work: &Work| matches!(work, Work::Once(once) if once.cancelled.is_some());
    memory.executions.iter().any(|it| it.id.0 == id && it.is_running() && stops(&it.work))
}

/// Whether somebody has cancelled one of the moves past us.
fn by_others(moves: &[MoveState]) -> bool {
    moves.iter().any(|m| matches!(&m.phase, MovePhase::Dropped { why } if why == CANCELLED_BY_OTHERS))
}

/// What was cancelled, or is being cancelled, may be done again.
fn want_again(memory: &mut Memory) {
    let concerned = |execution: &Execution| match &execution.work {
        Work::Reassign(work) => !work.wanted_again && (work.cancelled.is_some() || by_others(&work.moves)),
        Work::Once(_) => false,
    };
    if !memory.executions.iter().any(|execution| concerned(execution)) {
        return;
    }
    for shared in Arc::make_mut(&mut memory.executions) {
        if concerned(shared)
            && let Work::Reassign(work) = &mut Arc::make_mut(shared).work
        {
            work.wanted_again = true;
        }
    }
}

/// The result of an order that is not carried out.
pub(crate) fn refused(why: &str) -> String {
    format!("{REFUSED}{why}")
}

fn why_not_cancelled(memory: &Memory, id: u64) -> String {
    match memory.executions.iter().find(|execution| execution.id.0 == id) {
        None => format!("there is no execution {id}"),
        Some(execution) => match &execution.ended {
            Some((_, result)) => format!("execution {id} has ended: {result}"),
            None => format!("execution {id} is an act that is out, which cannot be called back"),
        },
    }
}

/// Says so if the broker is one that nobody knows: most likely a slip, and the broker that was meant would be left
/// without protection. Before the first look nothing is known, and everything is taken.
fn unknown_broker(memory: &Memory, scope: Scope) -> Option<String> {
    let Scope::Broker(broker) = scope else { return None };
    // One that was gone before we came has been seen by nobody, but what is wrong with it is known.
    let has_trouble = || memory.incidents.open.keys().any(|key| key.subject == Target::Broker(broker));
    if memory.brokers.is_empty() || memory.brokers.contains_key(&broker) || has_trouble() {
        return None;
    }
    let known: Vec<String> = memory.brokers.keys().take(LISTED).map(ToString::to_string).collect();
    let more = if memory.brokers.len() > LISTED { ", …" } else { "" };
    Some(format!("there is no broker {broker}; the brokers are {}{more}", known.join(", ")))
}

/// What was remembered belongs to the other cluster.
fn accept_identity(memory: &mut Memory, now: Now) -> String {
    if memory.incidents.get(IDENTITY_MISMATCH, &Target::Cluster).is_none() {
        return refused("there is nothing to accept: the identity is as remembered");
    }
    memory.cluster_id = None;
    memory.brokers = Arc::default();
    if memory.executions.iter().any(|execution| execution.is_running()) {
        for shared in Arc::make_mut(&mut memory.executions).iter_mut().filter(|e| e.is_running()) {
            Arc::make_mut(shared).ended = Some((now.wall, "it belonged to another cluster".to_owned()));
        }
    }
    "the identity that is seen next is taken as the right one".to_owned()
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
        applied.events.push(notice("maintenance", target, false, CORE, why));
    }
    let ended: Vec<_> =
        wishes.decommissioned.iter().filter(|(_, wish)| is_over(wish)).map(|(id, _)| *id).collect();
    for broker in ended {
        wishes.decommissioned.remove(&broker);
        let (target, why) = (Target::Broker(broker), "its time is over");
        let line = Line::new(RecordKind::Order, CORE, "decommission_off", &target);
        applied.lines.push(line.because(why).result("it stays in service"));
        applied.events.push(notice("decommission", target, false, CORE, why));
    }
}

fn target_of(scope: Scope) -> Target {
    match scope {
        Scope::Cluster => Target::Cluster,
        Scope::Broker(broker) => Target::Broker(broker),
    }
}

fn notice(of: &str, target: Target, on: bool, by: &str, reason: &str) -> Event {
    let what = if on { "on" } else { "off" };
    let message = Message {
        subject: format!("{of} of {target} is {what}"),
        body: format!("By {by}: {reason}"),
        severity: Severity::Info,
    };
    Event::new(names::NOTIFY_MAINTENANCE_MODE, target, reason, &message)
}

#[cfg(test)]
mod tests {
    use cluster::BrokerAddress;

    use super::*;
    use crate::memory::KnownBroker;
    use crate::time::Timestamp;

    fn give(memory: &mut Memory, what: OrderKind) -> String {
        let now = Now { wall: Timestamp(0), ..Now::default() };
        let order = Order { by: "ann".to_owned(), reason: String::new(), what };
        let line = apply(memory, vec![order], now).lines.remove(0);
        line.into_record(1, now.wall, "c", None).result
    }

    fn on(broker: i32) -> OrderKind {
        OrderKind::MaintenanceOn { scope: Scope::Broker(BrokerId(broker)), until: None }
    }

    #[test]
    fn orders_that_would_do_nothing_are_refused() {
        let mut memory = Memory::default();
        assert_eq!(
            give(&mut memory, OrderKind::Approve),
            "refused: there is nothing to approve: no mass failure"
        );
        assert_eq!(
            give(&mut memory, OrderKind::Cancel { execution: Some(7) }),
            "refused: there is no execution 7"
        );
        assert!(
            give(&mut memory, OrderKind::AcceptIdentity).starts_with("refused: there is nothing to accept")
        );
        assert_eq!(*memory.wishes, Wishes::default());
    }

    #[test]
    fn a_decommission_ends_by_itself_or_when_it_is_taken_back() {
        let mut memory = Memory::default();
        let broker = BrokerId(3);
        let on = |until| OrderKind::DecommissionOn { broker, until };
        let off = || OrderKind::DecommissionOff { broker };
        assert_eq!(give(&mut memory, off()), "it was not being taken out of service");
        assert_eq!(
            give(&mut memory, on(None)),
            "broker 3 is being taken out of service, until it is taken back"
        );
        assert_eq!(memory.wishes.decommissioned[&broker].by, "ann");
        assert_eq!(give(&mut memory, off()), "broker 3 stays in service");
        let for_a_time = give(&mut memory, on(Some(Timestamp(5_000))));
        assert_eq!(for_a_time, "broker 3 is being taken out of service, for 5.0 s");
        let at = |ms: i64| Now { wall: Timestamp(ms), tick: crate::time::Tick(ms.unsigned_abs()) };
        assert!(apply(&mut memory, Vec::new(), at(4_999)).lines.is_empty());
        let over = apply(&mut memory, Vec::new(), at(5_000));
        assert_eq!((over.lines.len(), over.events.len()), (1, 1));
        assert!(memory.wishes.decommissioned.is_empty());
    }

    #[test]
    fn a_broker_that_nobody_knows_is_refused_once_brokers_are_known() {
        let mut memory = Memory::default();
        assert_eq!(give(&mut memory, on(99)), "maintenance is on for broker 99, until it is taken back");
        let address = BrokerAddress { host: "h".into(), port: 1 };
        let broker = |id| cluster::Broker { id: BrokerId(id), address: address.clone(), rack: None };
        let known =
            |id| (BrokerId(id), KnownBroker { broker: broker(id), last_live: Timestamp(0), listed: None });
        memory.brokers = Arc::new([known(1), known(2)].into());
        assert_eq!(give(&mut memory, on(98)), "refused: there is no broker 98; the brokers are 1, 2");
        assert!(!memory.wishes.broker_maintenance.contains_key(&BrokerId(98)));
        assert_eq!(give(&mut memory, on(2)), "maintenance is on for broker 2, until it is taken back");
        let off = |broker| OrderKind::MaintenanceOff { scope: Scope::Broker(BrokerId(broker)) };
        assert!(give(&mut memory, off(98)).starts_with("refused: there is no broker 98"));
        assert_eq!(give(&mut memory, off(99)), "maintenance is off", "a wish can always be taken back");
    }
}
