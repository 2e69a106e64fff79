//! `cargo xtask planner-cases`: small clusters with a known outcome, against what the planner makes of them.
//!
//! One line per failed case and a total; cases that name what the planner has no goal for, and those without their cluster, are
//! counted as skipped. What compares nothing at all has shown nothing, and fails.

mod case;
mod gaps;
mod overcome;
mod sets;
mod verify;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use planner::balance::{Budget, Goal, Obstacle, Plan, audit, solve};
use serde_json::Value;

use case::{Case, Skipped, list};
use gaps::{Gap, Gaps};

use crate::root;

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
    better: BTreeMap<&'static str, usize>,
    failed: usize,
    skipped: BTreeMap<String, usize>,
}

impl Tally {
    fn count(&mut self, id: &str, outcome: Result<Verdict, Failed>) {
        match outcome {
            Ok(verdict) => {
                self.passed += 1;
                if let Verdict::Better(how) = verdict {
                    *self.better.entry(how).or_default() += 1;
                }
            }
            Err(Failed::Skipped(Skipped(why))) => *self.skipped.entry(why).or_default() += 1,
            Err(Failed::Wrong(why)) => {
                println!("{id}: {why}");
                self.failed += 1;
            }
        }
    }

    fn skipped(&self) -> usize {
        self.skipped.values().sum()
    }

    /// What is to be told beside the totals, as it could be taken for more than it is: what has not been compared.
    ///
    /// # Errors
    /// Nothing has been compared.
    fn warning(&self, what: &str) -> Result<Option<String>> {
        let (skipped, all) = (self.skipped(), self.passed + self.failed + self.skipped());
        let why: Vec<String> = self.skipped.iter().map(|(why, count)| format!("{count}: {why}")).collect();
        let why = why.join("; ");
        ensure!(skipped < all, "{what}: nothing was compared, all of {all} were skipped ({why})");
        Ok((skipped > 0).then(|| format!("{what}: {skipped} of {all} were NOT compared ({why})")))
    }

