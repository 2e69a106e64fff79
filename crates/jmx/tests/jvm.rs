//! Against real JVMs. Skipped, loudly, where there is no Java.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use expect_test::expect;
use jmx::local::start_agent;
use jmx::serial::Limits;
use jmx::{Client, Connector, Error, ObjectName, Timeouts, Tls, Value};

use common::jvm::{Held, Jvm, export, make_key, remote, trust, until};

/// The name of the thread that a JVM has for each session, as the system cuts it off.
const SESSION_THREAD: &str = "JMX server conn";

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

fn start(options: &[String], arguments: &[&str]) -> Option<Jvm> {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Jvm::start(&options, arguments)
}

/// One line for each attribute, in the order of their names.
fn all_values(client: &mut Client, bean: &ObjectName, but: &[&str]) -> String {
    let attributes = client.describe(bean).unwrap();
    let names = attributes.iter().map(|attribute| attribute.name.as_str());
    let names: Vec<&str> = names.filter(|name| !but.contains(name)).collect();
    let lines = names.iter().map(|attribute| {
        let value = client.attribute(bean, attribute).unwrap();
        let text = format!("{value:?}");
        match text.len() {
            0..300 => format!("{attribute} = {text}\n"),
            length => format!("{attribute} = {}… ({length})\n", text.chars().take(60).collect::<String>()),
        }
    });
    lines.collect()
}

