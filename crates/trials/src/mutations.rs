//! Known bugs, put one after the other into a copy of the sources, to see whether the storm finds each: a check that
//! finds nothing proves something only if it would find what is wrong.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use crate::root;

/// A bug in a source file of the core: what is right, and what it becomes. Where a second line of defence stands in another
/// file, that is taken away, too, or nothing would come of it.
struct Mutation {
    name: &'static str,
    file: &'static str,
    edits: &'static [(&'static str, &'static str)],
    beyond: &'static [(&'static str, &'static str, &'static str)],
}

const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "a broker is dead without any grace",
        file: "monitors/dead_brokers.rs",
        beyond: &[],
        edits: &[("let grace = self.config.grace.0;", "let grace = std::time::Duration::ZERO;")],
    },
    Mutation {
        name: "a broker is dead although it answers our probe",
        file: "monitors/dead_brokers.rs",
        beyond: &[],
        edits: &[(
            "                None => Probed::Answers(format!(",
            "                None => Probed::Fails(format!(",
        )],
    },
    Mutation {
        name: "the brake does not count",
        file: "guard/brake.rs",
        beyond: &[],
        edits: &[("    if absent.len() > limit {", "    if absent.len() > limit && limit > 100 {")],
    },
    Mutation {
        name: "the brake does not see that a whole rack is gone",
        file: "guard/brake.rs",
        beyond: &[],
        edits: &[(
            "        .find(|(_, rack)| rack.all >= 2 && rack.all == rack.down && rack.absent > 0)",
            "        .find(|(_, rack)| rack.all > 100 && rack.all == rack.down && rack.absent > 0)",
        )],
    },
    Mutation {
        name: "a pause is not heeded",
        file: "guard.rs",
        beyond: &[],
        edits: &[(
            "        if let Some(wish) = &wishes.paused {",
            "        if let Some(wish) = wishes.paused.as_ref().filter(|_| false) {",
        )],
    },
    Mutation {
        name: "maintenance of the cluster is not heeded",
        file: "guard.rs",
        beyond: &[],
        edits: &[(
            "        if let Some(wish) = wishes.maintenance.as_ref().or(by_monitor) {",
            "        if let Some(wish) = wishes.maintenance.as_ref().or(by_monitor).filter(|_| false) {",
        )],
    },
    Mutation {
        name: "maintenance of a broker is not heeded",
        file: "guard.rs",
        edits: &[(
            "            if let Some(wish) = self.broker_maintenance(broker) {",
            "            if let Some(wish) = self.broker_maintenance(broker).filter(|_| false) {",
        )],
        // It is neither dead nor chosen while it lasts.
        beyond: &[
            (
                "monitors/dead_brokers.rs",
                "        if let Some(wish) = self.maintenance.brokers.get(&id) {",
                "        if let Some(wish) = self.maintenance.brokers.get(&id).filter(|_| false) {",
            ),
            (
                "planning.rs",
                "        } else if self.maintenance.brokers.contains_key(&id) {",
                "        } else if self.maintenance.brokers.contains_key(&id) && false {",
            ),
            (
                "execution/observe.rs",
                "        } else if view.maintenance.contains(&broker) {",
                "        } else if view.maintenance.contains(&broker) && false {",
            ),
        ],
    },
    Mutation {
        name: "facts are never too old",
        file: "state.rs",
        beyond: &[],
        edits: &[("        if age > limit {", "        if age > limit && limit.is_zero() {")],
    },
    Mutation {
        name: "one broker's word is enough for the replicas",
        file: "execution/last_look.rs",
        beyond: &[],
        edits: &[("named.iter().find(|(_, count)| **count * 2 > witnesses.len())", "named.iter().next()")],
    },
    Mutation {
        name: "a partition that is being moved is moved again",
        file: "guard.rs",
        edits: &[(
            "        if open.contains(partition) {",
            "        if open.contains(partition) && open.is_empty() {",
        )],
        // The operator leaves it alone.
        beyond: &[(
            "operators/under_replicated_partitions.rs",
            "                work.moving.insert(key.clone());",
            "                let _ = key;",
        )],
    },
    Mutation {
        name: "moves go on although their broker has come back",
        file: "execution/observe.rs",
        beyond: &[],
        edits: &[(
            "    if let Some(broker) = order.dead.iter().find(|broker| view.is_live(**broker)) {",
            "    if let Some(broker) = order.dead.iter().find(|broker| view.is_live(**broker) && false) {",
        )],
    },
    Mutation {
        name: "moves go to brokers that are away",
        file: "planning.rs",
        beyond: &[],
        edits: &[(
            "        } else if !self.liveness.live.contains_key(&id) || self.dead.suspects.contains_key(&id) {\n            BrokerState::Absent",
            "        } else if !self.liveness.live.contains_key(&id) || self.dead.suspects.contains_key(&id) {\n            BrokerState::Alive",
        )],
    },
    Mutation {
        name: "acts are sent out before they are in the journal",
        file: "step.rs",
        beyond: &[],
        edits: &[
            (
                "let mut effects = memory.changes(now.tick);",
                "let mut effects = acts; effects.extend(memory.changes(now.tick));",
            ),
            ("        effects.extend(acts);\n", ""),
        ],
    },
    Mutation {
        name: "a throttle is left when all is done",
        file: "execution/reassign.rs",
        beyond: &[],
        edits: &[(
            "            Some(_) if work.leave_throttle => Next::End,",
            "            Some(_) => Next::End,",
        )],
    },
    Mutation {
        name: "a throttle stays everywhere while one of its brokers is away",
        file: "acts/throttle.rs",
        beyond: &[],
        edits: &[(
            "        let is_ours = match value(read, entry) {",
            "        let is_ours = match value(read, entry).filter(|_| read.values().all(Result::is_ok)) {",
        )],
    },
    Mutation {
        name: "an act whose answer was lost is waited for without end",
        file: "execution/reassign.rs",
        beyond: &[],
        edits: &[(
            "        work.under_way = None;\n    }\n    look(work, view, limits);",
            "    }\n    look(work, view, limits);",
        )],
    },
    Mutation {
        name: "an order whose answer was lost is taken for refused",
        file: "acts/moves.rs",
        beyond: &[],
        edits: &[(
            "    let into = if why.may_have_been_applied() {",
            "    let into = if why.may_have_been_applied() && why.is_configuration() {",
        )],
    },
    Mutation {
        name: "nothing is ever healed",
        file: "operators/under_replicated_partitions.rs",
        beyond: &[],
        edits: &[("last.filter(|_| !healing.moves.is_empty())", "last.filter(|_| false)")],
    },
    Mutation {
        name: "only the first partition of each topic is healed",
        file: "operators/under_replicated_partitions.rs",
        beyond: &[],
        edits: &[(
            "            moves: healing.moves.clone(),",
            "            moves: healing.moves.iter().filter(|m| m.partition.partition == 0).cloned().collect(),",
        )],
    },
    Mutation {
        name: "copying to a broker that has died is waited for",
        file: "execution/observe.rs",
        beyond: &[],
        edits: &[(
            "m.order.added().find(|broker| view.is_dead(*broker)) {",
            "m.order.added().find(|broker| view.is_dead(*broker) && false) {",
        )],
    },
    Mutation {
        name: "a dead broker that keeps its replica is waited for",
        file: "execution/observe.rs",
        beyond: &[],
        edits: &[(
            "let kept = m.order.to.iter().find(|broker| view.is_dead(**broker))",
            "let kept = m.order.to.iter().find(|broker| view.is_dead(**broker) && false)",
        )],
    },
    Mutation {
        name: "after a mass failure healing never goes on by itself",
        file: "guard/brake.rs",
        beyond: &[],
        edits: &[("    (watched >= grace).then", "    (watched >= grace && grace.is_zero()).then")],
    },
    Mutation {
        name: "after a mass failure healing goes on at once",
        file: "guard/brake.rs",
        beyond: &[],
        edits: &[("    (watched >= grace).then", "    (watched >= grace.min(Duration::from_secs(60))).then")],
    },
    Mutation {
        name: "the last look does not see reassignments of others",
        file: "execution/last_look.rs",
        beyond: &[],
        edits: &[(
            "    if let Some(other) = ongoing.get(&order.partition) {",
            "    if let Some(other) = ongoing.get(&order.partition).filter(|_| false) {",
        )],
    },
    Mutation {
        name: "the last look does not see that the replicas are others",
        file: "execution/last_look.rs",
        beyond: &[],
        edits: &[(
            "        Some((Some(found), _)) if **found != *order.from => {",
            "        Some((Some(found), _)) if **found != *order.from && found.is_empty() => {",
        )],
    },
    Mutation {
        name: "reassignments of others are cancelled",
        file: "execution/last_look.rs",
        beyond: &[],
        edits: &[(
            "        Some(found) if found.target() != order.to => {",
            "        Some(found) if found.target() != order.to && order.to.is_empty() => {",
        )],
    },
    Mutation {
        name: "another cluster is taken for the one remembered",
        file: "step.rs",
        beyond: &[],
        edits: &[("    if seen == remembered {", "    if seen == remembered || remembered != seen {")],
    },
    Mutation {
        name: "a dry run changes things",
        file: "dispatch.rs",
        beyond: &[],
        edits: &[
            (
                "            let dry_run = slot.dry_run || (event.dry_run && !is_message(&event.name));",
                "            let dry_run = event.dry_run && !is_message(&event.name);",
            ),
            (
                "            Some(slot) if !slot.dry_run => None,",
                "            Some(slot) if !slot.name.is_empty() => None,",
            ),
        ],
    },
    Mutation {
        name: "the journal is not read at the start",
        file: "memory.rs",
        beyond: &[],
        edits: &[(
            "                    executions.push(Arc::new(execution));",
            "                    executions.push(Arc::new(execution)); executions.clear();",
        )],
    },
];

