//! From bytes to a [`Scenario`].

use std::collections::BTreeSet;
use std::time::Duration;

use cluster::BrokerId;
use cluster::notation::{ClusterText, NotationError};
use control::Scope;

use super::{Act, PlannedOrder, Player, Scenario, ScenarioError, ScenarioProblem, Step, Version, Wanted};
use crate::fault::parse::{Mention, Named, Words, broker, id, number, partition, rate, time};
use crate::fault::{Fault, ScheduleError};

/// No shorter time is taken by the monitor that finds the dead.
const LEAST_GRACE: Duration = Duration::from_secs(1);

type Read<T> = Result<T, ScenarioError>;

fn refuse<T>(line: usize, column: usize, problem: ScenarioProblem) -> Read<T> {
    Err(ScenarioError { line, column, problem })
}

impl From<ScheduleError> for ScenarioError {
    fn from(error: ScheduleError) -> Self {
        Self { line: error.line, column: error.column, problem: error.problem.into() }
    }
}

impl From<NotationError> for ScenarioError {
    fn from(error: NotationError) -> Self {
        Self { line: error.line, column: error.column, problem: error.problem.into() }
    }
}

pub(super) fn read(file: &[u8], player: &Player) -> Read<Scenario> {
    let text = match std::str::from_utf8(file) {
        Ok(text) => text,
        Err(error) => {
            let before = String::from_utf8_lossy(&file[..error.valid_up_to()]);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            return refuse(line, column, ScenarioProblem::NotText);
        }
    };
    // Some editors put a byte order mark first, which nobody sees.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader =
        Reader { player, scenario: Scenario::default(), mentions: Vec::new(), set: BTreeSet::new() };
    let mut cluster = String::new();
    for (at, line) in text.lines().enumerate() {
        if reader.line(at + 1, line)? {
            cluster.push_str(line);
        }
        // Each line of the cluster keeps its number.
        cluster.push('\n');
    }
    reader.scenario.cluster = cluster.parse::<ClusterText>()?;
    reader.replicas(&cluster);
    reader.check()?;
    Ok(reader.scenario)
}

struct Reader<'a> {
    player: &'a Player,
    scenario: Scenario,
    /// What of the cluster was named, to be looked for when all of it has been read.
    mentions: Vec<Mention>,
    /// The settings so far.
    set: BTreeSet<&'a str>,
}

