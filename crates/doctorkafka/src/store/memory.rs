//! A state store in memory, with faults on demand, for tests.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster::BoxFuture;

use super::{StateStore, StoreError, Version, Versioned};

/// Keeps values for as long as it lives.
#[derive(Default)]
pub(crate) struct MemoryStore {
    values: Mutex<(u64, BTreeMap<String, Versioned>)>,
    /// Reading fails while this is set.
    pub(crate) unreadable: AtomicBool,
    /// Writing fails while this is set.
    pub(crate) unwritable: AtomicBool,
}

impl MemoryStore {
    fn check(&self, key: &str, reads: bool) -> Result<(), StoreError> {
        let source = || io::Error::from(io::ErrorKind::StorageFull);
        let (key, at) = (key.to_owned(), "memory".to_owned());
        if key.is_empty() && !reads {
            return Err(StoreError::Key { key, why: "it is empty" });
        }
        if reads && self.unreadable.load(Ordering::SeqCst) {
            return Err(StoreError::Read { key, at, source: source() });
        }
        if !reads && self.unwritable.load(Ordering::SeqCst) {
            return Err(StoreError::Write { key, at, source: source() });
        }
        Ok(())
    }

    fn read(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        if key.is_empty() {
            return Err(StoreError::Key { key: String::new(), why: "it is empty" });
        }
        self.check(key, true)?;
        Ok(self.values.lock().unwrap().1.get(key).cloned())
    }

    fn write(&self, key: &str, value: Vec<u8>) -> Result<Version, StoreError> {
        self.check(key, false)?;
        let mut values = self.values.lock().unwrap();
        values.0 += 1;
        let version = Version(values.0);
        values.1.insert(key.to_owned(), Versioned { value, version });
        Ok(version)
    }
}

impl StateStore for MemoryStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Versioned>, StoreError>> {
        Box::pin(async move { self.read(key) })
    }

    fn put<'a>(&'a self, key: &'a str, value: Vec<u8>) -> BoxFuture<'a, Result<Version, StoreError>> {
        Box::pin(async move { self.write(key, value) })
    }

    fn compare_and_set<'a>(
        &'a self,
        key: &'a str,
        expected: Option<Version>,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        Box::pin(async move {
            let found = self.read(key)?.map(|stored| stored.version);
            if found != expected {
                return Err(StoreError::Conflict { key: key.to_owned(), found });
            }
            self.write(key, value)
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            self.check(prefix, true)?;
            let values = self.values.lock().unwrap();
            Ok(values.1.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.check(key, false)?;
            self.values.lock().unwrap().1.remove(key);
            Ok(())
        })
    }
}
