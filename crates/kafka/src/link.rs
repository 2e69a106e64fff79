//! One kept connection to one broker.
//!
//! A link is an address with two lanes, each a connection that is made when it is first needed and made anew after it
//! broke: asking a broker must not wait behind a list of all topics, because a broker serves a connection in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cluster::{BrokerAddress, ClientError, ClusterId};
use krafka::__private::network::{BrokerConnection, ConnectionConfig};
use krafka::__private::protocol::{
    ApiKey, MetadataRequest, MetadataResponse, VersionedDecode, VersionedEncode,
};
use krafka::KrafkaError;
use krafka::error::ProtocolErrorKind;

use crate::directory::Directory;
use crate::fail::{Place, Trouble};
use crate::oauth::Held;
use crate::security::Security;
use crate::speaks::{self, Speaks};

/// How long making a connection may take: TCP, and TLS with SASL once more.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a broker may take to answer a request that has no limit of its own.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is taken. 41 MiB hold the metadata of a million partitions with three replicas.
pub(crate) const MAX_RESPONSE_BYTES: usize = 512 << 20;
/// Requests on their way on one connection. A broker that hangs must not gather a queue of them.
const MAX_IN_FLIGHT: usize = 2;
/// A link that nobody used for so long is dropped. Brokers close idle connections after ten minutes themselves.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Who answers at an address is looked at again when the last look is older than this.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Certificates are read again for a new connection when the last reading is older than this.
const RELOAD_CERTIFICATES_AFTER: Duration = Duration::from_secs(60);

/// A kind of request, and the versions of it that we speak.
#[derive(Clone, Copy)]
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    pub(crate) min: i16,
    pub(crate) max: i16,
    /// What is being done with it, for errors.
    pub(crate) doing: &'static str,
}

/// Any broker answers it to anybody, with no topic in it.
const WHOSE: Api =
    Api { key: ApiKey::Metadata, min: 2, max: 13, doing: "asking which cluster a broker belongs to" };

/// Which of an address's connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Short questions, asked often.
    Ask,
    /// Everything else.
    Work,
}

/// A failed call, and whether the broker may have got the request.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: ClientError,
    pub(crate) sent: bool,
}

/// The wait after the first refused login, doubled with each further one. A login costs the broker and us thousands of
/// hashes, and some directories lock an account out after a few wrong ones.
const REFUSED_PAUSE: Duration = Duration::from_secs(2);
/// The longest wait after a refused login: a password that was put right is found within this time.
const LONGEST_REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// A connection to a broker. It stays with that broker, so that its cluster is asked for once.
pub(crate) struct Connected {
    broker: BrokerConnection,
    cluster: tokio::sync::OnceCell<ClusterId>,
}

impl Connected {
    /// The connection itself.
    pub(crate) fn broker(&self) -> &BrokerConnection {
        &self.broker
    }
}

type Connection = Arc<Connected>;

/// A refused login: what was said, and until when it is not tried again.
struct Refused {
    error: KrafkaError,
    pause: Duration,
    until: Instant,
}

struct Link {
    at: String,
    ask: tokio::sync::Mutex<Option<Connection>>,
    work: tokio::sync::Mutex<Option<Connection>>,
    proven: AtomicBool,
    refused: Mutex<Option<Refused>>,
    /// Who answered there when it was last looked at, and when.
    speaks: tokio::sync::Mutex<Option<(Option<Speaks>, Instant)>>,
    used: Mutex<Instant>,
}

/// How connections to one cluster are made: shared by all links, so that certificates are read once for all.
pub(crate) struct Transport {
    pub(crate) security: Security,
    client_id: String,
    /// Knows which cluster is meant.
    directory: Arc<Directory>,
    settings: tokio::sync::Mutex<Option<Settings>>,
}

/// What connections are made with.
struct Settings {
    config: ConnectionConfig,
    /// Which token they log in with.
    token: Option<u64>,
    certificates_read: Instant,
}

impl Transport {
    pub(crate) fn new(security: Security, client_id: &str, directory: Arc<Directory>) -> Self {
        let settings = tokio::sync::Mutex::default();
        Self { security, client_id: client_id.to_owned(), directory, settings }
    }

