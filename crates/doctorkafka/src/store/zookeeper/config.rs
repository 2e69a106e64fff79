//! `state_store: {type: zookeeper}`.

use std::path::PathBuf;

use control::config::HumanDuration;
use serde::{Deserialize, Serialize};

use crate::store::kafka::default_lease;

/// `state_store: {type: zookeeper}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZookeeperStoreConfig {
    /// The servers as ZooKeeper's own clients take them: `host:port,host:port/chroot`.
    pub connect: String,
    /// The node under which each cluster has one. It is made if it is missing.
    #[serde(default = "default_path")]
    pub path: String,
    /// The time-out of the session that holds the leases: another service takes over after that time. ZooKeeper may grant another
    /// one, by its own limits.
    #[serde(default = "default_lease")]
    pub lease: HumanDuration,
    /// Who may read and change the nodes that are made.
    #[serde(default)]
    pub acl: NodeAcl,
    /// As whom to log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Login>,
}

/// Who may read and change a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeAcl {
    /// Whoever reaches ZooKeeper.
    #[default]
    Open,
    /// Who logs in as we do.
    Creator,
}

/// How to log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// ZooKeeper's own scheme `digest`, which sends the password as it is. Whoever logs in is somebody: the servers know no users.
    #[default]
    Digest,
    /// SASL with DIGEST-MD5: the servers know the users (`DigestLoginModule`), and the password is not sent.
    Sasl,
}

/// A login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The file with the password. It is read for each session.
    pub password_file: PathBuf,
    /// How to log in.
    #[serde(default)]
    pub scheme: Scheme,
}

fn default_path() -> String {
    "/doctorkafka".to_owned()
}

impl ZookeeperStoreConfig {
    /// What is wrong with it apart from the lease, each with its key.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if let Err(why) = self.check_servers() {
            problems.push(("connect", why));
        } else if let Some(why) = self.chroot().and_then(|path| unfit_path(path).err()) {
            problems.push(("connect", format!("its chroot {why}")));
        }
        match unfit_path(&self.path) {
            Err(why) => problems.push(("path", why.to_owned())),
            Ok(()) if is_in(&self.base(), "/zookeeper") => {
                problems.push(("path", "is ZooKeeper's own".to_owned()));
            }
            Ok(()) => {}
        }
        match &self.auth {
            None if self.acl == NodeAcl::Creator => {
                problems
                    .push(("acl", "is of nobody without a login: `auth: {user, password_file}`".to_owned()));
            }
            None => {}
            Some(login) => {
                if login.user.is_empty() || login.user.contains(':') {
                    problems.push(("auth.user", "must be a name without a colon".to_owned()));
                }
                if login.scheme == Scheme::Sasl && login.user.contains(['"', '\\', ',']) {
                    problems.push(("auth.user", "has characters that SASL takes for its own".to_owned()));
                }
                if login.password_file.as_os_str().is_empty() {
                    problems.push(("auth.password_file", "the path is empty".to_owned()));
                }
            }
        }
        problems
    }

    fn check_servers(&self) -> Result<(), String> {
        if self.connect.contains("://") {
            return Err("has a scheme: there is none to write, as only plain connections are made".to_owned());
        }
        for server in self.servers().split(',') {
            let (host, port) = match server.rsplit_once(':') {
                // The colon is one of an IPv6 address.
                Some((_, rest)) if rest.ends_with(']') => (server, "2181"),
                Some((host, port)) => (host, port),
                None => (server, "2181"),
            };
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let fits = match bare {
                Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
                None => !host.is_empty() && !host.contains([':', '[', ']', ' ']),
            };
            if !fits || !port.parse::<u16>().is_ok_and(|port| port > 0) {
                return Err(format!("`{server}` is not a server: write HOST:PORT,HOST:PORT/CHROOT"));
            }
        }
        Ok(())
    }

    /// The servers without the chroot.
    pub(super) fn servers(&self) -> &str {
        self.connect.split('/').next().unwrap_or_default()
    }

    fn chroot(&self) -> Option<&str> {
        let chroot = &self.connect[self.servers().len()..];
        (!chroot.is_empty() && chroot != "/").then_some(chroot)
    }

    /// The node under which each cluster has one, as it is called without a chroot.
    pub(super) fn base(&self) -> String {
        format!("{}{}", self.chroot().unwrap_or_default(), self.path)
    }

    /// Which store it is, the same for all services that share it.
    pub(crate) fn place(&self) -> String {
        let mut servers: Vec<&str> = self.servers().split(',').collect();
        servers.sort_unstable();
        format!("{} at {}", self.base(), servers.join(","))
    }
}

