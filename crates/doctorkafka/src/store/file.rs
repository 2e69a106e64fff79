//! The state store in a directory of one machine: one file for each key.
//!
//! A value is written to a temporary file, which is synced and then renamed over the old one; then the directory is
//! synced. So a file is at every moment either the old one or the new one, whole. What a crash leaves over are
//! temporary files; they are removed when the store is opened. A header with a checksum over key, version and value
//! tells what a medium has damaged.
//!
//! A lock on the file `lock` keeps a second process out. The kernel drops it with the process, however that ends.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cluster::BoxFuture;
use rustix::fs::{FlockOperation, flock};

use super::{StateStore, StoreError, Version, Versioned, names};

/// First word of every file, with the version of the format.
const MAGIC: &str = "doctorkafka-state-1";
/// End of the name of a file that holds a value.
const VALUE_SUFFIX: &str = ".value";
/// Beginning of the name of a file that is being written.
const TEMPORARY_PREFIX: &str = "tmp-";
/// A header has five short words; a longer first line is none.
const MAX_HEADER: usize = 200;

/// The state store in a directory. Cheap to clone; the directory is locked until the last clone is gone.
#[derive(Clone, Debug)]
pub struct FileStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    /// For syncing the directory itself.
    handle: File,
    /// The highest version ever given. Writers hold it for the whole of a change.
    last: Mutex<u64>,
    /// Held for the lock on it.
    _lock: File,
}

impl FileStore {
    /// Opens the store in `dir`, which is made if it is not there (for its owner alone), and locks it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it open; [`StoreError::Open`] if it cannot be used.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { path: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let lock = take_lock(dir)?;
        remove_leftovers(dir).map_err(failed)?;
        let handle = File::open(dir).map_err(failed)?;
        let inner = Inner { dir: dir.to_owned(), handle, last: Mutex::new(0), _lock: lock };
        // The highest version of all that is readable. What is damaged is found, and told, by whoever reads it.
        let keys = inner.list("")?;
        let last = keys.iter().filter_map(|key| inner.get(key).ok().flatten()).map(|v| v.version.0).max();
        *inner.last.lock().unwrap_or_else(PoisonError::into_inner) = last.unwrap_or(0);
        Ok(Self(Arc::new(inner)))
    }

    /// What is stored in `dir` at this moment, under keys that begin with `prefix`, without keeping anybody out; nothing is changed.
    ///
    /// # Errors
    /// There is no store, or it cannot be read.
    pub(crate) fn peek(dir: &Path, prefix: &str) -> Result<BTreeMap<String, Versioned>, StoreError> {
        let failed = |source| StoreError::Open { path: dir.to_owned(), source };
        let handle = File::open(dir).map_err(failed)?;
        let lock = File::open(dir.join("lock")).map_err(failed)?;
        let inner = Inner { dir: dir.to_owned(), handle, last: Mutex::new(0), _lock: lock };
        let mut found = BTreeMap::new();
        for key in inner.list(prefix)? {
            if let Some(value) = inner.get(&key)? {
                found.insert(key, value);
            }
        }
        Ok(found)
    }

    /// Runs `what` where it may block.
    fn blocking<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            tokio::task::spawn_blocking(move || what(&inner)).await.unwrap_or(Err(StoreError::Closed))
        })
    }
}

impl StateStore for FileStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Versioned>, StoreError>> {
        let key = key.to_owned();
        self.blocking(move |inner| inner.get(&key))
    }

    fn put<'a>(&'a self, key: &'a str, value: Vec<u8>) -> BoxFuture<'a, Result<Version, StoreError>> {
        let key = key.to_owned();
        self.blocking(move |inner| {
            let mut last = inner.last.lock().unwrap_or_else(PoisonError::into_inner);
            inner.write(&key, &value, &mut last)
        })
    }

    fn compare_and_set<'a>(
        &'a self,
        key: &'a str,
        expected: Option<Version>,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        let key = key.to_owned();
        self.blocking(move |inner| {
            let mut last = inner.last.lock().unwrap_or_else(PoisonError::into_inner);
            let found = inner.get(&key)?.map(|stored| stored.version);
            if found != expected {
                return Err(StoreError::Conflict { key, found });
            }
            inner.write(&key, &value, &mut last)
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        let prefix = prefix.to_owned();
        self.blocking(move |inner| inner.list(&prefix))
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let key = key.to_owned();
        self.blocking(move |inner| {
            let _last = inner.last.lock().unwrap_or_else(PoisonError::into_inner);
            inner.delete(&key)
        })
    }
}

