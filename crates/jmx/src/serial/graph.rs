//! What a stream says, as it says it.

/// A field, an element, or the root.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// A `boolean`.
    Bool(bool),
    /// A `byte`.
    Byte(i8),
    /// A `char`: one unit of UTF-16.
    Char(u16),
    /// A `short`.
    Short(i16),
    /// An `int`.
    Int(i32),
    /// A `long`.
    Long(i64),
    /// A `float`.
    Float(f32),
    /// A `double`.
    Double(f64),
    /// Anything else: see [`Graph::node`].
    Node(NodeId),
}

/// The number of a [`Node`] in its [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) u32);

/// What a [`Value::Node`] refers to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Node {
    /// A node that the stream has begun and not finished. In a graph that was read without an error there is none.
    Unfinished,
    /// A `String`.
    Text(String),
    /// An object.
    Object(Object),
    /// An array.
    Array(Array),
    /// A constant of an enum.
    Enum {
        /// The enum's class descriptor.
        class: NodeId,
        /// The constant's name.
        constant: String,
    },
    /// A `java.lang.Class`.
    Class {
        /// Its descriptor.
        class: NodeId,
    },
    /// A class descriptor (`java.io.ObjectStreamClass`).
    ClassDesc(Box<ClassDesc>),
}

/// How the objects of a class are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassDesc {
    /// The binary name, as `java.util.HashMap` or `[Ljava.lang.String;`; empty for a proxy.
    pub name: String,
    /// The `serialVersionUID`.
    pub version: i64,
    /// The fields that this class adds to its superclass.
    pub fields: Vec<Field>,
    /// The nearest superclass that is serializable too.
    pub superclass: Option<NodeId>,
    /// The interfaces of a dynamic proxy; empty for others.
    pub interfaces: Vec<String>,
    /// The flags as they stand in the stream.
    pub flags: u8,
    /// How many superclasses there are.
    pub(super) ancestors: u8,
}

/// A field of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The first character of its type in a signature: one of `BCDFIJSZ`, `L` or `[`.
    pub kind: u8,
    /// The whole signature of its type, for `L` and `[`.
    pub signature: Option<String>,
}

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The descriptor of its class.
    pub class: NodeId,
    /// What each class of the hierarchy wrote, superclasses first. Classes that wrote nothing have no part.
    pub parts: Vec<Part>,
}

/// What one class of a hierarchy wrote of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The class.
    pub class: NodeId,
    /// The values of its fields, in the order of [`ClassDesc::fields`].
    pub values: Vec<Value>,
    /// What its `writeObject` or `writeExternal` wrote besides: see [`Graph::annotation`].
    pub annotation: Vec<Content>,
}

/// An item of an annotation or of the stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// An object, or null.
    Value(Value),
    /// Primitive data. A value may be split over two blocks that follow each other.
    Block(Vec<u8>),
}

/// An array.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// The descriptor of its class, as `[J`.
    pub class: NodeId,
    /// What it holds.
    pub elements: Elements,
}

/// The elements of an array.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    /// Of a `byte[]`.
    Bytes(Vec<u8>),
    /// Of any other array.
    Values(Vec<Value>),
}

/// The objects of a stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    pub(super) nodes: Vec<Node>,
}

impl Graph {
    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node with this number. A number of another graph yields any node, or [`Node::Unfinished`].
    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0 as usize).unwrap_or(&Node::Unfinished)
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The text, if `value` is a `String`.
    pub fn text(&self, value: Value) -> Option<&str> {
        match value {
            Value::Node(id) => match self.node(id) {
                Node::Text(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// The text of the node, which has none afterwards.
    pub(crate) fn take_text(&mut self, id: NodeId) -> Option<String> {
        match self.nodes.get_mut(id.0 as usize)? {
            Node::Text(text) => Some(std::mem::take(text)),
            _ => None,
        }
    }

    /// The object, if `value` is one.
    pub fn object(&self, value: Value) -> Option<&Object> {
        match value {
            Value::Node(id) => match self.node(id) {
                Node::Object(object) => Some(object),
                _ => None,
            },
            _ => None,
        }
    }

    /// The elements, if `value` is an array of anything but bytes.
    pub fn elements(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::Node(id) => match self.node(id) {
                Node::Array(Array { elements: Elements::Values(values), .. }) => Some(values),
                _ => None,
            },
            _ => None,
        }
    }

    /// The class descriptor with this number.
    pub fn class(&self, id: NodeId) -> Option<&ClassDesc> {
        match self.node(id) {
            Node::ClassDesc(class) => Some(class),
            _ => None,
        }
    }

    /// The name of the class with this number; empty for a proxy.
    pub fn class_name(&self, id: NodeId) -> &str {
        self.class(id).map_or("", |class| &class.name)
    }

    /// The class with this number and its superclasses, the most derived first.
    pub fn hierarchy(&self, id: NodeId) -> impl Iterator<Item = (NodeId, &ClassDesc)> {
        let first = self.class(id).map(|class| (id, class));
        std::iter::successors(first, |(_, class)| {
            let superclass = class.superclass?;
            Some((superclass, self.class(superclass)?))
        })
    }

    /// Whether `object` is of the class `name` or one derived of it.
    pub fn is_a(&self, object: &Object, name: &str) -> bool {
        self.hierarchy(object.class).any(|(_, class)| class.name == name)
    }

    /// The field of `object` with this name. If two classes of the hierarchy have it, the more derived one's.
    pub fn field(&self, object: &Object, name: &str) -> Option<Value> {
        object.parts.iter().rev().find_map(|part| {
            let index = self.class(part.class)?.fields.iter().position(|field| field.name == name)?;
            part.values.get(index).copied()
        })
    }

    /// The text of the field with this name, if it is a `String`.
    pub fn text_field(&self, object: &Object, name: &str) -> Option<&str> {
        self.field(object, name).and_then(|value| self.text(value))
    }

    /// What the class `name` wrote of `object` besides fields.
    pub fn annotation<'a>(&'a self, object: &'a Object, name: &str) -> Option<super::Annotation<'a>> {
        let part = object.parts.iter().find(|part| self.class_name(part.class) == name)?;
        Some(super::Annotation::new(&part.annotation))
    }
}
