//! The parcels on disk: a file for each, so that taking one in or crossing it out costs the same however many wait, and
//! a file that a crash has cut off costs only itself.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Parcel;
use super::queue::Change;

/// Files that are read at most: what a configuration with a larger queue has left.
const MOST_FILES: usize = 100_000;

/// A folder of parcels.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    folder: PathBuf,
}

impl Outbox {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Makes the folder where it is missing, and reads what an earlier process has left, in the order in which it came.
    /// A file that cannot be read is put aside under another name.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub(super) fn load(&self) -> io::Result<Vec<Parcel>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut parcels = Vec::new();
        for entry in fs::read_dir(&self.folder)?.take(MOST_FILES) {
            let path = entry?.path();
            if path.extension().is_none_or(|end| end != "json") {
                continue;
            }
            match read(&path) {
                Ok(parcel) if path == self.file(parcel.number) => parcels.push(parcel),
                Ok(_) => put_aside(&path, "its number is another one"),
                Err(error) => put_aside(&path, &error.to_string()),
            }
        }
        parcels.sort_by_key(|parcel| parcel.number);
        Ok(parcels)
    }

    /// Makes the changes durable.
    ///
    /// # Errors
    /// The first that could not be made; the others are tried all the same.
    pub(super) fn apply(&self, changes: &[Change]) -> io::Result<()> {
        let mut result = Ok(());
        for change in changes {
            let done = match change {
                Change::Save(parcel) => self.save(parcel),
                Change::Remove(number) => match fs::remove_file(self.file(*number)) {
                    // One that was never written, because the disk was full.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    other => other,
                },
            };
            result = result.and(done);
        }
        result.and_then(|()| File::open(&self.folder)?.sync_all())
    }

    fn save(&self, parcel: &Parcel) -> io::Result<()> {
        let (file, new) = (self.file(parcel.number), self.folder.join("new"));
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        out.write_all(&serde_json::to_vec(parcel)?)?;
        out.sync_all()?;
        fs::rename(new, file)
    }

    fn file(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:012}.json"))
    }
}

fn read(path: &Path) -> io::Result<Parcel> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn put_aside(path: &Path, why: &str) {
    let aside = path.with_extension("unreadable");
    tracing::warn!(file = %path.display(), aside = %aside.display(), why, "a message that waits cannot be read");
    if let Err(error) = fs::rename(path, &aside) {
        tracing::warn!(file = %path.display(), %error, "it cannot be put aside either");
    }
}
