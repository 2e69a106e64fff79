//! What a plan is written to: all files that were asked for, or none of them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Files that are written beside their places, and come there together.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// What is written, and where it belongs.
    ready: Vec<(PathBuf, PathBuf)>,
}

impl Files {
    /// Writes a file, which is not where it belongs before [`put`](Self::put). What is there and is no file, such as a pipe, is written
    /// at once: nothing can take its place.
    pub(super) fn write(
        &mut self,
        path: &Path,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), String> {
        self.try_write(path, content).map_err(|error| cannot(path, &error))
    }

    fn try_write(
        &mut self,
        path: &Path,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if fs::metadata(path).is_ok_and(|known| !known.is_file()) {
            return to_end(File::options().write(true).open(path)?, content);
        }
        // A link goes on being one.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let beside = beside(&place);
        let file = File::create(&beside)?;
        self.ready.push((beside, place));
        to_end(file, content)
    }

    /// Puts all that is written where it belongs.
    pub(super) fn put(self) -> Result<(), String> {
        self.ready
            .iter()
            .try_for_each(|(beside, place)| fs::rename(beside, place).map_err(|error| cannot(place, &error)))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for (beside, _) in &self.ready {
            // What is in its place is not here any more; and what went wrong before is what has to be said.
            let _ = fs::remove_file(beside);
        }
    }
}

/// The path of what comes to a place: in the same folder, so that a rename brings it there, and of this process alone.
fn beside(place: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    place.with_file_name(name)
}

fn to_end(file: File, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    content(&mut out)?;
    out.flush()
}

fn cannot(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}
