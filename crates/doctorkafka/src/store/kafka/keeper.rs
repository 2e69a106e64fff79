//! Takes a cluster's lease when it is free, and renews it for as long as that succeeds.

use std::sync::Arc;
use std::time::Duration;

use kafka::{CommitError, Committed};

use super::claim::{Claim, Next};
use super::{Shared, Standing, Term, uptime};
use crate::store::holder::Holder;
use crate::store::kafka::topic;

/// The pause after anything failed.
const AGAIN: Duration = Duration::from_secs(2);
/// How long one look for news of the holder lasts.
const LOOK: Duration = Duration::from_secs(1);
/// How long reading the whole topic may take.
const READ_LIMIT: Duration = Duration::from_secs(60);
/// A lease is renewed so often while it lasts.
const RENEWALS: u32 = 5;

/// Until the store gives its lease up.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut giving_up = shared.giving_up.subscribe();
    let attending = async {
        loop {
            let why = attend(&shared).await;
            shared.writer.lock().await.take();
            shared.lose(&why);
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::select! {
        () = attending => {}
        _ = giving_up.wait_for(|giving_up| *giving_up) => {}
    }
}

/// Looks on until the lease is free, takes it, and keeps it until it is lost. Returns why.
async fn attend(shared: &Shared) -> String {
    let mut log = match look(shared).await {
        Ok(log) => log,
        Err(why) => return why,
    };
    // A reader whose broker has died may hear nothing for long: then it is not its holder that is silent.
    let mut is_sure = true;
    loop {
        let next = shared.known().claim.next(uptime());
        match next {
            Next::Take if is_sure => return take_and_keep(shared, log).await,
            Next::Take => {
                log = match look(shared).await {
                    Ok(log) => log,
                    Err(why) => return why,
                };
                is_sure = true;
                continue;
            }
            Next::Wait { why } => shared.known().lease.otherwise(Standing::LooksOn { why }),
        }
        is_sure = false;
        match log.next(LOOK).await {
            Ok(records) => shared.take_in(records),
            Err(error) => return error.to_string(),
        }
    }
}

/// Reads the whole topic.
async fn look(shared: &Shared) -> Result<Committed, String> {
    topic::prepare(&shared.kafka, &shared.config, &shared.managed).await?;
    let mut log = shared.kafka.committed(&shared.at).await.map_err(|error| error.to_string())?;
    let records = log.up_to_now(READ_LIMIT).await.map_err(|error| error.to_string())?;
    let before = {
        let mut known = shared.known();
        known.read = false;
        known.values.clear();
        std::mem::replace(&mut known.claim, Claim::new(shared.me.clone()))
    };
    shared.take_in(records);
    let mut known = shared.known();
    known.claim.remember(&before);
    known.read = true;
    drop(known);
    Ok(log)
}

async fn take_and_keep(shared: &Shared, mut log: Committed) -> String {
    let decided_on = shared.known().claim.newest();
    let taken = match shared.kafka.take(&shared.name()).await {
        Ok(taken) => taken,
        Err(error) => return error.to_string(),
    };
    // What the holder before wrote in the last moment; nothing can come after that.
    match log.up_to_now(READ_LIMIT).await {
        Ok(records) => shared.take_in(records),
        Err(error) => return error.to_string(),
    }
    drop(log);
    let quarantine = shared.known().claim.quarantine(decided_on);
    *shared.writer.lock().await = Some(taken);
    let since = i64::try_from(wall().as_millis()).unwrap_or(i64::MAX);
    let me = Holder { since, ..shared.me.clone() };
    let free_at = uptime() + quarantine;
    let mut term = None;
    loop {
        let began = uptime();
        match renew(shared, &me).await {
            Ok(()) if began >= free_at => term = Some(hold(shared, term, began)),
            Ok(()) => {
                let why = "the holder before may think for some seconds yet that it acts".to_owned();
                shared.known().lease.otherwise(Standing::LooksOn { why });
            }
            Err(CommitError::NotWritten(error)) => {
                tracing::debug!(cluster = %shared.cluster, %error, "the lease could not be renewed");
                shared.known().lease.otherwise(Standing::Unknown { why: error.to_string() });
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            Err(error) => return error.to_string(),
        }
        tokio::time::sleep(shared.ttl() / RENEWALS).await;
    }
}

async fn renew(shared: &Shared, me: &Holder) -> Result<(), CommitError> {
    let slot = shared.writer.lock().await;
    // Taken away by a write that found out that it is over.
    let writer = slot.as_ref().ok_or(CommitError::Taken)?;
    writer.commit(&shared.at, vec![(shared.lease_key(), Some(me.to_json()))]).await.map(|_| ())
}

/// The lease is held from `began` on. After it was over for a while it is a new term: it was not seen what happened in between.
fn hold(shared: &Shared, before: Option<Term>, began: Duration) -> Term {
    let mut known = shared.known();
    let term = match known.lease.term() {
        Some(term) if Some(term) == before => term,
        _ => {
            known.terms += 1;
            Term(known.terms)
        }
    };
    known.lease.hold(term, began + shared.ttl());
    term
}

fn wall() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
