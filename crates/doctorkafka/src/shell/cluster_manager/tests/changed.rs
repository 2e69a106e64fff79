//! What others write into the store under the one that acts.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_somebody_else_has_changed_is_read_anew_and_not_written_over() {
    let (store, world) = parts();
    let looped = start(&store, &world);
    world.want("do_good");
    looped.until("done", |s| ended(s, "do_good").is_some()).await;
    // A person pauses in the store itself.
    let key = "clusters/test/wishes";
    let wish = serde_json::json!({"by": "kim", "reason": "by hand", "since": 1});
    let mut wishes = serde_json::to_value(&*looped.cycles(1).await.memory.wishes).unwrap();
    wishes["paused"] = wish;
    let value = serde_json::json!({"schema": 1, "value": wishes}).to_string();
    store.put(key, value.clone().into_bytes()).await.unwrap();
    let refused = looped.order(OrderKind::Pause).await.unwrap_err();
    assert!(refused.starts_with("not carried out, please repeat it"), "{refused}");
    assert!(refused.contains("was changed by somebody else"), "{refused}");
    let seen = looped.until("read anew", |s| s.memory.wishes.paused.is_some()).await;
    assert_eq!(seen.memory.wishes.paused.as_ref().unwrap().by, "kim");
    assert_eq!(store.get(key).await.unwrap().unwrap().value, value.into_bytes());
    // And it goes on from there.
    looped.order(OrderKind::Resume).await.unwrap();
    looped.until("resumed", |s| s.memory.wishes.paused.is_none() && s.trouble.is_none()).await;
    looped.end().await;
}
