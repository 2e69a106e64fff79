//! Makes values of serialized objects: gives the JDK's classes that JMX uses their meaning.

use std::collections::BTreeMap;

use crate::object_name::ObjectName;
use crate::serial::{self, Annotation, Array, Elements, Graph, Limits, Node, NodeId};
use crate::value::{Composite, Object, Tabular, Value};

/// What one value costs besides its text.
const VALUE_COST: u64 = size_of::<Value>() as u64;

/// Makes a value of `root`.
///
/// A graph may refer to the same large object again and again; as a tree that would be many objects, so that `limits`
/// count once more.
///
/// # Errors
/// [`serial::Error::TooDeep`] and [`serial::Error::TooLarge`].
pub fn to_value(graph: &Graph, root: serial::Value, limits: Limits) -> Result<Value, serial::Error> {
    Converter { graph, limits, spent: 0, path: Vec::new() }.value(root)
}

/// The names that a list or a set has; `None` if `root` is none, or one of something else.
///
/// Their texts are moved, and no values are made: there may be many thousands.
pub(crate) fn into_names(mut graph: Graph, root: serial::Value) -> Option<Vec<ObjectName>> {
    let list = elements(&graph, root)?;
    let text_of = |name: serial::Value| {
        let name = graph.object(name)?;
        match graph.annotation(name, OBJECT_NAME)?.value()? {
            serial::Value::Node(text) => Some(text),
            _ => None,
        }
    };
    let texts: Vec<NodeId> = list.into_iter().map(text_of).collect::<Option<_>>()?;
    texts.into_iter().map(|text| ObjectName::of(graph.take_text(text)?).ok()).collect()
}

/// The elements of a list or a set, which may be wrapped, as those are that cannot be changed.
fn elements(graph: &Graph, mut root: serial::Value) -> Option<Vec<serial::Value>> {
    /// Enough for all that the JDK wraps; what wraps itself would have no end.
    const WRAPPERS: usize = 4;
    for _ in 0..=WRAPPERS {
        if let Some(elements) = graph.elements(root) {
            return Some(elements.to_vec());
        }
        let object = graph.object(root)?;
        match graph.hierarchy(object.class).find_map(|(_, class)| known(graph, object, &class.name))? {
            Known::List(list) => return Some(list),
            Known::Same(inner) => root = inner,
            _ => return None,
        }
    }
    None
}

const OBJECT_NAME: &str = "javax.management.ObjectName";

struct Converter<'a> {
    graph: &'a Graph,
    limits: Limits,
    spent: u64,
    /// The nodes that the present one is inside of.
    path: Vec<NodeId>,
}

/// What an object of a known class is.
enum Known {
    Value(Value),
    /// The same as another value: wrappers.
    Same(serial::Value),
    List(Vec<serial::Value>),
    Map(Vec<serial::Value>),
    Composite,
    Tabular,
}

impl<'a> Converter<'a> {
    fn value(&mut self, value: serial::Value) -> Result<Value, serial::Error> {
        self.spend(VALUE_COST)?;
        Ok(match value {
            serial::Value::Null => Value::Null,
            serial::Value::Bool(value) => Value::Bool(value),
            serial::Value::Byte(value) => Value::Byte(value),
            serial::Value::Char(value) => Value::Char(value),
            serial::Value::Short(value) => Value::Short(value),
            serial::Value::Int(value) => Value::Int(value),
            serial::Value::Long(value) => Value::Long(value),
            serial::Value::Float(value) => Value::Float(value),
            serial::Value::Double(value) => Value::Double(value),
            serial::Value::Node(id) => self.node(id)?,
        })
    }

    fn node(&mut self, id: NodeId) -> Result<Value, serial::Error> {
        let graph = self.graph;
        Ok(match graph.node(id) {
            Node::Text(text) => Value::Text(self.text(text)?),
            Node::Enum { class, constant } => {
                Value::Enum { class: self.text(graph.class_name(*class))?, constant: self.text(constant)? }
            }
            Node::Class { class } => self.class_object(graph.class_name(*class))?,
            Node::ClassDesc(class) => self.class_object(&class.name)?,
            Node::Array(Array { elements: Elements::Bytes(bytes), .. }) => {
                self.spend(bytes.len() as u64)?;
                Value::Bytes(bytes.clone())
            }
            Node::Array(_) | Node::Object(_) if self.path.contains(&id) => Value::Recursive,
            Node::Array(Array { elements: Elements::Values(values), .. }) => {
                self.enter(id)?;
                let list = self.list(values)?;
                self.path.pop();
                Value::List(list)
            }
            Node::Object(object) => {
                self.enter(id)?;
                let value = self.object(object)?;
                self.path.pop();
                value
            }
            Node::Unfinished => Value::Null,
        })
    }

