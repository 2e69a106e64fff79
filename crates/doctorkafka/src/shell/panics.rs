//! Plugins that may panic: that is a finding, and the others go on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use control::{ByHand, Event, Finding, Flow, Monitor, Operator, Severity, State, Target, Verdict};

/// The kind of the finding that a plugin has panicked.
pub const PLUGIN_PANICKED: &str = "plugin_panicked";

/// An operator that decides nothing where it panics.
pub(crate) struct GuardedOperator(pub(crate) Box<dyn Operator>);

impl Operator for GuardedOperator {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn emits(&self) -> Vec<String> {
        self.0.emits()
    }

    fn operate(&self, state: &State) -> Verdict {
        catch_unwind(AssertUnwindSafe(|| self.0.operate(state))).unwrap_or_else(|panic| Verdict {
            findings: vec![panicked("operator", self.name(), &*panic)],
            ..Verdict::default()
        })
    }

    fn by_hand(&self, state: &State, wanted: &ByHand) -> Option<Result<Event, Vec<String>>> {
        catch_unwind(AssertUnwindSafe(|| self.0.by_hand(state, wanted)))
            .unwrap_or_else(|panic| Some(Err(vec![panicked("operator", self.name(), &*panic).message])))
    }
}

/// A monitor that stops the cycle where it panics: what it was about to add is missing, and nobody may decide without it.
pub(crate) struct GuardedMonitor(pub(crate) Box<dyn Monitor>);

impl Monitor for GuardedMonitor {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn observe(&self, state: &mut State) -> Flow {
        catch_unwind(AssertUnwindSafe(|| self.0.observe(state))).unwrap_or_else(|panic| {
            state.report(panicked("monitor", self.name(), &*panic));
            Flow::Stop
        })
    }
}

/// The finding that a plugin has panicked.
pub(crate) fn panicked(kind: &str, name: &str, panic: &(dyn std::any::Any + Send)) -> Finding {
    let message = format!("{kind} {name} panicked: {}", panic_words(panic));
    Finding::new(PLUGIN_PANICKED, Target::Cluster, Severity::Critical, message)
}

/// What a panic said.
pub(crate) fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use control::{Incidents, Now, Wishes};

    use super::*;

    struct Panics;

    impl Operator for Panics {
        fn name(&self) -> &str {
            "mine"
        }

        fn emits(&self) -> Vec<String> {
            Vec::new()
        }

        fn operate(&self, _: &State) -> Verdict {
            panic!("on purpose")
        }

        fn by_hand(&self, _: &State, _: &ByHand) -> Option<Result<Event, Vec<String>>> {
            panic!("when asked")
        }
    }

    impl Monitor for Panics {
        fn name(&self) -> &str {
            "mine"
        }

        fn observe(&self, _: &mut State) -> Flow {
            let empty = BTreeMap::<u8, u8>::new();
            panic!("{}", empty.len())
        }
    }

    #[test]
    fn a_plugin_that_panics_is_a_finding_and_only_a_monitor_stops_the_cycle() {
        let mut state = State::new(
            "c".into(),
            Now::default(),
            Arc::new(Incidents::default()),
            Arc::default(),
            Arc::new(Wishes::default()),
        );
        let verdict = GuardedOperator(Box::new(Panics)).operate(&state);
        assert!(verdict.events.is_empty());
        assert_eq!(verdict.findings[0].message, "operator mine panicked: on purpose");
        let wanted = ByHand {
            broker: cluster::BrokerId(3),
            by: "ann".to_owned(),
            reason: String::new(),
            accept_data_loss: false,
            only_ask: false,
            is_plugin: false,
        };
        let answer = GuardedOperator(Box::new(Panics)).by_hand(&state, &wanted);
        assert_eq!(answer, Some(Err(vec!["operator mine panicked: when asked".to_owned()])));
        assert_eq!(GuardedMonitor(Box::new(Panics)).observe(&mut state), Flow::Stop);
        assert_eq!(state.findings()[0].message, "monitor mine panicked: 0");
    }
}
