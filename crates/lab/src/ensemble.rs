//! Several ZooKeeper servers that elect a leader.

use std::fs;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::guard::Guard;
use crate::jars::Kit;
use crate::node::{Node, NodePorts, Role};
use crate::ports::Ports;
use crate::properties;
use crate::version::Version;
use crate::view::wait_for;

/// How long the servers may take to elect one, and to serve.
const SERVES: Duration = Duration::from_secs(60);
/// How long a server may take to say what it is.
const ANSWER: Duration = Duration::from_secs(1);

/// Three ZooKeeper servers, of which one leads. Dropped, they leave no process and no file.
#[derive(Debug)]
pub struct Ensemble {
    servers: Vec<Node>,
    users: Vec<(String, String)>,
    kit: Kit,
    guard: Guard,
    _ports: Ports,
}

impl Ensemble {
    /// Starts them, and waits until they serve. With users, each client must be one of them: it logs in by SASL, with DIGEST-MD5.
    pub fn start(users: &[(&str, &str)]) -> Result<Self> {
        let kit = Kit::get(Version::V3_9)?;
        let guard = Guard::new()?;
        properties::write_log_config(guard.dir())?;
        let mut ports = Ports::new(Ipv4Addr::LOCALHOST.into());
        let mut servers = Vec::new();
        let mut members = String::new();
        for id in 1..=3 {
            let own = NodePorts { plain: ports.take()?, ..NodePorts::default() };
            members += &format!("server.{id}=127.0.0.1:{}:{}\n", ports.take()?, ports.take()?);
            let mut node = Node::new(id, Role::ZooKeeper, None, own, guard.dir().join(format!("zk{id}")));
            node.log_dirs = vec![node.dir.join("data")];
            node.clear_log_dirs()?;
            servers.push(node);
        }
        let users = users.iter().map(|(user, password)| ((*user).to_owned(), (*password).to_owned()));
        let ensemble = Self { servers, users: users.collect(), kit, guard, _ports: ports };
        for server in &ensemble.servers {
            ensemble.configure(server, &members)?;
            ensemble.spawn(server)?;
        }
        ensemble.wait_serving()?;
        Ok(ensemble)
    }

    /// The addresses of all of them, as a client is configured with.
    pub fn connect(&self) -> String {
        let all = self.servers.iter().map(|server| format!("127.0.0.1:{}", server.ports.plain));
        all.collect::<Vec<_>>().join(",")
    }

    /// The server that leads: 1, 2 or 3.
    pub fn leader(&self) -> Result<i32> {
        let leads = |server: &&Node| mode(server).is_some_and(|mode| mode == "leader");
        self.servers.iter().find(leads).map(|server| server.id).context("no server leads")
    }

    /// Waits until one of them leads.
    pub fn wait_serving(&self) -> Result<Duration> {
        wait_for("a server leads", SERVES, || Ok(self.leader().is_ok()))
    }

    /// `kill -9` of one.
    pub fn kill(&self, id: i32) -> Result<()> {
        self.server(id)?.kill(&self.guard)
    }

    /// Starts one that is down.
    pub fn restart(&self, id: i32) -> Result<()> {
        self.spawn(self.server(id)?)
    }

    /// `SIGSTOP`: it keeps its connections and answers nothing.
    pub fn pause(&self, id: i32) -> Result<()> {
        self.server(id)?.pause(true)
    }

    /// `SIGCONT` after [`Ensemble::pause`].
    pub fn resume(&self, id: i32) -> Result<()> {
        self.server(id)?.pause(false)
    }

    fn server(&self, id: i32) -> Result<&Node> {
        self.servers.iter().find(|server| server.id == id).with_context(|| format!("there is no server {id}"))
    }

    fn configure(&self, server: &Node, members: &str) -> Result<()> {
        let data = server.log_dirs.first().context("a server without a directory")?;
        fs::write(data.join("myid"), server.id.to_string()).context("writing the number of a server")?;
        let mut text = properties::zookeeper(server.ports.plain, data);
        text += &format!("initLimit=20\nsyncLimit=6\n{members}");
        if !self.users.is_empty() {
            text += "authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
                     sessionRequireClientSASLAuth=true\n";
            let users = self.users.iter().map(|(user, password)| format!("  user_{user}=\"{password}\"\n"));
            let module = "org.apache.zookeeper.server.auth.DigestLoginModule required";
            let jaas = format!("Server {{\n  {module}\n{}  ;\n}};\n", users.collect::<String>());
            fs::write(server.dir.join("jaas.conf"), jaas).context("writing the users")?;
        }
        fs::write(server.dir.join("zoo.cfg"), text).context("writing the config")
    }

    fn spawn(&self, server: &Node) -> Result<()> {
        let mut command = self.kit.node_command(&self.guard, self.guard.dir());
        if !self.users.is_empty() {
            let jaas = server.dir.join("jaas.conf");
            command.arg(format!("-Djava.security.auth.login.config={}", jaas.display()));
        }
        command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(server.dir.join("zoo.cfg"));
        server.spawn(&self.guard, command)
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        // Reaping here keeps the owner free of zombies; the guard, dropped next, deletes the directory.
        for server in &self.servers {
            let _ = server.kill(&self.guard);
        }
    }
}

/// What a server says of itself: `leader`, `follower` or nothing.
fn mode(server: &Node) -> Option<String> {
    if !server.is_serving() {
        return None;
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.ports.plain));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    stream.write_all(b"srvr").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
}