    fn enter(&mut self, id: NodeId) -> Result<(), serial::Error> {
        if self.path.len() as u64 >= u64::from(self.limits.depth) {
            return Err(serial::Error::TooDeep { at: self.graph.len() as u64, limit: self.limits.depth });
        }
        self.path.push(id);
        Ok(())
    }

    fn class_object(&mut self, name: &str) -> Result<Value, serial::Error> {
        let name = Value::Text(self.text(name)?);
        let fields = BTreeMap::from([("name".to_owned(), name)]);
        Ok(Value::Object(Object { class: "java.lang.Class".to_owned(), fields, extra: vec![] }))
    }

    fn list(&mut self, values: &[serial::Value]) -> Result<Vec<Value>, serial::Error> {
        values.iter().map(|value| self.value(*value)).collect()
    }

    fn object(&mut self, object: &'a serial::Object) -> Result<Value, serial::Error> {
        let graph = self.graph;
        let known = graph.hierarchy(object.class).find_map(|(_, class)| known(graph, object, &class.name));
        match known {
            Some(Known::Value(value)) => {
                self.spend(value.as_str().map_or(0, str::len) as u64)?;
                Ok(value)
            }
            Some(Known::Same(value)) => self.value(value),
            Some(Known::List(values)) => Ok(Value::List(self.list(&values)?)),
            Some(Known::Map(values)) => self.map(&values),
            Some(Known::Composite) => self.composite(object),
            Some(Known::Tabular) => self.tabular(object),
            None => self.other(object),
        }
    }

    fn map(&mut self, values: &[serial::Value]) -> Result<Value, serial::Error> {
        let mut pairs = Vec::new();
        for pair in values.chunks_exact(2) {
            pairs.push((self.value(pair[0])?, self.value(pair[1])?));
        }
        Ok(Value::Map(pairs))
    }

    fn composite(&mut self, object: &'a serial::Object) -> Result<Value, serial::Error> {
        let type_name = self.type_name(object, "compositeType")?;
        let mut items = BTreeMap::new();
        let contents = self.graph.field(object, "contents").unwrap_or(serial::Value::Null);
        if let Value::Map(pairs) = self.value(contents)? {
            for (name, value) in pairs {
                if let Value::Text(name) = name {
                    items.insert(name, value);
                }
            }
        }
        Ok(Value::Composite(Composite { type_name, items }))
    }

    fn tabular(&mut self, object: &'a serial::Object) -> Result<Value, serial::Error> {
        let graph = self.graph;
        let type_name = self.type_name(object, "tabularType")?;
        let kind = graph.field(object, "tabularType").and_then(|kind| graph.object(kind));
        let index = match kind.and_then(|kind| graph.field(kind, "indexNames")) {
            Some(names) => self.value(names)?,
            None => Value::Null,
        };
        let index = match index {
            Value::List(names) => names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        };
        let data = graph.field(object, "dataMap").unwrap_or(serial::Value::Null);
        let mut rows = Vec::new();
        if let Value::Map(pairs) = self.value(data)? {
            rows.extend(pairs.into_iter().filter_map(|(_, row)| match row {
                Value::Composite(row) => Some(row),
                _ => None,
            }));
        }
        Ok(Value::Tabular(Tabular { type_name, index, rows }))
    }

    fn type_name(&mut self, object: &serial::Object, field: &str) -> Result<String, serial::Error> {
        let graph = self.graph;
        let kind = graph.field(object, field).and_then(|kind| graph.object(kind));
        self.text(kind.and_then(|kind| graph.text_field(kind, "typeName")).unwrap_or_default())
    }

    /// An object of a class that has no meaning here.
    fn other(&mut self, object: &'a serial::Object) -> Result<Value, serial::Error> {
        let graph = self.graph;
        let class = match graph.class(object.class) {
            Some(class) if class.name.is_empty() => class.interfaces.join(","),
            Some(class) => class.name.clone(),
            None => String::new(),
        };
        let mut other = Object { class: self.text(&class)?, ..Object::default() };
        for part in &object.parts {
            let fields = graph.class(part.class).map(|class| class.fields.as_slice()).unwrap_or_default();
            for (field, value) in fields.iter().zip(&part.values) {
                let value = self.value(*value)?;
                other.fields.insert(self.text(&field.name)?, value);
            }
            for value in Annotation::new(&part.annotation).values() {
                let value = self.value(value)?;
                other.extra.push(value);
            }
        }
        Ok(Value::Object(other))
    }

    fn text(&mut self, text: &str) -> Result<String, serial::Error> {
        self.spend(text.len() as u64)?;
        Ok(text.to_owned())
    }

    fn spend(&mut self, bytes: u64) -> Result<(), serial::Error> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > self.limits.memory {
            let at = self.graph.len() as u64;
            return Err(serial::Error::TooLarge { at, what: "values", limit: self.limits.memory });
        }
        Ok(())
    }
}

