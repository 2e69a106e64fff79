//! The bytes that consumers fetched, for each led replica. Plain functions, no I/O, no clock.
//!
//! Kafka counts them for each topic, not for each partition, and does not count what followers fetched. What a topic's count
//! grew by in an interval is shared out by the bytes that were produced to its led replicas in that interval: what is
//! produced is what most consumers read. Where nothing was produced, the one-minute rates of bytes in tell, then all
//! share alike. Each replica's rates are made of its own shares and go with the leadership, so that what another
//! replica had is not inherited.
//!
//! * A replica that was led before and is no longer was so for some part of the interval; half of the share that it
//!   had is taken to be its own.
//! * A replica that came since, of which it is not known what was produced, has no figure, and the others share as if it were
//!   not there.
//! * A figure is **exact** where the replica was the only one of its topic that was led, at both ends of the interval, and
//!   the broker follows no other: consumers may fetch from followers (KIP-392), and Kafka counts that for the topic
//!   too. Its rates begin anew with the first such interval, so that no guess is left in them. Others are **estimated**.
//!
//! A count that is lower than before began anew with the broker. A topic without a count was never consumed since then:
//! its count is zero, provided that the counts of topics account for what the broker as a whole counted. Some
//! exporters write a topic's dots as underscores; such a count is taken where only one topic here can be meant.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use brokerstats::{BrokerStats, Quality};

use super::{Attribute, Metric, Readings};
use crate::rates::Rates;

/// What the broker as a whole counted may be this part more than what its topics did, before counts are taken to be
/// missing: readings are not of one moment.
const UNACCOUNTED_PART: f64 = 0.1;
/// And this many bytes: requests that were answered while the figures were read.
const UNACCOUNTED_BYTES: f64 = 65_536.0;

/// Shares bytes out to led replicas; remembers what the next readings are compared with.
#[derive(Debug, Default)]
pub(super) struct BytesOut {
    /// The counts of all topics that were told at the last reading.
    told: BTreeMap<String, f64>,
    /// The count of the broker as a whole at the last reading.
    of_broker: Option<f64>,
    /// Counts of the topics that were led, and when each was read.
    counters: BTreeMap<String, (f64, Duration)>,
    shares: BTreeMap<String, Shares>,
}

/// The shares of a topic's led replicas, in the order of their partitions. A list, and no map: a map takes room for eleven,
/// and most topics of a broker have one.
type Shares = Vec<(i32, Share)>;

fn of(shares: &[(i32, Share)], partition: i32) -> Option<&Share> {
    let found = shares.binary_search_by_key(&partition, |(number, _)| *number).ok()?;
    shares.get(found).map(|(_, share)| share)
}

/// What a led replica has of its topic's bytes out.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    rates: Rates,
    /// Its part of the topic in the last interval.
    part: f64,
    /// Whether all intervals in `rates` were exact.
    is_exact: bool,
}

/// By how much a topic's count grew, and over which time; `None` if that is not known yet.
type Growth = Option<(u64, Duration)>;