    /// Makes sure that the broker belongs to the cluster that is meant, as far as it is known which one that is.
    async fn verify(&self, connection: &Connected, limit: Duration) -> Result<(), Trouble> {
        let Some(expected) = self.directory.cluster() else { return Ok(()) };
        let found = connection.cluster.get_or_try_init(|| cluster_of(&connection.broker, limit)).await?;
        if *found == expected { Ok(()) } else { Err(Trouble::OtherCluster(found.clone())) }
    }

    async fn connect(&self, at: &str) -> Result<BrokerConnection, Trouble> {
        let token = match &self.security.tokens {
            Some(tokens) => Some(tokens.get().await?),
            None => None,
        };
        let config = self.config(token.as_ref()).await?;
        let connected = BrokerConnection::connect(at, config).await;
        if let (Err(KrafkaError::Auth { .. }), Some(tokens), Some(token)) =
            (&connected, &self.security.tokens, &token)
        {
            tokens.refused(token.generation);
        }
        Ok(connected?)
    }

    /// The settings for a connection that logs in with this token. Files of certificates and keys are read for them,
    /// and read again if that was long ago: they are renewed under a running service.
    async fn config(&self, token: Option<&Held>) -> Result<ConnectionConfig, KrafkaError> {
        let generation = token.map(|held| held.generation);
        let mut settings = self.settings.lock().await;
        if let Some(settings) = settings.as_mut().filter(|settings| settings.token == generation) {
            if self.security.encrypts() && settings.certificates_read.elapsed() >= RELOAD_CERTIFICATES_AFTER {
                if let Err(e) = settings.config.refresh_tls().await {
                    tracing::warn!(error = %e, "cannot read the certificates again, keeping those read before");
                }
                settings.certificates_read = Instant::now();
            }
            return Ok(settings.config.clone());
        }
        let mut builder = ConnectionConfig::builder()
            .client_id(&self.client_id)
            .connect_timeout(CONNECT_TIMEOUT)
            .request_timeout(REQUEST_TIMEOUT)
            .max_response_size(MAX_RESPONSE_BYTES)
            .max_in_flight_requests(MAX_IN_FLIGHT);
        if let Some(auth) = self.security.for_connection(token) {
            builder = builder.auth(auth);
        }
        let config = builder.build()?;
        if self.security.encrypts() {
            config.refresh_tls().await?;
        }
        let fresh = Settings { config: config.clone(), token: generation, certificates_read: Instant::now() };
        *settings = Some(fresh);
        Ok(config)
    }
}

/// Links to the brokers of one cluster.
pub(crate) struct Links {
    transport: Arc<Transport>,
    links: Mutex<BTreeMap<BrokerAddress, Arc<Link>>>,
}

impl Links {
    pub(crate) fn new(transport: Arc<Transport>) -> Self {
        Self { transport, links: Mutex::new(BTreeMap::new()) }
    }

    /// Sends a question that may be asked twice, and waits for the answer. A kept connection that turns out to be
    /// broken is replaced once.
    pub(crate) async fn ask<Q: VersionedEncode, R: VersionedDecode>(
        &self,
        lane: Lane,
        at: &BrokerAddress,
        api: Api,
        request: &Q,
        limit: Duration,
    ) -> Result<(R, Connection), ClientError> {
        self.call(lane, at, api, request, limit, true).await.map_err(|failure| failure.error)
    }

    /// Sends an order once, and waits for the answer.
    pub(crate) async fn order<Q: VersionedEncode, R: VersionedDecode>(
        &self,
        at: &BrokerAddress,
        api: Api,
        request: &Q,
        limit: Duration,
    ) -> Result<R, Failure> {
        self.call(Lane::Work, at, api, request, limit, false).await.map(|(answer, _)| answer)
    }

