//! Faults as data, and a notation for them: one line for each, with the moment at which it happens.
//!
//! ```text
//! # a comment
//! at 30s kill b3
//! at 1m pause b2 20s
//! within 10m restart any
//! at 2m isolate b1 from us for 5m
//! ```
//!
//! `at` gives a moment after the beginning; `within` leaves it to chance when in that time it happens. A broker is `b`
//! and its id, or `any` to leave it to chance. What lasts until it is ended can be given an end with `for`:
//!
//! | fault | what happens | lasts |
//! |---|---|---|
//! | `kill b3` | the broker's process ends at once | |
//! | `shut-down b3` | it is shut down in an orderly way | |
//! | `restart b3` | it is shut down in an orderly way if it runs, and started | |
//! | `recover b3 40m` | it is killed and started, and checks its logs for so long before it serves | |
//! | `replace b3` | its process ends, and another host with empty disks starts in its place | |
//! | `pause b3 20s` | its process stands still for so long | |
//! | `flap b3` | it is killed and started again, six times, every minute | |
//! | `slow-disk b3 10MB/s` | its disks write no faster than that | yes |
//! | `fill b3`, `fill b3 95%` | its first volume that works is filled, wholly or to so much | |
//! | `isolate b1 from b2` | two brokers do not reach each other; also `from us`, `from controller` | yes |
//! | `frozen-metadata b3` | its metadata stand still, although it lives | yes |
//! | `agent-silent b3` | its agent does not report | yes |
//! | `stats-lag 90s` | reports come so much later | yes |
//! | `stats-unreachable` | nobody reaches the stats topic: reports are lost, none are read | yes |
//! | `topics-unreadable` | we are told neither topics nor reassignments; who is alive we are, and orders are taken | yes |
//! | `answers-lost` | what we order is done, and no answer to it reaches us | yes |
//! | `rack-down r1` | all brokers of the rack lose power | |
//! | `traffic orders x3` | three times the usual traffic of the topic | yes |
//! | `foreign-reassignment orders-0 1 2 4` | somebody else moves the partition to these brokers | |
//! | `foreign-cancel orders-0` | somebody else cancels the partition's reassignment | |
//! | `crash us` | DoctorKafka's own process is killed, perhaps amid its acts, and started again | |
//! | `another-cluster` | brokers of another cluster answer at the addresses of this one | |
//! | `clock +1h`, `clock -5m` | DoctorKafka's wall clock jumps | |
//! | `calm` | all that lasts is ended, and all brokers that are down are started | |

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use cluster::{BrokerId, TopicName, TopicPartition};
use control::config::HumanDuration;
use thiserror::Error;

pub(crate) mod parse;

/// A broker, or any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// This one.
    Broker(BrokerId),
    /// One that chance chooses when it happens.
    Any,
}

/// The other end of a connection that is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// Another broker.
    Broker(BrokerId),
    /// DoctorKafka.
    Us,
    /// The controller (or ZooKeeper).
    Controller,
}

/// What goes wrong. The table in the [module](self) says what each does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill`
    Kill(Who),
    /// `shut-down`
    ShutDown(Who),
    /// `restart`
    Restart(Who),
    /// `recover`
    Recover(Who, Duration),
    /// `replace`
    Replace(Who),
    /// `pause`
    Pause(Who, Duration),
    /// `flap`
    Flap(Who),
    /// `slow-disk`, in bytes per second.
    SlowDisk(Who, u64),
    /// `fill`, to so many percent.
    Fill(Who, u8),
    /// `isolate`
    Isolate(Who, Party),
    /// `frozen-metadata`
    FrozenMetadata(Who),
    /// `agent-silent`
    AgentSilent(Who),
    /// `stats-lag`
    StatsLag(Duration),
    /// `stats-unreachable`
    StatsUnreachable,
    /// `topics-unreadable`
    TopicsUnreadable,
    /// `answers-lost`
    AnswersLost,
    /// `rack-down`
    RackDown(String),
    /// `traffic`, in thousandths of the usual.
    Traffic(TopicName, u32),
    /// `foreign-reassignment`
    ForeignReassignment(TopicPartition, Vec<BrokerId>),
    /// `foreign-cancel`
    ForeignCancel(TopicPartition),
    /// `crash us`
    CrashUs,
    /// `another-cluster`
    AnotherCluster,
    /// `clock`, in milliseconds.
    Clock(i64),
    /// `calm`
    Calm,
}

impl Fault {
    /// Whether it lasts until it is ended.
    pub fn lasts(&self) -> bool {
        matches!(
            self,
            Self::SlowDisk(..)
                | Self::Isolate(..)
                | Self::FrozenMetadata(_)
                | Self::AgentSilent(_)
                | Self::StatsLag(_)
                | Self::StatsUnreachable
                | Self::TopicsUnreadable
                | Self::AnswersLost
                | Self::Traffic(..)
        )
    }
}

/// When a fault happens, counted from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At this moment.
    At(Duration),
    /// At some moment within this time.
    Within(Duration),
}

/// A fault with its moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When it happens.
    pub when: When,
    /// What happens.
    pub fault: Fault,
    /// How long it lasts, for what [lasts](Fault::lasts); without it until `calm`.
    pub lasting: Option<Duration>,
}

/// The faults of a script, in the order of its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule(pub Vec<Planned>);