impl BytesOut {
    /// Puts what `readings`, read at `at`, say into a report that has its led replicas and their bytes in.
    pub(super) fn put(&mut self, stats: &mut BrokerStats, readings: &Readings, at: Duration) {
        let mut led: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, leader) in stats.leader_replica_stats.iter().enumerate() {
            led.entry(leader.topic.clone()).or_default().push(index);
        }
        // A report has them in the order of partitions; nothing here rests on others keeping to it.
        for replicas in led.values_mut() {
            replicas
                .sort_by_key(|index| stats.leader_replica_stats.get(*index).map(|leader| leader.partition));
        }
        let Some(growths) = self.growths(stats, &led, readings, at) else { return };
        let followed: BTreeSet<String> = stats
            .follower_replicas
            .iter()
            .map(|replica| &replica.topic)
            .filter(|topic| led.contains_key(*topic))
            .cloned()
            .collect();
        let mut shares = BTreeMap::new();
        let mut totals: Option<[i64; 3]> = None;
        for (topic, growth) in growths {
            let Some(replicas) = led.get(&topic) else { continue };
            let before = self.shares.remove(&topic).unwrap_or_default();
            let now = share_out(stats, replicas, followed.contains(&topic), &before, growth);
            if let Some(rates) = put_topic(stats, &topic, replicas, &now) {
                for (total, rate) in totals.get_or_insert_default().iter_mut().zip(rates) {
                    *total = total.saturating_add(rate);
                }
            }
            shares.insert(topic, now);
        }
        self.shares = shares;
        if let Some([one, five, fifteen]) = totals {
            stats.leaders_bytes_out_1_min_rate = one;
            stats.leaders_bytes_out_5_min_rate = five;
            stats.leaders_bytes_out_15_min_rate = fifteen;
        }
    }

    /// By how much the count of each led topic grew; without the topics of which nothing is known. `None` where the
    /// readings say nothing of topics: what is remembered stands.
    fn growths(
        &mut self,
        stats: &BrokerStats,
        led: &BTreeMap<String, Vec<usize>>,
        readings: &Readings,
        at: Duration,
    ) -> Option<BTreeMap<String, Growth>> {
        let told: BTreeMap<String, f64> = readings
            .of_topics(Metric::BytesOut, Attribute::Count)
            .map(|(topic, count)| (topic.to_owned(), count))
            .collect();
        let of_broker = readings.of_broker(Metric::BytesOut, Attribute::Count);
        // Totals alone, as some rules export them, say nothing of topics; a total of zero does. A reading takes its time,
        // and lists the MBeans before it reads them: the first ones of topics may be made in between, and only the total
        // tell of them.
        if told.is_empty() && of_broker != Some(0.0) {
            return None;
        }
        let counts_are_all = self.accounts_for(&told, of_broker);
        let renamed = underscored(stats, &told);
        let mut counters = BTreeMap::new();
        let mut growths = BTreeMap::new();
        for topic in led.keys() {
            let before = self.counters.get(topic).copied();
            let count = told.get(topic).or_else(|| told.get(renamed.get(topic)?)).copied();
            let count = match (count, before) {
                (Some(count), _) => count,
                // Its MBean could not be read this time: such do not go while the topic is here.
                (None, Some(stands @ (before, _))) if before > 0.0 => {
                    counters.insert(topic.clone(), stands);
                    growths.insert(topic.clone(), None);
                    continue;
                }
                (None, _) if counts_are_all => 0.0,
                (None, _) => continue,
            };
            // A float converts to an integer by saturation.
            let growth = before.map(|(before, then)| (grown(before, count) as u64, at.saturating_sub(then)));
            growths.insert(topic.clone(), growth);
            counters.insert(topic.clone(), (count, at));
        }
        self.counters = counters;
        self.told = told;
        self.of_broker = of_broker;
        Some(growths)
    }

    /// Whether the counts of topics grew by about as much as that of the broker as a whole. Where the whole is not told, nobody
    /// knows what is missing: an exporter's rules may leave topics out.
    fn accounts_for(&self, told: &BTreeMap<String, f64>, of_broker: Option<f64>) -> bool {
        let Some(now) = of_broker else { return false };
        let Some(before) = self.of_broker else { return true };
        let whole = grown(before, now);
        let before = |topic| self.told.get(topic).copied().unwrap_or(0.0);
        let topics: f64 = told.iter().map(|(topic, now)| grown(before(topic), *now)).sum();
        whole - topics <= UNACCOUNTED_BYTES.max(whole * UNACCOUNTED_PART)
    }
}

fn grown(before: f64, now: f64) -> f64 {
    if now >= before { now - before } else { now }
}

