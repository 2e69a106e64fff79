//! Changing a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::{
    BoxFuture, BrokerAddress, BrokerId, ClientError, ConfigChange, ConfigResource, ConfigResults, NewTopic,
    PartitionResults, TopicName, TopicPartition, Writer,
};
use krafka::__private::protocol::{
    AlterConfigOp, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, AlterableConfig,
    ApiKey, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
    ElectLeadersRequest, ElectLeadersResponse, ElectLeadersTopicPartitions, ElectionType,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource, IncrementalAlterConfigsResponse,
    ReassignablePartition, ReassignableTopic,
};
use krafka::error::ErrorCode;

use crate::fail;
use crate::kafka::{Kafka, at_each};
use crate::link::{Api, REQUEST_TIMEOUT};
use crate::read::{millis, resource_name, resource_of};

/// Partitions in one call. The KRaft controller takes at most 10,000 metadata records an operation
/// (`QuorumController.MAX_RECORDS_PER_USER_OP`); 500 stay far below it, also where one partition needs several.
const MAX_REASSIGNMENTS: usize = 500;
/// How long the controller may take for a change.
const CHANGE_LIMIT: Duration = Duration::from_secs(15);
/// What the controller is told: less than we wait, so that its answer comes before we give up.
const CONTROLLER_LIMIT: Duration = Duration::from_secs(12);

const REASSIGN: Api =
    Api { key: ApiKey::AlterPartitionReassignments, min: 0, max: 1, doing: "reassigning partitions" };
const ELECT: Api = Api { key: ApiKey::ElectLeaders, min: 0, max: 2, doing: "electing leaders" };
const ALTER_CONFIGS: Api =
    Api { key: ApiKey::IncrementalAlterConfigs, min: 0, max: 1, doing: "altering configs" };
const CREATE_TOPICS: Api = Api { key: ApiKey::CreateTopics, min: 2, max: 7, doing: "creating a topic" };

