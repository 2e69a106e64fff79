//! From text to a [`Schedule`].

use std::str::FromStr;
use std::time::Duration;

use cluster::{BrokerId, TopicPartition};
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

/// The words of a line that have not been read yet, with their columns.
struct Words<'a> {
    line: usize,
    words: std::vec::IntoIter<(usize, &'a str)>,
    end: usize,
}

impl<'a> Words<'a> {
    /// The words up to one that begins a comment.
    fn new(line: usize, text: &'a str) -> Self {
        let mut words = Vec::new();
        let mut rest = text;
        let mut column = 1;
        loop {
            let trimmed = rest.trim_start();
            column += rest[..rest.len() - trimmed.len()].chars().count();
            let (word, after) = trimmed.split_at(trimmed.find(char::is_whitespace).unwrap_or(trimmed.len()));
            if word.is_empty() || word.starts_with('#') {
                return Self { line, words: words.into_iter(), end: column };
            }
            words.push((column, word));
            column += word.chars().count();
            rest = after;
        }
    }

    fn refuse<T>(&self, column: usize, problem: ScheduleProblem) -> Result<T, ScheduleError> {
        Err(ScheduleError { line: self.line, column, problem })
    }

    /// The next word, read by `read`.
    fn next<T>(
        &mut self,
        expected: &'static str,
        read: impl Fn(&'a str) -> Option<T>,
    ) -> Result<T, ScheduleError> {
        let Some((column, word)) = self.words.next() else {
            return self.refuse(self.end, ScheduleProblem::End { expected });
        };
        match read(word) {
            Some(value) => Ok(value),
            None => self.refuse(column, ScheduleProblem::Expected { expected, found: word.to_owned() }),
        }
    }

    fn is_empty(&self) -> bool {
        self.words.as_slice().is_empty()
    }

    fn time(&mut self) -> Result<Duration, ScheduleError> {
        self.next("a time such as 90s or 1h30m", time)
    }

    fn who(&mut self) -> Result<Who, ScheduleError> {
        self.next("a broker (b1) or any", |word| match word {
            "any" => Some(Who::Any),
            _ => broker(word).map(Who::Broker),
        })
    }

    fn planned(mut self) -> Result<Option<Planned>, ScheduleError> {
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
        if let Some((column, word)) = self.words.next() {
            return self.refuse(column, ScheduleProblem::TooMuch { found: word.to_owned() });
        }
        let when = if is_at { When::At(time) } else { When::Within(time) };
        Ok(Some(Planned { when, fault, lasting }))
    }

    fn fault(&mut self) -> Result<Fault, ScheduleError> {
        let column = self.words.as_slice().first().map_or(self.end, |(column, _)| *column);
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
            "rack-down" => Fault::RackDown(self.next("a rack", |word| Some(word.to_owned()))?),
            "traffic" => {
                let topic = self.next("a topic", |word| is_topic(word).then(|| word.into()))?;
                Fault::Traffic(topic, self.next("a factor such as x3 or x0.5", factor)?)
            }
            "foreign-reassignment" => self.foreign_reassignment()?,
            "foreign-cancel" => Fault::ForeignCancel(self.next("a partition (topic-0)", partition)?),
            "crash" => self.next("us", |word| (word == "us").then_some(Fault::CrashUs))?,
            "clock" => Fault::Clock(self.next("a jump such as +1h or -5m", jump)?),
            "calm" => Fault::Calm,
            _ => {
                let expected = "a fault such as kill";
                return self.refuse(column, ScheduleProblem::Expected { expected, found: name.to_owned() });
            }
        })
    }

    fn isolate(&mut self) -> Result<Fault, ScheduleError> {
        let who = self.who()?;
        self.next("from", |word| (word == "from").then_some(()))?;
        let column = self.words.as_slice().first().map_or(self.end, |(column, _)| *column);
        let party = self.next("a broker (b1), us or controller", |word| match word {
            "us" => Some(Party::Us),
            "controller" => Some(Party::Controller),
            _ => broker(word).map(Party::Broker),
        })?;
        match (who, party) {
            (Who::Broker(a), Party::Broker(b)) if a == b => self.refuse(column, ScheduleProblem::Itself),
            _ => Ok(Fault::Isolate(who, party)),
        }
    }

    fn foreign_reassignment(&mut self) -> Result<Fault, ScheduleError> {
        let partition = self.next("a partition (topic-0)", partition)?;
        let mut to = vec![self.next("a broker's id", id)?];
        while let Some((column, _)) = self.words.as_slice().first().copied() {
            let next = self.next("a broker's id", id)?;
            if to.contains(&next) {
                return self.refuse(column, ScheduleProblem::Twice(next));
            }
            to.push(next);
        }
        Ok(Fault::ForeignReassignment(partition, to))
    }
}

fn time(word: &str) -> Option<Duration> {
    // A time has a unit: a bare number would be seconds for some and minutes for others.
    let with_unit = word.ends_with(|c: char| c.is_ascii_alphabetic());
    let time = with_unit.then(|| word.parse::<HumanDuration>().ok()).flatten()?.0;
    (time <= LONGEST).then_some(time)
}

fn number<T: FromStr>(word: &str) -> Option<T> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| word.parse().ok()).flatten()
}

fn id(word: &str) -> Option<BrokerId> {
    number(word).map(BrokerId)
}

fn broker(word: &str) -> Option<BrokerId> {
    id(word.strip_prefix('b')?)
}

fn rate(word: &str) -> Option<u64> {
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

fn partition(word: &str) -> Option<TopicPartition> {
    let (topic, partition) = word.rsplit_once('-')?;
    is_topic(topic).then(|| number(partition)).flatten().map(|number: i32| TopicPartition::new(topic, number))
}
