//! A YAML document as a tree in which every key and value knows its place in the text.

use std::ops::Range;

use serde_json::{Map, Number};

/// Where something stands in the text, in bytes; `None` for what does not come from a text.
pub(super) type Span = Option<Range<usize>>;

/// A value and its place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Value {
    #[default]
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) node: Node,
}

impl Node {
    /// The entries, if this is a mapping; an empty value counts as an empty mapping.
    pub(super) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            Value::Null => Some(&[]),
            _ => None,
        }
    }

    /// The entry under `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries()?.iter().find(|entry| entry.key == key)
    }

    /// The items, if this is a list; an empty value counts as an empty list.
    pub(super) fn items(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            Value::Null => Some(&[]),
            _ => None,
        }
    }

    /// The text, if this is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// What kind of value this is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    /// The same value as JSON.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) => number.clone().into(),
            Value::String(text) => text.clone().into(),
            Value::Sequence(items) => items.iter().map(Self::to_json).collect(),
            Value::Mapping(entries) => {
                let map: Map<_, _> =
                    entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect();
                map.into()
            }
        }
    }

    /// The node of a JSON value: it has no place.
    pub(super) fn from_json(json: &serde_json::Value) -> Self {
        let value = match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::Number(number) => Value::Number(number.clone()),
            serde_json::Value::String(text) => Value::String(text.clone()),
            serde_json::Value::Array(items) => Value::Sequence(items.iter().map(Self::from_json).collect()),
            serde_json::Value::Object(map) => Value::Mapping(
                map.iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        key_span: None,
                        node: Self::from_json(value),
                    })
                    .collect(),
            ),
        };
        Self { span: None, value }
    }

    /// The node with what `over` says instead: mappings are merged key by key, all else is replaced. Every part keeps
    /// the place that it came from; the whole takes the place of `over`.
    pub(super) fn merged(&self, over: &Node) -> Node {
        let (Value::Mapping(base), Value::Mapping(above)) = (&self.value, &over.value) else {
            return over.clone();
        };
        let mut entries = base.clone();
        for entry in above {
            match entries.iter_mut().find(|old| old.key == entry.key) {
                Some(old) => {
                    *old = Entry { node: old.node.merged(&entry.node), ..entry.clone() };
                }
                None => entries.push(entry.clone()),
            }
        }
        Node { span: over.span.clone().or_else(|| self.span.clone()), value: Value::Mapping(entries) }
    }

    /// The place of what `path` names, such as `network.limits[2]`: that of the key if `at_key`, otherwise of the
    /// value; the nearest place above it if the path leads nowhere.
    pub(super) fn locate(&self, path: &str, at_key: bool) -> Span {
        let mut node = self;
        let mut span = self.span.clone();
        for step in steps(path) {
            match step {
                Step::Key(key) => match node.get(key) {
                    Some(entry) => {
                        let value = entry.node.span.clone();
                        span = if at_key { entry.key_span.clone() } else { value.or(entry.key_span.clone()) };
                        node = &entry.node;
                    }
                    None => return span,
                },
                Step::Index(index) => match node.items().and_then(|items| items.get(index)) {
                    Some(item) => {
                        span = item.span.clone();
                        node = item;
                    }
                    None => return span,
                },
            }
        }
        span
    }
}

/// One step of a path.
#[derive(Debug, PartialEq)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The steps of a path such as `network.limits[2]`.
pub(super) fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    path.split(['.', '[', ']'])
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().map_or(Step::Key(part), Step::Index))
}
