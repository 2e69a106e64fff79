//! Log dirs of brokers that have several.

use planner::balance::MILLION;

use super::*;

/// One log dir before and after a plan.
pub(in crate::cli::plan) struct Dir<'a> {
    pub(in crate::cli::plan) path: &'a str,
    capacity: i64,
    before: i64,
    after: i64,
}

impl Dir<'_> {
    /// Shares of its capacity.
    pub(in crate::cli::plan) fn shares(&self) -> (f64, f64) {
        let share = |held: i64| held as f64 / self.capacity as f64;
        (share(self.before), share(self.after))
    }

    /// Whether it holds more than a limit in millionths of its capacity, in words; nothing where it does not and did not.
    fn over(&self, limit: i64) -> &'static str {
        let most = i128::from(self.capacity) * i128::from(limit) / i128::from(MILLION);
        match [self.before, self.after].map(|held| i128::from(held) > most) {
            [_, true] => ", over its limit",
            [true, false] => ", was over its limit",
            [false, false] => "",
        }
    }
}

/// What the log dirs of brokers hold.
pub(in crate::cli::plan) struct Dirs<'a> {
    answer: &'a Answer,
    before: Vec<Vec<i64>>,
    after: Vec<Vec<i64>>,
}

impl<'a> Dirs<'a> {
    pub(in crate::cli::plan) fn of(answer: &'a Answer) -> Dirs<'a> {
        Dirs { answer, before: held(&answer.named.cluster), after: held(&answer.after) }
    }

    /// Those of a broker, if it has several.
    pub(in crate::cli::plan) fn on(&self, broker: u32) -> impl Iterator<Item = Dir<'a>> + '_ {
        let named = &self.answer.named;
        let capacities = named.cluster.log_dirs(broker);
        (0..).zip(capacities).map(move |(dir, capacity)| Dir {
            path: named.log_dir(broker, dir).unwrap_or("?"),
            capacity: *capacity,
            before: self.before[broker as usize][dir as usize],
            after: self.after[broker as usize][dir as usize],
        })
    }

    /// Bars of a broker's dirs that are over their limit or change.
    pub(super) fn bars(&self, broker: u32, text: &mut String) {
        let limit = self.answer.policy.capacity[DISK];
        for dir in self.on(broker).filter(|dir| dir.before != dir.after || !dir.over(limit).is_empty()) {
            let (before, after) = dir.shares();
            let _ = writeln!(
                text,
                "{:>8} {} → {}  {}: {:.0} → {:.0} %{}",
                "",
                bar(before, 22),
                bar(after, 22),
                dir.path,
                before * 100.0,
                after * 100.0,
                dir.over(limit),
            );
        }
    }
}

/// What stands in each log dir, by broker.
fn held(cluster: &Cluster) -> Vec<Vec<i64>> {
    let dirs = |broker: usize| vec![0; cluster.log_dirs(broker as u32).len()];
    let mut held: Vec<Vec<i64>> = (0..cluster.brokers().len()).map(dirs).collect();
    if cluster.has_log_dirs() {
        for partition in 0..cluster.partitions() {
            let replicas = cluster.replicas(partition).iter().zip(cluster.loads(partition));
            for (position, (broker, load)) in (0..).zip(replicas) {
                if let Some(dir) = cluster.log_dir(partition, position) {
                    held[*broker as usize][dir as usize] += load[DISK];
                }
            }
        }
    }
    held
}
