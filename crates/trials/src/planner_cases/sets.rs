//! Which broker set a broker, and which a topic belongs to.

use std::collections::BTreeMap;

use serde_json::Value;

use super::case::list;

/// How Cruise Control finds the set of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binding {
    /// Each replica stays in the set it stands in.
    Standing,
    /// By a hash of the topic's name.
    Name,
}

/// Broker sets of a case. Brokers that the file does not name form one more.
#[derive(Debug)]
pub(crate) struct Sets {
    binding: Binding,
    /// Number of named sets; they are numbered in order of their names.
    named: u32,
    of: BTreeMap<i64, u32>,
}

/// Suites that are recorded with the default way of binding topics to sets; the others bind them to where they stand.
const BY_NAME: [&str; 3] =
    ["ExcludedBrokersForLeadershipTest", "ReplicationFactorChangeTest", "SelfHealingWithOptimizedGoalTest"];

impl Sets {
    pub(crate) fn read(spec: &Value, case: &Value) -> Sets {
        let file = case["broker_sets"].as_str().unwrap_or_default();
        let mut of = BTreeMap::new();
        let mut named = 0;
        let sets: BTreeMap<&String, &Value> =
            spec["broker_set_files"][file].as_object().into_iter().flatten().collect();
        for brokers in sets.values() {
            of.extend(list(brokers).iter().filter_map(Value::as_i64).map(|id| (id, named)));
            named += 1;
        }
        let suite = case["id"].as_str().unwrap_or_default().split('[').next().unwrap_or_default();
        let binding = if BY_NAME.contains(&suite) { Binding::Name } else { Binding::Standing };
        Sets { binding, named, of }
    }

    pub(crate) fn of(&self, broker: i64) -> u32 {
        self.of.get(&broker).copied().unwrap_or(self.named)
    }

    /// The set of a topic. If its replicas stay where they stand and stand in several, no broker is in its set: it cannot be
    /// brought together.
    pub(crate) fn of_topic(&self, topic: &str, cluster: &Value) -> u32 {
        if self.binding == Binding::Name {
            return consistent_hash(murmur3(topic.as_bytes()).wrapping_abs(), self.named);
        }
        let own = list(&cluster["partitions"]).iter().filter(|partition| partition["topic"] == topic);
        let replicas = own.flat_map(|partition| list(&partition["replicas"]));
        let mut sets = replicas.map(|replica| self.of(replica["broker"].as_i64().unwrap_or(-1)));
        let first = sets.next().unwrap_or(self.named);
        if sets.all(|set| set == first) { first } else { self.named + 1 }
    }
}

/// Lamping and Veach's jump hash over the generator that Guava uses for it.
fn consistent_hash(input: i32, buckets: u32) -> u32 {
    let mut state = i64::from(input);
    let mut candidate = 0_u32;
    loop {
        state = state.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let draw = f64::from((state.cast_unsigned() >> 33) as u32 + 1) / f64::from(1_u32 << 31);
        let next = f64::from(candidate + 1) / draw;
        if next < f64::from(buckets) {
            candidate = next as u32;
        } else {
            return candidate;
        }
    }
}

/// The low 32 bits of the 128-bit MurmurHash3 (x64) with seed 0.
fn murmur3(bytes: &[u8]) -> i32 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte));
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let mut blocks = bytes.chunks_exact(16);
    for block in &mut blocks {
        h1 = (h1 ^ mix1(word(&block[..8]))).rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix2(word(&block[8..]))).rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let tail = blocks.remainder();
    if tail.len() > 8 {
        h2 ^= mix2(word(&tail[8..]));
    }
    h1 ^= mix1(word(&tail[..tail.len().min(8)]));
    h1 ^= bytes.len() as u64;
    h2 ^= bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2)) as i32
}

fn finish(mut k: u64) -> u64 {
    k = (k ^ (k >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    k = (k ^ (k >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ (k >> 33)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hashes_are_those_of_the_published_algorithm() {
        // "The quick brown fox jumps over the lazy dog" is e34bbc7bbc071b6c7a433ca9c49a9347.
        let text = b"The quick brown fox jumps over the lazy dog";
        assert_eq!(murmur3(text).cast_unsigned(), 0xbc07_1b6c);
        assert_eq!(murmur3(b""), 0);
    }

    #[test]
    fn topics_are_bound_by_where_they_stand_or_by_name() {
        let spec = json!({"broker_set_files": {"f": {"Blue": [0, 1], "Green": [2]}}});
        let read = |id: &str| Sets::read(&spec, &json!({"id": id, "broker_sets": "f"}));
        let sets = read("DeterministicClusterTest[1]");
        assert_eq!([0, 1, 2, 7].map(|broker| sets.of(broker)), [0, 0, 1, 2]);
        let on = |topic: &str, brokers: &[i64]| {
            let replicas: Vec<Value> = brokers.iter().map(|broker| json!({"broker": broker})).collect();
            json!({"topic": topic, "replicas": replicas})
        };
        let cluster = json!({"partitions": [on("a", &[0, 1]), on("b", &[0, 2]), on("c", &[2])]});
        assert_eq!(["a", "b", "c"].map(|topic| sets.of_topic(topic, &cluster)), [0, 3, 1]);
        // Cruise Control sends topic0 to the second of two sets.
        assert_eq!(read("ExcludedBrokersForLeadershipTest[1]").of_topic("topic0", &cluster), 1);
    }
}