/// Under which name with underscores the count of a topic with dots is told, where that can be no other topic's.
fn underscored(stats: &BrokerStats, told: &BTreeMap<String, f64>) -> BTreeMap<String, String> {
    let replicas = stats.leader_replicas.iter().chain(&stats.follower_replicas).map(|at| &at.topic);
    let led = stats.leader_replica_stats.iter().map(|leader| &leader.topic);
    let here: BTreeSet<&String> = replicas.chain(led).collect();
    // Most exporters leave names as they are: then each is a topic's, and no other can be meant.
    if told.keys().all(|name| here.contains(name)) {
        return BTreeMap::new();
    }
    let mut meant: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for topic in here {
        meant.entry(topic.replace('.', "_")).or_default().push(topic);
    }
    let sole = meant.into_iter().filter_map(|(name, topics)| match topics.as_slice() {
        [topic] if told.contains_key(&name) => Some(((*topic).clone(), name)),
        _ => None,
    });
    sole.collect()
}

/// Shares the growth of a topic out to its led replicas.
fn share_out(
    stats: &BrokerStats,
    replicas: &[usize],
    is_followed: bool,
    before: &[(i32, Share)],
    growth: Growth,
) -> Shares {
    let numbers: Vec<i32> = replicas
        .iter()
        .filter_map(|index| stats.leader_replica_stats.get(*index).map(|leader| leader.partition))
        .collect();
    let Some((count, interval)) = growth else {
        let stands = |number: &i32| (*number, of(before, *number).copied().unwrap_or_default());
        return numbers.iter().map(stands).collect();
    };
    let is_exact = !is_followed && numbers.len() == 1 && before.iter().map(|(number, _)| number).eq(&numbers);
    let left = before.iter().filter(|(number, _)| numbers.binary_search(number).is_err());
    let of_left: f64 = left.map(|(_, share)| share.part / 2.0).sum();
    let weights = weights(stats, replicas, before);
    let known: Vec<f64> = weights.iter().map(|weight| weight.unwrap_or(0.0)).collect();
    // A float converts to an integer by saturation.
    let count = (count as f64 * (1.0 - of_left.min(1.0))).round() as i64;
    let parts = parts(count, &known);
    let mut shares = Vec::with_capacity(numbers.len());
    for ((number, weight), part) in numbers.into_iter().zip(weights).zip(parts) {
        let Some(weight) = weight else { continue };
        let mut share = of(before, number).copied().unwrap_or_default();
        if is_exact && !share.is_exact {
            share.rates = Rates::default();
        }
        share.rates.update(u64::try_from(part).unwrap_or(0), interval);
        shares.push((number, Share { part: weight, is_exact, ..share }));
    }
    shares
}

/// What each led replica has of its topic, together one; `None` for those of which nothing can be said.
fn weights(stats: &BrokerStats, replicas: &[usize], before: &[(i32, Share)]) -> Vec<Option<f64>> {
    let seconds = stats.interval_ms as f64 / 1000.0;
    let rate = |index: &usize| {
        let leader = stats.leader_replica_stats.get(*index)?;
        Some(leader.bytes_in_1_min_mean_rate).filter(|rate| *rate >= 0).map(|rate| rate as f64 * seconds)
    };
    let produced = |index: &usize| {
        let bytes = stats.leader_bytes_in.get(*index).copied().filter(|bytes| *bytes >= 0);
        bytes.map(|bytes| bytes as f64).or_else(|| rate(index))
    };
    // Of a replica that has been led all along: its part is known to be one of the topic's.
    let alike = |index: &usize| {
        let leader = stats.leader_replica_stats.get(*index)?;
        of(before, leader.partition).map(|_| 1.0)
    };
    let (by_produced, by_rate, by_number): (Vec<_>, Vec<_>, Vec<_>) = (
        replicas.iter().map(produced).collect(),
        replicas.iter().map(rate).collect(),
        replicas.iter().map(alike).collect(),
    );
    for weights in [by_produced, by_rate, by_number] {
        let sum: f64 = weights.iter().flatten().sum();
        if sum > 0.0 {
            return weights.into_iter().map(|weight| weight.map(|weight| weight / sum)).collect();
        }
    }
    vec![None; replicas.len()]
}

