//! `cargo xtask test`: everything that a change must pass.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::usage;

/// Check format and lints, run all tests, build the documentation.
#[derive(Args, Debug)]
pub(crate) struct Test {
    /// Only what needs no Kafka: a few minutes.
    #[arg(long)]
    unit: bool,
}

/// A test binary.
#[derive(Debug)]
struct Binary {
    package: String,
    name: String,
    /// The folder of its package, in which it runs.
    folder: PathBuf,
    file: PathBuf,
    /// Whether it starts real brokers.
    brokers: bool,
}

/// One part of the run, and what came of it.
#[derive(Clone, Debug)]
struct Part {
    name: String,
    took: Duration,
    /// What it and all that it started and waited for took of the processors.
    processor: Duration,
    fine: bool,
    passed: u64,
    failed: u64,
    /// What it said of its failures; nothing where there were none.
    failures: String,
}

impl Test {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let start = Instant::now();
        let mut parts = vec![part("format", &["fmt", "--all", "--", "--check"])];
        if self.unit {
            let binaries = build(&mut parts);
            parts.extend(quick(&binaries));
        } else {
            parts.extend(everything());
        }
        Ok(end(&parts, start.elapsed()))
    }
}

/// Tests with brokers mostly wait: two binaries with such tests go at a time, those within one of them one after the other,
/// because a broker takes a core and 256 MB until it is up. The service's own take longest, so that two of them go at a time;
/// conformance has most brokers at once, so that it comes last. What only computes goes beside them and gives way.
fn everything() -> Vec<Part> {
    let mut parts = Vec::new();
    let binaries = build(&mut parts);
    parts.push(fetch_kafka());
    let lane = |binaries: Vec<Binary>| binaries.iter().map(Binary::run).collect::<Vec<Part>>();
    let (brokers, others): (Vec<Binary>, Vec<Binary>) =
        binaries.into_iter().partition(|binary| binary.brokers);
    let (mut service, rooms): (Vec<Binary>, Vec<Binary>) =
        brokers.into_iter().partition(|binary| binary.package == "doctorkafka");
    service.sort_by_key(|binary| binary.name == "conformance_lab");
    thread::scope(|scope| {
        let beside = [scope.spawn(move || lane(rooms)), scope.spawn(move || quick(&others))];
        parts.extend(lane(service));
        for lane in beside {
            parts.extend(lane.join().unwrap_or_else(|_| vec![broken_off()]));
        }
    });
    parts
}

/// A lane of tests that panicked.
fn broken_off() -> Part {
    Part::done("a lane of tests", Instant::now(), false)
}

/// Kafka's jars, resolved once.
fn fetch_kafka() -> Part {
    let lab = root().join("target/debug/lab");
    Part::of("fetch Kafka", Command::new(lab).arg("fetch"))
}

/// What needs no Kafka: tests, 2,000 incidents that nobody has thought of, the documentation, lints. Where tests with brokers
/// go beside it, what only computes gives way to them; tests wait for programs that they start, so that both go at a time.
fn quick(binaries: &[Binary]) -> Vec<Part> {
    thread::scope(|scope| {
        let tests = scope.spawn(|| {
            let without_brokers = binaries.iter().filter(|binary| !binary.brokers);
            without_brokers.map(Binary::run).collect::<Vec<Part>>()
        });
        let computed = computing();
        let mut parts = tests.join().unwrap_or_else(|_| vec![broken_off()]);
        parts.extend(computed);
        parts
    })
}

/// What only computes.
fn computing() -> Vec<Part> {
    let mut parts = Vec::new();
    let trials = root().join("target/debug/trials");
    parts.push(Part::of("storm", giving_way(5, &trials).args(["storm", "--seeds", "2000"])));
    let cargo = || giving_way(19, Path::new(&cargo()));
    // With the libraries that are there: the profile of tests would build all of them once more.
    let in_docs = ["test", "-q", "--workspace", "--doc", "--profile", "dev"];
    parts.push(Part::of("tests in docs", cargo().args(in_docs)));
    let docs = ["doc", "-q", "--workspace", "--no-deps", "--document-private-items"];
    parts.push(Part::of("docs", cargo().args(docs).env("RUSTDOCFLAGS", "-D warnings")));
    let lints = ["clippy", "-q", "--workspace", "--all-targets", "--", "-D", "warnings"];
    parts.push(Part::of("lints", cargo().args(lints)));
    parts
}

/// A program that others come before: the more, the larger `nice` is, up to 19.
fn giving_way(nice: u8, program: &Path) -> Command {
    let mut command = Command::new("nice");
    command.arg("-n").arg(nice.to_string()).arg(program);
    command
}