impl Inner {
    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let path = self.dir.join(file_name(key)?);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.surely_absent(key),
            Err(source) => {
                return Err(StoreError::Read { key: key.to_owned(), at: path.display().to_string(), source });
            }
        };
        let stored = decode(key, &bytes).map_err(|why| StoreError::Damaged {
            key: key.to_owned(),
            at: path.display().to_string(),
            why,
        })?;
        Ok(Some(stored))
    }

    /// A missing file is only the absence of a value if the directory itself is still there: one that was unmounted
    /// or removed under a running service must not look like an empty journal.
    fn surely_absent(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        match fs::metadata(self.dir.join("lock")) {
            Ok(_) => Ok(None),
            Err(source) => {
                Err(StoreError::Read { key: key.to_owned(), at: self.dir.display().to_string(), source })
            }
        }
    }

    fn write(&self, key: &str, value: &[u8], last: &mut u64) -> Result<Version, StoreError> {
        let name = file_name(key)?;
        let version = Version(*last + 1);
        let temporary = self.dir.join(format!("{TEMPORARY_PREFIX}{}", version.0));
        let path = self.dir.join(name);
        let attempt = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&encode(key, version, value))?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            self.handle.sync_all()
        };
        attempt().map_err(|source| {
            // What is left over would only take room on a disk that may be full.
            let _ = fs::remove_file(&temporary);
            StoreError::Write { key: key.to_owned(), at: path.display().to_string(), source }
        })?;
        *last = version.0;
        Ok(version)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let failed =
            |source| StoreError::Read { key: prefix.to_owned(), at: self.dir.display().to_string(), source };
        let mut keys = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let key = name.to_str().and_then(key_of);
            keys.extend(key.filter(|key| key.starts_with(prefix)));
        }
        keys.sort();
        Ok(keys)
    }

    fn delete(&self, key: &str) -> Result<(), StoreError> {
        let path = self.dir.join(file_name(key)?);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.and_then(|()| self.handle.sync_all()),
        };
        removed.map_err(|source| StoreError::Write {
            key: key.to_owned(),
            at: path.display().to_string(),
            source,
        })
    }
}

fn take_lock(dir: &Path) -> Result<File, StoreError> {
    let failed = |source| StoreError::Open { path: dir.to_owned(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join("lock"))
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(StoreError::Locked { path: dir.to_owned(), pid });
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    let note = || -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    let mut note = note;
    note().map_err(failed)?;
    Ok(file)
}

fn remove_leftovers(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY_PREFIX))
            && let Err(error) = fs::remove_file(entry.path())
        {
            // It only takes room: no reason to heal nothing.
            tracing::warn!(file = %entry.path().display(), %error, "a leftover cannot be removed");
        }
    }
    Ok(())
}

/// The name of the file of `key`.
fn file_name(key: &str) -> Result<String, StoreError> {
    Ok(names::encode(key)? + VALUE_SUFFIX)
}

/// The key whose file has this name; `None` for files that are not ours.
fn key_of(name: &str) -> Option<String> {
    names::decode(name.strip_suffix(VALUE_SUFFIX)?)
}

fn encode(key: &str, version: Version, value: &[u8]) -> Vec<u8> {
    let checksum = checksum(key, version, value);
    let mut bytes = format!("{MAGIC} {} {} {checksum:08x}\n", version.0, value.len()).into_bytes();
    bytes.extend_from_slice(value);
    bytes
}

fn decode(key: &str, bytes: &[u8]) -> Result<Versioned, String> {
    let end = bytes.iter().take(MAX_HEADER).position(|byte| *byte == b'\n');
    let (header, value) = end.map(|end| (&bytes[..end], &bytes[end + 1..])).ok_or("it has no header")?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is not text")?;
    let words: Vec<&str> = header.split(' ').collect();
    let [MAGIC, version, length, expected] = words[..] else {
        return Err(format!("its header does not begin with {MAGIC} and three values"));
    };
    let number = |word: &str| word.parse::<u64>().map_err(|_| "its header has a bad number".to_owned());
    let version = Version(number(version)?);
    let length = number(length)?;
    if u64::try_from(value.len()) != Ok(length) {
        return Err(format!("it has {} bytes where {length} were written", value.len()));
    }
    if format!("{:08x}", checksum(key, version, value)) != expected {
        return Err("its checksum does not match".to_owned());
    }
    Ok(Versioned { value: value.to_owned(), version })
}

