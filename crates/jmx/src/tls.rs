//! TLS towards the JMX server.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::Error;

/// How to speak TLS with a JMX server: whom to trust, and as whom to appear.
///
/// ```no_run
/// let ca = std::fs::read("ca.pem")?;
/// let tls = jmx::Tls::new(&ca)?.verify_host(false);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Tls {
    trusted: Vec<CertificateDer<'static>>,
    verify_host: bool,
    identity: Option<(Vec<CertificateDer<'static>>, Arc<PrivateKeyDer<'static>>)>,
    with_registry: bool,
}

impl Tls {
    /// Trusts servers whose certificate is signed by one of the authorities in `authorities_pem`, or stands itself in
    /// there. For the latter, as in Java, neither name nor dates matter: whoever holds its key is the server.
    ///
    /// # Errors
    /// [`Error::TlsSettings`] if there is no certificate in it.
    pub fn new(authorities_pem: &[u8]) -> Result<Tls, Error> {
        let trusted = certificates("the authorities", authorities_pem)?;
        Ok(Tls { trusted, verify_host: true, identity: None, with_registry: false })
    }

    /// Whether the certificate must be for the host that is connected to. True by default; Java's own client never
    /// looks, so that certificates of JMX servers are often for no host.
    #[must_use]
    pub fn verify_host(mut self, verify: bool) -> Tls {
        self.verify_host = verify;
        self
    }

    /// Whether the registry speaks TLS too (`com.sun.management.jmxremote.registry.ssl=true`). False by default.
    #[must_use]
    pub fn with_registry(mut self, with_registry: bool) -> Tls {
        self.with_registry = with_registry;
        self
    }

    /// Shows the server this certificate (first, then those that lead to an authority) if it asks for one
    /// (`com.sun.management.jmxremote.ssl.need.client.auth=true`).
    ///
    /// # Errors
    /// [`Error::TlsSettings`] if there is no certificate, or no key, in PEM.
    pub fn identity(mut self, chain_pem: &[u8], key_pem: &[u8]) -> Result<Tls, Error> {
        let chain = certificates("our certificate", chain_pem)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|error| Error::TlsSettings { what: "our key", why: error.to_string() })?;
        self.identity = Some((chain, Arc::new(key)));
        Ok(self)
    }

    pub(crate) fn is_with_registry(&self) -> bool {
        self.with_registry
    }

    /// What rustls needs.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let bad = |what| move |error: &dyn fmt::Display| Error::TlsSettings { what, why: error.to_string() };
        let mut roots = RootCertStore::empty();
        for certificate in &self.trusted {
            roots.add(certificate.clone()).map_err(|error| bad("an authority")(&error))?;
        }
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| bad("the authorities")(&error))?;
        let trusted = self.trusted.clone();
        let verifier = Verifier { inner, trusted, verify_host: self.verify_host };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad("the versions of TLS")(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|error| bad("our certificate and key")(&error))?,
        };
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authorities", &self.trusted.len())
            .field("verify_host", &self.verify_host)
            .field("identity", &self.identity.is_some())
            .field("with_registry", &self.with_registry)
            .finish()
    }
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bad = |why: String| Error::TlsSettings { what, why };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| bad(error.to_string()))?;
    if found.is_empty() { Err(bad("there is no certificate in PEM".to_owned())) } else { Ok(found) }
}

/// The usual verification, but a trusted certificate may be the server's own, and the name need not fit.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
    verify_host: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // That the server holds the key is proven by the signature of the handshake, which is always verified.
        if self.trusted.iter().any(|trusted| trusted.as_ref() == end_entity.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        // The name is looked at last, after chain and dates.
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.verify_host => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
