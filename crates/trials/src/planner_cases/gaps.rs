//! How far plans are from the best that is known, in a snapshot that can only shrink.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use planner::balance::Plan;
use serde_json::Value;

use super::case::Case;
use crate::root;

/// What a plan leaves or moves beyond the best. Goals count first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gap {
    /// Goals left beyond those that the best leaves; less than nothing where it leaves fewer.
    goals: i64,
    /// Replicas moved beyond those that the best moves.
    moves: i64,
}

impl Gap {
    pub(super) fn of(case: &Case, plan: &Plan, optimum: &Value) -> Gap {
        let best = |key: &str| optimum[key].as_i64().unwrap_or(0);
        let arrive = |change: &planner::balance::Change| {
            let old = case.cluster.replicas(change.partition);
            // As the best is counted: two replicas of a partition that change places move, too.
            change.replicas.iter().zip(old).filter(|(to, from)| to != from).count() as i64
        };
        let moves: i64 = plan.changes.iter().map(arrive).sum();
        let goals = plan.after.violated().count() as i64;
        Gap { goals: goals - best("best_violations"), moves: moves - best("best_min_moves") }
    }
}

/// The gaps as they were written down, and as they are now.
pub(super) struct Gaps {
    known: BTreeMap<String, Gap>,
    found: BTreeMap<String, Gap>,
}

fn snapshot() -> PathBuf {
    root().join("crates/trials/src/planner_cases/gaps.txt")
}

impl Gaps {
    pub(super) fn read() -> Result<Gaps> {
        let text = fs::read_to_string(snapshot()).context("cannot read the gaps that were written down")?;
        let mut known = BTreeMap::new();
        for line in text.lines() {
            let parts: Vec<&str> = line.split(' ').collect();
            let [id, goals, moves] = parts[..] else {
                bail!("{}: not understood: {line}", snapshot().display())
            };
            known.insert(id.to_owned(), Gap { goals: goals.parse()?, moves: moves.parse()? });
        }
        Ok(Gaps { known, found: BTreeMap::new() })
    }

    /// Notes a gap: what is wrong with it, if it has grown.
    pub(super) fn note(&mut self, id: &str, gap: Gap) -> Result<(), String> {
        self.found.insert(id.to_owned(), gap);
        match self.known.get(id) {
            Some(known) if gap > *known => Err(format!(
                "the gap to the best has grown: {:+} goals and {:+} moves, {:+} and {:+} before",
                gap.goals, gap.moves, known.goals, known.moves
            )),
            _ => Ok(()),
        }
    }

    /// Says which have shrunk, and writes those down where `UPDATE_EXPECT` is set.
    pub(super) fn end(mut self) -> Result<()> {
        let total = |of: fn(&Gap) -> i64| self.found.values().map(of).sum::<i64>();
        println!(
            "gap to the best: {:+} goals, {:+} moves in all",
            total(|gap| gap.goals),
            total(|gap| gap.moves)
        );
        let update = std::env::var_os("UPDATE_EXPECT").is_some();
        for (id, gap) in self.found {
            let known = self.known.get(&id);
            if known.is_none_or(|known| gap < *known) {
                if !update && known.is_some() {
                    println!(
                        "  {id} has come nearer: {:+} goals, {:+} moves (UPDATE_EXPECT=1 writes it down)",
                        gap.goals, gap.moves
                    );
                }
                self.known.insert(id, gap);
            }
        }
        if update {
            let lines = self.known.iter().map(|(id, gap)| format!("{id} {} {}\n", gap.goals, gap.moves));
            fs::write(snapshot(), lines.collect::<String>())?;
        }
        Ok(())
    }
}