fn checksum(key: &str, version: Version, value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(&[0]);
    hasher.update(&version.0.to_be_bytes());
    hasher.update(value);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;
    use crate::store::{conformance, in_words};

    fn store_in(dir: &tempfile::TempDir) -> FileStore {
        FileStore::open(dir.path()).unwrap()
    }

    fn only_value_file(dir: &Path) -> PathBuf {
        let mut files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.to_str().unwrap().ends_with(VALUE_SUFFIX)).unwrap()
    }

    #[tokio::test]
    async fn keeps_the_contract_of_a_state_store() {
        let dir = tempfile::tempdir().unwrap();
        conformance::check(&mut || {
            let path = dir.path().join("store");
            Box::pin(async move { FileStore::open(&path).unwrap() })
        })
        .await;
    }

    #[test]
    fn keeps_a_second_owner_out_and_names_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = store_in(&dir);
        let refusal = FileStore::open(dir.path()).unwrap_err().to_string();
        assert!(refusal.contains(&format!("pid {}", std::process::id())), "{refusal}");
        drop(first);
        FileStore::open(dir.path()).unwrap();
    }

    #[tokio::test]
    async fn is_readable_by_its_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/b");
        let store = FileStore::open(&dir).unwrap();
        store.put("k", b"v".to_vec()).await.unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&only_value_file(&dir)), 0o600);
        assert_eq!(mode(&dir.join("lock")), 0o600);
    }

    #[tokio::test]
    async fn ignores_and_removes_what_a_crash_left_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tmp-7"), "half a va").unwrap();
        fs::create_dir(dir.path().join("tmp-of-somebody-else")).unwrap();
        fs::write(dir.path().join("notes.txt"), "of a person").unwrap();
        let store = store_in(&dir);
        assert_eq!(store.list("").await.unwrap(), Vec::<String>::new());
        assert!(!dir.path().join("tmp-7").exists());
        assert!(dir.path().join("notes.txt").exists());
    }

    #[tokio::test]
    async fn never_takes_a_damaged_value_for_a_good_one_or_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_in(&dir);
        store.put("key", b"a value of some length".to_vec()).await.unwrap();
        let path = only_value_file(dir.path());
        let good = fs::read(&path).unwrap();
        for cut in 0..good.len() {
            fs::write(&path, &good[..cut]).unwrap();
            assert!(matches!(store.get("key").await, Err(StoreError::Damaged { .. })), "cut at {cut}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x01;
            fs::write(&path, &bad).unwrap();
            assert!(matches!(store.get("key").await, Err(StoreError::Damaged { .. })), "flipped at {at}");
        }
        let message = in_words(&store.get("key").await.unwrap_err());
        assert!(message.contains("\"key\"") && message.contains("checksum"), "{message}");
    }

    #[tokio::test]
    async fn a_failed_write_says_why_and_leaves_the_old_value() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_in(&dir);
        store.put("other", b"old".to_vec()).await.unwrap();
        // A directory in the place of the value's file makes the rename fail for every user, root included.
        fs::create_dir(dir.path().join(file_name("key").unwrap())).unwrap();
        let error = store.put("key", b"new".to_vec()).await.unwrap_err();
        assert!(matches!(error, StoreError::Write { .. }));
        assert!(in_words(&error).contains("directory"), "{}", in_words(&error));
        assert_eq!(store.get("other").await.unwrap().unwrap().value, b"old");
        assert!(
            fs::read_dir(dir.path()).unwrap().all(|e| !e
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .starts_with("tmp-"))
        );
    }

    #[tokio::test]
    async fn a_directory_that_was_taken_away_is_not_an_empty_store() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("store");
        let store = FileStore::open(&dir).unwrap();
        store.put("key", b"v".to_vec()).await.unwrap();
        fs::rename(&dir, parent.path().join("elsewhere")).unwrap();
        assert!(matches!(store.get("key").await, Err(StoreError::Read { .. })));
        assert!(matches!(store.list("").await, Err(StoreError::Read { .. })));
        assert!(matches!(store.put("key", Vec::new()).await, Err(StoreError::Write { .. })));
    }

    proptest! {
        #[test]
        fn every_key_comes_back_from_its_file_name(key in "\\PC{1,40}") {
            if let Ok(name) = file_name(&key) {
                prop_assert!(!name.contains('/') && !name.starts_with('.') && !name.starts_with("tmp-%"));
                prop_assert_eq!(key_of(&name), Some(key));
            }
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode("key", &bytes);
            let _ = key_of(&String::from_utf8_lossy(&bytes));
        }
    }
}
