//! The address of something that is asked over HTTP, taken apart.

use std::net::IpAddr;

use hyper::Uri;
use thiserror::Error;
use tokio_rustls::rustls::pki_types::ServerName;

/// A URL with the scheme `http` or `https`, and without a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// Whether it is `https`.
    pub tls: bool,
    /// The name or the address, without brackets.
    pub host: String,
    /// The port; that of the scheme where none is named.
    pub port: u16,
    /// Host and port as they stand in the URL.
    pub authority: String,
    /// What is asked for; `/` at least.
    pub path_and_query: String,
}

/// What is wrong with a URL, in words that do not repeat it: it may be secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HttpUrlError {
    /// It is none.
    #[error("it cannot be read")]
    Unreadable,
    /// It has another scheme.
    #[error("it begins with https: or http:")]
    Scheme,
    /// It names no host.
    #[error("the host is missing")]
    NoHost,
    /// It names a user.
    #[error("a user or password in it is not supported")]
    User,
    /// The host can be none.
    #[error("the host is neither a name nor an address")]
    Host,
    /// The port can be none.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

impl HttpUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, HttpUrlError> {
        let uri: Uri = text.trim().parse().map_err(|_| HttpUrlError::Unreadable)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(HttpUrlError::Scheme),
        };
        let authority = uri.authority().ok_or(HttpUrlError::NoHost)?;
        if authority.as_str().contains('@') {
            return Err(HttpUrlError::User);
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).to_owned();
        if ServerName::try_from(host.as_str()).is_err() {
            return Err(HttpUrlError::Host);
        }
        let has_port = authority.as_str().rsplit(']').next().is_some_and(|rest| rest.contains(':'));
        if has_port && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(HttpUrlError::Port);
        }
        Ok(Self {
            tls,
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path_and_query: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    /// Whether what is sent there can be read on the way.
    pub fn is_exposed(&self) -> bool {
        let here = self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        !self.tls && !here
    }

    /// Without the query, which is nobody's business.
    pub fn without_query(&self) -> String {
        self.origin() + self.path_and_query.split('?').next().unwrap_or_default()
    }

    /// Scheme, host and port: what may be shown of it where the rest is secret.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_has_a_host_a_port_and_a_path() {
        let url = HttpUrl::parse("https://[::1]/realms/x/token?a=b").expect("a URL");
        assert_eq!(
            (url.host.as_str(), url.port, url.path_and_query.as_str()),
            ("::1", 443, "/realms/x/token?a=b")
        );
        assert_eq!(url.origin(), "https://[::1]");
        assert_eq!(url.without_query(), "https://[::1]/realms/x/token");
        let url = HttpUrl::parse("http://sso:81").expect("a URL");
        assert_eq!((url.port, url.path_and_query.as_str()), (81, "/"));
    }

    #[test]
    fn says_what_is_wrong_with_a_url() {
        for (text, expected) in [
            ("sso/token", HttpUrlError::Unreadable),
            ("ftp://sso/token", HttpUrlError::Scheme),
            ("https://", HttpUrlError::Unreadable),
            ("https://me:pw@sso/token", HttpUrlError::User),
            ("https://s so/token", HttpUrlError::Unreadable),
            ("https://-/token", HttpUrlError::Host),
            ("https://sso:0/token", HttpUrlError::Port),
            ("https://sso:99999/token", HttpUrlError::Port),
        ] {
            assert_eq!(HttpUrl::parse(text).expect_err(text), expected, "{text}");
        }
    }

    #[test]
    fn a_secret_is_exposed_over_http_to_another_host() {
        let exposed = |text: &str| HttpUrl::parse(text).expect("a URL").is_exposed();
        assert!(exposed("http://sso/token"));
        for url in
            ["https://sso/token", "http://localhost/token", "http://127.0.0.2/token", "http://[::1]:1/token"]
        {
            assert!(!exposed(url), "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_url_panics(text in "(https?://)?\\PC{0,40}") {
            let _ = HttpUrl::parse(&text);
        }
    }
}