impl<'a> Reader<'a> {
    /// Reads a line, unless it is one of the cluster's.
    fn line(&mut self, line: usize, text: &'a str) -> Read<bool> {
        let words = Words::new(line, text);
        let Some((column, first)) = words.first() else { return Ok(false) };
        if first.ends_with(':') || broker(first).is_some() {
            return Ok(true);
        }
        match first {
            "at" | "within" => self.moment(words, column)?,
            "kafka" | "grace" | "min-insync" | "log-dirs" | "dry-run" | "agents" | "replace-hosts"
            | "run" => {
                self.setting(words, column, first)?;
            }
            // A throttle of a client's is one of a broker.
            "throttle" if words.nth(1).is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit())) => {
                self.setting(words, column, first)?;
            }
            _ => self.step(line, text, (column, first))?,
        }
        Ok(false)
    }

    fn moment(&mut self, mut words: Words<'a>, column: usize) -> Read<()> {
        if !self.player.plays_moments {
            let (what, instead) = ("a moment", ": write steps, each on a line without a time");
            return refuse(words.line(), column, ScenarioProblem::NotPlayed { what, instead });
        }
        if words.nth(0) == Some("at") && words.nth(2) == Some("order") {
            words.word("at")?;
            let at = words.time()?;
            words.word("order")?;
            let what = wanted(&mut words)?;
            words.end()?;
            self.scenario.orders.push(PlannedOrder { at, what });
        } else if let Some(planned) = words.planned()? {
            // The fault stands behind `at` and its time.
            let place = words.place(2);
            self.playable(&planned.fault, words.line(), place)?;
            self.scenario.faults.0.push(planned);
        }
        self.mentions.append(&mut words.mentions);
        Ok(())
    }

    fn playable(&self, fault: &Fault, line: usize, column: usize) -> Read<()> {
        if *fault == Fault::CrashUs && !self.player.plays_crashes {
            let (what, instead) = ("a crash of DoctorKafka itself", "");
            return refuse(line, column, ScenarioProblem::NotPlayed { what, instead });
        }
        Ok(())
    }

    fn setting(&mut self, mut words: Words<'a>, column: usize, name: &'a str) -> Read<()> {
        if !self.set.insert(name) {
            return refuse(words.line(), column, ScenarioProblem::Twice { what: name.to_owned() });
        }
        if name == "replace-hosts" && !self.player.replaces_hosts {
            let (what, instead) = ("a replacement of hosts", "");
            return refuse(words.line(), column, ScenarioProblem::NotPlayed { what, instead });
        }
        words.word("a setting")?;
        let scenario = &mut self.scenario;
        match name {
            "kafka" => {
                scenario.kafka = words.next("4.3, 3.9 or zookeeper", |word| {
                    Version::ALL.into_iter().find(|version| version.name() == word)
                })?;
            }
            "grace" => {
                let seconds = |word| time(word).filter(|time| *time >= LEAST_GRACE);
                scenario.grace = Some(words.next("a time of at least 1s such as 90s or 1h30m", seconds)?);
            }
            "min-insync" => {
                let least = words.next("a number from 1", |word| number(word).filter(|least| *least > 0))?;
                scenario.min_in_sync = Some(least);
            }
            "log-dirs" => {
                let some = |word: &str| word.parse::<u8>().ok().filter(|dirs| *dirs > 0);
                scenario.log_dirs = Some(words.next("a number from 1 to 255", some)?);
            }
            "dry-run" => scenario.dry_run = true,
            "throttle" => {
                // Nothing would ever be copied, and whoever heals would not take it.
                let some = |word| rate(word).filter(|rate| *rate > 0);
                scenario.throttle = Some(words.next("a rate of at least 1B/s such as 10MB/s", some)?);
            }
            "agents" => scenario.agents = true,
            "replace-hosts" => scenario.replace_hosts = true,
            _ => scenario.run = Some(words.time()?),
        }
        Ok(words.end()?)
    }

    /// Acts with commas between them.
    fn step(&mut self, line: usize, text: &'a str, (column, first): (usize, &str)) -> Read<()> {
        let mut acts = Vec::new();
        let mut begins = 1;
        for part in Words::without_comment(text).split(',') {
            let mut words = Words::beginning_at(line, begins, part);
            let place = words.first().map_or(begins, |(column, _)| column);
            let act = act(&mut words);
            if acts.is_empty() && matches!(&act, Err(error) if error.column == column) {
                return refuse(line, column, ScenarioProblem::Line { found: first.to_owned() });
            }
            let act = act?;
            words.end()?;
            if let Act::Fault(fault) = &act {
                self.playable(fault, line, place)?;
            }
            self.mentions.append(&mut words.mentions);
            acts.push(act);
            begins += part.chars().count() + 1;
        }
        if !self.player.plays_steps {
            let (what, instead) =
                ("a step without a moment", ": begin the line with at and a time (at 30s kill b3)");
            return refuse(line, column, ScenarioProblem::NotPlayed { what, instead });
        }
        self.scenario.steps.push(Step(acts));
        Ok(())
    }

    /// The brokers in the replica lists of the cluster, whose notation does not look for them.
    fn replicas(&mut self, cluster: &str) {
        for (at, line) in cluster.lines().enumerate() {
            let words = Words::new(at + 1, line);
            if !words.first().is_some_and(|(_, first)| first.ends_with(':')) {
                continue;
            }
            for (column, word) in words.rest().iter().skip(1) {
                if let Some(id) = id(word.trim_start_matches(['+', '-']).trim_end_matches(['*', '~'])) {
                    self.mentions.push(Mention { line: at + 1, column: *column, named: Named::Broker(id) });
                }
            }
        }
    }

    /// Whether everything that was named is there.
    fn check(&self) -> Read<()> {
        let own = &self.scenario.cluster;
        let described = !own.brokers.is_empty() || !own.topics.is_empty();
        let cluster = if described { own } else { &self.player.usual };
        for mention in &self.mentions {
            if let Some((what, has)) = missing(&mention.named, cluster) {
                return refuse(mention.line, mention.column, ScenarioProblem::NoSuch { what, has });
            }
        }
        Ok(())
    }
}

