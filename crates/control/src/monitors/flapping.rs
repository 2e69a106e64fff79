//! Brokers that keep going and coming: their absences within a window, from open and closed incidents.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::BrokerId;

use super::kinds;
use crate::finding::Target;
use crate::incident::{IncidentKey, Incidents};
use crate::time::Timestamp;

/// Absences with less than this between them are one: a broker cannot start, register and fail in less, but what is
/// known of it can change for a moment. The sum over the window counts the same either way.
const SAME_ABSENCE: Duration = Duration::from_secs(15);

/// The absences of one broker within the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Absences {
    /// How many.
    pub(super) count: u32,
    /// How long in all, as far as within the window.
    pub(super) total: Duration,
}

/// The absences of every broker that had one in the `window` that ends at `now`.
pub(super) fn absences(
    incidents: &Incidents,
    now: Timestamp,
    window: Duration,
) -> BTreeMap<BrokerId, Absences> {
    let start = Timestamp(now.0.saturating_sub(i64::try_from(window.as_millis()).unwrap_or(i64::MAX)));
    let mut spans = BTreeMap::<BrokerId, Vec<(Timestamp, Timestamp)>>::new();
    let mut blind = Vec::new();
    for (key, from, to) in spans_of(incidents, now).filter(|(_, _, to)| *to >= start) {
        let from = from.max(start);
        match &key.subject {
            Target::Broker(id) if is_absence(&key.kind) => spans.entry(*id).or_default().push((from, to)),
            _ if key.kind == kinds::LIVENESS_UNKNOWN => blind.push((from, to)),
            _ => {}
        }
    }
    spans.into_iter().map(|(id, spans)| (id, sum_up(spans, &blind))).collect()
}

fn is_absence(kind: &str) -> bool {
    kind == kinds::BROKER_ABSENT || kind == kinds::BROKER_DROPPED
}

fn spans_of(
    incidents: &Incidents,
    now: Timestamp,
) -> impl Iterator<Item = (&IncidentKey, Timestamp, Timestamp)> {
    let closed = incidents.closed.iter().map(|c| (&c.key, c.first_seen, c.closed));
    closed.chain(incidents.open.values().map(move |open| (&open.key, open.first_seen, now)))
}

/// Counts spans; those that touch, or between which nobody could see, count as one.
fn sum_up(mut spans: Vec<(Timestamp, Timestamp)>, blind: &[(Timestamp, Timestamp)]) -> Absences {
    spans.sort_unstable();
    let mut absences = Absences::default();
    let mut last: Option<Timestamp> = None;
    for (from, to) in spans {
        let goes_on = last.is_some_and(|end| {
            from.since(end) <= SAME_ABSENCE
                || blind.iter().any(|(dark, light)| *dark <= from && *light >= end)
        });
        absences.count += u32::from(!goes_on);
        let counted_to = last.map_or(from, |end| end.max(from));
        absences.total = absences.total.saturating_add(to.since(counted_to));
        last = Some(last.map_or(to, |end| end.max(to)));
    }
    absences
}
