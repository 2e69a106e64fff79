//! Which store a service has worked with.
//!
//! A topic that was deleted, or nodes that were removed, look like those of a cluster that is new: pauses, decommissions and the cooldown of
//! replacements would be forgotten without a word. So the store has a number, and each service that works with it, or looks on, keeps
//! that number in its state dir. Another number, or none, is no store to act on, until a person says that it is right.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use super::journal::{Journal, JournalError};
use super::neighbours::new_instance;
use crate::store::StateStore;

/// Under this key the store has its number.
const KEY: &str = "store";

/// What this service knows of the store that it shares with others.
pub(crate) struct KnownStore {
    local: Arc<dyn StateStore>,
    /// The key in the state dir.
    key: String,
    /// Where the store is: one elsewhere is a new one.
    place: String,
    /// A person takes the store as it is.
    accepted: AtomicBool,
}

/// What the store says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Number {
    id: String,
    /// The numbers of those that it was taken for by a person, the oldest first.
    #[serde(default)]
    instead_of: Vec<String>,
}

/// What this service remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    place: String,
    id: String,
}

impl KnownStore {
    pub(crate) fn new(local: Arc<dyn StateStore>, cluster: &str, place: String) -> Self {
        Self { local, key: format!("known-stores/{cluster}"), place, accepted: AtomicBool::new(false) }
    }

    /// A person takes the store as it is, from the next look on.
    pub(super) fn accept(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }

    /// Whether it is the store that this service knows. One that is new gets its number.
    ///
    /// # Errors
    /// It is another one, or cannot be read or written.
    pub(super) async fn check(&self, store: &Journal) -> Result<(), JournalError> {
        let (found, known) = (number(store).await?, self.known().await?);
        let accepted = self.accepted.load(Ordering::Relaxed);
        let number = match (found, known) {
            (Some(found), None) => found,
            (Some(found), Some(known)) if found.is(&known) => found,
            (Some(found), Some(_)) if accepted => found,
            (Some(_), Some(_)) => return Err(JournalError::AnotherStore("another one")),
            (None, Some(_)) if !accepted => return Err(JournalError::AnotherStore("an empty one")),
            (None, known) => {
                let id = new_instance().map_err(JournalError::NoNumber)?;
                let number = Number { id, instead_of: known.into_iter().collect() };
                store.persist(KEY, Some(&json!(number))).await?;
                number
            }
        };
        self.remember(number.id).await?;
        self.accepted.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Who looks on learns which store it is, too: it may be the one that finds it lost. Says whether it knows it now.
    ///
    /// # Errors
    /// One of the stores cannot be read or written.
    pub(super) async fn learn(&self, store: &Journal) -> Result<bool, JournalError> {
        let (Some(found), known) = (number(store).await?, self.known().await?) else { return Ok(false) };
        if known.is_none_or(|known| found.is(&known)) {
            self.remember(found.id).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn known(&self) -> Result<Option<String>, JournalError> {
        let Some(found) = self.local.get(&self.key).await? else { return Ok(None) };
        let mark: Mark = parsed(&self.key, &found.value)?;
        Ok((mark.place == self.place).then_some(mark.id))
    }

    async fn remember(&self, id: String) -> Result<(), JournalError> {
        if self.known().await?.as_ref() != Some(&id) {
            let mark = json!(Mark { place: self.place.clone(), id });
            self.local.put(&self.key, mark.to_string().into_bytes()).await?;
        }
        Ok(())
    }
}

impl Number {
    fn is(&self, known: &String) -> bool {
        self.id == *known || self.instead_of.contains(known)
    }
}

async fn number(store: &Journal) -> Result<Option<Number>, JournalError> {
    match store.value(KEY).await? {
        Some(value) => serde_json::from_value(value)
            .map(Some)
            .map_err(|source| JournalError::NotJson { key: KEY.to_owned(), source }),
        None => Ok(None),
    }
}

fn parsed<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, JournalError> {
    serde_json::from_slice(bytes).map_err(|source| JournalError::NotJson { key: key.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn service(place: &str) -> KnownStore {
        KnownStore::new(Arc::new(MemoryStore::default()), "test", place.to_owned())
    }

    fn empty() -> Journal {
        Journal::new(Arc::new(MemoryStore::default()), "test")
    }

    #[tokio::test]
    async fn a_store_that_was_lost_is_not_taken_for_a_new_one() {
        let (acts, looks_on, store) = (service("a"), service("a"), empty());
        assert!(!looks_on.learn(&store).await.unwrap(), "nobody has worked with it yet");
        acts.check(&store).await.unwrap();
        acts.check(&store).await.unwrap();
        assert!(looks_on.learn(&store).await.unwrap());
        looks_on.check(&store).await.unwrap();

        let lost = empty();
        for service in [&acts, &looks_on] {
            let error = service.check(&lost).await.unwrap_err().to_string();
            assert!(error.contains("an empty one") && error.contains("accept-identity"), "{error}");
        }
        // Nor is one that somebody else has begun.
        let others = empty();
        service("a").check(&others).await.unwrap();
        let error = acts.check(&others).await.unwrap_err().to_string();
        assert!(error.contains("another one"), "{error}");
        assert!(!looks_on.learn(&others).await.unwrap());
    }

    #[tokio::test]
    async fn a_person_may_take_it_as_it_is_for_all_services() {
        let (acts, looks_on, store) = (service("a"), service("a"), empty());
        acts.check(&store).await.unwrap();
        looks_on.check(&store).await.unwrap();
        let lost = empty();
        acts.accept();
        acts.check(&lost).await.unwrap();
        looks_on.check(&lost).await.unwrap();
        assert!(acts.check(&empty()).await.is_err(), "it was accepted once");
        // One elsewhere is meant to be new.
        let moved = KnownStore { place: "b".to_owned(), ..acts };
        moved.check(&empty()).await.unwrap();
    }
}