impl Binary {
    /// Whether these are the tests of the service against real brokers.
    fn is_the_service(&self) -> bool {
        self.package == "doctorkafka" && self.name == "e2e"
    }

    fn run(&self) -> Part {
        let mut command = Command::new(&self.file);
        command.current_dir(&self.folder);
        let mut name = format!("{} {}", self.package, self.name);
        if self.brokers {
            let threads = if self.is_the_service() { 2 } else { 1 };
            command.arg(format!("--test-threads={threads}"));
            name.push_str(" (brokers)");
        }
        Part::of(&name, &mut command)
    }
}

/// Runs cargo.
fn part(name: &str, arguments: &[&str]) -> Part {
    Part::of(name, Command::new(cargo()).args(arguments))
}

impl Part {
    /// Runs a command in the folder of the workspace unless it says otherwise, and prints at its end what it printed.
    fn of(name: &str, command: &mut Command) -> Self {
        println!("\n== {name}: started");
        if command.get_current_dir().is_none() {
            command.current_dir(root());
        }
        let start = Instant::now();
        let (fine, text, processor) = match usage::output(command) {
            Ok((out, processor)) => {
                let text = [out.stdout, out.stderr].concat();
                (out.status.success(), String::from_utf8_lossy(&text).into_owned(), processor)
            }
            Err(error) => (false, format!("{command:?} cannot be run: {error:#}\n"), Duration::ZERO),
        };
        let mut part = Self { processor, ..Self::done(name, start, fine) };
        if !fine {
            part.failures = failures(&text);
        }
        for (passed, failed) in text.lines().filter_map(totals) {
            part.passed += passed;
            part.failed += failed;
        }
        let end = if fine { "passed" } else { "FAILED" };
        println!("\n{text}== {name}: {end} in {:.1} s", part.took.as_secs_f64());
        part
    }

    fn done(name: &str, start: Instant, fine: bool) -> Self {
        let took = start.elapsed();
        Self {
            name: name.to_owned(),
            took,
            processor: Duration::ZERO,
            fine,
            passed: 0,
            failed: 0,
            failures: String::new(),
        }
    }
}

/// So many lines of each failed part are told once more at the end: logs are long, and some show their ends alone.
const RETOLD: usize = 80;

/// What the output of a failed part says of its failures: the test runner's section about them, or else how it ended.
fn failures(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let lines = match lines.iter().position(|line| *line == "failures:") {
        Some(at) => &lines[at..lines.len().min(at + RETOLD)],
        None => &lines[lines.len().saturating_sub(RETOLD)..],
    };
    lines.join("\n")
}

/// Prints the times, what failed, and the totals as the last line. A part can fail without a test: a lint, a build.
fn end(parts: &[Part], whole: Duration) -> ExitCode {
    println!("\n== times, and what they took of the processors");
    let line = |took: Duration, processor: Duration, what: &str| {
        println!("{:>8.1} s {:>8.1} s  {what}", took.as_secs_f64(), processor.as_secs_f64());
    };
    for part in parts {
        let mark = if part.fine { "" } else { "  FAILED" };
        line(part.took, part.processor, &format!("{}{mark}", part.name));
    }
    line(whole, parts.iter().map(|part| part.processor).sum(), "in all");
    let failed: Vec<&str> = parts.iter().filter(|part| !part.fine).map(|part| part.name.as_str()).collect();
    for part in parts.iter().filter(|part| !part.fine) {
        println!("\n== {}, once more\n{}", part.name, part.failures);
    }
    if !failed.is_empty() {
        println!("\nfailed: {}", failed.join(", "));
    }
    let sum = |count: fn(&Part) -> u64| parts.iter().map(count).sum::<u64>();
    println!("\n{} passed, {} failed", sum(|part| part.passed), sum(|part| part.failed));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The numbers of passed and failed tests in `test result: ok. 3 passed; 0 failed; …`.
fn totals(line: &str) -> Option<(u64, u64)> {
    let counts = line.trim().strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |word: &str| {
        let part = counts.split(';').map(str::trim).find(|part| part.ends_with(word))?;
        part.split(' ').next()?.parse().ok()
    };
    Some((count("passed")?, count("failed")?))
}

/// Builds, and says what came of it.
fn build(parts: &mut Vec<Part>) -> Vec<Binary> {
    let began = Instant::now();
    let built = binaries();
    let part = Part::done("build", began, built.is_ok());
    let (binaries, processor) = built.unwrap_or_else(|error| {
        println!("{error:#}");
        (Vec::new(), Duration::ZERO)
    });
    parts.push(Part { processor, ..part });
    binaries
}

/// Builds all programs and tests. Gives the tests by name, unit tests first, because they end soonest; and what building took
/// of the processors. One command for both: another choice of packages or targets would choose other features of the
/// dependencies, and build all of them twice.
fn binaries() -> Result<(Vec<Binary>, Duration)> {
    let mut build = Command::new(cargo());
    build.args(["build", "-q", "--workspace", "--lib", "--bins", "--tests"]);
    build.args(["--message-format", "json-render-diagnostics"]).current_dir(root());
    let (out, processor) = usage::output(&mut build).context("cargo build")?;
    eprint!("{}", String::from_utf8_lossy(&out.stderr));
    ensure!(out.status.success(), "the programs and tests cannot be built");
    let mut binaries = Vec::new();
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        let message: Value = serde_json::from_str(line).context("cannot read what cargo prints")?;
        binaries.extend(binary(&message)?);
    }
    binaries.sort_by_key(|(unit, binary)| (!unit, binary.package.clone(), binary.name.clone()));
    Ok((binaries.into_iter().map(|(_, binary)| binary).collect(), processor))
}

