//! From the JVM's readings to BrokerStats. Plain functions, no I/O, no clock.
//!
//! # States
//! Idle parts are told in percent. That of the request handlers is the broker's own one-minute rate; where an exporter tells
//! only the count (nanoseconds of idle time of an average thread), its growth over the time that passed. Where one process
//! is broker and controller, the pool of the broker counts. A broker that runs has no log left to recover: Kafka takes
//! those MBeans away then.
//!
//! Processor time of the process is what it grew by over the time that passed, in percent of the processors that the JVM
//! may use; where either is not told, what the JVM takes for its present load. What the host says of the process stands before
//! both.

use std::time::Duration;

use brokerstats::BrokerStats;

use super::bytes_out::BytesOut;
use super::{Attribute, Metric, Readings};

/// Puts readings into reports; remembers what the next ones are compared with.
#[derive(Debug, Default)]
pub struct Figures {
    bytes_out: BytesOut,
    /// The nanoseconds for which the request handlers were idle, and when they were read.
    idle: Option<(f64, Duration)>,
    /// The seconds of processor time of the process, and when they were read.
    cpu: Option<(f64, Duration)>,
}

/// The state of a broker that has started and does not stop.
const RUNNING: i32 = 3;

impl Figures {
    /// Puts what `readings`, read at `at`, say into a report that has its led replicas already. Readings must come in
    /// the order of their time, on a clock that never goes back.
    pub fn put(&mut self, stats: &mut BrokerStats, readings: &Readings, at: Duration) {
        self.put_states(stats, readings, at);
        self.bytes_out.put(stats, readings, at);
    }

    fn put_states(&mut self, stats: &mut BrokerStats, readings: &Readings, at: Duration) {
        let value = |metric| readings.of_broker(metric, Attribute::Value);
        let processors = value(Metric::Processors).filter(|processors| *processors > 0.0);
        let limit = processors.or((stats.cpu_limit > 0.0).then_some(stats.cpu_limit));
        if let Some(load) = self.process_load(readings, at, limit)
            && stats.process_cpu_percent < 0.0
        {
            stats.process_cpu_percent = percent(load);
            stats.cpu_usage = percent(load);
            stats.cpu_limit = limit.unwrap_or(stats.cpu_limit);
        }
        // Floats convert to integers by saturation.
        if let Some(state) = value(Metric::BrokerState) {
            stats.broker_state = state as i32;
        }
        match value(Metric::LogsToRecover) {
            Some(logs) => stats.logs_to_recover = logs as i64,
            None if stats.broker_state == RUNNING => stats.logs_to_recover = 0,
            None => {}
        }
        if let Some(waiting) = value(Metric::RequestQueueSize) {
            stats.request_queue_size = waiting as i64;
        }
        if let Some(count) = value(Metric::UnderReplicated) {
            stats.under_replicated_partitions = count as i32;
        }
        if let Some(idle) = value(Metric::NetworkProcessorIdle) {
            stats.network_processor_idle_percent = percent(idle);
        }
        if let Some(idle) = self.handlers_idle(readings, at) {
            stats.request_handler_idle_percent = percent(idle);
        }
    }

    /// The part of the processors that the process used.
    fn process_load(&mut self, readings: &Readings, at: Duration, processors: Option<f64>) -> Option<f64> {
        let seconds = readings.of_broker(Metric::ProcessCpuSeconds, Attribute::Value);
        let before = std::mem::replace(&mut self.cpu, seconds.map(|seconds| (seconds, at)));
        let grown = || {
            let ((before, then), now) = (before?, seconds?);
            let passed = at.saturating_sub(then).as_secs_f64();
            // Time that fell is another process's.
            (now >= before && passed > 0.0).then(|| (now - before) / passed)
        };
        let of_interval = grown().zip(processors).map(|(used, processors)| used / processors);
        of_interval.or_else(|| readings.of_broker(Metric::ProcessCpuLoad, Attribute::Value))
    }

    /// The idle part of the request handlers.
    fn handlers_idle(&mut self, readings: &Readings, at: Duration) -> Option<f64> {
        let figure = |attribute| {
            let of_broker = readings.of_broker(Metric::BrokerRequestHandlerIdle, attribute);
            of_broker.or_else(|| readings.of_broker(Metric::RequestHandlerIdle, attribute))
        };
        let count = figure(Attribute::Count);
        let before = std::mem::replace(&mut self.idle, count.map(|count| (count, at)));
        figure(Attribute::OneMinuteRate).or_else(|| {
            let ((before, then), count) = (before?, count?);
            let nanoseconds = at.saturating_sub(then).as_nanos() as f64;
            // A count that fell began anew, nobody knows when.
            (count >= before && nanoseconds > 0.0).then(|| (count - before) / nanoseconds)
        })
    }
}

