//! What `send_email` and `webhook` have in common: messages on their way to people.
//!
//! An event becomes a [`Notice`], and a [`Parcel`] for each recipient. Parcels are on disk, or in the store that services share, before
//! the event counts as taken ([`outbox`]); [`queue`] says which is due and how long to wait after a failure; a [`Courier`] hands one over.
//! So a message arrives at least once, whatever fails or restarts, and no server that is slow or away holds up anything
//! else.

mod notice;
mod outbox;
mod post;
mod queue;
#[cfg(test)]
mod shared_tests;
mod template;
#[cfg(test)]
pub(crate) mod tests;

use crate::plugin::ConfigProblem;
use std::time::Duration;

use cluster::BoxFuture;
use control::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use notice::{Notice, NoticeKind, one_line, rfc3339, severity_name};
pub(crate) use post::post;
pub(crate) use template::Template;

/// A notice on its way to one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parcel {
    /// Its number in the queue; the order in which parcels came.
    pub(crate) number: u64,
    /// The recipient, as the courier knows it.
    pub(crate) to: String,
    /// What is told.
    pub(crate) notice: Notice,
    /// How many earlier notices of the same kind were held back and are told by this one.
    #[serde(default)]
    pub(crate) held_back: u32,
    /// When it came.
    pub(crate) queued: Timestamp,
    /// Until when it is held back, because the like was sent a moment ago.
    #[serde(default)]
    pub(crate) held_until: Option<Timestamp>,
}

/// Why a parcel was not handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The other side takes nothing at present, whatever it is: all parcels wait.
    Unreachable {
        /// Why.
        why: String,
        /// How long the other side wants to be left alone.
        after: Option<Duration>,
    },
    /// It does not take this parcel at present.
    Later(String),
    /// It will never take this parcel.
    Refused(String),
}

impl Failure {
    /// Why, in words.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Unreachable { why, .. } | Self::Later(why) | Self::Refused(why) => why,
        }
    }

    /// The other side takes nothing at present.
    pub(crate) fn unreachable(why: impl Into<String>) -> Self {
        Self::Unreachable { why: why.into(), after: None }
    }
}

/// Hands parcels over to the outside.
pub(crate) trait Courier: Send {
    /// Hands one over. May be dropped at any moment: what became of the parcel is not known then, and it is handed over
    /// again.
    fn deliver<'a>(&'a mut self, parcel: &'a Parcel) -> BoxFuture<'a, Result<(), Failure>>;

    /// Nothing is due for a while: connections may be closed.
    fn rest(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Where parcels go, in words: `mail.example.org:587`.
    fn place(&self) -> String;
}

/// Bounds of the way to the outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long one try may take.
    pub(crate) attempt: Duration,
    /// How many parcels wait at most; the oldest are given up.
    pub(crate) most: usize,
    /// For how long a further notice of the same event about the same thing is held back.
    pub(crate) snooze: Duration,
    /// A parcel that is so old is given up.
    pub(crate) give_up_after: Duration,
}

impl Limits {
    /// What is wrong with them, by the keys that they have in the configuration.
    pub(crate) fn problems(&self) -> Vec<ConfigProblem> {
        let short = |time: Duration| time < Duration::from_secs(1);
        let wrong = [
            (self.most == 0, "queue", "at least one must be let wait"),
            (short(self.attempt), "timeout", "at least a second is needed"),
            (short(self.give_up_after), "give_up_after", "at least a second is needed"),
        ];
        let problem = |(_, path, message): (_, &str, &str)| ConfigProblem {
            path: path.to_owned(),
            message: message.to_owned(),
        };
        wrong.into_iter().filter(|(is_wrong, ..)| *is_wrong).map(problem).collect()
    }
}
