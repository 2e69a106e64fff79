//! What the narrator says.

use std::time::Duration;

use sim::fault::{Planned, When};
use sim::world::ProcessState;
use sim::{Fault, SharedWorld};

use super::Demo;
use super::lines::{Line, Lines};

/// The latest moment at which something that is planned can begin or end.
pub(super) fn at_the_latest(planned: &Planned) -> Duration {
    let (When::At(begin) | When::Within(begin)) = planned.when;
    begin + planned.lasting.unwrap_or_default()
}

/// Before the story begins.
pub(super) fn beginning(demo: &Demo) -> Vec<Line> {
    let Demo { brokers, speed, seed, .. } = demo;
    let lines = [
        format!(
            "A simulated Kafka cluster: {brokers} brokers in 3 racks, 240 partitions x 3 replicas, under load."
        ),
        format!(
            "Its time runs {speed} times as fast as yours; its chance is seed {seed}. Nothing outside of this process is touched."
        ),
        "DoctorKafka looks after it as it would after a real one, with a grace of 5 s instead of 5 min."
            .to_owned(),
    ];
    lines.into_iter().map(Line::aside).collect()
}

/// A fault as the narrator tells it, with what to watch for.
pub(super) fn of_fault(fault: &str) -> String {
    // How long it lasts is told when it ends.
    let what = fault.split(" for ").next().unwrap_or(fault);
    let schedule: Result<sim::Schedule, _> = format!("at 0s {what}").parse();
    let parsed =
        schedule.ok().and_then(|schedule| schedule.0.into_iter().next()).map(|planned| planned.fault);
    let Some(parsed) = parsed else { return fault.to_owned() };
    match parsed {
        Fault::Kill(who) => format!(
            "{who} is killed (kill -9). Kafka drops it after its session time-out; watch its replicas move to the others."
        ),
        Fault::Restart(who) => {
            format!("{who} is started again. It has nothing to do any more: nothing is moved back.")
        }
        Fault::Isolate(who, sim::fault::Party::Us) => format!(
            "A firewall cuts us off from {who}. Kafka still reaches it, so nothing must be moved; a person is told."
        ),
        Fault::Fill(who, _) => {
            format!("The disk of {who} is full. It cannot write and ends; the others take over.")
        }
        Fault::Replace(who) => format!("The host of {who} is replaced by one with empty disks."),
        Fault::RackDown(rack) => format!(
            "Rack {rack} loses power: a third of the cluster at once. That may be a switch, and moving a third of the \
             data would make it worse: the brake must hold."
        ),
        Fault::Calm => "Power is back, and so are the brokers. Nothing had to be moved.".to_owned(),
        _ => format!("{fault}."),
    }
}

/// When the story is over: what is left of it, checked on the world itself.
pub(super) fn ending(world: &SharedWorld, lines: &Lines, demo: &Demo) -> Vec<Line> {
    let world = world.lock();
    let panels = world.panels();
    let down = panels.iter().filter(|panel| panel.process != ProcessState::Runs).count();
    let behind: usize = panels.iter().map(|panel| panel.behind).sum();
    let moving = world.reassignments().len();
    let throttles =
        world.configs().values().flat_map(|values| values.keys()).filter(|key| key.contains("throttled"));
    let whole = if down + behind + moving + throttles.count() == 0 {
        "Every partition is fully replicated, no reassignment and no throttle is left.".to_owned()
    } else {
        format!(
            "At this moment {down} brokers are down, {behind} replicas are behind, {moving} partitions are being moved."
        )
    };
    let dead = lines.dead.len();
    let mut lines = vec![
        Line::aside(""),
        Line::aside(format!("{whole} {dead} of {} brokers were declared dead in between.", demo.brokers)),
    ];
    let next = "On a real cluster, without changing anything: doctorkafka run --bootstrap-servers HOST:PORT";
    lines.push(Line::aside(next));
    lines
}
