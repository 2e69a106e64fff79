//! Changes of a cluster that are only let through while it is this service that acts on it.
//!
//! The loop looks at its lease before it starts an act; an act takes time. Each change is therefore looked at once more right before
//! it is sent: a process that was stopped in the middle of an act sends nothing when it wakes up after its lease.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::{
    BoxFuture, BrokerId, ClientError, ConfigChange, ConfigResource, ConfigResults, NewTopic,
    PartitionResults, TopicPartition, Writer,
};

use crate::store::Tenure;

/// A writer that asks for the right to act before each change.
pub(crate) struct Gated {
    inner: Arc<dyn Writer>,
    tenure: Arc<Tenure>,
}

impl Gated {
    pub(crate) fn new(inner: Arc<dyn Writer>, tenure: Arc<Tenure>) -> Self {
        Self { inner, tenure }
    }

    fn let_through(&self, doing: &'static str) -> Result<(), ClientError> {
        match self.tenure.term() {
            Some(_) => Ok(()),
            None => Err(ClientError::Refused {
                doing,
                code: "NOT_THE_HOLDER".to_owned(),
                why: "this service does not hold the cluster's lease any more; nothing was sent".to_owned(),
            }),
        }
    }
}

impl Writer for Gated {
    fn reassign<'a>(
        &'a self,
        batch: &'a BTreeMap<TopicPartition, Option<Vec<BrokerId>>>,
    ) -> BoxFuture<'a, Result<PartitionResults, ClientError>> {
        // Without partitions nothing is changed: it is asked whether we may.
        if let (false, Err(error)) = (batch.is_empty(), self.let_through("reassigning partitions")) {
            return Box::pin(async { Err(error) });
        }
        self.inner.reassign(batch)
    }

    fn elect_preferred<'a>(
        &'a self,
        partitions: &'a [TopicPartition],
    ) -> BoxFuture<'a, Result<PartitionResults, ClientError>> {
        match self.let_through("electing preferred leaders") {
            Ok(()) => self.inner.elect_preferred(partitions),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn alter_configs<'a>(
        &'a self,
        changes: &'a BTreeMap<ConfigResource, Vec<ConfigChange>>,
    ) -> BoxFuture<'a, Result<ConfigResults, ClientError>> {
        match self.let_through("changing configs") {
            Ok(()) => self.inner.alter_configs(changes),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn create_topic<'a>(&'a self, topic: &'a NewTopic) -> BoxFuture<'a, Result<(), ClientError>> {
        // Creating one that is there is no change, and two that create it do no harm to each other.
        self.inner.create_topic(topic)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::plugins::fakes::Fake;
    use crate::store::{Lease, Standing, Term};

    struct Lost(Mutex<bool>);

    impl Lease for Lost {
        fn standing(&self) -> Standing {
            match *self.0.lock().unwrap() {
                true => Standing::LooksOn { why: "another acts".to_owned() },
                false => Standing::Holds(Term(1)),
            }
        }
        fn release(&self) -> BoxFuture<'_, ()> {
            Box::pin(async {})
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_once_the_lease_is_lost() {
        let (fake, lease) = (Arc::new(Fake::default()), Arc::new(Lost(Mutex::new(false))));
        let tenure = Tenure::new(Arc::clone(&lease) as Arc<dyn Lease>);
        tenure.act_in(Some(Term(1)));
        let writer = Gated::new(Arc::clone(&fake) as Arc<dyn Writer>, tenure);
        let at = TopicPartition::new("orders", 0);
        let move_it = BTreeMap::from([(at.clone(), Some(vec![BrokerId(2)]))]);
        let config = BTreeMap::from([(ConfigResource::BrokerDefault, Vec::new())]);
        writer.reassign(&move_it).await.unwrap();
        let sent = fake.changes.lock().unwrap().len();
        *lease.0.lock().unwrap() = true;
        let errors = [
            writer.reassign(&move_it).await.map(|_| ()).unwrap_err(),
            writer.elect_preferred(&[at]).await.map(|_| ()).unwrap_err(),
            writer.alter_configs(&config).await.map(|_| ()).unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().contains("nothing was sent"), "{error}");
            assert!(!error.may_have_been_applied());
        }
        assert_eq!(fake.changes.lock().unwrap().len(), sent);
    }
}