/// A part in percent. Kafka's means overshoot by a little.
fn percent(part: f64) -> f64 {
    part.clamp(0.0, 1.0) * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jvm::Scope;

    const MINUTE: Duration = Duration::from_secs(60);

    fn report() -> BrokerStats {
        BrokerStats::new(0, 1)
    }

    #[test]
    fn processor_use_is_told_in_percent() {
        let mut stats = report();
        let mut readings = Readings::default();
        readings.put(Metric::ProcessCpuLoad, Attribute::Value, Scope::Broker, 0.25).unwrap();
        Figures::default().put(&mut stats, &readings, MINUTE);
        assert_eq!((stats.cpu_usage, stats.process_cpu_percent), (25.0, 25.0));
    }

    #[test]
    fn processor_time_is_that_of_the_interval_where_it_is_told() {
        let mut figures = Figures::default();
        let mut read = |second, seconds, processors: Option<f64>, limit| {
            let mut readings = Readings::default();
            let mut put = |metric, value| {
                readings.put(metric, Attribute::Value, Scope::Broker, value).unwrap();
            };
            put(Metric::ProcessCpuSeconds, seconds);
            if let Some(processors) = processors {
                put(Metric::Processors, processors);
                put(Metric::ProcessCpuLoad, 0.9);
            }
            let mut stats = BrokerStats { cpu_limit: limit, ..report() };
            figures.put(&mut stats, &readings, Duration::from_secs(second));
            (stats.process_cpu_percent, stats.cpu_usage, stats.cpu_limit)
        };
        assert_eq!(read(0, 100.0, Some(4.0), -1.0), (90.0, 90.0, 4.0), "nothing to compare with");
        assert_eq!(read(10, 120.0, Some(4.0), -1.0), (50.0, 50.0, 4.0));
        assert_eq!(read(20, 5.0, Some(4.0), -1.0), (90.0, 90.0, 4.0), "another process");
        assert_eq!(read(30, 6.0, None, 2.0), (5.0, 5.0, 2.0), "the host knows how many there are");
        assert_eq!(read(40, 7.0, None, -1.0), (-1.0, 0.0, -1.0), "of how many is not known");
    }

    /// What a report says of the states after these readings, a second apart.
    fn states(readings: &[&[(Metric, Attribute, f64)]]) -> String {
        let mut figures = Figures::default();
        let mut stats = report();
        for (second, values) in (0..).zip(readings) {
            let mut readings = Readings::default();
            for (metric, attribute, value) in *values {
                readings.put(*metric, *attribute, Scope::Broker, *value).unwrap();
            }
            stats = report();
            figures.put(&mut stats, &readings, Duration::from_secs(second));
        }
        format!(
            "state {} recover {} handlers {} network {} queue {} under-replicated {}",
            stats.broker_state,
            stats.logs_to_recover,
            stats.request_handler_idle_percent,
            stats.network_processor_idle_percent,
            stats.request_queue_size,
            stats.under_replicated_partitions,
        )
    }

    #[test]
    fn states_are_told_as_far_as_they_are_known() {
        use Attribute::{Count, OneMinuteRate, Value};
        use Metric::{
            BrokerRequestHandlerIdle, BrokerState, LogsToRecover, NetworkProcessorIdle, RequestHandlerIdle,
            RequestQueueSize, UnderReplicated,
        };
        let unknown = "state -1 recover -1 handlers -1 network -1 queue -1 under-replicated -1";
        assert_eq!(states(&[&[]]), unknown);
        let all = [
            (BrokerState, Value, 2.0),
            (LogsToRecover, Value, 40.0),
            (RequestHandlerIdle, OneMinuteRate, 1.5),
            (BrokerRequestHandlerIdle, OneMinuteRate, 0.75),
            (NetworkProcessorIdle, Value, 1.01),
            (RequestQueueSize, Value, 7.0),
            (UnderReplicated, Value, 2.0),
        ];
        let told = "state 2 recover 40 handlers 75 network 100 queue 7 under-replicated 2";
        assert_eq!(states(&[&all]), told);
        let running = states(&[&[(BrokerState, Value, 3.0)]]);
        assert!(running.starts_with("state 3 recover 0 "), "{running}");
        // Exporters that tell the count alone.
        let count = |nanoseconds| [(RequestHandlerIdle, Count, nanoseconds)];
        assert!(states(&[&count(4e9), &count(4.25e9)]).contains("handlers 25 "));
        assert_eq!(states(&[&count(4e9), &count(1e9)]), unknown);
        assert_eq!(states(&[&count(4e9)]), unknown);
    }

    #[test]
    fn what_the_host_says_of_the_process_stands() {
        let mut stats = BrokerStats { process_cpu_percent: 7.0, cpu_usage: 7.0, ..report() };
        let mut readings = Readings::default();
        readings.put(Metric::ProcessCpuLoad, Attribute::Value, Scope::Broker, 0.25).unwrap();
        Figures::default().put(&mut stats, &readings, MINUTE);
        assert_eq!((stats.process_cpu_percent, stats.cpu_usage), (7.0, 7.0));
    }
}
