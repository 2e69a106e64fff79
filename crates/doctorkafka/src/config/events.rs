//! Who emits which events, and who subscribes to them.

use std::collections::{BTreeMap, BTreeSet};

use control::event::names;
use control::step::OWN_EVENTS;

use super::entries::{Kind, Plugin, flag, wrong_kind};
use super::node::{Entry, Node, Span, Value};
use super::problem::{Problem, did_you_mean};
use super::resolved::ActionEntry;
use super::section::list;

/// Who can emit events.
pub(super) struct Emitter {
    who: String,
    events: Vec<String>,
    span: Span,
}

impl Emitter {
    pub(super) fn new(kind: Kind, name: &str, events: Vec<String>, span: &Span) -> Self {
        Self { who: format!("{} `{name}`", kind.one()), events, span: span.clone() }
    }
}

/// The keys of an action that are the framework's.
#[derive(Default)]
pub(super) struct Own {
    pub(super) subscribed: Vec<(String, Span)>,
    pub(super) dry_run: Option<bool>,
}

/// Splits the framework's keys off an action's section.
///
/// An action whose type is the name of an event subscribes to that event unless it says otherwise.
pub(super) fn split_action(action: &Plugin, problems: &mut Vec<Problem>) -> (Own, Node) {
    let mut own = Own::default();
    let mut rest = Vec::new();
    let mut subscribes = false;
    for entry in action.section.entries().unwrap_or_default() {
        match entry.key.as_str() {
            "subscribed_events" => {
                subscribes = true;
                own.subscribed = event_names(entry, problems);
            }
            "dry_run" => own.dry_run = flag(entry, problems),
            _ => rest.push(entry.clone()),
        }
    }
    let by_type = [names::REASSIGN_PARTITIONS, names::ELECT_LEADERS, names::REPORT_OPERATION];
    if !subscribes {
        if by_type.contains(&action.type_name.as_str()) {
            own.subscribed.push((action.type_name.clone(), action.span.clone()));
        } else {
            let message = format!("action `{}` has no `subscribed_events`", action.name);
            problems.push(Problem::error(action.span.clone(), message));
        }
    }
    (own, Node { span: action.section.span.clone(), value: Value::Mapping(rest) })
}

fn event_names(entry: &Entry, problems: &mut Vec<Problem>) -> Vec<(String, Span)> {
    let mut events: Vec<(String, Span)> = Vec::new();
    match &entry.node.value {
        Value::Sequence(items) if !items.is_empty() => {
            for item in items {
                match item.text() {
                    Some(text) if events.iter().any(|(known, _)| known == text) => {
                        let message = format!("the event `{text}` stands here twice");
                        problems.push(Problem::error(item.span.clone(), message));
                    }
                    Some(text) => events.push((text.to_owned(), item.span.clone())),
                    None => {
                        let message = format!("the name of an event is a text, but here is {}", item.kind());
                        problems.push(Problem::error(item.span.clone(), message));
                    }
                }
            }
        }
        Value::Sequence(_) => {
            problems.push(Problem::error(entry.node.span.clone(), format!("`{}` is empty", entry.key)));
        }
        _ => {
            let help = entry.node.text().map(|text| format!("write `[{text}]`"));
            problems.push(wrong_kind(entry, "a list of names of events").maybe_help(help));
        }
    }
    events
}

/// `replace_instance` is an order for actions that replace hosts, and for no others, not even in a dry run; of those that are no
/// dry run one alone may have it, as two programs must not work on one host. The first is remembered in `replaces`.
pub(super) fn one_replacer_alone(
    entry: &ActionEntry,
    subscribed: &[(String, Span)],
    replaces: &mut Option<String>,
    problems: &mut Vec<Problem>,
) {
    let Some((event, span)) = subscribed.iter().find(|(event, _)| event == names::REPLACE_INSTANCE) else {
        return;
    };
    let action = &entry.plugin.name;
    let message = if !entry.plugin.prepared.replaces_hosts() {
        format!("action `{action}` does not replace hosts, and `{event}` is the order to do so")
    } else if entry.dry_run {
        return;
    } else if let Some(first) = replaces {
        format!("action `{first}` replaces hosts already: one alone may subscribe to `{event}`")
    } else {
        *replaces = Some(action.clone());
        return;
    };
    let help = format!(
        "what only tells of it subscribes to `{}`, `{}` and other `alert_…`",
        names::NOTIFY_REPLACEMENT,
        names::ALERT_REPLACEMENT_HELD
    );
    problems.push(Problem::error(span.clone(), message).help(help));
}

/// Checks that every subscribed event can come, and tells which events nobody hears.
pub(super) fn check(
    emitters: &[Emitter],
    disabled: &[Emitter],
    subscriptions: &[(String, Span)],
    problems: &mut Vec<Problem>,
) {
    let mut by_event: BTreeMap<&str, &Emitter> = BTreeMap::new();
    for emitter in emitters {
        by_event.extend(emitter.events.iter().map(|event| (event.as_str(), emitter)));
    }
    for (event, span) in subscriptions {
        if by_event.contains_key(event.as_str()) || OWN_EVENTS.contains(&event.as_str()) {
            continue;
        }
        if let Some(off) = disabled.iter().find(|off| off.events.contains(event)) {
            let message = format!("only {} emits the event `{event}`, and it is switched off", off.who);
            problems.push(Problem::warning(span.clone(), message));
            continue;
        }
        let known: BTreeSet<&str> = by_event.keys().copied().chain(OWN_EVENTS).collect();
        let help = did_you_mean(event, known.iter().copied())
            .or_else(|| list("the events are", known.iter().copied()));
        let message = format!("nothing can emit the event `{event}`");
        problems.push(Problem::error(span.clone(), message).maybe_help(help));
    }
    // Plugins that nobody has named are there by default: what is not heard of them is nobody's mistake.
    for emitter in emitters.iter().filter(|emitter| emitter.span.is_some()) {
        let unheard = |event: &&String| !subscriptions.iter().any(|(name, _)| name == *event);
        if let Some(events) = list("", emitter.events.iter().filter(unheard).map(String::as_str)) {
            let message = format!("no action subscribes to{events}, which {} can emit", emitter.who);
            problems.push(Problem::warning(emitter.span.clone(), message));
        }
    }
}