impl Writer for Kafka {
    fn reassign<'a>(
        &'a self,
        batch: &'a BTreeMap<TopicPartition, Option<Vec<BrokerId>>>,
    ) -> BoxFuture<'a, Result<PartitionResults, ClientError>> {
        Box::pin(async move {
            if batch.len() > MAX_REASSIGNMENTS {
                return Err(ClientError::Refused {
                    doing: REASSIGN.doing,
                    code: "TOO_MANY".to_owned(),
                    why: format!("{} partitions in one call, at most {MAX_REASSIGNMENTS}", batch.len()),
                });
            }
            let answer = self
                .order_controller(
                    REASSIGN,
                    &reassign_request(batch),
                    CHANGE_LIMIT,
                    |r: &AlterPartitionReassignmentsResponse| r.error_code,
                )
                .await?;
            if answer.error_code != ErrorCode::None {
                let message = answer.error_message.as_deref();
                return Err(fail::broker(REASSIGN.doing, answer.error_code, message));
            }
            let mut results = PartitionResults::new();
            for topic in answer.responses {
                let name = TopicName::from(topic.name);
                for p in topic.partitions {
                    let partition = TopicPartition { topic: Arc::clone(&name), partition: p.partition_index };
                    let cancelled = batch.get(&partition).is_some_and(Option::is_none);
                    let result = match p.error_code {
                        // Nothing to cancel: it is as it was wanted.
                        ErrorCode::NoReassignmentInProgress if cancelled => Ok(()),
                        code => {
                            outcome(REASSIGN.doing, code, p.error_message.as_deref(), &partition.to_string())
                        }
                    };
                    results.insert(partition, result);
                }
            }
            Ok(complete(REASSIGN.doing, batch.keys(), results))
        })
    }

    fn elect_preferred<'a>(
        &'a self,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<PartitionResults, ClientError>> {
        Box::pin(async move {
            if partitions.is_empty() {
                return Ok(PartitionResults::new());
            }
            let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
            for partition in partitions {
                topics.entry(&partition.topic).or_default().push(partition.partition);
            }
            let request = ElectLeadersRequest {
                election_type: ElectionType::Preferred,
                topic_partitions: Some(
                    topics
                        .into_iter()
                        .map(|(topic, partitions)| ElectLeadersTopicPartitions {
                            topic: topic.to_owned(),
                            partitions,
                        })
                        .collect(),
                ),
                timeout_ms: millis(CONTROLLER_LIMIT),
            };
            let answer = self
                .order_controller(ELECT, &request, CHANGE_LIMIT, |r: &ElectLeadersResponse| r.error_code)
                .await?;
            if answer.error_code != ErrorCode::None {
                return Err(fail::broker(ELECT.doing, answer.error_code, None));
            }
            let mut results = PartitionResults::new();
            for topic in answer.replica_election_results {
                let name = TopicName::from(topic.topic);
                for p in topic.partition_results {
                    let partition = TopicPartition { topic: Arc::clone(&name), partition: p.partition_id };
                    let result = match p.error_code {
                        ErrorCode::ElectionNotNeeded => Ok(()),
                        code => {
                            outcome(ELECT.doing, code, p.error_message.as_deref(), &partition.to_string())
                        }
                    };
                    results.insert(partition, result);
                }
            }
            Ok(complete(ELECT.doing, partitions.iter(), results))
        })
    }

    fn alter_configs<'a>(
        &'a self,
        changes: &'a BTreeMap<ConfigResource, Vec<ConfigChange>>,
    ) -> BoxFuture<'a, Result<ConfigResults, ClientError>> {
        Box::pin(async move {
            let mut own = BTreeMap::new();
            let mut anywhere = BTreeMap::new();
            for (resource, changes) in changes {
                match resource {
                    ConfigResource::Broker(id) => {
                        own.insert(*id, changes);
                    }
                    ConfigResource::Topic(_) | ConfigResource::BrokerDefault => {
                        anywhere.insert(resource, changes);
                    }
                }
            }
            let mut results = self.alter_brokers(&own).await;
            if !anywhere.is_empty() {
                let answer: Result<IncrementalAlterConfigsResponse, _> = self
                    .order_controller(ALTER_CONFIGS, &alter_request(&anywhere), CHANGE_LIMIT, |r| {
                        first_error(r)
                    })
                    .await;
                match answer {
                    Ok(answer) => results.extend(altered(answer, anywhere.keys().copied())),
                    // Where brokers were changed before, the caller must learn of that.
                    Err(error) if results.is_empty() => return Err(error),
                    Err(error) => {
                        results.extend(anywhere.into_keys().map(|r| (r.clone(), Err(error.clone()))))
                    }
                }
            }
            Ok(results)
        })
    }

    fn create_topic<'a>(&'a self, topic: &'a NewTopic) -> BoxFuture<'a, Result<(), ClientError>> {
        Box::pin(async move {
            let configs = topic.configs.iter();
            let request = CreateTopicsRequest {
                topics: vec![CreatableTopic {
                    name: topic.name.to_string(),
                    num_partitions: topic.partitions,
                    replication_factor: topic.replication_factor,
                    assignments: Vec::new(),
                    configs: configs
                        .map(|(name, value)| CreatableTopicConfig {
                            name: name.clone(),
                            value: Some(value.clone()),
                        })
                        .collect(),
                }],
                timeout_ms: millis(CONTROLLER_LIMIT),
                validate_only: false,
            };
            let answer: CreateTopicsResponse = self
                .order_controller(CREATE_TOPICS, &request, CHANGE_LIMIT, |r: &CreateTopicsResponse| {
                    r.topics.first().map_or(ErrorCode::None, |t| t.error_code)
                })
                .await?;
            match answer.topics.into_iter().next() {
                Some(made) if made.error_code == ErrorCode::TopicAlreadyExists => Ok(()),
                Some(made) => {
                    outcome(CREATE_TOPICS.doing, made.error_code, made.error_message.as_deref(), &topic.name)
                }
                None => Err(missing(CREATE_TOPICS.doing)),
            }
        })
    }
}

impl Kafka {
    /// A broker takes changes of its own configs itself, in every version.
    async fn alter_brokers(&self, changes: &BTreeMap<BrokerId, &Vec<ConfigChange>>) -> ConfigResults {
        let ids: Vec<BrokerId> = changes.keys().copied().collect();
        let mut results = ConfigResults::new();
        let mut reached = Vec::new();
        for (id, at) in self.addresses_of(&ids).await {
            match (at, changes.get(&id)) {
                (Ok(at), Some(changes)) => reached.push((ConfigResource::Broker(id), at, (*changes).clone())),
                (Err(why), _) => {
                    results.insert(ConfigResource::Broker(id), Err(why));
                }
                (Ok(_), None) => {}
            }
        }
        let alter = |(resource, at, changes): (ConfigResource, BrokerAddress, Vec<ConfigChange>)| {
            let kafka = self.clone();
            async move {
                let one = BTreeMap::from([(&resource, &changes)]);
                let done = kafka.alter_at(&at, &one).await;
                done.unwrap_or_else(|why| ConfigResults::from([(resource, Err(why))]))
            }
        };
        results.extend(at_each(reached, alter).await.into_iter().flatten());
        results
    }

