//! Discovery of JVMs over a made-up `/proc` and `/tmp`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};

use jmx::local::{Found, find_jvms_under};
use tempfile::TempDir;

const COUNTERS: &[u8] = include_bytes!("fixtures/hsperfdata-jdk17.bin");
/// Some user who is not us.
const STRANGER: u32 = 1234;

struct Root(TempDir);

impl Root {
    fn new() -> Root {
        let root = Root(tempfile::tempdir().unwrap());
        fs::create_dir_all(root.path("tmp/hsperfdata_kafka")).unwrap();
        fs::create_dir_all(root.path("proc/self")).unwrap();
        symlink(root.0.path(), root.path("proc/self/root")).unwrap();
        root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// A process whose `/` is `inner_root` of this root, and whose number in there is `inner`.
    fn process(&self, pid: u32, inner: u32, inner_root: &str) {
        let directory = self.path(&format!("proc/{pid}"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("status"), format!("Name:\tjava\nNSpid:\t{pid}\t{inner}\n")).unwrap();
        symlink(self.path(inner_root), directory.join("root")).unwrap();
    }

    fn counters(&self, path: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, COUNTERS).unwrap();
        path
    }

    fn find(&self) -> Found {
        find_jvms_under(self.0.path())
    }
}

fn pids(found: &Found) -> Vec<u32> {
    found.jvms.iter().map(|jvm| jvm.pid).collect()
}

fn problems(found: &Found) -> String {
    found.problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[test]
fn jvms_that_live_are_found_and_those_that_are_gone_are_not() {
    let root = Root::new();
    root.process(10, 10, "");
    root.process(11, 11, "");
    root.counters("tmp/hsperfdata_kafka/10");
    root.counters("tmp/hsperfdata_kafka/12");
    root.counters("tmp/hsperfdata_kafka/not-a-number");
    root.counters("tmp/other/11");
    let found = root.find();
    assert_eq!((pids(&found), problems(&found)), (vec![10], String::new()));
    let jvm = &found.jvms[0];
    assert_eq!(jvm.main_class(), Some("kafka.Kafka"));
    assert_eq!(jvm.uid, fs::metadata(root.0.path()).unwrap().uid());
    assert!(jvm.local_address().unwrap().is_ok());
}

#[test]
fn jvms_in_containers_are_found_by_the_number_of_this_host() {
    let root = Root::new();
    // Two containers, in each of which the JVM is process 1, and one that shares our /tmp and not our numbers.
    for (pid, inner_root) in [(20, "containers/a"), (21, "containers/b")] {
        root.counters(&format!("{inner_root}/tmp/hsperfdata_kafka/1"));
        root.process(pid, 1, inner_root);
    }
    root.process(22, 7, "");
    root.counters("tmp/hsperfdata_kafka/7");
    let found = root.find();
    assert_eq!((pids(&found), problems(&found)), (vec![20, 21, 22], String::new()));
}

#[test]
fn a_file_is_read_once_however_many_ways_lead_to_it() {
    let root = Root::new();
    root.process(10, 10, "");
    fs::hard_link(root.counters("tmp/hsperfdata_kafka/10"), root.path("tmp/hsperfdata_kafka/010")).unwrap();
    assert_eq!(pids(&root.find()), [10]);
}

#[test]
fn files_that_others_may_have_put_there_are_not_believed() {
    let root = Root::new();
    root.process(10, 10, "");
    let file = root.counters("tmp/hsperfdata_kafka/10");
    give_away(&root.path("proc/10"), &file);
    // A link leads to whatever its maker likes.
    root.process(11, 11, "");
    symlink(root.counters("elsewhere"), root.path("tmp/hsperfdata_kafka/11")).unwrap();
    let found = root.find();
    assert_eq!(pids(&found), [] as [u32; 0]);
    let problems = problems(&found);
    assert!(problems.contains("does not belong to the user of process 10"), "{problems}");
    assert!(problems.contains("hsperfdata_kafka/11"), "{problems}");
}

/// Lets the process and the file belong to different users: only root can give a file away, and everybody but root has
/// a directory of somebody else's at hand.
fn give_away(process: &Path, file: &Path) {
    if chown(file, Some(STRANGER), None).is_err() {
        fs::remove_dir_all(process).unwrap();
        symlink("/", process).unwrap();
    }
}

#[test]
fn files_that_cannot_be_read_are_told() {
    let root = Root::new();
    for pid in [10, 11] {
        root.process(pid, pid, "");
    }
    fs::write(root.path("tmp/hsperfdata_kafka/10"), b"something else").unwrap();
    let mut starting = COUNTERS.to_vec();
    starting[7] = 0;
    fs::write(root.path("tmp/hsperfdata_kafka/11"), starting).unwrap();
    let found = root.find();
    assert_eq!(pids(&found), [] as [u32; 0]);
    let problems = problems(&found);
    assert!(problems.contains("it is too short") && problems.contains("just starting"), "{problems}");
    assert!(find_jvms_under(&root.path("nowhere")).jvms.is_empty());
}
