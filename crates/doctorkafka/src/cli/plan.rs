//! `doctorkafka plan` and `doctorkafka explain`.

mod explain;
mod files;
mod marks;
mod progress;
mod render;
mod source;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Args, ValueEnum};
use control::config::ByteSize;
use files::Files;
use marks::Marks;
use placement::{Named, Outcome, Reassignment, fixed_point, outcome, write_placement};
use planner::balance::{
    Budget, Cluster, Goal, MILLION, Mode, NETWORK_IN, NETWORK_OUT, Plan, Policy, Preference, Reason, Room,
    Score, audit, judge, solve_watched,
};
use progress::{Bar, Step};

use super::{fail, print};
use crate::store::in_words;

/// Show where replicas should go: a plan that meets goals with few and small moves. Changes nothing.
///
/// The same cluster gets the same plan, always. Every plan is audited before it is shown.
#[derive(Args, Debug)]
pub(super) struct PlanCommand {
    #[command(flatten)]
    question: Question,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Write the placement that the plan leads to: CSV, one line for each partition; - for standard output, which then has nothing else.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write what changes as Kafka's kafka-reassign-partitions takes it, or - for standard output. Where another replica is to lead,
    /// its broker comes first: when the data has moved, `kafka-leader-election --election-type preferred` makes it the leader.
    #[arg(long, value_name = "FILE")]
    reassignment_json: Option<PathBuf>,
}

/// Say what a plan does with one partition or one broker, and why.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("subject").required(true).args(["partition", "broker"]))]
pub(super) struct Explain {
    #[command(flatten)]
    question: Question,
    /// A partition, such as `orders-3`.
    #[arg(long, value_name = "TOPIC-NUMBER")]
    partition: Option<String>,
    /// A broker by its id.
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    broker: Option<i32>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Which cluster, and what is wanted of it.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("cluster").required(true).args(["from", "bootstrap_servers"]))]
struct Question {
    /// A folder with brokers.csv and replicas.csv(.gz), or a JSON file: docs/plan.md says what is in them.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// A live cluster. What it can tell of itself is where replicas are and how much disk they take.
    #[arg(long, value_name = "HOST:PORT,...")]
    bootstrap_servers: Option<String>,
    /// A properties file with security settings for the live cluster.
    #[arg(long, value_name = "FILE", requires = "bootstrap_servers")]
    command_config: Option<PathBuf>,
    /// What the plan is for.
    #[arg(long, value_enum, default_value_t)]
    mode: ModeName,
    /// The brokers to drain, that were added, or to demote.
    #[arg(long, value_name = "ID,...", value_delimiter = ',', allow_negative_numbers = true)]
    brokers: Vec<i32>,
    /// For `relieve`: the share of every capacity to come down to. 0.8 where nothing is said.
    #[arg(long, value_name = "SHARE")]
    watermark: Option<f64>,
    /// For `replication-factor`: the topics.
    #[arg(long, value_name = "TOPIC,...", value_delimiter = ',')]
    topics: Vec<String>,
    /// For `replication-factor`: replicas of each partition. 3 where nothing is said.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100))]
    factor: Option<u32>,
    /// Topics that stay as they are, but for replicas on dead brokers.
    #[arg(long, value_name = "TOPIC,...", value_delimiter = ',')]
    exclude_topics: Vec<String>,
    /// Brokers that get no replicas. What they hold may stay.
    #[arg(long, value_name = "ID,...", value_delimiter = ',', allow_negative_numbers = true)]
    exclude_brokers: Vec<i32>,
    #[command(flatten)]
    marks: Marks,
    /// ReplicaCapacityGoal: most replicas of one broker.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    max_replicas: u32,
    /// The goals, most important first, instead of the sixteen usual ones.
    #[arg(long, value_name = "GOAL,...", value_delimiter = ',')]
    goals: Vec<String>,
    /// Those of the goals that no plan may leave worse, whatever that does for others, instead of the usual ones.
    #[arg(long, value_name = "GOAL,...", value_delimiter = ',')]
    hard_goals: Option<Vec<String>>,
    /// What to do rather where goals are served as well: `LeaderElectionFirst`, `SameRack`.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    prefer: Vec<String>,
    /// No broker takes in more than this, whatever its capacity: KB/s, as in the files.
    #[arg(long, value_name = "KB", allow_negative_numbers = true)]
    network_in_limit: Option<f64>,
    /// No broker gives out more than this.
    #[arg(long, value_name = "KB", allow_negative_numbers = true)]
    network_out_limit: Option<f64>,
    /// Copy at most so many bytes: `10GB`, `1.5TiB`, `4096`.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    max_bytes: Option<ByteSize>,
    /// Move at most so many replicas.
    #[arg(long, value_name = "NUMBER")]
    max_moves: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ModeName {
    /// Meet all goals.
    #[default]
    Balance,
    /// Bring replicas off dead brokers and meet the hard goals.
    Heal,
    /// Empty brokers.
    Drain,
    /// Give added brokers their share.
    Add,
    /// Take leadership from brokers.
    Demote,
    /// Bring brokers below a watermark.
    Relieve,
    /// Pass leadership on; move no data.
    Leaders,
    /// Give topics more or fewer replicas.
    ReplicationFactor,
}

/// A cluster and an audited plan for it.
struct Answer {
    named: Named,
    /// The cluster as the mode has it.
    cluster: Cluster,
    /// What the plan is judged by.
    policy: Policy,
    plan: Plan,
    after: Cluster,
    /// The score of the cluster as it is. Another than the plan's own before where the mode changes replication factors.
    before: Score,
    /// What changes, compared with the cluster as it is.
    rows: Vec<Row>,
    /// Goals that the cluster gives no figures for, and why.
    not_judged: Vec<(Goal, String)>,
}

/// One partition that changes.
struct Row {
    partition: u32,
    of: Outcome,
    /// Why, where a change of the plan does it. Nothing where replicas are removed alone.
    reason: Option<Reason>,
    /// What it makes room for, where that is all it does.
    room: Option<Room>,
}

impl Row {
    /// Replicas that are more or less after it.
    fn created(&self) -> usize {
        self.of.after.len().saturating_sub(self.of.before.len())
    }

