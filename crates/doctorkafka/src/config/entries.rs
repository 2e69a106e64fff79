//! The lists of plugins: reads their entries, and merges those of a cluster into the global ones.

use super::legacy;
use super::node::{Entry, Node, Span, Value};
use super::problem::{Problem, did_you_mean};
use super::section::list;

/// What a plugin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Monitor,
    Operator,
    Action,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Monitor, Kind::Operator, Kind::Action];

    /// The key of the list.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Monitor => "monitors",
            Self::Operator => "operators",
            Self::Action => "actions",
        }
    }

    /// One of them, in words.
    pub(super) fn one(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Operator => "operator",
            Self::Action => "action",
        }
    }
}

/// The type names of each kind that there are.
pub(super) struct Types<'a> {
    pub(super) monitors: Vec<&'a str>,
    pub(super) operators: Vec<&'a str>,
    pub(super) actions: Vec<&'a str>,
}

impl Types<'_> {
    fn of(&self, kind: Kind) -> &[&str] {
        match kind {
            Kind::Monitor => &self.monitors,
            Kind::Operator => &self.operators,
            Kind::Action => &self.actions,
        }
    }
}

/// One entry of a list of plugins.
#[derive(Clone, Debug)]
pub(super) struct Plugin {
    pub(super) name: String,
    pub(super) type_name: String,
    pub(super) enabled: bool,
    /// All other keys.
    pub(super) section: Node,
    /// Where the entry is named.
    pub(super) span: Span,
}

/// What one entry says, before it is known what it is merged into.
struct Said {
    name: Option<(String, Span)>,
    type_name: Option<(String, Span)>,
    enabled: Option<bool>,
    section: Node,
    span: Span,
}

/// Whether `name` is safe as a name: in metrics, in paths, in commands.
pub(super) fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    // File names may have 255 bytes; this leaves room for endings.
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.chars().all(fits)
}

const NAME_HELP: &str = "a name has letters, digits, `.`, `_` and `-`, and does not start with a dot";

/// Reads a global list.
pub(super) fn global(list: &Node, kind: Kind, types: &Types<'_>, problems: &mut Vec<Problem>) -> Vec<Plugin> {
    merged(&[], list, kind, types, problems)
}

