//! What a store knows of its own lease.

use std::time::Duration;

use super::{Standing, Term, uptime};

/// The term that is held, and what the service is while it holds none.
#[derive(Debug)]
pub(crate) struct OwnLease {
    /// The term, and until when it lasts, by the clock of uptime.
    held: Option<(Term, Duration)>,
    otherwise: Standing,
}

impl OwnLease {
    /// Nothing is held.
    pub(crate) fn looking_on(why: &str) -> Self {
        Self { held: None, otherwise: Standing::LooksOn { why: why.to_owned() } }
    }

    /// The term that is held at this very moment.
    pub(crate) fn term(&self) -> Option<Term> {
        self.held.filter(|(_, until)| uptime() < *until).map(|(term, _)| term)
    }

    pub(crate) fn standing(&self) -> Standing {
        match self.term() {
            Some(term) => Standing::Holds(term),
            None => self.otherwise.clone(),
        }
    }

    /// Why it is not held.
    pub(crate) fn why(&self) -> String {
        match &self.otherwise {
            Standing::Unknown { why } | Standing::LooksOn { why } => why.clone(),
            Standing::Holds(_) => "it is over".to_owned(),
        }
    }

    /// It is held until `until`.
    pub(crate) fn hold(&mut self, term: Term, until: Duration) {
        self.held = Some((term, until));
    }

    /// It is held until `until` if it has not been over meanwhile: nobody saw what happened then.
    pub(crate) fn go_on(&mut self, term: Term, until: Duration) -> bool {
        if self.term() != Some(term) {
            return false;
        }
        self.hold(term, until);
        self.term().is_some()
    }

    /// What the service is while it holds no term.
    pub(crate) fn otherwise(&mut self, standing: Standing) {
        self.otherwise = standing;
    }

    /// The term is over, whatever is left of its time. Says whether there was one that nobody has given up before.
    pub(crate) fn lose(&mut self, then: Standing) -> bool {
        self.otherwise = then;
        self.held.take().is_some()
    }

    /// Whether there is a term that nobody has given up, be its time over or not.
    pub(crate) fn is_kept(&self) -> bool {
        self.held.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn unknown() -> Standing {
        Standing::Unknown { why: "not renewed".to_owned() }
    }

    #[test]
    fn a_term_ends_by_itself_and_is_not_taken_up_again() {
        let mut own = OwnLease::looking_on("another acts");
        assert_eq!(own.standing(), Standing::LooksOn { why: "another acts".to_owned() });
        assert!(!own.go_on(Term(7), uptime() + LONG), "it was never held");
        own.hold(Term(7), uptime() + LONG);
        own.otherwise(unknown());
        assert_eq!(own.standing(), Standing::Holds(Term(7)));
        assert!(own.go_on(Term(7), uptime() + LONG) && !own.go_on(Term(8), uptime() + LONG));
        assert!(!own.go_on(Term(7), uptime()), "the renewal came too late");
        assert_eq!((own.term(), own.standing()), (None, unknown()));
        assert!(own.is_kept() && !own.go_on(Term(7), uptime() + LONG));
    }

    #[test]
    fn what_is_lost_is_lost_at_once() {
        let mut own = OwnLease::looking_on("another acts");
        own.hold(Term(7), uptime() + LONG);
        assert!(own.lose(unknown()));
        assert_eq!((own.standing(), own.why().as_str()), (unknown(), "not renewed"));
        assert!(!own.lose(unknown()) && !own.is_kept());
    }
}
