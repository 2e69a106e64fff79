//! A session with ZooKeeper, and what is asked of it: the one file that knows the client library.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use zookeeper_client::{
    Acls, CheckWriteError, Client, CreateMode, Error, MultiWriteError, MultiWriteResult, SaslOptions, Stat,
};

use super::claim::Found;
use super::config::{Login, NodeAcl, Scheme};
use super::{Nodes, ZookeeperStoreConfig, uptime};
use crate::store::holder::Holder;
use crate::store::packed::unpack;
use crate::store::{Term, Version, Versioned};

/// What of the client library's lines is to be in the log: what matters is told where it matters.
pub(crate) const LOG_FILTER: &str = "zookeeper_client=off";

/// How long the answer to one request is waited for, that of a server which is being connected to included.
const ANSWER: Duration = Duration::from_secs(10);

/// In the place of a version that is expected.
const WHATEVER: i32 = -1;

/// A session. It ends with the last clone, or when ZooKeeper has not heard of it for its time-out.
#[derive(Clone)]
pub(super) struct Session {
    client: Client,
    acl: NodeAcl,
    /// Before it was asked for, by the clock of uptime.
    pub(super) opened: Duration,
}

/// What is known of the lease at one moment, or a little before.
pub(super) struct Scene {
    /// The version of the fence.
    fence: i32,
    /// The lease's node.
    pub(super) lease: Option<Found>,
}

/// The right to write: it is over as soon as somebody else takes the lease.
pub(super) struct Fenced {
    session: Session,
    fence: i32,
    /// Its number: the czxid of the lease's node.
    pub(super) term: Term,
}

/// One change of one node.
pub(super) enum Change<'a> {
    Create(&'a [u8]),
    /// If the node has this version; whatever version it has, otherwise.
    Set(&'a [u8], Option<i32>),
    Delete,
    /// Only if it is there.
    None,
}

/// Why nothing was written, or why that is not known.
pub(super) enum Failure {
    /// ZooKeeper has refused it.
    Refused(String),
    /// The node is not as it was expected to be; nothing was written.
    Moved,
    /// Somebody else has taken the lease; nothing was written.
    Taken,
    /// The node that fences the lease is gone, as all may be; nothing was written.
    Gone,
    /// It may have been written, or may yet be.
    Unknown(String),
}

impl Failure {
    pub(super) fn words(&self) -> String {
        match self {
            Self::Refused(why) => why.clone(),
            Self::Moved => "it is changed by somebody else, again and again".to_owned(),
            Self::Taken => "another service has taken the lease".to_owned(),
            Self::Gone => "somebody has removed its nodes".to_owned(),
            Self::Unknown(why) => format!("it is not known whether it was written: {why}"),
        }
    }
}

impl Session {
    pub(super) async fn open(config: &ZookeeperStoreConfig) -> Result<Self, String> {
        let mut connector = Client::connector().with_session_timeout(config.lease.0).with_fail_eagerly();
        if let Some(login) = &config.auth {
            connector = match login.scheme {
                Scheme::Digest => connector.with_auth("digest", &credentials(login).await?),
                Scheme::Sasl => connector.with_sasl(sasl(login).await?),
            };
        }
        let opened = uptime();
        let client = connector.connect(config.servers()).await.map_err(|error| words(&error))?;
        Ok(Self { client, acl: config.acl, opened })
    }

    /// Its time-out, as ZooKeeper has granted it.
    pub(super) fn timeout(&self) -> Duration {
        self.client.session_timeout()
    }

    /// Makes the nodes that are missing.
    pub(super) async fn prepare(&self, nodes: &Nodes) -> Result<(), String> {
        let lasting = CreateMode::Persistent.with_acls(self.acls());
        for path in [&nodes.state, &nodes.fence] {
            // Who may not make a node may use it all the same, where a person has made it.
            if self.stat(path).await.map_err(|error| at(path, &error))?.is_none() {
                answer(self.client.mkdir(path, &lasting)).await.map_err(|error| at(path, &error))?;
            }
        }
        Ok(())
    }

    /// The fence first: who has taken the lease after it was read is found out by its version.
    pub(super) async fn look(&self, nodes: &Nodes) -> Result<Scene, String> {
        let fence = self.stat(&nodes.fence).await.map_err(|error| at(&nodes.fence, &error))?;
        let Some(fence) = fence else { return Err(format!("{} is gone", nodes.fence)) };
        let lease = match answer(self.client.get_data(&nodes.lease)).await {
            Ok((data, stat)) => {
                Some(Found { holder: Holder::read(&data), ephemeral: stat.ephemeral_owner != 0 })
            }
            Err(Error::NoNode) => None,
            Err(error) => return Err(at(&nodes.lease, &error)),
        };
        Ok(Scene { fence: fence.version, lease })
    }

    /// Takes the lease, unless somebody else was faster. The zxid of this change is the czxid of the lease's node and the mzxid
    /// of the fence alike.
    pub(super) async fn take(
        &self,
        nodes: &Nodes,
        scene: &Scene,
        me: &Holder,
    ) -> Result<Option<Fenced>, String> {
        let (me, ephemeral) = (me.to_json(), CreateMode::Ephemeral.with_acls(self.acls()));
        let mut all = self.client.new_multi_writer();
        let mut add = || {
            all.add_set_data(&nodes.fence, &me, Some(scene.fence))?;
            if scene.lease.is_some() {
                all.add_delete(&nodes.lease, None)?;
            }
            all.add_create(&nodes.lease, &me, &ephemeral)
        };
        add().map_err(|error| words(&error))?;
        let done = tokio::time::timeout(ANSWER, all.commit()).await;
        match done.unwrap_or_else(|_| Err(Error::Timeout.into())) {
            Ok(results) => {
                let Some(MultiWriteResult::SetData { stat }) = results.first() else {
                    return Err("its answer is not understood".to_owned());
                };
                let term = Term(stat.mzxid.unsigned_abs());
                Ok(Some(Fenced { session: self.clone(), fence: stat.version, term }))
            }
            Err(MultiWriteError::OperationFailed {
                source: Error::BadVersion | Error::NodeExists | Error::NoNode,
                ..
            }) => Ok(None),
            Err(error) => Err(words(&error.into())),
        }
    }

    /// A value, if there is a node for it.
    pub(super) async fn value(&self, path: &str, nodes: &Nodes) -> Result<Option<Versioned>, String> {
        match answer(self.client.get_data(path)).await {
            Ok((stored, stat)) => Ok(Some(Versioned { value: unpack(&stored)?, version: version(&stat) })),
            // That the node of all values was removed by somebody must not look like an empty journal.
            Err(Error::NoNode) => match self.stat(&nodes.state).await {
                Ok(Some(_)) => Ok(None),
                Ok(None) => Err(format!("{} is gone", nodes.state)),
                Err(error) => Err(words(&error)),
            },
            Err(error) => Err(words(&error)),
        }
    }

    /// The names of the nodes of all values.
    pub(super) async fn names(&self, nodes: &Nodes) -> Result<Vec<String>, String> {
        answer(self.client.list_children(&nodes.state)).await.map_err(|error| words(&error))
    }

    async fn stat(&self, path: &str) -> Result<Option<Stat>, Error> {
        answer(self.client.check_stat(path)).await
    }

    fn acls(&self) -> Acls<'static> {
        match self.acl {
            NodeAcl::Open => Acls::anyone_all(),
            NodeAcl::Creator => Acls::creator_all(),
        }
    }
}

