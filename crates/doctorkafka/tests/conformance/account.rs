//! What could be seen to happen, and whether two accounts agree.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use cluster::{Partition, TopicPartition};

use super::look::Look;
use super::script::Step;

/// What passes faster than this may escape whoever looks from outside: a real cluster need not have been seen in that
/// state. What lasts longer must have been.
const PASSING: Duration = Duration::from_secs(5);

/// What happened in a script.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    /// Its steps, as far as it went.
    pub(crate) scenes: Vec<Scene>,
}

/// What happened in a step.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    text: String,
    /// Whether it is told in which order things happened.
    told: bool,
    /// What clients were answered.
    pub(crate) results: Vec<String>,
    before: Look,
    /// What it looked like when anything had changed, with the moment.
    seen: Vec<(Duration, Look)>,
    /// When it was over.
    over: Duration,
}

/// What changes by itself. The controller's list of reassignments and what a broker knows of a partition are two
/// things: a broker learns of a change a little later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Live,
    Partition(TopicPartition),
    Moves(TopicPartition),
}

/// One of the states that a thing went through.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// The number of the look in which it was there first; 0 is what was there before.
    at: usize,
    text: String,
    /// For a partition, what the text says.
    partition: Option<Partition>,
    passing: bool,
}

/// A change that both accounts tell, with its place in each.
struct Told {
    what: String,
    live: bool,
    expected: usize,
    seen: usize,
}

impl Scene {
    pub(crate) fn new(step: &Step, before: Look) -> Self {
        Self {
            text: step.text.clone(),
            told: step.has_an_order(),
            results: Vec::new(),
            before,
            seen: Vec::new(),
            over: Duration::ZERO,
        }
    }

    /// Notes a look, and says whether anything has changed.
    pub(crate) fn saw(&mut self, at: Duration, look: Look) -> bool {
        let changed = look != self.end();
        if changed {
            self.seen.push((at, look));
        }
        changed
    }

    /// The step is over.
    pub(crate) fn ends(&mut self, at: Duration) {
        self.over = at;
    }

    /// What it looked like last.
    pub(crate) fn end(&self) -> Look {
        self.seen.last().map_or(&self.before, |(_, look)| look).clone()
    }

    /// Whether this, which was seen of a real cluster, agrees with what is `expected`; why not, if it does not.
    ///
    /// Answers and the state in the end are equal. Live brokers, each partition and each reassignment go through the
    /// states that are expected in the same order, through no others (but what lies between two of them), and through each that does not pass at once; and
    /// whoever comes or goes does so before or after partitions change, as it is expected.
    pub(crate) fn agrees(&self, expected: &Self) -> Result<(), String> {
        if self.results != expected.results {
            return Err(format!("expected {:?}, was answered {:?}", expected.results, self.results));
        }
        if self.end() != expected.end() {
            return Err("it ends in another state".to_owned());
        }
        if !self.told {
            return Ok(());
        }
        let (seen, wanted) = (self.states(), expected.states());
        let mut all = Vec::new();
        for (thing, states) in &seen {
            let wanted = wanted.get(thing).ok_or_else(|| format!("{thing:?} is not expected"))?;
            all.extend(embed(thing, states, wanted)?);
        }
        in_order(&all)
    }

    /// The states that each thing went through, the one before among them.
    fn states(&self) -> BTreeMap<Thing, Vec<State>> {
        let mut all: BTreeMap<Thing, Vec<(Duration, State)>> = BTreeMap::new();
        let begin = (Duration::ZERO, &self.before);
        let looks = std::iter::once(begin).chain(self.seen.iter().map(|(at, look)| (*at, look)));
        for (at, (time, look)) in looks.enumerate() {
            let mut put = |thing: Thing, text: String, partition: Option<Partition>| {
                let states = all.entry(thing).or_default();
                if states.last().is_none_or(|(_, last)| last.text != text) {
                    states.push((time, State { at, text, partition, passing: false }));
                }
            };
            put(Thing::Live, look.live_line(), None);
            for (name, partition) in &look.partitions {
                let unmarked =
                    Look { partitions: [(name.clone(), partition.clone())].into(), ..Look::default() };
                put(Thing::Partition(name.clone()), unmarked.line(name), Some(partition.clone()));
                let moves = look.moving(name).map_or_else(
                    || format!("{name} stays"),
                    |it| format!("{name} adds {:?} and removes {:?}", it.adding, it.removing),
                );
                put(Thing::Moves(name.clone()), moves, None);
            }
        }
        all.into_iter().map(|(thing, states)| (thing, with_passing(states, self.over))).collect()
    }
}

/// Marks the states that passed.
fn with_passing(states: Vec<(Duration, State)>, over: Duration) -> Vec<State> {
    let ends: Vec<Duration> = states.iter().skip(1).map(|(at, _)| *at).chain([over]).collect();
    let last = states.len() - 1;
    let marked = states.into_iter().zip(ends).enumerate();
    marked
        .map(|(number, ((at, state), end))| State {
            passing: number != last && number != 0 && end.saturating_sub(at) < PASSING,
            ..state
        })
        .collect()
}

