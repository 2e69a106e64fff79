//! What can go wrong in talking to a cluster.

use thiserror::Error;

use crate::names::ClusterId;

/// Why a call to a cluster failed, in the terms in which a caller decides what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClientError {
    /// Nothing answered at the address: refused, reset, no route, unknown host.
    #[error("cannot reach {at}: {why}")]
    Unreachable {
        /// Whom we tried to reach.
        at: String,
        /// The cause in words.
        why: String,
    },
    /// No answer within the limit. A change may or may not have been applied.
    #[error("no answer from {at} within {limit_ms} ms while {doing}")]
    Timeout {
        /// Whom we asked.
        at: String,
        /// The limit in milliseconds.
        limit_ms: u64,
        /// What was being done.
        doing: &'static str,
    },
    /// It took the connection and closed it without a proper answer. A listener of another kind than the settings say
    /// does so; but so does a broker that is stopping or starting, so that others may be tried.
    #[error("cannot talk to {at}: {why}")]
    Closed {
        /// Whom we talked to.
        at: String,
        /// What it most likely is, in words.
        why: String,
    },
    /// Somebody answers there, but for another cluster than the one that is meant: the address has changed hands.
    #[error("a broker of another cluster ({id}) answers at {at}")]
    OtherCluster {
        /// Whom we talked to.
        at: String,
        /// The cluster that it belongs to.
        id: ClusterId,
    },
    /// The broker refused who we are, or we refused who it is: TLS or SASL failed.
    #[error("security settings were not accepted by {at}: {why}")]
    Security {
        /// Whom we talked to.
        at: String,
        /// The cause in words.
        why: String,
    },
    /// We are known, but may not do this (an ACL is missing).
    #[error("not authorised for {doing}: {why}")]
    Denied {
        /// What was being done.
        doing: &'static str,
        /// The cause in words.
        why: String,
    },
    /// The topic or partition does not exist.
    #[error("unknown topic or partition: {what}")]
    UnknownTopic {
        /// Which.
        what: String,
    },
    /// This version of Kafka does not know the call.
    #[error("this Kafka version does not support {doing}")]
    Unsupported {
        /// What was being done.
        doing: &'static str,
    },
    /// The cluster answered with an error of its own.
    #[error("{doing} failed: {code}: {why}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// Kafka's name of the error code.
        code: String,
        /// The message that came with it.
        why: String,
    },
    /// Something that should not happen: an answer that makes no sense.
    #[error("unexpected answer while {doing}: {why}")]
    Malformed {
        /// What was being done.
        doing: &'static str,
        /// What was wrong.
        why: String,
    },
}

impl ClientError {
    /// Whether a change that ended with this error may have been applied all the same.
    pub fn may_have_been_applied(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. } | Self::Unreachable { .. } | Self::Closed { .. } | Self::Malformed { .. }
        )
    }

    /// Whether it is a matter of configuration that will not heal by waiting.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Security { .. } | Self::Denied { .. } | Self::Unsupported { .. })
    }
}
