//! Clusters from a seed, for measuring how planning scales.

use planner::balance::{Broker, Cluster, ClusterError, Mark, Partition, Replica};

/// What a generated cluster is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Number of brokers.
    pub brokers: u32,
    /// Number of racks; broker ids go round them.
    pub racks: u32,
    /// Number of topics. A few are large, most are small.
    pub topics: u32,
    /// Number of replicas, about.
    pub replicas: u32,
    /// Replicas of each partition.
    pub factor: u32,
    /// How replicas lean to the last brokers: the last holds e^skew times as many as the first. 0: evenly.
    pub skew: f64,
    /// Whether each replica of a partition has a load of its own, exponentially distributed around its topic's mean, and each resource
    /// a mean of its own, as in recorded clusters. Else replicas of a partition weigh the same, and what is much of one resource is of all.
    pub apart: bool,
    /// The same seed gives the same cluster.
    pub seed: u64,
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In (0, 1).
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Of mean 1, exponentially distributed.
    fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }
}

/// Parts of the mean load of a broker that it can carry: CPU, inbound and outbound network, disk. Outbound has room for a
/// broker that leads all it holds.
const ROOM: [f64; 4] = [2.5, 2.5, 6.0, 2.5];
/// Mean loads of a replica in the planner's unit: a small part of a percent, and of what is common in KB/s and MB.
const MEAN: [f64; 4] = [1e7, 1e8, 1e8, 1e8];

/// Makes a cluster.
///
/// # Errors
/// Where brokers, racks or replicas do not go together: fewer brokers than replicas of a partition.
pub fn generate(shape: &Shape) -> Result<Cluster, ClusterError> {
    let mut dice = Dice(shape.seed);
    let mut builder = Cluster::builder(shape.topics);
    let per_broker = f64::from(shape.replicas) / f64::from(shape.brokers.max(1));
    for broker in 0..shape.brokers {
        let capacity = [0, 1, 2, 3].map(|r| (MEAN[r] * per_broker * ROOM[r]) as i64);
        builder.add_broker(&Broker {
            rack: broker % shape.racks.max(1),
            set: None,
            capacity,
            alive: true,
            takes_replicas: true,
            takes_leadership: true,
            mark: Mark::None,
        })?;
    }
    let weights: Vec<f64> = (0..shape.topics).map(|_| dice.exponential() + 0.02).collect();
    let all: f64 = weights.iter().sum();
    let partitions = f64::from(shape.replicas) / f64::from(shape.factor.max(1));
    for (topic, weight) in (0..).zip(&weights) {
        // Drawn first in any case, so that what stands where is the same.
        let popularity = dice.exponential() + 0.1;
        let means = shape.apart.then(|| MEAN.map(|mean| mean * dice.exponential()));
        for _ in 0..((partitions * weight / all).round() as u64).max(1) {
            let load = means.map_or_else(|| Load::Alike(popularity / 1.1), Load::Apart);
            builder.add_partition(&partition(shape, &mut dice, topic, load))?;
        }
    }
    Ok(builder.build())
}

/// What replicas of a topic take.
#[derive(Clone, Copy)]
enum Load {
    /// So many times the mean of all, alike in a partition.
    Alike(f64),
    /// Each by itself around these means.
    Apart([f64; 4]),
}

fn partition(shape: &Shape, dice: &mut Dice, topic: u32, load: Load) -> Partition {
    let mut brokers: Vec<u32> = Vec::with_capacity(shape.factor as usize);
    while brokers.len() < shape.factor.min(shape.brokers) as usize {
        // The inverse of the distribution with density e^(skew x).
        let u = dice.unit();
        let x = if shape.skew > 0.0 { (1.0 + u * shape.skew.exp_m1()).ln() / shape.skew } else { u };
        let broker = ((x * f64::from(shape.brokers)) as u32).min(shape.brokers - 1);
        if !brokers.contains(&broker) {
            brokers.push(broker);
        }
    }
    let (replicas, leader_cpu, leader_network_out) = match load {
        Load::Alike(mean) => alike(shape, dice, mean, &brokers),
        Load::Apart(means) => apart(shape, dice, &means, &brokers),
    };
    Partition { topic, replicas, leader: 0, leader_cpu, leader_network_out, frozen: false }
}

