//! What comes of a token endpoint that does not do what it should. No broker is needed: without a token none is asked.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where something is not as expected")]

mod common;

use cluster::{ClientError, LogWriter as _, NewRecord, Reader as _};
use common::endpoint::{Answer, Endpoint, grants, http};
use common::{SHORT, secured};
use kafka::Kafka;

const SECRET: &str = "s3cret";
/// Nothing listens there.
const NOBODY: &str = "127.0.0.1:1";

fn kafka(scheme: &str, address: impl std::fmt::Display, lines: &str) -> Kafka {
    secured(
        NOBODY,
        &format!(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\n\
             sasl.jaas.config=a.OAuthBearerLoginModule required clientId=\"me\" clientSecret=\"{SECRET}\" scope=\"a b\";\n\
             sasl.oauthbearer.token.endpoint.url={scheme}://{address}/token?realm=x\n{lines}"
        ),
    )
}

async fn asked(kafka: &Kafka) -> ClientError {
    let error = kafka.ask(&kafka.bootstrap()[0], SHORT).await.expect_err("nobody to answer");
    assert!(!error.to_string().contains(SECRET), "{error}");
    error
}

/// An endpoint with this answer gives a matter of settings (or not), in these words.
async fn gives(answer: Answer, lines: &str, settings: bool, words: &str) {
    let endpoint = Endpoint::start(answer, None).await;
    let error = asked(&kafka("http", endpoint.address, lines)).await;
    let shown = error.to_string();
    assert!(shown.contains(&format!("the token endpoint http://{}/token:", endpoint.address)), "{shown}");
    assert!(shown.contains(words), "{shown:?} does not say {words:?}");
    assert_eq!(error.is_configuration(), settings, "{shown}");
}

#[tokio::test]
async fn a_refusal_is_a_matter_of_settings() {
    let json = "application/json";
    let refusal = format!(r#"{{"error":"invalid_client","error_description":"not {SECRET}"}}"#);
    gives(http("401 Unauthorized", json, &refusal), "", true, "401 Unauthorized: invalid_client (not …)")
        .await;
    gives(http("404 Not Found", "text/html", "<html>"), "", true, "it answered 404 Not Found").await;
    let html = http("200 OK", "text/html", "<html>Welcome</html>");
    gives(html, "", true, "with what is no JSON: is this a token endpoint? (content type \"text/html\")")
        .await;
    gives(http("200 OK", json, r#"{"token":"x"}"#), "", true, "with no access_token").await;
    gives(grants("two words"), "", true, "no bearer token").await;
    let redirect = b"HTTP/1.1 302 Found\r\nLocation: https://login/x?state=1\r\nContent-Length: 0\r\n\r\n";
    gives(Answer::Bytes(redirect.to_vec()), "", true, "it redirects (302) to \"https://login/x\"").await;
}

#[tokio::test]
async fn a_failure_may_pass() {
    gives(http("500 Internal Server Error", "text/html", "<html>"), "", false, "it answered 500").await;
    gives(http("503 Service Unavailable", "text/plain", ""), "", false, "it answered 503").await;
    gives(Answer::Bytes(Vec::new()), "", false, "the connection broke").await;
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{";
    gives(Answer::Bytes(cut.to_vec()), "", false, "its answer broke off").await;
    gives(Answer::Silence, "sasl.login.read.timeout.ms=300\n", false, "no whole answer within 300 ms").await;
    gives(Answer::Silence, "", false, "no answer yet after 1500 ms").await;
    let error = asked(&kafka("http", NOBODY, "")).await;
    assert!(matches!(&error, ClientError::Unreachable { why, .. } if why.contains("refused")), "{error}");
    let error = asked(&kafka("http", "nowhere.invalid", "")).await;
    assert!(matches!(&error, ClientError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off() {
    let endless = Answer::Endless(&[b' '; 8192]);
    gives(endless.clone(), "", true, "it does not speak HTTP/1.1 as we do").await;
    let endpoint = Endpoint::start(Answer::Endless(b"HTTP/1.1 200 OK\r\n\r\n      "), None).await;
    let error = asked(&kafka("http", endpoint.address, "")).await;
    assert!(error.to_string().contains("it answered 200 OK with more than 576 KiB"), "{error}");
    gives(Answer::Bytes(b"SSH-2.0-x\r\n".to_vec()), "", true, "it does not speak HTTP/1.1 as we do").await;
}

#[tokio::test]
async fn plain_http_is_no_https() {
    let endpoint = Endpoint::start(Answer::Greeting(b"HTTP/1.1 400 Bad Request\r\n\r\n"), None).await;
    let error = asked(&kafka("https", endpoint.address, "")).await;
    assert!(
        matches!(&error, ClientError::Security { why, .. } if why.contains("does not speak TLS")),
        "{error}"
    );
}

#[tokio::test]
async fn one_request_serves_all_connections() {
    let endpoint = Endpoint::start(http("401 Unauthorized", "text/plain", ""), None).await;
    let kafka = kafka("http", endpoint.address, "");
    let asks = (0..20).map(|_| {
        let kafka = kafka.clone();
        tokio::spawn(async move { asked(&kafka).await })
    });
    for ask in asks.collect::<Vec<_>>() {
        assert!(matches!(ask.await.expect("an end"), ClientError::Security { .. }));
    }
    let written = kafka.append("t", NewRecord::default()).await;
    assert!(matches!(written, Err(ClientError::Security { .. })), "{written:?}");
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let (head, body) = requests[0].split_once("\r\n\r\n").expect("a request");
    assert!(head.starts_with("POST /token?realm=x HTTP/1.1\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    // "me:s3cret" in Base64, in small letters.
    assert!(head.contains("authorization: basic bwu6cznjcmv0\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-www-form-urlencoded"), "{head}");
    assert_eq!(body, "grant_type=client_credentials&scope=a+b");
}
