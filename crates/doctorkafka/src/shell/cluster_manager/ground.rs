//! What the loop stands on: the lease that lets it act, and the memory that it has from the store.
//!
//! Without both there is a memory to look with, which has a pause in it: the guard holds everything, and says why.

use super::*;

/// The kind of the finding that another service acts on the cluster.
pub const LOOKS_ON: &str = "looks_on";

impl ClusterManager {
    /// Reads the memory from the store if there is a lease to act on and the store was not read in its term.
    pub(super) async fn load_if_due(&mut self) {
        let standing = self.tenure.standing();
        if let Some(term) = self.term {
            if standing == Standing::Holds(term) && !self.is_changed {
                return;
            }
            self.step_down(&standing);
        }
        let term = match standing {
            Standing::Holds(term) => term,
            Standing::LooksOn { why } => {
                if !self.knows_store {
                    self.knows_store = self.journal.learn().await;
                }
                return self.look_on(why);
            }
            Standing::Unknown { why } => return self.look_without_store(why),
        };
        if self.load_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        match self.journal.load().await {
            // The lease may have been lost while it was read: then this memory is used up to the next cycle, to look with.
            Ok(memory) => self.stand_on(memory, term),
            Err(error) => {
                self.is_another_store = matches!(error, JournalError::AnotherStore(_));
                self.load_at = Some(Instant::now() + self.limits.load_again);
                self.look_without_store(in_words(&error));
            }
        }
    }

    fn stand_on(&mut self, memory: Memory, term: Term) {
        self.memory = memory;
        self.memory.recall(&self.known_replacements);
        self.known_replacements = Arc::clone(&self.memory.replacements);
        self.term = Some(term);
        self.is_another_store = false;
        // What came in so far belongs to the memory to look with: its executions have the numbers of others.
        while self.outcomes.try_recv().is_ok() {}
        self.pending.outcomes.clear();
        self.pending.orders.retain(|request| request.order.by != SHELL_SOURCE);
        let memory = &mut self.memory;
        self.acts.take_up(|execution, sequence, event| memory.take_up(execution, sequence, event));
        let cluster = &self.looking.name;
        if self.store_trouble.take().is_some() {
            tracing::info!(%cluster, "the state store can be read again");
        }
        if self.looks_on.take().is_some() {
            tracing::info!(%cluster, "this service acts on the cluster from now on");
        }
        self.tenure.act_in(Some(term));
        if self.cycles > 0 {
            self.say_what_is_open();
        }
    }

    /// Another service may act by now, or somebody has changed what was read: what is under way here is nobody's business any more, and what was remembered is its.
    fn step_down(&mut self, standing: &Standing) {
        self.tenure.act_in(None);
        let acts = self.acts.under_way();
        if std::mem::take(&mut self.is_changed) {
            tracing::warn!(cluster = %self.looking.name, acts,
                "somebody else has changed what is in the state store: it is read anew");
        } else {
            tracing::warn!(cluster = %self.looking.name, acts, ?standing,
                "this service does not hold the cluster's lease any more, nothing more is done");
        }
        self.outcomes = self.acts.abandon(&self.at_most_once);
        self.memory = Memory::default();
        self.term = None;
        self.load_at = None;
        self.refused.clear();
        self.pending.outcomes.clear();
    }

    fn look_on(&mut self, why: String) {
        if self.looks_on.is_none() {
            tracing::info!(cluster = %self.looking.name, %why, "this service looks on");
        }
        self.pause_with(&why);
        self.store_trouble = None;
        self.looks_on = Some(why);
    }

    fn look_without_store(&mut self, why: String) {
        if self.store_trouble.as_ref() != Some(&why) {
            tracing::warn!(cluster = %self.looking.name, error = %why,
                "the state store cannot be read, nothing is done until it can be");
        }
        self.pause_with(&why);
        self.looks_on = None;
        self.store_trouble = Some(why);
    }

    /// A pause in the memory to look with.
    fn pause_with(&mut self, why: &str) {
        let paused = self.memory.wishes.paused.is_some()
            || self.pending.orders.iter().any(|request| request.order.by == SHELL_SOURCE);
        if !paused {
            let (answer, _nobody) = oneshot::channel();
            let order = Order { by: SHELL_SOURCE.to_owned(), reason: why.to_owned(), what: OrderKind::Pause };
            self.pending.orders.push(OrderRequest { order, answer });
        }
    }

    /// What is not known cannot be changed: an order would be applied to a memory that is thrown away, and a person would
    /// count on it.
    pub(super) fn refuse_orders_without_store(&mut self) {
        if self.term.is_some() {
            return;
        }
        self.accept_store_if_asked();
        let why = match (&self.looks_on, &self.store_trouble) {
            (Some(why), _) => format!(
                "not carried out: this service looks on, another one acts on the cluster. Please give the order there: {why}"
            ),
            (None, trouble) => format!(
                "not carried out: the state store cannot be read, and nothing is done until it can be. \
                Please repeat it then: {}",
                trouble.as_deref().unwrap_or_default()
            ),
        };
        let (own, others) = std::mem::take(&mut self.pending.orders)
            .into_iter()
            .partition(|request| request.order.by == SHELL_SOURCE);
        self.pending.orders = own;
        for request in others {
            // Whoever asked may have gone.
            let _ = request.answer.send(Err(why.clone()));
        }
    }

    /// The one order that needs no store: to take it as it is.
    fn accept_store_if_asked(&mut self) {
        if !self.is_another_store {
            return;
        }
        let accepts = |request: &OrderRequest| request.order.what == OrderKind::AcceptIdentity;
        let (accepting, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending.orders).into_iter().partition(accepts);
        self.pending.orders = others;
        for request in accepting {
            self.journal.accept();
            self.load_at = None;
            tracing::warn!(cluster = %self.looking.name, by = request.order.by, "the state store is taken as it is");
            // Whoever asked may have gone.
            let _ = request.answer.send(Ok("the state store is taken as it is".to_owned()));
        }
    }

    pub(super) fn own_findings(&self) -> Vec<Finding> {
        let unusable = self.store_trouble.iter().map(|why| {
            Finding::new(STORE_TROUBLE, Target::Cluster, Severity::Critical, why.clone())
                .waiting_for("the state store to be usable; until then nothing is done, and looking goes on")
        });
        let looks_on = self.looks_on.iter().map(|why| {
            Finding::new(LOOKS_ON, Target::Cluster, Severity::Info, format!("this service looks on: {why}"))
        });
        unusable.chain(looks_on).chain(self.acts.findings()).collect()
    }

    /// Whether what was decided in this cycle may still be done. If not, why.
    pub(super) fn may_still_act(&self) -> Result<(), String> {
        match (self.term, self.tenure.term()) {
            (Some(term), Some(now)) if term == now => Ok(()),
            _ => Err("this service does not hold the cluster's lease any more".to_owned()),
        }
    }
}
