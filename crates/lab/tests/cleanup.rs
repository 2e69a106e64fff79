//! A cluster leaves nothing behind, however its owner ends.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lab::{Cluster, wait_for};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn nothing_is_left_when_the_owner_panics() {
    let (pids, dir) = std::panic::catch_unwind(|| {
        let cluster = Cluster::builder().start().unwrap();
        let told = (vec![cluster.pid(1).unwrap().unwrap()], cluster.dir().to_path_buf());
        cluster.pause(1).unwrap();
        std::panic::panic_any(told);
    })
    .unwrap_err()
    .downcast::<(Vec<u32>, PathBuf)>()
    .map(|told| *told)
    .unwrap();
    assert_gone(&pids, &dir);
}

#[test]
fn nothing_is_left_when_the_owner_is_killed() {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["up", "--brokers", "2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut pids, mut dir) = (Vec::new(), PathBuf::new());
    for line in BufReader::new(owner.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((_, rest)) = line.split_once(" pid ") {
            pids.push(rest.split_whitespace().next().unwrap().parse::<u32>().unwrap());
            let log = PathBuf::from(line.split_whitespace().last().unwrap());
            dir = log.ancestors().nth(2).unwrap().to_path_buf();
        }
        if line.starts_with("type:") {
            break;
        }
    }
    assert_eq!(pids.len(), 3, "a controller and two brokers");
    assert!(dir.join("pids").exists());
    // A stopped process ignores everything but SIGKILL.
    kill_process(Pid::from_raw(pids[1] as i32).unwrap(), Signal::STOP).unwrap();
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert_gone(&pids, &dir);
}

fn assert_gone(pids: &[u32], dir: &Path) {
    let gone = |pid: &u32| {
        let pid = i32::try_from(*pid).ok().and_then(Pid::from_raw);
        pid.is_none_or(|pid| test_kill_process(pid).is_err())
    };
    let outcome =
        wait_for("all processes and files are gone", LIMIT, || Ok(pids.iter().all(gone) && !dir.exists()));
    assert!(outcome.is_ok(), "{outcome:?}");
}
