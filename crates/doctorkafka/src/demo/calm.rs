//! Whether anything more is to happen.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster::BrokerId;
use sim::Moment;
use sim::world::{BrokerPanel, ProcessState};

use crate::api::status::{ClusterStatus, Problem};

/// When nothing has changed for so long, nothing more happens by itself: longer than a few looks of the service, and than
/// a broker takes that comes back.
pub(super) const QUIET: Duration = Duration::from_secs(15);

/// Watches for the end.
#[derive(Debug, Default)]
pub(super) struct Calm {
    seen: Option<Seen>,
    since: Moment,
}

/// What changes while something happens. Ages and messages with ages are no part of it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    incidents: BTreeSet<u64>,
    held: BTreeSet<(String, String, String)>,
    brokers: Vec<(BrokerId, ProcessState, bool, usize)>,
}

impl Calm {
    /// Takes a look, and says for how long nothing has happened.
    pub(super) fn look(&mut self, now: Moment, panels: &[BrokerPanel], status: &ClusterStatus) -> Duration {
        let held = status.held.iter();
        let seen = Seen {
            incidents: status.incidents.iter().map(|problem| problem.id).collect(),
            held: held.map(|it| (it.event.clone(), it.target.clone(), it.check.clone())).collect(),
            brokers: panels.iter().map(|it| (it.id, it.process, it.live, it.behind)).collect(),
        };
        let changed = self.seen.as_ref() != Some(&seen);
        if changed || is_busy(panels, status) {
            self.since = now;
        }
        self.seen = Some(seen);
        now.since(self.since)
    }
}

/// Whether something is on its way.
fn is_busy(panels: &[BrokerPanel], status: &ClusterStatus) -> bool {
    let on_its_way = |panel: &BrokerPanel| match panel.process {
        ProcessState::Starts | ProcessState::Stopped => true,
        // Its session has not ended yet.
        ProcessState::Down => panel.live,
        ProcessState::Runs => panel.live && panel.behind > 0,
    };
    let no_cycle = status.last_cycle_age.is_none();
    no_cycle
        || !status.work.is_empty()
        || panels.iter().any(on_its_way)
        || status.incidents.iter().any(|problem| is_in_grace(problem, &status.incidents))
}

/// Whether a broker is away that is not dead yet.
fn is_in_grace(problem: &Problem, all: &[Problem]) -> bool {
    let is_dead = |other: &Problem| other.kind == "broker_dead" && other.subject == problem.subject;
    problem.kind == "broker_absent" && !all.iter().any(is_dead)
}
