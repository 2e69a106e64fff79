//! Takes a cluster's lease when it is free, and renews it for as long as that succeeds.

use std::sync::Arc;
use std::time::Duration;

use super::claim::{Heard, Next, next};
use super::session::{Failure, Fenced, Session};
use super::{Shared, Standing, uptime};
use crate::store::holder::Holder;

/// The pause after anything failed.
const AGAIN: Duration = Duration::from_secs(2);
/// How often the lease of another service is looked at, at most. A watch would tell of its end a second earlier, and would be
/// another way to hear of the same.
const LOOK: Duration = Duration::from_secs(1);

const LATE: &str = "the lease was not renewed in time";

/// Until the store gives its lease up.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut giving_up = shared.giving_up.subscribe();
    let attending = async {
        loop {
            let why = attend(&shared).await;
            shared.writer.lock().await.take();
            // A write that has lost the lease has told why.
            if let Some(why) = why {
                shared.lose(&why);
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::select! {
        () = attending => {}
        _ = giving_up.wait_for(|giving_up| *giving_up) => {}
    }
}

/// Looks on until the lease is free, takes it, and keeps it until it is lost. Returns why.
async fn attend(shared: &Shared) -> Option<String> {
    let session = match Session::open(&shared.config).await {
        Ok(session) => session,
        Err(why) => return Some(why),
    };
    if let Err(why) = session.prepare(&shared.nodes).await {
        return Some(why);
    }
    shared.known().session = Some(session.clone());
    let mut heard = Heard::new(session.timeout(), session.opened);
    let mut last = session.opened;
    loop {
        let sent = uptime();
        match look_and_take(shared, &session, &mut heard).await {
            Ok(Some((fenced, until))) => return keep_it(shared, fenced, heard, until).await,
            Ok(None) => last = sent,
            // A server that is restarted ends no session.
            Err(_) if sent < last + session.timeout() / 2 => {}
            Err(why) => return Some(why),
        }
        tokio::time::sleep(LOOK.min(heard.pause())).await;
    }
}

/// Takes the lease if it is free: until when it is held then.
async fn look_and_take(
    shared: &Shared,
    session: &Session,
    heard: &mut Heard,
) -> Result<Option<(Fenced, Duration)>, String> {
    let sent = uptime();
    let scene = session.look(&shared.nodes).await?;
    heard.answered(sent);
    if let Next::Wait { why } = next(scene.lease.as_ref(), &shared.me) {
        shared.known().lease.otherwise(Standing::LooksOn { why });
        return Ok(None);
    }
    let since = i64::try_from(wall().as_millis()).unwrap_or(i64::MAX);
    let ttl = u64::try_from(session.timeout().as_millis()).unwrap_or(u64::MAX);
    let me = Holder { since, ttl, ..shared.me.clone() };
    let sent = uptime();
    let taken = session.take(&shared.nodes, &scene, &me).await?;
    Ok(taken.map(|fenced| (fenced, heard.lasts_after_write(sent))))
}

/// Renews the lease until it is lost. Returns why, if nobody else has told that.
async fn keep_it(shared: &Shared, fenced: Fenced, mut heard: Heard, until: Duration) -> Option<String> {
    let fenced = Arc::new(fenced);
    *shared.writer.lock().await = Some(Arc::clone(&fenced));
    {
        let mut known = shared.known();
        known.lease.hold(fenced.term, until);
        // From when its time is over until it is seen to be.
        known.lease.otherwise(shared.unknown(LATE));
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(heard.pause()) => {}
            () = shared.lost.notified() => {}
        }
        if !shared.known().lease.is_kept() {
            return None;
        }
        let sent = uptime();
        match fenced.renew(&shared.nodes).await {
            Ok(()) if shared.known().lease.go_on(fenced.term, heard.lasts_after_write(sent)) => {}
            Ok(()) => return Some(LATE.to_owned()),
            Err(Failure::Moved) => return Some(format!("{} is gone", shared.nodes.lease)),
            Err(failure @ (Failure::Taken | Failure::Gone)) => return Some(failure.words()),
            Err(failure) if shared.known().lease.term().is_none() => return Some(failure.words()),
            // It is asked once more: there is nothing in it that could be done twice.
            Err(failure) => {
                let why = failure.words();
                tracing::debug!(cluster = %shared.cluster, why, "the lease could not be renewed");
            }
        }
    }
}

fn wall() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
