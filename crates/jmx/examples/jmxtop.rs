//! What a JVM is doing, again and again: memory, threads, processor, and the busiest of its counters.
//!
//! ```text
//! jmxtop                                    lists the JVMs of this host
//! jmxtop PID | HOST:PORT [OPTION…]
//!   --user NAME --password-file FILE        logs in
//!   --ca FILE                               speaks TLS, trusting the certificates in FILE
//!   --any-host                              the certificate need not be for this host
//!   --count PATTERN ATTRIBUTE               which MBeans' counters to compare
//!                                           (kafka.server:type=BrokerTopicMetrics,* Count)
//!   --every SECONDS                         how often (2)
//!   --times N                               how many times (for ever)
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use jmx::local::{Jvm, find_jvms};
use jmx::{Address, Client, Connector, ObjectName, Tls, Value};

/// Lines of counters.
const MOST: usize = 20;
const MEGABYTE: f64 = 1024.0 * 1024.0;

type Failure = Box<dyn Error>;

struct Options {
    target: Option<String>,
    login: Option<(String, String)>,
    tls: Option<Tls>,
    pattern: ObjectName,
    attribute: String,
    every: Duration,
    times: u64,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, Failure> {
    let mut options = Options {
        target: None,
        login: None,
        tls: None,
        pattern: ObjectName::new("kafka.server:type=BrokerTopicMetrics,*")?,
        attribute: "Count".to_owned(),
        every: Duration::from_secs(2),
        times: u64::MAX,
    };
    let (mut user, mut password, mut any_host) = (None, None, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--user" => user = Some(value()?),
            "--password-file" => password = Some(fs::read_to_string(value()?)?.trim_end().to_owned()),
            "--ca" => options.tls = Some(Tls::new(&fs::read(value()?)?)?),
            "--any-host" => any_host = true,
            "--count" => (options.pattern, options.attribute) = (value()?.parse()?, value()?),
            "--every" => options.every = Duration::try_from_secs_f64(value()?.parse()?)?,
            "--times" => options.times = value()?.parse()?,
            _ if options.target.is_none() && !argument.starts_with('-') => options.target = Some(argument),
            _ => return Err(format!("{argument} is not known").into()),
        }
    }
    options.login = match (user, password) {
        (Some(user), Some(password)) => Some((user, password)),
        (None, None) => None,
        _ => return Err("--user and --password-file belong together".into()),
    };
    options.tls = options.tls.map(|tls| tls.verify_host(!any_host));
    Ok(options)
}

fn list() {
    let found = find_jvms();
    for jvm in &found.jvms {
        let server = match (jvm.local_address(), jvm.remote_addresses().first()) {
            (Some(_), _) => "local".to_owned(),
            (None, Some(address)) => address.to_string(),
            (None, None) => "no JMX server".to_owned(),
        };
        println!("{:>8}  {server:<14}  {}", jvm.pid, jvm.command().unwrap_or("?"));
    }
    for problem in &found.problems {
        eprintln!("{problem}");
    }
    if found.jvms.is_empty() {
        eprintln!("there is no JVM here that this user may look at");
    }
}

fn address(target: &str) -> Result<Address, Failure> {
    let Ok(pid) = target.parse::<u32>() else { return Ok(target.parse()?) };
    let jvm = find_jvms().jvms.into_iter().find(|jvm| jvm.pid == pid);
    let jvm: Jvm = jvm.ok_or_else(|| format!("process {pid} is no JVM that this user may look at"))?;
    match jvm.local_address() {
        Some(address) => Ok(address?),
        None => {
            Err(format!("JVM {pid} has no JMX server: start it with -Dcom.sun.management.jmxremote").into())
        }
    }
}

/// What is shown, with the time of the reading.
struct Sample {
    at: Instant,
    cpu: Option<f64>,
    heap: (f64, f64),
    threads: i64,
    gc_ms: i64,
    counters: BTreeMap<ObjectName, i64>,
}

