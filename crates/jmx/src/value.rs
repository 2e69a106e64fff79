//! The values of attributes.

use std::collections::BTreeMap;

use crate::ObjectName;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `null`.
    Null,
    /// A `boolean` or `Boolean`. Here as with the numbers, Java's primitive types and their classes are the same.
    Bool(bool),
    /// A `byte`.
    Byte(i8),
    /// A `short`.
    Short(i16),
    /// An `int` or `AtomicInteger`.
    Int(i32),
    /// A `long` or `AtomicLong`.
    Long(i64),
    /// A `float`.
    Float(f32),
    /// A `double`.
    Double(f64),
    /// A `char`, as the unit of UTF-16 that it is.
    Char(u16),
    /// A `String`.
    Text(String),
    /// A `java.util.Date`: milliseconds since 1970.
    Date(i64),
    /// The name of an MBean.
    Name(ObjectName),
    /// A constant of an enum.
    Enum {
        /// The enum, as `java.util.concurrent.TimeUnit`.
        class: String,
        /// The constant, as `SECONDS`.
        constant: String,
    },
    /// A `byte[]`.
    Bytes(Vec<u8>),
    /// Any other array, a list or a set.
    List(Vec<Value>),
    /// A map, in the order in which the JVM wrote it.
    Map(Vec<(Value, Value)>),
    /// A `CompositeData`.
    Composite(Composite),
    /// A `TabularData`.
    Tabular(Tabular),
    /// An object of any other class.
    Object(Object),
    /// An object that is inside itself.
    Recursive,
}

/// A `CompositeData`, as `java.lang:type=Memory` has it for `HeapMemoryUsage`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Composite {
    /// The name of its type, as `java.lang.management.MemoryUsage`.
    pub type_name: String,
    /// Its items by name.
    pub items: BTreeMap<String, Value>,
}

/// A `TabularData`, as `java.lang:type=Runtime` has it for `SystemProperties`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tabular {
    /// The name of its type.
    pub type_name: String,
    /// The names of the items that together are the key of a row.
    pub index: Vec<String>,
    /// The rows.
    pub rows: Vec<Composite>,
}

/// An object of a class that has no meaning of its own here: its fields, and what it wrote besides.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object {
    /// Its class; for a dynamic proxy its interfaces, with commas.
    pub class: String,
    /// Its fields. A field that a superclass has too is that of the more derived class.
    pub fields: BTreeMap<String, Value>,
    /// The objects that its `writeObject` wrote behind the fields. Primitive data is left out.
    pub extra: Vec<Value>,
}

impl Value {
    /// The number, if it is an integer.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Byte(value) => Some(i64::from(value)),
            Self::Short(value) => Some(i64::from(value)),
            Self::Int(value) => Some(i64::from(value)),
            Self::Long(value) => Some(value),
            _ => None,
        }
    }

    /// The number, if it is one. A `long` beyond 2⁵³ is rounded.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::Float(value) => Some(f64::from(value)),
            Self::Double(value) => Some(value),
            _ => self.as_i64().map(|value| value as f64),
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The text of a string, the name of a constant, or the name of an MBean.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Enum { constant, .. } => Some(constant),
            Self::Name(name) => Some(name.as_str()),
            _ => None,
        }
    }

    /// The elements of a list, set or array.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(values) => Some(values),
            _ => None,
        }
    }

    /// The item `name` of a `CompositeData`.
    pub fn item(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Composite(composite) => composite.items.get(name),
            _ => None,
        }
    }
}
