//! A real JVM that a test starts, and that never outlives it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use jmx::local::{Jvm as Found, find_jvms};
use jmx::{Address, Connector};

/// How long to wait for anything. A JVM comes up within a second; on a machine that is busy it takes a few.
const LIMIT: Duration = Duration::from_secs(60);
/// Options for a JVM that starts fast and stays small, and whose compiler's threads do not come and go.
const SMALL: [&str; 5] = [
    "-Xmx64m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-XX:-UseDynamicNumberOfCompilerThreads",
];

/// A running JVM with the MBeans of `Beans.java`.
pub(crate) struct Jvm {
    child: Child,
}

impl Jvm {
    /// Starts one; `None`, loudly, if there is no Java.
    pub(crate) fn start(options: &[&str], arguments: &[&str]) -> Option<Jvm> {
        let mut command = Command::new(tool("java")?);
        command.args(SMALL).args(options).arg("-cp").arg(classes()?).arg("Beans").args(arguments);
        // Its input ends with this process, however that ends, and it ends with its input.
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let jvm = Jvm { child };
        let mut lines = BufReader::new(output).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line == "ready"));
        assert!(ready, "the JVM did not come up");
        Some(jvm)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What discovery finds of it.
    pub(crate) fn found(&self) -> Found {
        let found = find_jvms().jvms.into_iter().find(|jvm| jvm.pid == self.pid());
        found.expect("the JVM has no file of counters")
    }

    /// The address of its JMX server for other hosts: the port is one that it has chosen.
    pub(crate) fn address(&self) -> Address {
        let mut address = None;
        until("the JVM to tell its port", || {
            address = self.found().remote_addresses().first().cloned();
            address.is_some()
        });
        let address = address.unwrap();
        // It names itself as it likes.
        Address::new("127.0.0.1", address.port())
    }

    pub(crate) fn connector(&self) -> Connector {
        Connector::new(self.address())
    }

    /// How many threads it has whose names begin so.
    pub(crate) fn threads_named(&self, prefix: &str) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.starts_with(prefix)).count()
    }

    /// How many objects of a class are in its heap and in use.
    pub(crate) fn objects(&self, class: &str) -> usize {
        let mut command = Command::new(tool("jcmd").unwrap());
        let out = command.args([&self.pid().to_string(), "GC.class_histogram"]).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(text.contains("java.lang.String"), "{text}");
        // A line is: number, instances, bytes, class, and the module in parentheses.
        let of_class = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut counts =
            of_class.filter(|words| words.get(3) == Some(&class)).map(|words| words[1].parse().unwrap());
        counts.next().unwrap_or(0)
    }

    /// What it holds now.
    pub(crate) fn held(&self) -> Held {
        let entries =
            |folder: &str| fs::read_dir(format!("/proc/{}/{folder}", self.pid())).unwrap().flatten();
        let mut held = Held::default();
        for name in entries("task").filter_map(|task| fs::read_to_string(task.path().join("comm")).ok()) {
            *held.threads.entry(name.trim().to_owned()).or_default() += 1;
        }
        for file in entries("fd").filter_map(|file| fs::read_link(file.path()).ok()) {
            // `socket:[4711]` is a socket, whichever it is.
            let name = file.to_string_lossy().split_once(":[").map(|(kind, _)| kind.to_owned());
            *held.files.entry(name.unwrap_or_else(|| file.display().to_string())).or_default() += 1;
        }
        held
    }

    /// What it holds, once that has not changed for a second: what has just ended is not seen to be there.
    pub(crate) fn held_at_rest(&self) -> Held {
        let (mut last, mut same) = (self.held(), 0);
        until("threads and files to be at rest", || {
            let now = self.held();
            same = if now == last { same + 1 } else { 0 };
            last = now;
            same == 50
        });
        last
    }

    /// Waits until it holds no more and no less than that.
    pub(crate) fn until_held(&self, expected: &Held) {
        let began = Instant::now();
        while self.held() != *expected {
            assert!(began.elapsed() < LIMIT, "held: {:#?}\nexpected: {expected:#?}", self.held());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The threads of a JVM, and its open files and sockets: how many by each name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Held {
    pub(crate) threads: BTreeMap<String, usize>,
    pub(crate) files: BTreeMap<String, usize>,
}

impl Drop for Jvm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the compiled program is.
fn classes() -> Option<&'static Path> {
    static CLASSES: OnceLock<Option<PathBuf>> = OnceLock::new();
    let classes = CLASSES.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/Beans.java");
        let classes = Path::new(env!("CARGO_TARGET_TMPDIR")).join("beans");
        let compiled = Command::new(tool("javac")?).arg("-d").arg(&classes).arg(source).status();
        assert!(compiled.unwrap().success());
        Some(classes)
    });
    classes.as_deref()
}

/// Options for a JMX server that other hosts can reach, at a port of its choice.
pub(crate) fn remote(authenticate: bool, ssl: bool) -> Vec<String> {
    vec![
        "-Dcom.sun.management.jmxremote.port=0".to_owned(),
        format!("-Dcom.sun.management.jmxremote.authenticate={authenticate}"),
        format!("-Dcom.sun.management.jmxremote.ssl={ssl}"),
    ]
}

/// A program of the JDK; `None`, loudly, if there is none.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = home.into_iter().chain(std::env::split_paths(&path));
    let found = places.find_map(|place| Some(place.join(name)).filter(|tool| tool.is_file()));
    if found.is_none() {
        // Written past the test runner, which keeps the output of tests that pass to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED: a test needs `{name}` of a JDK, and there is none");
    }
    found
}

/// Makes a key with a certificate for `name` in a key store of the password "changeit". The key is one of RSA: of those
/// of elliptic curves Java writes only the half that it needs, which other readers do not take.
pub(crate) fn make_key(store: &Path, name: &str) -> Option<()> {
    let store = store.to_str().unwrap();
    let subject = format!("CN={name}");
    let san = format!("SAN={name}");
    let made = Command::new(tool("keytool")?)
        .args(["-genkeypair", "-alias", "key", "-keyalg", "RSA", "-keysize", "2048", "-storetype", "PKCS12"])
        .args([
            "-storepass",
            "changeit",
            "-dname",
            &subject,
            "-ext",
            &san,
            "-validity",
            "30",
            "-keystore",
            store,
        ])
        .output();
    assert!(made.unwrap().status.success());
    Some(())
}

/// Lets the key store `store` trust the certificate of `of`.
pub(crate) fn trust(store: &Path, of: &Path) {
    let certificate = of.with_extension("crt");
    let (certificate, store, of) =
        (certificate.to_str().unwrap(), store.to_str().unwrap(), of.to_str().unwrap());
    for arguments in [
        vec!["-exportcert", "-alias", "key", "-keystore", of, "-storepass", "changeit", "-file", certificate],
        vec!["-importcert", "-noprompt", "-keystore", store, "-storepass", "changeit", "-file", certificate],
    ] {
        assert!(Command::new(tool("keytool").unwrap()).args(arguments).output().unwrap().status.success());
    }
}

/// Certificate and key of a key store, in PEM.
pub(crate) fn export(store: &Path) -> Vec<u8> {
    let mut command = Command::new(tool("java").unwrap());
    command.args(SMALL).arg("-cp").arg(classes().unwrap()).args([
        "Beans",
        "export",
        store.to_str().unwrap(),
        "changeit",
        "key",
    ]);
    let out = command.stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
