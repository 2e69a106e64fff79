//! The way to the mail server.

use std::path::Path;

use cluster::BoxFuture;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Noop, Rcpt};
use lettre::transport::smtp::extension::ClientId;

use super::{SendEmailConfig, TlsMode, letter};
use crate::plugins::delivery::{Courier, Failure, Parcel};

/// Bytes of a password file that are read.
const MOST_PASSWORD: usize = 4 << 10;

/// Sends mails over one connection for as long as there are some.
pub(super) struct Smtp {
    config: SendEmailConfig,
    /// The name of the action.
    action: String,
    host: String,
    port: u16,
    connection: Option<AsyncSmtpConnection>,
    /// Whom to trust: made when it is needed first, and again after a failure.
    tls: Option<TlsParameters>,
}

impl Smtp {
    pub(super) fn new(config: SendEmailConfig, action: &str) -> Result<Self, String> {
        let (host, port) = config.address()?;
        Ok(Self { config, action: action.to_owned(), host, port, connection: None, tls: None })
    }

    async fn connection(&mut self) -> Result<AsyncSmtpConnection, Failure> {
        let connection = self.open().await;
        if connection.is_err() {
            self.tls = None;
        }
        connection
    }

    async fn open(&mut self) -> Result<AsyncSmtpConnection, Failure> {
        if let Some(mut connection) = self.connection.take()
            && connection.command(Noop).await.is_ok()
        {
            return Ok(connection);
        }
        let failed = |error: Error| Failure::unreachable(words(&error));
        let name = own_name();
        let tls = match self.config.tls {
            TlsMode::None => None,
            TlsMode::Starttls | TlsMode::Tls => Some(self.tls().await?),
        };
        let server = (self.host.as_str(), self.port);
        let at_once = tls.clone().filter(|_| self.config.tls == TlsMode::Tls);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, None, &name, at_once, None).await.map_err(failed)?;
        if let (TlsMode::Starttls, Some(tls)) = (self.config.tls, tls) {
            if !connection.can_starttls() {
                connection.abort().await;
                return Err(Failure::unreachable(
                    "the server has no STARTTLS, and nothing is sent in the clear",
                ));
            }
            connection.starttls(tls, &name).await.map_err(failed)?;
        }
        if let Some(credentials) = self.credentials().await? {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            connection.auth(&mechanisms, &credentials).await.map_err(failed)?;
        }
        Ok(connection)
    }

    /// Whom to trust: what the host trusts, and the CA of the configuration.
    async fn tls(&mut self) -> Result<TlsParameters, Failure> {
        if let Some(tls) = &self.tls {
            return Ok(tls.clone());
        }
        let mut trust = TlsParameters::builder(self.host.clone());
        if let Some(file) = &self.config.ca_file {
            for certificate in certificates(file).await? {
                trust = trust.add_root_certificate(certificate);
            }
        }
        // Reading all that the host trusts takes a while.
        let built = tokio::task::spawn_blocking(move || trust.build()).await;
        let built = built.map_err(|ended| Failure::unreachable(ended.to_string()))?;
        let tls = built.map_err(|error| Failure::unreachable(words(&error)))?;
        self.tls = Some(tls.clone());
        Ok(tls)
    }

    async fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        let Some(user) = &self.config.username else { return Ok(None) };
        let password = match (&self.config.password, &self.config.password_file) {
            (Some(password), _) => password.clone(),
            (None, Some(file)) => password(file).await?,
            (None, None) => return Ok(None),
        };
        Ok(Some(Credentials::new(user.clone(), password)))
    }

    async fn send(&mut self, parcel: &Parcel) -> Result<(), Failure> {
        let mail = letter::letter(&self.config, &self.action, parcel).map_err(Failure::Refused)?;
        let to: Mailbox = parcel.to.parse().map_err(|_| Failure::Refused("it is no address".to_owned()))?;
        // It comes back when all has gone well: after a failure the state of the conversation is not known.
        let mut connection = self.connection().await?;
        let from = self.config.from.0.email.clone();
        let result = converse(
            &mut connection,
            Mail::new(Some(from), Vec::new()),
            Rcpt::new(to.email, Vec::new()),
            &mail,
        );
        match result.await {
            Ok(()) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(failure) => {
                connection.abort().await;
                Err(failure)
            }
        }
    }
}

/// The name under which we greet: that of this host, where it can be one. Servers look at it to tell who sends.
fn own_name() -> ClientId {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if !name.is_empty() && name.len() <= 253 && name.chars().all(fits) {
        return ClientId::Domain(name);
    }
    ClientId::default()
}

/// Says who sends what to whom. What a refusal is about depends on the step.
async fn converse(
    connection: &mut AsyncSmtpConnection,
    mail: Mail,
    recipient: Rcpt,
    letter: &[u8],
) -> Result<(), Failure> {
    // A sender that is not taken is not taken for any mail: somebody has to mend the configuration.
    connection.command(mail).await.map_err(|error| Failure::unreachable(words(&error)))?;
    connection.command(recipient).await.map_err(|error| of_this_mail(&error))?;
    connection.command(Data).await.map_err(|error| of_this_mail(&error))?;
    connection.message(letter).await.map_err(|error| of_this_mail(&error))?;
    Ok(())
}

/// What follows from an answer to one mail.
fn of_this_mail(error: &Error) -> Failure {
    // 421: the server is closing, whatever it is asked.
    let closing = error.status().is_some_and(|code| u16::from(code) == 421);
    if error.is_permanent() {
        Failure::Refused(words(error))
    } else if error.is_transient() && !closing {
        Failure::Later(words(error))
    } else {
        Failure::unreachable(words(error))
    }
}

/// An error with its causes.
fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        let deeper_text = deeper.to_string();
        if !text.contains(&deeper_text) {
            text = format!("{text}: {deeper_text}");
        }
        cause = deeper.source();
    }
    text
}

async fn certificates(file: &Path) -> Result<Vec<Certificate>, Failure> {
    let pem = tokio::fs::read(file).await.map_err(|error| unreadable(file, &error.to_string()))?;
    let certificate = Certificate::from_pem(&pem).map_err(|error| unreadable(file, &words(&error)))?;
    Ok(vec![certificate])
}

async fn password(file: &Path) -> Result<String, Failure> {
    let text = tokio::fs::read_to_string(file).await.map_err(|error| unreadable(file, &error.to_string()))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.len() > MOST_PASSWORD {
        return Err(unreadable(file, "it holds no password"));
    }
    Ok(password.to_owned())
}

fn unreadable(file: &Path, why: &str) -> Failure {
    Failure::unreachable(format!("cannot use {}: {why}", file.display()))
}

impl Courier for Smtp {
    fn deliver<'a>(&'a mut self, parcel: &'a Parcel) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.send(parcel))
    }

    fn rest(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(mut connection) = self.connection.take() {
                // The mails are gone already; a server that does not say goodbye is not waited for.
                let farewell = connection.quit();
                let _ = tokio::time::timeout(std::time::Duration::from_secs(1), farewell).await;
            }
        })
    }

    fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}
