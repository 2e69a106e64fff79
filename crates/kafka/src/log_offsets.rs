//! One offset of many partitions, in one request to each of their leaders.

use std::collections::BTreeMap;

use cluster::{BrokerAddress, BrokerId, ClientError, OffsetAt, Reader, TopicName, TopicPartition};
use krafka::__private::protocol::{
    ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsRequestTopic, ListOffsetsResponse,
};
use krafka::error::ErrorCode;

use crate::fail;
use crate::kafka::Kafka;
use crate::link::{Lane, REQUEST_TIMEOUT};
use crate::log_read::LIST_OFFSETS;

/// Partitions in one request. Looking up a time reads an index on the broker's disk, so a request must not be endless.
const PARTITIONS_AT_ONCE: usize = 2000;

type Offsets = BTreeMap<TopicPartition, Result<i64, ClientError>>;

impl Kafka {
    /// See [`cluster::LogReader::offsets`] and, with a `leader`, [`cluster::LogReader::offsets_at`]. A partition whose leader moves at this moment gets an error: the caller's next
    /// call is the retry.
    pub(crate) async fn list_offsets(
        &self,
        leader: Option<&BrokerAddress>,
        of: &[TopicPartition],
        which: OffsetAt,
    ) -> Offsets {
        let timestamp = match which {
            OffsetAt::Start => -2,
            OffsetAt::End => -1,
            OffsetAt::Time(ms) => ms.max(0),
        };
        let mut all = self.list_offsets_at(leader, of, timestamp).await;
        if timestamp >= 0 {
            // No record is that young: the end is meant.
            let is_none = |found: &Result<i64, ClientError>| matches!(found, Ok(-1));
            let rest: Vec<_> =
                all.iter().filter(|(_, found)| is_none(found)).map(|(at, _)| at.clone()).collect();
            if !rest.is_empty() {
                all.append(&mut self.list_offsets_at(leader, &rest, -1).await);
            }
        }
        all
    }

    async fn list_offsets_at(
        &self,
        leader: Option<&BrokerAddress>,
        of: &[TopicPartition],
        timestamp: i64,
    ) -> Offsets {
        let mut all = Offsets::new();
        let by_leader = match leader {
            Some(leader) => BTreeMap::from([(leader.clone(), of.to_vec())]),
            None => self.by_leader(of, &mut all).await,
        };
        for (leader, partitions) in by_leader {
            for some in partitions.chunks(PARTITIONS_AT_ONCE) {
                all.append(&mut self.list_offsets_of(&leader, some, timestamp).await);
            }
        }
        all
    }

    /// The partitions by the address of their leader; those without one go to `failed`.
    async fn by_leader(
        &self,
        of: &[TopicPartition],
        failed: &mut Offsets,
    ) -> BTreeMap<BrokerAddress, Vec<TopicPartition>> {
        let mut names: Vec<TopicName> = of.iter().map(|at| TopicName::clone(&at.topic)).collect();
        names.sort_unstable();
        names.dedup();
        let mut by_leader: BTreeMap<BrokerAddress, Vec<TopicPartition>> = BTreeMap::new();
        let table = match self.describe(&names).await {
            Ok(table) => table,
            Err(error) => {
                failed.extend(of.iter().map(|at| (at.clone(), Err(error.clone()))));
                return by_leader;
            }
        };
        let mut addresses: BTreeMap<BrokerId, Result<BrokerAddress, ClientError>> = BTreeMap::new();
        for at in of {
            let partition = usize::try_from(at.partition)
                .ok()
                .and_then(|number| table.get(&at.topic)?.partitions.get(number));
            let leader = match partition.map(|partition| partition.leader) {
                None => Err(ClientError::UnknownTopic { what: at.to_string() }),
                Some(None) => {
                    let code = ErrorCode::LeaderNotAvailable;
                    Err(fail::broker(LIST_OFFSETS.doing, code, Some(&at.to_string())))
                }
                Some(Some(leader)) => {
                    let known = match addresses.get(&leader) {
                        Some(known) => known.clone(),
                        None => self.address_of(leader).await,
                    };
                    addresses.insert(leader, known.clone());
                    known
                }
            };
            match leader {
                Ok(leader) => by_leader.entry(leader).or_default().push(at.clone()),
                Err(error) => {
                    failed.insert(at.clone(), Err(error));
                }
            }
        }
        by_leader
    }

    async fn list_offsets_of(
        &self,
        leader: &BrokerAddress,
        of: &[TopicPartition],
        timestamp: i64,
    ) -> Offsets {
        let mut topics: BTreeMap<&str, Vec<ListOffsetsRequestPartition>> = BTreeMap::new();
        for at in of {
            topics.entry(&at.topic).or_default().push(ListOffsetsRequestPartition {
                partition_index: at.partition,
                current_leader_epoch: -1,
                timestamp,
            });
        }
        let topics = topics
            .into_iter()
            .map(|(name, partitions)| ListOffsetsRequestTopic { name: name.to_owned(), partitions });
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: 0,
            topics: topics.collect(),
            timeout_ms: None,
        };
        let answer = self
            .shared
            .links
            .ask::<_, ListOffsetsResponse>(Lane::Work, leader, LIST_OFFSETS, &request, REQUEST_TIMEOUT)
            .await;
        let answer = match answer {
            Ok((answer, _)) => answer,
            Err(error) => return of.iter().map(|at| (at.clone(), Err(error.clone()))).collect(),
        };
        let mut told = Offsets::new();
        for topic in answer.topics {
            let name = TopicName::from(topic.name);
            for partition in topic.partitions {
                let at = TopicPartition::new(TopicName::clone(&name), partition.partition_index);
                let offset = match partition.error_code {
                    ErrorCode::None => Ok(partition.offset),
                    code => Err(fail::broker(LIST_OFFSETS.doing, code, Some(&at.to_string()))),
                };
                told.insert(at, offset);
            }
        }
        // Only what was asked for is taken.
        of.iter().map(|at| (at.clone(), told.remove(at).unwrap_or_else(|| Err(not_mentioned(at))))).collect()
    }
}

fn not_mentioned(at: &TopicPartition) -> ClientError {
    let why = format!("the answer does not mention {at}");
    ClientError::Malformed { doing: LIST_OFFSETS.doing, why }
}
