//! Known bugs, put into a copy of the sources, to see whether the storm finds each: a check that finds nothing proves
//! something only if it would find what is wrong.
//!
//! All of them are built into one program, each behind a switch of its own, and one is switched on at a time: to build
//! the core and the simulator takes longer than to live through hundreds of incidents.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::root;

/// A bug in source files of the core: the file, what is right, and what it becomes, with `BUG` for whether this bug is
/// switched on. Where a second line of defence stands in another place, that is taken away, too, or nothing would come of
/// it.
struct Mutation {
    name: &'static str,
    edits: &'static [(&'static str, &'static str, &'static str)],
}

const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "a broker is dead without any grace",
        edits: &[(
            "monitors/dead_brokers.rs",
            "let grace = self.config.grace.0;",
            "let grace = if BUG { std::time::Duration::ZERO } else { self.config.grace.0 };",
        )],
    },
    Mutation {
        name: "a broker is dead although it answers our probe",
        edits: &[(
            "monitors/dead_brokers.rs",
            "                None => Probed::Answers(format!(",
            "                None if BUG => Probed::Fails(format!(\"does not answer\")),\n                None => Probed::Answers(format!(",
        )],
    },
    Mutation {
        name: "the brake does not count",
        edits: &[(
            "guard/brake.rs",
            "    if absent.len() > limit {",
            "    if absent.len() > limit && !BUG {",
        )],
    },
    Mutation {
        name: "the brake does not see that a whole rack is gone",
        edits: &[(
            "guard/brake.rs",
            "        .find(|(_, rack)| rack.all >= 2 && rack.all == rack.down && rack.absent > 0)",
            "        .find(|(_, rack)| rack.all >= 2 && rack.all == rack.down && rack.absent > 0 && !BUG)",
        )],
    },
    Mutation {
        name: "a pause is not heeded",
        edits: &[(
            "guard.rs",
            "        if let Some(wish) = &wishes.paused {",
            "        if let Some(wish) = wishes.paused.as_ref().filter(|_| !BUG) {",
        )],
    },
    Mutation {
        name: "maintenance of the cluster is not heeded",
        edits: &[(
            "guard.rs",
            "        if let Some(wish) = wishes.maintenance.as_ref().or(by_monitor) {",
            "        if let Some(wish) = wishes.maintenance.as_ref().or(by_monitor).filter(|_| !BUG) {",
        )],
    },
    Mutation {
        name: "maintenance of a broker is not heeded",
        // It is neither dead nor chosen while it lasts.
        edits: &[
            (
                "guard.rs",
                "            if let Some(wish) = self.broker_maintenance(broker) {",
                "            if let Some(wish) = self.broker_maintenance(broker).filter(|_| !BUG) {",
            ),
            (
                "monitors/dead_brokers.rs",
                "        if let Some(wish) = self.maintenance.brokers.get(&id) {",
                "        if let Some(wish) = self.maintenance.brokers.get(&id).filter(|_| !BUG) {",
            ),
            (
                "planning.rs",
                "        } else if self.maintenance.brokers.contains_key(&id) {",
                "        } else if self.maintenance.brokers.contains_key(&id) && !BUG {",
            ),
            (
                "execution/observe.rs",
                "        } else if view.maintenance.contains(&broker) {",
                "        } else if view.maintenance.contains(&broker) && !BUG {",
            ),
        ],
    },
    Mutation {
        name: "facts are never too old",
        edits: &[("state.rs", "        if age > limit {", "        if age > limit && !BUG {")],
    },
    Mutation {
        name: "one broker's word is enough for the replicas",
        edits: &[(
            "execution/last_look.rs",
            "named.iter().find(|(_, count)| **count * 2 > witnesses.len())",
            "named.iter().find(|(_, count)| BUG || **count * 2 > witnesses.len())",
        )],
    },
    Mutation {
        name: "a partition that is being moved is moved again",
        // The operator leaves it alone.
        edits: &[
            (
                "guard.rs",
                "        if open.contains(partition) {",
                "        if open.contains(partition) && !BUG {",
            ),
            (
                "operators/under_replicated_partitions.rs",
                "                work.moving.insert(key.clone());",
                "                if !BUG { work.moving.insert(key.clone()); }",
            ),
        ],
    },
    Mutation {
        name: "moves go on although their broker has come back",
        edits: &[(
            "execution/observe.rs",
            "    if let Some(broker) = order.dead.iter().find(|broker| view.is_live(**broker)) {",
            "    if let Some(broker) = order.dead.iter().find(|broker| view.is_live(**broker) && !BUG) {",
        )],
    },
    Mutation {
        name: "moves go to brokers that are away",
        // Before they are submitted they are looked at once more.
        edits: &[
            (
                "planning.rs",
                "        } else if !self.liveness.live.contains_key(&id) || self.dead.suspects.contains_key(&id) {\n            BrokerState::Absent",
                "        } else if !self.liveness.live.contains_key(&id) || self.dead.suspects.contains_key(&id) {\n            if BUG { BrokerState::Alive } else { BrokerState::Absent }",
            ),
            (
                "execution/observe.rs",
                "        if !view.is_live(broker) {\n            Some(format!(\"broker {broker}, which was to get",
                "        if !view.is_live(broker) && !BUG {\n            Some(format!(\"broker {broker}, which was to get",
            ),
        ],
    },
    Mutation {
        name: "acts are sent out before they are in the journal",
        edits: &[(
            "step.rs",
            "let mut effects = memory.changes(now.tick);",
            "let mut acts = acts; let mut effects = if BUG { std::mem::take(&mut acts) } else { Vec::new() }; effects.extend(memory.changes(now.tick));",
        )],
    },
    Mutation {
        name: "a throttle is left when all is done",
        edits: &[(
            "execution/reassign.rs",
            "            Some(_) if work.leave_throttle => Next::End,",
            "            Some(_) if BUG || work.leave_throttle => Next::End,",
        )],
    },
    Mutation {
        name: "a throttle stays everywhere while one of its brokers is away",
        edits: &[(
            "acts/throttle.rs",
            "        let is_ours = match value(read, entry) {",
            "        let is_ours = match value(read, entry).filter(|_| !BUG || read.values().all(Result::is_ok)) {",
        )],
    },
    Mutation {
        name: "an act whose answer was lost is waited for without end",
        edits: &[(
            "execution/reassign.rs",
            "        work.under_way = None;\n    }\n    look(work, view, limits);",
            "        if !BUG { work.under_way = None; }\n    }\n    look(work, view, limits);",
        )],
    },
    Mutation {
        name: "an order whose answer was lost is taken for refused",
        edits: &[(
            "acts/moves.rs",
            "    let into = if why.may_have_been_applied() {",
            "    let into = if why.may_have_been_applied() && !BUG {",
        )],
    },
    Mutation {
        name: "nothing is ever healed",
        edits: &[(
            "operators/under_replicated_partitions.rs",
            "last.filter(|_| !healing.moves.is_empty())",
            "last.filter(|_| !healing.moves.is_empty() && !BUG)",
        )],
    },
    Mutation {
        name: "only the first partition of each topic is healed",
        edits: &[(
            "operators/under_replicated_partitions.rs",
            "            moves: healing.moves.clone(),",
            "            moves: healing.moves.iter().filter(|m| !BUG || m.partition.partition == 0).cloned().collect(),",
        )],
    },
    Mutation {
        name: "copying to a broker that has died is waited for",
        edits: &[(
            "execution/observe.rs",
            "m.order.added().find(|broker| view.is_dead(*broker)) {",
            "m.order.added().find(|broker| view.is_dead(*broker) && !BUG) {",
        )],
    },
    Mutation {
        name: "a dead broker that keeps its replica is waited for",
        edits: &[(
            "execution/observe.rs",
            "let kept = m.order.to.iter().find(|broker| view.is_dead(**broker))",
            "let kept = m.order.to.iter().find(|broker| view.is_dead(**broker) && !BUG)",
        )],
    },
    Mutation {
        name: "after a mass failure healing never goes on by itself",
        edits: &[("guard/brake.rs", "    (watched >= grace).then", "    (watched >= grace && !BUG).then")],
    },
    Mutation {
        name: "after a mass failure healing goes on at once",
        edits: &[(
            "guard/brake.rs",
            "let grace = config.mass_failure_grace?;",
            "let grace = config.mass_failure_grace?; let grace = if BUG { grace.min(Duration::from_secs(60)) } else { grace };",
        )],
    },
    Mutation {
        name: "the last look does not see reassignments of others",
        edits: &[(
            "execution/last_look.rs",
            "    if let Some(other) = ongoing.get(&order.partition) {",
            "    if let Some(other) = ongoing.get(&order.partition).filter(|_| !BUG) {",
        )],
    },
    Mutation {
        name: "the last look does not see that the replicas are others",
        edits: &[(
            "execution/last_look.rs",
            "        Some((Some(found), _)) if **found != *order.from => {",
            "        Some((Some(found), _)) if **found != *order.from && !BUG => {",
        )],
    },
    Mutation {
        name: "reassignments of others are cancelled",
        edits: &[(
            "execution/last_look.rs",
            "        Some(found) if found.target() != order.to => {",
            "        Some(found) if found.target() != order.to && !BUG => {",
        )],
    },
    Mutation {
        name: "a host is replaced that may hold the last copy",
        // Nor is one replaced that somebody counts in sync.
        edits: &[
            (
                "operators/broker_replacement/checks.rs",
                "        (!last.is_empty()).then(|| {",
                "        (!last.is_empty() && !BUG).then(|| {",
            ),
            (
                "operators/broker_replacement/checks.rs",
                "self.partitions().find(|(_, p)| counts(p))?;",
                "self.partitions().find(|(_, p)| counts(p) && !BUG)?;",
            ),
        ],
    },
    Mutation {
        name: "a replacement has no cooldown",
        edits: &[(
            "replacement.rs",
            "cooldown.checked_sub(self.watched(now)).filter(|left| !left.is_zero())?;",
            "cooldown.checked_sub(self.watched(now)).filter(|left| !left.is_zero() && !BUG)?;",
        )],
    },
    Mutation {
        name: "a crash ends the cooldown",
        edits: &[(
            "memory.rs",
            "                REPLACEMENTS => memory",
            "                REPLACEMENTS if BUG => {}\n                REPLACEMENTS => memory",
        )],
    },
    Mutation {
        name: "the host of a voter is replaced",
        edits: &[(
            "operators/broker_replacement/checks.rs",
            "            Ok(voters) if voters.voters.contains(&id) => Some(",
            "            Ok(voters) if voters.voters.contains(&id) && !BUG => Some(",
        )],
    },
    Mutation {
        name: "a host is replaced whose agent reports",
        edits: &[(
            "operators/broker_replacement/checks.rs",
            "age(&id).filter(|age| *age < silent_after) {",
            "age(&id).filter(|age| *age < silent_after && !BUG) {",
        )],
    },
    Mutation {
        name: "a host is replaced while its replicas are moved",
        edits: &[(
            "operators/broker_replacement/checks.rs",
            "        if count > 0 {",
            "        if count > 0 && !BUG {",
        )],
    },
    Mutation {
        name: "another cluster is taken for the one remembered",
        edits: &[("step.rs", "    if seen == remembered {", "    if seen == remembered || BUG {")],
    },
    Mutation {
        name: "a dry run changes things",
        edits: &[
            (
                "dispatch.rs",
                "            let dry_run = slot.dry_run || (event.dry_run && !is_message(&event.name));",
                "            let dry_run = (slot.dry_run && !BUG) || (event.dry_run && !is_message(&event.name));",
            ),
            (
                "dispatch.rs",
                "            Some(slot) if !slot.dry_run => None,",
                "            Some(slot) if BUG || !slot.dry_run => None,",
            ),
        ],
    },
    Mutation {
        name: "the journal is not read at the start",
        edits: &[(
            "memory.rs",
            "                    executions.push(Arc::new(execution));",
            "                    if !BUG { executions.push(Arc::new(execution)); }",
        )],
    },
];

