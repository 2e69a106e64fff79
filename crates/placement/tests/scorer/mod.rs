//! Judges a placement by Cruise Control's sixteen default goals from the files alone: in 64-bit floats, by the published
//! formulas, and without any code of ours.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::read::GzDecoder;

/// What is found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scored {
    /// By name, in order of priority.
    pub(crate) violated: Vec<String>,
    /// Replicas on brokers that did not hold their partition.
    pub(crate) replica_moves: u64,
    /// Partitions on the same brokers with another leader.
    pub(crate) leadership_moves: u64,
    /// Sizes of the replicas that moved.
    pub(crate) megabytes: f64,
    /// Brokers that are named twice in one list.
    pub(crate) duplicates: u64,
    /// Replicas on dead brokers.
    pub(crate) offline: u64,
}

const RESOURCES: usize = 4;
const NETWORK_OUT: usize = 2;
const CAPACITY: [(usize, &str, f64); RESOURCES] = [
    (3, "DiskCapacityGoal", 0.8),
    (1, "NetworkInboundCapacityGoal", 0.8),
    (2, "NetworkOutboundCapacityGoal", 0.8),
    (0, "CpuCapacityGoal", 0.7),
];
const USAGE: [(usize, &str); RESOURCES] = [
    (3, "DiskUsageDistributionGoal"),
    (1, "NetworkInboundUsageDistributionGoal"),
    (2, "NetworkOutboundUsageDistributionGoal"),
    (0, "CpuUsageDistributionGoal"),
];
/// A tenth around the mean, of which nine tenths are used.
const REACH: f64 = (1.10 - 1.0) * 0.9;
const TOPIC_REACH: f64 = (3.00 - 1.0) * 0.9;

struct Broker {
    rack: String,
    alive: bool,
    capacity: [f64; RESOURCES],
}

#[derive(Clone)]
struct Replica {
    broker: i32,
    leads: bool,
    load: [f64; RESOURCES],
    follower_cpu: f64,
    follower_out: f64,
}

type Key = (String, i32);

/// Lines of a file, zipped or not, without the first.
fn lines(path: &Path) -> Vec<String> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let reader: Box<dyn BufRead> = if path.extension().is_some_and(|extension| extension == "gz") {
        Box::new(BufReader::new(GzDecoder::new(file)))
    } else {
        Box::new(BufReader::new(file))
    };
    reader.lines().map(Result::unwrap).skip(1).collect()
}

fn cluster(folder: &Path) -> (BTreeMap<i32, Broker>, BTreeMap<Key, Vec<Replica>>) {
    let mut brokers = BTreeMap::new();
    for line in lines(&folder.join("brokers.csv")) {
        let f: Vec<&str> = line.split(',').collect();
        let capacity = [3, 4, 5, 6].map(|at| f[at].parse().unwrap());
        let broker = Broker { rack: f[1].to_owned(), alive: f[2] == "ALIVE", capacity };
        brokers.insert(f[0].parse().unwrap(), broker);
    }
    let mut partitions: BTreeMap<Key, Vec<Replica>> = BTreeMap::new();
    let zipped = folder.join("replicas.csv.gz");
    let path = if zipped.exists() { zipped } else { folder.join("replicas.csv") };
    for line in lines(&path) {
        let f: Vec<&str> = line.split(',').collect();
        let number = |at: usize| f[at].parse::<f64>().unwrap();
        let replica = Replica {
            broker: f[3].parse().unwrap(),
            leads: f[4] == "1",
            load: [number(5), number(6), number(7), number(8)],
            follower_cpu: number(9),
            follower_out: number(10),
        };
        partitions.entry((f[0].to_owned(), f[1].parse().unwrap())).or_default().push(replica);
    }
    (brokers, partitions)
}

/// Brokers and leader of each partition.
fn placement(path: &Path) -> BTreeMap<Key, (Vec<i32>, i32)> {
    let row = |line: &String| {
        let f: Vec<&str> = line.split(',').collect();
        let brokers = f[2].split('|').map(|id| id.parse().unwrap()).collect();
        ((f[0].to_owned(), f[1].parse().unwrap()), (brokers, f[3].parse().unwrap()))
    };
    lines(path).iter().map(row).collect()
}

#[derive(Default)]
struct Sums {
    load: [f64; RESOURCES],
    replicas: u64,
    leaders: u64,
    leaders_in: f64,
    potential: f64,
}

/// Judges the cluster of a folder, as it stands or as a file places it.
pub(crate) fn score(folder: &Path, placed: Option<&Path>) -> Scored {
    let (brokers, partitions) = cluster(folder);
    let placed = match placed {
        Some(path) => placement(path),
        None => partitions.iter().map(|(key, replicas)| (key.clone(), standing(replicas))).collect(),
    };
    assert_eq!(placed.len(), partitions.len(), "every partition is placed once");
    let mut found = Scored {
        violated: Vec::new(),
        replica_moves: 0,
        leadership_moves: 0,
        megabytes: 0.0,
        duplicates: 0,
        offline: 0,
    };
    let mut sums: BTreeMap<i32, Sums> = brokers.keys().map(|id| (*id, Sums::default())).collect();
    let mut topics: BTreeMap<&str, HashMap<i32, u64>> = BTreeMap::new();
    let mut shared_racks = 0;
    for (key, replicas) in &partitions {
        let (list, leader) = &placed[key];
        assert_eq!(list.len(), replicas.len(), "{key:?} keeps its replication factor");
        let racks: BTreeSet<&str> = list.iter().map(|id| brokers[id].rack.as_str()).collect();
        shared_racks += list.len() - racks.len();
        place(replicas, list, *leader, &mut sums, &mut found);
        let held = topics.entry(&key.0).or_default();
        for id in list {
            *held.entry(*id).or_default() += 1;
            found.offline += u64::from(!brokers[id].alive);
        }
    }
    let widest = partitions.values().map(Vec::len).max().unwrap_or(0);
    let goals = violated(&brokers, &sums, &topics, partitions.len(), shared_racks, widest);
    found.violated = goals.into_iter().map(str::to_owned).collect();
    found
}