    async fn alter_at(
        &self,
        at: &BrokerAddress,
        changes: &BTreeMap<&ConfigResource, &Vec<ConfigChange>>,
    ) -> Result<ConfigResults, ClientError> {
        let request = alter_request(changes);
        let answer: IncrementalAlterConfigsResponse = self
            .shared
            .links
            .order(at, ALTER_CONFIGS, &request, REQUEST_TIMEOUT)
            .await
            .map_err(|failure| failure.error)?;
        Ok(altered(answer, changes.keys().copied()))
    }
}

fn reassign_request(
    batch: &BTreeMap<TopicPartition, Option<Vec<BrokerId>>>,
) -> AlterPartitionReassignmentsRequest {
    let mut topics: Vec<ReassignableTopic> = Vec::new();
    for (at, replicas) in batch {
        let partition = ReassignablePartition {
            partition_index: at.partition,
            replicas: replicas.as_ref().map(|r| r.iter().map(|b| b.0).collect()),
        };
        match topics.last_mut().filter(|t| *t.name == *at.topic) {
            Some(topic) => topic.partitions.push(partition),
            None => {
                topics.push(ReassignableTopic { name: at.topic.to_string(), partitions: vec![partition] })
            }
        }
    }
    AlterPartitionReassignmentsRequest {
        timeout_ms: millis(CONTROLLER_LIMIT),
        // Known from Kafka 4.1 on: a plan that would change the number of replicas is refused there.
        allow_replication_factor_change: false,
        topics,
    }
}

fn alter_request(changes: &BTreeMap<&ConfigResource, &Vec<ConfigChange>>) -> IncrementalAlterConfigsRequest {
    let resources = changes
        .iter()
        .map(|(resource, changes)| {
            let (resource_type, resource_name) = resource_name(resource);
            let configs = changes
                .iter()
                .map(|change| match change {
                    ConfigChange::Set(name, value) => AlterableConfig {
                        name: name.clone(),
                        config_operation: AlterConfigOp::Set,
                        value: Some(value.clone()),
                    },
                    ConfigChange::Delete(name) => AlterableConfig {
                        name: name.clone(),
                        config_operation: AlterConfigOp::Delete,
                        value: None,
                    },
                })
                .collect();
            IncrementalAlterConfigsResource { resource_type, resource_name, configs }
        })
        .collect();
    IncrementalAlterConfigsRequest { resources, validate_only: false }
}

fn first_error(answer: &IncrementalAlterConfigsResponse) -> ErrorCode {
    answer.results.first().map_or(ErrorCode::None, |r| r.error_code)
}

fn altered<'a>(
    answer: IncrementalAlterConfigsResponse,
    asked: impl Iterator<Item = &'a ConfigResource>,
) -> ConfigResults {
    let mut results = BTreeMap::new();
    for result in answer.results {
        if let Some(resource) = resource_of(result.resource_type, &result.resource_name) {
            let message = result.error_message.as_deref();
            let outcome = outcome(ALTER_CONFIGS.doing, result.error_code, message, &result.resource_name);
            results.insert(resource, outcome);
        }
    }
    for resource in asked {
        results.entry(resource.clone()).or_insert_with(|| Err(missing(ALTER_CONFIGS.doing)));
    }
    results
}

/// A partition that the answer does not mention has an outcome too: that nobody knows.
fn complete<'a>(
    doing: &'static str,
    asked: impl Iterator<Item = &'a TopicPartition>,
    mut results: PartitionResults,
) -> PartitionResults {
    for partition in asked {
        results.entry(partition.clone()).or_insert_with(|| Err(missing(doing)));
    }
    results
}

fn missing(doing: &'static str) -> ClientError {
    ClientError::Malformed { doing, why: "the answer does not mention it".to_owned() }
}

fn outcome(
    doing: &'static str,
    code: ErrorCode,
    message: Option<&str>,
    what: &str,
) -> Result<(), ClientError> {
    match code {
        ErrorCode::None => Ok(()),
        ErrorCode::UnknownTopicOrPartition => Err(ClientError::UnknownTopic { what: what.to_owned() }),
        code => Err(fail::broker(doing, code, message)),
    }
}
