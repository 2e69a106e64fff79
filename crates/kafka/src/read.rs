//! Reading a cluster's state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::{
    BoxFuture, Broker, BrokerAddress, BrokerAnswer, BrokerId, Capabilities, ClientError, ClusterId,
    ConfigReadings, ConfigResource, Incarnation, Incarnations, LogDir, LogDirReplica, Partition, Reader,
    Reassignment, Reassignments, Topic, TopicName, TopicPartition, TopicTable,
};
use krafka::__private::network::BrokerConnection;
use krafka::__private::protocol::{
    ApiKey, ConfigResourceType, DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeLogDirsResult, DescribeQuorumPartitionRequest, DescribeQuorumRequest,
    DescribeQuorumResponse, DescribeQuorumTopicRequest, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse, MetadataRequest, MetadataResponse, MetadataTopicResponse,
};
use krafka::error::ErrorCode;

use crate::fail;
use crate::kafka::{Kafka, Shared, at_each};
use crate::link::{Api, Lane, REQUEST_TIMEOUT};

/// How long the list of all topics may take: 41 MiB for a million partitions, over a slow line.
const TOPICS_LIMIT: Duration = Duration::from_secs(20);
/// Topics that are described in one request.
const TOPICS_AT_ONCE: usize = 1000;
/// The level of the finalized feature `metadata.version` that Kafka 4.3 brings (4.3-IV0). From that version on the
/// KRaft controller completes a reassignment when the added replicas are in sync; up to 4.2 it waits for all targets,
/// as ZooKeeper's controller does. It is the controller's behaviour, and the finalized level is what all controllers
/// are known to have reached, while a version range is that of one broker.
const COMPLETES_FROM_METADATA_VERSION: i16 = 30;

const DESCRIBE_CLUSTER: Api =
    Api { key: ApiKey::DescribeCluster, min: 0, max: 2, doing: "asking for the cluster" };
const METADATA: Api = Api { key: ApiKey::Metadata, min: 1, max: 13, doing: "listing topics" };
const LIST_REASSIGNMENTS: Api =
    Api { key: ApiKey::ListPartitionReassignments, min: 0, max: 0, doing: "listing reassignments" };
const DESCRIBE_LOG_DIRS: Api =
    Api { key: ApiKey::DescribeLogDirs, min: 1, max: 5, doing: "describing log directories" };
const DESCRIBE_CONFIGS: Api =
    Api { key: ApiKey::DescribeConfigs, min: 1, max: 4, doing: "describing configs" };

const DESCRIBE_QUORUM: Api =
    Api { key: ApiKey::DescribeQuorum, min: 0, max: 2, doing: "describing the metadata quorum" };
/// The one partition that the quorum keeps.
const METADATA_LOG: &str = "__cluster_metadata";

impl Reader for Kafka {
    fn bootstrap(&self) -> Vec<BrokerAddress> {
        self.shared.config.bootstrap.clone()
    }

    fn expect_cluster(&self, cluster: Option<&ClusterId>) {
        self.shared.directory.tell(cluster);
    }

    fn expected_cluster(&self) -> Option<ClusterId> {
        self.shared.directory.told()
    }

