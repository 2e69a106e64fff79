//! DoctorKafka with a monitor of one's own.
//!
//! The monitor is a *source*: it collects in a task of its own and hands over its newest view in each cycle, so that a
//! slow disk never holds up the loop. What it needs to know of the cluster (which broker runs on which host) it is
//! told after each cycle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use cluster::BrokerId;
use control::config::HumanDuration;
use control::effect::Contribution;
use control::state::NamedValue;
use control::{Finding, KnownBrokers, Now, Severity, State, Target, Tick, ToBeReplaced};
use doctorkafka::plugin::{BuildContext, ConfigProblem, MonitorConfig, MonitorPlugin, Source};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

fn main() -> ExitCode {
    let mut registry = doctorkafka::plugins::builtin();
    registry.monitor::<ScheduledMaintenanceConfig>("scheduled_maintenance");
    doctorkafka::cli::main(registry)
}

/// The monitor's section of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduledMaintenanceConfig {
    /// The file with the announcements.
    file: PathBuf,
    /// How often it is read.
    #[serde(default = "default_interval")]
    interval: HumanDuration,
}

const fn default_interval() -> HumanDuration {
    HumanDuration::seconds(30)
}

impl MonitorConfig for ScheduledMaintenanceConfig {
    fn check(&self) -> Vec<ConfigProblem> {
        if !self.interval.0.is_zero() {
            return Vec::new();
        }
        vec![ConfigProblem { path: "interval".to_owned(), message: "must be longer than nothing".to_owned() }]
    }

    fn build(&self, context: &BuildContext) -> Result<MonitorPlugin, String> {
        let view: View = Arc::new(Mutex::new((Ok(BTreeMap::new()), Tick::default())));
        let task = tokio::spawn(watch(self.clone(), context.clone(), Arc::clone(&view)));
        let monitor =
            ScheduledMaintenance { name: context.name.clone(), view, hosts: Mutex::default(), task };
        Ok(MonitorPlugin::Source(Arc::new(monitor)))
    }
}

/// The announcements by host, or why they cannot be read; and when that was.
type View = Arc<Mutex<(Result<BTreeMap<String, String>, String>, Tick)>>;

struct ScheduledMaintenance {
    name: String,
    view: View,
    /// The hosts of the brokers, as the last cycle knew them.
    hosts: Mutex<BTreeMap<BrokerId, String>>,
    task: JoinHandle<()>,
}

impl Drop for ScheduledMaintenance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Source for ScheduledMaintenance {
    fn name(&self) -> &str {
        &self.name
    }

    fn latest(&self, _now: Now) -> Contribution {
        let (announced, as_of) = self.view.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        match announced {
            Ok(announced) => mark(&announced, &hosts, as_of),
            Err(why) => {
                let message = format!("scheduled maintenance is not known: {why}");
                let finding =
                    Finding::new("schedule_unreadable", Target::Cluster, Severity::Warning, message);
                Contribution { findings: vec![finding], ..Contribution::default() }
            }
        }
    }

    fn after_cycle(&self, state: &State) {
        let Some(known) = state.get::<KnownBrokers>() else { return };
        let hosts = known.value.0.iter().map(|(id, known)| (*id, known.broker.address.host.to_string()));
        *self.hosts.lock().unwrap_or_else(PoisonError::into_inner) = hosts.collect();
    }
}

/// The brokers on announced hosts, with a finding each.
fn mark(
    announced: &BTreeMap<String, String>,
    hosts: &BTreeMap<BrokerId, String>,
    as_of: Tick,
) -> Contribution {
    let marked: BTreeMap<BrokerId, String> =
        hosts.iter().filter_map(|(id, host)| Some((*id, announced.get(host)?.clone()))).collect();
    let findings = marked
        .iter()
        .map(|(id, why)| {
            let message = format!("the host of broker {id} is scheduled for maintenance: {why}");
            Finding::new("maintenance_scheduled", Target::Broker(*id), Severity::Info, message)
        })
        .collect();
    Contribution { attributes: vec![NamedValue::of(Arc::new(ToBeReplaced(marked)), as_of)], findings }
}

async fn watch(config: ScheduledMaintenanceConfig, context: BuildContext, view: View) {
    let mut interval = tokio::time::interval(config.interval.0);
    loop {
        interval.tick().await;
        let as_of = context.clock.now().tick;
        let read = read(&config.file).await;
        *view.lock().unwrap_or_else(PoisonError::into_inner) = (read, as_of);
        context.wake.wake();
    }
}

async fn read(file: &Path) -> Result<BTreeMap<String, String>, String> {
    let text = tokio::fs::read_to_string(file).await.map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(parse(&text))
}

fn parse(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines
        .filter(|line| !line.is_empty())
        .map(|line| match line.split_once(char::is_whitespace) {
            Some((host, why)) => (host.to_owned(), why.trim().to_owned()),
            None => (line.to_owned(), "no reason given".to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_the_brokers_on_announced_hosts() {
        let announced = parse("# from the provider\nk2 retirement on Monday  # ticket 7\n\nk9\n");
        let hosts = BTreeMap::from([(BrokerId(1), "k1".to_owned()), (BrokerId(2), "k2".to_owned())]);
        let contribution = mark(&announced, &hosts, Tick(5));
        let marked =
            contribution.attributes[0].value.as_ref().as_any().downcast_ref::<ToBeReplaced>().unwrap();
        assert_eq!(marked.0, BTreeMap::from([(BrokerId(2), "retirement on Monday".to_owned())]));
        assert_eq!(contribution.findings.len(), 1);
        assert_eq!(announced["k9"], "no reason given");
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_a_reason_not_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let missing = read(&folder.path().join("schedule")).await;
        assert!(missing.is_err_and(|why| why.contains("schedule")));
    }
}