/// The test binary that a message of cargo is about, and whether it holds unit tests.
fn binary(message: &Value) -> Result<Option<(bool, Binary)>> {
    let is_test = message["profile"]["test"].as_bool() == Some(true);
    let Some(file) = message["executable"].as_str().filter(|_| is_test) else { return Ok(None) };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let folder = PathBuf::from(text(&message["manifest_path"])).parent().map(Path::to_owned);
    let folder = folder.context("cargo names no package")?;
    let package = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let unit = message["target"]["kind"][0] != "test";
    let name = if unit { "unit tests".to_owned() } else { text(&message["target"]["name"]) };
    let brokers = !unit && uses_lab(Path::new(&text(&message["target"]["src_path"])))?;
    Ok(Some((unit, Binary { package, name, folder, file: file.into(), brokers })))
}

/// Whether the test with this source starts real brokers: it uses crate `lab`, by itself or in the modules beside it.
fn uses_lab(source: &Path) -> Result<bool> {
    let text =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let is_main = source.file_name().is_some_and(|name| name == "main.rs");
    let main = text(source)?;
    if names_brokers(&main) {
        return Ok(true);
    }
    let mut folders = Vec::new();
    if let Some(parent) = source.parent() {
        if is_main {
            folders.push(parent.to_owned());
        } else {
            // `mod common;` is the folder `common`.
            let modules = main.lines().filter_map(|line| line.trim().strip_prefix("mod ")?.strip_suffix(';'));
            folders.extend(modules.map(|module| parent.join(module)));
        }
    }
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && names_brokers(&text(&path)?) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What crate `lab` has that is no broker.
const WITHOUT_BROKERS: [&str; 3] = ["lab::MailServer", "lab::MailOptions", "lab::wait_for"];

/// Whether a source names something of crate `lab` that comes with brokers.
fn names_brokers(text: &str) -> bool {
    let is_broker = |at: usize| !WITHOUT_BROKERS.iter().any(|other| text[at..].starts_with(other));
    text.match_indices("lab::").any(|(at, _)| is_broker(at))
}

/// The cargo that runs this.
pub(crate) fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// The folder of the workspace: two above that of this package.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_the_test_runner_says() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.02s";
        assert_eq!(totals(line), Some((12, 3)));
        assert_eq!(totals("test a ... ok"), None);
        assert_eq!(totals("test result: "), None);
    }

    #[test]
    fn tells_failures_once_more() {
        let of_tests =
            "running 2 tests\ntest a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nwhy\n";
        assert_eq!(failures(of_tests), "failures:\n\n---- b stdout ----\nwhy");
        let of_a_build: String = (0..RETOLD + 5).map(|line| format!("line {line}\n")).collect();
        assert!(failures(&of_a_build).starts_with("line 5\n") && failures(&of_a_build).ends_with("line 84"));
    }

    #[test]
    fn tells_tests_with_brokers_from_others() {
        let brokers = |test: &str| uses_lab(&root().join("crates").join(test)).unwrap();
        assert!(brokers("kafka/tests/kraft.rs"));
        assert!(brokers("doctorkafka/tests/e2e/main.rs"));
        assert!(brokers("doctorkafka/tests/conformance_lab.rs"));
        assert!(!brokers("doctorkafka/tests/conformance_sim.rs"));
        // It has a mail server.
        assert!(!brokers("doctorkafka/tests/process.rs"));
        assert!(!brokers("brokerstats/tests/laws.rs"));
    }
}
