//! State that moves from the state dir into a store that several services share.
//!
//! Who sets `state_store` has pauses, plans in flight and the cooldown of replacements in the state dir, and none of that may be lost.
//! They are copied if nobody else has written anything for the cluster yet; a crash amid that leaves a mark, and the next start
//! goes on.

use std::sync::Arc;

use super::journal::Journal;
use crate::store::{StateStore, StoreError};

/// Under this key the shared store says which service is copying its state into it.
const MARK: &str = "moving";

/// What a cluster had in the state dir.
#[derive(Clone)]
pub(crate) struct Former {
    pub(crate) journal: Journal,
    /// The number of this service.
    pub(crate) instance: String,
}

/// Copies what the state dir has, if anything, into `to`, and removes it there.
///
/// # Errors
/// A store could not be read or written; what was not copied is still where it was.
pub(crate) async fn take_over(former: &Former, to: &Journal) -> Result<(), StoreError> {
    let left = former.journal.list("").await?;
    if left.is_empty() {
        return finish(former, to).await;
    }
    let there = to.list("").await?;
    let mark = to.get(MARK).await?.map(|found| found.value);
    if !there.is_empty() && mark.as_deref() != Some(former.instance.as_bytes()) {
        tracing::warn!(
            keys = left.len(),
            "the state dir has state from before `state_store` was set, and the store has other state of this cluster: \
             the store's holds, that of the state dir is left as it is"
        );
        return Ok(());
    }
    to.put(MARK, former.instance.clone().into_bytes()).await?;
    for key in &left {
        if let Some(found) = former.journal.get(key).await? {
            to.put(key, found.value).await?;
        }
    }
    for key in &left {
        former.journal.delete(key).await?;
    }
    tracing::info!(
        keys = left.len(),
        "the state of this cluster has moved from the state dir into the store"
    );
    finish(former, to).await
}

/// The mark of a copy that came to its end, or that died right before this.
async fn finish(former: &Former, to: &Journal) -> Result<(), StoreError> {
    match to.get(MARK).await? {
        Some(found) if found.value == former.instance.as_bytes() => to.delete(MARK).await,
        _ => Ok(()),
    }
}

/// What `cluster` may have in the state dir.
pub(crate) fn former(local: Arc<dyn StateStore>, cluster: &str, instance: &str) -> Former {
    Former { journal: Journal::new(local, cluster), instance: instance.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use serde_json::json;

    use super::*;
    use crate::store::memory::MemoryStore;

    struct Both {
        local: Arc<MemoryStore>,
        shared: Arc<MemoryStore>,
        former: Former,
        to: Journal,
    }

    async fn with_state() -> Both {
        let (local, shared) = (Arc::new(MemoryStore::default()), Arc::new(MemoryStore::default()));
        let former = former(Arc::clone(&local) as Arc<dyn StateStore>, "test", "one");
        let to = Journal::new(Arc::clone(&shared) as Arc<dyn StateStore>, "test");
        for (key, value) in [("a", 1), ("b", 2), ("c", 3)] {
            former.journal.persist(key, Some(&json!(value))).await.unwrap();
        }
        local.put("instance", b"one".to_vec()).await.unwrap();
        Both { local, shared, former, to }
    }

    #[tokio::test]
    async fn state_moves_once_and_wholly() {
        let Both { local, former, to, .. } = with_state().await;
        take_over(&former, &to).await.unwrap();
        assert_eq!(to.list("").await.unwrap(), ["a", "b", "c"]);
        assert_eq!(local.list("").await.unwrap(), ["instance"]);
        to.persist("a", None).await.unwrap();
        take_over(&former, &to).await.unwrap();
        assert_eq!(to.list("").await.unwrap(), ["b", "c"]);
    }

    #[tokio::test]
    async fn a_move_that_broke_off_goes_on() {
        let Both { shared, former, to, .. } = with_state().await;
        // Killed behind the first key.
        to.put(MARK, b"one".to_vec()).await.unwrap();
        to.put("a", b"1".to_vec()).await.unwrap();
        shared.unwritable.store(true, Ordering::SeqCst);
        take_over(&former, &to).await.unwrap_err();
        assert_eq!(former.journal.list("").await.unwrap(), ["a", "b", "c"]);
        shared.unwritable.store(false, Ordering::SeqCst);
        take_over(&former, &to).await.unwrap();
        assert_eq!(to.list("").await.unwrap(), ["a", "b", "c"]);
        assert!(former.journal.list("").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_others_have_written_is_not_written_over() {
        let Both { former, to, .. } = with_state().await;
        to.put("a", b"9".to_vec()).await.unwrap();
        take_over(&former, &to).await.unwrap();
        assert_eq!(to.list("").await.unwrap(), ["a"]);
        assert_eq!(to.get("a").await.unwrap().unwrap().value, b"9");
        assert_eq!(former.journal.list("").await.unwrap(), ["a", "b", "c"]);
    }
}