/// What `object` is, if it is of the class `name` and that has a meaning here. Each class's serialized form is in its
/// documentation ("Serialized Form").
fn known(graph: &Graph, object: &serial::Object, name: &str) -> Option<Known> {
    let field = |name: &str| graph.field(object, name);
    let annotation = || graph.annotation(object, name);
    Some(match name {
        "java.lang.Boolean"
        | "java.lang.Byte"
        | "java.lang.Character"
        | "java.lang.Double"
        | "java.lang.Float"
        | "java.lang.Integer"
        | "java.lang.Long"
        | "java.lang.Short"
        | "java.util.concurrent.atomic.AtomicInteger"
        | "java.util.concurrent.atomic.AtomicLong" => Known::Same(field("value")?),
        "java.util.concurrent.atomic.AtomicBoolean" => match field("value")? {
            serial::Value::Int(value) => Known::Value(Value::Bool(value != 0)),
            _ => return None,
        },
        "java.sql.Timestamp" => {
            // The date has whole seconds.
            let serial::Value::Int(nanoseconds) = field("nanos")? else { return None };
            let seconds = graph.annotation(object, "java.util.Date")?.long()?;
            Known::Value(Value::Date(seconds.saturating_add(i64::from(nanoseconds / 1_000_000))))
        }
        "java.util.Date" => Known::Value(Value::Date(annotation()?.long()?)),
        OBJECT_NAME => {
            let name = annotation()?.value()?;
            Known::Value(Value::Name(ObjectName::new(graph.text(name)?).ok()?))
        }
        "javax.management.openmbean.CompositeDataSupport" => Known::Composite,
        "javax.management.openmbean.TabularDataSupport" => Known::Tabular,
        _ => return collection(graph, object, name),
    })
}

fn collection(graph: &Graph, object: &serial::Object, name: &str) -> Option<Known> {
    let field = |name: &str| graph.field(object, name);
    let written = || Some(graph.annotation(object, name)?.values().collect::<Vec<_>>());
    let short = name.strip_prefix("java.util.")?;
    Some(match short {
        // Primitive data (sizes, capacities) and then the elements.
        "ArrayList"
        | "LinkedList"
        | "HashSet"
        | "ArrayDeque"
        | "PriorityQueue"
        | "concurrent.CopyOnWriteArrayList"
        | "concurrent.ConcurrentLinkedQueue" => Known::List(written()?),
        // The comparator comes first.
        "TreeSet" => Known::List(written()?.into_iter().skip(1).collect()),
        "HashMap" | "TreeMap" | "Hashtable" | "EnumMap" | "IdentityHashMap" => Known::Map(written()?),
        // A null ends them.
        "concurrent.ConcurrentHashMap" | "concurrent.ConcurrentSkipListMap" => {
            Known::Map(written()?.into_iter().take_while(|value| *value != serial::Value::Null).collect())
        }
        "Vector" => {
            let serial::Value::Int(count) = field("elementCount")? else { return None };
            let elements = graph.elements(field("elementData")?)?;
            Known::List(elements.get(..usize::try_from(count).ok()?)?.to_vec())
        }
        "Arrays$ArrayList" => Known::Same(field("a")?),
        "Collections$UnmodifiableCollection"
        | "Collections$SynchronizedCollection"
        | "Collections$CheckedCollection" => Known::Same(field("c")?),
        "Collections$UnmodifiableMap" | "Collections$SynchronizedMap" | "Collections$CheckedMap" => {
            Known::Same(field("m")?)
        }
        "EnumSet$SerializationProxy" => Known::Same(field("elements")?),
        "concurrent.CopyOnWriteArraySet" => Known::Same(field("al")?),
        "Collections$SetFromMap" => match field("m")? {
            map @ serial::Value::Node(_) => Known::List(keys(graph, map)?),
            _ => return None,
        },
        "Collections$EmptyList" | "Collections$EmptySet" => Known::List(vec![]),
        "Collections$EmptyMap" => Known::Map(vec![]),
        "Collections$SingletonList" | "Collections$SingletonSet" => Known::List(vec![field("element")?]),
        "Collections$SingletonMap" => Known::Map(vec![field("k")?, field("v")?]),
        // List.of, Set.of and Map.of.
        "CollSer" => match field("tag")? {
            serial::Value::Int(tag) if tag & 0xff == 3 => Known::Map(written()?),
            serial::Value::Int(tag) if matches!(tag & 0xff, 1 | 2 | 4) => Known::List(written()?),
            _ => return None,
        },
        _ => return None,
    })
}

/// The keys of a map.
fn keys(graph: &Graph, map: serial::Value) -> Option<Vec<serial::Value>> {
    let object = graph.object(map)?;
    let pairs = graph.hierarchy(object.class).find_map(|(_, class)| {
        match collection(graph, object, &class.name) {
            Some(Known::Map(pairs)) => Some(pairs),
            _ => None,
        }
    })?;
    Some(pairs.chunks_exact(2).map(|pair| pair[0]).collect())
}
