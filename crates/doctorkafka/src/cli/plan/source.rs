//! Where a cluster comes from.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::Reader;
use control::Disks;
use control::planning::balance::{Known, Question};
use kafka::{ConnectionConfig, Kafka, Security, parse_bootstrap};
use placement::{Named, PlacementError, read_cluster, read_json};
use planner::balance::Goal;

use crate::client_settings;
use crate::store::in_words;

/// A cluster, and which goals can be judged.
pub(super) struct Source {
    pub(super) named: Named,
    /// Nothing where all can.
    question: Option<Question>,
}

impl Source {
    fn of(question: Question) -> Source {
        let named = Named {
            cluster: question.cluster.clone(),
            broker_ids: question.brokers.iter().map(|id| id.0).collect(),
            topics: question.topics.iter().map(ToString::to_string).collect(),
            partitions: question.partitions.clone(),
        };
        Source { named, question: Some(question) }
    }

    /// Whether a goal can be judged.
    pub(super) fn knows(&self, goal: Goal) -> bool {
        self.question.as_ref().is_none_or(|question| question.knows(goal))
    }
}

/// Reads a folder or a JSON file.
pub(super) fn file(path: &Path) -> Result<Source, PlacementError> {
    let named = if path.is_dir() { read_cluster(path)? } else { read_json(path)? };
    Ok(Source { named, question: None })
}

/// One answer may take so long.
const LIMIT: Duration = Duration::from_secs(10);

/// Reads a live cluster: who lives, where replicas are, how much disk they take.
pub(super) fn live(servers: &str, settings: Option<&Path>) -> Result<Source, String> {
    let bootstrap = parse_bootstrap(servers).map_err(|error| error.to_string())?;
    let security = match settings {
        None => Security::plaintext(),
        Some(path) => client_settings::read(path).map_err(|problems| problems.join("; "))?,
    };
    let client_id = "doctorkafka-plan".to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        let reader: Arc<dyn Reader> =
            Arc::new(Kafka::new(ConnectionConfig { bootstrap, security, client_id }));
        read(&*reader).await
    })
}

/// What a cluster says of itself.
pub(super) async fn read(reader: &dyn Reader) -> Result<Source, String> {
    let mut why = "no bootstrap server is given".to_owned();
    for at in reader.bootstrap() {
        let answer = match reader.ask(&at, LIMIT).await {
            Ok(answer) => answer,
            Err(error) => {
                why = format!("{at}: {}", in_words(&error));
                continue;
            }
        };
        // One cluster is read, also where the addresses lead to several.
        reader.expect_cluster(Some(&answer.cluster_id));
        let topics = reader.topics(&at).await.map_err(|error| in_words(&error))?;
        let live: Vec<_> = answer.live.values().cloned().collect();
        let mut dirs = BTreeMap::new();
        for (broker, found) in reader.log_dirs(&live).await {
            dirs.insert(broker, found.map_err(|error| format!("broker {broker}: {}", in_words(&error)))?);
        }
        let reassignments = reader.reassignments().await.map_err(|error| in_words(&error))?;
        let disks = Disks::of(dirs.iter().map(|(id, dirs)| (*id, dirs.as_slice())));
        let known =
            Known { live: answer.live, topics, reassignments, disks: Some(&disks), ..Known::default() };
        return Question::new(&known).map(Source::of).map_err(|error| in_words(&error));
    }
    Err(why)
}
