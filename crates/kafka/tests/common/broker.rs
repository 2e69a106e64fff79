//! A broker on the loopback that knows just enough of Kafka's protocol to say who it is and who else is there.

use std::sync::{Arc, Mutex};

use cluster::BrokerAddress;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
pub(crate) const REASSIGN: i16 = 45;
pub(crate) const LIST_REASSIGNMENTS: i16 = 46;
const DESCRIBE_QUORUM: i16 = 55;
pub(crate) const DESCRIBE_CLUSTER: i16 = 60;

/// Each with the one version that is spoken. That it knows the quorum's request makes it one in KRaft mode.
const SPOKEN: [(i16, i16); 6] = [
    (API_VERSIONS, 0),
    (METADATA, 2),
    (REASSIGN, 0),
    (LIST_REASSIGNMENTS, 0),
    (DESCRIBE_QUORUM, 0),
    (DESCRIBE_CLUSTER, 0),
];
const UNSUPPORTED_VERSION: i16 = 35;

/// What a broker says of its cluster.
#[derive(Clone, Default)]
struct Said {
    cluster: String,
    live: Vec<(i32, BrokerAddress)>,
}

/// A running broker; it ends with the runtime.
pub(crate) struct FakeBroker {
    pub(crate) address: BrokerAddress,
    said: watch::Sender<Said>,
    asked: Arc<Mutex<Vec<i16>>>,
}

impl FakeBroker {
    /// A broker that knows of nobody yet.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (said, told) = watch::channel(Said::default());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut told, kept) = (told.clone(), Arc::clone(&kept));
                told.mark_unchanged();
                let said = told.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = serve(stream, &said, &kept) => {}
                        _ = told.changed() => {}
                    }
                });
            }
        });
        Self { address: BrokerAddress { host: "127.0.0.1".into(), port }, said, asked }
    }

    /// From now on it is a broker of this cluster, and these are alive there. Connections are closed.
    pub(crate) fn belongs_to(&self, cluster: &str, live: &[(i32, &BrokerAddress)]) {
        let live = live.iter().map(|(id, at)| (*id, (*at).clone())).collect();
        self.said.send_replace(Said { cluster: cluster.to_owned(), live });
    }

    /// The requests so far, by their API keys, but for the greeting of each connection.
    pub(crate) fn asked(&self) -> Vec<i16> {
        self.asked.lock().expect("no panic").clone()
    }
}

/// A listener that takes connections and closes them without a word.
pub(crate) async fn closes() -> BrokerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    BrokerAddress { host: "127.0.0.1".into(), port }
}

async fn serve(
    mut stream: TcpStream,
    said: &watch::Receiver<Said>,
    asked: &Mutex<Vec<i16>>,
) -> std::io::Result<()> {
    loop {
        let mut request = vec![0; usize::try_from(stream.read_i32().await?).expect("a size")];
        stream.read_exact(&mut request).await?;
        let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
        let (api, version) = (number(0), number(2));
        let mut answer = request[4..8].to_vec();
        if api != API_VERSIONS {
            asked.lock().expect("no panic").push(api);
        }
        let said = said.borrow().clone();
        match api {
            API_VERSIONS => answer.extend(api_versions(if version == 0 { 0 } else { UNSUPPORTED_VERSION })),
            METADATA => answer.extend(metadata(&said)),
            DESCRIBE_CLUSTER => answer.extend(describe_cluster(&said)),
            // No throttling, no error, no message, no topics.
            REASSIGN | LIST_REASSIGNMENTS => answer.extend([0, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
            other => panic!("not spoken: {other}"),
        }
        stream.write_i32(i32::try_from(answer.len()).expect("a size")).await?;
        stream.write_all(&answer).await?;
    }
}

fn api_versions(error: i16) -> Vec<u8> {
    let mut body = error.to_be_bytes().to_vec();
    body.extend(i32::try_from(SPOKEN.len()).expect("few").to_be_bytes());
    for (api, version) in SPOKEN {
        for number in [api, version, version] {
            body.extend(number.to_be_bytes());
        }
    }
    body
}

fn metadata(said: &Said) -> Vec<u8> {
    let text = |text: &str| {
        let length = i16::try_from(text.len()).expect("short").to_be_bytes();
        [&length[..], text.as_bytes()].concat()
    };
    let mut body = i32::try_from(said.live.len()).expect("few").to_be_bytes().to_vec();
    for (id, at) in &said.live {
        body.extend(id.to_be_bytes());
        body.extend(text(&at.host));
        body.extend(i32::from(at.port).to_be_bytes());
        body.extend((-1_i16).to_be_bytes());
    }
    body.extend(text(&said.cluster));
    // The controller, and no topics.
    body.extend([0; 8]);
    body
}

fn describe_cluster(said: &Said) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len() + 1).expect("short");
        [&[length][..], text.as_bytes()].concat()
    };
    // The end of the header, no throttling, no error, no message.
    let mut body = vec![0; 8];
    body.extend(text(&said.cluster));
    body.extend(1_i32.to_be_bytes());
    body.push(u8::try_from(said.live.len() + 1).expect("few"));
    for (id, at) in &said.live {
        body.extend(id.to_be_bytes());
        body.extend(text(&at.host));
        body.extend(i32::from(at.port).to_be_bytes());
        body.extend([0, 0]);
    }
    // No rights told, no tags.
    body.extend([0; 5]);
    body
}
