//! Reads a stream into a [`Graph`].

use std::io::Read;
use std::mem::size_of;

use super::graph::{Array, ClassDesc, Content, Elements, Field, Graph, Node, NodeId, Object, Part, Value};
use super::{BASE_HANDLE, Error, HEADER, flag, mutf8, tag};
use crate::exception::JavaException;

/// Longest hierarchy of classes. The JDK's own longest among serializable classes has nine.
const MAX_ANCESTORS: u8 = 63;
/// How much is read at once of something long, so that a length that lies reserves no more than this.
const CHUNK: usize = 16 * 1024;

/// What a stream may cost.
///
/// The default suits the names of some 200,000 MBeans, and the deepest nesting of open types that we have met thrice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the stream.
    pub stream: u64,
    /// Bytes of the [`Graph`]: its texts, blocks, arrays and nodes, without what growing vectors keep in reserve.
    pub memory: u64,
    /// How deep objects may contain objects.
    pub depth: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { stream: 64 << 20, memory: 256 << 20, depth: 100 }
    }
}

/// Reads a stream.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    graph: Graph,
    /// What each handle of the stream stands for.
    handles: Vec<NodeId>,
    /// Bytes of the current block that are not read yet.
    block_left: usize,
    limits: Limits,
    read: u64,
    memory: u64,
    depth: u32,
}

impl<R: Read> Reader<R> {
    /// Reads the header of a stream.
    ///
    /// # Errors
    /// [`Error::Malformed`] if this is no stream of version 5, [`Error::Io`] if it cannot be read.
    pub fn new(input: R, limits: Limits) -> Result<Reader<R>, Error> {
        let mut reader = Reader {
            input,
            graph: Graph::default(),
            handles: Vec::new(),
            block_left: 0,
            limits,
            read: 0,
            memory: 0,
            depth: 0,
        };
        let header: [u8; 4] = reader.raw()?;
        if header != HEADER {
            return Err(
                reader.malformed(format!("{header:02x?} does not begin a stream of serialized objects"))
            );
        }
        Ok(reader)
    }

    /// Reads an item: an object, or what is left of a block of primitive data.
    ///
    /// # Errors
    /// See [`Error`]. After an error nothing more can be read of the stream.
    pub fn content(&mut self) -> Result<Content, Error> {
        if self.block_left > 0 {
            let left = std::mem::take(&mut self.block_left);
            return Ok(Content::Block(self.bytes(left)?));
        }
        let tag = self.byte()?;
        self.tagged_content(tag)
    }

    /// Reads what `writeObject` wrote.
    ///
    /// # Errors
    /// [`Error::Malformed`] if primitive data comes first; see also [`Error`].
    pub fn value(&mut self) -> Result<Value, Error> {
        match self.content()? {
            Content::Value(value) => Ok(value),
            Content::Block(block) => {
                Err(self.malformed(format!("{} bytes of primitive data instead of an object", block.len())))
            }
        }
    }

