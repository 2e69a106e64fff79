//! Feeds the readers of the Avro records with damaged ones, and says what came of it.
//!
//! `cargo run --release -p brokerstats --example fuzz -- [MILLIONS] [SEED]`: so many million inputs (1 by default), each
//! given to the reader of reports and to that of actions. An input that panics ends the run with a message that names it.

use std::hint::black_box;
use std::time::Instant;

use brokerstats::{BrokerStats, Codec, OperatorAction, Quality, ReplicaStat, TopicPartition};

/// Numbers that look random ("xorshift64*").
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// A report with something in each kind of field: texts, lists, maps, numbers, what may be absent.
fn report(partitions: i32) -> BrokerStats {
    let mut stats = BrokerStats::new(1_795_000_000_000, 1_001);
    stats.cluster_id = Some("abc".to_owned());
    for partition in 0..partitions {
        let topic = format!("orders-{}", partition / 2);
        stats.topics_bytes_in_1_min_rate.insert(topic.clone(), 2_000_000);
        stats.leader_replica_stats.push(ReplicaStat {
            topic: topic.clone(),
            partition,
            is_leader: true,
            end_offset: 123_456_789,
            ..ReplicaStat::default()
        });
        stats.leader_bytes_in.push(74_074_020);
        stats.leader_bytes_in_quality.push(Quality::Exact);
        stats.follower_replicas.push(TopicPartition { topic, partition });
    }
    stats.log_dirs = vec!["/data".to_owned()];
    stats
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    // Lengths and counts are zigzag numbers: small ones, negative ones, and those that go on and on.
    const TELLING: &[u8] = &[0, 1, 2, 3, 0x7f, 0x80, 0x81, 0xfe, 0xff];
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] = random.next() as u8,
            1 | 2 => bytes[at] = TELLING[random.below(TELLING.len())],
            3 => bytes.truncate(at),
            _ => {
                let from = random.below(bytes.len());
                let piece: Vec<u8> = bytes.iter().skip(from).take(random.below(20)).copied().collect();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// The most memory that this process has had, as the system counts it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap_or("unknown").trim().to_owned()
}

fn main() -> Result<(), brokerstats::Error> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Ok(millions), Ok(seed)) = (arguments.next().unwrap_or(Ok(1)), arguments.next().unwrap_or(Ok(1)))
    else {
        eprintln!("usage: fuzz [MILLIONS] [SEED]");
        std::process::exit(2);
    };
    let codec = Codec::new()?;
    let originals = [
        codec.encode_stats(&report(0))?,
        codec.encode_stats(&report(3))?,
        codec.encode_stats(&report(20))?,
        codec.encode_action(&OperatorAction::default())?,
    ];
    let mut random = Random(seed.max(1));
    let (mut reports, mut actions) = (0_u64, 0_u64);
    let began = Instant::now();
    for _ in 0..millions * 1_000_000 {
        let mut bytes = originals[random.below(originals.len())].clone();
        damage(&mut bytes, &mut random);
        reports += u64::from(black_box(codec.decode_stats(&bytes)).is_ok());
        actions += u64::from(black_box(codec.decode_action(&bytes)).is_ok());
    }
    println!(
        "{millions} million inputs in {:.0} s: {reports} read as reports, {actions} as actions; no panic; peak memory of \
         the process: {}",
        began.elapsed().as_secs_f64(),
        peak_memory(),
    );
    Ok(())
}