fn sample(client: &mut Client, options: &Options) -> Result<Sample, jmx::Error> {
    let at = Instant::now();
    let heap = client.attribute(&ObjectName::new("java.lang:type=Memory")?, "HeapMemoryUsage")?;
    let megabytes = |item: &str| heap.item(item).and_then(Value::as_f64).unwrap_or(f64::NAN) / MEGABYTE;
    let system =
        client.attributes(&ObjectName::new("java.lang:type=OperatingSystem")?, &["ProcessCpuLoad"])?;
    let threads = client.attribute(&ObjectName::new("java.lang:type=Threading")?, "ThreadCount")?;
    let mut gc_ms = 0;
    for collector in client.names(&ObjectName::new("java.lang:type=GarbageCollector,*")?)? {
        gc_ms += client.attribute(&collector, "CollectionTime")?.as_i64().unwrap_or(0);
    }
    let mut counters = BTreeMap::new();
    for name in client.names(&options.pattern)? {
        // An MBean can vanish between being listed and being read.
        match client.attributes(&name, &[&options.attribute]) {
            Ok(values) => {
                if let Some(count) = values.get(&options.attribute).and_then(Value::as_i64) {
                    counters.insert(name, count);
                }
            }
            Err(jmx::Error::NoSuchMBean { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Sample {
        at,
        cpu: system.get("ProcessCpuLoad").and_then(Value::as_f64).filter(|load| *load >= 0.0),
        heap: (megabytes("used"), megabytes("max")),
        threads: threads.as_i64().unwrap_or(0),
        gc_ms,
        counters,
    })
}

fn show(sample: &Sample, before: Option<&Sample>, took: Duration) {
    if std::io::stdout().is_terminal() {
        // Clears the screen and goes to its first line.
        print!("\x1b[2J\x1b[H");
    }
    let cpu = sample.cpu.map_or("?".to_owned(), |load| format!("{:.1}", load * 100.0));
    println!(
        "cpu {cpu} %  heap {:.0} of {:.0} MB  threads {}  gc {} ms since the start  (read in {:.0} ms)",
        sample.heap.0,
        sample.heap.1,
        sample.threads,
        sample.gc_ms,
        took.as_secs_f64() * 1000.0,
    );
    let Some(before) = before else { return };
    let seconds = (sample.at - before.at).as_secs_f64();
    let mut rates: Vec<(f64, &ObjectName)> = sample
        .counters
        .iter()
        .map(|(name, count)| {
            // One that is new, or lower than before, has begun anew.
            let since = before.counters.get(name).filter(|before| *before <= count).unwrap_or(&0);
            ((count - since) as f64 / seconds, name)
        })
        .filter(|(rate, _)| *rate > 0.0)
        .collect();
    rates.sort_by(|one, other| other.0.total_cmp(&one.0));
    println!("{:>16}  of {} MBeans", "per second", sample.counters.len());
    for (rate, name) in rates.iter().take(MOST) {
        println!("{rate:>16.1}  {name}");
    }
}

fn run() -> Result<(), Failure> {
    let options = parse(std::env::args().skip(1))?;
    let Some(target) = &options.target else {
        list();
        return Ok(());
    };
    let mut connector = Connector::new(address(target)?);
    if let Some((user, password)) = &options.login {
        connector = connector.login(user, password);
    }
    if let Some(tls) = &options.tls {
        connector = connector.tls(tls.clone());
    }
    let mut client = connector.connect()?;
    let mut before = None;
    for number in 0..options.times {
        if number > 0 {
            std::thread::sleep(options.every);
        }
        let now = sample(&mut client, &options)?;
        show(&now, before.as_ref(), now.at.elapsed());
        before = Some(now);
    }
    client.close()?;
    Ok(())
}

fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    eprint!("jmxtop: {error}");
    let mut cause = error.source();
    while let Some(source) = cause {
        eprint!(": {source}");
        cause = source.source();
    }
    eprintln!();
    ExitCode::FAILURE
}
