//! Writes the few shapes that a client sends, in the form that RMI wants: an annotation with a null codebase behind
//! every class descriptor.

use super::{BASE_HANDLE, HEADER, mutf8, tag};

/// A class as its descriptor tells it.
#[derive(Debug)]
pub(crate) struct ClassSpec {
    pub(crate) name: &'static str,
    pub(crate) version: u64,
    pub(crate) flags: u8,
    pub(crate) fields: &'static [FieldSpec],
}

/// A field: the first character of its type, its name, and the whole signature if it is of a class.
type FieldSpec = (u8, &'static str, Option<&'static str>);

/// `[B` is the name of a class and the signature of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Class,
    Signature,
}

/// Writes a stream.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    next_handle: u32,
    /// The class descriptors and signatures that stand in the stream already, with their handles.
    written: Vec<(Kind, &'static str, u32)>,
}

impl Writer {
    pub(crate) fn new() -> Writer {
        Writer { bytes: HEADER.to_vec(), next_handle: BASE_HANDLE, written: Vec::new() }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Primitive data of at most 255 bytes.
    pub(crate) fn block(&mut self, data: &[u8]) {
        debug_assert!(data.len() <= usize::from(u8::MAX), "a block of {} bytes", data.len());
        self.bytes.extend([tag::BLOCK, data.len() as u8]);
        self.bytes.extend(data);
    }

    pub(crate) fn null(&mut self) {
        self.bytes.push(tag::NULL);
    }

    /// A string of any length.
    pub(crate) fn string(&mut self, text: &str) {
        let encoded = mutf8::encode(text);
        match u16::try_from(encoded.len()) {
            Ok(length) => {
                self.bytes.push(tag::STRING);
                self.bytes.extend(length.to_be_bytes());
            }
            Err(_) => {
                self.bytes.push(tag::LONG_STRING);
                self.bytes.extend((encoded.len() as u64).to_be_bytes());
            }
        }
        self.bytes.extend(encoded);
        self.next_handle += 1;
    }

    /// Begins an object; its fields follow, those of primitive types first.
    pub(crate) fn object(&mut self, class: &ClassSpec) {
        self.bytes.push(tag::OBJECT);
        self.class(class);
        self.next_handle += 1;
    }

    /// Ends the annotation of an object whose class has a `writeObject`.
    pub(crate) fn end_annotation(&mut self) {
        self.bytes.push(tag::END_BLOCK);
    }

    /// Begins an array; its elements follow.
    pub(crate) fn array(&mut self, class: &ClassSpec, length: u32) {
        self.bytes.push(tag::ARRAY);
        self.class(class);
        self.next_handle += 1;
        self.raw(&length.to_be_bytes());
    }

    /// Fields and elements of primitive types.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    fn class(&mut self, class: &ClassSpec) {
        if self.refer(Kind::Class, class.name) {
            return;
        }
        self.bytes.push(tag::CLASS_DESC);
        self.utf(class.name);
        self.raw(&class.version.to_be_bytes());
        self.remember(Kind::Class, class.name);
        self.bytes.push(class.flags);
        self.raw(&(class.fields.len() as u16).to_be_bytes());
        for (kind, name, signature) in class.fields {
            self.bytes.push(*kind);
            self.utf(name);
            if let Some(signature) = signature
                && !self.refer(Kind::Signature, signature)
            {
                self.bytes.push(tag::STRING);
                self.utf(signature);
                self.remember(Kind::Signature, signature);
            }
        }
        // The codebase, the end of the annotation, and no superclass.
        self.raw(&[tag::NULL, tag::END_BLOCK, tag::NULL]);
    }

    /// Writes a reference if `what` stands in the stream already.
    fn refer(&mut self, kind: Kind, what: &'static str) -> bool {
        let known = self.written.iter().find(|(its_kind, known, _)| (*its_kind, *known) == (kind, what));
        let Some((_, _, handle)) = known else { return false };
        let handle = handle.to_be_bytes();
        self.bytes.push(tag::REFERENCE);
        self.raw(&handle);
        true
    }

    fn remember(&mut self, kind: Kind, what: &'static str) {
        self.written.push((kind, what, self.next_handle));
        self.next_handle += 1;
    }

    /// A name of the source code: always short.
    fn utf(&mut self, text: &str) {
        let encoded = mutf8::encode(text);
        self.raw(&(encoded.len() as u16).to_be_bytes());
        self.bytes.extend(encoded);
    }
}
