//! The simulator does what the accounts of the conformance scripts tell: without brokers, in a second. That real Kafka
//! does the same is held by `conformance_lab.rs`.

mod conformance;

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, anyhow, ensure};
use conformance::account::{Account, Scene};
use conformance::play::play;
use conformance::script::{self, Script};
use conformance::simulated::{Simulated, VERSIONS};
use expect_test::expect_file;

/// Fewer would prove little.
const LEAST: usize = 10;
/// An account must not depend on chance.
const SEEDS: u64 = 3;

#[test]
fn the_simulator_does_what_the_accounts_tell() -> Result<()> {
    let scripts = script::all()?;
    ensure!(scripts.len() >= LEAST, "only {} scripts", scripts.len());
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for script in &scripts {
        let mut texts = BTreeMap::new();
        for version in VERSIONS {
            let on = || format!("{} on {version}", script.name);
            let account = runtime.block_on(simulate(script, version, 0)).with_context(on)?;
            for seed in 1..SEEDS {
                let other = runtime.block_on(simulate(script, version, seed)).with_context(on)?;
                for (one, another) in [(&account, &other), (&other, &account)] {
                    let same = one.agrees(another);
                    same.map_err(|why| anyhow!("{} is left to chance (seed {seed}): {why}", on()))?;
                }
            }
            texts.insert(version, account.to_string());
        }
        compare(script, &texts)?;
    }
    Ok(())
}

#[test]
fn accounts_that_tell_something_else_do_not_agree() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut differ = 0;
    for script in script::all()? {
        let main = runtime.block_on(simulate(&script, VERSIONS[0], 0))?;
        for version in &VERSIONS[1..] {
            let other = runtime.block_on(simulate(&script, version, 0))?;
            let end = |account: &Account| account.scenes.iter().map(Scene::end).collect::<Vec<_>>();
            if end(&main) != end(&other) {
                differ += 1;
                ensure!(main.agrees(&other).is_err() && other.agrees(&main).is_err(), "{}", script.name);
            }
        }
    }
    ensure!(differ > 0, "the versions are all alike");
    Ok(())
}

async fn simulate(script: &Script, version: &str, seed: u64) -> Result<Account> {
    play(&Simulated::new(script, version, seed), script, None).await
}

/// The account of 4.3 is a file; another version's, where it is another.
fn compare(script: &Script, texts: &BTreeMap<&str, String>) -> Result<()> {
    let main = &texts[VERSIONS[0]];
    for (version, text) in texts {
        let path = script::account_path(&script.name, version);
        if *version == VERSIONS[0] || text != main {
            expect_file![&path].assert_eq(text);
        } else if path.exists() {
            ensure!(std::env::var_os("UPDATE_EXPECT").is_some(), "{} tells nothing new", path.display());
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}
