//! Laws of the reader: whatever the bytes are, it neither panics nor takes more memory than it says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod common;

use std::mem::size_of;

use jmx::serial::{ClassDesc, Content, Elements, Field, Graph, Limits, Node, NodeId, Part, Reader, Value};
use jmx::to_value;
use proptest::prelude::*;

use common::seeds::{seeds, stream_of_tokens};

/// Much less than the default, so that the limits are met.
const LIMITS: Limits = Limits { stream: 1 << 20, memory: 1 << 20, depth: 40 };

/// How much of something long is read at once.
const PIECE: u64 = 16 * 1024;

/// The bytes that a graph takes, counted from what is there.
fn real_memory(graph: &Graph) -> usize {
    let nodes = graph.nodes().map(|node| {
        size_of::<Node>()
            + match node {
                Node::Text(text) => text.len(),
                Node::Enum { constant, .. } => constant.len(),
                Node::ClassDesc(class) => class_memory(class),
                Node::Array(array) => match &array.elements {
                    Elements::Bytes(bytes) => bytes.len(),
                    Elements::Values(values) => values.len() * size_of::<Value>(),
                },
                Node::Object(object) => object.parts.iter().map(part_memory).sum(),
                _ => 0,
            }
    });
    nodes.sum()
}

fn class_memory(class: &ClassDesc) -> usize {
    let fields = class
        .fields
        .iter()
        .map(|field| size_of::<Field>() + field.name.len() + field.signature.as_ref().map_or(0, String::len));
    let interfaces = class.interfaces.iter().map(|name| size_of::<String>() + name.len());
    size_of::<ClassDesc>() + class.name.len() + fields.sum::<usize>() + interfaces.sum::<usize>()
}

fn part_memory(part: &Part) -> usize {
    let annotation = part.annotation.iter().map(|content| {
        size_of::<Content>()
            + match content {
                Content::Block(block) => block.len(),
                Content::Value(_) => 0,
            }
    });
    size_of::<Part>() + part.values.len() * size_of::<Value>() + annotation.sum::<usize>()
}

/// Reads all there is, and makes values of it.
fn read(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(mut reader) = Reader::new(bytes, LIMITS) else { return Ok(()) };
    loop {
        let read = reader.content();
        prop_assert!(
            real_memory(reader.graph()) as u64 <= reader.memory(),
            "{} bytes, said to be {}",
            real_memory(reader.graph()),
            reader.memory()
        );
        prop_assert!(reader.memory() <= LIMITS.memory);
        // Memory is taken for what has arrived, and not for what a length promises; but for the last piece.
        prop_assert!(reader.memory() <= 100 * bytes.len() as u64 + PIECE);
        let Ok(content) = read else { return Ok(()) };
        check_ids(reader.graph())?;
        if let Content::Value(value) = content
            && let Ok(value) = to_value(reader.graph(), value, LIMITS)
        {
            // To print it walks over all of it.
            let text = format!("{value:?}");
            prop_assert!(!text.is_empty());
        }
    }
}

/// In a graph that was read without error nothing is unfinished, and every class is one.
fn check_ids(graph: &Graph) -> Result<(), TestCaseError> {
    let is_class = |id: &NodeId| graph.class(*id).is_some();
    for node in graph.nodes() {
        let classes: Vec<NodeId> = match node {
            Node::Unfinished => return Err(TestCaseError::fail("an unfinished node")),
            Node::Object(object) => {
                let parts = object.parts.iter().map(|part| part.class);
                parts.chain([object.class]).collect()
            }
            Node::Array(array) => vec![array.class],
            Node::Enum { class, .. } | Node::Class { class } => vec![*class],
            Node::ClassDesc(class) => class.superclass.into_iter().collect(),
            _ => vec![],
        };
        prop_assert!(classes.iter().all(is_class));
    }
    Ok(())
}

/// A change of a seed: bytes overwritten, and a piece cut out or doubled.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let seeds = seeds();
    (
        any::<prop::sample::Index>(),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        any::<[prop::sample::Index; 3]>(),
    )
        .prop_map(move |(which, changes, cuts)| {
            let mut bytes = which.get(&seeds).clone();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let [from, to, into] = cuts.map(|cut| cut.index(bytes.len()));
            let piece: Vec<u8> =
                bytes.get(from.min(to)..from.max(to)).unwrap_or_default().iter().take(64).copied().collect();
            bytes.splice(into..into, piece);
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_do_no_harm(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![0xac, 0xed, 0, 5];
        bytes.extend(tail);
        read(&bytes)?;
    }

    #[test]
    fn arbitrary_tags_do_no_harm(choices in prop::collection::vec(any::<u16>(), 0..300)) {
        read(&stream_of_tokens(choices))?;
    }

    #[test]
    fn damaged_answers_do_no_harm(bytes in damaged()) {
        read(&bytes)?;
    }
}

#[test]
fn every_seed_is_read_to_its_end() {
    for seed in seeds() {
        let mut reader = Reader::new(&seed[..], Limits::default()).unwrap();
        let mut items = 0;
        let end = loop {
            match reader.content() {
                Ok(Content::Value(value)) => {
                    to_value(reader.graph(), value, Limits::default()).unwrap();
                    items += 1;
                }
                Ok(Content::Block(_)) => items += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(end.to_string(), format!("reading byte {} of a serialized object", seed.len()));
        assert!(items > 0);
    }
}
