//! The options of the command line that say where the JVM's figures come from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use jmx::{Address, Connector, Tls};

use super::http::Endpoint;
use super::prometheus::Override;
use super::source::{Source, Way};

/// Where the figures come from that only the broker's JVM knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Choice {
    /// The first of the following that works: `jmx-local`, then those whose address is given.
    #[default]
    Auto,
    /// The JMX server that the broker's JVM has for its own host.
    JmxLocal,
    /// The JMX server at --jmx.
    Jmx,
    /// The exporter at --prometheus.
    Prometheus,
    /// Jolokia at --jolokia.
    Jolokia,
    /// They are done without: bytes out are then not known.
    None,
}

/// The options.
#[derive(Debug, Clone, Default, Args)]
pub struct Options {
    /// Where to take what only the broker's JVM knows, as bytes out.
    #[arg(long, value_enum, default_value_t)]
    pub jvm: Choice,
    /// A JMX server (JMX_PORT of the broker).
    #[arg(long, value_name = "HOST:PORT")]
    pub jmx: Option<Address>,
    /// The user of the JMX server.
    #[arg(long, value_name = "NAME", requires = "jmx_password_file")]
    pub jmx_user: Option<String>,
    /// A file with that user's password.
    #[arg(long, value_name = "FILE", requires = "jmx_user")]
    pub jmx_password_file: Option<PathBuf>,
    /// Speak TLS with the JMX server, and trust the certificates in this file (PEM).
    #[arg(long, value_name = "FILE", requires = "jmx")]
    pub jmx_ca: Option<PathBuf>,
    /// Take the JMX server's certificate whatever host it is for, as Java's clients do.
    #[arg(long, requires = "jmx_ca")]
    pub jmx_any_host: bool,
    /// The registry of the JMX server speaks TLS too (com.sun.management.jmxremote.registry.ssl=true).
    #[arg(long, requires = "jmx_ca")]
    pub jmx_registry_tls: bool,
    /// The certificate to show to a JMX server that asks for one, and those that lead to its authority (PEM).
    #[arg(long, value_name = "FILE", requires = "jmx_key", requires = "jmx_ca")]
    pub jmx_cert: Option<PathBuf>,
    /// The key of that certificate (PEM, not encrypted).
    #[arg(long, value_name = "FILE", requires = "jmx_cert")]
    pub jmx_key: Option<PathBuf>,
    /// With --jvm jmx-local: have a JVM without a JMX server start one. It stays until the broker ends.
    #[arg(long)]
    pub attach: bool,
    /// The metrics page of jmx_exporter or Strimzi's reporter on the broker.
    #[arg(long, value_name = "URL")]
    pub prometheus: Option<Endpoint>,
    /// How one of its metrics is named by rules of your own, as bytes_out=my_out_total{env="prod"}.
    #[arg(long, value_name = "METRIC=NAME", requires = "prometheus")]
    pub metric_name: Vec<Override>,
    /// How many processors the broker may use, for its part of them: where the exporter does not tell it, and the broker is on
    /// another host.
    #[arg(long, value_name = "N", value_parser = parse_processors)]
    pub processors: Option<f64>,
    /// Jolokia's agent on the broker.
    #[arg(long, value_name = "URL")]
    pub jolokia: Option<Endpoint>,
    /// The user of the exporter or of Jolokia (HTTP's basic authentication).
    #[arg(long, value_name = "NAME", requires = "jvm_password_file")]
    pub jvm_user: Option<String>,
    /// A file with that user's password.
    #[arg(long, value_name = "FILE", requires = "jvm_user")]
    pub jvm_password_file: Option<PathBuf>,
    /// The authorities to trust for https, and no public ones (PEM).
    #[arg(long, value_name = "FILE")]
    pub jvm_ca: Option<PathBuf>,
}

impl Options {
    /// The source that they describe; `None` if the figures are done without.
    ///
    /// # Errors
    /// What is missing, what does not fit together, and which file cannot be read.
    pub fn source(&self) -> Result<Option<Source>> {
        if self.attach && self.jvm != Choice::JmxLocal {
            bail!("--attach changes the broker's JVM, so it wants --jvm jmx-local");
        }
        let is_http = self.prometheus.is_some() || self.jolokia.is_some();
        if !is_http && (self.jvm_user.is_some() || self.jvm_ca.is_some()) {
            bail!("--jvm-user and --jvm-ca are for --prometheus URL and --jolokia URL");
        }
        let local = Way::JmxLocal { attach: self.attach };
        let missing = |option: &str| anyhow!("--jvm {} wants {option}", self.jvm_name());
        let ways = match self.jvm {
            Choice::None => return Ok(None),
            Choice::JmxLocal => vec![local],
            Choice::Jmx => vec![self.over_jmx()?.ok_or_else(|| missing("--jmx HOST:PORT"))?],
            Choice::Prometheus => vec![self.exporter()?.ok_or_else(|| missing("--prometheus URL"))?],
            Choice::Jolokia => {
                vec![self.through_jolokia()?.ok_or_else(|| missing("--jolokia URL"))?]
            }
            Choice::Auto => {
                let given = [self.over_jmx()?, self.exporter()?, self.through_jolokia()?];
                std::iter::once(local).chain(given.into_iter().flatten()).collect()
            }
        };
        Ok(Some(Source::new(ways).with_processors(self.processors)))
    }

    /// Whether somebody has asked for these figures: with nothing but the default, a broker whose JVM is out of reach is
    /// nothing to complain of.
    pub fn are_asked_for(&self) -> bool {
        self.jvm != Choice::Auto || self.jmx.is_some() || self.prometheus.is_some() || self.jolokia.is_some()
    }

