//! The settings of OAUTHBEARER.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use krafka::auth::{AuthConfig, TlsConfig};

use super::{Setting, Settings};
use crate::oauth::{Claims, Client, DEFAULT_LIMIT, Endpoint, Provider, Source, Tokens, endpoint_url};

const URL: &str = "sasl.oauthbearer.token.endpoint.url";
const HANDLER: &str = "sasl.login.callback.handler.class";
const RETRIEVER: &str = "sasl.oauthbearer.jwt.retriever.class";
const CONNECT_LIMIT: &str = "sasl.login.connect.timeout.ms";
const READ_LIMIT: &str = "sasl.login.read.timeout.ms";
const URLENCODE: &str = "sasl.oauthbearer.header.urlencode";

/// The options of the login module, by name.
type Options = BTreeMap<String, String>;

impl Settings {
    pub(super) fn oauthbearer(&mut self) -> Option<AuthConfig> {
        let (line, module) = self.login_module("OAuthBearerLoginModule")?;
        let source = if self.makes_tokens_itself(&module.options)? {
            match Claims::read(&module.options) {
                Ok(claims) => Some(Source::Unsecured(claims)),
                Err(message) => {
                    self.problem(line, format!("sasl.jaas.config: {message}"));
                    None
                }
            }
        } else {
            self.provider(line, &module.options)
        }?;
        let prefix =
            if matches!(source, Source::Unsecured(_)) { "unsecuredLoginExtension_" } else { "extension_" };
        let extensions = self.extensions(line, &module.options, prefix);
        let tokens = Arc::new(Tokens::new(Provider { source, extensions }));
        self.tokens = Some(Arc::clone(&tokens));
        Some(AuthConfig::sasl_oauthbearer_provider(move || Arc::clone(&tokens).for_client()))
    }

    /// Whether the client makes an unsecured token, as Kafka's default login handler does. `None` after a problem.
    fn makes_tokens_itself(&mut self, options: &Options) -> Option<bool> {
        let simple = |class: &str| class.rsplit('.').next().unwrap_or_default().to_owned();
        if let Some((line, class)) = self.get(RETRIEVER).map(|(line, class)| (line, simple(class)))
            && !["DefaultJwtRetriever", "ClientCredentialsJwtRetriever", "FileJwtRetriever"]
                .contains(&class.as_str())
        {
            let message = format!(
                "{RETRIEVER}: only the client-credentials grant and token files are supported \
                 (DefaultJwtRetriever, ClientCredentialsJwtRetriever, FileJwtRetriever)"
            );
            self.problem(line, message);
        }
        let has_url = self.get(URL).is_some();
        let Some((line, class)) = self.get(HANDLER).map(|(line, class)| (line, simple(class))) else {
            // Without a handler Kafka's clients look at nothing but the options of the unsecured token. A file that has
            // a token endpoint and no such option can only mean the endpoint.
            if has_url || Claims::are_in(options) {
                return Some(Claims::are_in(options));
            }
            let message = format!(
                "{URL} is missing: an https:, http: or file: URL that tokens come from (or, for brokers without an \
                 identity provider, unsecuredLoginStringClaim_sub=\"…\" in sasl.jaas.config)"
            );
            self.problem(self.line("sasl.mechanism"), message);
            return None;
        };
        match class.as_str() {
            "OAuthBearerLoginCallbackHandler" if has_url => Some(false),
            "OAuthBearerLoginCallbackHandler" => {
                self.problem(line, format!("{HANDLER}: this one needs {URL} beside it"));
                None
            }
            "OAuthBearerUnsecuredLoginCallbackHandler" => Some(true),
            _ => {
                let message = format!(
                    "{HANDLER}: a Java class cannot be run here; only Kafka's OAuthBearerLoginCallbackHandler is \
                     supported. Let a job beside fetch the token into a file, and set {URL} to its file: URL"
                );
                self.problem(line, message);
                None
            }
        }
    }

