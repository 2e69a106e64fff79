//! Records that have not got out yet: in memory, and in a file while the topic cannot be written.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use brokerstats::OperatorAction;

/// A bounded queue with a file behind it. `T` is whatever wants to know that an entry has got out.
#[derive(Debug)]
pub(super) struct Spool<T> {
    file: PathBuf,
    most: usize,
    entries: VecDeque<(OperatorAction, Option<T>)>,
    /// About how many bytes the entries take.
    bytes: usize,
    dropped: u64,
    on_disk: bool,
    /// How many lines the file has; those of entries that have got out since are among them.
    lines: usize,
    /// How many of the entries, the newest, are not in the file.
    unsaved: usize,
}

/// Bytes that are kept, whatever the number of records.
const MOST_BYTES: usize = 64 << 20;
/// Lines of entries that have got out may be as many as the others, and so many more, before the file is written anew.
const STALE_LINES: usize = 1_000;

/// So many spools that could not be read are put aside before one of them is written over.
const MOST_ASIDE: u32 = 100;

/// What is to be written to the file, on a thread where it may take long.
#[derive(Debug)]
pub(super) struct Save {
    file: PathBuf,
    text: Vec<u8>,
    lines: usize,
    anew: bool,
}

impl Save {
    /// Writes it, durably.
    pub(super) fn write(&self) -> std::io::Result<()> {
        if !self.anew {
            let mut file = OpenOptions::new().append(true).open(&self.file)?;
            file.write_all(&self.text)?;
            return file.sync_all();
        }
        let new = self.file.with_extension("spool.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&self.text)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.file)?;
        sync_folder(&self.file)
    }
}

fn size(action: &OperatorAction) -> usize {
    // Twice the text that it is made of is more than the rest of it.
    2 * (action.description.len() + action.detail.len() + action.reason.len() + action.result.len()) + 500
}

impl<T> Spool<T> {
    /// Opens the spool and takes in what an earlier process has left. What cannot be read is put aside under another name:
    /// no reason to heal nothing, and not to be overwritten.
    pub(super) fn open(file: PathBuf, most: usize) -> Self {
        let mut spool = Self {
            file,
            most,
            entries: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            on_disk: false,
            lines: 0,
            unsaved: 0,
        };
        let text = match std::fs::read(&spool.file) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return spool,
            Err(e) => {
                let numbered = |n: u32| spool.file.with_extension(format!("spool.unreadable.{n}"));
                let aside = (1..MOST_ASIDE).map(numbered).find(|path| !path.exists());
                let aside = aside.unwrap_or_else(|| numbered(MOST_ASIDE));
                tracing::error!(file = %spool.file.display(), aside = %aside.display(), error = %e,
                    "the spool cannot be read, records in it do not reach the actions topic");
                if let Err(e) = std::fs::rename(&spool.file, &aside) {
                    tracing::error!(file = %spool.file.display(), error = %e, "it cannot be put aside either");
                }
                return spool;
            }
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
        // The first save writes the file anew: what could not be read is not in it then.
        spool.lines = usize::MAX;
        spool
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries were dropped because there were too many.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds an entry; the oldest go when there are too many.
    pub(super) fn push(&mut self, action: OperatorAction, waiting: Option<T>) {
        self.bytes += size(&action);
        self.entries.push_back((action, waiting));
        self.unsaved += 1;
        while self.entries.len() > self.most || (self.bytes > MOST_BYTES && self.entries.len() > 1) {
            self.take_first();
            self.dropped += 1;
            tracing::warn!(dropped = self.dropped, "the spool is full, the oldest record is dropped");
        }
    }

    pub(super) fn first(&self) -> Option<&OperatorAction> {
        self.entries.front().map(|(action, _)| action)
    }

    /// Removes the first entry, which has got out. When it was the last one, the file goes too.
    pub(super) fn pop(&mut self) -> Option<T> {
        let waiting = self.take_first()?;
        if self.entries.is_empty() && self.on_disk {
            if let Err(e) = std::fs::remove_file(&self.file) {
                tracing::warn!(file = %self.file.display(), error = %e, "the empty spool cannot be removed");
            }
            self.on_disk = false;
        }
        waiting
    }

    fn take_first(&mut self) -> Option<Option<T>> {
        let (action, waiting) = self.entries.pop_front()?;
        self.bytes = self.bytes.saturating_sub(size(&action));
        self.unsaved = self.unsaved.min(self.entries.len());
        Some(waiting)
    }

    /// What must be written for the file to hold all entries: mostly the newest alone.
    pub(super) fn unsaved(&self) -> Option<Save> {
        if self.unsaved == 0 && self.on_disk {
            return None;
        }
        let lines = self.lines.saturating_add(self.unsaved);
        let anew = !self.on_disk || lines > 2 * self.entries.len() + STALE_LINES;
        let skip = if anew { 0 } else { self.entries.len() - self.unsaved };
        let mut text = Vec::new();
        for (action, _) in self.entries.iter().skip(skip) {
            if serde_json::to_writer(&mut text, action).is_ok() {
                text.push(b'\n');
            }
        }
        let lines = if anew { self.entries.len() } else { lines };
        Some(Save { file: self.file.clone(), text, lines, anew })
    }

    /// Takes in that `save` has been written, or not: then all is written anew, and stays in memory meanwhile.
    pub(super) fn saved(&mut self, save: &Save, result: std::io::Result<()>) {
        match result {
            Ok(()) => (self.on_disk, self.lines, self.unsaved) = (true, save.lines, 0),
            Err(e) => {
                self.lines = usize::MAX;
                tracing::warn!(file = %self.file.display(), error = %e, "records cannot be spooled to disk");
            }
        }
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
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn action(n: i64) -> OperatorAction {
        OperatorAction::new(n, "c", "d")
    }

    fn times(spool: &Spool<()>) -> Vec<i64> {
        spool.entries.iter().map(|(action, _)| action.timestamp).collect()
    }

    fn save(spool: &mut Spool<()>) -> bool {
        let save = spool.unsaved().unwrap();
        spool.saved(&save, save.write());
        save.anew
    }

    #[test]
    fn a_further_record_does_not_write_the_others_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.spool");
        let mut spool: Spool<()> = Spool::open(file.clone(), 10);
        spool.push(action(1), None);
        assert!(save(&mut spool));
        spool.push(action(2), None);
        assert!(!save(&mut spool));
        assert!(spool.unsaved().is_none());
        assert_eq!(times(&Spool::open(file, 10)), [1, 2]);
    }

    #[test]
    fn the_bytes_are_bounded_too() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool: Spool<()> = Spool::open(folder.path().join("a.spool"), 10_000);
        for n in 0..10 {
            spool.push(OperatorAction { detail: "x".repeat(10 << 20), ..action(n) }, None);
        }
        assert_eq!(times(&spool), [7, 8, 9]);
    }