impl Fenced {
    /// The version of a node and that of its data, if there is one.
    pub(super) async fn version(&self, path: &str) -> Result<Option<(Version, i32)>, String> {
        let stat = self.session.stat(path).await.map_err(|error| words(&error))?;
        Ok(stat.map(|stat| (version(&stat), stat.version)))
    }

    /// Changes a node, if nobody else has taken the lease: both in one. Gives the version of what was written.
    pub(super) async fn write(
        &self,
        nodes: &Nodes,
        path: &str,
        change: Change<'_>,
    ) -> Result<Version, Failure> {
        let refused = |error: Error| Failure::Refused(words(&error));
        let client = &self.session.client;
        let mut all = client.new_check_writer(&nodes.fence, Some(self.fence)).map_err(refused)?;
        let added = match change {
            Change::Create(data) => {
                all.add_create(path, data, &CreateMode::Persistent.with_acls(self.session.acls()))
            }
            Change::Set(data, version) => all.add_set_data(path, data, version),
            Change::Delete => all.add_delete(path, None),
            Change::None => all.add_check_version(path, WHATEVER),
        };
        added.map_err(refused)?;
        let results = tokio::time::timeout(ANSWER, all.commit()).await;
        let results = results.unwrap_or_else(|_| Err(Error::Timeout.into())).map_err(failure)?;
        match results.last() {
            // Before 3.8.2 ZooKeeper says nothing of a node that was made together with others.
            Some(MultiWriteResult::Create { stat, .. }) if stat.is_invalid() => {
                let stat = self.session.stat(path).await.map_err(|error| Failure::Unknown(words(&error)))?;
                stat.as_ref().map(version).ok_or(Failure::Taken)
            }
            Some(MultiWriteResult::Create { stat, .. } | MultiWriteResult::SetData { stat }) => {
                Ok(version(stat))
            }
            _ => Ok(Version(0)),
        }
    }