/// The variable of the environment with the number of the bug that is switched on.
const SWITCH: &str = "SEEDED_BUG";

/// What the copy of the core has beside its own sources.
const SWITCHES: &str = r#"
pub(crate) fn is_bug(number: usize) -> bool {
    static ON: std::sync::OnceLock<Option<usize>> = std::sync::OnceLock::new();
    let read = || std::env::var("SEEDED_BUG").ok().and_then(|number| number.parse().ok());
    *ON.get_or_init(read) == Some(number)
}
"#;

/// Switches each bug on and lives through incidents from `first` on until one fails, at most `count`.
pub(crate) fn run(first: u64, count: u64) -> Result<ExitCode> {
    let copy = root().join("target/mutants/src");
    mirror(&root(), &copy, &with_bugs(&root().join(SOURCES))?)?;
    let storm = build(&copy)?;
    let mut survived = 0;
    for (number, mutation) in MUTATIONS.iter().enumerate() {
        let began = Instant::now();
        match live(&storm, Some(number), first, count).with_context(|| mutation.name)? {
            Some(Found { seed: Some(seed), why }) => {
                if let Some(Found { why, .. }) = live(&storm, None, seed, 1)? {
                    bail!("without any bug: seed {seed}: {why}");
                }
                let took = began.elapsed().as_secs_f64();
                println!("caught: {}: seed {seed}, {took:.1} s: {why}", mutation.name);
            }
            Some(Found { seed: None, why }) => bail!("{}: the storm itself failed: {why}", mutation.name),
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

/// The files of the core that have bugs in them, by their place in the workspace, with their text.
fn with_bugs(sources: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut texts = BTreeMap::from([("lib.rs", read(&sources.join("lib.rs"))? + SWITCHES)]);
    for (number, mutation) in MUTATIONS.iter().enumerate() {
        for (file, right, wrong) in mutation.edits {
            let text = match texts.remove(file) {
                Some(text) => text,
                None => read(&sources.join(file))?,
            };
            let count = text.matches(right).count();
            ensure!(count == 1, "{}: {count} places in {file} are {right:?}", mutation.name);
            let wrong = wrong.replace("BUG", &format!("crate::is_bug({number})"));
            texts.insert(file, text.replace(right, &wrong));
        }
    }
    Ok(texts.into_iter().map(|(file, text)| (Path::new(SOURCES).join(file), text.into_bytes())).collect())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Makes `to` hold the sources that `from` holds, some of them with another text. What is the same already is left alone,
/// so that it is not built anew.
fn mirror(from: &Path, to: &Path, other: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for name in ["Cargo.toml", "Cargo.lock", ".cargo", "crates", "examples"] {
        copy(from, to, Path::new(name), other)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, what: &Path, other: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    let context = || format!("cannot copy {}", what.display());
    let (source, target) = (from.join(what), to.join(what));
    if source.is_dir() {
        fs::create_dir_all(&target).with_context(context)?;
        let present = names(&source)?;
        for gone in names(&target)?.difference(&present).map(|name| target.join(name)) {
            let removed = if gone.is_dir() { fs::remove_dir_all(&gone) } else { fs::remove_file(&gone) };
            removed.with_context(|| format!("cannot remove {}", gone.display()))?;
        }
        return present.iter().try_for_each(|name| copy(from, to, &what.join(name), other));
    }
    let text = match other.get(what) {
        Some(text) => text.clone(),
        None => fs::read(&source).with_context(context)?,
    };
    if fs::read(&target).is_ok_and(|present| present == text) {
        return Ok(());
    }
    fs::write(target, text).with_context(context)
}

/// What is in a folder.
fn names(folder: &Path) -> Result<BTreeSet<OsString>> {
    let entries = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<std::io::Result<_>>()
    });
    entries.with_context(|| format!("cannot list {}", folder.display()))
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

/// What went wrong first.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// The seed; `None` if it is none of an incident.
    seed: Option<u64>,
    why: String,
}

/// What went wrong first with this bug, if anything did.
fn live(storm: &Path, bug: Option<usize>, first: u64, count: u64) -> Result<Option<Found>> {
    let mut command = Command::new(storm);
    command.args(["storm", "--most-failures", "1", "--first-seed", &first.to_string()]);
    command.args(["--seeds", &count.to_string()]).stdin(Stdio::null()).env_remove(SWITCH);
    if let Some(number) = bug {
        command.env(SWITCH, number.to_string());
    }
    let out = command.output().context("cannot start the storm")?;
    let said = String::from_utf8_lossy(&out.stdout);
    match out.status.code() {
        Some(0) => Ok(None),
        Some(1) => Ok(Some(found(&said))),
        _ => Ok(Some(Found { seed: None, why: String::from_utf8_lossy(&out.stderr).trim().to_owned() })),
    }
}

/// What the storm says of its first failure: why, and the line that brings it about again.
fn found(said: &str) -> Found {
    let again = ": cargo xtask storm --seeds 1 --first-seed ";
    let line = said.lines().find_map(|line| line.split_once(again));
    match line {
        Some((why, seed)) => Found { seed: seed.parse().ok(), why: why.to_owned() },
        None => Found { seed: None, why: said.trim().to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_its_place_in_the_sources() {
        assert!(MUTATIONS.len() >= 10);
        let names: BTreeSet<&str> = MUTATIONS.iter().map(|mutation| mutation.name).collect();
        assert_eq!(names.len(), MUTATIONS.len());
        for mutation in MUTATIONS {
            assert!(mutation.edits.iter().all(|(_, _, wrong)| wrong.contains("BUG")), "{}", mutation.name);
        }
        with_bugs(&root().join(SOURCES)).unwrap();
        assert!(SWITCHES.contains(SWITCH));
    }

    #[test]
    fn what_the_storm_finds_is_told_by_its_seed() {
        let said = "seed 7: two copies\nmore\ntwo copies: cargo xtask storm --seeds 1 --first-seed 7\n9 incidents, 1 failed";
        assert_eq!(found(said), Found { seed: Some(7), why: "two copies".to_owned() });
        assert_eq!(found("nonsense").seed, None);
    }
}
