//! The two seams between the service and the simulated cluster: connections and the clock.

use std::sync::Arc;
use std::time::Duration;

use cluster::BoxFuture;
use control::{Now, Tick, Timestamp};
use sim::world::Client;
use sim::{Access, SharedWorld};

use crate::plugin::{Clock, Connect, Connection, Endpoint};

/// Connects to a simulated cluster, whatever the address.
pub(super) struct SimConnect {
    access: Arc<Access>,
}

impl SimConnect {
    /// Connections of the service into `world`, whose time runs `speed` times as fast as ours.
    pub(super) fn new(world: &SharedWorld, speed: u32) -> Self {
        let pause = Arc::new(move |time: Duration| -> BoxFuture<'static, ()> {
            Box::pin(tokio::time::sleep(time / speed.max(1)))
        });
        Self { access: Arc::new(Access::new(world, Client::Us).pausing_by(pause)) }
    }
}

impl Connect for SimConnect {
    fn connect(&self, _: &Endpoint) -> Result<Connection, String> {
        Ok(Connection {
            reader: self.access.clone(),
            writer: self.access.clone(),
            log_reader: self.access.clone(),
            log_writer: self.access.clone(),
        })
    }

    fn flush(&self, _: Duration) -> BoxFuture<'_, ()> {
        // What is written into a world is there at once.
        Box::pin(std::future::ready(()))
    }
}

/// The clocks of a world.
pub(super) struct WorldClock(SharedWorld);

impl WorldClock {
    /// The clocks of this one.
    pub(super) fn new(world: &SharedWorld) -> Self {
        Self(world.clone())
    }
}

impl Clock for WorldClock {
    fn now(&self) -> Now {
        let world = self.0.lock();
        Now { tick: Tick(world.now().0), wall: Timestamp(world.our_wall_ms()) }
    }
}
