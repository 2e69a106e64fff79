//! The cluster behind the traits.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::{BrokerAddress, ClientError};
use krafka::__private::protocol::{VersionedDecode, VersionedEncode};
use krafka::error::ErrorCode;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::config::ConnectionConfig;
use crate::directory::Directory;
use crate::fail;
use crate::link::{Api, Failure, Lane, Links, Transport};
use crate::log_read::PartitionReaders;
use crate::log_write::Appender;

/// How many brokers a call for the controller is offered to before it is given up.
const MAX_CANDIDATES: usize = 4;
/// How many brokers are talked to at once about what each of them has to tell or do by itself.
const BROKERS_AT_ONCE: usize = 16;
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
    pub(crate) directory: Arc<Directory>,
    pub(crate) appender: Appender,
    pub(crate) readers: PartitionReaders,
}

impl Kafka {
    /// The cluster that `config` leads to.
    pub fn new(config: ConnectionConfig) -> Self {
        let directory = Arc::new(Directory::default());
        let transport =
            Arc::new(Transport::new(config.security.clone(), &config.client_id, Arc::clone(&directory)));
        let shared = Shared {
            links: Links::new(Arc::clone(&transport)),
            transport,
            directory,
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
        self.at_controller(api, request, limit, &error_of, true).await
    }

    /// Gives the controller an order. Once it may have been received it is not given again.
    pub(crate) async fn order_controller<Q: VersionedEncode, R: VersionedDecode>(
        &self,
        api: Api,
        request: &Q,
        limit: Duration,
        error_of: impl Fn(&R) -> ErrorCode,
    ) -> Result<R, ClientError> {
        self.at_controller(api, request, limit, &error_of, false).await
    }

    async fn at_controller<Q: VersionedEncode, R: VersionedDecode>(
        &self,
        api: Api,
        request: &Q,
        limit: Duration,
        error_of: &impl Fn(&R) -> ErrorCode,
        question: bool,
    ) -> Result<R, ClientError> {
        match self.try_controllers(api, request, limit, error_of, question).await {
            // Whoever was asked did not take it.
            Err(ClientError::OtherCluster { .. }) if self.goes_elsewhere().await => {
                self.try_controllers(api, request, limit, error_of, question).await
            }
            answer => answer,
        }
    }

    async fn try_controllers<Q: VersionedEncode, R: VersionedDecode>(
        &self,
        api: Api,
        request: &Q,
        limit: Duration,
        error_of: &impl Fn(&R) -> ErrorCode,
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

    /// Asks the brokers, one after another, until one of the cluster says who is in it. Where nobody answers for it,
    /// and nobody has said which cluster it is, it has been built anew: then it is the one that a bootstrap address
    /// answers for.
    pub(crate) async fn locate(&self) -> Result<(), ClientError> {
        let Shared { config, directory, .. } = &*self.shared;
        let everyone = directory.everyone(&config.bootstrap, Instant::now());
        let (mut last, mut stranger) = (None, None);
        for at in everyone.iter().take(MAX_CANDIDATES) {
            match self.ask_broker(at, LOCATE_LIMIT).await {
                Ok(answer) if directory.cluster().as_ref() == Some(&answer.cluster_id) => return Ok(()),
                Ok(answer) => {
                    let id = answer.cluster_id.clone();
                    last = Some(ClientError::OtherCluster { at: at.to_string(), id });
                    if config.bootstrap.contains(at) {
                        stranger.get_or_insert((at, answer));
                    }
                }
                Err(error) => last = Some(error),
            }
        }
        if let Some((at, answer)) = stranger
            && directory.adopt(at, &answer)
        {
            tracing::warn!(%at, cluster = %answer.cluster_id, "the bootstrap servers lead to another cluster than before");
            return Ok(());
        }
        Err(last.unwrap_or_else(|| ClientError::Unreachable {
            at: "the cluster".to_owned(),
            why: "no bootstrap server is configured".to_owned(),
        }))
    }

    /// After a broker of another cluster has answered: looks again where the cluster is, if nobody has said which one it
    /// is. Says whether it was found.
    async fn goes_elsewhere(&self) -> bool {
        self.shared.directory.told().is_none() && self.locate().await.is_ok()
    }

    /// Asks the broker at this very address.
    pub(crate) async fn ask_this_one<Q: VersionedEncode, R: VersionedDecode>(
        &self,
        at: &BrokerAddress,
        api: Api,
        request: &Q,
        limit: Duration,
    ) -> Result<R, ClientError> {
        let links = &self.shared.links;
        let answer = match links.ask::<Q, R>(Lane::Work, at, api, request, limit).await {
            Err(ClientError::OtherCluster { .. }) if self.goes_elsewhere().await => {
                links.ask::<Q, R>(Lane::Work, at, api, request, limit).await
            }
            answer => answer,
        };
        answer.map(|(answer, _)| answer)
    }

    /// Runs `call` on one broker after another until one answers: for questions that any broker can answer.
    pub(crate) async fn ask_anyone<Q: VersionedEncode, R: VersionedDecode>(
        &self,
        api: Api,
        request: &Q,
        limit: Duration,
    ) -> Result<R, ClientError> {
        match self.ask_each(api, request, limit).await {
            Err(ClientError::OtherCluster { .. }) if self.goes_elsewhere().await => {
                self.ask_each(api, request, limit).await
            }
            answer => answer,
        }
    }

    async fn ask_each<Q: VersionedEncode, R: VersionedDecode>(
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

/// Does the same with each of `items`, with some of them at once, and gives back what came of it, in no order.
pub(crate) async fn at_each<I, T, F>(items: impl IntoIterator<Item = I>, act: impl Fn(I) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(BROKERS_AT_ONCE));
    let mut running = JoinSet::new();
    for item in items {
        let (slots, act) = (Arc::clone(&slots), act(item));
        running.spawn(async move {
            let _slot = slots.acquire_owned().await;
            act.await
        });
    }
    let mut all = Vec::with_capacity(running.len());
    while let Some(done) = running.join_next().await {
        all.extend(done);
    }
    all
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("config", &self.shared.config).finish_non_exhaustive()
    }
}