    fn ask<'a>(
        &'a self,
        at: &'a BrokerAddress,
        limit: Duration,
    ) -> BoxFuture<'a, Result<BrokerAnswer, ClientError>> {
        Box::pin(self.ask_broker(at, limit))
    }

    fn topics<'a>(&'a self, at: &'a BrokerAddress) -> BoxFuture<'a, Result<TopicTable, ClientError>> {
        Box::pin(async move {
            let request = MetadataRequest { topics: None, allow_auto_topic_creation: false };
            topic_table(self.ask_this_one(at, METADATA, &request, TOPICS_LIMIT).await?)
        })
    }

    fn incarnations<'a>(
        &'a self,
        at: &'a BrokerAddress,
    ) -> BoxFuture<'a, Result<(TopicTable, Incarnations), ClientError>> {
        Box::pin(async move {
            let request = MetadataRequest { topics: None, allow_auto_topic_creation: false };
            let answer: MetadataResponse = self.ask_this_one(at, METADATA, &request, TOPICS_LIMIT).await?;
            let incarnations = incarnations_of(&answer.topics);
            Ok((topic_table(answer)?, incarnations))
        })
    }

    fn describe<'a>(&'a self, names: &'a [TopicName]) -> BoxFuture<'a, Result<TopicTable, ClientError>> {
        Box::pin(async move {
            let mut table = TopicTable::new();
            for chunk in names.chunks(TOPICS_AT_ONCE) {
                let request = request_of(chunk);
                let answer: MetadataResponse = self.ask_anyone(METADATA, &request, TOPICS_LIMIT).await?;
                table.append(&mut topic_table(answer)?);
            }
            Ok(table)
        })
    }

    fn witnesses<'a>(
        &'a self,
        names: &'a [TopicName],
        count: usize,
    ) -> BoxFuture<'a, Result<Vec<TopicTable>, ClientError>> {
        Box::pin(self.ask_witnesses(names, count))
    }

    fn reassignments(&self) -> BoxFuture<'_, Result<Reassignments, ClientError>> {
        Box::pin(async move {
            let request =
                ListPartitionReassignmentsRequest { timeout_ms: millis(REQUEST_TIMEOUT), topics: None };
            let answer = self
                .ask_controller(
                    LIST_REASSIGNMENTS,
                    &request,
                    REQUEST_TIMEOUT,
                    |r: &ListPartitionReassignmentsResponse| r.error_code,
                )
                .await?;
            if answer.error_code != ErrorCode::None {
                let message = answer.error_message.as_deref();
                return Err(fail::broker(LIST_REASSIGNMENTS.doing, answer.error_code, message));
            }
            Ok(ongoing(answer))
        })
    }

    fn quorum_voters(&self) -> BoxFuture<'_, Result<Option<BTreeSet<BrokerId>>, ClientError>> {
        Box::pin(async move {
            let partitions = vec![DescribeQuorumPartitionRequest { partition_index: 0 }];
            let log = DescribeQuorumTopicRequest { topic_name: METADATA_LOG.to_owned(), partitions };
            let request = DescribeQuorumRequest { topics: vec![log] };
            let answer = self.ask_anyone(DESCRIBE_QUORUM, &request, REQUEST_TIMEOUT).await?;
            voters_of(answer).map(Some)
        })
    }

    fn log_dirs<'a>(
        &'a self,
        brokers: &'a [Broker],
    ) -> BoxFuture<'a, BTreeMap<BrokerId, Result<Vec<LogDir>, ClientError>>> {
        Box::pin(async move {
            let ask = |broker: &Broker| {
                let (kafka, id, at) = (self.clone(), broker.id, broker.address.clone());
                async move { (id, kafka.log_dirs_of(&at).await) }
            };
            at_each(brokers, ask).await.into_iter().collect()
        })
    }

    fn configs<'a>(
        &'a self,
        resources: &'a [ConfigResource],
        keys: &'a [&'a str],
    ) -> BoxFuture<'a, ConfigReadings> {
        Box::pin(self.describe_configs(resources, keys))
    }
}

impl Kafka {
    /// See [`Reader::witnesses`]. Only advertised addresses are asked, which every broker has for itself: a bootstrap
    /// address may be another name of one that is asked already, and give it two votes.
    async fn ask_witnesses(&self, names: &[TopicName], count: usize) -> Result<Vec<TopicTable>, ClientError> {
        let mut brokers = self.shared.directory.in_turn(Instant::now());
        if brokers.is_empty() {
            self.locate().await?;
            brokers = self.shared.directory.in_turn(Instant::now());
        }
        let wanted = count.min(brokers.len()).max(1);
        let (mut tables, mut last) = (Vec::new(), None);
        for at in brokers {
            if tables.len() == wanted {
                break;
            }
            match self.topics_of(&at, names).await {
                Ok(table) => tables.push(table),
                Err(why) => {
                    self.shared.directory.failed(&at, Instant::now());
                    last = Some(why);
                }
            }
        }
        match last {
            // One broker alone, where there are others, is no witness.
            Some(why) if tables.len() < wanted.min(2) => Err(why),
            _ => Ok(tables),
        }
    }

