//! Who holds a lease: what is written into it, for other services and for people to read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The version of what is written.
pub(crate) const SCHEMA: u32 = 1;

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// The version of this record.
    pub(crate) schema: u32,
    /// The number of the service, which it keeps in its state dir: no two services that run have one state dir.
    pub(crate) instance: String,
    /// Its host.
    pub(crate) host: String,
    /// Its process.
    pub(crate) pid: u32,
    /// Since when it acts, in milliseconds since 1970.
    pub(crate) since: i64,
    /// How long the lease lasts after it was renewed, in milliseconds.
    pub(crate) ttl: u64,
    /// It has given the lease up.
    #[serde(default)]
    pub(crate) released: bool,
}

impl Holder {
    /// This process.
    pub(crate) fn this_one(instance: &str, ttl: Duration) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let pid = std::process::id();
        Self { schema: SCHEMA, instance: instance.to_owned(), host, pid, since: 0, ttl, released: false }
    }

    /// Whether it is an earlier process of the same service: its state dir is locked by this one, so that it has ended. One that
    /// still runs has a copy of the state dir, and is another service.
    pub(crate) fn is_former(&self, of: &Self) -> bool {
        self.instance == of.instance
            && self.host == of.host
            && (self.pid == of.pid || !runs_the_same(self.pid, of.pid))
    }

    /// Who it is, in words.
    pub(crate) fn words(&self) -> String {
        format!("the service {} on {} (pid {})", self.instance, self.host, self.pid)
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Plain text and numbers can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What was written, if it can be understood. A newer version may say more than is known here; what is needed stands.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// Whether the process `pid` of this host runs, with the same program as `as_pid`.
fn runs_the_same(pid: u32, as_pid: u32) -> bool {
    let program = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    let its = program(pid);
    its.is_some() && its == program(as_pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_has_ended_is_a_former_one() {
        let me = Holder::this_one("one", Duration::from_secs(25));
        assert!(me.is_former(&me), "a restarted container has the same number again");
        let ended = Holder { pid: 0x3fff_fff0, ..me.clone() };
        assert!(ended.is_former(&me));
        assert!(!Holder { instance: "two".to_owned(), ..ended.clone() }.is_former(&me));
        assert!(!Holder { host: "elsewhere".to_owned(), ..ended }.is_former(&me));
        assert!(runs_the_same(me.pid, me.pid) && !runs_the_same(0x3fff_fff0, me.pid));
    }
}
