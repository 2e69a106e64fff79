//! What is asked when a person wants a host to be replaced: the same, and all of it is said.

use super::*;

impl Known<'_> {
    /// The order, or all that speaks against it.
    pub(super) fn by_hand(&self, wanted: &ByHand) -> Result<Event, Vec<String>> {
        let id = wanted.broker;
        let live = self.liveness.live.contains_key(&id);
        let objections = match (self.dead.dead.get(&id), self.dead.suspects.get(&id)) {
            (Some(dead), _) => self.all_to_dead(id, dead, wanted),
            (None, Some(suspect)) => {
                let waits_for = suspect.waits_for.clone();
                vec![Objection::Waits("it is absent, and not dead yet".to_owned(), waits_for)]
            }
            (None, None) if live => self.all_to_living(id, wanted),
            (None, None) => vec![Objection::Refused("Kafka knows no such broker".to_owned())],
        };
        let mut held: Vec<String> = objections.into_iter().map(Objection::into_words).collect();
        if self.is_excused(&id) {
            held.insert(0, "it is under maintenance, or taken out of service".to_owned());
        }
        if !held.is_empty() {
            return Err(held);
        }
        // Who wants a host to be replaced has seen that a restart is of no use.
        let accept_data_loss = wanted.accept_data_loss;
        let by_hand = !wanted.is_plugin;
        let order = ReplaceInstance { live, accept_data_loss, no_restart: true, by_hand, ..self.host_of(id) };
        Ok(self.order_by(id, wanted.words(), order))
    }

    /// What nobody has listed is for a person to decide on, and for no plugin.
    fn is_too_little_seen(&self, id: BrokerId, wanted: &ByHand) -> Option<Objection> {
        if wanted.is_plugin { self.sees_too_little(id) } else { self.sees_too_little_by_hand(id) }
    }

    /// A person who asks again knows that it has failed before.
    fn all_to_dead(&self, id: BrokerId, dead: &DeadBroker, wanted: &ByHand) -> Vec<Objection> {
        let accept_data_loss = wanted.accept_data_loss;
        let holds = |it: &Objection| wanted.is_plugin || matches!(it, Objection::Waits(..));
        let before = self.failed_before(id, dead).filter(holds);
        let last_copy = if accept_data_loss { None } else { self.holds_the_last_copy(id) };
        let unseen = if accept_data_loss { None } else { self.is_too_little_seen(id, wanted) };
        let counts = self.still_counts(id, accept_data_loss);
        let all = [
            before,
            self.is_a_stranger(id),
            self.too_many(),
            self.votes(id),
            self.shares_its_host(id),
            unseen,
            last_copy,
            counts,
            self.others_lag(id),
            self.agent_speaks(id),
            self.healing_goes_first(id, dead),
            self.cools(id, true),
        ];
        all.into_iter().flatten().collect()
    }

    fn all_to_living(&self, id: BrokerId, wanted: &ByHand) -> Vec<Objection> {
        let accept_data_loss = wanted.accept_data_loss;
        let before = if wanted.is_plugin { self.holds_plugins(id) } else { None };
        let others = if accept_data_loss { None } else { self.others_need(id) };
        let unseen = if accept_data_loss { None } else { self.is_too_little_seen(id, wanted) };
        let all = [
            before,
            self.somebody_is_absent(),
            others,
            unseen,
            self.something_moves(),
            self.votes(id),
            self.shares_its_host(id),
            self.cools(id, true),
        ];
        all.into_iter().flatten().collect()
    }
}

impl Objection {
    fn into_words(self) -> String {
        match self {
            Self::Waits(why, waits_for) => format!("{why} (waits for {waits_for})"),
            Self::Refused(why) => why,
        }
    }
}