/// What a mention is about, and what there is in its place, if the cluster does not have it.
fn missing(named: &Named, cluster: &ClusterText) -> Option<(String, String)> {
    match named {
        Named::Broker(id) => {
            let has = brokers_of(cluster);
            (!cluster.brokers.contains_key(id)).then(|| (format!("broker b{id}"), has))
        }
        Named::Rack(rack) => {
            let racks = cluster.brokers.values().filter_map(|text| text.broker.rack.as_deref());
            let racks: BTreeSet<&str> = racks.collect();
            (!racks.contains(&**rack)).then(|| (format!("rack {rack}"), list("racks", racks.into_iter())))
        }
        Named::Topic(name) => {
            let has = || list("topics", cluster.topics.keys().map(|name| &**name));
            (!cluster.topics.contains_key(name)).then(|| (format!("topic {name}"), has()))
        }
        Named::Partition(at) => match cluster.topics.get(&at.topic) {
            None => Some((
                format!("topic {}", at.topic),
                list("topics", cluster.topics.keys().map(|name| &**name)),
            )),
            Some(topic) => {
                let count = topic.partitions.len();
                let there = usize::try_from(at.partition).is_ok_and(|number| number < count);
                let has = || format!("{}-0 to {}-{}", at.topic, at.topic, count.saturating_sub(1));
                (!there).then(|| (format!("partition {at}"), has()))
            }
        },
    }
}

fn brokers_of(cluster: &ClusterText) -> String {
    let mut ids = cluster.brokers.keys();
    match (ids.next(), ids.next_back(), cluster.brokers.len()) {
        (None, ..) => "no brokers".to_owned(),
        (Some(only), None, _) => format!("b{only} alone"),
        (Some(first), Some(last), count) => format!("{count} brokers, b{first} to b{last}"),
    }
}

/// So many names tell enough.
const NAMES: usize = 12;

fn list<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.len() {
        0 => format!("no {what}"),
        few if few <= NAMES => format!("the {what} {}", names.join(", ")),
        many => format!("the {what} {} and {} more", names[..NAMES].join(", "), many - NAMES),
    }
}

fn wanted(words: &mut Words<'_>) -> Result<Wanted, ScheduleError> {
    let expected = "an order: approve, pause, resume, cancel, maintenance-on, maintenance-off, decommission-on, decommission-off or replace";
    let scoped: fn(Scope) -> Wanted = match words.next(expected, Some)? {
        "maintenance-on" => Wanted::MaintenanceOn,
        "maintenance-off" => Wanted::MaintenanceOff,
        "decommission-on" => return words.broker("a broker (b1)").map(Wanted::DecommissionOn),
        "decommission-off" => return words.broker("a broker (b1)").map(Wanted::DecommissionOff),
        "replace" => return words.broker("a broker (b1)").map(Wanted::Replace),
        "approve" => return Ok(Wanted::Approve),
        "pause" => return Ok(Wanted::Pause),
        "resume" => return Ok(Wanted::Resume),
        "cancel" => return Ok(Wanted::Cancel),
        _ => return words.refuse_last(expected),
    };
    if words.is_empty() {
        return Ok(scoped(Scope::Cluster));
    }
    words.broker("a broker (b1)").map(|id| scoped(Scope::Broker(id)))
}

fn act(words: &mut Words<'_>) -> Result<Act, ScheduleError> {
    let name = words.first().map_or("", |(_, name)| name);
    let at = "a partition (topic-0)";
    if !matches!(name, "reassign" | "cancel" | "elect" | "write" | "ask" | "throttle" | "unthrottle" | "wait")
    {
        return words.fault().map(Act::Fault);
    }
    words.word("a step")?;
    Ok(match name {
        "reassign" => {
            let at = words.next(at, partition)?;
            let mut to = Vec::new();
            while !words.is_empty() {
                to.push(words.next("a broker's id", |word| word.parse().ok().map(BrokerId))?);
            }
            Act::Reassign(at, to)
        }
        "cancel" => Act::Cancel(words.next(at, partition)?),
        "elect" => Act::Elect(words.next(at, partition)?),
        "write" => Act::Write(words.next(at, partition)?),
        "ask" => Act::Ask(words.broker("a broker (b1)")?),
        "throttle" => Act::Throttle(words.broker("a broker (b1)")?),
        "unthrottle" => Act::Unthrottle(words.broker("a broker (b1)")?),
        _ => Act::Wait(words.time()?),
    })
}