/// Puts the rates of a topic's replicas into the report; tells what they are together, if any is known.
fn put_topic(
    stats: &mut BrokerStats,
    topic: &str,
    replicas: &[usize],
    shares: &[(i32, Share)],
) -> Option<[i64; 3]> {
    let mut sums: Option<[i64; 3]> = None;
    for index in replicas {
        let Some(leader) = stats.leader_replica_stats.get_mut(*index) else { continue };
        let Some(share) = of(shares, leader.partition) else { continue };
        let Some(rates) = share.rates.per_second() else { continue };
        for (sum, rate) in sums.get_or_insert_default().iter_mut().zip(rates) {
            *sum = sum.saturating_add(rate);
        }
        [
            leader.bytes_out_1_min_mean_rate,
            leader.bytes_out_5_min_mean_rate,
            leader.bytes_out_15_min_mean_rate,
        ] = rates;
        if let Some(quality) = stats.leader_bytes_out_quality.get_mut(*index) {
            *quality = if share.is_exact { Quality::Exact } else { Quality::Estimated };
        }
    }
    let [one, five, fifteen] = sums?;
    stats.topics_bytes_out_1_min_rate.insert(topic.to_owned(), one);
    stats.topics_bytes_out_5_min_rate.insert(topic.to_owned(), five);
    stats.topics_bytes_out_15_min_rate.insert(topic.to_owned(), fifteen);
    sums
}

/// Parts of `whole` in the ratio of `weights`, which are together one, that are together exactly `whole`: each is the
/// difference of two rounded sums.
fn parts(whole: i64, weights: &[f64]) -> Vec<i64> {
    let (mut sum, mut given) = (0.0, 0);
    let last = weights.iter().rposition(|weight| *weight > 0.0);
    let part = |(index, weight): (usize, &f64)| {
        sum += weight;
        let upto =
            if last.is_some_and(|last| index >= last) { whole } else { (whole as f64 * sum).round() as i64 };
        let part = upto - given;
        given = upto;
        part
    };
    weights.iter().enumerate().map(part).collect()
}

#[cfg(test)]
mod tests {
    use brokerstats::{NOT_KNOWN, ReplicaStat, TopicPartition};
    use proptest::prelude::*;