    fn jvm_name(&self) -> String {
        self.jvm.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn over_jmx(&self) -> Result<Option<Way>> {
        let Some(address) = &self.jmx else { return Ok(None) };
        let mut connector = Connector::new(address.clone());
        if let (Some(user), Some(file)) = (&self.jmx_user, &self.jmx_password_file) {
            connector = connector.login(user, &password(file)?);
        }
        if let Some(file) = &self.jmx_ca {
            let tls = Tls::new(&read(file)?)?.verify_host(!self.jmx_any_host);
            let mut tls = tls.with_registry(self.jmx_registry_tls);
            if let (Some(certificate), Some(key)) = (&self.jmx_cert, &self.jmx_key) {
                tls = tls.identity(&read(certificate)?, &read(key)?)?;
            }
            connector = connector.tls(tls);
        }
        Ok(Some(Way::Jmx(connector)))
    }

    fn exporter(&self) -> Result<Option<Way>> {
        let endpoint = self.prometheus.clone().map(|endpoint| self.over_http(endpoint)).transpose()?;
        Ok(endpoint.map(|endpoint| Way::Prometheus(endpoint, self.metric_name.clone())))
    }

    fn through_jolokia(&self) -> Result<Option<Way>> {
        Ok(self.jolokia.clone().map(|endpoint| self.over_http(endpoint)).transpose()?.map(Way::Jolokia))
    }

    /// The endpoint with who asks, and whom that trusts.
    fn over_http(&self, mut endpoint: Endpoint) -> Result<Endpoint> {
        if let (Some(user), Some(file)) = (&self.jvm_user, &self.jvm_password_file) {
            endpoint = endpoint.login(user, &password(file)?);
        }
        match &self.jvm_ca {
            Some(file) => endpoint
                .authorities(&read(file)?)
                .map_err(|why| anyhow!("{} holds no authorities: {why}", file.display())),
            None => Ok(endpoint),
        }
    }
}

fn parse_processors(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(count) if count > 0.0 && count.is_finite() => Ok(count),
        _ => Err("no number above zero".to_owned()),
    }
}

fn password(file: &Path) -> Result<String> {
    let password = String::from_utf8(read(file)?).context("a password is no text")?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("reading {}", file.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    /// The names of the ways, or what is wrong.
    fn ways(arguments: &str) -> String {
        let arguments = std::iter::once("x").chain(arguments.split_whitespace());
        let options = match Cli::try_parse_from(arguments) {
            Ok(cli) => cli.options,
            Err(error) => return error.to_string(),
        };
        match options.source() {
            Ok(Some(source)) => source.names().join(" "),
            Ok(None) => "none".to_owned(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn options_make_ways_in_a_fixed_order() {
        let all = "--jolokia http://h/jolokia --prometheus http://h/metrics --jmx h:1";
        assert_eq!(ways(""), "jmx-local");
        assert_eq!(ways(all), "jmx-local jmx prometheus jolokia");
        assert_eq!(ways(&format!("{all} --jvm jolokia")), "jolokia");
        assert_eq!(ways("--jvm none"), "none");
        assert_eq!(ways("--jvm jmx-local --attach"), "jmx-local");
    }

    #[test]
    fn a_user_and_authorities_are_those_of_each_endpoint() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "secret\n").unwrap();
        let path = file.path().display();
        let login = format!("x --jvm-user u --jvm-password-file {path}");
        let options = Cli::try_parse_from(login.split(' ')).unwrap().options;
        let endpoint: Endpoint = "http://h/metrics".parse().unwrap();
        let expected = format!("{:?}", endpoint.clone().login("u", "secret"));
        assert_eq!(format!("{:?}", options.over_http(endpoint).unwrap()), expected);
        let told = ways(&format!("--jolokia https://h --jvm-ca {path}"));
        assert!(told.contains("there is no certificate in PEM"), "{told}");
    }

    #[test]
    fn what_is_missing_or_does_not_fit_is_told() {
        for (arguments, why) in [
            ("--jvm jmx", "--jvm jmx wants --jmx HOST:PORT"),
            ("--jvm prometheus", "wants --prometheus URL"),
            ("--attach", "wants --jvm jmx-local"),
            ("--jmx h", "there is no port"),
            ("--jmx h:1 --jmx-user u", "--jmx-password-file"),
            ("--jmx h:1 --jmx-ca /nowhere/ca.pem", "reading /nowhere/ca.pem"),
            ("--prometheus h:9404", "is no URL"),
            ("--prometheus http://h --metric-name x=y", "is none of bytes_out"),
            ("--prometheus http://h --metric-name leader_count=y", "is none of bytes_out"),
            ("--jvm-user u", "--jvm-password-file"),
            ("--jvm-ca /nowhere/ca.pem", "are for --prometheus URL"),
            ("--prometheus https://h --jvm-ca /nowhere/ca.pem", "reading /nowhere/ca.pem"),
            ("--jolokia http://h --jvm-user u --jvm-password-file /nowhere/p", "reading /nowhere/p"),
            ("--jmx h:1 --jmx-registry-tls", "--jmx-ca"),
            ("--processors 0", "no number above zero"),
            ("--processors inf", "no number above zero"),
            ("--jmx h:1 --jmx-ca /nowhere/ca.pem --jmx-cert c.pem", "--jmx-key"),
        ] {
            let told = ways(arguments);
            assert!(told.contains(why), "{arguments}: {told}");
        }
    }
}
