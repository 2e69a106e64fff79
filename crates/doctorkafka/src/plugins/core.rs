//! The plugin types whose logic lies in the functional core: deriving monitors and operators.

use std::time::Duration;

use control::config::HumanDuration;
use control::{Operator, monitors, operators};

use crate::plugin::{
    BuildContext, ConfigProblem, MonitorConfig, MonitorPlugin, OperatorConfig, PluginRegistry,
};

/// Adds them.
pub fn register(registry: &mut PluginRegistry) {
    registry
        .monitor::<monitors::maintenance::Config>("maintenance")
        .monitor::<monitors::dead_brokers::Config>("dead_brokers")
        .monitor::<monitors::under_replicated_partitions::Config>("under_replicated_partitions")
        .monitor::<monitors::no_broker_stats::Config>("no_broker_stats")
        .monitor::<monitors::degraded_brokers::Config>("degraded_brokers")
        .operator::<operators::under_replicated_partitions::Config>("under_replicated_partitions")
        .operator::<operators::broker_replacement::Config>("broker_replacement")
        .operator::<operators::no_broker_stats::Config>("no_broker_stats");
}

impl MonitorConfig for monitors::maintenance::Config {
    fn build(&self, context: &BuildContext) -> Result<MonitorPlugin, String> {
        Ok(MonitorPlugin::Deriving(Box::new(self.build(&context.name))))
    }
}

impl MonitorConfig for monitors::dead_brokers::Config {
    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = too_short(&[
            ("grace", self.grace),
            ("max_liveness_age", self.max_liveness_age),
            ("max_probe_age", self.max_probe_age),
            ("flapping_window", self.flapping_window),
        ]);
        if self.flapping_absences < 2 {
            problems.push(problem("flapping_absences", "one absence is not flapping: at least 2"));
        }
        problems
    }

    fn build(&self, context: &BuildContext) -> Result<MonitorPlugin, String> {
        Ok(MonitorPlugin::Deriving(Box::new(self.build(&context.name))))
    }
}

impl MonitorConfig for monitors::under_replicated_partitions::Config {
    fn build(&self, context: &BuildContext) -> Result<MonitorPlugin, String> {
        Ok(MonitorPlugin::Deriving(Box::new(self.build(&context.name))))
    }
}

impl MonitorConfig for monitors::no_broker_stats::Config {
    fn check(&self) -> Vec<ConfigProblem> {
        too_short(&[
            ("no_stats_seconds", self.no_stats_seconds),
            ("max_stats_age", self.max_stats_age),
            ("max_liveness_age", self.max_liveness_age),
        ])
    }

    fn build(&self, context: &BuildContext) -> Result<MonitorPlugin, String> {
        Ok(MonitorPlugin::Deriving(Box::new(self.build(&context.name))))
    }
}

impl MonitorConfig for monitors::degraded_brokers::Config {
    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = too_short(&[
            ("slow_after", self.slow_after),
            ("recovered_after", self.recovered_after),
            ("max_report_age", self.max_report_age),
            ("max_disks_age", self.max_disks_age),
            ("max_liveness_age", self.max_liveness_age),
        ]);
        if self.well_above_idle_percent < self.saturated_below_idle_percent {
            let message = "must not be less than saturated_below_idle_percent: a broker would be both";
            problems.push(problem("well_above_idle_percent", message));
        }
        if self.well_above_idle_percent > 99 {
            problems
                .push(problem("well_above_idle_percent", "must be at most 99: no broker is ever that idle"));
        }
        if self.slow_factor < 2 {
            problems
                .push(problem("slow_factor", "half of all brokers are slower than the median: at least 2"));
        }
        if self.slow_peers < 2 {
            problems.push(problem("slow_peers", "of two brokers nobody knows which is slow: at least 2"));
        }
        problems
    }

    fn build(&self, context: &BuildContext) -> Result<MonitorPlugin, String> {
        Ok(MonitorPlugin::Deriving(Box::new(self.build(&context.name))))
    }
}

