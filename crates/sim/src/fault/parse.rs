//! From text to a [`Schedule`].

use std::str::FromStr;
use std::time::Duration;

use cluster::{BrokerId, TopicName, TopicPartition};
use control::config::HumanDuration;

use super::{Fault, Party, Planned, Schedule, ScheduleError, ScheduleProblem, UNITS, When, Who};

/// Times are below a century: sums of them stay far from any bound.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let mut planned = Vec::new();
        for (at, line) in text.lines().enumerate() {
            planned.extend(Words::new(at + 1, line).planned()?);
        }
        Ok(Self(planned))
    }
}

/// Something of a cluster that a text names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Broker(BrokerId),
    Rack(String),
    Topic(TopicName),
    Partition(TopicPartition),
}

/// Where a text names something of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) named: Named,
}

/// The words of a line that have not been read yet, with their columns.
pub(crate) struct Words<'a> {
    line: usize,
    words: Vec<(usize, &'a str)>,
    /// How many of them have been read.
    read: usize,
    end: usize,
    /// What has been read of a cluster's names.
    pub(crate) mentions: Vec<Mention>,
}

impl<'a> Words<'a> {
    /// The words up to one that begins a comment.
    pub(crate) fn new(line: usize, text: &'a str) -> Self {
        Self::beginning_at(line, 1, text)
    }

    /// The words of a part of a line that begins in this column.
    pub(crate) fn beginning_at(line: usize, mut column: usize, text: &'a str) -> Self {
        let mut words = Vec::new();
        let mut rest = text;
        loop {
            let trimmed = rest.trim_start();
            column += rest[..rest.len() - trimmed.len()].chars().count();
            let (word, after) = trimmed.split_at(trimmed.find(char::is_whitespace).unwrap_or(trimmed.len()));
            if word.is_empty() || word.starts_with('#') {
                return Self { line, words, read: 0, end: column, mentions: Vec::new() };
            }
            words.push((column, word));
            column += word.chars().count();
            rest = after;
        }
    }

    /// A line up to the comment in it.
    pub(crate) fn without_comment(text: &str) -> &str {
        let mut before = ' ';
        for (at, c) in text.char_indices() {
            if c == '#' && before.is_whitespace() {
                return &text[..at];
            }
            before = c;
        }
        text
    }

    pub(crate) fn line(&self) -> usize {
        self.line
    }

    /// The words that have not been read yet.
    pub(crate) fn rest(&self) -> &[(usize, &'a str)] {
        &self.words[self.read..]
    }

    /// The next word that has not been read yet.
    pub(crate) fn first(&self) -> Option<(usize, &'a str)> {
        self.rest().first().copied()
    }

    /// A word of the line, read or not.
    pub(crate) fn nth(&self, at: usize) -> Option<&'a str> {
        self.words.get(at).map(|(_, word)| *word)
    }

    /// The column of a word of the line, read or not.
    pub(crate) fn place(&self, at: usize) -> usize {
        self.words.get(at).map_or(self.end, |(column, _)| *column)
    }

    /// Passes a word over of which it is known what it is.
    pub(crate) fn word(&mut self, expected: &'static str) -> Result<(), ScheduleError> {
        self.next(expected, |_| Some(()))
    }

    /// Refuses the word that was read last.
    pub(crate) fn refuse_last<T>(&self, expected: &'static str) -> Result<T, ScheduleError> {
        let last = self.read.saturating_sub(1);
        let found = self.nth(last).unwrap_or_default().to_owned();
        self.refuse(self.place(last), ScheduleProblem::Expected { expected, found })
    }

    /// The line ends here.
    pub(crate) fn end(&self) -> Result<(), ScheduleError> {
        self.first().map_or(Ok(()), |(column, word)| {
            self.refuse(column, ScheduleProblem::TooMuch { found: word.to_owned() })
        })
    }

