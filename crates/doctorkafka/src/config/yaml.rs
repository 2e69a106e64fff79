//! Reads YAML into a tree of [`Node`]s.
//!
//! The core schema of YAML 1.2 without what a configuration has no need of: one document, no tags, no merge keys, keys
//! that are plain words. Anchors and aliases work. Everything is bounded, so that no text takes much time or memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span as Mark};
use serde_json::Number;

use super::node::{Entry, Node, Value};
use super::problem::Problem;

/// A configuration for a thousand clusters has some 100 KB.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// Aliases repeat nodes: this many may come of a text in whole. A configuration for a thousand clusters has some 10,000.
const MAX_NODES: usize = 200_000;

/// The keys of one mapping: they are searched one by one.
const MAX_KEYS: usize = 1_000;

/// A plugin's section is at depth 6; what is deeper is its own.
const MAX_DEPTH: usize = 32;

/// Reads the text. The problems come without a tree if the text is no YAML.
pub(super) fn read(text: &str) -> (Option<Node>, Vec<Problem>) {
    if text.len() > MAX_BYTES {
        return (None, vec![Problem::error(None, format!("the file is larger than {MAX_BYTES} bytes"))]);
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options()) {
        match event {
            Ok((event, mark)) => {
                if let Err(fatal) = builder.take(event, &mark) {
                    builder.problems.push(fatal);
                    return (None, builder.problems);
                }
            }
            Err(error) => {
                let at = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
                builder.problems.push(Problem::error(Some(at..at), format!("no YAML: {}", error.info())));
                return (None, builder.problems);
            }
        }
    }
    (Some(builder.root.unwrap_or_default()), builder.problems)
}

fn options() -> Options {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    options
}

/// A collection that is being read.
enum Open {
    Sequence {
        span: Range<usize>,
        anchor: usize,
        items: Vec<Node>,
    },
    Mapping {
        span: Range<usize>,
        anchor: usize,
        entries: Vec<Entry>,
        key: Option<(String, Range<usize>)>,
    },
    /// A key that is no plain word: reported, and left out with its value.
    Ignored {
        depth: usize,
    },
}

/// Puts the events together.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Node, Extent)>,
    nodes: usize,
    documents: usize,
    root: Option<Node>,
    problems: Vec<Problem>,
}