    async fn topics_of(&self, at: &BrokerAddress, names: &[TopicName]) -> Result<TopicTable, ClientError> {
        let mut table = TopicTable::new();
        for chunk in names.chunks(TOPICS_AT_ONCE) {
            let links = &self.shared.links;
            let (answer, _) = links
                .ask::<_, MetadataResponse>(Lane::Work, at, METADATA, &request_of(chunk), REQUEST_TIMEOUT)
                .await?;
            table.append(&mut topic_table(answer)?);
        }
        Ok(table)
    }

    pub(crate) async fn ask_broker(
        &self,
        at: &BrokerAddress,
        limit: Duration,
    ) -> Result<BrokerAnswer, ClientError> {
        let began = Instant::now();
        let request =
            DescribeClusterRequest { include_fenced_brokers: true, ..DescribeClusterRequest::default() };
        let (answer, connection) = self
            .shared
            .links
            .ask::<_, DescribeClusterResponse>(Lane::Ask, at, DESCRIBE_CLUSTER, &request, limit)
            .await
            // Whoever asks, a broker that does not answer is not given an order either, as long as there are others.
            .inspect_err(|_| self.shared.directory.failed(at, Instant::now()))?;
        if answer.error_code != ErrorCode::None {
            let message = answer.error_message.as_deref();
            return Err(fail::broker(DESCRIBE_CLUSTER.doing, answer.error_code, message));
        }
        let mut live = BTreeMap::new();
        let mut fenced = BTreeMap::new();
        for broker in answer.brokers {
            let is_fenced = broker.is_fenced;
            if let Some(broker) = broker_of(broker) {
                let side = if is_fenced { &mut fenced } else { &mut live };
                side.insert(broker.id, broker);
            }
        }
        let answer = BrokerAnswer {
            cluster_id: ClusterId(answer.cluster_id.into()),
            controller: (answer.controller_id >= 0).then_some(BrokerId(answer.controller_id)),
            live,
            fenced,
            capabilities: capabilities(connection.broker()),
            took: began.elapsed(),
        };
        let Shared { config, directory, .. } = &*self.shared;
        if !directory.learn(at, &answer, config.bootstrap.contains(at)) && directory.cluster().is_some() {
            directory.failed(at, Instant::now());
        }
        Ok(answer)
    }

    async fn log_dirs_of(&self, at: &BrokerAddress) -> Result<Vec<LogDir>, ClientError> {
        let request = DescribeLogDirsRequest::all();
        let answer: DescribeLogDirsResponse =
            self.ask_this_one(at, DESCRIBE_LOG_DIRS, &request, REQUEST_TIMEOUT).await?;
        log_dirs_in(answer)
    }

    /// See [`Reader::configs`].
    async fn describe_configs(&self, resources: &[ConfigResource], keys: &[&str]) -> ConfigReadings {
        let mut ids = Vec::new();
        let mut anywhere = Vec::new();
        for resource in resources {
            match resource {
                ConfigResource::Broker(id) => ids.push(*id),
                ConfigResource::Topic(_) | ConfigResource::BrokerDefault => anywhere.push(resource.clone()),
            }
        }
        let mut all = ConfigReadings::new();
        // A broker's own configs are known to that broker alone.
        let addresses = self.addresses_of(&ids).await;
        let ask = |(id, at): (BrokerId, Result<BrokerAddress, ClientError>)| {
            let (kafka, resource) = (self.clone(), ConfigResource::Broker(id));
            let request = describe_request(std::slice::from_ref(&resource), keys);
            async move {
                let answer = match at {
                    Ok(at) => kafka.configs_at(&at, &request).await,
                    Err(why) => Err(why),
                };
                (resource, answer)
            }
        };
        for (resource, answer) in at_each(addresses, ask).await {
            take_configs(answer, std::slice::from_ref(&resource), &mut all);
        }
        if !anywhere.is_empty() {
            let request = describe_request(&anywhere, keys);
            let answer = self.ask_anyone(DESCRIBE_CONFIGS, &request, REQUEST_TIMEOUT).await;
            take_configs(answer, &anywhere, &mut all);
        }
        all
    }