    /// Reads `N` bytes of primitive data, as `writeInt` and its like wrote them.
    ///
    /// # Errors
    /// [`Error::Malformed`] if an object comes first; see also [`Error`].
    pub fn primitive<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            while self.block_left == 0 {
                self.block_left = match self.byte()? {
                    tag::BLOCK => self.short_length()?,
                    tag::LONG_BLOCK => self.int_length("a block")?,
                    other => {
                        return Err(self.malformed(format!("tag {other:#04x} instead of primitive data")));
                    }
                };
            }
            *byte = self.byte()?;
            self.block_left -= 1;
        }
        Ok(bytes)
    }

    /// The memory of the graph so far, as [`Limits::memory`] counts it.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Whether primitive data is left of which nothing was made.
    pub fn is_inside_block(&self) -> bool {
        self.block_left > 0
    }

    /// The objects read so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The objects.
    pub fn into_graph(self) -> Graph {
        self.graph
    }

    fn tagged_content(&mut self, tag: u8) -> Result<Content, Error> {
        if self.depth >= self.limits.depth {
            return Err(Error::TooDeep { at: self.read, limit: self.limits.depth });
        }
        self.depth += 1;
        let content = match tag {
            tag::BLOCK => {
                let length = self.short_length()?;
                Content::Block(self.bytes(length)?)
            }
            tag::LONG_BLOCK => {
                let length = self.int_length("a block")?;
                Content::Block(self.bytes(length)?)
            }
            _ => Content::Value(self.tagged_value(tag)?),
        };
        self.depth -= 1;
        Ok(content)
    }

    /// A value inside another.
    fn inner_value(&mut self) -> Result<Value, Error> {
        let tag = self.byte()?;
        match self.tagged_content(tag)? {
            Content::Value(value) => Ok(value),
            Content::Block(_) => Err(self.malformed("primitive data where an object belongs".to_owned())),
        }
    }

    fn tagged_value(&mut self, tag: u8) -> Result<Value, Error> {
        let id = match tag {
            tag::NULL => return Ok(Value::Null),
            tag::REFERENCE => self.reference()?,
            tag::CLASS_DESC => self.class_desc()?,
            tag::PROXY_CLASS_DESC => self.proxy_class_desc()?,
            tag::OBJECT => self.object()?,
            tag::STRING => {
                let text = self.utf()?;
                self.finished(Node::Text(text))?
            }
            tag::LONG_STRING => {
                let length = i64::from_be_bytes(self.raw()?);
                let length = usize::try_from(length)
                    .map_err(|_| self.malformed(format!("a string of {length} bytes")))?;
                let text = self.text(length)?;
                self.finished(Node::Text(text))?
            }
            tag::ARRAY => self.array()?,
            tag::CLASS => {
                let class = self.class("a class")?;
                self.finished(Node::Class { class })?
            }
            tag::ENUM => self.enum_constant()?,
            tag::RESET if self.depth == 1 => {
                self.handles.clear();
                let tag = self.byte()?;
                // No second reset: it could repeat for as long as the stream is.
                if tag == tag::RESET {
                    return Err(self.malformed("two resets in a row".to_owned()));
                }
                return match self.tagged_content(tag)? {
                    Content::Value(value) => Ok(value),
                    Content::Block(_) => Err(self.malformed("primitive data after a reset".to_owned())),
                };
            }
            tag::EXCEPTION => return Err(self.aborted()?),
            other => return Err(self.malformed(format!("there is no tag {other:#04x}"))),
        };
        Ok(Value::Node(id))
    }

    fn reference(&mut self) -> Result<NodeId, Error> {
        let handle = u32::from_be_bytes(self.raw()?);
        let known = handle.checked_sub(BASE_HANDLE).and_then(|index| self.handles.get(index as usize));
        known
            .copied()
            .ok_or_else(|| self.malformed(format!("a reference to {handle:#x}, which is not there yet")))
    }

    /// The class descriptor of what follows.
    fn class(&mut self, of: &'static str) -> Result<NodeId, Error> {
        self.optional_class()?.ok_or_else(|| self.malformed(format!("{of} without a class")))
    }

    fn optional_class(&mut self) -> Result<Option<NodeId>, Error> {
        match self.inner_value()? {
            Value::Null => Ok(None),
            // A descriptor that is not finished would be its own superclass.
            Value::Node(id) if matches!(self.graph.node(id), Node::ClassDesc(_)) => Ok(Some(id)),
            _ => Err(self.malformed("something else where a class descriptor belongs".to_owned())),
        }
    }

    fn class_desc(&mut self) -> Result<NodeId, Error> {
        let name = self.utf()?;
        let version = i64::from_be_bytes(self.raw()?);
        let id = self.begin()?;
        let flags = self.byte()?;
        if flags & flag::SERIALIZABLE != 0 && flags & flag::EXTERNALIZABLE != 0 {
            return Err(self.malformed(format!("class {name} is serializable and externalizable")));
        }
        if flags & flag::ENUM != 0 && version != 0 {
            return Err(self.malformed(format!("enum {name} has a version")));
        }
        let count = u16::from_be_bytes(self.raw()?);
        let mut fields = Vec::new();
        for _ in 0..count {
            let field = self.field()?;
            self.spend_memory(size_of::<Field>())?;
            fields.push(field);
        }
        self.finish_class(
            id,
            ClassDesc { name, version, fields, superclass: None, interfaces: vec![], flags, ancestors: 0 },
        )
    }

    fn field(&mut self) -> Result<Field, Error> {
        let kind = self.byte()?;
        let name = self.utf()?;
        let signature = match kind {
            b'B' | b'C' | b'D' | b'F' | b'I' | b'J' | b'S' | b'Z' => None,
            b'L' | b'[' => {
                let value = self.inner_value()?;
                let Some(signature) = self.graph.text(value).map(str::to_owned) else {
                    return Err(self.malformed(format!("field {name} has no signature")));
                };
                self.spend_memory(signature.len())?;
                Some(signature)
            }
            _ => return Err(self.malformed(format!("field {name} is of the kind {kind:#04x}"))),
        };
        Ok(Field { name, kind, signature })
    }

    fn proxy_class_desc(&mut self) -> Result<NodeId, Error> {
        let id = self.begin()?;
        let count = self.int_length("a list of interfaces")?;
        let mut interfaces = Vec::new();
        for _ in 0..count {
            let name = self.utf()?;
            self.spend_memory(size_of::<String>())?;
            interfaces.push(name);
        }
        let flags = flag::SERIALIZABLE;
        let name = String::new();
        self.finish_class(
            id,
            ClassDesc { name, version: 0, fields: vec![], superclass: None, interfaces, flags, ancestors: 0 },
        )
    }

    /// Reads what stands at the end of each class descriptor: an annotation, which is of no use to us (RMI puts there
    /// where to load the class from), and the superclass.
    fn finish_class(&mut self, id: NodeId, mut class: ClassDesc) -> Result<NodeId, Error> {
        self.annotation()?;
        class.superclass = self.optional_class()?;
        class.ancestors = match class.superclass.and_then(|superclass| self.graph.class(superclass)) {
            Some(superclass) if superclass.ancestors >= MAX_ANCESTORS => {
                return Err(self.malformed(format!("class {} has too many superclasses", class.name)));
            }
            Some(superclass) => superclass.ancestors + 1,
            None => 0,
        };
        self.spend_memory(size_of::<ClassDesc>())?;
        self.finish(id, Node::ClassDesc(Box::new(class)));
        Ok(id)
    }

    fn object(&mut self) -> Result<NodeId, Error> {
        let class = self.class("an object")?;
        let id = self.begin()?;
        let mut classes: Vec<NodeId> = self.graph.hierarchy(class).map(|(id, _)| id).collect();
        classes.reverse();
        let mut parts = Vec::new();
        for class in classes {
            let part = self.part(class)?;
            if !part.values.is_empty() || !part.annotation.is_empty() {
                self.spend_memory(size_of::<Part>())?;
                parts.push(part);
            }
        }
        // A list that grows takes room for four, and of a thousand names each has one part: that was most of their memory.
        parts.shrink_to_fit();
        self.finish(id, Node::Object(Object { class, parts }));
        Ok(id)
    }

    fn part(&mut self, class: NodeId) -> Result<Part, Error> {
        let flags = self.graph.class(class).map_or(0, |class| class.flags);
        let mut part = Part { class, values: vec![], annotation: vec![] };
        if flags & flag::SERIALIZABLE != 0 {
            let mut index = 0;
            while let Some(kind) =
                self.graph.class(class).and_then(|class| class.fields.get(index)).map(|field| field.kind)
            {
                let value = self.of_kind(kind)?;
                self.spend_memory(size_of::<Value>())?;
                part.values.push(value);
                index += 1;
            }
            if flags & flag::WRITE_METHOD != 0 {
                part.annotation = self.annotation()?;
            }
        } else if flags & flag::EXTERNALIZABLE != 0 {
            if flags & flag::BLOCK_DATA == 0 {
                let name = self.graph.class_name(class).to_owned();
                return Err(self.malformed(format!("class {name} writes in a form that only it can read")));
            }
            part.annotation = self.annotation()?;
        }
        Ok(part)
    }

    fn annotation(&mut self) -> Result<Vec<Content>, Error> {
        let mut items = Vec::new();
        loop {
            match self.byte()? {
                tag::END_BLOCK => {
                    items.shrink_to_fit();
                    return Ok(items);
                }
                tag => {
                    let item = self.tagged_content(tag)?;
                    self.spend_memory(size_of::<Content>())?;
                    items.push(item);
                }
            }
        }
    }

    fn array(&mut self) -> Result<NodeId, Error> {
        let class = self.class("an array")?;
        let id = self.begin()?;
        let length = self.int_length("an array")?;
        let kind = match self.graph.class_name(class).as_bytes() {
            [b'[', kind, ..] => *kind,
            _ => {
                let name = self.graph.class_name(class).to_owned();
                return Err(self.malformed(format!("an array of the class {name:?}")));
            }
        };
        let elements = if kind == b'B' {
            Elements::Bytes(self.bytes(length)?)
        } else {
            let mut values = Vec::new();
            for _ in 0..length {
                let value = self.of_kind(kind)?;
                self.spend_memory(size_of::<Value>())?;
                values.push(value);
            }
            Elements::Values(values)
        };
        self.finish(id, Node::Array(Array { class, elements }));
        Ok(id)
    }

    fn enum_constant(&mut self) -> Result<NodeId, Error> {
        let class = self.class("a constant")?;
        let id = self.begin()?;
        let name = self.inner_value()?;
        let Some(constant) = self.graph.text(name).map(str::to_owned) else {
            return Err(self.malformed("a constant without a name".to_owned()));
        };
        self.spend_memory(constant.len())?;
        self.finish(id, Node::Enum { class, constant });
        Ok(id)
    }

    fn of_kind(&mut self, kind: u8) -> Result<Value, Error> {
        Ok(match kind {
            b'B' => Value::Byte(i8::from_be_bytes(self.raw()?)),
            b'C' => Value::Char(u16::from_be_bytes(self.raw()?)),
            b'D' => Value::Double(f64::from_be_bytes(self.raw()?)),
            b'F' => Value::Float(f32::from_be_bytes(self.raw()?)),
            b'I' => Value::Int(i32::from_be_bytes(self.raw()?)),
            b'J' => Value::Long(i64::from_be_bytes(self.raw()?)),
            b'S' => Value::Short(i16::from_be_bytes(self.raw()?)),
            b'Z' => Value::Bool(self.byte()? != 0),
            b'L' | b'[' => self.inner_value()?,
            _ => return Err(self.malformed(format!("there is no kind {kind:#04x} of values"))),
        })
    }

    /// The exception that kept the sender from going on. It begins with no handle known, and so does what follows.
    fn aborted(&mut self) -> Result<Error, Error> {
        self.handles.clear();
        let value = self.inner_value()?;
        let exception = JavaException::new(&self.graph, value).to_string();
        Ok(Error::Aborted { exception })
    }

    /// A node that gets its content later, so that what it contains can refer to it.
    fn begin(&mut self) -> Result<NodeId, Error> {
        self.finished(Node::Unfinished)
    }

    fn finished(&mut self, node: Node) -> Result<NodeId, Error> {
        self.spend_memory(size_of::<Node>() + size_of::<NodeId>())?;
        let number = u32::try_from(self.graph.nodes.len()).map_err(|_| Error::TooLarge {
            at: self.read,
            what: "objects",
            limit: u64::from(u32::MAX),
        })?;
        self.graph.nodes.push(node);
        self.handles.push(NodeId(number));
        Ok(NodeId(number))
    }

    fn finish(&mut self, id: NodeId, node: Node) {
        if let Some(place) = self.graph.nodes.get_mut(id.0 as usize) {
            *place = node;
        }
    }

    fn utf(&mut self) -> Result<String, Error> {
        let length = u16::from_be_bytes(self.raw()?);
        self.text(usize::from(length))
    }

    fn text(&mut self, length: usize) -> Result<String, Error> {
        let bytes = self.bytes(length)?;
        let text = mutf8::decode(&bytes);
        // A replacement character is longer than what it replaces.
        self.spend_memory(text.len().saturating_sub(length))?;
        Ok(text)
    }

    fn short_length(&mut self) -> Result<usize, Error> {
        Ok(usize::from(self.byte()?))
    }

    fn int_length(&mut self, of: &'static str) -> Result<usize, Error> {
        let length = i32::from_be_bytes(self.raw()?);
        usize::try_from(length).map_err(|_| self.malformed(format!("{of} of the length {length}")))
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let [byte] = self.raw()?;
        Ok(byte)
    }

    fn raw<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, Error> {
        self.check_memory(length)?;
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let from = bytes.len();
            let step = (length - from).min(CHUNK);
            self.spend_memory(step)?;
            bytes.resize(from + step, 0);
            let (_, chunk) = bytes.split_at_mut(from);
            self.fill(chunk)?;
        }
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        let at = self.read;
        self.read = at.saturating_add(bytes.len() as u64);
        if self.read > self.limits.stream {
            return Err(Error::TooLarge { at, what: "stream", limit: self.limits.stream });
        }
        self.input.read_exact(bytes).map_err(|source| Error::Io { at, source })
    }

    fn spend_memory(&mut self, bytes: usize) -> Result<(), Error> {
        self.check_memory(bytes)?;
        self.memory += bytes as u64;
        Ok(())
    }

    fn check_memory(&self, bytes: usize) -> Result<(), Error> {
        if self.memory.saturating_add(bytes as u64) > self.limits.memory {
            return Err(Error::TooLarge { at: self.read, what: "objects", limit: self.limits.memory });
        }
        Ok(())
    }

    fn malformed(&self, why: String) -> Error {
        Error::Malformed { at: self.read, why }
    }
}
