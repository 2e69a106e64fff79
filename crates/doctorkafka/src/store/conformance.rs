//! What every backend of the state store must do. Each backend runs [`check`] in its tests.

use cluster::BoxFuture;

use super::{StateStore, StoreError, Version};

/// Opens the store under test. Each call opens the same store anew, as a restarted process would; the one before it
/// is closed by then.
pub(crate) type Factory<'a, S> = &'a mut dyn FnMut() -> BoxFuture<'static, S>;

/// Runs the whole suite on a store that is empty at first.
pub(crate) async fn check<S: StateStore>(open: Factory<'_, S>) {
    gives_back_what_was_put(&open().await).await;
    survives_being_opened_anew(open).await;
    compares_before_it_sets(&open().await).await;
    versions_only_grow(open).await;
    lists_by_prefix_in_order(&open().await).await;
    takes_any_bytes_and_any_sensible_key(&open().await).await;
    takes_the_journal_of_ten_thousand_moves(&open().await).await;
    refuses_an_empty_key(&open().await).await;
    lets_one_of_many_racers_win(&open().await).await;
}

async fn value<S: StateStore>(store: &S, key: &str) -> Option<Vec<u8>> {
    store.get(key).await.unwrap().map(|stored| stored.value)
}

async fn gives_back_what_was_put<S: StateStore>(store: &S) {
    assert_eq!(store.get("basic").await.unwrap(), None);
    let first = store.put("basic", b"one".to_vec()).await.unwrap();
    let stored = store.get("basic").await.unwrap().unwrap();
    assert_eq!((stored.value.as_slice(), stored.version), (b"one".as_slice(), first));
    store.put("basic", b"two".to_vec()).await.unwrap();
    assert_eq!(value(store, "basic").await.as_deref(), Some(b"two".as_slice()));
    store.delete("basic").await.unwrap();
    assert_eq!(store.get("basic").await.unwrap(), None);
    store.delete("basic").await.unwrap();
}

async fn survives_being_opened_anew<S: StateStore>(open: Factory<'_, S>) {
    let store = open().await;
    store.put("kept", b"value".to_vec()).await.unwrap();
    store.put("gone", b"value".to_vec()).await.unwrap();
    store.delete("gone").await.unwrap();
    let before = store.get("kept").await.unwrap();
    drop(store);
    let store = open().await;
    assert_eq!(store.get("kept").await.unwrap(), before);
    assert_eq!(store.get("gone").await.unwrap(), None);
}

async fn compares_before_it_sets<S: StateStore>(store: &S) {
    let conflict = |result: Result<Version, StoreError>| match result {
        Err(StoreError::Conflict { found, .. }) => found,
        other => panic!("a conflict was expected, not {other:?}"),
    };
    let first = store.compare_and_set("cas", None, b"one".to_vec()).await.unwrap();
    assert_eq!(conflict(store.compare_and_set("cas", None, b"x".to_vec()).await), Some(first));
    let second = store.compare_and_set("cas", Some(first), b"two".to_vec()).await.unwrap();
    assert_eq!(conflict(store.compare_and_set("cas", Some(first), b"x".to_vec()).await), Some(second));
    assert_eq!(value(store, "cas").await.as_deref(), Some(b"two".as_slice()));
    store.delete("cas").await.unwrap();
    assert_eq!(conflict(store.compare_and_set("cas", Some(second), b"x".to_vec()).await), None);
    assert_eq!(store.get("cas").await.unwrap(), None);
}

async fn versions_only_grow<S: StateStore>(open: Factory<'_, S>) {
    let store = open().await;
    let mut last = store.put("versions", Vec::new()).await.unwrap();
    for round in 0..4_u8 {
        if round == 2 {
            store.delete("versions").await.unwrap();
        }
        let next = store.put("versions", vec![round]).await.unwrap();
        assert!(next > last, "{next:?} after {last:?}");
        last = next;
    }
    drop(store);
    let store = open().await;
    let next = store.put("versions", Vec::new()).await.unwrap();
    assert!(next > last, "{next:?} after {last:?}, over a restart");
}

async fn lists_by_prefix_in_order<S: StateStore>(store: &S) {
    for key in ["list/b", "list/a", "list/a/deeper", "listing", "list/ä"] {
        store.put(key, Vec::new()).await.unwrap();
    }
    assert_eq!(store.list("list/").await.unwrap(), ["list/a", "list/a/deeper", "list/b", "list/ä"]);
    assert_eq!(store.list("list/a/").await.unwrap(), ["list/a/deeper"]);
    assert_eq!(store.list("nothing").await.unwrap(), Vec::<String>::new());
    assert!(store.list("").await.unwrap().contains(&"listing".to_owned()));
}

async fn takes_any_bytes_and_any_sensible_key<S: StateStore>(store: &S) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let large = vec![b'x'; 300_000];
    for key in ["plain", "with/../dots", "..", ".hidden", "sp ace", "%41", "A", "a", "new\nline", "ключ"]
    {
        for bytes in [every_byte.clone(), Vec::new(), large.clone()] {
            store.put(key, bytes.clone()).await.unwrap();
            assert!(value(store, key).await == Some(bytes), "value of {key:?}");
        }
    }
    store.put("A", b"upper".to_vec()).await.unwrap();
    store.put("a", b"lower".to_vec()).await.unwrap();
    assert_eq!(value(store, "A").await.as_deref(), Some(b"upper".as_slice()));
}

/// So many are begun at once at most (`max_moves`), here of topics with long names that have nothing in common.
async fn takes_the_journal_of_ten_thousand_moves<S: StateStore>(store: &S) {
    let mut number = 1_u64;
    let mut next = || {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        number >> 33
    };
    let mut moved = || {
        let topic: String = (0..8).map(|_| format!("{:08x}", next())).collect();
        let (from, to, bytes) = (next() % 300, next() % 300, next());
        serde_json::json!({
            "partition": format!("{topic}-{}", next() % 1_000), "from": [from, 7, 8], "to": [to, 7, 8], "leader": 7, "in_sync": [7, 8],
            "dead": [from], "bytes": bytes, "phase": {"copying": {"since": 1_700_000_000_000_u64 + bytes}}, "tries": 1,
            "reason": format!("broker {from} is dead; broker {to} in rack r{} has most room: {bytes} bytes", to % 9),
        })
    };
    let moves: Vec<serde_json::Value> = (0..10_000).map(|_| moved()).collect();
    let journal =
        serde_json::json!({"id": 7, "work": {"reassign": {"moves": moves}}}).to_string().into_bytes();
    assert!(journal.len() > 3_000_000, "{}", journal.len());
    store.put("executions/7", journal.clone()).await.unwrap();
    assert!(value(store, "executions/7").await == Some(journal));
    store.delete("executions/7").await.unwrap();
}

async fn refuses_an_empty_key<S: StateStore>(store: &S) {
    assert!(matches!(store.put("", Vec::new()).await, Err(StoreError::Key { .. })));
    assert!(matches!(store.get("").await, Err(StoreError::Key { .. })));
}

async fn lets_one_of_many_racers_win<S: StateStore>(store: &S) {
    let start = store.put("race", b"start".to_vec()).await.unwrap();
    let racer = |n: u8| store.compare_and_set("race", Some(start), vec![n]);
    let (a, b, c, d) = tokio::join!(racer(1), racer(2), racer(3), racer(4));
    let mut wins = 0;
    for result in [a, b, c, d] {
        match result {
            Ok(_) => wins += 1,
            Err(StoreError::Conflict { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(wins, 1);
}