/// Where a text is not a schedule, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct ScheduleError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: ScheduleProblem,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScheduleProblem {
    /// Something else is expected.
    #[error("expected {expected}, found \"{found}\"")]
    Expected {
        /// What is expected.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// The line ends too early.
    #[error("expected {expected}, found the end of the line")]
    End {
        /// What is expected.
        expected: &'static str,
    },
    /// The line goes on behind its end.
    #[error("\"{found}\" is too much")]
    TooMuch {
        /// What stands there.
        found: String,
    },
    /// A broker cannot be cut off from itself.
    #[error("a broker cannot be isolated from itself")]
    Itself,
    /// A broker stands in the list twice.
    #[error("broker {0} is there twice")]
    Twice(BrokerId),
}

/// A flapping broker comes and goes so often.
pub(crate) const FLAPS: u32 = 6;
/// It is down for so long each time: longer than a session, or nobody would notice.
pub(crate) const FLAP_DOWN: Duration = Duration::from_secs(20);
/// And goes down again so long after it went down last.
pub(crate) const FLAP_EVERY: Duration = Duration::from_secs(60);

impl Planned {
    /// When it is over at the latest, counted from the beginning. What lasts without an end is over when it has begun:
    /// nothing more comes of it by itself.
    pub fn over(&self) -> Duration {
        let (When::At(begins) | When::Within(begins)) = self.when;
        let takes = match &self.fault {
            Fault::Recover(_, time) | Fault::Pause(_, time) => *time,
            Fault::Flap(_) => FLAP_EVERY * (FLAPS - 1) + FLAP_DOWN,
            _ => self.lasting.unwrap_or_default(),
        };
        begins.saturating_add(takes)
    }
}

impl Schedule {
    /// When all of it is [over](Planned::over).
    pub fn over(&self) -> Duration {
        self.0.iter().map(Planned::over).max().unwrap_or_default()
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(id) => write!(f, "b{id}"),
            Self::Any => f.write_str("any"),
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(id) => write!(f, "b{id}"),
            Self::Us => f.write_str("us"),
            Self::Controller => f.write_str("controller"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(who) => write!(f, "kill {who}"),
            Self::ShutDown(who) => write!(f, "shut-down {who}"),
            Self::Restart(who) => write!(f, "restart {who}"),
            Self::Recover(who, time) => write!(f, "recover {who} {}", short(*time)),
            Self::Replace(who) => write!(f, "replace {who}"),
            Self::Pause(who, time) => write!(f, "pause {who} {}", short(*time)),
            Self::Flap(who) => write!(f, "flap {who}"),
            Self::SlowDisk(who, rate) => write!(f, "slow-disk {who} {}/s", bytes(*rate)),
            Self::Fill(who, 100) => write!(f, "fill {who}"),
            Self::Fill(who, percent) => write!(f, "fill {who} {percent}%"),
            Self::Isolate(who, party) => write!(f, "isolate {who} from {party}"),
            Self::FrozenMetadata(who) => write!(f, "frozen-metadata {who}"),
            Self::AgentSilent(who) => write!(f, "agent-silent {who}"),
            Self::StatsLag(time) => write!(f, "stats-lag {}", short(*time)),
            Self::StatsUnreachable => f.write_str("stats-unreachable"),
            Self::TopicsUnreadable => f.write_str("topics-unreadable"),
            Self::AnswersLost => f.write_str("answers-lost"),
            Self::RackDown(rack) => write!(f, "rack-down {rack}"),
            Self::Traffic(topic, permille) => write!(f, "traffic {topic} x{}", factor(*permille)),
            Self::ForeignReassignment(partition, to) => {
                write!(f, "foreign-reassignment {partition}")?;
                to.iter().try_for_each(|id| write!(f, " {id}"))
            }
            Self::ForeignCancel(partition) => write!(f, "foreign-cancel {partition}"),
            Self::CrashUs => f.write_str("crash us"),
            Self::AnotherCluster => f.write_str("another-cluster"),
            Self::Clock(ms) => {
                let sign = if *ms < 0 { '-' } else { '+' };
                write!(f, "clock {sign}{}", short(Duration::from_millis(ms.unsigned_abs())))
            }
            Self::Calm => f.write_str("calm"),
        }
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.when {
            When::At(time) => write!(f, "at {} {}", short(time), self.fault)?,
            When::Within(time) => write!(f, "within {} {}", short(time), self.fault)?,
        }
        self.lasting.map_or(Ok(()), |time| write!(f, " for {}", short(time)))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|planned| writeln!(f, "{planned}"))
    }
}

/// A duration as one word: `1h30m`.
pub(crate) fn short(duration: Duration) -> String {
    HumanDuration(duration).to_string().replace(' ', "")
}

/// Units of rates, the largest first.
const UNITS: [(&str, u64); 4] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000), ("B", 1)];

/// Bytes in the largest unit that divides them.
pub(crate) fn bytes(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// Thousandths as a decimal number without needless zeros.
fn factor(permille: u32) -> String {
    let text = format!("{}.{:03}", permille / 1000, permille % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What lasts at most once at a time, with what it is about: a second one takes the place of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lasting {
    SlowDisk(usize),
    Isolated(usize, Cut),
    Frozen(usize),
    Silent(usize),
    StatsLag,
    StatsUnreachable,
    TopicsUnreadable,
    AnswersLost,
    Traffic(usize),
}

/// The other end of a cut connection, as the world numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cut {
    Broker(usize),
    Us,
    Controller,
}

/// What lasts at present, with its end where one is given.
pub(crate) type LastingFaults = BTreeMap<Lasting, Option<crate::time::Moment>>;

#[cfg(test)]
mod tests;