#[test]
fn values_of_all_kinds_are_read() {
    let Some(jvm) = start(&remote(false, false), &[]) else { return };
    let mut client = jvm.connector().connect().unwrap();
    let values = name("test:type=Values");
    let but = ["Throws", "Unserializable", "Externalizable", "Slow", "Huge"];
    expect![[r#"
        ArrayDeque = List([Int(1), Int(2)])
        ArrayList = List([Int(1), Int(2)])
        AsList = List([Int(1), Int(2)])
        AtomicBoolean = Bool(true)
        AtomicInteger = Int(8)
        AtomicLong = Long(7)
        BigInteger = Object(Object { class: "java.math.BigInteger", fields: {"bitCount": Int(-1), "bitLength": Int(-1), "firstNonzeroByteNum": Int(-2), "lowestSetBit": Int(-2), "magnitude": Bytes([1, 142, 233, 15, 246, 195, 115, 224, 238, 78, 63, 10, 210]), "signum": Int(1)}, extra: [] })
        Boolean = Bool(true)
        Booleans = List([Bool(true), Bool(false)])
        Byte = Byte(-1)
        Bytes = Bytes([1, 255])
        Character = Char(252)
        Class = Object(Object { class: "java.lang.Class", fields: {"name": Text("java.lang.String")}, extra: [] })
        Composite = Composite(Composite { type_name: "Point", items: {"x": Int(1), "y": Text("one")} })
        ConcurrentHashMap = Map([(Text("a"), Int(1))])
        ConcurrentSkipListMap = Map([(Text("a"), Int(1))])
        CopyOnWrite = List([Int(1), Int(2)])
        CopyOnWriteSet = List([Int(1), Int(2)])
        Date = Date(1234567890123)
        Double = Double(NaN)
        EmptyList = List([])
        Enum = Enum { class: "java.util.concurrent.TimeUnit", constant: "SECONDS" }
        EnumMap = Map([(Enum { class: "java.util.concurrent.TimeUnit", constant: "DAYS" }, Int(1))])
        EnumSet = List([Enum { class: "java.util.concurrent.TimeUnit", constant: "DAYS" }])
        EnumWithBody = Enum { class: "Beans$Odd", constant: "ONE" }
        Float = Float(1.5)
        HashMap = Map([(Text("a"), Int(1))])
        HashSet = List([Int(1)])
        Hashtable = Map([(Text("a"), Int(1))])
        Integer = Int(-3)
        Itself = List([Recursive])
        KeySet = List([Int(1)])
        LinkedHashMap = Map([(Text("a"), Int(1))])
        LinkedHashSet = List([Int(2), Int(1)])
        LinkedList = List([Int(1), Int(2)])
        ListOf = List([Int(1), Int(2)])
        Long = Long(1152921504606846976)
        LongString = Text("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx… (70008)
        Longs = List([Long(1), Long(2)])
        MapOf = Map([(Text("a"), Int(1))])
        Null = Null
        Object = Object(Object { class: "Beans$Derived", fields: {"more": List([Double(0.5)]), "name": Text("base"), "x": Int(2)}, extra: [Text("extra")] })
        ObjectName = Name(ObjectName { text: "d:type=a,path=\"/b,c\"", colon: 1 })
        ObjectNames = List([Name(ObjectName { text: "d:a=b", colon: 1 })])
        Properties = Map([(Text("a"), Text("1"))])
        Proxy = Object(Object { class: "java.lang.Comparable,java.io.Serializable", fields: {"h": Object(Object { class: "Beans$Handler", fields: {"state": Int(9)}, extra: [] })}, extra: [] })
        Short = Short(-2)
        Singleton = List([Int(1)])
        SingletonMap = Map([(Text("a"), Int(1))])
        String = Text("a\0ü€😀")
        Strings = List([List([Text("a"), Text("b")]), List([]), Null])
        SynchronizedList = List([Int(1), Int(2)])
        Tabular = Tabular(Tabular { type_name: "Points", index: ["x"], rows: [Composite { type_name: "Point", items: {"x": Int(1), "y": Text("one")} }] })
        Throwable = Object(Object { class: "java.lang.IllegalStateException", fi… (17227)
        Timestamp = Date(1234567890123)
        TreeMap = Map([(Text("a"), Int(1)), (Text("b"), Int(2))])
        TreeSet = List([Int(1), Int(2)])
        Twice = List([Text("s"), Text("s")])
        UnmodifiableList = List([Int(1), Int(2)])
        UnmodifiableMap = Map([(Text("a"), Int(1))])
        Vector = List([Int(1), Int(2)])
    "#]].assert_eq(&all_values(&mut client, &values, &but));
    client.close().unwrap();
}

#[test]
fn many_attributes_are_read_in_one_call() {
    let Some(jvm) = start(&remote(false, false), &[]) else { return };
    let mut client = jvm.connector().connect().unwrap();
    // Those that fail or are missing are left out.
    let some = client.attributes(&name("test:type=Values"), &["Long", "Throws", "NoSuch", "Null"]).unwrap();
    let some: Vec<_> = some.iter().collect();
    assert_eq!(some, [(&"Long".to_owned(), &Value::Long(1 << 60)), (&"Null".to_owned(), &Value::Null)]);
    client.close().unwrap();
}

#[test]
fn many_beans_are_asked_at_once_and_each_answer_is_its_own() {
    let Some(jvm) = start(&remote(false, false), &["many", "3000"]) else { return };
    let mut client = jvm.connector().connect().unwrap();
    let values = name("test:type=Values");
    let mut questions: Vec<_> = (0..3000).map(|n| (name(&format!("many:name={n}")), "Value")).collect();
    questions[7] = (name("many:name=none"), "Value");
    questions[1000] = (values.clone(), "NoSuch");
    questions[2000] = (values.clone(), "Throws");
    let mut answers = Vec::new();
    client.attribute_of_each(&questions, |number, answer| answers.push((number, answer))).unwrap();
    assert_eq!(answers.len(), questions.len());
    for (expected, (number, answer)) in answers.into_iter().enumerate() {
        assert_eq!(number, expected);
        match (number, answer) {
            (7, answer) => assert!(matches!(answer, Err(Error::NoSuchMBean { .. })), "{answer:?}"),
            (1000, answer) => assert!(matches!(answer, Err(Error::NoSuchAttribute { .. })), "{answer:?}"),
            (2000, answer) => assert!(matches!(answer, Err(Error::Java { .. })), "{answer:?}"),
            (_, answer) => assert_eq!(answer.unwrap(), Value::Int(number as i32)),
        }
    }
    client.attribute_of_each(&[], |_, _| panic!("nothing was asked")).unwrap();
    // One that breaks the stream ends all of it.
    let questions = [(values.clone(), "Integer"), (values.clone(), "Unserializable"), (values, "Integer")];
    let mut answers = 0;
    let error = client.attribute_of_each(&questions, |_, answer| answers += i32::from(answer.is_ok()));
    assert!(matches!(error, Err(Error::Serial { .. })), "{error:?}");
    assert_eq!((answers, client.is_usable()), (1, false));
    client.close().unwrap();
}

#[test]
fn the_jvm_s_own_beans_are_read() {
    let Some(jvm) = start(&remote(false, false), &["many", "3000"]) else { return };
    let mut client = jvm.connector().connect().unwrap();
    let mut topics =
        client.names(&name("kafka.server:type=BrokerTopicMetrics,name=BytesInPerSec,*")).unwrap();
    topics.sort();
    let topics: Vec<_> = topics.iter().filter_map(|name| name.get("topic")).collect();
    assert_eq!(topics, ["app.events.v1", "orders"]);
    assert_eq!(client.names(&name("many:*")).unwrap().len(), 3000);
    assert_eq!(client.names(&name("none:*")).unwrap(), []);
    let count = client.mbean_count().unwrap();
    assert_eq!(client.names(&name("*:*")).unwrap().len(), count as usize);

    let heap = client.attribute(&name("java.lang:type=Memory"), "HeapMemoryUsage").unwrap();
    assert!(heap.item("used").and_then(Value::as_i64).unwrap() > 0, "{heap:?}");
    let runtime = name("java.lang:type=Runtime");
    let Value::Tabular(properties) = client.attribute(&runtime, "SystemProperties").unwrap() else {
        panic!("no table");
    };
    assert_eq!(properties.index, ["key"]);
    let version =
        properties.rows.iter().find(|row| row.items["key"] == Value::Text("java.version".to_owned()));
    assert!(version.unwrap().items["value"].as_str().is_some());
    let ids = client.attribute(&name("java.lang:type=Threading"), "AllThreadIds").unwrap();
    assert!(ids.as_list().unwrap().len() > 5);
    for bean in client.names(&name("java.lang:*")).unwrap() {
        all_readable(&mut client, &bean);
    }

    assert!(client.is_registered(&runtime).unwrap());
    assert!(!client.is_registered(&name("none:a=b")).unwrap());
    let mut domains = client.domains().unwrap();
    domains.sort();
    assert!(domains.contains(&"kafka.server".to_owned()), "{domains:?}");
    assert_eq!(client.default_domain().unwrap(), "DefaultDomain");
    assert!(client.session_name().unwrap().starts_with("rmi://127.0.0.1"));
    client.close().unwrap();
}

/// Reads each attribute; a JVM refuses a few (pools without a threshold), and then says so.
fn all_readable(client: &mut Client, bean: &ObjectName) {
    for attribute in client.describe(bean).unwrap() {
        match client.attribute(bean, &attribute.name) {
            Ok(_) => assert!(attribute.is_readable),
            Err(Error::Java { exception, .. }) => {
                assert!(exception.find("java.lang.UnsupportedOperationException").is_some(), "{exception}");
            }
            Err(error) => panic!("{bean} {}: {error}", attribute.name),
        }
    }
}

#[test]
fn errors_tell_what_happened_and_the_session_goes_on() {
    let Some(jvm) = start(&remote(false, false), &[]) else { return };
    let limits = Limits { memory: 1 << 20, ..Limits::default() };
    let timeouts = Timeouts { call: Duration::from_secs(20), ..Timeouts::default() };
    let mut client = jvm.connector().timeouts(timeouts).limits(limits).connect().unwrap();
    let values = name("test:type=Values");
    let none = name("kafka.server:type=NoSuch");
    let elsewhere = format!("service:jmx:rmi:///jndi/rmi://127.0.0.1:{}/nothing", jvm.address().port());
    let error = Connector::new(elsewhere.parse().unwrap()).connect().unwrap_err();
    assert!(matches!(&error, Error::NotBound { name } if name == "nothing"), "{error}");
    let error = client.attribute(&none, "Count").unwrap_err();
    assert!(matches!(&error, Error::NoSuchMBean { name } if *name == none.to_string()), "{error}");
    assert!(matches!(client.attributes(&none, &["Count"]), Err(Error::NoSuchMBean { .. })));
    assert!(matches!(client.describe(&none), Err(Error::NoSuchMBean { .. })));
    let error = client.attribute(&values, "NoSuch").unwrap_err();
    assert!(matches!(&error, Error::NoSuchAttribute { attribute, .. } if attribute == "NoSuch"), "{error}");
    let error = client.attribute(&values, "Throws").unwrap_err();
    expect!["reading an attribute: javax.management.MBeanException, caused by java.lang.IllegalStateException: no value today"].assert_eq(&error.to_string());
    assert!(client.is_usable(), "the JVM's own errors do not break a session");
    assert_eq!(client.attribute(&values, "Integer").unwrap(), Value::Int(-3));

    // What cannot be written breaks the stream in the middle: only a new connection helps, and closing takes one.
    let error = client.attribute(&values, "Unserializable").unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    expect!["the sender could not finish writing: java.io.NotSerializableException: java.lang.Thread"]
        .assert_eq(&source);
    assert!(!client.is_usable());
    assert!(matches!(client.attribute(&values, "Integer"), Err(Error::Broken)));
    client.close().unwrap();

    // What an externalizable class writes over RMI has no end that others could see.
    let mut client = jvm.connector().connect().unwrap();
    let error = client.attribute(&values, "Externalizable").unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("class Beans$Outside writes in a form that only it can read"), "{source}");
    client.close().unwrap();

    let mut client = jvm.connector().limits(limits).connect().unwrap();
    let error = client.attribute(&values, "Huge").unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("more than 1048576 bytes"), "{source}");
    client.close().unwrap();
    until("sessions to end", || jvm.threads_named(SESSION_THREAD) == 0);
}

#[test]
fn time_limits_hold() {
    let Some(jvm) = start(&remote(false, false), &[]) else { return };
    // Longer than a call takes on a busy machine, and shorter than the three seconds of the slow one.
    let timeouts = Timeouts { call: Duration::from_millis(1_500), connect: Duration::from_secs(10) };
    let mut client = jvm.connector().timeouts(timeouts).connect().unwrap();
    let began = Instant::now();
    let error = client.attribute(&name("test:type=Values"), "Slow").unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(matches!(client.mbean_count(), Err(Error::Broken)));
    // Dropping it closes the session all the same.
    drop(client);
    until("the session to end", || jvm.threads_named(SESSION_THREAD) == 0);
}

#[test]
fn passwords_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let (password, access) = (directory.path().join("password"), directory.path().join("access"));
    fs::write(&password, "monitor secret\n").unwrap();
    fs::write(&access, "monitor readonly\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let mut options = remote(true, false);
    options.push(format!("-Dcom.sun.management.jmxremote.password.file={}", password.display()));
    options.push(format!("-Dcom.sun.management.jmxremote.access.file={}", access.display()));
    let Some(jvm) = start(&options, &[]) else { return };

    let mut client = jvm.connector().login("monitor", "secret").connect().unwrap();
    assert!(client.mbean_count().unwrap() > 10);
    assert!(client.session_name().unwrap().contains("monitor"));
    client.close().unwrap();
    let error = jvm.connector().connect().unwrap_err();
    assert!(matches!(error, Error::LoginRequired { .. }), "{error}");
    for (user, password) in [("monitor", "wrong"), ("nobody", "secret"), ("", "")] {
        let error = jvm.connector().login(user, password).connect().unwrap_err();
        assert!(matches!(&error, Error::LoginRefused { user: refused, .. } if refused == user), "{error}");
    }
    let shown = format!("{:?}", jvm.connector().login("monitor", "secret"));
    assert!(!shown.contains("secret"), "{shown}");
    assert_eq!(jvm.threads_named(SESSION_THREAD), 0);
}

#[test]
fn tls_is_spoken_and_verified() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("server.p12");
    let other = directory.path().join("other.p12");
    if make_key(&store, "ip:127.0.0.1").is_none() {
        return;
    }
    make_key(&other, "dns:elsewhere").unwrap();
    let mut options = remote(false, true);
    options.push(format!("-Djavax.net.ssl.keyStore={}", store.display()));
    options.push("-Djavax.net.ssl.keyStorePassword=changeit".to_owned());
    let Some(jvm) = start(&options, &[]) else { return };

    let tls = Tls::new(&export(&store)).unwrap();
    let mut client = jvm.connector().tls(tls.clone()).connect().unwrap();
    assert!(client.mbean_count().unwrap() > 10);
    client.close().unwrap();
    let error = jvm.connector().connect().unwrap_err();
    assert!(matches!(error, Error::TlsRequired { .. }), "{error}");
    let stranger = Tls::new(&export(&other)).unwrap().verify_host(false);
    let error = jvm.connector().tls(stranger).connect().unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    // The registry is plain here.
    let error = jvm.connector().tls(tls.clone().with_registry(true)).connect().unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    assert_eq!(jvm.threads_named(SESSION_THREAD), 0);

    // A server without TLS gets no password from a client that was told to use it.
    let Some(plain) = start(&remote(false, false), &[]) else { return };
    let error = plain.connector().login("monitor", "secret").tls(tls).connect().unwrap_err();
    assert!(matches!(error, Error::TlsNotOffered { .. }), "{error}");
}

#[test]
fn tls_with_a_client_certificate_and_a_registry_in_tls() {
    let directory = tempfile::tempdir().unwrap();
    let [server, trusted, ours] =
        ["server", "trusted", "ours"].map(|name| directory.path().join(format!("{name}.p12")));
    if make_key(&server, "dns:elsewhere").is_none() {
        return;
    }
    make_key(&ours, "dns:client").unwrap();
    trust(&trusted, &ours);
    let mut options = remote(false, true);
    for (option, store) in [("keyStore", &server), ("trustStore", &trusted)] {
        options.push(format!("-Djavax.net.ssl.{option}={}", store.display()));
        options.push(format!("-Djavax.net.ssl.{option}Password=changeit"));
    }
    options.push("-Dcom.sun.management.jmxremote.registry.ssl=true".to_owned());
    options.push("-Dcom.sun.management.jmxremote.ssl.need.client.auth=true".to_owned());
    let Some(jvm) = start(&options, &[]) else { return };

    let ours = export(&ours);
    let tls = Tls::new(&export(&server)).unwrap().with_registry(true);
    let known = tls.clone().identity(&ours, &ours).unwrap();
    let mut client = jvm.connector().tls(known).connect().unwrap();
    assert!(client.mbean_count().unwrap() > 10);
    client.close().unwrap();
    let error = jvm.connector().tls(tls).connect().unwrap_err();
    assert!(matches!(error, Error::Tls { .. } | Error::Lost { .. }), "{error:?}");
    let error = jvm.connector().connect().unwrap_err();
    assert!(matches!(error, Error::TlsRequired { .. }), "{error:?}");
}

#[test]
fn nothing_is_left_behind_in_the_jvm() {
    // Threads that wait for the next connection end soon.
    let mut options = remote(false, false);
    options.push("-Dsun.rmi.transport.tcp.threadKeepAliveTime=200".to_owned());
    let Some(jvm) = start(&options, &[]) else { return };
    let bean = name("kafka.server:type=BrokerTopicMetrics,name=BytesInPerSec,topic=orders");
    let connector = jvm.connector();
    let read = |connector: &Connector| {
        let mut client = connector.connect().unwrap();
        assert_eq!(client.attribute(&bean, "Count").unwrap(), Value::Long(6000));
        client
    };
    // The first sessions load classes and start what then stays: the collector of leases, timers.
    for _ in 0..20 {
        read(&connector).close().unwrap();
    }
    until("the first sessions to end", || jvm.threads_named("RMI TCP Connec") == 0);
    // Looking into the heap makes the JVM listen for such questions from then on.
    heap_is_clean(&jvm);
    let before = jvm.held_at_rest();

    for _ in 0..1000 {
        read(&connector).close().unwrap();
    }
    jvm.until_held(&before);
    assert_eq!(jvm.threads_named(SESSION_THREAD), 0);
    heap_is_clean(&jvm);
    // Dropped in the middle is as good.
    for _ in 0..100 {
        drop(read(&connector));
    }
    jvm.until_held(&before);
    // One session has one connection and its threads, however many calls there are.
    let mut client = read(&connector);
    let sockets = |held: &Held| held.files.get("socket").copied().unwrap_or_default();
    let during = jvm.held_at_rest();
    assert_eq!((jvm.threads_named(SESSION_THREAD), sockets(&during)), (1, sockets(&before) + 1));
    assert_eq!(jvm.objects("javax.management.remote.rmi.RMIConnectionImpl"), 1);
    for _ in 0..1000 {
        client.attribute(&bean, "Count").unwrap();
    }
    jvm.until_held(&during);
    client.close().unwrap();
    jvm.until_held(&before);
}

/// There is no session, and nothing that waits for one or keeps one alive; but the entry of this process as one that
/// has had leases.
fn heap_is_clean(jvm: &Jvm) {
    for (class, most) in [
        ("javax.management.remote.rmi.RMIConnectionImpl", 0),
        ("sun.rmi.transport.DGCAckHandler", 0),
        ("sun.rmi.transport.DGCImpl$LeaseInfo", 1),
    ] {
        until(&format!("at most {most} {class}"), || jvm.objects(class) <= most);
    }
}

#[test]
fn leases_keep_a_session_and_only_while_they_are_renewed() {
    let mut options = remote(false, false);
    options.push("-Djava.rmi.dgc.leaseValue=1500".to_owned());
    let Some(jvm) = start(&options, &[]) else { return };
    let mut idle = jvm.connector().connect().unwrap();
    assert_eq!(jvm.threads_named(SESSION_THREAD), 1);
    until("the idle session's lease to end", || jvm.threads_named(SESSION_THREAD) == 0);
    let error = idle.mbean_count().unwrap_err();
    assert!(matches!(error, Error::SessionEnded), "{error}");
    idle.close().unwrap();

    let mut busy = jvm.connector().connect().unwrap();
    let began = Instant::now();
    until("the time of some leases to pass", || {
        assert!(busy.mbean_count().unwrap() > 0, "the busy session's lease is renewed again and again");
        began.elapsed() > Duration::from_secs(6)
    });
    busy.close().unwrap();
    until("the session to end", || jvm.threads_named(SESSION_THREAD) == 0);
}

#[test]
fn jvms_of_this_host_are_found_and_read() {
    let Some(jvm) = Jvm::start(&["-Dcom.sun.management.jmxremote", "-Dtest.mark=here"], &["many", "2"])
    else {
        return;
    };
    let found = jvm.found();
    assert_eq!((found.command(), found.main_class()), (Some("Beans many 2"), Some("Beans")));
    assert!(found.options().unwrap().contains("-Dtest.mark=here"));
    assert_eq!(found.remote_addresses(), []);
    let address = found.local_address().unwrap().unwrap();
    let mut client = Connector::new(address).connect().unwrap();
    assert_eq!(client.names(&name("many:*")).unwrap().len(), 2);
    client.close().unwrap();
}

#[test]
fn a_jvm_without_a_server_starts_one_when_asked() {
    let Some(jvm) = Jvm::start(&[], &[]) else { return };
    assert!(jvm.found().local_address().is_none());
    let address = start_agent(jvm.pid(), Duration::from_secs(20)).unwrap();
    let mut client = Connector::new(address.clone()).connect().unwrap();
    assert!(client.mbean_count().unwrap() > 10);
    client.close().unwrap();
    // It is there from now on, and is found.
    assert_eq!(start_agent(jvm.pid(), Duration::from_secs(20)).unwrap(), address);
    assert_eq!(jvm.found().local_address().unwrap().unwrap(), address);
}

#[test]
fn jvms_that_cannot_be_attached_to_live_on() {
    // With -Xrs a JVM takes no signals and listens from the start. Where its socket is lost, it must not be asked again.
    let options = ["-Xrs", "-Dcom.sun.management.jmxremote"];
    let Some(jvm) = Jvm::start(&options, &[]) else { return };
    start_agent(jvm.pid(), Duration::from_secs(20)).unwrap();
    fs::remove_file(format!("/tmp/.java_pid{}", jvm.pid())).unwrap();
    refuses(&jvm, "does not catch SIGQUIT");
    let options = ["-XX:+DisableAttachMechanism", "-Dcom.sun.management.jmxremote"];
    let Some(jvm) = Jvm::start(&options, &[]) else { return };
    refuses(&jvm, "does not listen");
}

fn refuses(jvm: &Jvm, why: &str) {
    let error = start_agent(jvm.pid(), Duration::from_millis(500)).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
    let address = jvm.found().local_address().unwrap().unwrap();
    Connector::new(address).connect().unwrap().close().unwrap();
}