/// Puts each bug in, and lives through incidents from `first` on until one fails, at most `count`.
pub(crate) fn run(first: u64, count: u64) -> Result<ExitCode> {
    let copy = root().join("target/mutants/src");
    mirror(&root(), &copy)?;
    let storm = build(&copy)?;
    let clean = live(&storm, first, count)?;
    ensure!(clean.is_none(), "without any bug: {}", clean.unwrap_or_default());
    println!("no bug: {count} incidents, none failed");
    let mut survived = 0;
    for mutation in MUTATIONS {
        let right = mutation.put_in(&copy.join(SOURCES))?;
        let found = build(&copy).and_then(|storm| live(&storm, first, count));
        for (file, text) in right {
            fs::write(file, text)?;
        }
        match found.with_context(|| mutation.name)? {
            Some(how) => println!("caught: {}: {how}", mutation.name),
            None => {
                survived += 1;
                println!("NOT CAUGHT by {count} incidents: {}", mutation.name);
            }
        }
    }
    println!("{} bugs, {survived} not caught", MUTATIONS.len());
    Ok(if survived == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The sources of the core, in the workspace.
const SOURCES: &str = "crates/control/src";

impl Mutation {
    /// The files that it changes, with what each becomes.
    fn apply(&self, sources: &Path) -> Result<BTreeMap<PathBuf, String>> {
        let here = self.edits.iter().map(|(right, wrong)| (self.file, *right, *wrong));
        let mut texts = BTreeMap::new();
        for (file, right, wrong) in here.chain(self.beyond.iter().copied()) {
            let path = sources.join(file);
            let text = match texts.remove(&path) {
                Some(text) => text,
                None => read(&path)?,
            };
            let count = text.matches(right).count();
            ensure!(count == 1, "{}: {count} places in {file} are {right:?}", self.name);
            texts.insert(path, text.replace(right, wrong));
        }
        Ok(texts)
    }

    /// Changes the files, and returns what they were.
    fn put_in(&self, sources: &Path) -> Result<BTreeMap<PathBuf, String>> {
        let wrong = self.apply(sources)?;
        let right = wrong.keys().map(|path| Ok((path.clone(), read(path)?))).collect::<Result<_>>()?;
        for (path, text) in wrong {
            fs::write(path, text)?;
        }
        Ok(right)
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Makes `to` hold the sources that `from` holds. What is the same already is left alone, so that it is not built anew.
fn mirror(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for name in ["Cargo.toml", "Cargo.lock", ".cargo", "crates", "examples"] {
        copy(&from.join(name), &to.join(name))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("cannot copy {}", from.display());
    if from.is_dir() {
        fs::create_dir_all(to).with_context(context)?;
        for entry in fs::read_dir(from).with_context(context)? {
            let entry = entry.with_context(context)?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    let text = fs::read(from).with_context(context)?;
    if fs::read(to).is_ok_and(|present| present == text) {
        return Ok(());
    }
    fs::write(to, text).with_context(context)
}

/// Builds the storm of the copy, and says where it is.
fn build(copy: &Path) -> Result<PathBuf> {
    let target = root().join("target/mutants/build");
    let status = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["build", "-q", "-p", "trials", "--target-dir"])
        .arg(&target)
        // A bug may leave something unused.
        .env("RUSTFLAGS", "-Awarnings")
        .current_dir(copy)
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "it cannot be built");
    Ok(target.join("debug/trials"))
}

/// What went wrong first, if anything did.
fn live(storm: &Path, first: u64, count: u64) -> Result<Option<String>> {
    let mut command = Command::new(storm);
    command.args(["storm", "--most-failures", "1", "--first-seed", &first.to_string()]);
    command.args(["--seeds", &count.to_string()]).stdin(Stdio::null());
    let out = command.output().context("cannot start the storm")?;
    let said = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    match out.status.code() {
        Some(0) => Ok(None),
        Some(1) => Ok(Some(said.lines().rev().nth(1).unwrap_or(&said).to_owned())),
        _ => Ok(Some(format!("it panicked: {}", String::from_utf8_lossy(&out.stderr).trim()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_its_place_in_the_sources() {
        assert!(MUTATIONS.len() >= 10);
        for mutation in MUTATIONS {
            for (path, wrong) in mutation.apply(&root().join(SOURCES)).unwrap() {
                assert_ne!(wrong, read(&path).unwrap(), "{}", mutation.name);
            }
        }
    }
}