    async fn call<Q: VersionedEncode, R: VersionedDecode>(
        &self,
        lane: Lane,
        at: &BrokerAddress,
        api: Api,
        request: &Q,
        limit: Duration,
        again: bool,
    ) -> Result<(R, Connection), Failure> {
        let link = self.link(at);
        let sent = AtomicBool::new(false);
        let began = Instant::now();
        let exchange = async {
            let (connection, kept) = self.connection(&link, lane).await?;
            match self.request(&link, lane, &connection, api, request, limit, &sent).await {
                Err(Trouble::Client(KrafkaError::Network(_))) if kept && again => {
                    let (connection, _) = self.connection(&link, lane).await?;
                    let answer = self.request(&link, lane, &connection, api, request, limit, &sent).await?;
                    Ok((answer, connection))
                }
                other => Ok((other?, connection)),
            }
        };
        let outcome: Result<Result<_, Trouble>, _> = tokio::time::timeout(limit, exchange).await;
        let place = Place {
            at: &link.at,
            doing: api.doing,
            limit,
            security: &self.transport.security,
            proven: link.proven.load(Ordering::Relaxed),
            speaks: None,
        };
        let sent = sent.load(Ordering::Relaxed);
        match outcome {
            Ok(Ok(answered)) => {
                link.proven.store(true, Ordering::Relaxed);
                Ok(answered)
            }
            Ok(Err(trouble)) => {
                let place = if sent { place } else { connecting(place) };
                let speaks = if place.is_puzzled_by(&trouble) {
                    let left = limit.saturating_sub(began.elapsed());
                    tokio::time::timeout(left, link.speaks()).await.ok().flatten()
                } else {
                    None
                };
                Err(Failure { error: Place { speaks, ..place }.trouble(&trouble), sent })
            }
            Err(_) if sent => Err(Failure { error: place.timeout(), sent }),
            Err(_) => Err(Failure { error: Place { limit, ..connecting(place) }.timeout(), sent }),
        }
    }

    /// Sends a request to a broker of the cluster that is meant, and to no other. Only the question which cluster it is
    /// goes to anybody.
    #[expect(clippy::too_many_arguments, reason = "the parts of one call, in one place")]
    async fn request<Q: VersionedEncode, R: VersionedDecode>(
        &self,
        link: &Link,
        lane: Lane,
        connection: &Connection,
        api: Api,
        request: &Q,
        limit: Duration,
        sent: &AtomicBool,
    ) -> Result<R, Trouble> {
        if api.key != ApiKey::DescribeCluster {
            let verified = self.transport.verify(connection, limit).await;
            if matches!(verified, Err(Trouble::OtherCluster(_))) {
                // The address may change hands again: next time it is connected to anew.
                link.slot(lane).lock().await.take_if(|held| Arc::ptr_eq(held, connection));
            }
            verified?;
            if connection.cluster.initialized() {
                link.proven.store(true, Ordering::Relaxed);
            }
        }
        Ok(request_once(&connection.broker, api, request, limit, sent).await?)
    }

    /// The lane's connection, and whether it was there before.
    async fn connection(&self, link: &Link, lane: Lane) -> Result<(Connection, bool), Trouble> {
        let mut held = link.slot(lane).lock().await;
        if let Some(connection) = held.as_ref().filter(|c| c.broker.is_usable()) {
            return Ok((Arc::clone(connection), true));
        }
        *held = None;
        if let Some(error) = link.still_refused(Instant::now()) {
            return Err(error.into());
        }
        let connected = self.transport.connect(&link.at).await;
        // A missing token is no word of this broker's, and is remembered for all of them.
        let refusal = match &connected {
            Err(Trouble::Client(error)) => Some(error),
            _ => None,
        };
        link.remember_refusal(refusal, Instant::now());
        let cluster = tokio::sync::OnceCell::new();
        let connection = Arc::new(Connected { broker: connected?, cluster });
        *held = Some(Arc::clone(&connection));
        Ok((connection, false))
    }

    fn link(&self, at: &BrokerAddress) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(link) = links.get(at) {
            link.touch(now);
            return Arc::clone(link);
        }
        links.retain(|_, link| now.duration_since(link.last_used()) < FORGET_AFTER);
        let link = Arc::new(Link {
            at: at.to_string(),
            ask: tokio::sync::Mutex::new(None),
            work: tokio::sync::Mutex::new(None),
            proven: AtomicBool::new(false),
            refused: Mutex::new(None),
            speaks: tokio::sync::Mutex::new(None),
            used: Mutex::new(now),
        });
        links.insert(at.clone(), Arc::clone(&link));
        link
    }
}

impl Link {
    fn slot(&self, lane: Lane) -> &tokio::sync::Mutex<Option<Connection>> {
        match lane {
            Lane::Ask => &self.ask,
            Lane::Work => &self.work,
        }
    }

    /// Who answers there. It is asked seldom: a listener of another kind stays one for a while.
    async fn speaks(&self) -> Option<Speaks> {
        let mut last = self.speaks.lock().await;
        match *last {
            Some((speaks, at)) if at.elapsed() < LOOK_AGAIN_AFTER => speaks,
            _ => {
                let speaks = speaks::look(&self.at).await;
                *last = Some((speaks, Instant::now()));
                speaks
            }
        }
    }

