//! A small disk for one log directory, so that it can be filled without harm to anybody else.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Mounts an empty file system over `dir`. It goes with the cluster: see the `guard` module.
pub(crate) fn mount(dir: &Path, bytes: u64) -> Result<()> {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "kafka-lab"]).arg(dir);
    let output = command.output().context("running mount")?;
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "mounting {}: {why}", dir.display());
    Ok(())
}

/// Writes until there is no room left.
pub(crate) fn fill(dir: &Path) -> Result<()> {
    let file = dir.join("filler");
    let mut out = File::create(&file).with_context(|| format!("creating {}", file.display()))?;
    // Smaller and smaller, so that nothing is left.
    for piece in [1 << 20, 1 << 12, 1] {
        loop {
            match out.write_all(&vec![0; piece]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error).with_context(|| format!("filling {}", dir.display())),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_can_be_filled_and_goes_with_its_guard() {
        let guard = crate::guard::Guard::new().unwrap();
        let dir = guard.dir().join("d1");
        std::fs::create_dir(&dir).unwrap();
        mount(&dir, 1 << 20).unwrap();
        fill(&dir).unwrap();
        let error = std::fs::write(dir.join("more"), "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        drop(guard);
        assert!(!dir.exists());
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        assert!(!mounts.contains(&*dir.to_string_lossy()), "{mounts}");
    }
}
