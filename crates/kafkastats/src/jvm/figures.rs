//! From the JVM's readings to BrokerStats. Plain functions, no I/O, no clock.
//!
//! # Bytes out
//! Kafka counts the bytes that consumers fetched for each topic, not for each partition, and does not count what
//! followers fetched. A topic's rate is made of its count, like the rates of bytes in; what a led replica has of it is
//! its share in the bytes produced to the topic's replicas led here, over one minute: what is produced is what most
//! consumers read. Where nothing is produced, or it is not known how much, the replicas share alike. The only replica
//! of its topic that is led here has all of it, and its figure is **exact**; others are **estimated**.
//!
//! A count that is lower than before began anew with the broker. A topic without a count was never consumed since then:
//! its count is zero, provided that the source tells counts of topics at all.
//!
//! # States
//! Idle parts are told in percent. That of the request handlers is the broker's own one-minute rate; where an exporter tells
//! only the count (nanoseconds of idle time of an average thread), its growth over the time that passed. Where one process
//! is broker and controller, the pool of the broker counts. A broker that runs has no log left to recover: Kafka takes
//! those MBeans away then.

use std::collections::BTreeMap;
use std::time::Duration;

use brokerstats::{BrokerStats, NOT_KNOWN, Quality};

use super::{Attribute, Metric, Readings};
use crate::rates::Rates;

/// Puts readings into reports; remembers what the next ones are compared with.
#[derive(Debug, Default)]
pub struct Figures {
    topics: BTreeMap<String, Counter>,
    /// The nanoseconds for which the request handlers were idle, and when they were read.
    idle: Option<(f64, Duration)>,
}

/// The state of a broker that has started and does not stop.
const RUNNING: i32 = 3;

/// The count of a topic when it was last read.
#[derive(Debug, Clone, Copy)]
struct Counter {
    count: f64,
    at: Duration,
    rates: Rates,
}

impl Counter {
    fn next(before: Option<Counter>, count: f64, at: Duration) -> Counter {
        let mut rates = Rates::default();
        if let Some(before) = before {
            rates = before.rates;
            let new = if count >= before.count { count - before.count } else { count };
            // A float converts to an integer by saturation.
            rates.update(new as u64, at.saturating_sub(before.at));
        }
        Counter { count, at, rates }
    }
}

/// The figures of three rates.
type Three = [i64; 3];