    /// What the last login was refused with, while it is too early for another one.
    fn still_refused(&self, now: Instant) -> Option<KrafkaError> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().filter(|refused| now < refused.until).map(|refused| refused.error.clone())
    }

    fn remember_refusal(&self, error: Option<&KrafkaError>, now: Instant) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused = error.filter(|error| matches!(error, KrafkaError::Auth { .. })).map(|error| {
            let pause =
                refused.as_ref().map_or(REFUSED_PAUSE, |before| before.pause * 2).min(LONGEST_REFUSED_PAUSE);
            Refused { error: error.clone(), pause, until: now + pause }
        });
    }

    fn touch(&self, now: Instant) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn last_used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connecting(place: Place<'_>) -> Place<'_> {
    Place { doing: "connecting", limit: place.limit.min(CONNECT_TIMEOUT), ..place }
}

/// Which cluster the broker belongs to.
async fn cluster_of(broker: &BrokerConnection, limit: Duration) -> Result<ClusterId, KrafkaError> {
    let request = MetadataRequest { topics: Some(Vec::new()), allow_auto_topic_creation: false };
    let sent = AtomicBool::new(false);
    let answer: MetadataResponse = request_once(broker, WHOSE, &request, limit, &sent).await?;
    answer.cluster_id.map(|id| ClusterId(id.into())).ok_or_else(|| {
        KrafkaError::protocol_kind(
            ProtocolErrorKind::InvalidValue,
            "the broker does not say which cluster it belongs to",
        )
    })
}

async fn request_once<Q: VersionedEncode, R: VersionedDecode>(
    connection: &BrokerConnection,
    api: Api,
    request: &Q,
    limit: Duration,
    sent: &AtomicBool,
) -> Result<R, KrafkaError> {
    let Some(version) = connection.negotiate_api_version(api.key, api.max, api.min) else {
        return Err(KrafkaError::protocol_kind(
            ProtocolErrorKind::UnknownApiVersion,
            "no version of the request that both sides speak",
        ));
    };
    sent.store(true, Ordering::Relaxed);
    let mut answer = connection
        .send_request_with_timeout(api.key, version, limit, |buffer| {
            request.encode_versioned(version, buffer)
        })
        .await?;
    R::decode_versioned(version, &mut answer)
}

#[cfg(test)]
mod tests {
    use krafka::__private::protocol::{DescribeClusterRequest, DescribeClusterResponse};

    use super::*;

    fn links() -> Links {
        Links::new(Arc::new(Transport::new(Security::plaintext(), "test", Arc::default())))
    }

    #[tokio::test]
    async fn a_look_at_who_answers_costs_no_more_than_the_limit() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = BrokerAddress { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
        let links = links();
        let link = links.link(&at);
        // Somebody is looking, and does not come to an end.
        let _looking = link.speaks.lock().await;
        let api = Api { key: ApiKey::DescribeCluster, min: 0, max: 2, doing: "asking" };
        let request = DescribeClusterRequest::default();
        let limit = Duration::from_millis(500);
        let asked = links.ask::<_, DescribeClusterResponse>(Lane::Ask, &at, api, &request, limit);
        let answer = tokio::time::timeout(Duration::from_secs(30), asked).await.expect("an end");
        assert!(matches!(answer, Err(ClientError::Closed { .. })), "{:?}", answer.err());
    }

    #[test]
    fn a_refused_login_is_tried_again_later_and_later() {
        let links = links();
        let link = links.link(&BrokerAddress { host: "b1".into(), port: 9092 });
        let start = Instant::now();
        let refusal = KrafkaError::auth("no such user");
        link.remember_refusal(Some(&refusal), start);
        assert!(link.still_refused(start + Duration::from_secs(1)).is_some());
        assert!(link.still_refused(start + Duration::from_secs(2)).is_none());
        for _ in 0..10 {
            link.remember_refusal(Some(&refusal), start);
        }
        assert!(link.still_refused(start + Duration::from_secs(29)).is_some());
        assert!(link.still_refused(start + Duration::from_secs(30)).is_none());
        link.remember_refusal(None, start);
        assert!(link.still_refused(start).is_none(), "a login that was accepted leaves no wait behind");
    }
}
