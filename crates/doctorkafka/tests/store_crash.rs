//! The file store after the death of its process.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use doctorkafka::store::{FileStore, StateStore};

/// Where the child of this test writes. Unset, it is an ordinary run of the tests and the child does nothing.
const DIR: &str = "STORE_CRASH_TEST_DIR";
const KEYS: u64 = 5;

/// Not a test by itself: the body of the child process, which writes until it is killed.
#[tokio::test]
async fn child_that_writes_for_ever() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let store = FileStore::open(dir.as_ref()).unwrap();
    for n in 0_u64.. {
        let value = format!("{n}:{}", "x".repeat(usize::try_from(n % 5_000).unwrap()));
        store.put(&format!("key/{}", n % KEYS), value.into_bytes()).await.unwrap();
        println!("wrote {n}");
    }
}

#[tokio::test]
async fn is_whole_and_up_to_date_after_kill_9_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_for_ever", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut confirmed = None;
        for line in lines.map_while(Result::ok) {
            if let Some(n) = line.strip_prefix("wrote ") {
                confirmed = n.parse::<u64>().ok();
            }
            if confirmed == Some(40 + round * 13) {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();

        let confirmed = confirmed.unwrap();
        let store = FileStore::open(dir.path()).unwrap();
        assert_eq!(store.list("key/").await.unwrap().len(), usize::try_from(KEYS).unwrap());
        for key in 0..KEYS {
            let stored = store.get(&format!("key/{key}")).await.unwrap().unwrap();
            let text = String::from_utf8(stored.value).unwrap();
            let (n, padding) = text.split_once(':').unwrap();
            let n: u64 = n.parse().unwrap();
            assert_eq!(padding.len() as u64, n % 5_000, "a whole value");
            // The last confirmed write of this key, or a later one.
            let last = confirmed - (confirmed + KEYS - key) % KEYS;
            assert!(n >= last, "round {round}: key {key} has {n}, but {last} was confirmed");
        }
    }
}