    fn removed(&self) -> usize {
        self.of.before.len().saturating_sub(self.of.after.len())
    }
}

/// All that changes: what the plan does, in its order, then what is removed alone.
fn rows(named: &Named, plan: &Plan, after: &Cluster) -> Vec<Row> {
    let planned: BTreeSet<u32> = plan.changes.iter().map(|change| change.partition).collect();
    let reasons = plan.changes.iter().zip(&plan.reasons).zip(plan.rooms.iter().copied());
    let first = reasons.map(|((change, reason), room)| (change.partition, (Some(*reason), room)));
    let rest = (0..named.cluster.partitions())
        .filter(|partition| !planned.contains(partition))
        .map(|p| (p, (None, None)));
    let row =
        |(partition, (reason, room))| Row { partition, of: outcome(named, after, partition), reason, room };
    first.chain(rest).map(row).filter(|row| row.of.changes()).collect()
}

impl PlanCommand {
    pub(super) fn run(self) -> ExitCode {
        let mut notes = Vec::new();
        let answer = self.answer(&mut notes);
        for note in notes {
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "doctorkafka: {note}");
        }
        match answer {
            Ok(text) => print(&text),
            Err(why) => fail(&why),
        }
    }

    /// What comes to standard output: the plan as text or JSON, or what is to be written there. What else there is to say comes to the
    /// notes.
    fn answer(&self, notes: &mut Vec<String>) -> Result<String, String> {
        let on_output = |path: &Option<PathBuf>| path.as_deref().is_some_and(is_output);
        let texts = [self.json, on_output(&self.out), on_output(&self.reassignment_json)];
        if texts.iter().filter(|text| **text).count() > 1 {
            return Err(
                "standard output has room for one: --json, --out - or --reassignment-json -".to_owned()
            );
        }
        let answer = self.question.answer()?;
        notes.extend(self.question.not_created(&answer));
        let (mut files, mut output) = (Files::default(), None);
        if let Some(path) = &self.out {
            write(path, &mut files, &mut output, |mut out| {
                write_placement(&answer.named, &answer.after, &mut out)
            })?;
        }
        if let Some(path) = &self.reassignment_json {
            reassignment(&answer, path, (&mut files, &mut output), notes)?;
        }
        files.put()?;
        Ok(match output {
            Some(output) => output,
            None if on_output(&self.reassignment_json) => String::new(),
            None if self.json => render::json(&answer),
            None => render::text(&answer),
        })
    }
}

impl Explain {
    pub(super) fn run(self) -> ExitCode {
        match self.answer() {
            Ok(text) => print(&text),
            Err(why) => fail(&why),
        }
    }

