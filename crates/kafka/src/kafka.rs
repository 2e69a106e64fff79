//! The cluster behind the traits.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::ClientError;
use krafka::__private::protocol::{VersionedDecode, VersionedEncode};
use krafka::error::ErrorCode;

use crate::config::ConnectionConfig;
use crate::directory::Directory;
use crate::fail;
use crate::link::{Api, Failure, Lane, Links, Transport};
use crate::log_read::PartitionReaders;
use crate::log_write::Appender;

/// How many brokers a call for the controller is offered to before it is given up.
const MAX_CANDIDATES: usize = 4;
/// How long one broker may take to say where the controller is.
const LOCATE_LIMIT: Duration = Duration::from_secs(2);

/// A real Apache Kafka cluster. Cheap to clone; all clones share their connections.
///
/// Making one does no I/O. Connections are made when they are needed and made anew after they broke; none is tried in
/// the background, so that how often a dead broker is tried is up to the caller. Its methods need a tokio runtime.
#[derive(Clone)]
pub struct Kafka {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: ConnectionConfig,
    pub(crate) transport: Arc<Transport>,
    pub(crate) links: Links,
    pub(crate) directory: Directory,
    pub(crate) appender: Appender,
    pub(crate) readers: PartitionReaders,
}

impl Kafka {
    /// The cluster that `config` leads to.
    pub fn new(config: ConnectionConfig) -> Self {
        let transport = Arc::new(Transport::new(config.security.clone(), &config.client_id));
        let shared = Shared {
            links: Links::new(Arc::clone(&transport)),
            transport,
            directory: Directory::default(),
            appender: Appender::default(),
            readers: PartitionReaders::default(),
            config,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Asks the controller. A question may be put twice: after any failure the next broker is tried, within `limit`
    /// for each.
    pub(crate) async fn ask_controller<Q: VersionedEncode, R: VersionedDecode>(
        &self,
        api: Api,
        request: &Q,
        limit: Duration,
        error_of: impl Fn(&R) -> ErrorCode,
    ) -> Result<R, ClientError> {
        self.at_controller(api, request, limit, error_of, true).await
    }

    /// Gives the controller an order. Once it may have been received it is not given again.
    pub(crate) async fn order_controller<Q: VersionedEncode, R: VersionedDecode>(
        &self,
        api: Api,
        request: &Q,
        limit: Duration,
        error_of: impl Fn(&R) -> ErrorCode,
    ) -> Result<R, ClientError> {
        self.at_controller(api, request, limit, error_of, false).await
    }

    async fn at_controller<Q: VersionedEncode, R: VersionedDecode>(
        &self,
        api: Api,
        request: &Q,
        limit: Duration,
        error_of: impl Fn(&R) -> ErrorCode,
        question: bool,
    ) -> Result<R, ClientError> {
        let Shared { links, directory, .. } = &*self.shared;
        let mut candidates = directory.controllers(Instant::now());
        let mut located = false;
        let mut last = None;
        for _ in 0..MAX_CANDIDATES {
            if candidates.is_empty() {
                if located {
                    break;
                }
                located = true;
                self.locate().await?;
                candidates = directory.controllers(Instant::now());
            }
            if candidates.is_empty() {
                break;
            }
            let at = candidates.remove(0);
            match links.order::<Q, R>(&at, api, request, limit).await {
                Ok(answer) if error_of(&answer) == ErrorCode::NotController => {
                    last = Some(fail::broker(api.doing, ErrorCode::NotController, None));
                    candidates.clear();
                }
                Ok(answer) => return Ok(answer),
                Err(Failure { error, sent }) => {
                    directory.failed(&at, Instant::now());
                    let settled =
                        matches!(error, ClientError::Unsupported { .. } | ClientError::Security { .. });
                    if settled || (sent && !question) {
                        return Err(error);
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| ClientError::Unreachable {
            at: "the controller".to_owned(),
            why: "no broker names a live controller".to_owned(),
        }))
    }

    /// Asks the brokers, one after another, until one says who is in the cluster.
    pub(crate) async fn locate(&self) -> Result<(), ClientError> {
        let now = Instant::now();
        let everyone = self.shared.directory.everyone(&self.shared.config.bootstrap, now);
        let mut last = None;
        for at in everyone.iter().take(MAX_CANDIDATES) {
            match self.ask_broker(at, LOCATE_LIMIT).await {
                Ok(_) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ClientError::Unreachable {
            at: "the cluster".to_owned(),
            why: "no bootstrap server is configured".to_owned(),
        }))
    }

    /// Runs `call` on one broker after another until one answers: for questions that any broker can answer.
    pub(crate) async fn ask_anyone<Q: VersionedEncode, R: VersionedDecode>(
        &self,
        api: Api,
        request: &Q,
        limit: Duration,
    ) -> Result<R, ClientError> {
        let everyone = self.shared.directory.everyone(&self.shared.config.bootstrap, Instant::now());
        let mut last = None;
        for at in everyone.iter().take(MAX_CANDIDATES) {
            match self.shared.links.ask::<Q, R>(Lane::Work, at, api, request, limit).await {
                Ok((answer, _)) => return Ok(answer),
                Err(error) => {
                    self.shared.directory.failed(at, Instant::now());
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| ClientError::Unreachable {
            at: "the cluster".to_owned(),
            why: "no bootstrap server is configured".to_owned(),
        }))
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("config", &self.shared.config).finish_non_exhaustive()
    }
}
