//! What happens, line by line: to the cluster, and in the service.

use std::collections::BTreeSet;
use std::fmt;

use cluster::BrokerId;
use cluster::notation::ClusterText;
use control::{Incidents, Record, RecordKind, Severity};
use sim::Moment;
use sim::world::{Happened, Happening};

use super::story;
use crate::shell::audit::sentence;
use crate::shell::snapshot::ClusterHandle;

/// Who says a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// Who tells the story.
    Narrator,
    /// The simulated Kafka.
    Kafka,
    /// The service.
    Doctor,
    /// The service, where something is wrong.
    Alarm,
}

/// A line of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// When, in the cluster's time; `None` outside of it.
    pub(super) at: Option<Moment>,
    /// Who says it.
    pub(super) voice: Voice,
    /// What.
    pub(super) text: String,
}

impl Line {
    /// What the narrator says outside of the story's time.
    pub(super) fn aside(text: impl Into<String>) -> Self {
        Self { at: None, voice: Voice::Narrator, text: text.into() }
    }

    /// The moment, as minutes and seconds.
    pub(super) fn time(&self) -> String {
        self.at.map_or_else(|| " ".repeat(7), clock)
    }

    /// Who says it.
    pub(super) fn who(&self) -> &'static str {
        match self.voice {
            Voice::Narrator => "",
            Voice::Kafka => "kafka",
            Voice::Doctor | Voice::Alarm => "doctor",
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.voice, self.at) {
            (Voice::Narrator, None) => f.write_str(&self.text),
            (Voice::Narrator, Some(_)) => write!(f, "\n{} * {}", self.time(), self.text),
            _ => write!(f, "{} {:<7} {}", self.time(), self.who(), self.text),
        }
    }
}

/// A moment as minutes and seconds.
pub(super) fn clock(at: Moment) -> String {
    let tenths = at.0 / 100;
    format!("{:02}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

/// The world's clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// The moment.
    pub(super) now: Moment,
    /// What the service's wall clock shows, in milliseconds since 1970. A fault may have set it.
    pub(super) our_wall_ms: i64,
}

impl Clocks {
    /// The moment of something that was stamped by the service's wall clock, if that has not been set since.
    pub(super) fn moment(&self, stamp_ms: i64) -> Moment {
        let ago = self.our_wall_ms.saturating_sub(stamp_ms);
        Moment(self.now.0.saturating_add_signed(ago.saturating_neg()))
    }
}

/// Picks out of all that happens what has not been told yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    told: Option<u64>,
    /// The moment of the last call.
    last: Moment,
    /// The cluster as it was at first.
    cluster: ClusterText,
    /// Brokers that the service declared dead.
    pub(super) dead: BTreeSet<BrokerId>,
}

impl Lines {
    /// For a cluster that begins as this one.
    pub(super) fn of(cluster: ClusterText) -> Self {
        Self { cluster, ..Self::default() }
    }

    /// Another service has taken the place of the one before, and counts its records anew.
    pub(super) fn begin_again(&mut self) {
        self.told = None;
    }

    /// The lines for what has happened since the last call, the cluster's first: it comes before what is done about it.
    pub(super) fn new_ones(
        &mut self,
        clocks: Clocks,
        happened: &[Happened],
        clusters: &[ClusterHandle],
    ) -> Vec<Line> {
        let mut lines: Vec<Line> =
            happened.iter().filter_map(|happened| of_kafka(happened, &self.cluster)).collect();
        for cluster in clusters {
            for record in cluster.shared.audit.newest(usize::MAX) {
                if self.told.is_none_or(|told| record.sequence > told) {
                    self.told = Some(record.sequence);
                    self.count(&record);
                    let at = clocks.moment(record.timestamp.0).clamp(self.last.min(clocks.now), clocks.now);
                    let open = &cluster.shared.snapshot().memory.incidents;
                    let why = why_nothing_is_done(&record, open);
                    lines.extend(of_the_service(&record, at, why));
                }
            }
        }
        self.last = clocks.now;
        lines.sort_by_key(|line| line.at);
        lines
    }

    fn count(&mut self, record: &Record) {
        if record.kind == RecordKind::Incident
            && record.operation == "broker_dead"
            && let control::Target::Broker(id) = record.target
        {
            self.dead.insert(id);
        }
    }
}

fn of_kafka(happened: &Happened, cluster: &ClusterText) -> Option<Line> {
    let line = |voice, text| Some(Line { at: Some(happened.at), voice, text });
    match &happened.what {
        Happening::Fault(fault, lasting) => line(Voice::Narrator, story::of_fault(fault, *lasting, cluster)),
        Happening::Note(note) => line(Voice::Kafka, note.clone()),
        Happening::Dropped(id) => line(Voice::Kafka, format!("the controller has dropped broker {id}")),
        Happening::Alive(id) => line(Voice::Kafka, format!("broker {id} is alive again")),
        Happening::DirFailed(id) => {
            line(Voice::Kafka, format!("broker {id} cannot write to its full disk and ends"))
        }
        Happening::DataLost { at, bytes, .. } => line(Voice::Kafka, format!("{at} has lost {bytes} bytes")),
        Happening::Partition { .. } => None,
    }
}

/// Incidents that follow from one that is told anyway.
const ASIDES: [&str; 3] = ["log_dirs_unreadable", "broker_dropped", "metadata_unreadable"];
/// Incidents whose end is part of the story.
const ENDS: [&str; 4] = ["under_replicated", "broker_dead", "broker_unreachable", "mass_failure"];

/// Incidents for which nothing is done: why not is part of the story.
const NOTHING_DONE: [&str; 2] = ["broker_unreachable", "mass_failure"];

/// What is waited for when an incident is opened for which nothing is done.
fn why_nothing_is_done<'a>(record: &Record, incidents: &'a Incidents) -> Option<&'a str> {
    let kind = record.operation.as_str();
    let opened = record.kind == RecordKind::Incident && record.result == "opened";
    let incident = incidents.get(kind, &record.target).filter(|_| opened && NOTHING_DONE.contains(&kind));
    incident.and_then(|incident| incident.waits_for.as_deref())
}

/// The records of the service that move the story on.
fn is_told(record: &Record) -> bool {
    let kind = record.operation.as_str();
    match record.kind {
        RecordKind::Incident if record.result.starts_with("resolved") => ENDS.contains(&kind),
        RecordKind::Incident => !ASIDES.contains(&kind),
        _ => true,
    }
}

fn of_the_service(record: &Record, at: Moment, why: Option<&str>) -> Option<Line> {
    if !is_told(record) {
        return None;
    }
    let voice = if record.severity == Severity::Info { Voice::Doctor } else { Voice::Alarm };
    let waits = why.map_or_else(String::new, |why| format!("; nothing is done, it waits for {why}"));
    Some(Line { at: Some(at), voice, text: format!("{}{waits}", sentence(record)) })
}
