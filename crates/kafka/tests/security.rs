//! One file of client settings for Kafka's own tools and for us: each way to log in, on one real broker.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where something is not as expected")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cluster::{ClientError, LogWriter as _, NewRecord, NewTopic, Reader as _, Writer as _};
use common::endpoint::{Endpoint, grants, unsecured_token};
use common::{SHORT, address, ask, eventually, secured};
use kafka::Kafka;
use lab::{Cluster, Identity, Mode, Security, ToolOutput};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const SECRET: &str = "client-secret";

#[test]
fn kafkas_tools_and_we_log_in_with_the_same_file() -> anyhow::Result<()> {
    let cluster = Cluster::builder()
        .mode(Mode::KraftCombined)
        .secured("LOGIN", Security::Sasl)
        .secured("SAFE", Security::SaslSsl)
        .secured("MUTUAL", Security::MutualTls)
        .user("admin", "admin-secret")
        .authorizer(true)
        .start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(on_a_cluster(&cluster))
}

async fn on_a_cluster(cluster: &Cluster) -> anyhow::Result<()> {
    let token = cluster.dir().join("token");
    std::fs::write(&token, cluster.token("admin")? + "\n")?;
    let endpoint =
        Endpoint::start(grants(&cluster.token("admin")?), Some(acceptor(&cluster.tls_dir())?)).await;
    let url = format!("https://{}/token", endpoint.address);
    let ca = cluster.tls_dir().join("ca.pem");
    let from_endpoint = Identity::TokenEndpoint { url: &url, client: "me", secret: SECRET, ca: Some(&ca) };
    let ways = [
        ("LOGIN", Identity::Plain("admin", "admin-secret")),
        ("SAFE", Identity::Scram("admin", "admin-secret")),
        ("SAFE", from_endpoint),
        ("SAFE", Identity::TokenFile(&token)),
        ("LOGIN", Identity::Token("admin")),
        ("MUTUAL", Identity::Anonymous),
    ];
    let mut topics = Vec::new();
    for (number, (listener, identity)) in ways.into_iter().enumerate() {
        let file = cluster.client_properties_of(listener, identity)?;
        let kafka = client(cluster, listener, &file)?;
        let answer = ask(&kafka).await;
        assert_eq!(&*answer.cluster_id.0, cluster.cluster_id(), "{identity:?}");
        // The certificate's owner may see nothing; everybody else is the administrator.
        if listener != "MUTUAL" {
            let name = format!("made-by-way-{number}");
            create(&kafka, &name).await.unwrap_or_else(|e| panic!("{identity:?}: {e}"));
            topics.push(name);
        }
        let listed = kafka_topics(cluster, listener, &file)?.success()?;
        let listed: Vec<_> =
            listed.lines().filter(|line| !line.is_empty() && !line.starts_with("__")).collect();
        assert_eq!(listed, if listener == "MUTUAL" { vec![] } else { topics.clone() }, "{identity:?}");
        // Records are written over connections of another kind.
        if let Some(name) = topics.last().filter(|_| listener != "MUTUAL") {
            let record = NewRecord { value: b"v".to_vec(), ..NewRecord::default() };
            kafka.append(name, record).await.unwrap_or_else(|e| panic!("{identity:?}: {e}"));
            kafka.flush().await.unwrap_or_else(|e| panic!("{identity:?}: {e}"));
        }
    }
    assert_eq!(endpoint.requests().len(), 2, "one of ours for all connections, one of the tool");

    a_token_says_who_we_are(cluster).await?;
    a_token_file_is_read_until_the_broker_takes_what_it_holds(cluster, &token).await?;
    an_endpoint_of_an_unknown_ca_gets_no_secret(cluster, &url, &endpoint).await
}

async fn a_token_says_who_we_are(cluster: &Cluster) -> anyhow::Result<()> {
    let file = cluster.client_properties_of("LOGIN", Identity::Token("alice"))?;
    let alice = client(cluster, "LOGIN", &file)?;
    match create(&alice, "not-allowed").await {
        Err(ClientError::Refused { code, .. }) if code == "TOPIC_AUTHORIZATION_FAILED" => {}
        Err(ClientError::Denied { .. }) => {}
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// What is wrong with the file may be put right under a running client.
async fn a_token_file_is_read_until_the_broker_takes_what_it_holds(
    cluster: &Cluster,
    token: &Path,
) -> anyhow::Result<()> {
    let file = cluster.client_properties_of("SAFE", Identity::TokenFile(token))?;
    let kafka = client(cluster, "SAFE", &file)?;
    std::fs::write(token, unsecured_token("admin"))?;
    match kafka.ask(&kafka.bootstrap()[0], SHORT).await {
        Err(ClientError::Security { why, .. }) => assert!(why.contains("invalid_token"), "{why}"),
        other => panic!("{other:?}"),
    }
    std::fs::remove_file(token)?;
    eventually("the missing file is told of, and the token that was refused is not used again", || async {
        let answer = kafka.ask(&kafka.bootstrap()[0], SHORT).await;
        matches!(answer, Err(ClientError::Security { at, .. }) if at.contains("the token file"))
    })
    .await;
    std::fs::write(token, cluster.token("admin")?)?;
    eventually("the new token is taken", || async { kafka.ask(&kafka.bootstrap()[0], SHORT).await.is_ok() })
        .await;
    Ok(())
}

async fn an_endpoint_of_an_unknown_ca_gets_no_secret(
    cluster: &Cluster,
    url: &str,
    endpoint: &Endpoint,
) -> anyhow::Result<()> {
    let before = endpoint.requests().len();
    let identity = Identity::TokenEndpoint { url, client: "me", secret: SECRET, ca: None };
    let kafka = client(cluster, "SAFE", &cluster.client_properties_of("SAFE", identity)?)?;
    match kafka.ask(&kafka.bootstrap()[0], SHORT).await {
        Err(ClientError::Security { at, why }) => {
            assert!(
                at.contains(url) && why.contains("ssl.truststore.location in sasl.jaas.config"),
                "{at}: {why}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(endpoint.requests().len(), before);
    Ok(())
}

fn client(cluster: &Cluster, listener: &str, file: &Path) -> anyhow::Result<Kafka> {
    let kafka = secured(&cluster.bootstrap_of(listener)?, &std::fs::read_to_string(file)?);
    assert_eq!(kafka.bootstrap(), [address(&cluster.bootstrap_of(listener)?)]);
    Ok(kafka)
}

async fn create(kafka: &Kafka, name: &str) -> Result<(), ClientError> {
    let topic =
        NewTopic { name: name.into(), partitions: 1, replication_factor: 1, configs: BTreeMap::new() };
    kafka.create_topic(&topic).await
}

fn kafka_topics(cluster: &Cluster, listener: &str, file: &Path) -> anyhow::Result<ToolOutput> {
    let (bootstrap, file) = (cluster.bootstrap_of(listener)?, file.display().to_string());
    cluster.tool("topics", &["--list", "--bootstrap-server", &bootstrap, "--command-config", &file])
}

fn acceptor(tls_dir: &Path) -> anyhow::Result<TlsAcceptor> {
    let chain = vec![CertificateDer::from_pem_file(tls_dir.join("server.crt"))?];
    let key = PrivateKeyDer::from_pem_file(tls_dir.join("server.key"))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
