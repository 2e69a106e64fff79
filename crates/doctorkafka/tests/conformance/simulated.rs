//! A script's cluster in the simulator.

use std::time::Duration;

use anyhow::Result;
use cluster::{BoxFuture, BrokerAddress, BrokerId, LogWriter, Reader, Writer};
use sim::world::Client;
use sim::{Access, Fault, Moment, Rules, Settings, SharedWorld, World};

use super::play::{Patience, Stage};
use super::script::Script;

/// The versions of Kafka that scripts are played on, with the ending of their accounts' files.
pub(crate) const VERSIONS: [&str; 3] = ["4.3", "3.9", "zookeeper"];

/// How a version behaves, without what it does by itself every five minutes.
pub(crate) fn rules(version: &str) -> Rules {
    let rules = match version {
        "zookeeper" => Rules::zookeeper_3_9(),
        "3.9" => Rules::kraft_3_9(),
        _ => Rules::kraft_4_3(),
    };
    Rules { leader_rebalance: None, ..rules }
}

/// A cluster on virtual time.
pub(crate) struct Simulated {
    world: SharedWorld,
    access: Access,
}

impl Simulated {
    pub(crate) fn new(script: &Script, version: &str, seed: u64) -> Self {
        let (rules, min_in_sync) = (rules(version), script.min_in_sync);
        let settings = Settings { seed, rules, min_in_sync, partition_bytes: 0, ..Settings::default() };
        let world = SharedWorld::new(World::new(&script.cluster, settings));
        let access = Access::new(&world, Client::Somebody);
        Self { world, access }
    }
}

impl Stage for Simulated {
    fn reader(&self) -> &dyn Reader {
        &self.access
    }

    fn writer(&self) -> &dyn Writer {
        &self.access
    }

    fn log_writer(&self) -> &dyn LogWriter {
        &self.access
    }

    fn address(&self, id: BrokerId) -> Result<BrokerAddress> {
        Ok(BrokerAddress { host: format!("b{id}").into(), port: 9092 })
    }

    fn inflict(&self, faults: Vec<Fault>) -> BoxFuture<'static, Result<()>> {
        faults.iter().for_each(|fault| self.world.lock().inflict(fault));
        Box::pin(std::future::ready(Ok(())))
    }

    fn now(&self) -> Duration {
        self.world.lock().now().since(Moment::default())
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'_, ()> {
        self.world.lock().advance(time);
        Box::pin(std::future::ready(()))
    }

    fn patience(&self) -> Patience {
        // Longer than a session, a start, a pause and the time in which a replica has to catch up.
        Patience {
            every: Duration::from_millis(100),
            calm: Duration::from_secs(35),
            limit: Duration::from_secs(600),
        }
    }
}
