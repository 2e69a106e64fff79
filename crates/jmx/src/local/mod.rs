//! The JVMs of this host: which there are, what they run, and how to reach their MBeans without any configuration.
//!
//! HotSpot keeps its performance counters in a file per process, `/tmp/hsperfdata_USER/PID`. Among them are the command
//! line and the addresses of its JMX servers. A JVM started with `-Dcom.sun.management.jmxremote` (Kafka's own scripts
//! do so always) has a JMX server for this host alone, at a port of its choice.
//!
//! ```no_run
//! let found = jmx::local::find_jvms();
//! let broker = found.jvms.iter().find(|jvm| jvm.main_class() == Some("kafka.Kafka"));
//! if let Some(address) = broker.and_then(|jvm| jvm.local_address()) {
//!     let mut client = jmx::Connector::new(address?).connect()?;
//! }
//! # Ok::<(), jmx::Error>(())
//! ```
//!
//! A JVM without a JMX server can be told to start one: see [`start_agent`].

mod attach;
mod perf_data;
mod process;

pub use attach::start_agent;
pub use perf_data::{Counter, PerfData};
pub use process::{Found, Jvm, find_jvms, find_jvms_under};
