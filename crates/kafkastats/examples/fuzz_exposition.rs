//! Feeds the reader of Prometheus' text with damaged captures of real exporters, and says what came of it.
//!
//! `cargo run --release -p kafkastats --example fuzz_exposition -- [MILLIONS] [SEED]`: so many million inputs (1 by
//! default), each of some lines. An input that panics ends the run with a message that names it.

use std::hint::black_box;
use std::time::Instant;

use kafkastats::jvm::exposition::parse;
use kafkastats::jvm::prometheus;

const CAPTURES: [&str; 4] = [
    include_str!("../tests/fixtures/default020.prom"),
    include_str!("../tests/fixtures/strimzi101.prom"),
    include_str!("../tests/fixtures/confluent020.prom"),
    include_str!("../tests/fixtures/bitnami101.prom"),
];
/// Lines of an input.
const LINES: usize = 6;

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

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    // Characters that mean something here are met more often than chance has it.
    const TELLING: &[u8] = b"{}\"\\,= \n#+-.0eNI_:\xc3\xa9";
    for _ in 0..=random.below(5) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] = random.next() as u8,
            1 | 2 => bytes[at] = TELLING[random.below(TELLING.len())],
            3 => bytes.truncate(at.max(1)),
            _ => {
                let from = random.below(bytes.len());
                let piece: Vec<u8> = bytes.iter().skip(from).take(random.below(40)).copied().collect();
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

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Ok(millions), Ok(seed)) = (arguments.next().unwrap_or(Ok(1)), arguments.next().unwrap_or(Ok(1)))
    else {
        eprintln!("usage: fuzz_exposition [MILLIONS] [SEED]");
        std::process::exit(2);
    };
    let lines: Vec<&str> = CAPTURES.iter().flat_map(|capture| capture.lines()).collect();
    let mut random = Random(seed.max(1));
    let (mut samples, mut bad, mut understood) = (0, 0, 0_u64);
    let began = Instant::now();
    for _ in 0..millions * 1_000_000 {
        let mut bytes: Vec<u8> = Vec::new();
        for _ in 0..=random.below(LINES) {
            bytes.extend(lines[random.below(lines.len())].bytes());
            bytes.push(b'\n');
        }
        damage(&mut bytes, &mut random);
        let text = String::from_utf8_lossy(&bytes);
        let outcome = parse(&text, |sample| _ = black_box(sample));
        samples += outcome.samples;
        bad += outcome.bad_lines;
        understood += u64::from(black_box(prometheus::read(&text, &[])).is_ok());
    }
    println!(
        "{millions} million inputs in {:.0} s: {samples} figures, {bad} bad lines; {understood} inputs told something of a \
         broker; no panic; peak memory of the process: {}",
        began.elapsed().as_secs_f64(),
        peak_memory(),
    );
}