    /// A word that names something of a cluster.
    fn named<T>(
        &mut self,
        expected: &'static str,
        read: impl Fn(&'a str) -> Option<T>,
        named: impl Fn(&T) -> Option<Named>,
    ) -> Result<T, ScheduleError> {
        let column = self.place(self.read);
        let value = self.next(expected, read)?;
        let line = self.line;
        self.mentions.extend(named(&value).map(|named| Mention { line, column, named }));
        Ok(value)
    }

    pub(crate) fn broker(&mut self, expected: &'static str) -> Result<BrokerId, ScheduleError> {
        self.named(expected, broker, |id| Some(Named::Broker(*id)))
    }

    fn partition(&mut self) -> Result<TopicPartition, ScheduleError> {
        self.named("a partition (topic-0)", partition, |at| Some(Named::Partition(at.clone())))
    }

    fn refuse<T>(&self, column: usize, problem: ScheduleProblem) -> Result<T, ScheduleError> {
        Err(ScheduleError { line: self.line, column, problem })
    }

    /// The next word, read by `read`.
    pub(crate) fn next<T>(
        &mut self,
        expected: &'static str,
        read: impl Fn(&'a str) -> Option<T>,
    ) -> Result<T, ScheduleError> {
        let Some((column, word)) = self.first() else {
            return self.refuse(self.end, ScheduleProblem::End { expected });
        };
        self.read += 1;
        match read(word) {
            Some(value) => Ok(value),
            None => self.refuse(column, ScheduleProblem::Expected { expected, found: word.to_owned() }),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    pub(crate) fn time(&mut self) -> Result<Duration, ScheduleError> {
        self.next("a time such as 90s or 1h30m", time)
    }

    fn who(&mut self) -> Result<Who, ScheduleError> {
        let read = |word: &'a str| match word {
            "any" => Some(Who::Any),
            _ => broker(word).map(Who::Broker),
        };
        self.named("a broker (b1) or any", read, |who| match who {
            Who::Broker(id) => Some(Named::Broker(*id)),
            Who::Any => None,
        })
    }

    /// A fault with its moment; `None` for a line without words.
    pub(crate) fn planned(&mut self) -> Result<Option<Planned>, ScheduleError> {
        if self.is_empty() {
            return Ok(None);
        }
        let is_at = self.next("at or within", |word| match word {
            "at" => Some(true),
            "within" => Some(false),
            _ => None,
        })?;
        let time = self.time()?;
        let fault = self.fault()?;
        let mut lasting = None;
        if fault.lasts() && !self.is_empty() {
            self.next("for", |word| (word == "for").then_some(()))?;
            lasting = Some(self.time()?);
        }
        self.end()?;
        let when = if is_at { When::At(time) } else { When::Within(time) };
        Ok(Some(Planned { when, fault, lasting }))
    }

    /// A fault, without the time that it lasts.
    pub(crate) fn fault(&mut self) -> Result<Fault, ScheduleError> {
        let name = self.next("a fault such as kill", Some)?;
        Ok(match name {
            "kill" => Fault::Kill(self.who()?),
            "shut-down" => Fault::ShutDown(self.who()?),
            "restart" => Fault::Restart(self.who()?),
            "recover" => Fault::Recover(self.who()?, self.time()?),
            "replace" => Fault::Replace(self.who()?),
            "pause" => Fault::Pause(self.who()?, self.time()?),
            "flap" => Fault::Flap(self.who()?),
            "slow-disk" => Fault::SlowDisk(self.who()?, self.next("a rate such as 10MB/s", rate)?),
            "fill" => {
                let who = self.who()?;
                let all = self.is_empty();
                Fault::Fill(who, if all { 100 } else { self.next("a part such as 95%", percent)? })
            }
            "isolate" => self.isolate()?,
            "frozen-metadata" => Fault::FrozenMetadata(self.who()?),
            "agent-silent" => Fault::AgentSilent(self.who()?),
            "stats-lag" => Fault::StatsLag(self.time()?),
            "stats-unreachable" => Fault::StatsUnreachable,
            "topics-unreadable" => Fault::TopicsUnreadable,
            "answers-lost" => Fault::AnswersLost,
            "rack-down" => {
                let read = |word: &'a str| Some(word.to_owned());
                Fault::RackDown(self.named("a rack", read, |rack| Some(Named::Rack(rack.clone())))?)
            }
            "traffic" => {
                let read = |word: &'a str| is_topic(word).then(|| TopicName::from(word));
                let topic = self.named("a topic", read, |name| Some(Named::Topic(name.clone())))?;
                Fault::Traffic(topic, self.next("a factor such as x3 or x0.5", factor)?)
            }
            "foreign-reassignment" => self.foreign_reassignment()?,
            "foreign-cancel" => Fault::ForeignCancel(self.partition()?),
            "crash" => self.next("us", |word| (word == "us").then_some(Fault::CrashUs))?,
            "another-cluster" => Fault::AnotherCluster,
            "clock" => Fault::Clock(self.next("a jump such as +1h or -5m", jump)?),
            "calm" => Fault::Calm,
            _ => return self.refuse_last("a fault such as kill"),
        })
    }

    fn isolate(&mut self) -> Result<Fault, ScheduleError> {
        let who = self.who()?;
        self.next("from", |word| (word == "from").then_some(()))?;
        let column = self.place(self.read);
        let read = |word: &'a str| match word {
            "us" => Some(Party::Us),
            "controller" => Some(Party::Controller),
            _ => broker(word).map(Party::Broker),
        };
        let party = self.named("a broker (b1), us or controller", read, |party| match party {
            Party::Broker(id) => Some(Named::Broker(*id)),
            Party::Us | Party::Controller => None,
        })?;
        match (who, party) {
            (Who::Broker(a), Party::Broker(b)) if a == b => self.refuse(column, ScheduleProblem::Itself),
            _ => Ok(Fault::Isolate(who, party)),
        }
    }

    fn foreign_reassignment(&mut self) -> Result<Fault, ScheduleError> {
        let partition = self.partition()?;
        let target = |words: &mut Self| words.named("a broker's id", id, |id| Some(Named::Broker(*id)));
        let mut to = vec![target(self)?];
        while let Some((column, _)) = self.first() {
            let next = target(self)?;
            if to.contains(&next) {
                return self.refuse(column, ScheduleProblem::Twice(next));
            }
            to.push(next);
        }
        Ok(Fault::ForeignReassignment(partition, to))
    }
}

pub(crate) fn time(word: &str) -> Option<Duration> {
    // A time has a unit: a bare number would be seconds for some and minutes for others.
    let with_unit = word.ends_with(|c: char| c.is_ascii_alphabetic());
    let time = with_unit.then(|| word.parse::<HumanDuration>().ok()).flatten()?.0;
    (time <= LONGEST).then_some(time)
}

pub(crate) fn number<T: FromStr>(word: &str) -> Option<T> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| word.parse().ok()).flatten()
}