    async fn configs_at(
        &self,
        at: &BrokerAddress,
        request: &DescribeConfigsRequest,
    ) -> Result<DescribeConfigsResponse, ClientError> {
        let links = &self.shared.links;
        let (answer, _) = links.ask(Lane::Work, at, DESCRIBE_CONFIGS, request, REQUEST_TIMEOUT).await?;
        Ok(answer)
    }

    /// Where each of these brokers listens. Only live brokers have an address.
    pub(crate) async fn addresses_of(
        &self,
        brokers: &[BrokerId],
    ) -> BTreeMap<BrokerId, Result<BrokerAddress, ClientError>> {
        let directory = &self.shared.directory;
        let unknown = brokers.iter().any(|id| directory.address(*id).is_none());
        let located = if unknown { self.locate().await } else { Ok(()) };
        let find = |id: &BrokerId| match (directory.address(*id), &located) {
            (Some(at), _) => (*id, Ok(at)),
            (None, Err(why)) => (*id, Err(why.clone())),
            (None, Ok(())) => (*id, Err(not_alive(*id))),
        };
        brokers.iter().map(find).collect()
    }

    /// Where a broker listens. Only live brokers have an address.
    pub(crate) async fn address_of(&self, broker: BrokerId) -> Result<BrokerAddress, ClientError> {
        let mut found = self.addresses_of(&[broker]).await;
        found.remove(&broker).unwrap_or_else(|| Err(not_alive(broker)))
    }

    /// The metadata of one topic, from any broker.
    pub(crate) async fn topic_metadata(&self, topic: &str) -> Result<MetadataTopicResponse, ClientError> {
        let request = MetadataRequest::for_topics(vec![topic]);
        let request = MetadataRequest { allow_auto_topic_creation: false, ..request };
        let api = Api { doing: "looking up a topic", ..METADATA };
        let answer: MetadataResponse = self.ask_anyone(api, &request, REQUEST_TIMEOUT).await?;
        match answer.topics.into_iter().next() {
            Some(found) if found.error_code == ErrorCode::None => Ok(found),
            Some(found) => Err(fail::broker(api.doing, found.error_code, Some(topic))),
            None => Err(ClientError::UnknownTopic { what: topic.to_owned() }),
        }
    }
}

fn voters_of(answer: DescribeQuorumResponse) -> Result<BTreeSet<BrokerId>, ClientError> {
    let failed = |code: ErrorCode, message: Option<&str>| fail::broker(DESCRIBE_QUORUM.doing, code, message);
    if answer.error_code != ErrorCode::None {
        return Err(failed(answer.error_code, answer.error_message.as_deref()));
    }
    let mut partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
    let log = partitions.next().ok_or_else(|| failed(ErrorCode::UnknownTopicOrPartition, None))?;
    if log.error_code != ErrorCode::None {
        return Err(failed(log.error_code, log.error_message.as_deref()));
    }
    Ok(log.current_voters.iter().map(|voter| BrokerId(voter.replica_id)).collect())
}

fn not_alive(broker: BrokerId) -> ClientError {
    let why = "it is not among the live brokers".to_owned();
    ClientError::Unreachable { at: format!("broker {broker}"), why }
}

fn capabilities(connection: &BrokerConnection) -> Capabilities {
    // Brokers with ZooKeeper do not know the quorum's requests.
    let kraft = connection.get_api_version(ApiKey::DescribeQuorum).is_some();
    let level = connection.broker_features().finalized_level("metadata.version");
    Capabilities {
        kraft,
        completes_with_dead_targets: kraft && level.is_some_and(|l| l >= COMPLETES_FROM_METADATA_VERSION),
    }
}

fn broker_of(broker: DescribeClusterBroker) -> Option<Broker> {
    Some(Broker {
        id: BrokerId(broker.broker_id),
        address: BrokerAddress { host: broker.host.into(), port: u16::try_from(broker.port).ok()? },
        rack: broker.rack.map(Arc::from),
    })
}

