//! `cargo xtask test`: everything that a change must pass, the quick parts first.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

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
    /// Whether it starts real brokers.
    brokers: bool,
}

/// What has been run.
#[derive(Debug, Default)]
struct Tally {
    passed: u64,
    failed: u64,
    parts: Vec<(String, Duration, bool)>,
}

impl Test {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let binaries = binaries()?;
        let mut tally = Tally::default();
        tally.part("format", &["fmt", "--all", "--", "--check"], &[]);
        tally.part("lints", &["clippy", "-q", "--workspace", "--all-targets", "--", "-D", "warnings"], &[]);
        // Tests run the binaries of other packages, too.
        tally.part("build", &["build", "-q", "--workspace", "--bins"], &[]);
        tally.part(
            "build tests",
            &["test", "-q", "--workspace", "--no-run", "--lib", "--bins", "--tests"],
            &[],
        );
        tally.part("unit tests", &["test", "--workspace", "--no-fail-fast", "--lib", "--bins"], &[]);
        for binary in binaries.iter().filter(|binary| !binary.brokers) {
            let part = format!("{} {}", binary.package, binary.name);
            tally.part(&part, &["test", "-p", &binary.package, "--test", &binary.name], &[]);
        }
        tally.part("tests in docs", &["test", "-q", "--workspace", "--doc"], &[]);
        tally.part(
            "docs",
            &["doc", "-q", "--workspace", "--no-deps", "--document-private-items"],
            &[("RUSTDOCFLAGS", "-D warnings")],
        );
        if !self.unit {
            tally.part("fetch Kafka", &["run", "-q", "-p", "lab", "--", "fetch"], &[]);
            // One at a time: a broker takes a core and 256 MB until it is up.
            for binary in binaries.iter().filter(|binary| binary.brokers) {
                let part = format!("{} {} (brokers)", binary.package, binary.name);
                let arguments =
                    ["test", "-p", &binary.package, "--test", &binary.name, "--", "--test-threads=1"];
                tally.part(&part, &arguments, &[]);
            }
        }
        Ok(tally.end())
    }
}

impl Tally {
    /// Runs cargo, passes on what it prints, and counts the tests.
    fn part(&mut self, name: &str, arguments: &[&str], variables: &[(&str, &str)]) {
        println!("\n== {name}: cargo {}", arguments.join(" "));
        let start = Instant::now();
        let fine = match self.cargo(arguments, variables) {
            Ok(fine) => fine,
            Err(error) => {
                println!("{error:#}");
                false
            }
        };
        let took = start.elapsed();
        println!("== {name}: {} in {:.1} s", if fine { "passed" } else { "FAILED" }, took.as_secs_f64());
        self.parts.push((name.to_owned(), took, fine));
    }

    fn cargo(&mut self, arguments: &[&str], variables: &[(&str, &str)]) -> Result<bool> {
        let mut child = Command::new(cargo())
            .args(arguments)
            .envs(variables.iter().copied())
            .current_dir(root())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start cargo")?;
        let out = child.stdout.take().context("cargo has no output")?;
        for line in BufReader::new(out).split(b'\n') {
            let line = line.context("cannot read what cargo prints")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            if let Some((passed, failed)) = totals(&line) {
                self.passed += passed;
                self.failed += failed;
            }
        }
        Ok(child.wait().context("cannot wait for cargo")?.success())
    }

    /// Prints the times, and the totals as the last line. A part can fail without a test: a lint, a build.
    fn end(self) -> ExitCode {
        println!("\n== times");
        for (name, took, fine) in &self.parts {
            println!("{:>8.1} s  {name}{}", took.as_secs_f64(), if *fine { "" } else { "  FAILED" });
        }
        let whole: Duration = self.parts.iter().map(|(_, took, _)| *took).sum();
        println!("{:>8.1} s  in all", whole.as_secs_f64());
        let failed: Vec<&str> =
            self.parts.iter().filter(|(_, _, fine)| !fine).map(|(name, ..)| name.as_str()).collect();
        if !failed.is_empty() {
            println!("\nfailed: {}", failed.join(", "));
        }
        println!("\n{} passed, {} failed", self.passed, self.failed);
        if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
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

/// The binaries of integration tests of all packages, by name.
fn binaries() -> Result<Vec<Binary>> {
    let out = Command::new(cargo())
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root())
        .output()
        .context("cannot start cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&out.stdout).context("cannot read cargo metadata")?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut binaries = Vec::new();
    for package in list(&metadata["packages"]) {
        for target in list(&package["targets"]) {
            if list(&target["kind"]).iter().any(|kind| kind == "test") {
                let source = PathBuf::from(text(&target["src_path"]));
                binaries.push(Binary {
                    package: text(&package["name"]),
                    name: text(&target["name"]),
                    brokers: uses_lab(&source)?,
                });
            }
        }
    }
    binaries.sort_by(|a, b| (&a.package, &a.name).cmp(&(&b.package, &b.name)));
    Ok(binaries)
}

/// Whether the test with this source starts real brokers: it uses crate `lab`, by itself or in the modules beside it.
fn uses_lab(source: &Path) -> Result<bool> {
    let text =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let is_main = source.file_name().is_some_and(|name| name == "main.rs");
    let main = text(source)?;
    if main.contains("lab::") {
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
            } else if path.extension().is_some_and(|end| end == "rs") && text(&path)?.contains("lab::") {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The cargo that runs this.
fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// The folder of the workspace: two above that of this package.
fn root() -> PathBuf {
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
    fn tells_tests_with_brokers_from_others() {
        let binaries = binaries().unwrap();
        let brokers = |package: &str, name: &str| {
            binaries.iter().find(|b| b.package == package && b.name == name).map(|b| b.brokers)
        };
        assert_eq!(brokers("kafka", "kraft"), Some(true));
        assert_eq!(brokers("brokerstats", "laws"), Some(false));
    }
}
