//! The service as a process of its own: it has its own threads, so that it can be killed at whatever it does, and all that
//! is left of it is what it has written down.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::DemoError;
use crate::config::Config;
use crate::plugin::{Clock, Connect};
use crate::shell::service::Service;
use crate::shell::snapshot::ClusterHandle;

/// How long a write to the disk may take that was begun when it was killed.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// A service that can be killed.
pub(super) struct Process {
    runtime: Runtime,
    service: Service,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// It could not be started.
    pub(super) async fn start(
        config: Config,
        connect: Arc<dyn Connect>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, DemoError> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(DemoError::Threads)?;
        let started = runtime.spawn(Service::start(config, connect, clock)).await;
        let started = started.map_err(|error| DemoError::Threads(error.into()));
        match started.and_then(|started| started.map_err(DemoError::Service)) {
            Ok(service) => Ok(Self { runtime, service }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Its clusters.
    pub(super) fn clusters(&self) -> &[ClusterHandle] {
        self.service.clusters()
    }

    /// Ends it in order.
    pub(super) async fn end(self) {
        let Self { runtime, service } = self;
        service.end().await;
        // Whoever ends a runtime waits, which a task must not.
        runtime.shutdown_background();
    }

    /// Ends it wherever it is, as `kill -9` would.
    pub(super) async fn kill(self) {
        let Self { runtime, service } = self;
        let gone = tokio::task::spawn_blocking(move || {
            runtime.shutdown_timeout(LAST_WRITE);
            drop(service);
        });
        // It fails only if that panics, and then it is gone as well.
        let _ = gone.await;
    }
}
