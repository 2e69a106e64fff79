//! Log dirs of brokers: `"disks": [{"logdir", "capacity", "state"}]` of a broker, and `"logdir"` of a replica.

use std::collections::BTreeMap;

use planner::balance::{Builder, DISK};
use serde::Deserialize;

use crate::fixed_point;

#[derive(Deserialize)]
pub(super) struct DirRow {
    logdir: String,
    capacity: f64,
    state: Option<String>,
}

/// The log dirs of one broker.
#[derive(Default)]
pub(super) struct Dirs {
    /// All that are named: what has its place among those that live, and nothing for one that has failed.
    by_name: BTreeMap<String, Option<u32>>,
    /// Names and capacities of those that live.
    living: Vec<(String, i64)>,
}

/// Where a replica stands.
pub(super) enum Stand {
    /// In no dir of which anything is known.
    Unknown,
    /// In the dir of this place among those that live.
    Dir(u32),
    /// In a dir that has failed.
    Failed,
}

impl Dirs {
    /// Reads the dirs of a broker whose disk is so large in all; 0 is not known. The capacity of what does not live may be recorded as less
    /// than nothing.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn read(rows: Vec<DirRow>, alive: bool, disk: i64) -> Result<Dirs, String> {
        let mut dirs = Dirs::default();
        for row in rows {
            let lives = match row.state.as_deref() {
                Some("ALIVE") | None => alive,
                Some("DEAD") => false,
                Some(_) => {
                    return Err(format!("log dir {}: the state is neither ALIVE nor DEAD", row.logdir));
                }
            };
            let place = lives.then_some(dirs.living.len() as u32);
            if dirs.by_name.insert(row.logdir.clone(), place).is_some() {
                return Err(format!("log dir {} was named before", row.logdir));
            }
            if lives {
                let capacity = fixed_point(DISK, row.capacity).ok_or_else(|| {
                    format!("log dir {}: `capacity` is out of range: {}", row.logdir, row.capacity)
                })?;
                dirs.living.push((row.logdir, capacity));
            }
        }
        dirs.agree_with(disk)?;
        Ok(dirs)
    }

    fn agree_with(&self, disk: i64) -> Result<(), String> {
        let sum: i128 = self.living.iter().map(|(_, capacity)| i128::from(*capacity)).sum();
        // Figures of files are rounded.
        let off = (sum - i128::from(disk)).abs() > i128::from(disk) / 1_000_000 + self.living.len() as i128;
        if disk > 0 && self.is_known() && off {
            let [sum, disk] = [sum, i128::from(disk)].map(|units| crate::figure(DISK, units));
            return Err(format!(
                "its log dirs that live hold {sum} together, and its capacity of disk is {disk}"
            ));
        }
        Ok(())
    }

    /// Whether all capacities are known of those that live.
    fn is_known(&self) -> bool {
        !self.living.is_empty() && self.living.iter().all(|(_, capacity)| *capacity > 0)
    }

    /// Tells the planner, and returns the names of what it knows then: nothing where there are not several.
    ///
    /// # Errors
    /// What the planner refuses.
    pub(super) fn add_to(&self, builder: &mut Builder, broker: u32) -> Result<Vec<String>, String> {
        if !self.is_known() || self.living.len() < 2 {
            return Ok(Vec::new());
        }
        let capacities: Vec<i64> = self.living.iter().map(|(_, capacity)| *capacity).collect();
        builder.log_dirs(broker, &capacities).map_err(|error| error.to_string())?;
        Ok(self.living.iter().map(|(name, _)| name.clone()).collect())
    }

    /// Where a replica stands that says so itself, or does not.
    ///
    /// # Errors
    /// The broker has other log dirs.
    pub(super) fn find(&self, name: Option<&str>) -> Result<Stand, String> {
        let Some(name) = name.filter(|_| !self.by_name.is_empty()) else { return Ok(Stand::Unknown) };
        match self.by_name.get(name) {
            Some(Some(place)) if self.is_known() && self.living.len() > 1 => Ok(Stand::Dir(*place)),
            Some(Some(_)) => Ok(Stand::Unknown),
            Some(None) => Ok(Stand::Failed),
            None => Err(format!("has no log dir {name}")),
        }
    }
}