    fn answer(&self) -> Result<String, String> {
        let answer = self.question.answer()?;
        match (&self.partition, self.broker) {
            (Some(partition), _) if self.json => explain::partition_json(&answer, partition),
            (Some(partition), _) => explain::partition(&answer, partition),
            (None, Some(broker)) if self.json => explain::broker_json(&answer, broker),
            (None, Some(broker)) => explain::broker(&answer, broker),
            (None, None) => Err("neither a partition nor a broker is named".to_owned()),
        }
    }
}

/// Whether a path stands for standard output, as it does for `init`.
fn is_output(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Writes to a file, or what is to come to standard output.
fn write(
    path: &Path,
    files: &mut Files,
    output: &mut Option<String>,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), String> {
    if !is_output(path) {
        return files.write(path, content);
    }
    let mut bytes = Vec::new();
    content(&mut bytes).map_err(|error| in_words(&error))?;
    *output = Some(String::from_utf8_lossy(&bytes).into_owned());
    Ok(())
}

/// Writes the file for Kafka's tool, and says what is not in it and what has to follow.
fn reassignment(
    answer: &Answer,
    path: &Path,
    (files, output): (&mut Files, &mut Option<String>),
    notes: &mut Vec<String>,
) -> Result<(), String> {
    let name = if is_output(path) { "standard output".to_owned() } else { path.display().to_string() };
    let whole = Reassignment::new(&answer.named, &answer.after);
    if let Some(first) = whole.left_out.first() {
        notes.push(format!(
            "{} left out of {name} (the first is {}): the lists would still name a broker that is not alive, and Kafka \
             refuses a file that names one",
            are(whole.left_out.len(), "is", "are"),
            render::partition_name(&answer.named, *first)
        ));
    }
    if whole.is_empty() {
        notes.push(format!("{name} is not written: there is nothing to reassign"));
        return Ok(());
    }
    write(path, files, output, |mut out| whole.write(&mut out))?;
    if whole.elections > 0 {
        notes.push(format!(
            "{} another leader: when the reassignment has ended, run kafka-leader-election --election-type preferred",
            are(whole.elections as usize, "gets", "get")
        ));
    }
    Ok(())
}

/// So many partitions with the verb that goes with them.
fn are(partitions: usize, one: &str, more: &str) -> String {
    format!("{} {}", render::count(partitions as u128, "partition"), if partitions == 1 { one } else { more })
}

impl Question {
    fn answer(&self) -> Result<Answer, String> {
        let bar = Bar::on_terminal();
        bar.begins(Step::Reading);
        let source = self.read()?;
        let mut policy = self.policy()?;
        self.refuse_what_cannot_be_judged(&source)?;
        let not_judged: Vec<(Goal, String)> =
            policy.goals.iter().filter_map(|goal| Some((*goal, source.why_not(*goal)?))).collect();
        policy.goals.retain(|goal| not_judged.iter().all(|(other, _)| other != goal));
        policy.hard.retain(|goal| policy.goals.contains(goal));
        let capacity = |goal: &Goal| goal.is_hard() && goal.resource().is_some();
        if self.mode == ModeName::Relieve && !policy.goals.iter().any(capacity) {
            return Err("relieve needs the capacity of brokers, and none is known".to_owned());
        }
        let mut named = source.named;
        let excluded_topics = topics(&named, &self.exclude_topics)?;
        let excluded_brokers =
            self.exclude_brokers.iter().map(|id| ordinal(&named, *id)).collect::<Result<Vec<_>, _>>()?;
        named.cluster = named.cluster.with_excluded(&excluded_topics, &excluded_brokers);
        named.cluster = self.marks.set(&named)?;
        let (cluster, policy) = self.mode(&named)?.prepare(&named.cluster, &policy);
        let disk = self.max_bytes.map(|bytes| i64::try_from(bytes.0).unwrap_or(i64::MAX));
        let budget = Budget { moves: self.max_moves, disk };
        let plan = solve_watched(&cluster, &policy, &budget, &|progress| bar.planning(progress));
        bar.begins(Step::Auditing);
        audit(&cluster, &policy, &budget, &plan).map_err(|violations| {
            let all: Vec<String> = violations.iter().map(ToString::to_string).collect();
            format!("the plan does not stand up to its audit: {}", all.join("; "))
        })?;
        let after = plan.applied_to(&cluster);
        let rows = rows(&named, &plan, &after);
        let resized = self.mode == ModeName::ReplicationFactor;
        let before = if resized { judge(&named.cluster, &policy) } else { plan.before.clone() };
        Ok(Answer { named, cluster, policy, plan, after, before, rows, not_judged })
    }

    /// A warning of replicas that were asked for and cannot be created.
    fn not_created(&self, answer: &Answer) -> Option<String> {
        let (asked, waiting) = render::to_create(answer);
        if waiting == 0 {
            return None;
        }
        let takers =
            answer.named.cluster.brokers().iter().filter(|known| known.alive && known.takes_replicas);
        let (takers, factor) = (takers.count(), self.factor.unwrap_or(3));
        let why = match takers < factor as usize {
            true => format!(
                "no two replicas of a partition share a broker, and {} may take some",
                render::count(takers as u128, "living broker")
            ),
            false => "the plan says of each partition what keeps them from it".to_owned(),
        };
        Some(format!(
            "warning: {waiting} of the {} that a factor of {factor} asks for are not created: {why}",
            render::count(asked.into(), "replica"),
        ))
    }

    fn read(&self) -> Result<source::Source, String> {
        match (&self.from, &self.bootstrap_servers) {
            (Some(path), _) => source::file(path).map_err(|error| in_words(&error)),
            (None, Some(servers)) => source::live(servers, self.command_config.as_deref()),
            (None, None) => Err("no cluster is named".to_owned()),
        }
    }

    fn policy(&self) -> Result<Policy, String> {
        let mut policy = Policy { max_replicas: i64::from(self.max_replicas), ..Policy::default() };
        if self.mode == ModeName::Relieve && (!self.goals.is_empty() || self.hard_goals.is_some()) {
            return Err("relieve has goals of its own: it takes no --goals and no --hard-goals".to_owned());
        }
        for (goal, topics) in self.marks.topics_of_goals() {
            let among = |names: &[String]| names.iter().any(|name| name == goal.name());
            if among(&self.goals) || among(self.hard_goals.as_deref().unwrap_or(&[])) {
                topics.map_err(|option| format!("{} judges no topic: {option} names some", goal.name()))?;
            } else if topics.is_ok() && !self.goals.is_empty() {
                return Err(format!("{} is not among the goals", goal.name()));
            } else if topics.is_ok() && !policy.goals.contains(&goal) {
                policy.goals.insert(0, goal);
            }
        }
        if let Some(twice) = twice(&self.goals).or_else(|| twice(self.hard_goals.as_deref().unwrap_or(&[]))) {
            return Err(format!("{twice} is named twice"));
        }
        let named = |name: &String| Goal::named(name).ok_or_else(|| no_goal(name));
        if !self.goals.is_empty() {
            policy.goals = self.goals.iter().map(named).collect::<Result<_, _>>()?;
        }
        let limits = [
            (Goal::NetworkInLimit, NETWORK_IN, self.network_in_limit),
            (Goal::NetworkOutLimit, NETWORK_OUT, self.network_out_limit),
        ];
        for (at, (goal, resource, limit)) in limits.into_iter().enumerate() {
            if let Some(limit) = limit {
                let fixed = fixed_point(resource, limit).filter(|limit| *limit > 0);
                policy.network_limit[at] = fixed.ok_or("a limit is more than 0 and below 100 PB/s")?;
                if !policy.goals.contains(&goal) {
                    // Behind the hard goals that are there.
                    let place =
                        policy.goals.iter().rposition(|goal| goal.is_hard()).map_or(0, |last| last + 1);
                    policy.goals.insert(place, goal);
                }
            }
        }
        policy.hard = match &self.hard_goals {
            None => policy.goals.iter().copied().filter(|goal| goal.is_hard()).collect(),
            Some(names) => {
                names.iter().filter(|name| !name.is_empty()).map(named).collect::<Result<_, _>>()?
            }
        };
        if let Some(stranger) = policy.hard.iter().find(|goal| !policy.goals.contains(goal)) {
            return Err(format!("{} is not among the goals", stranger.name()));
        }
        let preference =
            |name: &String| Preference::named(name).ok_or_else(|| format!("there is no preference {name}"));
        policy.preferences = self.prefer.iter().map(preference).collect::<Result<_, _>>()?;
        Ok(policy)
    }

    /// A goal that was asked for by name, or by a limit, is not left out without a word.
    fn refuse_what_cannot_be_judged(&self, source: &source::Source) -> Result<(), String> {
        let by_limit = [
            self.network_in_limit.map(|_| Goal::NetworkInLimit),
            self.network_out_limit.map(|_| Goal::NetworkOutLimit),
        ];
        let by_name = self.goals.iter().chain(self.hard_goals.iter().flatten());
        let mut asked = by_name.filter_map(|name| Goal::named(name)).chain(by_limit.into_iter().flatten());
        match asked.find_map(|goal| Some((goal, source.why_not(goal)?))) {
            None => Ok(()),
            Some((goal, why)) => Err(format!("{} cannot be judged: {why}", goal.name())),
        }
    }

    fn mode(&self, named: &Named) -> Result<Mode, String> {
        let brokers = self.brokers.iter().map(|id| ordinal(named, *id)).collect::<Result<Vec<_>, _>>()?;
        if let Some(id) = twice(&self.brokers) {
            return Err(format!("--brokers: broker {id} is named twice"));
        }
        let needed = matches!(self.mode, ModeName::Drain | ModeName::Add | ModeName::Demote);
        if needed == brokers.is_empty() {
            let word = if needed { "this mode needs" } else { "this mode takes no" };
            return Err(format!("{word} --brokers"));
        }
        let topics = topics(named, &self.topics)?;
        let changes_factor = self.mode == ModeName::ReplicationFactor;
        if changes_factor == topics.is_empty() {
            let word = if changes_factor { "this mode needs" } else { "this mode takes no" };
            return Err(format!("{word} --topics"));
        }
        if self.factor.is_some() && !changes_factor {
            return Err("this mode takes no --factor".to_owned());
        }
        if self.watermark.is_some() && self.mode != ModeName::Relieve {
            return Err("this mode takes no --watermark".to_owned());
        }
        let watermark = self.watermark.unwrap_or(0.8);
        if !(0.0..=1.0).contains(&watermark) {
            return Err("the watermark is a share between 0 and 1".to_owned());
        }
        let dead = |broker: &&u32| !named.cluster.brokers()[**broker as usize].alive;
        if let Some(dead) = brokers.iter().find(dead).filter(|_| self.mode == ModeName::Add) {
            return Err(format!(
                "broker {} is dead: nothing can be given to it",
                named.broker_ids[*dead as usize]
            ));
        }
        Ok(match self.mode {
            ModeName::Balance => Mode::Balance,
            ModeName::Heal => Mode::Heal,
            ModeName::Drain => Mode::Drain { brokers },
            ModeName::Add => Mode::Add { brokers },
            ModeName::Demote => Mode::Demote { brokers },
            ModeName::Relieve => Mode::Relieve { watermark: [(watermark * MILLION as f64) as i64; 4] },
            ModeName::Leaders => Mode::Leaders,
            ModeName::ReplicationFactor => {
                Mode::ReplicationFactor { topics, factor: self.factor.unwrap_or(3) }
            }
        })
    }
}

/// What is named a second time.
fn twice<T: PartialEq>(names: &[T]) -> Option<&T> {
    names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)).map(|(_, name)| name)
}

/// What to say of a goal that there is not.
fn no_goal(name: &str) -> String {
    let all: Vec<&str> = Goal::all().map(Goal::name).collect();
    format!("there is no goal {name:?}: the goals are {}", all.join(", "))
}

fn ordinal(named: &Named, broker: i32) -> Result<u32, String> {
    let ordinal = named.broker_ids.iter().position(|id| *id == broker);
    ordinal.map(|ordinal| ordinal as u32).ok_or_else(|| format!("there is no broker {broker}"))
}

/// A partition by its name.
fn partition_ordinal(named: &Named, name: &str) -> Result<u32, String> {
    let mut all = 0..named.cluster.partitions();
    let partition = all.find(|partition| render::partition_name(named, *partition) == name);
    partition.ok_or_else(|| format!("there is no partition {name}"))
}

/// The numbers of topics.
fn topics(named: &Named, names: &[String]) -> Result<Vec<u32>, String> {
    let topic = |name: &String| {
        let number = named.topics.iter().position(|topic| topic == name);
        number.map(|number| number as u32).ok_or_else(|| format!("there is no topic {name}"))
    };
    names.iter().map(topic).collect()
}

#[cfg(test)]
mod tests;
