//! Who may be given the order to replace a host.

use std::sync::Arc;

use control::Action;
use expect_test::{Expect, expect};
use serde::{Deserialize, Serialize};

use super::*;
use crate::plugin::{ActionConfig, BuildContext, PluginRegistry};
use crate::plugins;

/// All problems with these actions beside the operator that gives the order, a line each.
fn check_in(registry: &PluginRegistry, actions: &str, expected: Expect) {
    let text = format!(
        "operators: [{{type: broker_replacement}}]
actions:
{actions}
kafkaclusters: [{{name: a, bootstrap_servers: 'h:1'}}]
"
    );
    let loaded = parse("f", &text, registry, &|_| None);
    assert_eq!(loaded.config.is_some(), loaded.report.errors() == 0);
    expected.assert_eq(&loaded.report.to_string());
}

fn check(actions: &str, expected: Expect) {
    check_in(&plugins::builtin(), actions, expected);
}

#[test]
fn one_action_alone_replaces_hosts() {
    let two = |dry_run: bool| {
        format!(
            "\
- {{type: script_instance_replacement, command: [x], dry_run: false, subscribed_events: [replace_instance]}}
- {{type: script_instance_replacement, name: b, command: [x], dry_run: {dry_run}, subscribed_events: [replace_instance]}}"
        )
    };
    check(
        &two(false),
        expect![[r#"
            f:4:98: error: action `script_instance_replacement` replaces hosts already: one alone may subscribe to `replace_instance`; what only tells of it subscribes to `notify_replacement`, `alert_replacement_held` and other `alert_…`
            f: warning: cluster `a`: hosts are replaced, and another service that replaces them, too, would not be found: add the action `report_operation`, or share a `state_store`
        "#]],
    );
    check(
        &two(true),
        expect![[r#"
            f:1:20: warning: no action subscribes to `alert_replacement_held`, `elect_leaders`, which operator `broker_replacement` can emit
            f:3:10: warning: no action subscribes to `notify_replacement`, which action `script_instance_replacement` can emit
            f:4:10: warning: no action subscribes to `notify_replacement`, which action `b` can emit
            f: warning: cluster `a`: hosts are replaced, and another service that replaces them, too, would not be found: add the action `report_operation`, or share a `state_store`
        "#]],
    );
}

#[test]
fn messages_and_scripts_are_not_given_the_order_to_replace_a_host() {
    check(
        "\
- {type: webhook, url: 'http://h/replace', dry_run: false, subscribed_events: [alert_resolved, replace_instance]}
- {type: send_email, server: h, tls: none, from: a@b.c, alert: [a@b.c], subscribed_events: [replace_instance]}
- {type: script, name: s, command: [x], dry_run: false, subscribed_events: [replace_instance]}
- {type: script, name: dry, command: [x], runs_dry: true, subscribed_events: [replace_instance]}
- {type: report_operation, subscribed_events: [replace_instance]}
- {type: reassign_partitions, subscribed_events: [replace_instance]}",
        expect![[r#"
            f:3:96: error: action `webhook` does not replace hosts, and `replace_instance` is the order to do so; what only tells of it subscribes to `notify_replacement`, `alert_replacement_held` and other `alert_…`
            f:4:93: error: action `send_email` does not replace hosts, and `replace_instance` is the order to do so; what only tells of it subscribes to `notify_replacement`, `alert_replacement_held` and other `alert_…`
            f:5:77: error: action `s` does not replace hosts, and `replace_instance` is the order to do so; what only tells of it subscribes to `notify_replacement`, `alert_replacement_held` and other `alert_…`
            f:6:79: error: action `dry` does not replace hosts, and `replace_instance` is the order to do so; what only tells of it subscribes to `notify_replacement`, `alert_replacement_held` and other `alert_…`
            f:7:48: error: action `report_operation` does not replace hosts, and `replace_instance` is the order to do so; what only tells of it subscribes to `notify_replacement`, `alert_replacement_held` and other `alert_…`
            f:8:51: error: action `reassign_partitions` does not replace hosts, and `replace_instance` is the order to do so; what only tells of it subscribes to `notify_replacement`, `alert_replacement_held` and other `alert_…`
        "#]],
    );
}

/// An action of somebody's own that replaces hosts, and says so.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CloudConfig {}

impl ActionConfig for CloudConfig {
    fn changes_things(&self) -> bool {
        true
    }
    fn at_most_once(&self) -> bool {
        true
    }
    fn replaces_hosts(&self) -> bool {
        true
    }
    fn build(&self, _: &BuildContext) -> Result<Arc<dyn Action>, String> {
        Err("there is no cloud here".to_owned())
    }
}

#[test]
fn a_plugin_that_says_that_it_replaces_hosts_may_be_given_the_order() {
    let mut registry = plugins::builtin();
    registry.action::<CloudConfig>("cloud");
    check_in(
        &registry,
        "- {type: cloud, dry_run: false, subscribed_events: [replace_instance]}",
        expect![[r#"
            f:1:20: warning: no action subscribes to `alert_replacement_held`, `elect_leaders`, which operator `broker_replacement` can emit
            f: warning: cluster `a`: hosts are replaced, and another service that replaces them, too, would not be found: add the action `report_operation`, or share a `state_store`
        "#]],
    );
}
