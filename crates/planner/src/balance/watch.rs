//! How far a plan is, for whoever waits for it. It decides nothing.

/// What is being done. The order is that of the work; a plan that is made in several rounds goes back to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Replicas are chosen that leave their brokers.
    Departing,
    /// They are given brokers.
    Arriving,
    /// Brokers that are outside their limits are mended.
    Mending,
    /// Moves are made fewer and smaller.
    Polishing,
    /// Changes are put in order, with their reasons.
    Ordering,
}

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// What is done of it.
    pub done: usize,
    /// All that there is to do, as far as known.
    pub of: usize,
}

/// Who is told.
pub(crate) type Watch<'w> = &'w dyn Fn(Progress);

/// Nobody.
pub(crate) const NOBODY: Watch<'static> = &|_| {};

/// So much is done between two reports.
const EACH: usize = 4096;

/// Tells how far a stage is, now and then.
pub(crate) fn tell(watch: Watch<'_>, stage: Stage, done: usize, of: usize) {
    if done.is_multiple_of(EACH) {
        watch(Progress { stage, done, of });
    }
}
