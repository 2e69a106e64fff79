//! Brokers whose JVMs show no performance counters, which tell where a JMX server is: `-XX:-UsePerfData`, and
//! `-XX:+PerfDisableSharedMem`, which many set against pauses of the collector.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic, in its helpers too")]

use std::process::Command;

use anyhow::{Result, ensure};
use lab::Cluster;
use serde_json::Value;

/// What `kafkastats once` prints of a broker over a second, with its exit code.
fn once(cluster: &Cluster, bootstrap: &str, options: &[&str]) -> Result<(Option<i32>, Value)> {
    let output = Command::new(env!("CARGO_BIN_EXE_kafkastats"))
        .args(["once", "--bootstrap-servers", bootstrap, "--interval", "1s", "--json", "--allow-root"])
        .args(options)
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.stdout.is_empty(), "of {}: {errors}", cluster.cluster_id());
    Ok((output.status.code(), serde_json::from_slice(&output.stdout)?))
}

#[test]
fn a_jvm_that_shows_no_counters_is_read_where_attaching_is_switched_on() -> Result<()> {
    // The lab's JVMs have no such file unless they are told to.
    let cluster = Cluster::builder()
        .brokers(2)
        .jvm_option(1, "-XX:+UsePerfData")
        .jvm_option(1, "-XX:+PerfDisableSharedMem")
        // It does not catch SIGQUIT, and would die of what makes others listen: it listens from its start.
        .jvm_option(2, "-Xrs")
        .start()?;
    let (hidden, deaf) = (cluster.address(1)?, cluster.address(2)?);

    // Which broker is meant is told by the address alone.
    let (code, report) = once(&cluster, &hidden, &["--jvm", "jmx-local"])?;
    assert_eq!((code, &report["id"], &report["jvmSource"]), (Some(1), &1.into(), &Value::Null));
    let detail = report["failureDetail"].as_str().unwrap_or_default();
    assert!(detail.contains("its JVM shows no counters") && detail.contains("--attach"), "{detail}");

    let (code, report) = once(&cluster, &hidden, &["--jvm", "jmx-local", "--attach"])?;
    assert_eq!((code, &report["id"], &report["jvmSource"]), (Some(0), &1.into(), &"jmx-local".into()));
    assert_eq!(&report["brokerState"], &3, "it runs: {report}");
    // The server that it has started is found by attaching once more, and no second one is started.
    let (code, report) = once(&cluster, &hidden, &["--jvm", "jmx-local", "--attach"])?;
    assert_eq!((code, &report["failureDetail"]), (Some(0), &Value::Null));

    let (code, report) = once(&cluster, &deaf, &["--jvm", "jmx-local", "--attach"])?;
    assert_eq!((code, &report["id"], &report["jvmSource"]), (Some(0), &2.into(), &"jmx-local".into()));

    // A port that is none of JMX.
    let (code, report) = once(&cluster, &hidden, &["--jvm", "jmx", "--jmx", &hidden])?;
    let detail = report["failureDetail"].as_str().unwrap_or_default();
    assert!(code == Some(1) && detail.contains("is this the JMX port"), "{detail}");
    Ok(())
}
