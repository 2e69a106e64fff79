//! The last look before a host is replaced.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cluster::{BrokerAddress, BrokerAnswer, Reader};
use control::event::ReplaceInstance;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::plugin::BuildContext;

/// How long a broker may take to answer.
const LIMIT: Duration = Duration::from_secs(5);
/// How long they may take to say what all topics have; half of what the last look has in all.
const TOPICS_LIMIT: Duration = Duration::from_secs(30);
/// How many brokers are asked.
const ASKED: usize = 5;
/// How often it is looked whether a broker is back.
const EVERY: Duration = Duration::from_secs(1);

/// Whether what the order rests on is still so.
///
/// # Errors
/// What is different, or that nothing can be said.
pub(super) async fn once_more(context: &BuildContext, order: &ReplaceInstance) -> Result<(), String> {
    if order.host.is_empty() {
        return Err("nobody has said which host is meant".to_owned());
    }
    let reader = &context.connection.reader;
    let answers = answers(context, order).await;
    let broker = order.broker;
    if answers.is_empty() {
        return Err("no broker answers, so that nobody can say that it is still right".to_owned());
    }
    let others = answers.iter().flat_map(|(_, answer)| answer.live.keys()).filter(|id| **id != broker);
    if answers.len() < 2 && others.collect::<BTreeSet<_>>().len() > 1 {
        return Err("one broker alone answers, and its word is not enough".to_owned());
    }
    let count = answers.iter().filter(|(_, answer)| answer.live.contains_key(&broker)).count();
    if order.live {
        if count * 2 <= answers.len() {
            return Err(format!(
                "broker {broker} is not alive any more: that it may go was said of a live one"
            ));
        }
        // Whoever accepts that does not need the others.
        return if order.accept_data_loss { Ok(()) } else { living_may_go(reader, order, &answers).await };
    }
    if count > 0 {
        return Err(format!("broker {broker} is alive again, as {count} of {} brokers say", answers.len()));
    }
    if let Some(at) = &order.address
        && let Ok(answer) = reader.ask(at, LIMIT).await
        && is_ours(&**reader, &answer)
    {
        return Err(format!("broker {broker} answers at {at}"));
    }
    Ok(())
}

/// A live broker may go while every other replica of the partitions that it has is in sync, as all say that are asked: the
/// metadata of one may stand still.
async fn living_may_go(
    reader: &Arc<dyn Reader>,
    order: &ReplaceInstance,
    answers: &[(BrokerAddress, BrokerAnswer)],
) -> Result<(), String> {
    let mut jobs = JoinSet::new();
    for (at, _) in answers {
        let (reader, at) = (Arc::clone(reader), at.clone());
        jobs.spawn(async move {
            let topics = tokio::time::timeout(TOPICS_LIMIT, reader.topics(&at)).await;
            (at, topics)
        });
    }
    while let Some(asked) = jobs.join_next().await {
        let (at, topics) = asked.map_err(|ended| ended.to_string())?;
        let late = |_| format!("{at} does not say within {} s what its topics have", TOPICS_LIMIT.as_secs());
        let topics = topics.map_err(late)?.map_err(|why| why.to_string())?;
        for (name, topic) in &topics {
            for (number, p) in topic.partitions.iter().enumerate() {
                let mut others = p.replicas.iter().filter(|id| **id != order.broker).peekable();
                let holds = p.replicas.contains(&order.broker);
                if holds && (others.peek().is_none() || others.any(|id| !p.isr.contains(id))) {
                    return Err(format!("{name}-{number} would not be whole without it, as {at} says"));
                }
            }
        }
    }
    Ok(())
}

/// Whether the broker is back within this time.
pub(super) async fn comes_back(context: &BuildContext, order: &ReplaceInstance, within: Duration) -> bool {
    let until = Instant::now() + within;
    loop {
        let answers = answers(context, order).await;
        let count = answers.iter().filter(|(_, answer)| answer.live.contains_key(&order.broker)).count();
        if count * 2 > answers.len() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What some brokers of the cluster say, but for the one in question.
async fn answers(context: &BuildContext, order: &ReplaceInstance) -> Vec<(BrokerAddress, BrokerAnswer)> {
    let reader = &context.connection.reader;
    let first = ask_all(reader, reader.bootstrap()).await;
    let live: BTreeSet<BrokerAddress> = first
        .iter()
        .flat_map(|(_, answer)| answer.live.values())
        .filter(|broker| broker.id != order.broker)
        .map(|broker| broker.address.clone())
        .collect();
    // Spread over them, as neighbours often fail together.
    let count = ASKED.min(live.len());
    let live: Vec<BrokerAddress> = live.into_iter().collect();
    let chosen = (0..count).map(|i| live[i * live.len() / count].clone()).collect();
    ask_all(reader, chosen).await
}

async fn ask_all(reader: &Arc<dyn Reader>, whom: Vec<BrokerAddress>) -> Vec<(BrokerAddress, BrokerAnswer)> {
    let mut jobs = JoinSet::new();
    for at in whom {
        let reader = Arc::clone(reader);
        jobs.spawn(async move {
            let answer = reader.ask(&at, LIMIT).await;
            answer.ok().filter(|answer| is_ours(&*reader, answer)).map(|answer| (at, answer))
        });
    }
    jobs.join_all().await.into_iter().flatten().collect()
}

/// Addresses change hands: only brokers of our cluster count.
fn is_ours(reader: &dyn Reader, answer: &BrokerAnswer) -> bool {
    reader.expected_cluster().is_none_or(|expected| expected == answer.cluster_id)
}
