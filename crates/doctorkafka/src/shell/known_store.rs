//! Which store a service has worked with.
//!
//! A topic that was deleted, or nodes that were removed, look like those of a cluster that is new: pauses, decommissions and the cooldown of
//! replacements would be forgotten without a word. So the store has a number, and each service that works with it, or looks on, keeps
//! that number in its state dir. Another number, or none, is no store to act on, until a person says that it is right. That holds wherever
//! the store is: who changes `state_store`, or takes it out of the configuration, loses as much as who loses the store. One that has moved with
//! all that is in it has its number still.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use super::journal::{JOURNALS, Journal, JournalError};
use super::neighbours::new_instance;
use crate::store::StateStore;

/// Under this key the store has its number.
const KEY: &str = "store";
/// Where the state is that no other service shares.
const STATE_DIR: &str = "state-dir";

/// What a store is, in its old place and in another.
const ANOTHER: [&str; 2] = ["another one", "another one, as `state_store` has been changed"];
/// The same of one in which nobody has worked.
const EMPTY: [&str; 2] = ["an empty one", "an empty one, as `state_store` has been changed"];

/// What this service knows of the store that it shares with others.
pub(crate) struct KnownStore {
    local: Arc<dyn StateStore>,
    /// The key in the state dir.
    key: String,
    /// What the keys of the cluster's state begin with, where that is in the state dir.
    state: String,
    /// Where the store is.
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
    /// The number; the state dir has none.
    id: String,
}

impl KnownStore {
    /// One that is shared, in `place`.
    pub(crate) fn new(local: Arc<dyn StateStore>, cluster: &str, place: String) -> Self {
        let (key, state) = (format!("known-stores/{cluster}"), format!("{JOURNALS}{cluster}/"));
        Self { local, key, state, place, accepted: AtomicBool::new(false) }
    }

