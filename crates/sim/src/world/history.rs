//! What has happened, for those who tell it.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use cluster::{BrokerId, TopicPartition};

use super::push_bounded;
use crate::fault::Fault;
use crate::time::Moment;

/// What can be seen to happen to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A fault was inflicted, and lasts for so long, for what lasts until it is ended.
    Fault(Fault, Option<Duration>),
    /// What chance has chosen, or why a fault could not be inflicted.
    Note(String),
    /// The controller has dropped a broker.
    Dropped(BrokerId),
    /// The controller holds a broker to be alive again.
    Alive(BrokerId),
    /// A partition's leader, in-sync replicas or replicas are others.
    Partition {
        /// The partition.
        at: TopicPartition,
        /// Its leader.
        leader: Option<BrokerId>,
        /// Its replicas.
        replicas: Box<[BrokerId]>,
        /// Those in sync.
        isr: Box<[BrokerId]>,
        /// Whether it is being reassigned.
        moving: bool,
    },
    /// The end of a partition's log is gone: its leader came back with less than there was.
    DataLost {
        /// The partition.
        at: TopicPartition,
        /// How many bytes.
        bytes: u64,
        /// Whether the host that had them was replaced by an empty one; else they were given up by an order.
        wiped: bool,
    },
    /// A log directory of a broker has failed.
    DirFailed(BrokerId),
}

/// Something that has happened, with its moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub at: Moment,
    /// What.
    pub what: Happening,
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.at)?;
        match &self.what {
            Happening::Fault(fault, None) => write!(f, "fault: {fault}"),
            Happening::Fault(fault, Some(time)) => write!(f, "fault: {fault} for {} s", time.as_secs()),
            Happening::Note(note) => f.write_str(note),
            Happening::Dropped(id) => write!(f, "broker {id} dropped"),
            Happening::Alive(id) => write!(f, "broker {id} alive"),
            Happening::Partition { at, leader, replicas, isr, moving } => {
                write!(f, "{at}:")?;
                for id in replicas {
                    let leads = if *leader == Some(*id) { "*" } else { "" };
                    let sync = if isr.contains(id) { "" } else { "~" };
                    write!(f, " {id}{leads}{sync}")?;
                }
                f.write_str(if *moving { " moving" } else { "" })
            }
            Happening::DataLost { at, bytes, .. } => write!(f, "{at}: {bytes} bytes lost"),
            Happening::DirFailed(id) => write!(f, "a log dir of broker {id} has failed"),
        }
    }
}

/// So much is kept where nobody asks.
const BOUND: usize = 20_000;

#[derive(Default)]
pub(super) struct History(VecDeque<Happened>);

impl History {
    pub(super) fn push(&mut self, at: Moment, what: Happening) {
        push_bounded(&mut self.0, Happened { at, what }, BOUND);
    }

    pub(super) fn take(&mut self) -> Vec<Happened> {
        std::mem::take(&mut self.0).into()
    }
}