impl Builder {
    /// Takes one event; an error ends the reading.
    fn take(&mut self, event: Event<'_>, mark: &Mark) -> Result<(), Problem> {
        let span = mark.byte_range().unwrap_or(0..0);
        if let Some(tag) = event.tag() {
            let message = format!("tags such as `{}` have no meaning here", tag.original());
            self.problems.push(Problem::error(Some(span.clone()), message));
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Problem::error(Some(span), "a configuration is a single document"));
                }
            }
            Event::Scalar(text, style, anchor, _) => self.scalar(text, style, anchor, span)?,
            Event::SequenceStart(_, anchor, _) => {
                self.start(Open::Sequence { span, anchor, items: Vec::new() })
            }
            Event::MappingStart(_, anchor, _) => {
                self.start(Open::Mapping { span, anchor, entries: Vec::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(&span)?,
            Event::Alias(id) => {
                let Some((node, extent)) = self.anchors.get(&id).cloned() else {
                    return Err(Problem::error(Some(span), "an alias stands inside of what it names"));
                };
                if self.open.len() + extent.depth > MAX_DEPTH {
                    return Err(Problem::error(Some(span), "the aliases make the configuration too deep"));
                }
                self.count(extent.nodes, &span)?;
                self.put(Node { span: Some(span), ..node }, 0);
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, span: &Range<usize>) -> Result<(), Problem> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(Problem::error(Some(span.clone()), "the aliases make the configuration too large"));
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        span: Range<usize>,
    ) -> Result<(), Problem> {
        self.count(1, &span)?;
        if let Some(Open::Mapping { key: key @ None, entries, .. }) = self.open.last_mut() {
            if entries.len() >= MAX_KEYS {
                return Err(Problem::error(Some(span), "too many keys in one mapping"));
            }
            if let Some(first) = entries.iter().find(|entry| entry.key == *text) {
                let problem =
                    Problem::error(Some(span.clone()), format!("the key `{text}` stands here twice"));
                let first = first.key_span.clone();
                self.problems.push(problem.and_at(first, "first here"));
            } else if text == "<<" {
                let message = "merge keys (`<<`) are not read: write the keys out";
                self.problems.push(Problem::error(Some(span.clone()), message));
            }
            *key = Some((text.into_owned(), span));
            return Ok(());
        }
        let value = if style == ScalarStyle::Plain { plain(&text) } else { Value::String(text.into_owned()) };
        self.put(Node { span: Some(span), value }, anchor);
        Ok(())
    }

    fn start(&mut self, collection: Open) {
        match self.open.last_mut() {
            Some(Open::Ignored { depth }) => *depth += 1,
            Some(Open::Mapping { key: None, span, .. }) => {
                let message = "a key of this mapping is no plain word";
                self.problems.push(Problem::error(Some(span.clone()), message));
                self.open.push(Open::Ignored { depth: 1 });
            }
            _ => self.open.push(collection),
        }
    }

    fn end(&mut self, end: &Range<usize>) -> Result<(), Problem> {
        let whole = |span: Range<usize>| Some(span.start..span.end.max(end.start));
        let (node, anchor) = match self.open.pop() {
            Some(Open::Ignored { depth }) if depth > 1 => {
                self.open.push(Open::Ignored { depth: depth - 1 });
                return Ok(());
            }
            Some(Open::Ignored { .. }) => {
                if let Some(Open::Mapping { key, .. }) = self.open.last_mut() {
                    *key = Some((String::new(), end.clone()));
                }
                return Ok(());
            }
            Some(Open::Sequence { span, anchor, items }) => {
                (Node { span: whole(span), value: Value::Sequence(items) }, anchor)
            }
            Some(Open::Mapping { span, anchor, entries, .. }) => {
                (Node { span: whole(span), value: Value::Mapping(entries) }, anchor)
            }
            None => return Ok(()),
        };
        self.count(1, end)?;
        self.put(node, anchor);
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, node: Node, anchor: usize) {
        if anchor != 0 {
            let extent = Extent::of(&node);
            self.anchors.insert(anchor, (node.clone(), extent));
        }
        match self.open.last_mut() {
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping { entries, key, .. }) => match key.take() {
                // A key that stands there twice keeps its first value.
                Some((name, _)) if name.is_empty() || entries.iter().any(|entry| entry.key == name) => {}
                Some((name, span)) => entries.push(Entry { key: name, key_span: Some(span), node }),
                // An alias in the place of a key.
                None => *key = Some((String::new(), node.span.unwrap_or(0..0))),
            },
            Some(Open::Ignored { .. }) => {}
            None => self.root = Some(node),
        }
    }
}

/// How large a node is.
#[derive(Clone, Copy)]
struct Extent {
    nodes: usize,
    depth: usize,
}

impl Extent {
    fn of(node: &Node) -> Self {
        let below: Vec<Self> = match &node.value {
            Value::Sequence(items) => items.iter().map(Self::of).collect(),
            Value::Mapping(entries) => entries.iter().map(|entry| Self::of(&entry.node)).collect(),
            _ => Vec::new(),
        };
        let nodes = 1 + below.iter().map(|extent| extent.nodes).sum::<usize>();
        let depth = 1 + below.iter().map(|extent| extent.depth).max().unwrap_or(0);
        Self { nodes, depth }
    }
}

/// What a scalar without quotes means in the core schema of YAML 1.2.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().map(Number::from);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return u64::from_str_radix(digits, 8).ok().map(Number::from);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let whole = text.strip_prefix('+').unwrap_or(text);
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return whole
            .parse::<u64>()
            .map(Number::from)
            .or_else(|_| whole.parse::<i64>().map(Number::from))
            .ok();
    }
    let digits =
        unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    digits.then(|| whole.parse().ok().and_then(Number::from_f64)).flatten()
}