    /// Where tokens come from by the URL.
    fn provider(&mut self, jaas_line: usize, options: &Options) -> Option<Source> {
        let (line, url) = self.get(URL)?;
        let url = url.to_owned();
        if let Some(path) = url.strip_prefix("file:") {
            return match file(path) {
                Some(path) => Some(Source::File(path)),
                None => {
                    self.problem(
                        line,
                        format!("{URL}: file: is followed by an absolute path (file:///run/token)"),
                    );
                    None
                }
            };
        }
        let parsed = match endpoint_url(&url) {
            Ok(parsed) => parsed,
            Err(message) => {
                self.problem(line, format!("{URL}: {message}"));
                return None;
            }
        };
        if parsed.is_exposed() {
            let message =
                format!("{URL}: over http: everybody on the way can read the client's secret; use https:");
            self.warn(line, message);
        }
        self.refuse_assertions();
        let client = self.client(jaas_line, options);
        let tls = self.endpoint_tls(jaas_line, options);
        let limits = (self.limit(CONNECT_LIMIT), self.limit(READ_LIMIT));
        Some(Source::Endpoint(Box::new(Endpoint::new(parsed, &client?, tls, limits.0, limits.1))))
    }

    fn client(&mut self, jaas_line: usize, options: &Options) -> Option<Client> {
        let mut value = |key: &str, option: &str| {
            let of_option = options.get(option).map(|v| v.trim()).filter(|v| !v.is_empty());
            match (self.get(key), of_option) {
                (Some((line, value)), of_option) => {
                    let value = value.to_owned();
                    if of_option.is_some() {
                        self.warn(
                            line,
                            format!("{key} counts, the option {option} of sasl.jaas.config does not"),
                        );
                    }
                    Some(value)
                }
                (None, of_option) => of_option.map(str::to_owned),
            }
        };
        let id = value("sasl.oauthbearer.client.credentials.client.id", "clientId");
        let secret = value("sasl.oauthbearer.client.credentials.client.secret", "clientSecret");
        let scope = value("sasl.oauthbearer.scope", "scope");
        let urlencode = self.get(URLENCODE).map(|(line, v)| (line, v.to_ascii_lowercase()));
        let urlencode = match urlencode.as_ref().map(|(line, value)| (*line, value.as_str())) {
            None | Some((_, "false")) => false,
            Some((_, "true")) => true,
            Some((line, _)) => {
                self.problem(line, format!("{URLENCODE} is true or false"));
                false
            }
        };
        let (Some(id), Some(secret)) = (id, secret) else {
            let message = "the token endpoint needs clientId=\"…\" and clientSecret=\"…\" in sasl.jaas.config, or \
                           sasl.oauthbearer.client.credentials.client.id and .client.secret";
            self.problem(jaas_line, message);
            return None;
        };
        if scope.as_ref().is_some_and(|scope| !scope.chars().all(|c| (' '..='~').contains(&c))) {
            self.problem(jaas_line, "the scope holds a character that no scope has (RFC 6749, section 3.3)");
        }
        Some(Client { id, secret, scope, urlencode })
    }

    /// Kafka 4.3 and later may show a signed assertion where others show a secret.
    fn refuse_assertions(&mut self) {
        for key in ["sasl.oauthbearer.assertion.file", "sasl.oauthbearer.assertion.claim.iss"] {
            if let Some((line, _)) = self.get(key) {
                self.problem(
                    line,
                    format!("{key}: client assertions are not supported; use a client secret"),
                );
            }
        }
    }

