//! Where the parcels are kept: in files of this host, or, where several services share a store, in that one, so that the service that
//! acts next sends what waits.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Parcel;
use super::queue::Change;
use crate::plugin::BuildContext;
use crate::shell::journal::{Journal, JournalError, MESSAGES};
use crate::store::{Tenure, Term, in_words};

/// Files that are read at most: what a configuration with a larger queue has left.
const MOST_FILES: usize = 100_000;

/// How long the shared store may take: nobody's message waits for it for longer.
const STORE_LIMIT: Duration = Duration::from_secs(5);

/// What an earlier process has left.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// What is in the outbox, in the order in which it came.
    pub(super) parcels: Vec<Parcel>,
    /// What is still in files of this host and belongs into the outbox.
    pub(super) elsewhere: Vec<Parcel>,
}

/// Keeps parcels.
#[derive(Clone)]
pub(super) enum Outbox {
    /// On this host.
    Folder(Folder),
    /// In the store that services share.
    Shared(Arc<Shared>),
}

/// An outbox in the store that services share. Only the one that acts has it.
pub(super) struct Shared {
    journal: Journal,
    /// What its keys begin with.
    prefix: String,
    tenure: Arc<Tenure>,
    /// Where parcels were before the store was shared.
    former: Folder,
}

impl Outbox {
    /// The outbox of the action that is made.
    pub(super) fn of(context: &BuildContext) -> Self {
        let folder = Folder { folder: context.folder.join(format!("{}.outbox", context.name)) };
        match &context.shared {
            None => Self::Folder(folder),
            Some(journal) => Self::Shared(Arc::new(Shared {
                journal: journal.clone(),
                prefix: format!("{MESSAGES}{}/", context.name),
                tenure: Arc::clone(&context.tenure),
                former: folder,
            })),
        }
    }

    /// The term in which the outbox is this service's; files of this host always are.
    pub(super) fn term(&self) -> Option<Term> {
        match self {
            Self::Folder(_) => Some(Term(0)),
            Self::Shared(shared) => shared.tenure.term(),
        }
    }

    /// Whether somebody else may come to have it.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// Where it is, in words.
    pub(super) fn place(&self) -> &'static str {
        match self {
            Self::Folder(_) => "the state dir",
            Self::Shared(_) => "the state store",
        }
    }

    /// Reads what an earlier process, or the service that acted before, has left.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn load(&self) -> io::Result<Left> {
        match self {
            Self::Folder(folder) => {
                let folder = folder.clone();
                let parcels = on_disk(move || folder.load()).await?;
                Ok(Left { parcels, elsewhere: Vec::new() })
            }
            Self::Shared(shared) => {
                let shared = Arc::clone(shared);
                in_store(async move { shared.load().await }).await
            }
        }
    }

    /// Makes the changes durable.
    ///
    /// # Errors
    /// The first that could not be made; the others may be made or not.
    pub(super) async fn apply(&self, changes: Vec<Change>) -> io::Result<()> {
        match self {
            Self::Folder(folder) => {
                let folder = folder.clone();
                on_disk(move || folder.apply(&changes)).await
            }
            Self::Shared(shared) => {
                let shared = Arc::clone(shared);
                in_store(async move { shared.apply(&changes).await }).await
            }
        }
    }

    /// What was elsewhere is in the outbox by now.
    pub(super) async fn forget_elsewhere(&self, numbers: Vec<u64>) {
        let Self::Shared(shared) = self else { return };
        if numbers.is_empty() {
            return;
        }
        let folder = shared.former.clone();
        let changes: Vec<Change> = numbers.into_iter().map(Change::Remove).collect();
        // One that stays is sent again after the next start, with the same id.
        if let Err(error) = on_disk(move || folder.apply(&changes)).await {
            tracing::warn!(%error, "messages that are in the state store by now stay in the state dir, too");
        }
    }
}