fn brokers_of(ids: &[i32]) -> Box<[BrokerId]> {
    ids.iter().copied().map(BrokerId).collect()
}

/// The topics of a metadata answer, each consumed as it is converted so that both forms are never held in whole.
fn topic_table(answer: MetadataResponse) -> Result<TopicTable, ClientError> {
    if answer.error_code != ErrorCode::None {
        return Err(fail::broker(METADATA.doing, answer.error_code, None));
    }
    table_of(answer.topics)
}

fn table_of(topics: Vec<MetadataTopicResponse>) -> Result<TopicTable, ClientError> {
    let mut table = TopicTable::new();
    for topic in topics {
        match topic.error_code {
            // A topic that is being deleted, or just now created, has no partitions to speak of.
            ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::LeaderNotAvailable
                if topic.partitions.is_empty() =>
            {
                continue;
            }
            ErrorCode::None | ErrorCode::LeaderNotAvailable => {}
            code => return Err(fail::broker(METADATA.doing, code, topic.name.as_deref())),
        }
        let Some(name) = topic.name.clone() else { continue };
        match topic_of(topic) {
            Some(topic) => {
                table.insert(TopicName::from(name), topic);
            }
            // Seen while a topic is being deleted. It must not hide all the others.
            None => tracing::warn!(topic = name, "a topic is left out: not all its partitions are listed"),
        }
    }
    Ok(table)
}

/// A topic, if its partitions are numbered from 0 on without a gap.
fn topic_of(topic: MetadataTopicResponse) -> Option<Topic> {
    let mut partitions: Vec<(i32, Partition)> = topic
        .partitions
        .into_iter()
        .map(|p| {
            let leader = (p.leader_id >= 0).then_some(BrokerId(p.leader_id));
            let (replicas, isr) = (brokers_of(&p.replica_nodes), brokers_of(&p.isr_nodes));
            (p.partition_index, Partition { leader, replicas, isr })
        })
        .collect();
    partitions.sort_by_key(|(number, _)| *number);
    let whole = partitions.iter().zip(0..).all(|((number, _), expected)| *number == expected);
    whole.then(|| Topic {
        internal: topic.is_internal,
        partitions: partitions.into_iter().map(|(_, p)| p).collect(),
    })
}

fn incarnations_of(topics: &[MetadataTopicResponse]) -> Incarnations {
    let named = topics.iter().filter_map(|topic| Some((topic.name.as_deref()?, topic)));
    let incarnation = |topic: &MetadataTopicResponse| {
        let mut partitions: Vec<_> =
            topic.partitions.iter().map(|p| (p.partition_index, p.leader_epoch)).collect();
        partitions.sort_unstable();
        Incarnation {
            // Zeros stand for none.
            topic_id: topic.topic_id.filter(|id| *id != [0; 16]),
            leader_epochs: partitions.iter().map(|(_, epoch)| (*epoch >= 0).then_some(*epoch)).collect(),
        }
    };
    named.map(|(name, topic)| (TopicName::from(name), incarnation(topic))).collect()
}

fn ongoing(answer: ListPartitionReassignmentsResponse) -> Reassignments {
    let mut all = Reassignments::new();
    for topic in answer.topics {
        let name = TopicName::from(topic.name);
        for p in topic.partitions {
            let reassignment = Reassignment {
                replicas: brokers_of(&p.replicas),
                adding: brokers_of(&p.adding_replicas),
                removing: brokers_of(&p.removing_replicas),
            };
            all.insert(
                TopicPartition { topic: Arc::clone(&name), partition: p.partition_index },
                reassignment,
            );
        }
    }
    all
}

/// The log directories of an answer.
fn log_dirs_in(answer: DescribeLogDirsResponse) -> Result<Vec<LogDir>, ClientError> {
    if answer.error_code != ErrorCode::None {
        return Err(fail::broker(DESCRIBE_LOG_DIRS.doing, answer.error_code, None));
    }
    // A broker has a directory at least. Before Kafka 3.0 the answer has no error of its own, and lists none to those who may
    // not see them.
    if answer.results.is_empty() {
        return Err(fail::broker(DESCRIBE_LOG_DIRS.doing, ErrorCode::ClusterAuthorizationFailed, None));
    }
    Ok(answer.results.into_iter().map(log_dir).collect())
}

