//! When the lease's node may be made, and for how long its session is certain to last.

use std::time::Duration;

use crate::store::holder::Holder;

/// What there is of the lease's node.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Who holds it, if that can be read.
    pub(super) holder: Option<Holder>,
    /// Whether it goes with a session.
    pub(super) ephemeral: bool,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The lease is free, or was held by a process that has ended: then its node is to be replaced.
    Take {
        /// Whether there is a node to replace.
        replace: bool,
    },
    /// Somebody holds it.
    Wait {
        /// Who, in words.
        why: String,
    },
}

/// What follows from the lease's node.
pub(super) fn next(found: Option<&Found>, me: &Holder) -> Next {
    let why = match found {
        None => return Next::Take { replace: false },
        Some(Found { ephemeral: false, .. }) => {
            "the node of the lease goes with no session, no service has made it: remove it".to_owned()
        }
        Some(Found { holder: Some(holder), .. }) if holder.is_former(me) => {
            return Next::Take { replace: true };
        }
        Some(Found { holder: Some(holder), .. }) => format!(
            "{} acts; this one takes over when ZooKeeper has ended its session, which it does after {} s without a word of it",
            holder.words(),
            Duration::from_millis(holder.ttl).as_secs()
        ),
        Some(Found { holder: None, .. }) => {
            "another service acts, of which cannot be read who it is; this one takes over when its session has ended"
                .to_owned()
        }
    };
    Next::Wait { why }
}

/// How long a session is certain to last.
///
/// Its end is counted by the leader of ZooKeeper's servers, from the last request of the session that it has heard of. Of
/// those that are answered by another server the leader hears with that server's next answer to its ping, half a tick later at most;
/// and a server that has lost the leader goes on answering reads for a while. So a request alone says nothing: but when a
/// *write*, which goes through the leader, is answered, then the leader has heard of every request of at least
/// half a tick before that. A session that goes on at another server is heard of by the leader when it begins there. What this does not
/// cover are servers of one ensemble that are configured to grant different time-outs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    timeout: Duration,
    older: Duration,
    newer: Duration,
}

impl Heard {
    /// Of a session that was asked for at `opened`: making one is a write.
    pub(super) fn new(timeout: Duration, opened: Duration) -> Self {
        Self { timeout, older: opened, newer: opened }
    }

    /// Half a tick at most, as long as a session lasts four ticks or more.
    pub(super) fn pause(&self) -> Duration {
        self.timeout / 8
    }

    /// A request was answered that was sent at `sent` or later.
    pub(super) fn answered(&mut self, sent: Duration) {
        if sent >= self.newer + self.pause() {
            self.older = self.newer;
            self.newer = sent;
        }
    }

    /// A write was answered that was sent at `sent` or later: until when the session lasts. A sixteenth is left for clocks
    /// that do not go alike.
    pub(super) fn lasts_after_write(&mut self, sent: Duration) -> Duration {
        let heard_of = if sent >= self.newer + self.pause() { self.newer } else { self.older };
        self.answered(sent);
        heard_of + self.timeout / 16 * 15
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(instance: &str, host: &str) -> Holder {
        let me = Holder::this_one(instance, Duration::from_secs(25));
        Holder { host: host.to_owned(), ..me }
    }

    fn found(holder: Option<Holder>) -> Found {
        Found { holder, ephemeral: true }
    }

    #[test]
    fn a_lease_is_taken_that_is_free_or_of_a_process_that_has_ended() {
        let me = holder("mine", "a");
        assert_eq!(next(None, &me), Next::Take { replace: false });
        assert_eq!(next(Some(&found(Some(holder("mine", "a")))), &me), Next::Take { replace: true });
    }

    #[test]
    fn whoever_else_holds_it_is_waited_for() {
        let me = holder("mine", "a");
        let why = |found: &Found| match next(Some(found), &me) {
            Next::Wait { why } => why,
            taken @ Next::Take { .. } => panic!("{taken:?}"),
        };
        let said = why(&found(Some(holder("other", "b"))));
        assert!(said.contains("other on b") && said.contains("25 s"), "{said}");
        // A copy of the state dir on another host is another service.
        assert!(why(&found(Some(holder("mine", "b")))).contains("mine on b"));
        assert!(why(&found(None)).contains("cannot be read"));
        let lasting = Found { holder: Some(holder("mine", "a")), ephemeral: false };
        assert!(why(&lasting).contains("remove it"));
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(1_000_000 + ms)
    }

    #[test]
    fn a_write_makes_certain_what_was_asked_before_it() {
        let mut heard = Heard::new(Duration::from_secs(16), at(0));
        assert_eq!(heard.pause(), Duration::from_secs(2));
        assert_eq!(heard.lasts_after_write(at(10)), at(15_000), "from the making of the session on");
        assert_eq!(heard.lasts_after_write(at(2_000)), at(15_000));
        assert_eq!(heard.lasts_after_write(at(4_000)), at(17_000), "from the write before on");
        assert_eq!(
            heard.lasts_after_write(at(4_500)),
            at(17_000),
            "one that was too close to it says nothing more"
        );
        assert_eq!(heard.lasts_after_write(at(6_200)), at(19_000));
    }

    #[test]
    fn reads_count_once_a_write_has_followed_them() {
        let mut heard = Heard::new(Duration::from_secs(16), at(0));
        for second in 1..=60 {
            heard.answered(at(second * 1_000));
        }
        assert_eq!(heard.lasts_after_write(at(60_500)), at(58_000 + 15_000));
    }

    #[test]
    fn after_a_long_stop_a_single_write_makes_nothing_certain() {
        let mut heard = Heard::new(Duration::from_secs(16), at(0));
        heard.lasts_after_write(at(2_000));
        let until = heard.lasts_after_write(at(17_500));
        assert_eq!(until, at(2_000 + 15_000));
        assert!(until < at(17_500));
    }
}