/// Merges the list of a cluster into the global one: an entry with the name of a global plugin changes its keys, one
/// with another name and a type is added behind.
pub(super) fn merged(
    globals: &[Plugin],
    list: &Node,
    kind: Kind,
    types: &Types<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Plugin> {
    let mut plugins = globals.to_vec();
    let mut seen: Vec<(String, Span)> = Vec::new();
    let Some(items) = list.items() else {
        let message =
            format!("`{}` is a list of entries with a `type`, but here is {}", kind.key(), list.kind());
        problems.push(Problem::error(list.span.clone(), message));
        return plugins;
    };
    for item in items {
        let Some(said) = read(item, kind, problems) else { continue };
        let Some((name, name_span)) = said.name.clone().or_else(|| said.type_name.clone()) else {
            problems.push(
                Problem::error(said.span, format!("this {} has no `type`", kind.one()))
                    .maybe_help(self::list("the types are", types.of(kind).iter().copied())),
            );
            continue;
        };
        if !is_name(&name) {
            let message = format!("`{name}` cannot be the name of a plugin");
            problems.push(Problem::error(name_span, message).help(NAME_HELP));
            continue;
        }
        if let Some((_, first)) = seen.iter().find(|(known, _)| *known == name) {
            let message = format!("there are two {} with the name `{name}`", kind.key());
            let help = "give one of them another `name`";
            problems.push(Problem::error(name_span, message).and_at(first.clone(), "the first").help(help));
            continue;
        }
        seen.push((name.clone(), name_span.clone()));
        take(&mut plugins, globals, name, name_span, said, kind, types, problems);
    }
    plugins
}

/// Changes the plugin of that name, or adds it.
#[expect(clippy::too_many_arguments, reason = "one step of the loop above, split off for its length")]
fn take(
    plugins: &mut Vec<Plugin>,
    globals: &[Plugin],
    name: String,
    name_span: Span,
    said: Said,
    kind: Kind,
    types: &Types<'_>,
    problems: &mut Vec<Problem>,
) {
    if let Some(plugin) = plugins.iter_mut().find(|plugin| plugin.name == name) {
        if let Some((type_name, span)) = said.type_name
            && type_name != plugin.type_name
        {
            let message =
                format!("`{name}` is of the type `{}` for all clusters, not `{type_name}`", plugin.type_name);
            let help = "give it another `name`, or leave the `type` out";
            problems.push(Problem::error(span, message).help(help));
            return;
        }
        plugin.enabled = said.enabled.unwrap_or(plugin.enabled);
        plugin.section = plugin.section.merged(&said.section);
        return;
    }
    let Some((type_name, type_span)) = said.type_name else {
        let message = format!("no {} has the name `{name}`, and this entry has no `type`", kind.one());
        let known = globals.iter().map(|plugin| plugin.name.as_str());
        let help = did_you_mean(&name, known.clone())
            .or_else(|| list(&format!("the {} are", kind.key()), known))
            .or_else(|| list("the types are", types.of(kind).iter().copied()));
        problems.push(Problem::error(name_span, message).maybe_help(help));
        return;
    };
    if let Some(problem) = unknown_type(&type_name, &type_span, kind, types) {
        problems.push(problem);
        return;
    }
    let enabled = said.enabled.unwrap_or(true);
    plugins.push(Plugin { name, type_name, enabled, section: said.section, span: type_span });
}

/// What is wrong with the name of a type.
fn unknown_type(name: &str, span: &Span, kind: Kind, types: &Types<'_>) -> Option<Problem> {
    if types.of(kind).contains(&name) {
        return None;
    }
    let problem = Problem::error(span.clone(), format!("no {} has the type `{name}`", kind.one()));
    if let Some((key, new)) = legacy::type_of_class(name) {
        let place = if key == kind.key() { String::new() } else { format!(", under `{key}`") };
        let known = Kind::ALL.into_iter().any(|kind| kind.key() == key && types.of(kind).contains(&new));
        let help = if known {
            format!("write `type: {new}`{place}: the name here for what was {name} in 0.3")
        } else {
            format!("leave it out: there is nothing here yet for what was {name} in 0.3")
        };
        return Some(problem.help(help));
    }
    if let Some(other) = Kind::ALL.into_iter().find(|other| types.of(*other).contains(&name)) {
        let help = format!("`{name}` is an {}: it belongs under `{}`", other.one(), other.key());
        return Some(problem.help(help.replace("an monitor", "a monitor")));
    }
    let known = types.of(kind).iter().copied();
    let help = did_you_mean(name, known.clone()).or_else(|| list("the types are", known));
    Some(problem.maybe_help(help))
}

/// Reads one entry.
fn read(item: &Node, kind: Kind, problems: &mut Vec<Problem>) -> Option<Said> {
    let Value::Mapping(entries) = &item.value else {
        let help = item.text().map(|text| format!("write `- type: {text}`"));
        let message = format!("an entry of `{}` is a mapping, but here is {}", kind.key(), item.kind());
        problems.push(Problem::error(item.span.clone(), message).maybe_help(help));
        return None;
    };
    let span = entries.first().and_then(|entry| entry.key_span.clone()).or_else(|| item.span.clone());
    let mut said = Said {
        name: None,
        type_name: None,
        enabled: None,
        section: Node { span: span.clone(), value: Value::Null },
        span,
    };
    let mut section: Vec<Entry> = Vec::new();
    for entry in entries {
        match entry.key.as_str() {
            "name" => said.name = Some(text(entry, problems)?),
            "type" => said.type_name = Some(text(entry, problems)?),
            "class" => {
                let class = text(entry, problems)?;
                let new = legacy::type_of_class(&class.0).map(|(_, new)| format!("write `type: {new}`"));
                let help = new.or_else(|| legacy::key_help("class").map(str::to_owned));
                problems.push(Problem::error(entry.key_span.clone(), "unknown key `class`").maybe_help(help));
                return None;
            }
            "enabled" => said.enabled = flag(entry, problems),
            // 0.3 keeps the plugin's own keys one level deeper.
            "config" => match entry.node.entries() {
                Some(deeper) => section.extend(deeper.iter().map(|entry| renamed(entry, kind))),
                None => problems.push(wrong_kind(entry, "a mapping")),
            },
            _ => section.push(renamed(entry, kind)),
        }
    }
    for (at, entry) in section.iter().enumerate() {
        if let Some(first) = section[..at].iter().find(|first| first.key == entry.key) {
            let message = format!("the key `{}` stands here twice", entry.key);
            let problem = Problem::error(entry.key_span.clone(), message);
            problems.push(problem.and_at(first.key_span.clone(), "first here"));
        }
    }
    said.section.value = Value::Mapping(section);
    Some(said)
}

/// The entry under the name that its key has here.
fn renamed(entry: &Entry, kind: Kind) -> Entry {
    let key = match (kind, entry.key.as_str()) {
        (Kind::Action, "subscribed_tasks") => "subscribed_events",
        (Kind::Action, "dryrun") => "dry_run",
        (_, key) => key,
    };
    Entry { key: key.to_owned(), ..entry.clone() }
}

/// A text that is not empty.
pub(super) fn text(entry: &Entry, problems: &mut Vec<Problem>) -> Option<(String, Span)> {
    match entry.node.text() {
        Some(text) if !text.is_empty() => Some((text.to_owned(), entry.node.span.clone())),
        Some(_) => {
            problems.push(Problem::error(entry.node.span.clone(), format!("`{}` is empty", entry.key)));
            None
        }
        None => {
            problems.push(wrong_kind(entry, "a text"));
            None
        }
    }
}

/// `true` or `false`.
pub(super) fn flag(entry: &Entry, problems: &mut Vec<Problem>) -> Option<bool> {
    match entry.node.value {
        Value::Bool(value) => Some(value),
        _ => {
            let problem = wrong_kind(entry, "`true` or `false`");
            // The words of YAML 1.1.
            let word = entry.node.text().unwrap_or_default().to_ascii_lowercase();
            let help = match word.as_str() {
                "yes" | "on" => Some("write `true`".to_owned()),
                "no" | "off" => Some("write `false`".to_owned()),
                _ => None,
            };
            problems.push(problem.maybe_help(help));
            None
        }
    }
}

/// The value under a key is of another kind.
pub(super) fn wrong_kind(entry: &Entry, wanted: &str) -> Problem {
    let span = entry.node.span.clone().or_else(|| entry.key_span.clone());
    Problem::error(span, format!("`{}` is {wanted}, but here is {}", entry.key, entry.node.kind()))
}