    use super::*;
    use crate::jvm::Scope;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A report with these led replicas: topic, partition, and bytes produced a second.
    fn report(leaders: &[(&str, i32, i64)]) -> BrokerStats {
        let leaders_bytes_out_1_min_rate = NOT_KNOWN;
        let mut stats = BrokerStats { leaders_bytes_out_1_min_rate, ..BrokerStats::new(0, 1) };
        stats.interval_ms = 60_000;
        for (topic, partition, rate) in leaders {
            let leader = ReplicaStat {
                topic: (*topic).to_owned(),
                partition: *partition,
                bytes_in_1_min_mean_rate: *rate,
                bytes_out_1_min_mean_rate: NOT_KNOWN,
                ..ReplicaStat::default()
            };
            stats.leader_replica_stats.push(leader);
            stats.leader_bytes_in.push(if *rate < 0 { NOT_KNOWN } else { rate * 60 });
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
        figures: &mut BytesOut,
        leaders: &[(&str, i32, i64)],
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
        let leaders = [("t", 0, 300), ("t", 1, 100), ("u", 0, 5)];
        let (before, now) = (readings(9e3, &[("t", 1e3)]), readings(9e3, &[("t", 25e3), ("u", 600.0)]));
        let (rates, qualities, total) = after(&mut BytesOut::default(), &leaders, &before, &now);
        assert_eq!(rates, [300, 100, 10]);
        assert_eq!(qualities, [Quality::Estimated, Quality::Estimated, Quality::Exact]);
        assert_eq!(total, 410);
    }

    #[test]
    fn without_the_count_of_the_whole_broker_a_topic_that_is_not_told_is_not_known() {
        let of = |count: f64| {
            let mut readings = Readings::default();
            let scope = Scope::Topic("told".to_owned());
            readings.put(Metric::BytesOut, Attribute::Count, scope, count).unwrap();
            readings
        };
        let leaders = [("told", 0, 5), ("left-out", 0, 5)];
        let (rates, qualities, _) = after(&mut BytesOut::default(), &leaders, &of(0.0), &of(600.0));
        assert_eq!(rates, [10, NOT_KNOWN]);
        assert_eq!(qualities, [Quality::Exact, Quality::Unknown]);
    }

    #[test]
    fn where_nothing_is_produced_replicas_share_alike() {
        for rate in [0, NOT_KNOWN] {
            let leaders = [("t", 0, rate), ("t", 1, rate), ("t", 2, rate)];
            let (before, now) = (readings(1.0, &[("t", 1.0)]), readings(1.0, &[("t", 6_001.0)]));
            let (rates, _, total) = after(&mut BytesOut::default(), &leaders, &before, &now);
            assert_eq!((rates, total), (vec![33, 33, 33], 99));
        }
    }

    #[test]
    fn a_count_that_fell_began_anew() {
        let (before, now) = (readings(9e6, &[("t", 9e6)]), readings(600.0, &[("t", 600.0)]));
        let (rates, _, _) = after(&mut BytesOut::default(), &[("t", 0, 1)], &before, &now);
        assert_eq!(rates, [10]);
    }

    #[test]
    fn a_count_that_is_missing_for_once_makes_neither_a_gap_nor_a_peak() {
        let leaders = [("t", 0, 1)];
        let mut figures = BytesOut::default();
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
        let mut stats = report(&[("t", 0, 1)]);
        BytesOut::default().put(&mut stats, &readings(5.0, &[("t", 5.0)]), MINUTE);
        assert_eq!(stats.leader_replica_stats[0].bytes_out_1_min_mean_rate, NOT_KNOWN);
        assert_eq!(stats.leader_bytes_out_quality, [Quality::Unknown]);
        assert_eq!(stats.leaders_bytes_out_1_min_rate, NOT_KNOWN);
        assert!(stats.topics_bytes_out_1_min_rate.is_empty());
    }

    #[test]
    fn totals_alone_say_nothing_of_topics_unless_they_are_zero() {
        let total = readings(600.0, &[]);
        let (rates, qualities, _) = after(&mut BytesOut::default(), &[("t", 0, 1)], &total, &total);
        assert_eq!((rates, qualities), (vec![NOT_KNOWN], vec![Quality::Unknown]));
        let zero = readings(0.0, &[]);
        let (rates, qualities, _) = after(&mut BytesOut::default(), &[("t", 0, 1)], &zero, &zero);
        assert_eq!((rates, qualities), (vec![0], vec![Quality::Exact]));
    }

    #[test]
    fn what_only_the_total_tells_at_first_is_counted_with_the_next_reading() {
        let mut figures = BytesOut::default();
        let mut told = Vec::new();
        for (minute, now) in (1..).zip([
            readings(0.0, &[]),
            readings(0.0, &[]),
            readings(600.0, &[]),
            readings(1_200.0, &[("t", 1_200.0)]),
        ]) {
            let mut stats = report(&[("t", 0, 1)]);
            figures.put(&mut stats, &now, minute * MINUTE);
            told.push(stats.leader_replica_stats[0].bytes_out_1_min_mean_rate);
        }
        // 10 bytes a second over two minutes: 1 - e^-2 of it.
        assert_eq!(told, [NOT_KNOWN, 0, NOT_KNOWN, 9]);
    }

    /// What each report in turn says: partition, bytes out a second, quality. A minute lies between two.
    fn course(reports: Vec<(BrokerStats, Readings)>) -> Vec<String> {
        let mut figures = BytesOut::default();
        let mut told = Vec::new();
        for (minute, (mut stats, readings)) in (1..).zip(reports) {
            figures.put(&mut stats, &readings, minute * MINUTE);
            let shown = stats.leader_replica_stats.iter().zip(&stats.leader_bytes_out_quality).map(
                |(leader, quality)| {
                    format!(
                        "{}-{} {} {quality:?}",
                        leader.topic, leader.partition, leader.bytes_out_1_min_mean_rate
                    )
                },
            );
            told.push(shown.collect::<Vec<_>>().join(", "));
        }
        told
    }

    /// The count of `t` after so many minutes of 60,000 bytes each.
    fn steady(minutes: f64) -> Readings {
        readings(minutes * 6e4, &[("t", minutes * 6e4)])
    }

    #[test]
    fn what_a_replica_had_that_is_led_no_more_is_not_inherited() {
        let both = || report(&[("t", 0, 300), ("t", 1, 100)]);
        let one = || report(&[("t", 0, 300)]);
        let told = course(vec![
            (both(), steady(1.0)),
            (both(), steady(2.0)),
            // Consumers of t-1 are gone with it, half way through the minute.
            (one(), readings(0.0, &[("t", 2.0 * 6e4 + 52_500.0)])),
            (one(), readings(0.0, &[("t", 2.0 * 6e4 + 97_500.0)])),
        ]);
        assert_eq!(told[1..], ["t-0 750 Estimated, t-1 250 Estimated", "t-0 760 Estimated", "t-0 750 Exact"]);
    }

    #[test]
    fn one_that_comes_unknown_has_no_figure_and_does_not_level_the_others() {
        let two = || report(&[("t", 0, 300), ("t", 1, 100)]);
        let three = || report(&[("t", 0, 300), ("t", 1, 100), ("t", 2, NOT_KNOWN)]);
        let told = course(vec![(two(), steady(1.0)), (two(), steady(2.0)), (three(), steady(3.0))]);
        assert_eq!(told[2], "t-0 750 Estimated, t-1 250 Estimated, t-2 -1 Unknown");
        // One that came and went gets rates of its own.
        let back = || report(&[("t", 0, 100), ("t", 1, 100)]);
        let away = || report(&[("t", 0, 100)]);
        let mut reports = vec![(back(), steady(1.0)), (back(), steady(2.0)), (away(), steady(3.0))];
        reports.push((back(), steady(4.0)));
        assert!(course(reports)[3].ends_with("t-1 500 Estimated"));
    }

    #[test]
    fn what_consumers_may_fetch_from_a_follower_makes_the_figure_an_estimate() {
        let followed = || {
            let mut stats = report(&[("t", 0, 1)]);
            stats.follower_replicas.push(TopicPartition { topic: "t".to_owned(), partition: 1 });
            stats
        };
        assert_eq!(
            course(vec![(followed(), steady(1.0)), (followed(), steady(2.0))])[1],
            "t-0 1000 Estimated"
        );
        let alone = || report(&[("t", 0, 1)]);
        assert_eq!(course(vec![(alone(), steady(1.0)), (alone(), steady(2.0))])[1], "t-0 1000 Exact");
    }

    #[test]
    fn a_topic_without_a_count_is_unknown_where_counts_are_missing() {
        let led = || report(&[("t", 0, 1), ("u", 0, 1)]);
        let told = course(vec![
            (led(), readings(0.0, &[("t", 0.0)])),
            (led(), readings(1e6, &[("t", 6e5)])),
            (led(), readings(2e6, &[("t", 16e5)])),
            (led(), readings(3e6, &[("t", 26e5)])),
        ]);
        assert!(told[1].ends_with("u-0 -1 Unknown"), "{told:?}");
        assert!(told[3].ends_with("u-0 0 Exact"), "{told:?}");
    }

    #[test]
    fn a_count_with_underscores_is_that_of_the_one_topic_it_can_be() {
        let counts = |minutes: f64| readings(minutes * 6e4, &[("a_b", minutes * 6e4)]);
        let dotted = || report(&[("a.b", 0, 1)]);
        assert_eq!(course(vec![(dotted(), counts(1.0)), (dotted(), counts(2.0))])[1], "a.b-0 1000 Exact");
        let both = || report(&[("a.b", 0, 1), ("a_b", 0, 1)]);
        let told = course(vec![(both(), counts(1.0)), (both(), counts(2.0))]);
        assert_eq!(told[1], "a.b-0 0 Exact, a_b-0 1000 Exact");
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
