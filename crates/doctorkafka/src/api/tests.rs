//! The control socket and the public one, over real sockets.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use control::order::OrderKind;
use control::{Order, Record, RecordKind, Scope, Severity, Target, Tick, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::*;
use crate::cli::client::{Client, ClientError};
use crate::shell::journal::Journal;
use crate::shell::snapshot::{OrderRequest, Shared, Snapshot};
use crate::store::memory::MemoryStore;

const NOW: Now = Now { tick: Tick(100_000), wall: Timestamp(1_700_000_000_000) };

struct Still;
impl Clock for Still {
    fn now(&self) -> Now {
        NOW
    }
}

struct Served {
    dir: tempfile::TempDir,
    client: Client,
    port: u16,
    shared: Arc<Shared>,
    orders: mpsc::Receiver<OrderRequest>,
}

/// A service with the cluster `test`, whose loop is this test.
async fn serve() -> Served {
    let dir = tempfile::tempdir().unwrap();
    let (orders_in, orders) = mpsc::channel(4);
    let shared = Arc::new(Shared::default());
    let handle = ClusterHandle {
        name: "test".into(),
        evaluation_interval: Duration::from_secs(1),
        dry_run: ["reassign_partitions".to_owned()].into(),
        shared: Arc::clone(&shared),
        journal: Journal::new(Arc::new(MemoryStore::default()), "test"),
        orders: orders_in,
    };
    let api = Api::new(vec![handle], Arc::new(Still));
    let control = bind_control_socket(dir.path()).await.unwrap();
    tokio::spawn(control.serve(api.control_router()));
    let public = bind_tcp("127.0.0.1:0").await.unwrap();
    let port = public.port().unwrap();
    tokio::spawn(public.serve(api.public_router()));
    Served { client: Client::new(dir.path()), dir, port, shared, orders }
}

/// A request as it stands, and the whole answer.
async fn raw(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(served: &Served, path: &str) -> String {
    let stream = TcpStream::connect(("127.0.0.1", served.port)).await.unwrap();
    raw(stream, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await
}

async fn post(served: &Served, order: &str, body: &str) -> String {
    let stream = UnixStream::connect(served.dir.path().join(CONTROL_SOCKET)).await.unwrap();
    let length = body.len();
    let head = format!(
        "POST /v1/clusters/{order} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    raw(stream, &format!("{head}{body}")).await
}

#[tokio::test]
async fn an_order_reaches_the_loop_and_its_answer_the_person() {
    let mut served = serve().await;
    let body = OrderBody {
        by: "kim".to_owned(),
        reason: "disk swap".to_owned(),
        broker: Some(3),
        for_seconds: Some(7_200),
        ..OrderBody::default()
    };
    let path = "/v1/clusters/test/maintenance-on";
    let (answer, ()) = tokio::join!(served.client.post::<_, Answer>(path, &body), async {
        let request = served.orders.recv().await.unwrap();
        let what = OrderKind::MaintenanceOn {
            scope: Scope::Broker(cluster::BrokerId(3)),
            until: Some(Timestamp(NOW.wall.0 + 7_200_000)),
        };
        let expected = Order { by: "kim".to_owned(), reason: "disk swap".to_owned(), what };
        assert_eq!(request.order, expected);
        request.answer.send(Ok("maintenance is on".to_owned())).unwrap();
    });
    assert_eq!(answer.unwrap().result, "maintenance is on");
}

#[tokio::test]
async fn an_order_that_is_not_durable_is_not_called_done() {
    let mut served = serve().await;
    let body = OrderBody { by: "kim".to_owned(), ..OrderBody::default() };
    let (answer, ()) =
        tokio::join!(served.client.post::<_, Answer>("/v1/clusters/test/pause", &body), async {
            let request = served.orders.recv().await.unwrap();
            request.answer.send(Err("the disk is full".to_owned())).unwrap();
        });
    let why = answer.unwrap_err();
    assert!(matches!(&why, ClientError::Refused { why } if why == "the disk is full"), "{why:?}");
}

#[tokio::test]
async fn says_what_is_wrong_with_a_bad_order() {
    let served = serve().await;
    let cases = [
        ("test/pause", "{", "400", "JSON"),
        ("test/pause", "{}", "422", "by"),
        ("test/pause", r#"{"by":" "}"#, "422", "who gives the order"),
        ("test/pause", r#"{"by":"kim","broker":3}"#, "422", "`broker` does not go with pause"),
        ("test/pause", r#"{"by":"kim","colour":"red"}"#, "422", "colour"),
        ("test/maintenance-on", r#"{"by":"kim","broker":-1}"#, "422", "negative"),
        ("test/maintenance-on", r#"{"by":"kim","for_seconds":0}"#, "422", "more than nothing"),
        ("test/maintenance-on", r#"{"by":"kim","for_seconds":99999999999}"#, "422", "ten years"),
        ("test/replace", r#"{"by":"kim"}"#, "422", "`broker` must say"),
        ("test/pause", r#"{"by":"kim","only_ask":true}"#, "422", "`only_ask` does not go with pause"),
        ("test/pause", r#"{"by":"kim","accept_data_loss":true}"#, "422", "does not go with pause"),
        ("test/dance", r#"{"by":"kim"}"#, "404", "no order"),
        ("prod/pause", r#"{"by":"kim"}"#, "404", "no cluster"),
    ];
    for (order, body, code, words) in cases {
        let answer = post(&served, order, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{order} {body}: {answer}");
        assert!(answer.contains("\"error\":") && answer.contains(words), "{order} {body}: {answer}");
    }
    let long = format!(r#"{{"by":"{}"}}"#, "x".repeat(BODY_LIMIT));
    assert!(post(&served, "test/pause", &long).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn the_public_socket_shows_metrics_and_health_and_nothing_else() {
    let served = serve().await;
    for path in ["/", "/v1/status", "/v1/clusters/test/pause", "/metrics/x"] {
        assert!(get(&served, path).await.starts_with("HTTP/1.1 404"), "{path}");
    }
    let metrics = get(&served, "/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("text/plain"), "{metrics}");
    assert!(metrics.contains("doctorkafka_cycles_total{cluster=\"test\"} 0"), "{metrics}");
    let record = Record {
        sequence: 1,
        timestamp: NOW.wall,
        cluster: "test".to_owned(),
        cluster_id: None,
        kind: RecordKind::Hold,
        principal: "p".to_owned(),
        operation: "reassign_partitions".to_owned(),
        target: Target::Cluster,
        reason: String::new(),
        result: String::new(),
        severity: Severity::Info,
        dry_run: true,
        cause: None,
        execution: None,
        detail: serde_json::Value::Null,
    };
    served.shared.audit.take(record);
    let expected = "doctorkafka_records_total{cluster=\"test\",kind=\"hold\",\
        operation=\"reassign_partitions\",dry_run=\"true\"} 1";
    assert!(get(&served, "/metrics").await.contains(expected));
}

#[tokio::test]
async fn health_tells_late_loops_from_those_in_trouble() {
    let served = serve().await;
    let at = |age: u64| Some(Now { tick: Tick(NOW.tick.0 - age), wall: NOW.wall });
    served.shared.publish(Snapshot { at: at(900), ..Snapshot::default() });
    let answer = get(&served, "/health").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"status\":\"ok\"") && answer.contains("\"last_cycle_age_ms\":900"), "{answer}");

    let trouble = Some("the disk is full".to_owned());
    served.shared.publish(Snapshot { at: at(900), trouble, ..Snapshot::default() });
    let answer = get(&served, "/health").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"status\":\"trouble\""), "{answer}");
    assert!(answer.contains("the disk is full"), "{answer}");

    served.shared.publish(Snapshot { at: at(15_001), ..Snapshot::default() });
    let answer = get(&served, "/health").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\"status\":\"late\""), "{answer}");
}

#[tokio::test]
async fn clients_that_say_nothing_keep_nobody_out() {
    let served = serve().await;
    served.shared.publish(Snapshot { at: Some(NOW), ..Snapshot::default() });
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(("127.0.0.1", served.port)).await.unwrap());
    }
    let answer = tokio::time::timeout(Duration::from_secs(3), get(&served, "/health")).await;
    let answer = answer.expect("less than the time that clients have for their headers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The oldest were cut off for it, and the youngest were not.
    assert_eq!(silent[0].read(&mut [0]).await.unwrap_or(0), 0);
    let youngest = silent[99].try_read(&mut [0]);
    assert_eq!(youngest.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn the_control_socket_is_its_owners_alone_and_there_is_one() {
    let served = serve().await;
    let path = served.dir.path().join(CONTROL_SOCKET);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let second = bind_control_socket(served.dir.path()).await;
    assert!(matches!(second, Err(ListenError::InUse { .. })), "{second:?}");
    assert_eq!(served.client.status().await.unwrap().pid, std::process::id());
}

#[tokio::test]
async fn a_socket_that_a_dead_service_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(dir.path());
    assert!(matches!(client.status().await, Err(ClientError::NotRunning { .. })));
    drop(bind_control_socket(dir.path()).await.unwrap());
    assert!(dir.path().join(CONTROL_SOCKET).exists());
    assert!(matches!(client.status().await, Err(ClientError::NotRunning { .. })));
    let control = bind_control_socket(dir.path()).await.unwrap();
    tokio::spawn(control.serve(Api::new(Vec::new(), Arc::new(Still)).control_router()));
    assert_eq!(client.status().await.unwrap().clusters, []);
}

#[tokio::test]
async fn asks_which_cluster_only_where_there_are_several() {
    let served = serve().await;
    assert_eq!(served.client.cluster(None).await.unwrap(), "test");
    assert_eq!(served.client.cluster(Some("test")).await.unwrap(), "test");
    let unknown = served.client.cluster(Some("prod")).await.unwrap_err().to_string();
    assert_eq!(unknown, "the service has no cluster prod, only: test");
}