impl OperatorConfig for operators::under_replicated_partitions::Config {
    fn emits(&self) -> Vec<String> {
        operators::under_replicated_partitions::EMITS.map(str::to_owned).to_vec()
    }

    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = too_short(&[
            ("prolong_urp_alert_seconds", self.prolong_urp_alert_seconds),
            ("max_liveness_age", self.max_liveness_age),
            ("max_metadata_age", self.max_metadata_age),
        ]);
        if !(1..=100).contains(&self.disk_watermark_percent) {
            problems.push(problem("disk_watermark_percent", "must be from 1 to 100"));
        }
        if self.network_headroom_percent > 99 {
            problems.push(problem("network_headroom_percent", "must be from 0 to 99"));
        }
        if self.network_bandwidth_max_mb == Some(0) {
            problems
                .push(problem("network_bandwidth_max_mb", "must be at least 1; leave it out if not known"));
        }
        if self.max_moves == 0 {
            problems.push(problem("max_moves", "must be at least 1"));
        }
        if self.throttle.is_some_and(|throttle| throttle.0 == 0) {
            problems.push(problem("throttle", "nothing could be copied: leave it out for no throttle"));
        }
        problems
    }

    fn build(&self, context: &BuildContext) -> Result<Box<dyn Operator>, String> {
        Ok(Box::new(self.build(&context.name)))
    }
}

impl OperatorConfig for operators::broker_replacement::Config {
    fn emits(&self) -> Vec<String> {
        operators::broker_replacement::EMITS.map(str::to_owned).to_vec()
    }

    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = too_short(&[
            ("agent_silent_after", self.agent_silent_after),
            ("max_liveness_age", self.max_liveness_age),
            ("max_metadata_age", self.max_metadata_age),
            ("max_voters_age", self.max_voters_age),
            ("alert_not_whole_after", self.alert_not_whole_after),
        ]);
        if self.max_unhealthy_brokers == 0 {
            problems.push(problem("max_unhealthy_brokers", "no broker could ever be replaced: at least 1"));
        }
        problems
    }

    fn build(&self, context: &BuildContext) -> Result<Box<dyn Operator>, String> {
        Ok(Box::new(self.build(&context.name)))
    }
}

impl OperatorConfig for operators::no_broker_stats::Config {
    fn emits(&self) -> Vec<String> {
        operators::no_broker_stats::EMITS.map(str::to_owned).to_vec()
    }

    fn build(&self, context: &BuildContext) -> Result<Box<dyn Operator>, String> {
        Ok(Box::new(self.build(&context.name)))
    }
}

fn problem(path: &str, message: &str) -> ConfigProblem {
    ConfigProblem { path: path.to_owned(), message: message.to_owned() }
}

/// Kafka is looked at about once a second: a shorter time than that cannot be kept.
fn too_short(durations: &[(&str, HumanDuration)]) -> Vec<ConfigProblem> {
    let short = durations.iter().filter(|(_, duration)| duration.0 < Duration::from_secs(1));
    short.map(|(path, _)| problem(path, "must be at least 1s")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn every_default_is_sound() {
        assert_eq!(monitors::dead_brokers::Config::default().check(), []);
        assert_eq!(monitors::no_broker_stats::Config::default().check(), []);
        assert_eq!(monitors::degraded_brokers::Config::default().check(), []);
        assert_eq!(operators::under_replicated_partitions::Config::default().check(), []);
    }

    #[test]
    fn names_every_value_that_cannot_be() {
        let config: operators::under_replicated_partitions::Config = from_value(json!({
            "prolong_urp_alert_seconds": 0,
            "disk_watermark_percent": 101,
            "network_headroom_percent": 100,
            "network_bandwidth_max_mb": 0,
            "max_moves": 0,
            "throttle": 0,
        }))
        .unwrap();
        let paths: Vec<String> = config.check().into_iter().map(|problem| problem.path).collect();
        assert_eq!(
            paths,
            [
                "prolong_urp_alert_seconds",
                "disk_watermark_percent",
                "network_headroom_percent",
                "network_bandwidth_max_mb",
                "max_moves",
                "throttle"
            ]
        );
    }

    #[test]
    fn refuses_keys_that_it_does_not_know() {
        let unknown = from_value::<monitors::dead_brokers::Config>(json!({ "grace": "5s", "grass": 1 }));
        assert!(unknown.is_err_and(|error| error.to_string().contains("grass")));
    }
}
