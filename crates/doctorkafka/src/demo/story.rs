//! What the narrator says. He tells what is done to the cluster, and the rule that says what follows; what does follow is
//! told by those to whom it happens.

use std::time::Duration;

use cluster::BrokerId;
use cluster::notation::ClusterText;
use control::config::HumanDuration;
use sim::fault::Party;
use sim::scenario::Wanted;
use sim::world::ProcessState;
use sim::{Fault, SharedWorld};

use super::Demo;
use super::lines::{Line, Lines, clock};
use super::picture::worth_saying;
use crate::api::status::ClusterStatus;

/// Before the story begins.
pub(super) fn beginning(demo: &Demo) -> Vec<Line> {
    let Demo { speed, seed, .. } = demo;
    let cluster = demo.cluster();
    let racks: std::collections::BTreeSet<_> =
        cluster.brokers.values().filter_map(|text| text.broker.rack.as_ref()).collect();
    let partitions: usize = cluster.topics.values().map(|topic| topic.partitions.len()).sum();
    let placed = match racks.len() {
        0 => String::new(),
        racks => format!(" in {}", counted(racks, "rack")),
    };
    let end = match demo.end() {
        None => "It goes on until you press Ctrl-C.".to_owned(),
        Some(end) => {
            format!("It ends when nothing more is to happen, at the latest at {} of its time.", clock(end))
        }
    };
    let lines = [
        format!(
            "A simulated Kafka cluster: {}{placed}, {}, under load.",
            counted(cluster.brokers.len(), "broker"),
            counted(partitions, "partition")
        ),
        format!(
            "Its time runs {speed} times as fast as yours; its chance is seed {seed}. Nothing outside of this process is touched."
        ),
        format!(
            "DoctorKafka looks after it as it would after a real one, with a grace of {} instead of 5 min.",
            HumanDuration(demo.grace())
        ),
        end,
    ];
    lines.into_iter().map(Line::aside).collect()
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// A fault as the narrator tells it, with the rule for what follows.
pub(super) fn of_fault(fault: &Fault, lasting: Option<Duration>, cluster: &ClusterText) -> String {
    let time = lasting.map_or_else(String::new, |time| format!(", for {}", HumanDuration(time)));
    match fault {
        Fault::Kill(who) => format!(
            "{who} is killed (kill -9). Kafka drops it after its session time-out; when it has been away for the whole \
             grace, its replicas move to the others."
        ),
        Fault::ShutDown(who) => format!(
            "{who} is shut down in an orderly way: it gives its leaderships away first. Away is away: the grace counts."
        ),
        Fault::Restart(who) => {
            format!("{who} is started again (and shut down before, if it runs). What has been moved is not moved back.")
        }
        Fault::Recover(who, time) => format!(
            "{who} is killed and started again, and checks its logs for {} before it serves.",
            HumanDuration(*time)
        ),
        Fault::Replace(who) => format!("The host of {who} is replaced by one with empty disks."),
        Fault::Pause(who, time) => {
            format!("The process of {who} stands still for {}.", HumanDuration(*time))
        }
        Fault::Flap(who) => format!("{who} begins to go and come, a minute apart, six times."),
        Fault::SlowDisk(who, rate) => format!("The disks of {who} write no more than {rate} bytes a second{time}."),
        Fault::Fill(who, 100) => {
            format!("The disk of {who} is filled to the brim. A broker that cannot write ends itself.")
        }
        Fault::Fill(who, percent) => format!("The disk of {who} is filled to {percent} %."),
        Fault::Isolate(who, Party::Us) => format!(
            "A firewall cuts us off from {who}{time}. That is reported; nothing is moved while Kafka itself reaches it."
        ),
        Fault::Isolate(who, Party::Controller) => format!(
            "{who} is cut off from the controller{time}. Kafka drops it; nothing is moved while it answers us."
        ),
        Fault::Isolate(who, Party::Broker(other)) => format!("{who} and b{other} do not reach each other{time}."),
        Fault::FrozenMetadata(who) => format!("The metadata of {who} stand still{time}. Most of the others outvote it."),
        Fault::AgentSilent(who) => format!("The agent of {who} does not report{time}. Healing does not need it."),
        Fault::StatsUnreachable => format!("The stats topic cannot be read{time}. Healing does not need it."),
        Fault::TopicsUnreadable => format!("Nobody tells us topics and reassignments{time}."),
        Fault::AnswersLost => format!("What is ordered is done, and no answer arrives{time}."),
        Fault::StatsLag(lag) => format!("The agents' reports come {} late{time}.", HumanDuration(*lag)),
        Fault::RackDown(rack) => of_rack(rack, cluster),
        Fault::Traffic(topic, permille) => {
            format!("The traffic of {topic} is {}.{:03} times the usual{time}.", permille / 1000, permille % 1000)
        }
        Fault::ForeignReassignment(at, to) => {
            let to: Vec<String> = to.iter().map(BrokerId::to_string).collect();
            format!("Somebody else moves {at} to the brokers {}.", to.join(", "))
        }
        Fault::ForeignCancel(at) => format!("Somebody else cancels the reassignment of {at}, if there is one."),
        Fault::CrashUs => {
            "DoctorKafka itself is killed (kill -9) and started again. It goes on from what it has written down.".to_owned()
        }
        Fault::AnotherCluster => {
            "The addresses lead to another cluster from now on. It is not the one that is remembered: nothing is done to it."
                .to_owned()
        }
        Fault::Clock(ms) => {
            let way = if *ms < 0 { "back" } else { "forward" };
            let jump = HumanDuration(Duration::from_millis(ms.unsigned_abs()));
            format!("DoctorKafka's wall clock jumps {way} by {jump}. Graces and ages count on another clock.")
        }
        Fault::Calm => {
            "All that lasts is over: power, networks and disks are well, and brokers that are down are started.".to_owned()
        }
    }
}

fn of_rack(rack: &str, cluster: &ClusterText) -> String {
    let brokers = cluster.brokers.values().filter(|text| text.broker.rack.as_deref() == Some(rack));
    let names: Vec<String> = brokers.map(|text| format!("b{}", text.broker.id)).collect();
    let several = if names.len() > 1 {
        " So many at once may be a switch, and moving all they hold would make it worse: the brake is there for this."
    } else {
        ""
    };
    format!("Rack {rack} loses power: {}.{several}", names.join(", "))
}

/// An order as the narrator tells it.
pub(super) fn of_order(order: Wanted) -> String {
    format!("A person orders: {order}.")
}

/// So much of what is open at the end is told.
const OPEN: usize = 6;

/// When the story is over: what is left of it, checked on the world itself, and what DoctorKafka still says of it.
pub(super) fn ending(world: &SharedWorld, lines: &Lines, status: Option<&ClusterStatus>) -> Vec<Line> {
    let mut said = vec![String::new(), whole(world, lines)];
    if let Some(status) = status {
        let open = worth_saying(&status.incidents);
        said.extend(open.take(OPEN).map(|problem| format!("Still open: {}.", problem.message)));
        let more = worth_saying(&status.incidents).count().saturating_sub(OPEN);
        if more > 0 {
            said.push(format!("Still open: {more} more."));
        }
        let held = status.held.iter();
        said.extend(
            held.map(|held| format!("Still held: {}: {}.", held.event.replace('_', " "), held.reason)),
        );
    }
    said.push(
        "On a real cluster, without changing anything: doctorkafka run --bootstrap-servers HOST:PORT"
            .to_owned(),
    );
    said.into_iter().map(Line::aside).collect()
}

fn whole(world: &SharedWorld, lines: &Lines) -> String {
    let world = world.lock();
    let panels = world.panels();
    let down = panels.iter().filter(|panel| panel.process != ProcessState::Runs).count();
    let behind: usize = panels.iter().map(|panel| panel.behind).sum();
    let moving = world.reassignments().len();
    let throttles = world
        .configs()
        .values()
        .flat_map(|values| values.keys())
        .filter(|key| key.contains("throttled"))
        .count();
    let left = if behind + moving + throttles == 0 {
        "Every partition is fully replicated, no reassignment and no throttle is left.".to_owned()
    } else {
        format!(
            "At this moment {behind} replicas are behind, {moving} partitions are being moved, {throttles} throttles are set."
        )
    };
    let down = if down == 0 { String::new() } else { format!(" {} down.", are(down)) };
    format!(
        "{left}{down} Declared dead in between: {} of {}.",
        lines.dead.len(),
        counted(panels.len(), "broker")
    )
}

fn are(count: usize) -> String {
    if count == 1 { "1 broker is".to_owned() } else { format!("{count} brokers are") }
}