fn log_dir(dir: DescribeLogDirsResult) -> LogDir {
    let mut replicas = BTreeMap::new();
    for topic in dir.topics {
        let name = TopicName::from(topic.name);
        for p in topic.partitions {
            let replica = LogDirReplica {
                size_bytes: u64::try_from(p.partition_size).unwrap_or(0),
                offset_lag: u64::try_from(p.offset_lag).unwrap_or(0),
                is_future: p.is_future_key,
            };
            replicas
                .insert(TopicPartition { topic: Arc::clone(&name), partition: p.partition_index }, replica);
        }
    }
    LogDir {
        path: dir.log_dir.into(),
        error: (dir.error_code != ErrorCode::None).then(|| fail::code_name(dir.error_code)),
        total_bytes: u64::try_from(dir.total_bytes).ok(),
        usable_bytes: u64::try_from(dir.usable_bytes).ok(),
        replicas,
    }
}

/// How Kafka names a resource.
pub(crate) fn resource_name(resource: &ConfigResource) -> (ConfigResourceType, String) {
    match resource {
        ConfigResource::Topic(name) => (ConfigResourceType::Topic, name.to_string()),
        ConfigResource::Broker(id) => (ConfigResourceType::Broker, id.to_string()),
        ConfigResource::BrokerDefault => (ConfigResourceType::Broker, String::new()),
    }
}

/// The resource that Kafka names so.
pub(crate) fn resource_of(kind: ConfigResourceType, name: &str) -> Option<ConfigResource> {
    match kind {
        ConfigResourceType::Topic => Some(ConfigResource::Topic(name.into())),
        ConfigResourceType::Broker if name.is_empty() => Some(ConfigResource::BrokerDefault),
        ConfigResourceType::Broker => name.parse().ok().map(|id| ConfigResource::Broker(BrokerId(id))),
        _ => None,
    }
}

fn describe_request(resources: &[ConfigResource], keys: &[&str]) -> DescribeConfigsRequest {
    let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let resources = resources
        .iter()
        .map(|resource| {
            let (resource_type, resource_name) = resource_name(resource);
            DescribeConfigsResource { resource_type, resource_name, config_names: Some(names.clone()) }
        })
        .collect();
    DescribeConfigsRequest { resources, include_synonyms: false, include_documentation: false }
}

/// Takes in what was answered about the resources `asked`: each of them gets a result.
fn take_configs(
    answer: Result<DescribeConfigsResponse, ClientError>,
    asked: &[ConfigResource],
    all: &mut ConfigReadings,
) {
    let doing = DESCRIBE_CONFIGS.doing;
    let missing = match answer {
        Err(why) => why,
        Ok(answer) => {
            for result in answer.results {
                let Some(resource) = resource_of(result.resource_type, &result.resource_name) else {
                    continue;
                };
                let read = match result.error_code {
                    ErrorCode::None => {
                        Ok(result.configs.into_iter().filter_map(|c| c.value.map(|v| (c.name, v))).collect())
                    }
                    code => {
                        let message = result.error_message.as_deref().filter(|m| !m.is_empty());
                        Err(fail::broker(doing, code, message.or(Some(&result.resource_name))))
                    }
                };
                all.insert(resource, read);
            }
            ClientError::Malformed { doing, why: "the answer does not mention it".to_owned() }
        }
    };
    for resource in asked {
        all.entry(resource.clone()).or_insert_with(|| Err(missing.clone()));
    }
}

fn request_of(names: &[TopicName]) -> MetadataRequest {
    let request = MetadataRequest::for_topics(names.iter().map(|name| &**name).collect());
    MetadataRequest { allow_auto_topic_creation: false, ..request }
}

/// A time limit as Kafka's requests take it.
pub(crate) fn millis(limit: Duration) -> i32 {
    i32::try_from(limit.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
