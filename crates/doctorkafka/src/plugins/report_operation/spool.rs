//! Records that have not got out yet: in memory, and in a file while the topic cannot be written.

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};

use brokerstats::OperatorAction;

/// A bounded queue with a file behind it. `T` is whatever wants to know that an entry has got out.
#[derive(Debug)]
pub(super) struct Spool<T> {
    file: PathBuf,
    most: usize,
    entries: VecDeque<(OperatorAction, Option<T>)>,
    dropped: u64,
    on_disk: bool,
}

impl<T> Spool<T> {
    /// Opens the spool and takes in what an earlier process has left.
    pub(super) fn open(file: PathBuf, most: usize) -> std::io::Result<Self> {
        let mut spool = Self { file, most, entries: VecDeque::new(), dropped: 0, on_disk: false };
        let text = match std::fs::read(&spool.file) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(spool),
            Err(e) => return Err(e),
        };
        spool.on_disk = true;
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(action) => spool.push(action, None),
                // The last line may have been cut off by a crash.
                Err(e) => {
                    tracing::warn!(file = %spool.file.display(), error = %e, "a spooled record is unreadable")
                }
            }
        }
        Ok(spool)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds an entry; the oldest go when there are too many.
    pub(super) fn push(&mut self, action: OperatorAction, waiting: Option<T>) {
        self.entries.push_back((action, waiting));
        while self.entries.len() > self.most {
            self.entries.pop_front();
            self.dropped += 1;
            tracing::warn!(dropped = self.dropped, "the spool is full, the oldest record is dropped");
        }
    }

    pub(super) fn first(&self) -> Option<&OperatorAction> {
        self.entries.front().map(|(action, _)| action)
    }

    /// Removes the first entry, which has got out. When it was the last one, the file goes too.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (_, waiting) = self.entries.pop_front()?;
        if self.entries.is_empty() && self.on_disk {
            if let Err(e) = std::fs::remove_file(&self.file) {
                tracing::warn!(file = %self.file.display(), error = %e, "the empty spool cannot be removed");
            }
            self.on_disk = false;
        }
        waiting
    }

    /// Writes all entries to the file. What cannot be saved stays in memory.
    pub(super) fn save(&mut self) {
        match self.write() {
            Ok(()) => self.on_disk = true,
            Err(e) => {
                tracing::warn!(file = %self.file.display(), error = %e, "records cannot be spooled to disk")
            }
        }
    }

    fn write(&self) -> std::io::Result<()> {
        let new = self.file.with_extension("spool.new");
        let mut file = std::io::BufWriter::new(std::fs::File::create(&new)?);
        for (action, _) in &self.entries {
            serde_json::to_writer(&mut file, action)?;
            file.write_all(b"\n")?;
        }
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&new, &self.file)?;
        sync_folder(&self.file)
    }
}

/// Makes the new name durable.
fn sync_folder(file: &Path) -> std::io::Result<()> {
    match file.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(n: i64) -> OperatorAction {
        OperatorAction::new(n, "c", "d")
    }

    fn times(spool: &Spool<()>) -> Vec<i64> {
        spool.entries.iter().map(|(action, _)| action.timestamp).collect()
    }

    #[test]
    fn what_was_spooled_is_there_for_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.spool");
        let mut spool: Spool<()> = Spool::open(file.clone(), 10).unwrap();
        (1..=3).for_each(|n| spool.push(action(n), None));
        spool.pop();
        spool.save();
        let mut again: Spool<()> = Spool::open(file.clone(), 10).unwrap();
        assert_eq!(times(&again), [2, 3]);
        again.pop();
        again.pop();
        assert!(!file.exists(), "an empty spool leaves no file behind");
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool: Spool<()> = Spool::open(folder.path().join("a.spool"), 2).unwrap();
        (1..=4).for_each(|n| spool.push(action(n), None));
        assert_eq!((times(&spool), spool.dropped), (vec![3, 4], 2));
    }

    #[test]
    fn a_line_cut_off_by_a_crash_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.spool");
        let whole = serde_json::to_string(&action(1)).unwrap();
        std::fs::write(&file, format!("{whole}\n{}", &whole[..whole.len() / 2])).unwrap();
        let spool: Spool<()> = Spool::open(file, 10).unwrap();
        assert_eq!(times(&spool), [1]);
    }
}
