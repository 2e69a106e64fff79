//! `cargo xtask planner-cases`: small clusters with a known outcome, against what the planner makes of them.
//!
//! One line per failed case and a total; cases that name what the planner has no goal for are counted as skipped.

mod case;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use planner::balance::{Budget, Plan, audit, solve};
use serde_json::Value;

use case::{Case, Skipped};

/// Plan for recorded small clusters and compare the outcome with the recorded one.
#[derive(Args, Debug)]
pub(crate) struct PlannerCases {
    /// Clusters, and cases with the outcome that is expected.
    #[arg(long)]
    spec: Option<PathBuf>,
    /// The best that is possible on some of them.
    #[arg(long)]
    optima: Option<PathBuf>,
}

/// What became of cases.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: BTreeMap<String, usize>,
}

impl Tally {
    fn count(&mut self, id: &str, outcome: Result<(), Failed>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(Failed::Skipped(Skipped(why))) => *self.skipped.entry(why).or_default() += 1,
            Err(Failed::Wrong(why)) => {
                println!("{id}: {why}");
                self.failed += 1;
            }
        }
    }

    fn print(&self, what: &str) {
        let skipped: usize = self.skipped.values().sum();
        println!("{what}: {} passed, {} failed, {skipped} skipped", self.passed, self.failed);
        for (why, count) in &self.skipped {
            println!("  skipped {count}: {why}");
        }
    }
}

/// Why a case did not pass.
#[derive(Debug)]
enum Failed {
    Skipped(Skipped),
    Wrong(String),
}

impl From<Skipped> for Failed {
    fn from(skipped: Skipped) -> Failed {
        Failed::Skipped(skipped)
    }
}

impl PlannerCases {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let spec = read(self.spec, "spec_cases.json")?;
        let optima = read(self.optima, "small_optima.json")?;
        let cases = spec["cases"].as_array().context("no `cases` in the specification")?;
        let mut outcomes = Tally::default();
        for case in cases {
            outcomes.count(id(case), check(&spec, case));
        }
        let mut best = Tally::default();
        for optimum in optima.as_array().context("the optima are not a list")? {
            best.count(id(optimum), check_optimum(&spec, cases, optimum));
        }
        outcomes.print("outcomes");
        best.print("within the best violated set");
        let failed = outcomes.failed + best.failed;
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Reads a file, or the one of that name in the benchmark's folder beside the repository.
fn read(path: Option<PathBuf>, name: &str) -> Result<Value> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/balance").join(name);
    let path = path.unwrap_or_else(beside);
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn id(case: &Value) -> &str {
    case["id"].as_str().unwrap_or("a case without id")
}

/// Plans for a case. Whatever is expected, the plan must pass the audit: exclusions hold, nothing gets worse.
fn plan(case: &Case) -> Result<Plan, Failed> {
    let plan = solve(&case.cluster, &case.policy, &Budget::default());
    audit(&case.cluster, &case.policy, &Budget::default(), &plan).map_err(|violations| {
        let text: Vec<String> = violations.iter().map(ToString::to_string).collect();
        Failed::Wrong(format!("the audit refuses the plan: {}", text.join("; ")))
    })?;
    Ok(plan)
}

fn check(spec: &Value, recorded: &Value) -> Result<(), Failed> {
    let case = Case::read(spec, recorded)?;
    let plan = plan(&case)?;
    let hard: Vec<&str> = plan
        .after
        .violated()
        .filter(|goal| case.policy.hard.contains(goal))
        .map(|goal| goal.name())
        .collect();
    let left = plan.after.offline > 0 || !hard.is_empty();
    let found = || format!("{} replicas offline, hard goals left: {hard:?}", plan.after.offline);
    match recorded["expect"]["outcome"].as_str().unwrap_or_default() {
        "ok" if left => Err(Failed::Wrong(format!("expected to succeed: {}", found()))),
        "optimization_failure" if !left => {
            Err(Failed::Wrong("expected to leave a hard goal, left none".into()))
        }
        _ => Ok(()),
    }
}

fn check_optimum(spec: &Value, cases: &[Value], optimum: &Value) -> Result<(), Failed> {
    let recorded = cases.iter().find(|case| id(case) == id(optimum));
    let recorded = recorded.ok_or_else(|| Skipped("not in the specification".to_owned()))?;
    let case = Case::read(spec, recorded)?;
    let plan = plan(&case)?;
    let best: Vec<&str> =
        optimum["best_violated"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let left: Vec<&str> = plan.after.violated().map(|goal| goal.name()).collect();
    if left.iter().all(|name| best.contains(name)) {
        Ok(())
    } else {
        Err(Failed::Wrong(format!("left {left:?}, where the best leaves {best:?}")))
    }
}