/// Replicas that weigh the same, and what leading adds of CPU and outbound network.
fn alike(shape: &Shape, dice: &mut Dice, mean: f64, brokers: &[u32]) -> (Vec<Replica>, i64, i64) {
    let load = [0, 1, 2, 3].map(|r| MEAN[r] * mean * (0.3 + 0.7 * dice.exponential()));
    // A third of CPU follows; what consumers read leaves through the leader alone.
    let follows = [(load[0] * 0.6) as i64, load[1] as i64, 0, load[3] as i64];
    let replicas = brokers.iter().map(|broker| Replica { broker: *broker, load: follows });
    (replicas.collect(), (load[0] * 1.2) as i64, (load[2] * f64::from(shape.factor)) as i64)
}

/// The same of replicas that differ. What part of its CPU the leader keeps as a follower is by Cruise Control's weights of the
/// bytes that go in and out.
fn apart(shape: &Shape, dice: &mut Dice, means: &[f64; 4], brokers: &[u32]) -> (Vec<Replica>, i64, i64) {
    let (mut replicas, mut leader_cpu, mut out) = (Vec::with_capacity(brokers.len()), 0, 0.0);
    for (at, broker) in brokers.iter().enumerate() {
        let [mut cpu, inbound, read, disk] = means.map(|mean| mean * dice.exponential());
        if at == 0 {
            out = read * f64::from(shape.factor);
            let follows = cpu * 0.15 * inbound / (0.7 * inbound + 0.15 * out);
            leader_cpu = (cpu - follows) as i64;
            cpu = follows;
        }
        replicas.push(Replica { broker: *broker, load: [cpu as i64, inbound as i64, 0, disk as i64] });
    }
    (replicas, leader_cpu, out as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Shape = Shape {
        brokers: 12,
        racks: 4,
        topics: 30,
        replicas: 3_000,
        factor: 3,
        skew: 2.0,
        apart: false,
        seed: 7,
    };

    #[test]
    fn a_seed_says_it_all() {
        let cluster = generate(&SMALL).unwrap();
        assert_eq!(cluster, generate(&SMALL).unwrap());
        assert_ne!(cluster, generate(&Shape { seed: 8, ..SMALL }).unwrap());
        assert!(cluster.replica_count().abs_diff(3_000) < 100, "{}", cluster.replica_count());
    }

    #[test]
    fn skew_leans_to_the_last_broker() {
        let held = |skew: f64| {
            let cluster = generate(&Shape { skew, ..SMALL }).unwrap();
            let mut held = [0_usize; 12];
            for partition in 0..cluster.partitions() {
                for broker in cluster.replicas(partition) {
                    held[*broker as usize] += 1;
                }
            }
            held
        };
        let (even, leaning) = (held(0.0), held(2.0));
        assert!(even.iter().all(|held| (180..330).contains(held)), "{even:?}");
        assert!(leaning[11] > 3 * leaning[0], "{leaning:?}");
    }

    #[test]
    fn replicas_differ_where_they_are_drawn_apart_and_take_as_much_together() {
        let (alike, apart) =
            (generate(&SMALL).unwrap(), generate(&Shape { apart: true, topics: 600, ..SMALL }).unwrap());
        let differ = |cluster: &Cluster| {
            let own = |p: &u32| cluster.loads(*p).windows(2).all(|pair| pair[0][3] != pair[1][3]);
            (0..cluster.partitions()).filter(own).count()
        };
        assert_eq!(differ(&alike), 0);
        assert!(differ(&apart) + 5 > apart.partitions() as usize);
        for (resource, mean) in MEAN.iter().enumerate() {
            let sum = apart.total()[resource] as f64 / apart.replica_count() as f64;
            assert!((0.8..1.25).contains(&(sum / mean)), "{resource}: {}", sum / mean);
        }
    }
}
