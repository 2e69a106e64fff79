//! What a broker's process holds: threads, open files, objects in its heap.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cluster::Cluster;
use crate::jars::java_tool;
use crate::view::wait_for;

/// So many equal looks in a row, 50 ms apart, are rest: a second and a half.
const LOOKS_AT_REST: usize = 30;

/// The threads of a process, and its open files and sockets: how many by each name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Threads by their names, as far as the kernel keeps these (15 bytes).
    pub threads: BTreeMap<String, usize>,
    /// Files by their paths; sockets and pipes by their kinds.
    pub files: BTreeMap<String, usize>,
}

/// Objects in use by class: how many, and their bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heap {
    /// By class: number of objects and bytes.
    pub classes: BTreeMap<String, (u64, u64)>,
}

impl Heap {
    /// The bytes of all objects.
    pub fn bytes(&self) -> u64 {
        self.classes.values().map(|(_, bytes)| bytes).sum()
    }

    /// How many objects of a class there are.
    pub fn objects(&self, class: &str) -> u64 {
        self.classes.get(class).map_or(0, |(objects, _)| *objects)
    }
}

impl Cluster {
    /// What the process of a node holds at this moment.
    pub fn held(&self, id: i32) -> Result<Held> {
        let Some(pid) = self.pid(id)? else { bail!("node {id} does not run") };
        let process = Path::new("/proc").join(pid.to_string());
        let entries = |folder: &str| {
            fs::read_dir(process.join(folder)).with_context(|| format!("reading {folder} of process {pid}"))
        };
        let mut held = Held::default();
        // What ends while it is looked at is left out.
        for task in entries("task")?.flatten() {
            if let Ok(name) = fs::read_to_string(task.path().join("comm")) {
                *held.threads.entry(name.trim().to_owned()).or_default() += 1;
            }
        }
        for file in entries("fd")?.flatten() {
            let Ok(target) = fs::read_link(file.path()) else { continue };
            let target = target.display().to_string();
            // `socket:[4711]` is a socket, whichever it is.
            let kind = target.split_once(":[").map_or(target.as_str(), |(kind, _)| kind);
            *held.files.entry(kind.to_owned()).or_default() += 1;
        }
        Ok(held)
    }

    /// What the process of a node holds once that has not changed for a while: what has just ended is not seen to be
    /// there.
    pub fn held_at_rest(&self, id: i32, within: Duration) -> Result<Held> {
        let (mut last, mut same) = (self.held(id)?, 0);
        wait_for("threads and files are at rest", within, || {
            let now = self.held(id)?;
            same = if now == last { same + 1 } else { 0 };
            last = now;
            Ok(same == LOOKS_AT_REST)
        })?;
        Ok(last)
    }

    /// The objects that the JVM of a node has in use: it collects all others first. From the first such look on, the
    /// JVM has one thread more, which listens for such questions.
    pub fn heap(&self, id: i32) -> Result<Heap> {
        let Some(pid) = self.pid(id)? else { bail!("node {id} does not run") };
        let answer = Command::new(java_tool("jcmd")).args([&pid.to_string(), "GC.class_histogram"]).output();
        let answer = answer.context("running jcmd, which comes with a JDK")?;
        let text = String::from_utf8_lossy(&answer.stdout);
        let mut heap = Heap::default();
        // A line is: number, objects, bytes, class, and the module in parentheses.
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [place, objects, bytes, class, ..] = words.as_slice() else { continue };
            let number = |word: &str| word.parse::<u64>().ok();
            let (true, Some(objects), Some(bytes)) = (place.ends_with(':'), number(objects), number(bytes))
            else {
                continue;
            };
            // One name may be that of classes of several loaders.
            let sum = heap.classes.entry((*class).to_owned()).or_insert((0, 0));
            *sum = (sum.0 + objects, sum.1 + bytes);
        }
        if heap.classes.is_empty() {
            bail!("jcmd tells no objects: {text}{}", String::from_utf8_lossy(&answer.stderr));
        }
        Ok(heap)
    }
}