pub(crate) fn id(word: &str) -> Option<BrokerId> {
    number(word).map(BrokerId)
}

pub(crate) fn broker(word: &str) -> Option<BrokerId> {
    id(word.strip_prefix('b')?)
}

pub(crate) fn rate(word: &str) -> Option<u64> {
    let word = word.strip_suffix("/s")?;
    let (digits, unit) = UNITS.iter().find_map(|(name, unit)| Some((word.strip_suffix(name)?, *unit)))?;
    number::<u64>(digits)?.checked_mul(unit)
}

fn percent(word: &str) -> Option<u8> {
    number::<u8>(word.strip_suffix('%')?).filter(|percent| *percent <= 100)
}

/// Thousandths of a decimal number with at most three digits behind the point.
fn factor(word: &str) -> Option<u32> {
    let (whole, part) = word.strip_prefix('x')?.split_once('.').unwrap_or((word.strip_prefix('x')?, "0"));
    if part.len() > 3 {
        return None;
    }
    let part: u32 = number(&format!("{part:0<3}"))?;
    number::<u32>(whole)?.checked_mul(1000)?.checked_add(part)
}

fn jump(word: &str) -> Option<i64> {
    let forward = word.starts_with('+');
    let ms = i64::try_from(time(word.strip_prefix(['+', '-'])?)?.as_millis()).ok()?;
    Some(if forward { ms } else { -ms })
}

fn is_topic(word: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !word.is_empty() && word.chars().all(legal)
}

pub(crate) fn partition(word: &str) -> Option<TopicPartition> {
    let (topic, partition) = word.rsplit_once('-')?;
    is_topic(topic).then(|| number(partition)).flatten().map(|number: i32| TopicPartition::new(topic, number))
}