    /// That in the state dir.
    pub(crate) fn of_state_dir(local: Arc<dyn StateStore>, cluster: &str) -> Self {
        Self::new(local, cluster, STATE_DIR.to_owned())
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
        let known = self.known().await?;
        if self.place == STATE_DIR {
            self.check_state_dir(known).await?;
        } else {
            self.check_shared(store, known).await?;
        }
        self.accepted.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Where no store was ever shared there is nothing to compare the state dir with, and nothing is written down.
    async fn check_state_dir(&self, known: Option<Mark>) -> Result<(), JournalError> {
        match known {
            Some(mark) if mark.place != STATE_DIR && !self.accepted.load(Ordering::Relaxed) => {
                Err(JournalError::AnotherStore(
                    "the state dir, as the configuration has no `state_store` any more",
                ))
            }
            Some(_) => self.remember(String::new()).await,
            None => Ok(()),
        }
    }

    async fn check_shared(&self, store: &Journal, known: Option<Mark>) -> Result<(), JournalError> {
        let found = number(store).await?;
        let accepted = self.accepted.load(Ordering::Relaxed);
        let number = match (found, known) {
            (Some(found), None) => found,
            (Some(found), Some(known)) if accepted || found.is(&known) => found,
            (Some(_), Some(known)) => return Err(self.another(&known, ANOTHER)),
            (None, Some(known)) if !accepted => return Err(self.another(&known, EMPTY)),
            (None, known) => {
                let id = new_instance().map_err(JournalError::NoNumber)?;
                let before = known.into_iter().filter(|mark| mark.place != STATE_DIR);
                let number = Number { id, instead_of: before.map(|mark| mark.id).collect() };
                store.persist(KEY, Some(&json!(number))).await?;
                number
            }
        };
        self.remember(number.id).await
    }

    fn another(&self, known: &Mark, [what, what_elsewhere]: [&'static str; 2]) -> JournalError {
        JournalError::AnotherStore(if known.place == self.place { what } else { what_elsewhere })
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

    /// The store that this service has worked with, unless all that was in it has moved.
    async fn known(&self) -> Result<Option<Mark>, JournalError> {
        let Some(mark) = self.mark().await? else { return Ok(None) };
        let has_moved = mark.place == STATE_DIR
            && self.place != STATE_DIR
            && self.local.list(&self.state).await?.is_empty();
        Ok((!has_moved).then_some(mark))
    }

    async fn mark(&self) -> Result<Option<Mark>, JournalError> {
        match self.local.get(&self.key).await? {
            Some(found) => parsed(&self.key, &found.value).map(Some),
            None => Ok(None),
        }
    }

    async fn remember(&self, id: String) -> Result<(), JournalError> {
        let mark = Mark { place: self.place.clone(), id };
        if self.mark().await?.as_ref() != Some(&mark) {
            self.local.put(&self.key, json!(mark).to_string().into_bytes()).await?;
        }
        Ok(())
    }
}

impl Number {
    fn is(&self, known: &Mark) -> bool {
        self.id == known.id || self.instead_of.contains(&known.id)
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
    use crate::shell::moving::{former, take_over};
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
    }

    /// The same state dir with another configuration.
    fn elsewhere(service: &KnownStore, place: &str) -> KnownStore {
        KnownStore::new(Arc::clone(&service.local), "test", place.to_owned())
    }

    #[tokio::test]
    async fn a_store_in_another_place_is_not_taken_for_a_new_one() {
        let (acts, looks_on, store) = (service("a"), service("a"), empty());
        acts.check(&store).await.unwrap();
        assert!(looks_on.learn(&store).await.unwrap());
        let (moved, other) = (elsewhere(&acts, "b"), empty());
        let error = moved.check(&other).await.unwrap_err().to_string();
        assert!(
            error.contains("an empty one, as `state_store`") && error.contains("accept-identity"),
            "{error}"
        );
        let taken = empty();
        service("b").check(&taken).await.unwrap();
        let error = moved.check(&taken).await.unwrap_err().to_string();
        assert!(error.contains("another one, as `state_store`"), "{error}");
        // What one person takes is taken by all that knew the one before.
        moved.accept();
        moved.check(&other).await.unwrap();
        moved.check(&other).await.unwrap();
        assert!(elsewhere(&looks_on, "b").learn(&other).await.unwrap());
        let error = elsewhere(&acts, "a").check(&store).await.unwrap_err().to_string();
        assert!(error.contains("another one, as `state_store`"), "back again is a change, too: {error}");
    }

    #[tokio::test]
    async fn a_store_that_has_moved_with_all_that_is_in_it_is_known() {
        // So it is where other brokers of the same cluster are named, or another name of the same server.
        let (acts, store) = (service("a"), empty());
        acts.check(&store).await.unwrap();
        let moved = elsewhere(&acts, "b");
        moved.check(&store).await.unwrap();
        let error = moved.check(&empty()).await.unwrap_err().to_string();
        assert!(error.contains("an empty one:"), "{error}");
    }

    #[tokio::test]
    async fn the_state_dir_does_not_silently_follow_a_shared_store() {
        let (shared, store) = (service("a"), empty());
        let local = Arc::clone(&shared.local);
        let in_state_dir = || KnownStore::of_state_dir(Arc::clone(&local), "test");
        let journal = Journal::new(Arc::clone(&local), "test");
        in_state_dir().check(&journal).await.unwrap();
        assert!(
            local.list("known-stores/").await.unwrap().is_empty(),
            "one that works alone has nothing to compare"
        );
        shared.check(&store).await.unwrap();
        let alone = in_state_dir();
        for _ in 0..2 {
            let error = alone.check(&journal).await.unwrap_err().to_string();
            assert!(error.contains("the state dir, as") && error.contains("accept-identity"), "{error}");
        }
        alone.accept();
        alone.check(&journal).await.unwrap();
        in_state_dir().check(&journal).await.unwrap();
        // What was written there meanwhile would be forgotten on the way back.
        journal.persist("wishes", Some(&json!({}))).await.unwrap();
        let back = service_in(&local);
        let error = back.check(&store).await.unwrap_err().to_string();
        assert!(error.contains("another one, as `state_store`"), "{error}");
        assert!(!back.learn(&store).await.unwrap());
        back.accept();
        back.check(&store).await.unwrap();
    }

    fn service_in(local: &Arc<dyn StateStore>) -> KnownStore {
        KnownStore::new(Arc::clone(local), "test", "a".to_owned())
    }

    #[tokio::test]
    async fn what_has_moved_out_of_the_state_dir_is_not_missed() {
        let (shared, first, second) = (service("a"), empty(), empty());
        shared.check(&first).await.unwrap();
        let alone = KnownStore::of_state_dir(Arc::clone(&shared.local), "test");
        alone.accept();
        alone.check(&first).await.unwrap();
        let state_dir = Journal::new(Arc::clone(&shared.local), "test");
        state_dir.persist("wishes", Some(&json!({}))).await.unwrap();
        let former = former(Arc::clone(&shared.local), "test", "one");
        take_over(&former, &second).await.unwrap();
        elsewhere(&shared, "b").check(&second).await.unwrap();
        assert_eq!(second.value("wishes").await.unwrap(), Some(json!({})));
    }
}
