//! Recorded answers of real brokers, and hand-made streams for what those do not contain.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use expect_test::{Expect, expect};
use jmx::serial::{self, Content, Limits, Reader};
use jmx::{Value, to_value};

/// A conversation of a client with a broker's JMX server: `C` or `S`, and what it sent in hex.
const TRACE: &str = include_str!("fixtures/jrmp-trace.hex");

/// The server's answers, whole: an answer can be recorded in several pieces.
fn answers() -> Vec<Vec<u8>> {
    let mut answers: Vec<Vec<u8>> = Vec::new();
    for line in TRACE.lines() {
        let (who, hex) = line.split_once(' ').unwrap();
        let bytes = unhex(hex);
        match (who, bytes[0]) {
            ("S", 0x51) => answers.push(bytes[1..].to_vec()),
            // The greeting.
            ("S", 0x4e) => {}
            ("S", _) => answers.last_mut().unwrap().extend(bytes),
            _ => {}
        }
    }
    answers
}

fn unhex(hex: &str) -> Vec<u8> {
    let hex: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    hex.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The value of an answer, behind its kind and number.
fn value_of_answer(answer: &[u8]) -> Value {
    let mut reader = Reader::new(answer, Limits::default()).unwrap();
    reader.primitive::<15>().unwrap();
    let root = reader.value().unwrap();
    to_value(reader.graph(), root, Limits::default()).unwrap()
}

/// Reads a stream in hex, without its header.
fn read(hex: &str) -> Result<Value, serial::Error> {
    read_with(hex, Limits::default())
}

fn read_with(hex: &str, limits: Limits) -> Result<Value, serial::Error> {
    let mut bytes = vec![0xac, 0xed, 0, 5];
    bytes.extend(unhex(hex));
    let mut reader = Reader::new(&bytes[..], limits)?;
    let root = reader.value()?;
    to_value(reader.graph(), root, limits)
}

fn check(hex: &str, expected: Expect) {
    match read(hex) {
        Ok(value) => expected.assert_eq(&format!("{value:?}")),
        Err(error) => expected.assert_eq(&error.to_string()),
    }
}

/// A class descriptor without superclass; `fields` in hex.
fn class(name: &str, flags: u8, fields: &str) -> String {
    let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    let fields = if fields.is_empty() { "0000" } else { fields };
    format!("72{:04x}{hex}0000000000000001{flags:02x}{fields}7870", name.len())
}

#[test]
fn a_recorded_conversation_is_understood() {
    let answers = answers();
    assert_eq!(answers.len(), 14);
    let Value::List(attributes) = value_of_answer(&answers[4]) else { panic!("no attributes") };
    let attributes = attributes.iter().map(|attribute| match attribute {
        Value::Object(attribute) => {
            format!("{:?} = {:?}\n", attribute.fields["name"], attribute.fields["value"])
        }
        other => panic!("{other:?}"),
    });
    expect![[r#"
        Text("Count") = Long(28331)
        Text("MeanRate") = Double(21.681696916633264)
        Text("OneMinuteRate") = Double(5.73896374278223)
        Text("RateUnit") = Enum { class: "java.util.concurrent.TimeUnit", constant: "SECONDS" }
        Text("EventType") = Text("bytes")
    "#]]
    .assert_eq(&attributes.collect::<String>());
    let Value::List(names) = value_of_answer(&answers[3]) else { panic!("no names") };
    let Value::Name(name) = &names[4] else { panic!("no name") };
    assert_eq!(name.as_str(), "kafka.server:type=BrokerTopicMetrics,name=BytesOutPerSec,topic=orders");
    let Value::List(names) = value_of_answer(&answers[11]) else { panic!("no names") };
    assert_eq!(names.len(), 1197, "all MBeans of a broker");
    assert!(names.iter().all(|name| matches!(name, Value::Name(_))));
}

#[test]
fn the_recorded_exception_tells_what_happened() {
    let answers = answers();
    let Value::Object(exception) = value_of_answer(&answers[13]) else { panic!("no exception") };
    assert_eq!(exception.class, "java.rmi.NoSuchObjectException");
    assert_eq!(exception.fields["detailMessage"], Value::Text("no such object in table".to_owned()));
    assert_eq!(exception.fields["detail"], Value::Null);
}

#[test]
fn an_object_may_be_inside_itself() {
    // A throwable without a cause is its own cause.
    check(
        &format!("73 {} 71 007e0002", class("T", 2, "0001 4c 0005 6361757365 74 0002 4c3b")),
        expect![[r#"Object(Object { class: "T", fields: {"cause": Recursive}, extra: [] })"#]],
    );
}

#[test]
fn every_tag_is_read() {
    check("70", expect!["Null"]);
    check("74 0003 616263", expect![[r#"Text("abc")"#]]);
    check("7c 0000000000000003 616263", expect![[r#"Text("abc")"#]]);
    let enumeration = class("E", 0x12, "").replace("0000000000000001", "0000000000000000");
    check(&format!("7e {enumeration} 74 0001 41"), expect![[r#"Enum { class: "E", constant: "A" }"#]]);
    check(&format!("75 {} 00000002 05 06", class("[B", 2, "")), expect!["Bytes([5, 6])"]);
    check(
        &format!("75 {} 00000001 0001000000000002", class("[J", 2, "")),
        expect!["List([Long(281474976710658)])"],
    );
    check(
        &format!("75 {} 00000001 75 71 007e0000 00000000", class("[[J", 2, "")),
        expect!["List([List([])])"],
    );
    check(
        &format!("76 {}", class("K", 2, "")),
        expect![[r#"Object(Object { class: "java.lang.Class", fields: {"name": Text("K")}, extra: [] })"#]],
    );
    // A proxy of two interfaces, whose only state is in its superclass.
    let handler = class("P", 2, "0001 49 0001 69");
    let proxy = format!("73 7d 00000002 0001 41 0001 42 78 {handler} 0000002a");
    check(&proxy, expect![[r#"Object(Object { class: "A,B", fields: {"i": Int(42)}, extra: [] })"#]]);
    check("79 74 0001 61", expect![[r#"Text("a")"#]]);
}

#[test]
fn fields_of_every_kind_are_read() {
    let fields =
        "0009 42 0001 62 43 0001 63 44 0001 64 46 0001 66 49 0001 69 4a 0001 6a 53 0001 73 5a 0001 7a
        4c 0001 6c 74 0002 4c3b";
    let values = "ff 0041 3ff8000000000000 3fc00000 fffffffe 0000000000000003 fffc 01 71 007e0001";
    check(
        &format!("73 {} {values}", class("C", 2, fields)),
        expect![[
            r#"Object(Object { class: "C", fields: {"b": Byte(-1), "c": Char(65), "d": Double(1.5), "f": Float(1.5), "i": Int(-2), "j": Long(3), "l": Text("L;"), "s": Short(-4), "z": Bool(true)}, extra: [] })"#
        ]],
    );
}

#[test]
fn what_classes_write_themselves_is_kept_apart_for_each_class() {
    // class B extends A; both have a field x and a writeObject.
    let class_a = class("A", 3, "0001 49 0001 78");
    let class_b = format!("72 0001 42 0000000000000001 03 0001 49 0001 78 78 {class_a}");
    let object =
        format!("73 {class_b} 00000001 77 01 ff 74 0001 61 78  00000002 74 0001 62 7a 00000001 00 78");
    check(
        &object,
        expect![[r#"Object(Object { class: "B", fields: {"x": Int(2)}, extra: [Text("a"), Text("b")] })"#]],
    );
    let mut bytes = vec![0xac, 0xed, 0, 5];
    bytes.extend(unhex(&object));
    let mut reader = Reader::new(&bytes[..], Limits::default()).unwrap();
    let root = reader.value().unwrap();
    let graph = reader.into_graph();
    let object = graph.object(root).unwrap();
    assert!(graph.is_a(object, "A") && graph.is_a(object, "B") && !graph.is_a(object, "C"));
    let mut annotation = graph.annotation(object, "A").unwrap();
    assert_eq!(annotation.bytes(), Some([0xff]));
    assert_eq!(annotation.value().and_then(|value| graph.text(value)), Some("a"));
    // An externalizable object writes nothing but an annotation.
    check(
        &format!("73 {} 77 01 00 70 78", class("X", 0xc, "")),
        expect![[r#"Object(Object { class: "X", fields: {}, extra: [Null] })"#]],
    );
}

#[test]
fn primitive_data_and_objects_take_turns() {
    let bytes = unhex("aced0005 77 03 00 00 01 7a 00000002 02 ff 70 77 01 09");
    let mut reader = Reader::new(&bytes[..], Limits::default()).unwrap();
    assert_eq!(reader.primitive::<4>().unwrap(), [0, 0, 1, 2], "over the border of two blocks");
    assert!(reader.is_inside_block());
    assert_eq!(reader.content().unwrap(), Content::Block(vec![0xff]));
    assert_eq!(reader.content().unwrap(), Content::Value(serial::Value::Null));
    assert_eq!(
        reader.value().unwrap_err().to_string(),
        "byte 20 of a serialized object: 1 bytes of primitive data instead of an object"
    );
}

#[test]
fn broken_streams_are_refused_with_the_reason() {
    for (hex, why) in [
        ("", "reading byte 4"),
        ("00", "no tag 0x00"),
        ("78", "no tag 0x78"),
        ("71 007e0000", "not there yet"),
        ("71 00000000", "not there yet"),
        ("73 70", "without a class"),
        ("73 74 0001 61", "where a class descriptor belongs"),
        ("74 0002 61", "reading byte 7"),
        ("7c ffffffffffffffff", "string of -1 bytes"),
        ("79 79 70", "two resets"),
        ("7a ffffffff", "length -1"),
        // A class that is its own superclass.
        ("73 72 0001 41 0000000000000001 02 0000 78 71 007e0000", "where a class descriptor belongs"),
    ] {
        let error = read(hex).unwrap_err().to_string();
        assert!(error.contains(why), "{hex}: {error}");
    }
    for (hex, why) in [
        (format!("75 {} 00000001", class("J", 2, "")), "array of the class"),
        (format!("75 {} ffffffff", class("[J", 2, "")), "length -1"),
        (format!("75 {} 00000001 00", class("[Q", 2, "")), "no kind 0x51"),
        (format!("73 {}", class("C", 6, "")), "serializable and externalizable"),
        (format!("73 {}", class("C", 4, "")), "only it can read"),
        (format!("73 {}", class("C", 2, "0001 51 0001 61")), "of the kind 0x51"),
        (format!("73 {}", class("C", 2, "0001 4c 0001 61 70")), "no signature"),
        (format!("73 {} 77 01 00", class("C", 2, "0001 4c 0001 61 74 0000")), "where an object belongs"),
        (format!("7e {} 74 0000", class("E", 0x12, "")), "has a version"),
        (format!("73 {} 79", class("C", 2, "0001 4c 0001 61 74 0000")), "no tag 0x79"),
    ] {
        let error = read(&hex).unwrap_err().to_string();
        assert!(error.contains(why), "{hex}: {error}");
    }
}

#[test]
fn an_exception_in_the_middle_is_told() {
    let object =
        format!("73 {} 74 0003 6f7570", class("X", 2, "0001 4c 000d 64657461696c4d657373616765 74 0000"));
    check(
        &format!("75 {} 00000002 70 7b {object}", class("[L", 2, "")),
        expect!["the sender could not finish writing: X: oup"],
    );
}

#[test]
fn limits_hold() {
    let limits = Limits { stream: 1000, memory: 8000, depth: 10 };
    let many = |count: usize| format!("75 {} {count:08x} {}", class("[L", 2, ""), "70".repeat(count));
    assert!(read_with(&many(50), limits).is_ok());
    let error = read_with(&many(900), limits).unwrap_err();
    assert!(matches!(error, serial::Error::TooLarge { what: "objects", .. }), "{error}");
    let error = read_with(&many(1000), Limits { memory: 1 << 20, ..limits }).unwrap_err();
    assert!(matches!(error, serial::Error::TooLarge { what: "stream", .. }), "{error}");
    // A length that lies costs nothing.
    let error = read(&format!("75 {} 7fffffff", class("[B", 2, ""))).unwrap_err();
    assert!(
        matches!(error, serial::Error::TooLarge { limit, .. } if limit == Limits::default().memory),
        "{error}"
    );
    let nested = |depth: usize| {
        format!("75 {} 00000001 {} 70", class("[L", 2, ""), "75 71 007e0000 00000001".repeat(depth - 1))
    };
    assert!(read_with(&nested(9), limits).is_ok());
    assert!(matches!(read_with(&nested(11), limits), Err(serial::Error::TooDeep { limit: 10, .. })));
    assert!(read(&nested(99)).is_ok());
}

#[test]
fn a_small_stream_cannot_make_a_large_value() {
    // Eight arrays, each of which holds the one before sixteen times: 16^8 elements as a tree. Handles 0 and 1 are the
    // class and the outermost array.
    let mut stream =
        format!("75 {} 00000008 75 71 007e0000 00000010 {}", class("[L", 2, ""), "70".repeat(16));
    for before in 0x7e_0002..0x7e_0009 {
        stream.push_str(&format!("75 71 007e0000 00000010 {}", format!("71 {before:08x}").repeat(16)));
    }
    let limits = Limits { memory: 8 << 20, ..Limits::default() };
    let error = read_with(&stream, limits).unwrap_err();
    assert!(matches!(error, serial::Error::TooLarge { what: "values", .. }), "{error}");
}

#[test]
fn a_long_chain_of_objects_is_dropped_without_recursion() {
    // A list of objects each of which refers to the one before, which no depth of nesting tells.
    let field = "0001 4c 0001 70 74 0002 4c3b";
    let links = 100_000;
    let mut stream = unhex(&format!("75 {} {links:08x} 73 {} 70", class("[L", 2, ""), class("N", 2, field)));
    for link in 1..links {
        stream.extend([0x73, 0x71, 0, 0x7e, 0, 2, 0x71]);
        stream.extend((0x7e_0000_u32 + 3 + link).to_be_bytes());
    }
    let mut bytes = vec![0xac, 0xed, 0, 5];
    bytes.extend(stream);
    let mut reader = Reader::new(&bytes[..], Limits::default()).unwrap();
    let root = reader.value().unwrap();
    let error = to_value(reader.graph(), root, Limits::default()).unwrap_err();
    assert!(matches!(error, serial::Error::TooDeep { .. }), "{error}");
    drop(reader);
}