    /// Whether the lease is still ours. Unlike a read this is asked of the leader of ZooKeeper's servers.
    pub(super) async fn renew(&self, nodes: &Nodes) -> Result<(), Failure> {
        self.write(nodes, &nodes.lease, Change::None).await.map(|_| ())
    }

    /// Removes the lease's node, so that nobody waits for the end of the session.
    pub(super) async fn give_up(&self, nodes: &Nodes) -> Result<(), Failure> {
        self.write(nodes, &nodes.lease, Change::Delete).await.map(|_| ())
    }
}

/// What a failed write comes to. Where operations failed, ZooKeeper has looked at them, and done none.
fn failure(error: CheckWriteError) -> Failure {
    match error {
        CheckWriteError::CheckFailed { source: Error::BadVersion } => Failure::Taken,
        CheckWriteError::CheckFailed { source: Error::NoNode } => Failure::Gone,
        CheckWriteError::OperationFailed {
            source: Error::BadVersion | Error::NodeExists | Error::NoNode,
            ..
        } => Failure::Moved,
        CheckWriteError::CheckFailed { source } | CheckWriteError::OperationFailed { source, .. } => {
            Failure::Refused(words(&source))
        }
        CheckWriteError::RequestFailed { source } => Failure::Unknown(words(&source)),
    }
}

/// It grows over deletion too: all changes in ZooKeeper are numbered as one.
fn version(stat: &Stat) -> Version {
    Version(stat.mzxid.unsigned_abs())
}

async fn answer<T>(request: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(ANSWER, request).await.unwrap_or(Err(Error::Timeout))
}

async fn credentials(login: &Login) -> Result<Vec<u8>, String> {
    let password = password(&login.password_file).await?;
    Ok([login.user.as_bytes(), b":", &password].concat())
}

async fn sasl(login: &Login) -> Result<SaslOptions, String> {
    let password = String::from_utf8(password(&login.password_file).await?);
    let password =
        password.map_err(|_| format!("cannot use {}: it is not UTF-8", login.password_file.display()))?;
    Ok(SaslOptions::digest_md5(login.user.clone(), password).into())
}

async fn password(file: &Path) -> Result<Vec<u8>, String> {
    let unusable = |why: &str| format!("cannot use {}: {why}", file.display());
    let mut text = tokio::fs::read(file).await.map_err(|error| unusable(&error.to_string()))?;
    text.truncate(text.trim_ascii_end().len());
    if text.is_empty() {
        return Err(unusable("it holds no password"));
    }
    Ok(text)
}

fn at(path: &str, error: &Error) -> String {
    format!("{path}: {}", words(error))
}

fn words(error: &Error) -> String {
    let words = match error {
        Error::NoHosts => "none of the servers takes us",
        Error::Timeout => "there is no answer",
        Error::ConnectionLoss => "the connection was lost",
        Error::SessionExpired => "ZooKeeper has ended the session",
        Error::AuthFailed => "ZooKeeper refuses the login, or wants one (`auth`)",
        Error::InvalidAcl => "it does not know us by this login (`auth`), and what we made would be nobody's",
        Error::NoAuth => "we may not do this as whom we have logged in (`auth`)",
        Error::NoNode => "the node is missing",
        other => return other.to_string(),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_zookeeper_has_looked_at_is_known_not_to_be_written() {
        let unknown = [Error::ConnectionLoss, Error::Timeout, Error::SessionExpired, Error::ClientClosed];
        for source in unknown {
            let failure = failure(CheckWriteError::RequestFailed { source });
            assert!(matches!(failure, Failure::Unknown(_)), "{}", failure.words());
        }
        let check = |source| failure(CheckWriteError::CheckFailed { source });
        assert!(matches!(check(Error::BadVersion), Failure::Taken));
        assert!(matches!(check(Error::NoNode), Failure::Gone));
        assert!(matches!(check(Error::NoAuth), Failure::Refused(_)));
        let operation = |source| failure(CheckWriteError::OperationFailed { index: 0, source });
        assert!(matches!(operation(Error::BadVersion), Failure::Moved));
        assert!(matches!(operation(Error::QuotaExceeded), Failure::Refused(_)));
    }

    #[tokio::test]
    async fn the_password_is_a_line_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let login = Login { user: "doctor".to_owned(), password_file: file.clone(), scheme: Scheme::Digest };
        let why = credentials(&login).await.unwrap_err();
        assert!(why.contains("No such file"), "{why}");
        std::fs::write(&file, "\n").unwrap();
        assert!(credentials(&login).await.unwrap_err().contains("no password"));
        std::fs::write(&file, "s3 cret\n").unwrap();
        assert_eq!(credentials(&login).await.unwrap(), b"doctor:s3 cret");
    }
}
