//! The secured listener and ACLs.

use lab::{Cluster, Identity, Mode, Security, Version};

/// What `kafka-topics` says over the secured listener.
fn topics(cluster: &Cluster, identity: Identity<'_>, args: &[&str]) -> anyhow::Result<String> {
    let config = cluster.client_properties(identity)?.display().to_string();
    let bootstrap = cluster.external_bootstrap()?;
    let args = [&["--bootstrap-server", &bootstrap, "--command-config", &config], args].concat();
    cluster.tool("topics", &args)?.success()
}

#[test]
fn a_user_may_do_what_an_acl_grants() {
    for (version, mode) in [(Version::V4_3, Mode::KraftIsolated), (Version::V3_9, Mode::ZooKeeper)] {
        let cluster = Cluster::builder()
            .version(version)
            .mode(mode)
            .security(Security::SaslSsl)
            .user("admin", "admin-secret")
            .user("alice", "alice-secret")
            .authorizer(true)
            .start()
            .unwrap();
        let create = ["--create", "--topic", "t", "--partitions", "1"];
        let denied = topics(&cluster, Identity::Plain("alice", "alice-secret"), &create).unwrap_err();
        assert!(denied.to_string().contains("Authorization"), "{denied}");
        topics(&cluster, Identity::Scram("admin", "admin-secret"), &create).unwrap();
        let see = ["--add", "--allow-principal", "User:alice", "--operation", "Describe", "--topic", "t"];
        cluster.tool("acls", &see).unwrap().success().unwrap();
        let listed = topics(&cluster, Identity::Scram("alice", "alice-secret"), &["--list"]).unwrap();
        assert_eq!(listed.trim(), "t");
    }
}

#[test]
fn mutual_tls_asks_for_a_certificate() {
    let cluster = Cluster::builder().security(Security::MutualTls).start().unwrap();
    assert_eq!(topics(&cluster, Identity::Anonymous, &["--list"]).unwrap().trim(), "");
    cluster.create_topic("t", 1, 1).unwrap();
    assert_eq!(topics(&cluster, Identity::Anonymous, &["--list"]).unwrap().trim(), "t");
}
