//! One cluster under two names of one configuration: each would act as if it were alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use control::guard::ANOTHER_SERVICE;
use control::{Contribution, Finding, Liveness, Now, Severity, State, Target};

use crate::plugin::Source;

/// The name of this source.
pub(super) const SIBLINGS_SOURCE: &str = "doctorkafka_siblings";

/// What the configured names have turned out to be: the cluster's id by each name.
pub(crate) type Family = Arc<Mutex<BTreeMap<Arc<str>, String>>>;

/// Finds another name of the same cluster.
pub(crate) struct Siblings {
    name: Arc<str>,
    family: Family,
}

impl Siblings {
    pub(crate) fn new(name: Arc<str>, family: Family) -> Self {
        Self { name, family }
    }
}

impl Source for Siblings {
    fn name(&self) -> &str {
        SIBLINGS_SOURCE
    }

    fn latest(&self, _: Now) -> Contribution {
        let family = self.family.lock().unwrap_or_else(PoisonError::into_inner);
        let own = family.get(&self.name);
        let same = family.iter().find(|(name, id)| **name != self.name && Some(*id) == own);
        let finding = same.map(|(name, _)| {
            let message = format!(
                "this service looks after the same cluster under the name {name}, too, as if it were another"
            );
            Finding::new(ANOTHER_SERVICE, Target::Cluster, Severity::Critical, message).waiting_for(
                "one of the names to be taken out of the configuration; no host is replaced before",
            )
        });
        Contribution { findings: finding.into_iter().collect(), ..Contribution::default() }
    }

    fn after_cycle(&self, state: &State) {
        if let Some(liveness) = state.get::<Liveness>() {
            let id = liveness.value.cluster_id.to_string();
            self.family.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(&self.name), id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_cluster_under_another_name_is_found_and_another_cluster_is_not() {
        let family = Family::default();
        let of = |name: &str| Siblings::new(name.into(), Arc::clone(&family));
        let says = |name: &str| of(name).latest(Now::default()).findings.pop().map(|it| it.message);
        assert_eq!(says("a"), None);
        for (name, id) in [("a", "x"), ("b", "y")] {
            family.lock().unwrap().insert(name.into(), id.to_owned());
        }
        assert_eq!((says("a"), says("b")), (None, None));
        family.lock().unwrap().insert("c".into(), "x".to_owned());
        assert!(
            says("a").unwrap().contains("under the name c")
                && says("c").unwrap().contains("under the name a")
        );
        assert_eq!(says("b"), None);
    }
}