fn standing(replicas: &[Replica]) -> (Vec<i32>, i32) {
    let leader = replicas.iter().find(|replica| replica.leads).unwrap();
    (replicas.iter().map(|replica| replica.broker).collect(), leader.broker)
}

/// Adds a partition to the sums. What the old leader took on top goes to the new one.
fn place(
    replicas: &[Replica],
    list: &[i32],
    leader: i32,
    sums: &mut BTreeMap<i32, Sums>,
    found: &mut Scored,
) {
    let was = replicas.iter().position(|replica| replica.leads).unwrap();
    let is = list.iter().position(|id| *id == leader).expect("the leader is a replica");
    let before: BTreeSet<i32> = replicas.iter().map(|replica| replica.broker).collect();
    let after: BTreeSet<i32> = list.iter().copied().collect();
    found.duplicates += (list.len() - after.len()) as u64;
    found.replica_moves += after.difference(&before).count() as u64;
    found.leadership_moves += u64::from(before == after && list[is] != replicas[was].broker);
    for (position, (replica, id)) in replicas.iter().zip(list).enumerate() {
        let mut load = replica.load;
        if was != is && position == was {
            (load[0], load[2]) = (replica.follower_cpu, replica.follower_out);
        }
        if was != is && position == is {
            load[0] += replicas[was].load[0] - replicas[was].follower_cpu;
            load[2] += replicas[was].load[2] - replicas[was].follower_out;
        }
        if !before.contains(id) {
            found.megabytes += replica.load[3];
        }
        let sum = sums.get_mut(id).expect("a known broker");
        for (sum, load) in sum.load.iter_mut().zip(load) {
            *sum += load;
        }
        sum.replicas += 1;
        sum.potential += replicas[was].load[NETWORK_OUT];
        if position == is {
            sum.leaders += 1;
            sum.leaders_in += load[1];
        }
    }
}

/// The goals that are violated.
fn violated(
    brokers: &BTreeMap<i32, Broker>,
    sums: &BTreeMap<i32, Sums>,
    topics: &BTreeMap<&str, HashMap<i32, u64>>,
    partitions: usize,
    shared_racks: usize,
    widest: usize,
) -> Vec<&'static str> {
    let living: Vec<(&Broker, &Sums)> =
        brokers.iter().filter(|(_, broker)| broker.alive).map(|(id, broker)| (broker, &sums[id])).collect();
    let n = living.len() as f64;
    let racks: BTreeSet<&str> = living.iter().map(|(broker, _)| broker.rack.as_str()).collect();
    let replicas: u64 = sums.values().map(|sum| sum.replicas).sum();
    let total = |r: usize| sums.values().map(|sum| sum.load[r]).sum::<f64>();
    let capacity = |r: usize| living.iter().map(|(broker, _)| broker.capacity[r]).sum::<f64>();
    let any = |wrong: &dyn Fn(&Broker, &Sums) -> bool| living.iter().any(|(broker, sum)| wrong(broker, sum));
    let mut all = Vec::new();
    let mut judge = |name: &'static str, wrong: bool| all.extend(wrong.then_some(name));
    judge("RackAwareGoal", racks.len() < widest || shared_racks > 0);
    judge("ReplicaCapacityGoal", replicas as f64 > 10_000.0 * n || any(&|_, sum| sum.replicas > 10_000));
    for (r, name, share) in CAPACITY {
        let over = |broker: &Broker, sum: &Sums| sum.replicas > 0 && sum.load[r] > broker.capacity[r] * share;
        judge(name, total(r) > share * capacity(r) || any(&over));
    }
    let counted = |count: fn(&Sums) -> u64, all: f64| {
        let mean = all / n;
        let (low, high) = ((mean * (1.0 - REACH)).floor(), (mean * (1.0 + REACH)).ceil());
        any(&|_, sum| (count(sum) as f64) < low || count(sum) as f64 > high)
    };
    judge("ReplicaDistributionGoal", counted(|sum| sum.replicas, replicas as f64));
    judge(
        "PotentialNwOutGoal",
        any(&|broker, sum| sum.replicas > 0 && sum.potential > broker.capacity[NETWORK_OUT] * 0.8),
    );
    for (r, name) in USAGE {
        let mean = total(r) / capacity(r);
        let (low, high) = (mean * (1.0 - REACH), mean * (1.0 + REACH));
        judge(name, any(&|b, sum| sum.load[r] > b.capacity[r] * high || sum.load[r] < b.capacity[r] * low));
    }
    let spread_badly = |held: &HashMap<i32, u64>| {
        let mean = held.values().sum::<u64>() as f64 / n;
        let wide = (mean * (1.0 + TOPIC_REACH)).ceil();
        let upper = (mean.ceil() + 2.0).max(wide.min(mean.ceil() + 40.0));
        let lower = (mean.floor() - 40.0).max(0.0);
        held.iter().any(|(id, held)| brokers[id].alive && (*held as f64 > upper || (*held as f64) < lower))
    };
    judge("TopicReplicaDistributionGoal", topics.values().any(spread_badly));
    judge("LeaderReplicaDistributionGoal", counted(|sum| sum.leaders, partitions as f64));
    let limit = living.iter().map(|(_, sum)| sum.leaders_in).sum::<f64>() / n * 1.10;
    judge("LeaderBytesInDistributionGoal", sums.values().any(|sum| sum.leaders_in > limit));
    all
}