    /// TLS towards the endpoint, by the options `ssl.…` of the login module: as in Kafka, the file's own are those
    /// towards brokers. `None`: nothing is set.
    fn endpoint_tls(&mut self, jaas_line: usize, options: &Options) -> Option<TlsConfig> {
        let values: BTreeMap<_, _> = options
            .iter()
            .filter(|(name, _)| name.starts_with("ssl."))
            .map(|(name, value)| (name.clone(), Setting { line: jaas_line, value: value.clone() }))
            .collect();
        let mut inner =
            Self { values, problems: Vec::new(), warnings: Vec::new(), tokens: None, files: Vec::new() };
        let trusts =
            ["ssl.truststore.location", "ssl.truststore.certificates"].iter().any(|k| inner.get(k).is_some());
        let shows = ["ssl.keystore.location", "ssl.keystore.key"].iter().any(|k| inner.get(k).is_some());
        let tls = inner.tls();
        self.files.append(&mut inner.files);
        for problem in inner.problems {
            self.problem(problem.line, format!("sasl.jaas.config: {}", problem.message));
        }
        match (trusts, shows) {
            (true, _) => Some(tls),
            (false, true) => Some(tls.with_native_roots()),
            (false, false) => None,
        }
    }

    fn limit(&mut self, key: &str) -> Duration {
        let Some((line, text)) = self.get(key) else { return DEFAULT_LIMIT };
        match text.parse::<u32>() {
            Ok(millis) if millis > 0 => Duration::from_millis(millis.into()),
            _ => {
                self.problem(line, format!("{key} is a number of milliseconds above 0"));
                DEFAULT_LIMIT
            }
        }
    }

    /// What is sent to the broker beside the token (RFC 7628, section 3.1).
    fn extensions(&mut self, line: usize, options: &Options, prefix: &str) -> Options {
        let mut extensions = Options::new();
        for (option, value) in options {
            let Some(name) = option.strip_prefix(prefix) else { continue };
            let is_name = !name.is_empty() && name != "auth" && name.chars().all(|c| c.is_ascii_alphabetic());
            let is_value = !value.is_empty()
                && value.chars().all(|c| (' '..='~').contains(&c) || matches!(c, '\t' | '\r' | '\n'));
            if is_name && is_value {
                extensions.insert(name.to_owned(), value.clone());
            } else {
                let message = format!(
                    "sasl.jaas.config: the name of an extension ({prefix}…) is letters other than \"auth\", its value \
                     is printable ASCII"
                );
                self.problem(line, message);
            }
        }
        extensions
    }
}