impl Figures {
    /// Puts what `readings`, read at `at`, say into a report that has its led replicas already. Readings must come in
    /// the order of their time, on a clock that never goes back.
    pub fn put(&mut self, stats: &mut BrokerStats, readings: &Readings, at: Duration) {
        self.put_states(stats, readings, at);
        let mut led: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, leader) in stats.leader_replica_stats.iter().enumerate() {
            led.entry(leader.topic.clone()).or_default().push(index);
        }
        let rates = self.rates(&led, readings, at);
        let mut totals: Option<Three> = None;
        for (topic, replicas) in led {
            let Some(rates) = rates.get(&topic) else { continue };
            for (total, rate) in totals.get_or_insert_default().iter_mut().zip(rates) {
                *total = total.saturating_add(*rate);
            }
            split(stats, &replicas, *rates);
            let [one, five, fifteen] = *rates;
            stats.topics_bytes_out_1_min_rate.insert(topic.clone(), one);
            stats.topics_bytes_out_5_min_rate.insert(topic.clone(), five);
            stats.topics_bytes_out_15_min_rate.insert(topic, fifteen);
        }
        if let Some([one, five, fifteen]) = totals {
            stats.leaders_bytes_out_1_min_rate = one;
            stats.leaders_bytes_out_5_min_rate = five;
            stats.leaders_bytes_out_15_min_rate = fifteen;
        }
    }

    fn put_states(&mut self, stats: &mut BrokerStats, readings: &Readings, at: Duration) {
        let value = |metric| readings.of_broker(metric, Attribute::Value);
        // What the host says of the process is read over the whole interval, and not at one moment.
        if let Some(load) = value(Metric::ProcessCpuLoad)
            && stats.process_cpu_percent < 0.0
        {
            stats.process_cpu_percent = percent(load);
            stats.cpu_usage = percent(load);
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

    /// The rates of the led topics, as far as they are known.
    fn rates(
        &mut self,
        led: &BTreeMap<String, Vec<usize>>,
        readings: &Readings,
        at: Duration,
    ) -> BTreeMap<String, Three> {
        let counts: BTreeMap<&str, f64> = readings.of_topics(Metric::BytesOut, Attribute::Count).collect();
        let of_broker = readings.of_broker(Metric::BytesOut, Attribute::Count);
        // Totals alone, as some rules export them, say nothing of topics; a total of zero does. A reading takes its time,
        // and lists the MBeans before it reads them: the first ones of topics may be made in between, and only the total
        // tell of them. What was known of topics stands, so that the next reading counts from there.
        if counts.is_empty() && of_broker != Some(0.0) {
            return BTreeMap::new();
        }
        let mut topics = BTreeMap::new();
        for topic in led.keys() {
            let before = self.topics.get(topic).copied();
            let counter = match (counts.get(topic.as_str()), before) {
                (Some(count), before) => Counter::next(before, *count, at),
                // Its MBean could not be read this time: such do not go while the topic is here.
                (None, Some(before)) if before.count > 0.0 => before,
                (None, before) => Counter::next(before, 0.0, at),
            };
            topics.insert(topic.clone(), counter);
        }
        self.topics = topics;
        let known = self
            .topics
            .iter()
            .filter_map(|(topic, counter)| Some((topic.clone(), counter.rates.per_second()?)));
        known.collect()
    }
}

/// A part in percent. Kafka's means overshoot by a little.
fn percent(part: f64) -> f64 {
    part.clamp(0.0, 1.0) * 100.0
}

/// Shares the rates of a topic out to its led replicas.
fn split(stats: &mut BrokerStats, replicas: &[usize], rates: Three) {
    let produced: Vec<i64> = replicas
        .iter()
        .map(|index| {
            stats.leader_replica_stats.get(*index).map_or(NOT_KNOWN, |leader| leader.bytes_in_1_min_mean_rate)
        })
        .collect();
    let are_known = produced.iter().all(|rate| *rate >= 0);
    let sum: f64 = produced.iter().map(|rate| *rate as f64).sum();
    let weights: Vec<f64> = match are_known && sum > 0.0 {
        true => produced.iter().map(|rate| *rate as f64 / sum).collect(),
        false => vec![1.0 / replicas.len() as f64; replicas.len()],
    };
    let parts = rates.map(|rate| parts(rate, &weights));
    let quality = if replicas.len() == 1 { Quality::Exact } else { Quality::Estimated };
    for (place, index) in replicas.iter().enumerate() {
        let [one, five, fifteen] =
            parts.each_ref().map(|parts| parts.get(place).copied().unwrap_or(NOT_KNOWN));
        if let Some(leader) = stats.leader_replica_stats.get_mut(*index) {
            leader.bytes_out_1_min_mean_rate = one;
            leader.bytes_out_5_min_mean_rate = five;
            leader.bytes_out_15_min_mean_rate = fifteen;
        }
        if let Some(place) = stats.leader_bytes_out_quality.get_mut(*index) {
            *place = quality;
        }
    }
}

/// Parts of `whole` in the ratio of `weights` that are together exactly `whole`: each is the difference of two rounded
/// sums.
fn parts(whole: i64, weights: &[f64]) -> Vec<i64> {
    let (mut sum, mut given) = (0.0, 0);
    let last = weights.len().saturating_sub(1);
    let part = |(index, weight): (usize, &f64)| {
        sum += weight;
        let upto = if index == last { whole } else { (whole as f64 * sum).round() as i64 };
        let part = upto - given;
        given = upto;
        part
    };
    weights.iter().enumerate().map(part).collect()
}

#[cfg(test)]
mod tests {
    use brokerstats::ReplicaStat;
    use proptest::prelude::*;

    use super::*;
    use crate::jvm::Scope;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A report with these led replicas: topic, and bytes produced a second.
    fn report(leaders: &[(&str, i64)]) -> BrokerStats {
        let leaders_bytes_out_1_min_rate = NOT_KNOWN;
        let mut stats = BrokerStats { leaders_bytes_out_1_min_rate, ..BrokerStats::new(0, 1) };
        for (topic, rate) in leaders {
            let leader = ReplicaStat {
                topic: (*topic).to_owned(),
                bytes_in_1_min_mean_rate: *rate,
                bytes_out_1_min_mean_rate: NOT_KNOWN,
                ..ReplicaStat::default()
            };
            stats.leader_replica_stats.push(leader);
            stats.leader_bytes_out_quality.push(Quality::Unknown);
        }
        stats
    }

    fn readings(total: f64, topics: &[(&str, f64)]) -> Readings {
        let mut readings = Readings::default();
        readings.put(Metric::BytesOut, Attribute::Count, Scope::Broker, total).unwrap();
        for (topic, count) in topics {
            let scope = Scope::Topic((*topic).to_owned());
            readings.put(Metric::BytesOut, Attribute::Count, scope, *count).unwrap();
        }
        readings
    }

    /// The rate and quality of each led replica after a minute between two readings.
    fn after(
        figures: &mut Figures,
        leaders: &[(&str, i64)],
        before: &Readings,
        now: &Readings,
    ) -> (Vec<i64>, Vec<Quality>, i64) {
        figures.put(&mut report(leaders), before, MINUTE);
        let mut stats = report(leaders);
        figures.put(&mut stats, now, 2 * MINUTE);
        let rates = stats.leader_replica_stats.iter().map(|leader| leader.bytes_out_1_min_mean_rate);
        (rates.collect(), stats.leader_bytes_out_quality, stats.leaders_bytes_out_1_min_rate)
    }

    #[test]
    fn a_topic_s_bytes_out_are_shared_as_its_bytes_in_are() {
        let leaders = [("t", 300), ("t", 100), ("u", 5)];
        let (before, now) = (readings(9e3, &[("t", 1e3)]), readings(9e3, &[("t", 25e3), ("u", 600.0)]));
        let (rates, qualities, total) = after(&mut Figures::default(), &leaders, &before, &now);
        assert_eq!(rates, [300, 100, 10]);
        assert_eq!(qualities, [Quality::Estimated, Quality::Estimated, Quality::Exact]);
        assert_eq!(total, 410);
    }

    #[test]
    fn where_nothing_is_produced_replicas_share_alike() {
        for rate in [0, NOT_KNOWN] {
            let leaders = [("t", rate), ("t", rate), ("t", rate)];
            let (before, now) = (readings(1.0, &[("t", 1.0)]), readings(1.0, &[("t", 6_001.0)]));
            let (rates, _, total) = after(&mut Figures::default(), &leaders, &before, &now);
            assert_eq!((rates, total), (vec![33, 34, 33], 100));
        }
    }

    #[test]
    fn a_count_that_fell_began_anew() {
        let (before, now) = (readings(9e6, &[("t", 9e6)]), readings(600.0, &[("t", 600.0)]));
        let (rates, _, _) = after(&mut Figures::default(), &[("t", 1)], &before, &now);
        assert_eq!(rates, [10]);
    }

    #[test]
    fn a_count_that_is_missing_for_once_makes_neither_a_gap_nor_a_peak() {
        let leaders = [("t", 1)];
        let mut figures = Figures::default();
        let (before, now) = (readings(0.0, &[("t", 6e6)]), readings(0.0, &[("t", 6e6 + 600.0)]));
        let (rates, _, _) = after(&mut figures, &leaders, &before, &now);
        assert_eq!(rates, [10]);
        let mut at = 2 * MINUTE;
        for now in [readings(1.0, &[("u", 1.0)]), readings(1.0, &[("t", 6e6 + 1_800.0)])] {
            at += MINUTE;
            let mut stats = report(&leaders);
            figures.put(&mut stats, &now, at);
            assert_eq!(stats.leader_replica_stats[0].bytes_out_1_min_mean_rate, 10);
        }
    }

    #[test]
    fn the_first_reading_gives_no_rate() {
        let mut stats = report(&[("t", 1)]);
        Figures::default().put(&mut stats, &readings(5.0, &[("t", 5.0)]), MINUTE);
        assert_eq!(stats.leader_replica_stats[0].bytes_out_1_min_mean_rate, NOT_KNOWN);
        assert_eq!(stats.leader_bytes_out_quality, [Quality::Unknown]);
        assert_eq!(stats.leaders_bytes_out_1_min_rate, NOT_KNOWN);
        assert!(stats.topics_bytes_out_1_min_rate.is_empty());
    }

    #[test]
    fn totals_alone_say_nothing_of_topics_unless_they_are_zero() {
        let total = readings(600.0, &[]);
        let (rates, qualities, _) = after(&mut Figures::default(), &[("t", 1)], &total, &total);
        assert_eq!((rates, qualities), (vec![NOT_KNOWN], vec![Quality::Unknown]));
        let zero = readings(0.0, &[]);
        let (rates, qualities, _) = after(&mut Figures::default(), &[("t", 1)], &zero, &zero);
        assert_eq!((rates, qualities), (vec![0], vec![Quality::Exact]));
    }

    #[test]
    fn what_only_the_total_tells_at_first_is_counted_with_the_next_reading() {
        let mut figures = Figures::default();
        let mut told = Vec::new();
        for (minute, now) in (1..).zip([
            readings(0.0, &[]),
            readings(0.0, &[]),
            readings(600.0, &[]),
            readings(1_200.0, &[("t", 1_200.0)]),
        ]) {
            let mut stats = report(&[("t", 1)]);
            figures.put(&mut stats, &now, minute * MINUTE);
            told.push(stats.leader_replica_stats[0].bytes_out_1_min_mean_rate);
        }
        // 10 bytes a second over two minutes: 1 - e^-2 of it.
        assert_eq!(told, [NOT_KNOWN, 0, NOT_KNOWN, 9]);
    }

    #[test]
    fn processor_use_is_told_in_percent() {
        let mut stats = report(&[]);
        let mut readings = Readings::default();
        readings.put(Metric::ProcessCpuLoad, Attribute::Value, Scope::Broker, 0.25).unwrap();
        Figures::default().put(&mut stats, &readings, MINUTE);
        assert_eq!((stats.cpu_usage, stats.process_cpu_percent), (25.0, 25.0));
    }

    /// What a report says of the states after these readings, a second apart.
    fn states(readings: &[&[(Metric, Attribute, f64)]]) -> String {
        let mut figures = Figures::default();
        let mut stats = report(&[]);
        for (second, values) in (0..).zip(readings) {
            let mut readings = Readings::default();
            for (metric, attribute, value) in *values {
                readings.put(*metric, *attribute, Scope::Broker, *value).unwrap();
            }
            stats = report(&[]);
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
        let mut stats = BrokerStats { process_cpu_percent: 7.0, cpu_usage: 7.0, ..report(&[]) };
        let mut readings = Readings::default();
        readings.put(Metric::ProcessCpuLoad, Attribute::Value, Scope::Broker, 0.25).unwrap();
        Figures::default().put(&mut stats, &readings, MINUTE);
        assert_eq!((stats.process_cpu_percent, stats.cpu_usage), (7.0, 7.0));
    }

    proptest! {
        #[test]
        fn parts_are_together_the_whole(whole in 0..i64::MAX >> 12, produced in prop::collection::vec(0_i64..1_000_000, 1..20)) {
            let sum: f64 = produced.iter().map(|rate| *rate as f64).sum::<f64>().max(1.0);
            let weights: Vec<f64> = produced.iter().map(|rate| *rate as f64 / sum).collect();
            let parts = parts(whole, &weights);
            prop_assert_eq!(parts.iter().sum::<i64>(), whole);
            prop_assert!(parts.iter().all(|part| *part >= 0), "{:?}", parts);
        }
    }
}