/// Finds the states that were seen among those that are wanted, in order.
fn embed(thing: &Thing, seen: &[State], wanted: &[State]) -> Result<Vec<Told>, String> {
    let mut told = Vec::new();
    let mut next = 0;
    for (number, state) in seen.iter().enumerate() {
        let place = wanted[next..].iter().position(|other| other.text == state.text);
        let Some(place) = place.map(|place| place + next) else {
            if next > 0 && is_between(state, &wanted[next - 1..]) {
                continue;
            }
            return Err(format!("not expected here: {}", state.text));
        };
        if let Some(missed) = wanted[next..place].iter().find(|state| !state.passing) {
            return Err(format!("not seen before {}: {}", state.text, missed.text));
        }
        if number > 0 {
            let (what, live) = (state.text.clone(), *thing == Thing::Live);
            told.push(Told { what, live, expected: wanted[place].at, seen: state.at });
        }
        next = place + 1;
    }
    // That the end is the same is known.
    match wanted[next..wanted.len().max(next + 1) - 1].iter().find(|state| !state.passing) {
        Some(missed) => Err(format!("not seen: {}", missed.text)),
        None => Ok(told),
    }
}

/// Whether a partition has gone a part of the way to one of the states that follow: replicas join one by one, and with
/// ZooKeeper its leader and its in-sync replicas change one after the other.
fn is_between(state: &State, wanted: &[State]) -> bool {
    let Some(seen) = &state.partition else { return false };
    let skipped = wanted[1..].iter().take_while(|state| state.passing).count();
    let way: Vec<&Partition> =
        wanted.iter().take(skipped + 2).filter_map(|state| state.partition.as_ref()).collect();
    let in_sync = |id| way.iter().any(|state| state.isr.contains(id) == seen.isr.contains(id));
    way.iter().any(|state| state.replicas == seen.replicas)
        && (seen.leader.is_none() || way.iter().any(|state| state.leader == seen.leader))
        && seen.replicas.iter().all(in_sync)
}

/// Whether changes of who is alive and changes of partitions come in the expected order.
fn in_order(all: &[Told]) -> Result<(), String> {
    for live in all.iter().filter(|told| told.live) {
        for other in all.iter().filter(|told| !told.live) {
            let wrong = match live.expected.cmp(&other.expected) {
                std::cmp::Ordering::Less => live.seen > other.seen,
                std::cmp::Ordering::Equal => false,
                std::cmp::Ordering::Greater => live.seen < other.seen,
            };
            if wrong {
                return Err(format!("the other way round: {} and {}", live.what, other.what));
            }
        }
    }
    Ok(())
}

impl Account {
    /// Whether what was seen agrees with what is `expected`: see [`Scene::agrees`]. If not, both are shown where they
    /// part.
    pub(crate) fn agrees(&self, expected: &Self) -> Result<(), String> {
        for (number, wanted) in expected.scenes.iter().enumerate() {
            let Some(seen) = self.scenes.get(number) else {
                return Err(format!("it ends before {}", wanted.text));
            };
            let differ = |why| format!("{why}\n\nexpected: {wanted}\nseen: {seen}");
            seen.agrees(wanted).map_err(differ)?;
        }
        Ok(())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, scene) in self.scenes.iter().enumerate() {
            let gap = if number == 0 { "" } else { "\n" };
            write!(f, "{gap}{scene}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Scene {
    /// The step, its answers, and what has changed: what is seen to change at the same moment stands behind one dash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.results.iter().try_for_each(|result| write!(f, ": {result}"))?;
        f.write_char('\n')?;
        let mut before = &self.before;
        let end = self.end();
        let untold = [(self.over, end)];
        let looks = if self.told { &self.seen[..] } else { &untold[..] };
        for (number, (at, look)) in looks.iter().enumerate() {
            let mut mark = '-';
            for line in changes(before, look) {
                let end = if passes(*at, &line, &looks[number..]) { "  (in passing)" } else { "" };
                writeln!(f, "  {mark} {line}{end}")?;
                mark = ' ';
            }
            before = look;
        }
        Ok(())
    }
}

/// Whether a line that came with the first of these looks, at that moment, is another soon after.
fn passes(at: Duration, line: &str, looks: &[(Duration, Look)]) -> bool {
    let begins = |text: &str| text.split_once(':').map(|(name, _)| name.to_owned());
    let mut pairs = looks.windows(2);
    let next =
        pairs.find(|pair| changes(&pair[0].1, &pair[1].1).iter().any(|new| begins(new) == begins(line)));
    next.is_some_and(|pair| pair[1].0.saturating_sub(at) < PASSING)
}

/// The lines of `after` that are others than before.
fn changes(before: &Look, after: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    if before.live != after.live {
        lines.push(after.live_line());
    }
    for name in after.partitions.keys() {
        let is = (after.partitions.get(name), after.moving(name));
        if is != (before.partitions.get(name), before.moving(name)) {
            lines.push(after.line(name));
        }
    }
    lines
}
