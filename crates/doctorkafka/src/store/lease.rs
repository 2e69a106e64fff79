//! Who of several services acts on a cluster.
//!
//! Several services may look after one cluster with one state store: one of them holds the cluster's lease and acts, the others
//! look on. A lease is over by itself when its holder does not renew it, and its end is counted by a clock that goes on while
//! the process is stopped: one that wakes up after its time finds out before it does anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cluster::{BoxFuture, BrokerId};
use control::{Wish, Wishes};
use rustix::time::{ClockId, clock_gettime};

/// A stretch of time for which a service holds a lease. The next one, of whichever service, has another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term(pub u64);

/// What a service is to a cluster at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It acts.
    Holds(Term),
    /// Another one acts, or it is not yet certain that none does.
    LooksOn {
        /// Who acts and what is waited for, in words.
        why: String,
    },
    /// Nobody can say, because the store cannot be reached.
    Unknown {
        /// The cause.
        why: String,
    },
}

/// The lease of one cluster.
pub trait Lease: Send + Sync {
    /// What this service is at this very moment. Never blocks.
    fn standing(&self) -> Standing;

    /// Gives the lease up, so that another service need not wait for its end. Nothing may be under way any more.
    fn release(&self) -> BoxFuture<'_, ()>;
}

/// The lease of a store that no second service can open.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Lease for Alone {
    fn standing(&self) -> Standing {
        Standing::Holds(Term(1))
    }

    fn release(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// The right to act on a cluster: the lease is held, and the loop of the cluster works with what the store said in this term.
pub struct Tenure {
    lease: Arc<dyn Lease>,
    /// The term whose memory the loop has; 0 for none.
    acting: AtomicU64,
    /// What people want, by the last answer that they got.
    wishes: Mutex<Arc<Wishes>>,
}

impl Tenure {
    /// Nobody acts yet.
    pub fn new(lease: Arc<dyn Lease>) -> Arc<Self> {
        Arc::new(Self { lease, acting: AtomicU64::new(0), wishes: Mutex::default() })
    }

    /// What this service is at this very moment.
    pub fn standing(&self) -> Standing {
        self.lease.standing()
    }

    /// The loop has read the store in this term; or, without one, it acts no longer.
    pub fn act_in(&self, term: Option<Term>) {
        self.acting.store(term.map_or(0, |term| term.0), Ordering::SeqCst);
    }

    /// What people want by now: an act that takes time looks at it once more before it does what cannot be taken back.
    pub fn heed(&self, wishes: Arc<Wishes>) {
        *self.wishes.lock().unwrap_or_else(PoisonError::into_inner) = wishes;
    }

    /// Why nothing may be begun with a broker's host, as people want it.
    pub fn objects_to(&self, broker: BrokerId) -> Option<String> {
        let wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        let by = |what: &str, wish: &Wish| format!("{what} by {}", wish.by);
        let all = [("paused", &wishes.paused), ("the cluster is under maintenance", &wishes.maintenance)];
        let of_all = all.into_iter().find_map(|(what, wish)| Some(by(what, wish.as_ref()?)));
        let maintained =
            || wishes.broker_maintenance.get(&broker).map(|wish| by("it is under maintenance", wish));
        let leaves = || wishes.decommissioned.get(&broker).map(|wish| by("it is taken out of service", wish));
        of_all.or_else(maintained).or_else(leaves)
    }

    /// The term in which something may be done now.
    pub fn term(&self) -> Option<Term> {
        match self.lease.standing() {
            Standing::Holds(term) if self.acting.load(Ordering::SeqCst) == term.0 => Some(term),
            _ => None,
        }
    }
}

/// The time since the machine was started, by a clock that nobody sets and that goes on while the process or the machine sleeps.
pub(crate) fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Told(Mutex<Standing>);

    impl Lease for Told {
        fn standing(&self) -> Standing {
            self.0.lock().unwrap().clone()
        }
        fn release(&self) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }
    }

    #[test]
    fn only_who_has_read_the_store_in_this_term_may_act() {
        let lease = Arc::new(Told(Mutex::new(Standing::LooksOn { why: "another acts".to_owned() })));
        let tenure = Tenure::new(Arc::clone(&lease) as Arc<dyn Lease>);
        assert_eq!(tenure.term(), None);
        *lease.0.lock().unwrap() = Standing::Holds(Term(7));
        assert_eq!(tenure.term(), None, "it has not read anything yet");
        tenure.act_in(Some(Term(7)));
        assert_eq!(tenure.term(), Some(Term(7)));
        *lease.0.lock().unwrap() = Standing::Holds(Term(8));
        assert_eq!(tenure.term(), None, "somebody else may have acted in between");
        tenure.act_in(None);
        assert_eq!(tenure.term(), None);
    }

    #[test]
    fn uptime_goes_on() {
        let before = uptime();
        assert!(before > Duration::ZERO && uptime() >= before);
    }
}