    #[test]
    fn what_was_spooled_is_there_for_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.spool");
        let mut spool: Spool<()> = Spool::open(file.clone(), 10);
        (1..=3).for_each(|n| spool.push(action(n), None));
        spool.pop();
        save(&mut spool);
        let mut again: Spool<()> = Spool::open(file.clone(), 10);
        assert_eq!(times(&again), [2, 3]);
        again.pop();
        again.pop();
        assert!(!file.exists(), "an empty spool leaves no file behind");
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool: Spool<()> = Spool::open(folder.path().join("a.spool"), 2);
        (1..=4).for_each(|n| spool.push(action(n), None));
        assert_eq!((times(&spool), spool.dropped), (vec![3, 4], 2));
    }

    #[test]
    fn a_line_cut_off_by_a_crash_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.spool");
        let whole = serde_json::to_string(&action(1)).unwrap();
        std::fs::write(&file, format!("{whole}\n{}", &whole[..whole.len() / 2])).unwrap();
        let spool: Spool<()> = Spool::open(file, 10);
        assert_eq!(times(&spool), [1]);
    }

    #[test]
    fn one_that_cannot_be_read_is_put_aside_and_only_the_owner_reads_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.spool");
        std::fs::create_dir(&file).unwrap();
        let mut spool: Spool<()> = Spool::open(file.clone(), 10);
        spool.push(action(1), None);
        save(&mut spool);
        assert_eq!(times(&Spool::open(file.clone(), 10)), [1]);
        assert!(folder.path().join("a.spool.unreadable.1").is_dir());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
