//! What ends the demo from outside. Each of them ends it in order, so that nothing is left behind.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, the end of the terminal, and whoever ends processes.
pub(super) struct Signals([Signal; 3]);

impl Signals {
    /// From now on these signals end nothing by themselves.
    ///
    /// # Errors
    /// They cannot be waited for.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// The next one that comes, or has come since they are waited for.
    pub(super) async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
