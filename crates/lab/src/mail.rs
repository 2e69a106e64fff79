//! A real mail server for tests: aiosmtpd, in Python.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::guard::{Guard, wait_child};
use crate::ports::Ports;
use crate::security::make_certificates;
use crate::view::wait_for;

const PROGRAM: &str = include_str!("mail_server.py");
/// How long the server may take to listen: Python starts in a second, on a busy machine in some more.
const START: Duration = Duration::from_secs(30);

/// How the way to a mail server is secured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MailTls {
    /// Not at all.
    #[default]
    None,
    /// By STARTTLS, without which nothing is taken.
    Starttls,
    /// From the first byte.
    Tls,
}

/// What a mail server demands and refuses.
#[derive(Debug, Clone, Default)]
pub struct MailOptions {
    /// How the way to it is secured.
    pub tls: MailTls,
    /// The user and the password that it wants.
    pub user: Option<(String, String)>,
    /// Addresses for which it takes no mail.
    pub refused: Vec<String>,
}

/// A mail server at an address of its own, which may be up or down.
#[derive(Debug)]
pub struct MailServer {
    python: PathBuf,
    options: MailOptions,
    port: u16,
    _ports: Ports,
    guard: Guard,
    process: Option<Child>,
}

impl MailServer {
    /// A server that is down.
    ///
    /// # Errors
    /// Python or its package aiosmtpd is missing, or there is no room for the server's files.
    pub fn new(options: MailOptions) -> Result<Self> {
        let python = python()?;
        let listen = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let guard = Guard::new()?;
        if options.tls != MailTls::None {
            make_certificates(&guard.dir().join("tls"), listen)?;
        }
        fs::write(guard.dir().join("server.py"), PROGRAM).context("writing the mail server")?;
        let mut ports = Ports::new(listen);
        let port = ports.take()?;
        Ok(Self { python, options, port, _ports: ports, guard, process: None })
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&mut self) -> Result<()> {
        let listens = self.guard.dir().join("listens");
        let _ = fs::remove_file(&listens);
        let log = fs::File::create(self.guard.dir().join("log")).context("creating the log")?;
        let program = self.guard.dir().join("server.py");
        let mut command = self.guard.command(&self.python);
        command.arg(program).arg(self.guard.dir()).arg(self.json());
        command.stdout(Stdio::null()).stderr(log);
        let mut process = command.spawn().context("starting the mail server")?;
        let up = wait_for("the mail server listens", START, || {
            let ended = process.try_wait().context("looking after the mail server")?;
            if ended.is_some() {
                let log = fs::read_to_string(self.guard.dir().join("log")).unwrap_or_default();
                bail!("the mail server has ended:\n{log}");
            }
            Ok(listens.exists())
        });
        self.process = Some(process);
        up.map(|_| ())
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            wait_child(&mut process, Duration::from_secs(10));
            self.guard.forget(process.id());
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of the CA that has signed its own, as a PEM file.
    pub fn ca(&self) -> PathBuf {
        self.guard.dir().join("tls").join("ca.pem")
    }

    /// The mails that it has taken, oldest first, each as a JSON object: `from`, `to` (a list), `data` (all that was sent, with
    /// headers), `tls`, `authenticated`.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn mails(&self) -> Result<Vec<String>> {
        match fs::read_to_string(self.guard.dir().join("mails")) {
            // The last line may be in the making.
            Ok(text) => {
                Ok(text.split_inclusive('\n').filter(|l| l.ends_with('\n')).map(str::to_owned).collect())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).context("reading the mails"),
        }
    }

    fn json(&self) -> String {
        let quoted = |text: &String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let list = |texts: &[String]| texts.iter().map(quoted).collect::<Vec<_>>().join(", ");
        let user = match &self.options.user {
            Some((user, password)) => format!("[{}]", list(&[user.clone(), password.clone()])),
            None => "null".to_owned(),
        };
        let tls = match self.options.tls {
            MailTls::None => "none",
            MailTls::Starttls => "starttls",
            MailTls::Tls => "tls",
        };
        let (port, refused) = (self.port, list(&self.options.refused));
        format!(r#"{{"port": {port}, "tls": "{tls}", "user": {user}, "refused": [{refused}]}}"#)
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A Python that has aiosmtpd: the first in the path, or that of the system.
fn python() -> Result<PathBuf> {
    for program in ["python3", "/usr/bin/python3"] {
        let imports = Command::new(program)
            .args(["-c", "import aiosmtpd.smtp"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if imports.is_ok_and(|status| status.success()) {
            return Ok(Path::new(program).to_owned());
        }
    }
    bail!("no Python here has aiosmtpd, the mail server of tests: install the package python3-aiosmtpd")
}