/// What ZooKeeper itself takes for a path, and nothing that surprises.
fn unfit_path(path: &str) -> Result<(), &'static str> {
    let Some(names) = path.strip_prefix('/') else { return Err("must begin with `/`") };
    for name in names.split('/') {
        if name.is_empty() {
            return Err("has an empty name in it");
        }
        if name == "." || name == ".." {
            return Err("is relative");
        }
        if name.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\u{fffd}') {
            return Err("has characters in it that nobody sees");
        }
    }
    Ok(())
}

fn is_in(path: &str, node: &str) -> bool {
    path.strip_prefix(node).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(connect: &str, path: &str) -> ZookeeperStoreConfig {
        serde_json::from_value(serde_json::json!({"connect": connect, "path": path})).unwrap()
    }

    #[test]
    fn the_chroot_comes_before_the_path() {
        let with = config("a:2181,b:2182/kafka/prod", "/doctorkafka");
        assert_eq!((with.servers(), &*with.base()), ("a:2181,b:2182", "/kafka/prod/doctorkafka"));
        let without = config("a,[::1]:2182,[::1]/", "/doctorkafka");
        assert_eq!((without.servers(), &*without.base()), ("a,[::1]:2182,[::1]", "/doctorkafka"));
        assert_eq!((with.problems(), without.problems()), (Vec::new(), Vec::new()));
    }

    #[test]
    fn services_know_a_store_whatever_the_order_of_its_servers() {
        assert_eq!(config("a:1,b:2/x", "/d").place(), config("b:2,a:1/x", "/d").place());
        assert_ne!(config("a:1,b:2/x", "/d").place(), config("a:1,b:2", "/d").place());
    }

    #[test]
    fn what_is_no_server_and_no_path_is_refused() {
        for connect in [
            "",
            "a:0",
            "a:x",
            ":1",
            "a:1,",
            "a b",
            "tcp+tls://a:1",
            "a::1",
            "[x]:1",
            "a/x/",
            "a//x",
            "a/../x",
        ] {
            assert_eq!(config(connect, "/d").problems().len(), 1, "{connect}");
        }
        for path in ["", "/", "d", "/d/", "/a//b", "/a/..", "/a b", "/a\nb", "/zookeeper", "/zookeeper/d"] {
            assert_eq!(config("a", path).problems().len(), 1, "{path}");
        }
        assert!(config("a", "/zookeepers").problems().is_empty());
    }

    #[test]
    fn a_login_says_how() {
        let login = |user: &str, more: serde_json::Value| {
            let mut auth = serde_json::json!({"user": user, "password_file": "/p"});
            auth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let config = serde_json::json!({"connect": "a", "acl": "creator", "auth": auth});
            serde_json::from_value::<ZookeeperStoreConfig>(config)
        };
        let plain = login("doctor", serde_json::json!({})).unwrap();
        assert_eq!((plain.problems(), plain.auth.unwrap().scheme), (Vec::new(), Scheme::Digest));
        let sasl = login("doctor", serde_json::json!({"scheme": "sasl"})).unwrap();
        assert_eq!((sasl.problems(), sasl.auth.unwrap().scheme), (Vec::new(), Scheme::Sasl));
        let odd = login("a\"b", serde_json::json!({"scheme": "sasl"})).unwrap();
        assert_eq!(odd.problems()[0].0, "auth.user");
        assert!(login("doctor", serde_json::json!({"scheme": "kerberos"})).is_err());
    }
}
