//! What the examples share.

use planner::balance::{Cluster, DISK, Plan};

/// CPU seconds of this thread, which a busy machine does not lengthen as it does the clock's. On Linux; elsewhere nothing.
pub(crate) fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}

/// Moves, how many more than any plan needs, megabytes, leaders, and what is left.
pub(crate) fn describe(cluster: &Cluster, plan: &Plan) -> String {
    let (mut moves, mut megabytes, mut leaders) = (0_u64, 0.0, 0);
    for change in &plan.changes {
        let old = cluster.replicas(change.partition);
        for at in (0..old.len()).filter(|at| old[*at] != change.replicas[*at]) {
            moves += 1;
            megabytes += cluster.loads(change.partition)[at][DISK] as f64 / 1e6;
        }
        leaders += u32::from(
            old[cluster.leader(change.partition) as usize] != change.replicas[change.leader as usize],
        );
    }
    let bound = match plan.fewest_moves {
        Some(fewest) => format!("{:.4} x bound {fewest}", moves as f64 / fewest.max(1) as f64),
        None => "no bound".to_owned(),
    };
    let left: Vec<String> =
        plan.unmet.iter().map(|unmet| format!("{} ({})", unmet.goal.name(), unmet.obstacle)).collect();
    let left = if left.is_empty() { "none".to_owned() } else { left.join(", ") };
    format!("{moves} moves ({bound}), {megabytes:.0} MB, {leaders} leaders change, left: {left}")
}
