//! What is wrong or odd about the wiring of events.

use control::event::names;
use control::*;

use crate::world::slot;

struct Asks;
impl Operator for Asks {
    fn name(&self) -> &str {
        "asks"
    }
    fn emits(&self) -> Vec<String> {
        vec![names::REPLACE_INSTANCE.to_owned()]
    }
    fn operate(&self, _: &State) -> Verdict {
        Verdict::default()
    }
}

fn core(actions: Vec<ActionSlot>) -> Result<Vec<ConfigWarning>, Vec<ConfigProblem>> {
    let config = CoreConfig {
        cluster: "test".to_owned(),
        monitors: Vec::new(),
        operators: vec![Box::new(Asks)],
        actions,
        guard: GuardConfig::default(),
        limits: ExecutionLimits::default(),
        incidents: FoldLimits::default(),
    };
    Core::new(config).map(|(_, warnings)| warnings)
}

#[test]
fn refuses_a_subscription_to_an_event_that_nothing_can_emit() {
    let problems = core(vec![slot("mail", "alert_moon", ActionKind::Once)]).unwrap_err();
    let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(words, ["action mail subscribes to alert_moon, which nothing can emit"]);
}

#[test]
fn accepts_a_subscription_to_what_another_action_emits() {
    let mut replace = slot("replace", names::REPLACE_INSTANCE, ActionKind::Once);
    replace.emits.push("notify_replacement".to_owned());
    let mail = slot("mail", "notify_replacement", ActionKind::Once);
    assert_eq!(core(vec![replace, mail]), Ok(Vec::new()));
}

#[test]
fn warns_of_an_event_that_nobody_subscribes_to() {
    let warnings = core(Vec::new()).unwrap();
    let words: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(words, ["no action subscribes to replace_instance, which asks can emit"]);
}

#[test]
fn refuses_two_actions_of_one_name() {
    let one = ActionSlot { dry_run: true, ..slot("mail", names::REPLACE_INSTANCE, ActionKind::Once) };
    let problems = core(vec![one.clone(), one]).unwrap_err();
    assert_eq!(problems, [ConfigProblem::SameName { kind: "actions", name: "mail".to_owned() }]);
}
