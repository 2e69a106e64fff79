//! Which Kafka, and how its metadata is kept.

use std::fmt;
use std::str::FromStr;

use anyhow::bail;

/// A version of Apache Kafka that the lab can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 3.9.2: the last line with ZooKeeper; runs KRaft as well.
    V3_9,
    /// 4.3.1: KRaft only.
    V4_3,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 2] = [Self::V3_9, Self::V4_3];

    /// The full version number, as in the Maven coordinates.
    pub fn number(self) -> &'static str {
        match self {
            Self::V3_9 => "3.9.2",
            Self::V4_3 => "4.3.1",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.number())
    }
}

impl FromStr for Version {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        for version in Self::ALL {
            let line = version.number().rsplit_once('.').map_or("", |(line, _)| line);
            if text == version.number() || text == line {
                return Ok(version);
            }
        }
        bail!("the lab has no Kafka {text}; it has 3.9 (3.9.2) and 4.3 (4.3.1)")
    }
}

/// How a cluster keeps its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// KRaft with one controller (id [`crate::CONTROLLER`]) in a process of its own.
    KraftIsolated,
    /// KRaft; the brokers 1, 2 and 3 (or 1 alone when there are fewer than three) are controllers as well.
    KraftCombined,
    /// One ZooKeeper server beside the brokers; Kafka 3.9 only.
    ZooKeeper,
}

impl FromStr for Mode {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "isolated" => Ok(Self::KraftIsolated),
            "combined" => Ok(Self::KraftCombined),
            "zookeeper" => Ok(Self::ZooKeeper),
            _ => bail!("no mode {text}; there are isolated, combined and zookeeper"),
        }
    }
}
