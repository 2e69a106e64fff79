//! The topic of the state store: made if it is missing, and looked at before it is relied on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::{ConfigResource, NewTopic, Reader, TopicName, Writer};
use kafka::Kafka;

use super::KafkaStoreConfig;

/// Fewer copies than this are not enough for what must outlive any broker that is healed by it.
const COPIES_ON_A_MANAGED_CLUSTER: usize = 3;
/// How long one broker may take to say to which cluster it belongs.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// A cluster that this service looks after.
pub(crate) struct Managed {
    pub(crate) name: Arc<str>,
    pub(crate) reader: Arc<dyn Reader>,
}

/// Makes the topic if it is missing. Says what is unwise about its settings; nothing, if all is well.
///
/// # Errors
/// What makes it unfit.
pub(super) async fn prepare(
    kafka: &Kafka,
    config: &KafkaStoreConfig,
    managed: &[Managed],
) -> Result<String, String> {
    let name = TopicName::from(config.topic.as_str());
    let names = [TopicName::clone(&name)];
    let mut table = kafka.describe(&names).await.map_err(|error| error.to_string())?;
    if !table.contains_key(&name) {
        // Before it is made: nobody wants to make it twice, and the number of copies is decided then.
        may_have_so_few(kafka, usize::from(config.replication_factor.unsigned_abs()), managed).await?;
        kafka
            .create_topic(&wanted(config))
            .await
            .map_err(|error| format!("the topic {} is missing and cannot be made: {error}", config.topic))?;
        table = kafka.describe(&names).await.map_err(|error| error.to_string())?;
    }
    let topic = table.get(&name).ok_or("it was made, and is not to be seen yet")?;
    if topic.partitions.len() != 1 {
        let found = topic.partitions.len();
        return Err(format!("the topic {} has {found} partitions where it must have one", config.topic));
    }
    let copies = topic.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(0);
    may_have_so_few(kafka, copies, managed).await?;
    is_kept(kafka, &name, copies).await
}

fn wanted(config: &KafkaStoreConfig) -> NewTopic {
    let safe = if config.replication_factor >= 3 { "2" } else { "1" };
    let configs = [
        ("cleanup.policy", "compact"),
        ("min.insync.replicas", safe),
        ("unclean.leader.election.enable", "false"),
        // What was replaced is removed within hours, so that reading the whole of it stays quick.
        ("segment.ms", "3600000"),
        ("segment.bytes", "16777216"),
        ("min.cleanable.dirty.ratio", "0.1"),
    ];
    NewTopic {
        name: TopicName::from(config.topic.as_str()),
        partitions: 1,
        replication_factor: config.replication_factor,
        configs: configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    }
}

/// On a cluster that is looked after the store must survive what it is needed for.
async fn may_have_so_few(kafka: &Kafka, copies: usize, managed: &[Managed]) -> Result<(), String> {
    if copies >= COPIES_ON_A_MANAGED_CLUSTER {
        return Ok(());
    }
    let cluster = cluster_of(kafka).await?;
    for other in managed {
        let found = cluster_of(&*other.reader).await.map_err(|why| {
            format!("it has {copies} copies, and it cannot be told whether it is on {}: {why}", other.name)
        })?;
        if found == cluster {
            return Err(format!(
                "its topic has {copies} copies on the cluster {}, which this service looks after: it must have {} there",
                other.name, COPIES_ON_A_MANAGED_CLUSTER
            ));
        }
    }
    Ok(())
}

async fn cluster_of(reader: &dyn Reader) -> Result<String, String> {
    let mut last = "no bootstrap server is configured".to_owned();
    for at in reader.bootstrap() {
        match reader.ask(&at, ASK_LIMIT).await {
            Ok(answer) => return Ok(answer.cluster_id.to_string()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// Kafka must not throw values away because they are old. Says what may cost them all the same.
async fn is_kept(kafka: &Kafka, name: &TopicName, copies: usize) -> Result<String, String> {
    let resource = ConfigResource::Topic(TopicName::clone(name));
    let mut found = kafka.configs(std::slice::from_ref(&resource), &[POLICY, UNCLEAN, IN_SYNC]).await;
    let configs: BTreeMap<String, String> = match found.remove(&resource) {
        Some(Ok(configs)) => configs,
        Some(Err(error)) => return Err(error.to_string()),
        None => return Err("its settings cannot be read".to_owned()),
    };
    match configs.get(POLICY).map(String::as_str) {
        Some("compact") => Ok(unwise(&configs, copies)),
        other => Err(format!(
            "the topic {name} has cleanup.policy={} where it must be compact, or its values are lost with time",
            other.unwrap_or("delete")
        )),
    }
}

const POLICY: &str = "cleanup.policy";
const UNCLEAN: &str = "unclean.leader.election.enable";
const IN_SYNC: &str = "min.insync.replicas";

/// Which settings let a broker that fails take with it what was confirmed. A topic that a person has made is used all the same.
fn unwise(configs: &BTreeMap<String, String>, copies: usize) -> String {
    let mut unwise = Vec::new();
    if configs.get(UNCLEAN).is_some_and(|value| value == "true") {
        unwise.push(format!("{UNCLEAN} is true: a broker that was not in sync may become its leader"));
    }
    let in_sync = configs.get(IN_SYNC).and_then(|value| value.parse().ok()).unwrap_or(1);
    if copies > 1 && in_sync < 2 {
        unwise.push(format!(
            "{IN_SYNC} is {in_sync} with {copies} copies: what one broker alone has counts as written"
        ));
    }
    unwise.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(unclean: &str, in_sync: &str, copies: usize) -> String {
        let configs = [(UNCLEAN, unclean), (IN_SYNC, in_sync)];
        unwise(&configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(), copies)
    }

    #[test]
    fn settings_that_may_lose_what_was_confirmed_are_told() {
        assert_eq!(of("false", "2", 3), "");
        assert_eq!(of("false", "1", 1), "", "there is only one copy to write to");
        assert!(of("true", "2", 3).starts_with("unclean.leader.election.enable is true"));
        assert!(of("false", "1", 3).starts_with("min.insync.replicas is 1 with 3 copies"));
        assert_eq!(of("true", "1", 3).matches("; ").count(), 1);
    }
}
