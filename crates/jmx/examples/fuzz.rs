//! Feeds the readers with damaged and with made-up input, and says what came of it.
//!
//! `cargo run --release -p jmx --example fuzz -- [MILLIONS] [SEED]`: so many million inputs (1 by default) for each of
//! the two readers: that of serialized objects, with the values made of them, and that of files of counters.
//! An input that panics ends the run with a message that names it.

#[path = "../tests/common/seeds.rs"]
mod seeds;

use std::hint::black_box;
use std::time::Instant;

use jmx::local::PerfData;
use jmx::serial::{Content, Limits, Reader};
use jmx::to_value;

const COUNTERS: &[u8] = include_bytes!("../tests/fixtures/hsperfdata-jdk17.bin");
/// Something long is read in pieces; the last may be in vain.
const PIECE: u64 = 16 * 1024;
const LIMITS: Limits = Limits { stream: 1 << 20, memory: 1 << 20, depth: 100 };

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

#[derive(Default)]
struct Tally {
    read_whole: u64,
    values: u64,
    largest: u64,
    highest_ratio: f64,
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    // Bytes that mean something here are met more often than chance has it.
    const TELLING: [u8; 24] = [
        0, 1, 2, 3, 4, 0x7f, 0x80, 0xff, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a,
        0x7b, 0x7c, 0x7d, 0x7e, b'L',
    ];
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] = random.next() as u8,
            1 | 2 => bytes[at] = TELLING[random.below(TELLING.len())],
            3 => bytes[at] ^= 1 << random.below(8),
            4 => bytes.truncate(at.max(5)),
            _ => {
                let from = random.below(bytes.len());
                let piece: Vec<u8> = bytes.iter().skip(from).take(random.below(80)).copied().collect();
                bytes.splice(at..at, piece);
            }
        }
    }
}

fn read_objects(bytes: &[u8], tally: &mut Tally) {
    let Ok(mut reader) = Reader::new(bytes, LIMITS) else { return };
    let mut is_read = false;
    while let Ok(content) = reader.content() {
        is_read = true;
        if let Content::Value(root) = content
            && let Ok(value) = to_value(reader.graph(), root, LIMITS)
        {
            black_box(value);
            tally.values += 1;
        }
    }
    tally.read_whole += u64::from(is_read);
    tally.largest = tally.largest.max(reader.memory());
    let ratio = reader.memory().saturating_sub(PIECE) as f64 / bytes.len() as f64;
    tally.highest_ratio = tally.highest_ratio.max(ratio);
}

fn objects(count: u64, random: &mut Random) -> Tally {
    let seeds = seeds::seeds();
    let mut tally = Tally::default();
    for number in 0..count {
        let bytes = if number % 4 == 0 {
            let length = random.below(60);
            seeds::stream_of_tokens((0..length).map(|_| random.next() as u16))
        } else {
            let mut bytes = seeds[random.below(seeds.len())].clone();
            damage(&mut bytes, random);
            bytes
        };
        read_objects(&bytes, &mut tally);
    }
    tally
}

/// How many of the damaged files could be read nevertheless.
fn counters(count: u64, random: &mut Random) -> u64 {
    // The beginning says it all: entries are alike.
    let file = &COUNTERS[..2048];
    let mut read = 0;
    for _ in 0..count {
        let mut bytes = file.to_vec();
        // Few entries, so that some files are read to their end.
        bytes[28..32].copy_from_slice(&(random.below(20) as u32).to_le_bytes());
        damage(&mut bytes, random);
        read += u64::from(black_box(PerfData::parse(&bytes)).is_ok());
    }
    read
}

/// The most memory that this process has had, as the system counts it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap_or("unknown").trim().to_owned()
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Ok(millions), Ok(seed)) = (arguments.next().unwrap_or(Ok(1)), arguments.next().unwrap_or(Ok(1)))
    else {
        eprintln!("usage: fuzz [MILLIONS] [SEED]");
        std::process::exit(2);
    };
    let count = millions * 1_000_000;
    let mut random = Random(seed.max(1));
    let began = Instant::now();
    let tally = objects(count, &mut random);
    println!(
        "serialized objects: {count} inputs in {:.0} s; {} had something readable, {} values; largest graph {} bytes, \
         at most {:.1} bytes of memory for a byte of input, but for the last piece of 16 KiB",
        began.elapsed().as_secs_f64(),
        tally.read_whole,
        tally.values,
        tally.largest,
        tally.highest_ratio,
    );
    let began = Instant::now();
    let read = counters(count, &mut random);
    println!("counters: {count} inputs in {:.0} s; {read} were readable", began.elapsed().as_secs_f64());
    println!("no panic; peak memory of the process: {}", peak_memory());
}