impl Shared {
    async fn load(&self) -> io::Result<Left> {
        let mut parcels = Vec::new();
        for key in self.journal.list(&self.prefix).await.map_err(other)? {
            match self.journal.value(&key).await {
                Ok(Some(value)) => match serde_json::from_value::<Parcel>(value) {
                    Ok(parcel) if key == self.key(parcel.number) => parcels.push(parcel),
                    Ok(_) => tracing::warn!(key, "a message that waits has the number of another one"),
                    Err(error) => tracing::warn!(key, %error, "a message that waits cannot be read"),
                },
                Ok(None) => {}
                // Of a newer service: that will act again, or a person sees it here.
                Err(error @ (JournalError::NotJson { .. } | JournalError::Newer { .. })) => {
                    tracing::warn!(key, %error, "a message that waits cannot be read");
                }
                Err(error) => return Err(other(error)),
            }
        }
        parcels.sort_by_key(|parcel| parcel.number);
        let former = self.former.clone();
        let elsewhere = on_disk(move || if former.folder.exists() { former.load() } else { Ok(Vec::new()) });
        Ok(Left { parcels, elsewhere: elsewhere.await? })
    }

    async fn apply(&self, changes: &[Change]) -> io::Result<()> {
        let mut result = Ok(());
        for change in changes {
            let done = match change {
                Change::Save(parcel) => {
                    self.journal.persist(&self.key(parcel.number), Some(&json!(parcel))).await
                }
                Change::Remove(number) => self.journal.persist(&self.key(*number), None).await,
            };
            result = result.and(done);
        }
        result.map_err(other)
    }

    fn key(&self, number: u64) -> String {
        format!("{}{number:012}", self.prefix)
    }
}

fn other(error: impl std::error::Error) -> io::Error {
    io::Error::other(in_words(&error))
}

/// Runs on a thread where it may take long.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|ended| Err(io::Error::other(ended)))
}

/// In a task of its own: a change of the store is not dropped halfway, however long it takes.
async fn in_store<T: Send + 'static>(
    work: impl Future<Output = io::Result<T>> + Send + 'static,
) -> io::Result<T> {
    match tokio::time::timeout(STORE_LIMIT, tokio::spawn(work)).await {
        Ok(ended) => ended.unwrap_or_else(|ended| Err(io::Error::other(ended))),
        Err(_) => Err(io::Error::other(format!("no answer within {} s", STORE_LIMIT.as_secs()))),
    }
}

/// A folder with a file for each parcel, so that taking one in or crossing it out costs the same however many wait, and a file that a
/// crash has cut off costs only itself.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    folder: PathBuf,
}

impl Folder {
    /// Makes the folder where it is missing, and reads what an earlier process has left, in the order in which it came.
    /// A file that cannot be read is put aside under another name.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    fn load(&self) -> io::Result<Vec<Parcel>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut parcels = Vec::new();
        for entry in fs::read_dir(&self.folder)?.take(MOST_FILES) {
            let path = entry?.path();
            if path.extension().is_none_or(|end| end != "json") {
                continue;
            }
            match read(&path) {
                Ok(parcel) if path == self.file(parcel.number) => parcels.push(parcel),
                Ok(_) => put_aside(&path, "its number is another one"),
                Err(error) => put_aside(&path, &error.to_string()),
            }
        }
        parcels.sort_by_key(|parcel| parcel.number);
        Ok(parcels)
    }

    /// Makes the changes durable.
    ///
    /// # Errors
    /// The first that could not be made; the others are tried all the same.
    fn apply(&self, changes: &[Change]) -> io::Result<()> {
        let mut result = Ok(());
        for change in changes {
            let done = match change {
                Change::Save(parcel) => self.save(parcel),
                Change::Remove(number) => match fs::remove_file(self.file(*number)) {
                    // One that was never written, because the disk was full.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    other => other,
                },
            };
            result = result.and(done);
        }
        result.and_then(|()| File::open(&self.folder)?.sync_all())
    }

    fn save(&self, parcel: &Parcel) -> io::Result<()> {
        let (file, new) = (self.file(parcel.number), self.folder.join("new"));
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        out.write_all(&serde_json::to_vec(parcel)?)?;
        out.sync_all()?;
        fs::rename(new, file)
    }

    fn file(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:012}.json"))
    }
}

fn read(path: &Path) -> io::Result<Parcel> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn put_aside(path: &Path, why: &str) {
    let aside = path.with_extension("unreadable");
    tracing::warn!(file = %path.display(), aside = %aside.display(), why, "a message that waits cannot be read");
    if let Err(error) = fs::rename(path, &aside) {
        tracing::warn!(file = %path.display(), %error, "it cannot be put aside either");
    }
}