    fn print(&self, what: &str) {
        println!("{what}: {} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped());
        for (how, count) in &self.better {
            println!("  passed and better than recorded {count}: {how}");
        }
        for (why, count) in &self.skipped {
            println!("  skipped {count}: {why}");
        }
    }
}

/// How a case passed.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The outcome is the recorded one.
    Equal,
    /// A failure is recorded, for a reason that stops Cruise Control and does not stop us: how so.
    Better(&'static str),
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
        let cases = spec["cases"].as_array().filter(|cases| !cases.is_empty());
        let cases = cases.context("no `cases` in the specification")?;
        let mut outcomes = Tally::default();
        for case in cases {
            outcomes.count(id(case), check(&spec, case));
        }
        let (mut best, mut gaps) = (Tally::default(), Gaps::read()?);
        for optimum in optima.as_array().context("the optima are not a list")? {
            best.count(id(optimum), check_optimum(&spec, cases, optimum, &mut gaps));
        }
        let tallies = [("outcomes", &outcomes), ("within the best violated set", &best)];
        for (what, tally) in tallies {
            tally.print(what);
        }
        gaps.end()?;
        let warnings = tallies.map(|(what, tally)| tally.warning(what));
        for warning in warnings {
            if let Some(warning) = warning? {
                eprintln!("WARNING: {warning}");
            }
        }
        let failed = outcomes.failed + best.failed;
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Reads a file, or the one of that name in the benchmark's folder beside the repository.
fn read(path: Option<PathBuf>, name: &str) -> Result<Value> {
    let beside = || root().join("../shared/data/balance").join(name);
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

fn check(spec: &Value, recorded: &Value) -> Result<Verdict, Failed> {
    let case = Case::read(spec, recorded)?;
    let plan = plan(&case)?;
    verify::verify(spec, recorded, &case, &plan).map_err(Failed::Wrong)?;
    let left = left(&case, &plan);
    match recorded["expect"]["outcome"].as_str().unwrap_or_default() {
        "ok" if !left.is_empty() => Err(Failed::Wrong(format!("expected to succeed: {}", left.join("; ")))),
        "optimization_failure" if left.is_empty() => {
            match overcome::overcome(spec, recorded, &case, &plan)? {
                Some(how) => Ok(Verdict::Better(how)),
                None => Err(Failed::Wrong("expected to leave a hard goal, left none".into())),
            }
        }
        _ => Ok(Verdict::Equal),
    }
}

/// What a plan reports as not granted: replicas offline, hard goals, and goals that nothing could be done for.
fn left(case: &Case, plan: &Plan) -> Vec<String> {
    let mut left = Vec::new();
    if plan.after.offline > 0 {
        left.push(format!("{} replicas offline", plan.after.offline));
    }
    for unmet in &plan.unmet {
        let hard = case.policy.hard.contains(&unmet.goal);
        if hard || unmet.obstacle == Obstacle::NothingTakesReplicas {
            left.push(format!("{}: {}", unmet.goal.name(), unmet.obstacle));
        }
    }
    left
}

fn check_optimum(spec: &Value, cases: &[Value], optimum: &Value, gaps: &mut Gaps) -> Result<Verdict, Failed> {
    let recorded = of_optimum(cases, optimum)?;
    let mut case = Case::read(spec, &recorded)?;
    // The optima were sought without this goal, and with replicas of a partition that change places.
    case.policy.goals.retain(|goal| *goal != Goal::PreferredLeader);
    case.policy.exchange = true;
    let plan = plan(&case)?;
    let best: Vec<&str> =
        optimum["best_violated"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let left: Vec<&str> = plan.after.violated().map(|goal| goal.name()).collect();
    if !left.iter().all(|name| best.contains(name)) {
        return Err(Failed::Wrong(format!("left {left:?}, where the best leaves {best:?}")));
    }
    gaps.note(id(optimum), Gap::of(&case, &plan, optimum)).map_err(Failed::Wrong)?;
    Ok(Verdict::Equal)
}

/// The case of an optimum. One that the specification leaves out is the nearest of its series on the same cluster, with the
/// optimum's thresholds.
fn of_optimum(cases: &[Value], optimum: &Value) -> Result<Value, Skipped> {
    if let Some(case) = cases.iter().find(|case| id(case) == id(optimum)) {
        return Ok(case.clone());
    }
    let (suite, number) = serial(id(optimum));
    let alike = cases.iter().filter(|case| {
        serial(id(case)).0 == suite && case["cluster"] == optimum["cluster"] && list(&case["goals"]).len() > 2
    });
    let nearest = alike.min_by_key(|case| serial(id(case)).1.abs_diff(number));
    let mut case =
        nearest.cloned().ok_or_else(|| Skipped("nothing alike in the specification".to_owned()))?;
    for resource in ["cpu", "disk", "network.inbound", "network.outbound"] {
        case["constraint"][format!("{resource}.balance.threshold")] = optimum["balance"].clone();
        case["constraint"][format!("{resource}.capacity.threshold")] = optimum["capacity_threshold"].clone();
    }
    Ok(case)
}

/// Suite and number of an id such as `Suite[7]`.
fn serial(id: &str) -> (&str, u64) {
    let (suite, number) = id.split_once('[').unwrap_or((id, ""));
    (suite, number.trim_end_matches(']').parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tally(outcomes: impl IntoIterator<Item = Result<Verdict, Failed>>) -> Tally {
        let mut tally = Tally::default();
        outcomes.into_iter().for_each(|outcome| tally.count("one", outcome));
        tally
    }

    fn skipped(why: &str) -> Result<Verdict, Failed> {
        Err(Failed::Skipped(Skipped(why.to_owned())))
    }

    #[test]
    fn what_is_skipped_is_told_and_all_of_it_is_an_error() {
        let of = |outcomes: Vec<Result<Verdict, Failed>>| {
            tally(outcomes).warning("optima").map_err(|error| error.to_string())
        };
        assert_eq!(of(vec![Ok(Verdict::Equal)]), Ok(None));
        assert_eq!(
            of(vec![Ok(Verdict::Equal), skipped("no cluster"), skipped("no cluster"), skipped("no goal")]),
            Ok(Some("optima: 3 of 4 were NOT compared (2: no cluster; 1: no goal)".to_owned()))
        );
        assert_eq!(
            of(vec![skipped("no cluster")]),
            Err("optima: nothing was compared, all of 1 were skipped (1: no cluster)".to_owned())
        );
        assert_eq!(of(vec![]), Err("optima: nothing was compared, all of 0 were skipped ()".to_owned()));
    }

    #[test]
    fn an_optimum_whose_cluster_is_not_there_is_skipped_and_not_tried_on_nothing() {
        let spec = json!({"clusters": {"other": {"brokers": [], "partitions": []}}});
        let named = json!({"id": "a[1]", "cluster": "gone", "goals": []});
        let outcome = check_optimum(&spec, std::slice::from_ref(&named), &named, &mut Gaps::read().unwrap());
        let Err(Failed::Skipped(Skipped(why))) = outcome else { panic!("it was tried") };
        assert_eq!(why, "cluster gone is not in the specification");
        let alone = check_optimum(&spec, &[], &named, &mut Gaps::read().unwrap());
        assert!(matches!(alone, Err(Failed::Skipped(_))));
    }
}
