//! The Java Object Serialization Stream Protocol, version 5: a reader of everything the protocol can say, and a writer
//! of the few things a client says.
//!
//! The reader makes a [`Graph`]: all objects of a stream beside each other, referring to each other by number, as the
//! stream itself does. So objects that contain themselves need no care, and a graph of a million links is dropped without
//! recursion. No class is ever loaded and no code of the sender runs: what a stream can do is to be long, deep or
//! broken, and [`Limits`] bound that.
//!
//! ```
//! use jmx::serial::{Limits, Reader, Value};
//!
//! // ObjectOutputStream.writeObject("up")
//! let stream = [0xac, 0xed, 0, 5, 0x74, 0, 2, b'u', b'p'];
//! let mut reader = Reader::new(&stream[..], Limits::default())?;
//! let value = reader.value()?;
//! assert_eq!(reader.into_graph().text(value), Some("up"));
//! # Ok::<(), jmx::serial::Error>(())
//! ```

mod annotation;
mod graph;
mod mutf8;
mod reader;
mod writer;

pub use annotation::Annotation;
pub use graph::{Array, ClassDesc, Content, Elements, Field, Graph, Node, NodeId, Object, Part, Value};
pub use reader::{Limits, Reader};
pub(crate) use writer::{ClassSpec, Writer};

use std::io;

/// What begins every stream: a magic number and the version.
pub(crate) const HEADER: [u8; 4] = [0xac, 0xed, 0, 5];
/// Handles are numbers from here on.
const BASE_HANDLE: u32 = 0x7e_0000;

/// The tags of the protocol.
mod tag {
    pub(super) const NULL: u8 = 0x70;
    pub(super) const REFERENCE: u8 = 0x71;
    pub(super) const CLASS_DESC: u8 = 0x72;
    pub(super) const OBJECT: u8 = 0x73;
    pub(super) const STRING: u8 = 0x74;
    pub(super) const ARRAY: u8 = 0x75;
    pub(super) const CLASS: u8 = 0x76;
    pub(super) const BLOCK: u8 = 0x77;
    pub(super) const END_BLOCK: u8 = 0x78;
    pub(super) const RESET: u8 = 0x79;
    pub(super) const LONG_BLOCK: u8 = 0x7a;
    pub(super) const EXCEPTION: u8 = 0x7b;
    pub(super) const LONG_STRING: u8 = 0x7c;
    pub(super) const PROXY_CLASS_DESC: u8 = 0x7d;
    pub(super) const ENUM: u8 = 0x7e;
}

/// The flags of a class descriptor.
mod flag {
    /// The class has a `writeObject` of its own, so that an annotation follows its fields.
    pub(super) const WRITE_METHOD: u8 = 1;
    pub(super) const SERIALIZABLE: u8 = 2;
    pub(super) const EXTERNALIZABLE: u8 = 4;
    /// What an externalizable object wrote stands in blocks, and so can be skipped.
    pub(super) const BLOCK_DATA: u8 = 8;
    pub(super) const ENUM: u8 = 16;
}

/// Why a stream cannot be read. `at` is the offset in the stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream ended, or what it comes from failed.
    #[error("reading byte {at} of a serialized object")]
    Io {
        /// Bytes read before.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// The bytes are not what the protocol allows here.
    #[error("byte {at} of a serialized object: {why}")]
    Malformed {
        /// Bytes read before.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// The stream is longer, or its objects are larger, than [`Limits`] allow.
    #[error("byte {at} of a serialized object: more than {limit} bytes of {what}")]
    TooLarge {
        /// Bytes read before.
        at: u64,
        /// What is too large.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// Objects contain objects more deeply than [`Limits`] allow.
    #[error("byte {at} of a serialized object: nested more than {limit} deep")]
    TooDeep {
        /// Bytes read before.
        at: u64,
        /// How deep is allowed.
        limit: u32,
    },
    /// The sender failed while it was writing, and wrote what happened to it.
    #[error("the sender could not finish writing: {exception}")]
    Aborted {
        /// Class and message of the exception.
        exception: String,
    },
}