/// The path of a `file:` URL, from what follows the scheme.
fn file(rest: &str) -> Option<PathBuf> {
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
        None => rest,
    };
    path.starts_with('/').then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use crate::client_properties::parse;

    /// What is said of an OAUTHBEARER file with these login options and further lines (from line 4).
    fn said(options: &str, lines: &str) -> String {
        let text = format!(
            "security.protocol=SASL_SSL\nsasl.mechanism=OAUTHBEARER\n\
             sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required {options};\n\
             {lines}"
        );
        let all = match parse(&text) {
            Ok(security) => security.warnings().iter().map(|w| format!("warning, {w}")).collect(),
            Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        };
        assert!(!all.iter().any(|line| line.contains("hunter2")), "{all:?}");
        all.join("\n")
    }

    fn says(options: &str, lines: &str, expected: &str) {
        let said = said(options, lines);
        assert!(said.starts_with(expected) && !said.contains('\n'), "{said:?} is not {expected:?}");
    }

    const CLIENT: &str = "clientId=\"me\" clientSecret=\"hunter2\"";
    const HTTPS: &str = "sasl.oauthbearer.token.endpoint.url=https://sso/token\n";

    #[test]
    fn tokens_come_from_an_endpoint_a_file_or_the_client_itself() {
        let handler = "sasl.login.callback.handler.class=\
                       org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler\n";
        assert_eq!(said(CLIENT, HTTPS), "");
        assert_eq!(
            said(
                &format!("{CLIENT} scope=\"a b\" extension_logicalCluster=\"x\""),
                &format!("{HTTPS}{handler}")
            ),
            ""
        );
        let client = "sasl.oauthbearer.client.credentials.client.id=me\n\
                      sasl.oauthbearer.client.credentials.client.secret=hunter2\nsasl.oauthbearer.scope=a\n\
                      sasl.login.connect.timeout.ms=1000\nsasl.login.read.timeout.ms=1000\n\
                      sasl.oauthbearer.header.urlencode=true\n";
        assert_eq!(said("", &format!("{HTTPS}{client}")), "");
        for url in ["file:///run/token", "file:/run/token", "file://localhost/run/token"] {
            assert_eq!(said("", &format!("sasl.oauthbearer.token.endpoint.url={url}\n{handler}")), "");
        }
        assert_eq!(said("unsecuredLoginStringClaim_sub=\"me\" unsecuredLoginExtension_x=\"y\"", ""), "");
    }

    #[test]
    fn says_where_no_token_comes_from() {
        says("", "", "line 2: sasl.oauthbearer.token.endpoint.url is missing: an https:, http: or file: URL");
        says("", HTTPS, "line 3: the token endpoint needs clientId=\"…\" and clientSecret=\"…\"");
        says("clientId=\"me\"", HTTPS, "line 3: the token endpoint needs clientId");
        says(
            "unsecuredLoginNumberClaim_n=\"1\"",
            "",
            "line 3: sasl.jaas.config: unsecuredLoginStringClaim_sub=\"…\" is missing",
        );
        let handler = |class: &str| format!("sasl.login.callback.handler.class={class}\n");
        says(
            "",
            &handler("a.OAuthBearerLoginCallbackHandler"),
            "line 4: sasl.login.callback.handler.class: this one needs",
        );
        says(
            CLIENT,
            &format!("{HTTPS}{}", handler("com.example.Mine")),
            "line 5: sasl.login.callback.handler.class: a Java class",
        );
        let url = |url: &str| format!("sasl.oauthbearer.token.endpoint.url={url}\n");
        says(
            "",
            &url("file:token"),
            "line 4: sasl.oauthbearer.token.endpoint.url: file: is followed by an absolute path",
        );
        says(CLIENT, &url("ftp://x"), "line 4: sasl.oauthbearer.token.endpoint.url: the URL begins with");
        says(
            CLIENT,
            &url("https://u:hunter2@x/"),
            "line 4: sasl.oauthbearer.token.endpoint.url: a user or password",
        );
    }

    #[test]
    fn says_what_is_wrong_with_the_endpoints_settings() {
        let with = |line: &str| format!("{HTTPS}{line}\n");
        says(CLIENT, &with("sasl.login.read.timeout.ms=0"), "line 5: sasl.login.read.timeout.ms is a number");
        says(
            CLIENT,
            &with("sasl.oauthbearer.header.urlencode=1"),
            "line 5: sasl.oauthbearer.header.urlencode is true or false",
        );
        says(
            CLIENT,
            &with("sasl.oauthbearer.assertion.file=/a"),
            "line 5: sasl.oauthbearer.assertion.file: client assertions",
        );
        says(
            CLIENT,
            &with("sasl.oauthbearer.jwt.retriever.class=a.JwtBearerJwtRetriever"),
            "line 5: sasl.oauthbearer.jwt.retriever.class: only",
        );
        says(
            &format!("{CLIENT} extension_auth=\"x\""),
            HTTPS,
            "line 3: sasl.jaas.config: the name of an extension",
        );
        says(&format!("{CLIENT} scope=\"é\""), HTTPS, "line 3: the scope holds a character");
        says(
            &format!("{CLIENT} ssl.truststore.location=\"/a.jks\""),
            HTTPS,
            "line 3: sasl.jaas.config: ssl.truststore.type is JKS",
        );
    }

    #[test]
    fn warns_of_an_exposed_secret_and_of_what_does_not_count() {
        let http = "sasl.oauthbearer.token.endpoint.url=http://sso/token\n";
        says(CLIENT, http, "warning, line 4: sasl.oauthbearer.token.endpoint.url: over http: everybody");
        let twice = format!("{HTTPS}sasl.oauthbearer.client.credentials.client.id=me\n");
        says(CLIENT, &twice, "warning, line 5: sasl.oauthbearer.client.credentials.client.id counts");
    }
}
